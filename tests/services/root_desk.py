"""A broker with a session whose volume has its newest root there, and starts of its program that report."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.services.key_broker import Desk, X25519Key, desk, software_attester
from tests.services.start_block import read_again

from cloister.broker.root_report import RootReport
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import FilesEntry
from cloister.shield_policy.policy import Root

__all__ = ["NAME", "Start", "begin", "digest_of", "put_session", "root_desk", "send", "session_text"]

NAME = "team/shop"


def session_text(at: Desk, name: str = NAME, *, predecessor: str = "", secrets: str = "", key: str = "disk") -> str:
    """A session with one program, which has one volume."""
    before = f'predecessor: "{predecessor}"\n' if predecessor else ""
    made = secrets or "  - { name: disk, kind: aes-key, generate: {}, export: [team/other] }\n"
    return f"""\
name: {name}
version: "1"
{before}services:
  - name: web
    attestation:
      - tee: software
        measurement: "{at.attester.measurement}"
        anchors: [software]
    shield:
      files:
        - {{ path: /data, kind: encrypted, volume: /srv/v, key: {key}, root: broker, create: true }}
secrets:
{made}"""


def put_session(at: Desk, name: str = NAME, **changes: Any) -> str:
    """Put it into effect; its identity."""
    made = at.admin("PUT", f"sessions/{name}", json={"session": session_text(at, name, **changes)})
    assert made.status_code == 201, made.text
    return str(made.json()["sha256"])


@contextmanager
def root_desk(directory: Path, **settings: Any) -> Iterator[Desk]:
    """The broker, with the session in effect."""
    with desk(directory, software_attester(X25519Key()), **settings) as at:
        put_session(at)
        yield at


@dataclass(frozen=True)
class Start:
    """One start of the program: what it was told of its volume."""

    at: Desk
    session: str
    volume: FilesEntry

    def report(self, generation: int, content: str = "", **changes: Any) -> RootReport:
        """As the runtime makes one; `content` stands for what is in the volume."""
        root = Root(generation, digest_of(generation, content))
        return RootReport.make(changes.get("key", self.volume.key), changes.get("name", self.volume.name), root)

    def send(self, generation: int, content: str = "", **changes: Any) -> httpx.Response:
        """Report, through a host that carries honestly."""
        return send(self.at, self.report(generation, content, **changes), self.session)


def digest_of(generation: int, content: str = "") -> bytes:
    """The digest of that superblock."""
    return hashlib.sha256(f"{generation} {content}".encode()).digest()


def begin(at: Desk, session: str = NAME) -> Start:
    """Attest, and get a start block."""
    at.attest()
    answer = at.client.get(f"/cloister/v1/provision/web/{session}?format=block")
    assert answer.status_code == 200, answer.text
    (entry,) = ShieldBlock.parse(read_again(at.attester.open(answer.json()))["shield"]).entries
    assert isinstance(entry, FilesEntry)
    return Start(at, session, entry)


def send(at: Desk, report: RootReport | bytes, session: str = NAME) -> httpx.Response:
    """Whatever a host sends."""
    data = report if isinstance(report, bytes) else report.serialize()
    at.client.cookies.clear()
    return at.client.post(f"/cloister/v1/roots/{session}", json={"report": base64.b64encode(data).decode()})
