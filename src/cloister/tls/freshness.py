"""Evidence made for the connection at hand: a challenge and its answer in the channel, before the application speaks.

    client -> server    [nonce or nothing]
    server -> client    [evidence or nothing, nonce or nothing]
    client -> server    [evidence]                                  only if the server sent a nonce

Each message is a deterministic CBOR array behind its length (4 bytes). A nonce has 32 bytes. The report data is

    SHA-256(CBOR ["cloister-fresh/1", "server" or "client", nonce, SHA-256(own SubjectPublicKeyInfo), Finished])

with `Finished` the client's Finished message: a MAC over the whole handshake under a key of this connection (RFC 8446,
section 4.4.4), which both ends know and no two connections share. Whoever has stolen a certificate's key therefore
cannot pass the challenge on to the TEE: it would answer for its connection with the thief. This is RFC 9334's
background check (section 5.2) with a nonce (section 10). Python's `ssl` has no exporter (RFC 9266), but this value.

Both ends agree on it by ALPN (RFC 7301): `cloister-fresh/1`. It is HTTP/1.1 or what the application speaks behind it.
"""

import hashlib
import secrets
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

from cloister import _cbor
from cloister._x509 import Certificate
from cloister.envelope import open_envelope
from cloister.errors import NotFresh, ParseError
from cloister.model import Challenge
from cloister.tls.demands import Demands
from cloister.tls.identity import Identity
from cloister.verifier import Verdict

__all__ = ["MARK", "Exchange", "Terms", "report_digest", "steps"]

MARK: Final = "cloister-fresh/1"
NONCE: Final = 32
LARGEST: Final = 1 << 18
"""Bytes of a message. The largest evidence, a quote with its chain, has some 8 kB."""

RECORD: Final = "freshness message"


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What a step needs: these bytes written, or else exactly so many read."""

    write: bytes = b""
    read: int = 0


Steps = Generator[Want, bytes, Verdict | None]
"""A side of the exchange; it returns the verdict about the peer's evidence, or None if it asked for none."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What one side brings: what it demands, what it can answer with, both certificates, and the client's Finished."""

    role: str
    demands: Demands | None
    identity: Identity | None
    own: Certificate | None
    peer: Certificate | None
    finished: bytes

    def nonce(self) -> bytes:
        """A challenge, if this side makes one."""
        return secrets.token_bytes(NONCE) if self.demands is not None and self.demands.fresh else b""

    def answer(self, nonce: bytes) -> bytes:
        """Evidence for the peer's challenge; empty if there is none, or nothing to answer with."""
        if not nonce or self.identity is None or self.own is None:
            return b""
        return self.identity.evidence(report_digest(self.role, nonce, self.own, self.finished))

    def judge(self, nonce: bytes, evidence: bytes) -> Verdict | None:
        """The verdict about the peer's answer; None if nothing was asked. Raises as `Demands.appraise` does."""
        if not nonce or self.demands is None:
            return None
        if not evidence or self.peer is None:
            raise NotFresh("the peer answered the challenge without evidence", expected="evidence", actual="none")
        role = "client" if self.role == "server" else "server"
        challenge = Challenge(report_digest(role, nonce, self.peer, self.finished))
        verdict = self.demands.judge(open_envelope(evidence), challenge, self.demands.clock())
        return self.demands.accepted(verdict)


def report_digest(role: str, nonce: bytes, own: Certificate, finished: bytes) -> bytes:
    """What evidence for this connection carries: 32 bytes."""
    key = hashlib.sha256(own.spki).digest()
    return hashlib.sha256(_cbor.dumps([MARK, role, nonce, key, finished])).digest()


def steps(terms: Terms) -> Steps:
    """The exchange as this side performs it."""
    return _client(terms) if terms.role == "client" else _server(terms)


def _client(terms: Terms) -> Steps:
    nonce = terms.nonce()
    yield from _say(nonce)
    evidence, asked = yield from _hear(2)
    verdict = terms.judge(nonce, evidence)
    if asked:
        yield from _say(terms.answer(_nonce(asked)))
    return verdict


def _server(terms: Terms) -> Steps:
    (asked,) = yield from _hear(1)
    nonce = terms.nonce()
    yield from _say(terms.answer(_nonce(asked)), nonce)
    if not nonce:
        return None
    (evidence,) = yield from _hear(1)
    return terms.judge(nonce, evidence)


def _nonce(said: bytes) -> bytes:
    if len(said) not in {0, NONCE}:
        raise ParseError(RECORD, "nonce", 0, f"has {len(said)} bytes; {NONCE} or none")
    return said


def _say(*members: bytes) -> Generator[Want, bytes, None]:
    body = _cbor.dumps(list(members))
    yield Want(write=len(body).to_bytes(4, "big") + body)


def _hear(count: int) -> Generator[Want, bytes, list[bytes]]:
    length = int.from_bytes((yield Want(read=4)), "big")
    if not 0 < length <= LARGEST:
        raise ParseError(RECORD, "length", 0, f"{length} bytes; 1 to {LARGEST}")
    value = _cbor.loads((yield Want(read=length)), RECORD, base=4, longest=LARGEST)
    if not isinstance(value, list) or len(value) != count:
        raise ParseError(RECORD, "members", 4, f"is no array of {count}")
    return [_cbor.octets(one, RECORD, "member", base=4) for one in value]


class Exchange:
    """Carries the steps out on a connection that may not be ready: `advance` can be called again where it stopped."""

    def __init__(self, going: Steps) -> None:
        self._going = going
        self._want = next(going)
        self._got, self._sent = b"", 0

    def advance(self, read: Callable[[int], bytes], write: Callable[[bytes], int]) -> Verdict | None:
        """Go on to the end, and return the verdict. `read` and `write` may raise ssl.SSLWantReadError and the like."""
        try:
            while True:
                self._want = self._going.send(self._satisfied(read, write))
                self._got, self._sent = b"", 0
        except StopIteration as done:
            verdict: Verdict | None = done.value
            return verdict

    def _satisfied(self, read: Callable[[int], bytes], write: Callable[[bytes], int]) -> bytes:
        while self._sent < len(self._want.write):
            self._sent += write(self._want.write[self._sent :])
        while len(self._got) < self._want.read:
            some = read(self._want.read - len(self._got))
            if not some:
                raise NotFresh("the peer closed the connection instead of answering the challenge")
            self._got += some
        return self._got
