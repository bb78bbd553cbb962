"""A whole service without a network: what stands for a request goes in, its answer comes out.

A request is written as HTTP/1.1 has it, with plain line feeds. In its head, TOKEN is the administrator's token, COOKIE
a challenge of the KBS protocol, SESSION one of Veraison's: what is random cannot stand in a seed.
"""

import asyncio
import atexit
import io
import json
import tempfile
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import unquote

from tests.forge import sessions
from tests.forge.software import SoftwareForge
from tests.fuzz import fixed
from tests.fuzz.law import Broken
from tests.services.key_broker import new_key, public_members, software_attester

from cloister.broker.nonces import Purpose
from cloister.broker.session.request_signature import Asked, sign_request
from cloister.endorse.anchors import AnchorKind
from cloister.result.signing import SigningKey
from cloister.serve.appraiser import Appraiser
from cloister.serve.journal import Journal
from cloister.serve.service import Service, Settings
from cloister.serve.veraison import ANY_EVIDENCE, DISCOVERY_TYPE, SESSION_TYPE
from cloister.serve.workers import Workers
from cloister.verifier.policy_files import load_policy

__all__ = ["answer", "seeds"]

REQUESTS: Final = 1000
"""Answered by one service before another begins: what is stored would make it slower and slower."""
TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
"""What a method or a header's name may consist of (RFC 9110, section 5.6.2)."""


class Inline(Workers):
    """No threads: what takes time counts as this thread's."""

    async def run(self, work: Any) -> Any:
        """The result."""
        return work()


@dataclass
class Running:
    """One service."""

    directory: Any = field(default_factory=lambda: tempfile.TemporaryDirectory(prefix="cloister-fuzz-"))
    journal: io.StringIO = field(default_factory=io.StringIO)
    requests: int = 0

    def __post_init__(self) -> None:
        place, attester = Path(self.directory.name), software_attester()
        policy_file = place / "policy.toml"
        policy_file.write_text(attester.policy)
        policy, references = load_policy(policy_file, fixed.AT)

        def make(key: SigningKey) -> Appraiser:
            return Appraiser(
                verifier=attester.verifier, key=key, clock=lambda: fixed.AT, policy=policy, references=references,
                accept_anchors=frozenset(AnchorKind),
            )  # fmt: skip

        settings = Settings(state=place / "state", appraiser=make, clock=lambda: fixed.AT, secure_cookie=False)
        with patch("cloister.serve.service.Workers", Inline):
            self.service = Service(settings, Journal(self.journal))
        challenges = self.service._challenges
        self.words = {
            b"TOKEN": self.service.shared.new_token.encode(),
            b"COOKIE": challenges.issue(Purpose.KBS, tee="software").text.encode(),
            b"SESSION": challenges.issue(Purpose.VERAISON).text.encode(),
        }

    def close(self) -> None:
        """Let go of everything."""
        self.service.close()
        self.directory.cleanup()


RUNNING: Final[list[Running]] = []
LOOP: Final[list[asyncio.AbstractEventLoop]] = []


@atexit.register
def close() -> None:
    """When the process ends, unless libFuzzer ends it."""
    for here in RUNNING:
        here.close()
    for one in LOOP:
        one.close()


def running() -> Running:
    """The service, or a new one."""
    if RUNNING and RUNNING[0].requests >= REQUESTS:
        RUNNING.pop().close()
    if not RUNNING:
        RUNNING.append(Running())
    RUNNING[0].requests += 1
    return RUNNING[0]


def loop() -> asyncio.AbstractEventLoop:
    """One loop for all."""
    if not LOOP:
        LOOP.append(asyncio.new_event_loop())
    return LOOP[0]


def answer(data: bytes) -> bytes | None:
    """The answer's body; None for what the HTTP server refuses itself. Broken where the service calls it a failure."""
    here = running()
    scope, body = request(data, here)
    if scope is None:
        return None
    said = loop().run_until_complete(_asked(here.service, scope, body))
    status = next(one["status"] for one in said if one["type"] == "http.response.start")
    lines = here.journal.getvalue().splitlines()
    here.journal.seek(0)
    here.journal.truncate()
    if status == 500:
        raise Broken(f"service: 500: {said[-1].get('body', b'')!r} {[line for line in lines if 'crash' in line]}")
    return b"".join(one.get("body", b"") for one in said)


