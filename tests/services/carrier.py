"""A carrier in this process, for a tree that is this process itself; and where its secrets come from."""

import base64
import contextlib
import http.server
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.forge.carrier import block, seal
from tests.services.fake_runtime import FakeRuntime

from cloister.attest.attester import Attester
from cloister.attest.broker_client import Challenge
from cloister.attest.carrier import listening, serving
from cloister.attest.conversation import Conversations, Source
from cloister.attest.flow import Flow
from cloister.attest.frames import Statement
from cloister.attest.host_key import FileHostKey
from cloister.attest.peer import Process
from cloister.attest.tree import Tree
from cloister.evidence.software import libraries_digest
from cloister.launch import _abi

__all__ = ["LIBRARIES", "MANIFEST", "Carrier", "FakeSource", "Sealing", "carrier", "yes_broker"]

LIBRARIES = {"/lib64/ld.so": bytes([1]) * 32, "/lib/libc.so.6": bytes(32)}
MANIFEST = (
    bytes(4)
    + (2).to_bytes(4, "little")
    + b"".join(len(path).to_bytes(4, "little") + path.encode() + digest for path, digest in LIBRARIES.items())
)
"""As the runtime reads it (runtime/src/admission.h)."""
THIS_PROGRAM = os.readlink("/proc/self/exe")


@dataclass
class FakeSource:
    """Gives a nonce and something sealed, or raises what it is told to. Keeps the evidence that it was given."""

    sealed: bytes = b"sealed"
    nonce: str = "bm9uY2U="
    failure: Exception | None = None
    at_challenge: Exception | None = None
    evidence: list[bytes] = field(default_factory=list)
    reports: list[bytes] = field(default_factory=list)
    acknowledged: bytes = bytes(32)

    def challenge(self) -> Challenge:
        if self.at_challenge is not None:
            raise self.at_challenge
        return Challenge(self.nonce, "kbs-session-id=x")

    def provision(self, challenge: Challenge, statement: Statement, evidence: bytes) -> bytes:
        assert challenge.nonce == self.nonce
        assert len(statement.key) == 32
        self.evidence.append(evidence)
        if self.failure is not None:
            raise self.failure
        return self.sealed

    def report_root(self, report: bytes) -> bytes:
        self.reports.append(report)
        if self.failure is not None:
            raise self.failure
        return self.acknowledged


@dataclass(frozen=True)
class Carrier:
    """One that listens. A fake runtime for it has no guards, for nothing traces this process."""

    path: str
    key: FileHostKey
    tree: Tree
    thread: threading.Thread

    def runtime(self, **changes: object) -> FakeRuntime:
        return FakeRuntime(self.path, **{"flags": 0} | changes)  # type: ignore[arg-type] # a test's


@contextlib.contextmanager
def carrier(
    directory: Path, source: Source, *, starter: int = 0, runtime: str = THIS_PROGRAM, flow: Flow | None = None,
    seconds: float = 20, first_seconds: float = 5, pause: float = 5,
) -> Iterator[Carrier]:  # fmt: skip
    """Serves until the block ends: then the starter is let go of, as if it had ended."""
    key = FileHostKey(directory / "host-key.pem")
    over, signal = os.pipe()
    with Process(starter or os.getpid()) as held, listening() as listener:
        tree = Tree(held, runtime)
        conversations = Conversations(
            attester=Attester(key, tree, libraries_digest(LIBRARIES)), source=source, manifest=MANIFEST,
            flow=flow or Flow(), seconds=seconds, first_seconds=first_seconds, pause=pause,
        )  # fmt: skip
        os.close(held.pidfd)
        held.pidfd = over  # readable at the end, as a pidfd is when its process ends
        thread = threading.Thread(target=serving, args=(listener, conversations, tree))
        thread.start()
        try:
            yield Carrier(listener.getsockname(), key, tree, thread)
        finally:
            os.close(signal)
            thread.join(15)
            assert not thread.is_alive()


class Yes(http.server.BaseHTTPRequestHandler):
    """Says yes to anyone, and seals nothing to any key."""

    parts = (bytes(32), bytes(32), bytes(3))

    def do_POST(self) -> None:
        self.hear(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self._say({"nonce": "bm9uY2U=", "token": "token"})

    def do_GET(self) -> None:
        names = "broker_key", "encrypted_key", "ciphertext"
        texts = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in self.parts]
        self._say({"protected": _abi.PROTECTED_HEADER, **dict(zip(names, texts, strict=True))})

    def hear(self, message: dict[str, Any]) -> None:
        """What the attester posts."""

    def _say(self, document: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("set-cookie", "kbs-session-id=x")
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Sealing(Yes):
    """Seals a session without anything in it to the key that attested last, whatever the evidence says."""

    def hear(self, message: dict[str, Any]) -> None:
        if "runtime-data" in message:
            key = base64.urlsafe_b64decode(message["runtime-data"]["tee-pubkey"]["x"] + "=")
            sealed = seal(key, block())
            Sealing.parts = sealed[:32], sealed[32:64], sealed[64:]


@contextlib.contextmanager
def yes_broker(kind: type[Yes] = Yes) -> Iterator[str]:
    """The address of a broker that says yes."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(15)
