"""A carrier that tests play: it speaks the runtime's frames over a unix socket, honestly or not."""

import base64
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey

from cloister.launch import _abi

__all__ = [
    "NONCE",
    "SENDER",
    "STRANGER",
    "Heard",
    "PlayedCarrier",
    "block",
    "manifest",
    "recv_frame",
    "seal",
    "send_frame",
]

NONCE = base64.b64encode(b"n" * 32).decode()
SUITE = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
SENDER, STRANGER = X25519PrivateKey.generate(), X25519PrivateKey.generate()
"""The broker's key, and somebody else's."""


def text(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def manifest(files: Mapping[str, bytes] = {}) -> bytes:
    """Path to SHA-256, as runtime/src/admission.h has it."""
    ordered = sorted((path.encode(), digest) for path, digest in files.items())
    ordered.sort(key=lambda one: len(one[0]))
    return struct.pack("<II", 0, len(ordered)) + b"".join(text(path) + digest for path, digest in ordered)


def block(
    argv: Sequence[bytes] = (),
    environment: Mapping[bytes, bytes] = {},
    *,
    directory: bytes = b"",
    files: Mapping[bytes, bytes] = {},
) -> bytes:
    """What the broker encrypts."""
    strings = [*argv, *(name + b"=" + value for name, value in environment.items())]
    held = b"".join(text(path) + text(content) for path, content in files.items())
    head = struct.pack("<II", len(argv), len(environment))
    return head + b"".join(map(text, strings)) + text(directory) + struct.pack("<I", len(files)) + held


def seal(
    key: bytes,
    plaintext: bytes,
    additional: bytes = _abi.PROTECTED_HEADER.encode(),
    *,
    sender: X25519PrivateKey | None = SENDER,
    said: X25519PrivateKey = SENDER,
) -> bytes:
    """The broker's key as it is `said`, then what `sender` sealed: encapsulated key, ciphertext, tag."""
    public = KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(key))
    private = None if sender is None else KEMKey.from_pyca_cryptography_key(sender)
    encapsulated, context = SUITE.create_sender_context(public, sks=private)
    return said.public_key().public_bytes_raw() + encapsulated + context.seal(plaintext, additional)


def report_data(nonce: str, key: bytes) -> bytes:
    """SHA-384 of the runtime data as the KBS protocol has it, zeros behind it."""
    jwk = {"alg": "HPKE-4", "crv": "X25519", "kty": "OKP", "x": base64.urlsafe_b64encode(key).decode().rstrip("=")}
    document = json.dumps(
        {"additional-evidence": "", "nonce": nonce, "tee-pubkey": jwk}, sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha384(document.encode()).digest() + bytes(16)


def send_frame(connection: socket.socket, kind: int, data: bytes = b"") -> None:
    connection.sendall(struct.pack("<II", kind, len(data)) + data)


def recv_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def recv_frame(connection: socket.socket) -> tuple[int, bytes]:
    kind, size = struct.unpack("<II", recv_exactly(connection, 8))
    return kind, recv_exactly(connection, size)


@dataclass
class Heard:
    """What the runtime said."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)

    def of(self, kind: int) -> list[bytes]:
        return [data for one, data in self.frames if one == kind]


Answers = Callable[["PlayedCarrier", socket.socket], None]


class PlayedCarrier:
    """Listens at `path` while the `with` block runs. `answers` plays one conversation; the default is honest."""

    def __init__(
        self,
        path: Path,
        plaintext: bytes,
        *,
        allowed: bytes = manifest(),
        nonce: str = NONCE,
        answers: Answers | None = None,
    ) -> None:
        self.path, self.plaintext, self.allowed, self.nonce = path, plaintext, allowed, nonce
        self.answers = answers or PlayedCarrier.converse
        self.heard, self.key = Heard(), b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(0.1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._listener.close()
        self.path.unlink()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(20)
                try:
                    self.answers(self, connection)
                except (EOFError, OSError):
                    continue

    def hear(self, connection: socket.socket) -> tuple[int, bytes]:
        frame = recv_frame(connection)
        self.heard.frames.append(frame)
        return frame

    def converse(self, connection: socket.socket) -> None:
        """One conversation, at the start or a later one."""
        kind, data = self.hear(connection)
        if kind == _abi.FRAME_HELLO:
            send_frame(connection, _abi.FRAME_MANIFEST, self.allowed)
            _, data = self.hear(connection)
        self.key = data[-32:]
        send_frame(connection, _abi.FRAME_NONCE, self.nonce.encode())
        self.hear(connection)
        send_frame(connection, _abi.FRAME_SEALED, seal(self.key, self.plaintext))