def request(data: bytes, here: Running) -> tuple[dict[str, Any] | None, bytes]:
    """The request in the form of ASGI, as uvicorn makes it, and its body."""
    head, _, body = data.partition(b"\n\n")
    for name, value in here.words.items():
        head = head.replace(name, value)
    first, *lines = head.split(b"\n")
    method, _, target = first.partition(b" ")
    path, _, query = target.partition(b"?")
    headers = [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]
    names = [method, *(name for name, _ in headers)]
    bare = not all(name and set(name) <= TOKEN for name in names) or not path.startswith(b"/") or not target.isascii()
    if bare or any(byte < 0x21 or byte == 0x7F for byte in target) or any(set(b"\r\0") & {*v} for _, v in headers):
        return None, b""
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http",
        "method": method.decode(), "path": unquote(path.decode()), "raw_path": path, "query_string": query,
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "root_path": "", "state": {},
    }, body  # fmt: skip


async def _asked(service: Service, scope: dict[str, Any], body: bytes) -> list[MutableMapping[str, Any]]:
    said: list[MutableMapping[str, Any]] = []
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    await service.application(scope, receive, send)
    return said


def seeds() -> Iterator[bytes]:
    """Requests to every endpoint."""
    json_type, bearer = "content-type: application/json", "authorization: Bearer TOKEN"
    rule = {"measurements": {"software": ["ab" * 32]}, "anchors": ["software"]}
    sealed = {"value": "c2VjcmV0", "release": rule, "expires": "2027-01-31T12:00:00+01:00"}
    session = sessions.text(sessions.document()).decode()
    key = public_members(new_key("X25519"))
    message = {
        "init-data": None, "runtime-data": {"nonce": "AAAA", "tee-pubkey": key},
        "tee-evidence": {"primary_evidence": {"evidence": "AAAA"}, "additional_evidence": ""},
    }  # fmt: skip
    header = sign_request(
        fixed.OWNER, Asked(method="GET", target="/admin/v1/sessions/team/app", body=b""), challenge="AAAA", server=""
    )
    signed = f"cloister-signature: {header}"
    software = SoftwareForge().evidence(b"n" * 32)
    for first, headers, body in (
        ("POST /kbs/v0/auth", (json_type,), {"version": "0.4.0", "tee": "software", "extra-params": ""}),
        ("POST /kbs/v0/attest", (json_type, "cookie: kbs-session-id=COOKIE"), message),
        ("GET /kbs/v0/resource/app/keys/db", ("cookie: kbs-session-id=COOKIE",), None),
        ("GET /kbs/v0/resource/app/keys/db", ("authorization: Bearer ey.ey.AA",), None),
        ("GET /cloister/v1/provision/-/team/app?format=block", ("cookie: kbs-session-id=COOKIE",), None),
        ("POST /challenge-response/v1/newSession?nonceSize=32", (f"accept: {SESSION_TYPE}",), None),
        ("POST /challenge-response/v1/newSession?nonce=AAECAwQFBgc=", ("accept: */*",), None),
        ("GET /challenge-response/v1/session/SESSION", (), None),
        ("POST /challenge-response/v1/session/SESSION", (f"content-type: {ANY_EVIDENCE}",), software),
        ("DELETE /challenge-response/v1/session/SESSION", (), None),
        ("GET /.well-known/veraison/verification", (f"accept: {DISCOVERY_TYPE}; q=1",), None),
        ("PUT /admin/v1/secrets/app/keys/db", (bearer, "content-length: 9"), sealed),
        ("GET /admin/v1/secrets", (bearer,), None), ("GET /admin/v1/secrets/app/keys/db", (bearer,), None),
        ("POST /admin/v1/secrets/app/keys/db/rotate", (bearer,), {"value": "AAAA"}),
        ("POST /admin/v1/secrets/app/keys/db/revoke", (bearer,), {}),
        ("GET /admin/v1/log/checkpoint", (bearer,), None),
        ("PUT /admin/v1/sessions/team/app", (bearer,), {"session": session, "approvals": []}),
        ("GET /admin/v1/sessions", (bearer,), None), ("GET /admin/v1/sessions/team%2Fapp", (bearer,), None),
        ("GET /admin/v1/sessions/team/app", (signed,), None), ("POST /cloister/v1/challenge", (), None),
        ("POST /admin/v1/sessions/team/app", (bearer,), {"rotate": ["token", "unshared"]}),
        ("DELETE /admin/v1/sessions/team/app", (bearer,), None),
        ("GET /healthz", (), None), ("GET /metrics", (), None), ("GET /openapi.json", (), None),
    ):  # fmt: skip
        head = "\n".join((first, *headers)).encode()
        text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        yield head + b"\n\n" + text
