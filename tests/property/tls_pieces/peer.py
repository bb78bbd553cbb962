"""TLS 1.3 written once more, in Python and for misbehaving: each message can be changed before it is sent."""

import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.property.tls_pieces.engine import records

__all__ = [
    "ALERT",
    "CHANGE_CIPHER",
    "DATA",
    "HANDSHAKE",
    "RETRY",
    "X25519",
    "BadClient",
    "BadServer",
    "Direction",
    "expand_label",
    "extension",
    "hello_extensions",
    "message",
    "plain_record",
    "vector",
]

CHANGE_CIPHER, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
X25519: Final = 29
RETRY: Final = hashlib.sha256(b"HelloRetryRequest").digest()
HASHES: Final = {0x1301: "sha256", 0x1302: "sha384", 0x1303: "sha256"}
Change = Callable[[bytes], bytes]
SigningKey = EllipticCurvePrivateKey | Ed25519PrivateKey


def vector(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(number: int, body: bytes) -> bytes:
    return number.to_bytes(2, "big") + vector(body, 2)


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + vector(body, 3)


def plain_record(kind: int, body: bytes, version: bytes = b"\x03\x03") -> bytes:
    return bytes([kind]) + version + vector(body, 2)


def expand_label(name: str, secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    info = size.to_bytes(2, "big") + vector(b"tls13 " + label, 1) + vector(context, 1)
    return hmac.digest(secret, info + b"\x01", name)[:size]


class Direction:
    """One way's keys."""

    def __init__(self, suite: int, secret: bytes) -> None:
        self.suite, self.secret, self.number = suite, secret, 0
        key = expand_label(HASHES[suite], secret, b"key", b"", 16 if suite == 0x1301 else 32)
        self._iv = int.from_bytes(expand_label(HASHES[suite], secret, b"iv", b"", 12), "big")
        self._cipher = ChaCha20Poly1305(key) if suite == 0x1303 else AESGCM(key)

    def _nonce(self) -> bytes:
        self.number += 1
        return (self._iv ^ self.number - 1).to_bytes(12, "big")

    def seal(self, kind: int, content: bytes, padding: int = 0) -> bytes:
        return self.seal_inner(content + bytes([kind]) + bytes(padding))

    def seal_inner(self, inner: bytes) -> bytes:
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        return header + self._cipher.encrypt(self._nonce(), inner, header)

    def open(self, record: bytes) -> tuple[int, bytes]:
        inner = self._cipher.decrypt(self._nonce(), record[5:], record[:5]).rstrip(b"\0")
        return inner[-1], inner[:-1]

    def next(self) -> "Direction":
        name = HASHES[self.suite]
        return Direction(self.suite, expand_label(name, self.secret, b"traffic upd", b"", len(self.secret)))


@dataclass
class Schedule:
    """Section 7.1."""

    suite: int
    said: bytes = b""
    current: bytes = b""

    @property
    def name(self) -> str:
        return HASHES[self.suite]

    def digest(self) -> bytes:
        return hashlib.new(self.name, self.said).digest()

    def derive(self, label: bytes, digest: bytes | None = None) -> bytes:
        context = self.digest() if digest is None else digest
        return expand_label(self.name, self.current, label, context, len(context))

    def advance(self, new: bytes) -> None:
        nothing = hashlib.new(self.name).digest()
        salt = self.derive(b"derived", nothing) if self.current else bytes(len(nothing))
        self.current = hmac.digest(salt, new or bytes(len(nothing)), self.name)

    def finished(self, secret: bytes) -> bytes:
        key = expand_label(self.name, secret, b"finished", b"", len(secret))
        return hmac.digest(key, self.digest(), self.name)


def messages_of(stream: bytes) -> list[bytes]:
    found = []
    while stream:
        size = 4 + int.from_bytes(stream[1:4], "big")
        found.append(stream[:size])
        stream = stream[size:]
    return found


def sign(key: SigningKey, who: bytes, digest: bytes) -> bytes:
    text = b" " * 64 + b"TLS 1.3, " + who + b" CertificateVerify\0" + digest
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return b"\x08\x07" + vector(key.sign(text), 2)
    return b"\x04\x03" + vector(key.sign(text, ec.ECDSA(hashes.SHA256())), 2)


def certificate(chain: Sequence[bytes]) -> bytes:
    entries = b"".join(vector(one, 3) + b"\0\0" for one in chain)
    return message(11, b"\0" + vector(entries, 3))


def hello_extensions(share: bytes, group: int = X25519) -> list[bytes]:
    """What a client offers."""
    return [
        extension(43, b"\x02\x03\x04"),
        extension(10, vector(b"\x00\x1d\x00\x17", 2)),
        extension(13, vector(b"\x04\x03\x08\x07", 2)),
        extension(51, vector(group.to_bytes(2, "big") + vector(share, 2), 2)),
    ]


def same(data: bytes) -> bytes:
    return data


@dataclass
class Side:
    suite: int = 0x1301
    chain: Sequence[bytes] = ()
    key: SigningKey | None = None
    share: x25519.X25519PrivateKey = field(default_factory=x25519.X25519PrivateKey.generate)
    schedule: Schedule = field(default_factory=lambda: Schedule(0x1301))

    @property
    def public(self) -> bytes:
        return self.share.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def agree(self, share: bytes) -> tuple[bytes, bytes]:
        """The handshake's traffic secrets, the client's first."""
        secret = self.share.exchange(x25519.X25519PublicKey.from_public_bytes(share))
        self.schedule.advance(b"")
        self.schedule.advance(secret)
        return self.schedule.derive(b"c hs traffic"), self.schedule.derive(b"s hs traffic")

    def say(self, data: bytes) -> bytes:
        self.schedule.said += data
        return data


@dataclass
class BadClient(Side):
    """A client: `hello`, then `take` what the server says, then `finish`."""

    random: bytes = field(default_factory=lambda: os.urandom(32))
    session: bytes = field(default_factory=lambda: os.urandom(32))

    def hello(
        self,
        extensions: Sequence[bytes] | None = None,
        *,
        suites: bytes = b"\x13\x01\x13\x02\x13\x03",
        legacy: bytes = b"\x03\x03",
        compression: bytes = b"\0",
    ) -> bytes:
        offered = b"".join(hello_extensions(self.public) if extensions is None else extensions)
        body = legacy + self.random + vector(self.session, 1) + vector(suites, 2) + vector(compression, 1)
        return self.say(message(1, body + vector(offered, 2)))

    def fold(self, retry: bytes) -> None:
        self.schedule.said = b"\xfe\0\0\x20" + self.schedule.digest() + retry

    def take(self, stream: bytes) -> list[bytes]:
        """The server's encrypted messages."""
        first, *rest = [one for one in records(stream) if one[0] != CHANGE_CIPHER]
        hello = self.say(first[5:])
        self.schedule.suite = int.from_bytes(hello[71:73], "big")
        client, server = self.agree(hello[-32:])
        self.outgoing, incoming = Direction(self.schedule.suite, client), Direction(self.schedule.suite, server)
        said = b"".join(incoming.open(one)[1] for one in rest)
        self.say(said)
        digest = self.schedule.digest()
        self.schedule.advance(b"")
        self._application = self.schedule.derive(b"c ap traffic", digest), self.schedule.derive(b"s ap traffic", digest)
        return messages_of(said)

    def finish(self, *, change: Change = same, identity: Change | None = None, who: bytes = b"client") -> bytes:
        """Certificate and its proof, if `identity` is given (it changes the proof), and Finished, changed."""
        parts = []
        if identity:
            parts.append(self.say(certificate(self.chain)))
            if self.key:
                parts.append(self.say(message(15, identity(sign(self.key, who, self.schedule.digest())))))
        parts.append(message(20, change(self.schedule.finished(self.outgoing.secret))))
        return self.outgoing.seal(HANDSHAKE, b"".join(parts))

    def connected(self) -> tuple[Direction, Direction]:
        """Out and in."""
        client, server = self._application
        return Direction(self.schedule.suite, client), Direction(self.schedule.suite, server)


@dataclass
class BadServer(Side):
    """A server: `answer` to a client's hello, whole or with one of its messages changed."""

    def hello(self, client: bytes, *, random: bytes | None = None, more: bytes = b"", **changes: bytes) -> bytes:
        """A ServerHello to these bytes of a ClientHello."""
        session = client[38 : 39 + client[38]]
        default = extension(43, b"\x03\x04") + extension(51, X25519.to_bytes(2, "big") + vector(self.public, 2))
        body = changes.get("legacy", b"\x03\x03") + (random or os.urandom(32)) + changes.get("session", session)
        body += changes.get("suite", self.suite.to_bytes(2, "big")) + changes.get("compression", b"\0")
        return message(2, body + vector(changes.get("extensions", default) + more, 2))

    def answer(
        self, client: bytes, share: bytes, changes: dict[int, Change] | None = None, who: bytes = b"server"
    ) -> bytes:
        """All records up to Finished; `changes` by the type of message, of what is then also what was said."""
        self.schedule = Schedule(self.suite)
        change = changes or {}
        self.say(client)
        hello = self.say(change.get(2, same)(self.hello(client)))
        client_secret, server_secret = self.agree(share)
        self.outgoing, self.incoming = Direction(self.suite, server_secret), Direction(self.suite, client_secret)
        said = [self.say(change.get(8, same)(message(8, b"\0\0")))]
        said.append(self.say(change.get(11, same)(certificate(self.chain))))
        if self.key:
            said.append(self.say(change.get(15, same)(message(15, sign(self.key, who, self.schedule.digest())))))
        said.append(change.get(20, same)(message(20, self.schedule.finished(server_secret))))
        self.say(said[-1])
        digest = self.schedule.digest()
        self.schedule.advance(b"")
        self._application = self.schedule.derive(b"c ap traffic", digest), self.schedule.derive(b"s ap traffic", digest)
        return plain_record(HANDSHAKE, hello) + self.outgoing.seal(HANDSHAKE, b"".join(said))

    def connected(self) -> tuple[Direction, Direction]:
        """Out and in."""
        client, server = self._application
        return Direction(self.suite, server), Direction(self.suite, client)
