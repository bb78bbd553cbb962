"""The runtime's half of the conversation with the carrier, with the standard library alone; whatever it is told to lie.

    python fake_runtime.py STEPS          a JSON list of steps, below; prints what each of them brought, as JSON

A step is {"do": "start" | "started" | "refresh" | "evidence", ...}, in a child if it says so. As a script
it can run inside the software enclave, so that the carrier sees a real guard.
"""

import base64
import hashlib
import json
import os
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any

__all__ = [
    "EVIDENCE", "EVIDENCE_WANTED", "HELLO", "MANIFEST", "NONCE", "QUOTE", "REFRESH", "REFUSED", "ROOT", "ROOTED",
    "SEALED", "STATEMENT", "FakeRuntime", "digest_of", "frame", "receive",
]  # fmt: skip

HELLO, MANIFEST, STATEMENT, NONCE, QUOTE, SEALED, REFUSED, REFRESH, EVIDENCE_WANTED, EVIDENCE = range(1, 11)
ROOT, ROOTED = 11, 12
SECONDS = 30


def frame(kind: int, body: bytes, size: int | None = None) -> bytes:
    """A frame; `size` lies."""
    return struct.pack("<II", kind, len(body) if size is None else size) + body


def receive(sock: socket.socket) -> tuple[int, bytes]:
    """One frame; kind 0 is the end of the connection."""
    head = exactly(sock, 8)
    if not head:
        return 0, b""
    kind, size = struct.unpack("<II", head)
    return kind, exactly(sock, size)


def exactly(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        try:
            data = sock.recv(size - len(found))
        except ConnectionResetError:
            data = b""
        if not data:
            break
        found += data
    return found


def digest_of(manifest: bytes) -> bytes:
    """SHA-256 of the manifest as a CBOR map: what runtime/src/admission.h calls its digest."""
    _, count = struct.unpack_from("<II", manifest)
    at, text = 8, head(0xA0, count)
    for _ in range(count):
        (size,) = struct.unpack_from("<I", manifest, at)
        path, digest = manifest[at + 4 : at + 4 + size], manifest[at + 4 + size : at + 36 + size]
        text += head(0x60, size) + path + head(0x40, 32) + digest
        at += 36 + size
    assert at == len(manifest)
    return hashlib.sha256(text).digest()


def head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major | number])
    return bytes([major | 24, number]) if number < 256 else bytes([major | 25]) + number.to_bytes(2)


@dataclass
class FakeRuntime:
    """Speaks to the carrier at `path`. `key` is the public key."""

    path: str
    key: bytes = bytes(range(32))
    executable: bytes = hashlib.sha256(b"program").digest()
    flags: int = 1
    version: int = 1
    libraries: bytes = b""
    nonce: str = ""

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(SECONDS)
        sock.connect(self.path)
        return sock

    def start(self, *, key: bytes = b"", sock: socket.socket | None = None) -> tuple[int, bytes]:
        """The whole first conversation, until something is sealed or refused."""
        with sock or self.connect() as line:
            line.sendall(frame(HELLO, struct.pack("<II", self.version, self.flags)))
            kind, body = receive(line)
            if kind != MANIFEST:
                return kind, body
            self.libraries = self.libraries or digest_of(body)
            return self.state(line, key)

    def refresh(self, *, key: bytes = b"", executable: bytes = b"") -> tuple[int, bytes]:
        """The same for a program that runs."""
        with self.connect() as line:
            return self.state(line, key, executable, REFRESH)

    def state(
        self, line: socket.socket, key: bytes = b"", executable: bytes = b"", kind: int = STATEMENT
    ) -> tuple[int, bytes]:
        """From the statement on. The report data are over `key`, whatever was stated."""
        line.sendall(frame(kind, (executable or self.executable) + (self.libraries or bytes(32)) + self.key))
        kind, body = receive(line)
        if kind != NONCE:
            return kind, body
        self.nonce = body.decode()
        line.sendall(frame(QUOTE, self.report_data(key or self.key)))
        return receive(line)

    def report_data(self, key: bytes) -> bytes:
        x = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
        jwk = {"alg": "HPKE-4", "crv": "X25519", "kty": "OKP", "x": x}
        bound = {"additional-evidence": "", "nonce": self.nonce, "tee-pubkey": jwk}
        text = json.dumps(bound, sort_keys=True, separators=(",", ":"))
        return hashlib.sha384(text.encode()).digest().ljust(64, b"\0")

    def root(self, report: bytes) -> tuple[int, bytes]:
        """A report of a volume's newest root."""
        with self.connect() as line:
            line.sendall(frame(ROOT, report))
            return receive(line)

    def evidence(self, report_data: bytes = b"") -> tuple[int, bytes]:
        """What a program inside asks for."""
        with self.connect() as line:
            line.sendall(frame(EVIDENCE_WANTED, report_data.ljust(64, b"\0")))
            return receive(line)


def perform(runtime: FakeRuntime, step: dict[str, Any]) -> tuple[int, bytes]:
    if step["do"] == "started":  # the real runtime was provisioned, or this would not run
        return SEALED, b""
    if step["do"] == "start":
        return runtime.start()
    if step["do"] == "refresh":
        return runtime.refresh(executable=bytes.fromhex(step.get("executable", "")))
    if step["do"] == "root":
        return runtime.root(bytes.fromhex(step["report"]))
    return runtime.evidence(bytes.fromhex(step.get("report_data", "")))


def main() -> None:
    """Perform the steps; those of a child in a child."""
    task = json.loads(sys.argv[1])
    runtime = FakeRuntime(task["path"], bytes.fromhex(task["key"]), flags=task.get("flags", 1))
    for step in task["steps"]:
        child = os.fork() if step.get("child") else 0
        if child:
            os.waitpid(child, 0)
            continue
        kind, body = perform(runtime, step)
        sys.stdout.write(json.dumps([kind, body.hex()]) + "\n")
        sys.stdout.flush()
        if step.get("child"):
            os._exit(0)
    if "wait" in task:
        sys.stdin.read()


if __name__ == "__main__":
    main()
