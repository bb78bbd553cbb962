"""Seal data to a program on a platform, and unseal it there.

    with FilePlatformKey(path) as key:
        sealer = Sealer(key, identity)
        sealed = sealer.seal(b"...", Terms(policy=Policy.SIGNER, label="database key"))
        secret = sealer.unseal(sealed, label="database key")     # a bytearray; `wipe` it after use

Unsealing checks in this order: the format, the platform key's name, the header's tag, whom it is for, the chunks. So
whoever forges a header always gets the same answer, whatever it says; only an authentic one is compared with.
"""

import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from cloister.errors import ParseError, UsageError
from cloister.seal.chunks import Sink, Source, decrypt, encrypt, fill, sealed_size
from cloister.seal.counter import MonotonicCounter
from cloister.seal.header import FIXED_SIZE, LONGEST_HEADER, CounterStamp, SealedHeader, sizes_of
from cloister.seal.identity import Policy, SealingIdentity
from cloister.seal.keys import TAG_SIZE, Binding, PlatformKey, content_key, header_tag, key_identifier
from cloister.seal.matching import check_match, check_stamp, other_key, too_old_for_the_tee
from cloister.seal.memory import MemorySink, MemorySource
from cloister.seal.refusal import SealBroken
from cloister.seal.wiping import wipe, wiped

__all__ = ["Sealer", "Terms", "read_header"]

SALT: Final = 32
IDENTIFIERS_KEPT: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What data is sealed for. `label`: what it is, which unsealing must repeat. `counter`: against rollback."""

    policy: Policy = Policy.MEASUREMENT
    label: str = ""
    counter: MonotonicCounter | None = None


PLAIN: Final = Terms()


class Sealer:
    """One program on one platform. Keeps no secret itself; the platform key is the caller's to close."""

    def __init__(self, key: PlatformKey, identity: SealingIdentity) -> None:
        self.key, self.identity = key, identity
        self._identifiers: dict[Binding, bytes] = {}

    def seal(self, data: bytes | bytearray | memoryview, terms: Terms = PLAIN) -> bytes:
        """Sealed data. With a counter: store it durably, then call `stored`. UsageError, ValueError."""
        plain = memoryview(data).cast("B")
        sink = MemorySink(bytearray(LONGEST_HEADER + TAG_SIZE + sealed_size(len(plain))))
        self.seal_stream(MemorySource(plain), sink, terms)
        return sink.written()

    def seal_stream(self, source: Source, sink: Sink, terms: Terms = PLAIN) -> SealedHeader:
        """Seal all of `source` into `sink`, in memory that does not depend on its size; the header that was written."""
        header = self._new_header(terms)
        tag = header_tag(self.key, header)
        _write_all(sink, header.encoded + tag)
        content = content_key(self.key, header, tag)
        with wiped(content):
            encrypt(content, source, sink)
        return header

    @staticmethod
    def stored(header: SealedHeader, counter: MonotonicCounter) -> None:
        """What has this header is on the disk: older seals shall not open any more. CloisterError."""
        if header.stamp is None or header.stamp.identifier != counter.identifier:
            raise UsageError("this data was not sealed with that counter")
        counter.advance_to(header.stamp.value)

    def unseal(
        self, sealed: bytes | bytearray | memoryview, *, label: str = "", counter: MonotonicCounter | None = None
    ) -> bytearray:
        """The data, which the caller wipes. ParseError, SealedForAnother, SealBroken."""
        data = memoryview(sealed).cast("B")
        content = bytearray(len(data))  # more than enough: growing would leave copies behind
        try:
            size = self.unseal_stream(MemorySource(data), MemorySink(content), label=label, counter=counter)
            del content[size:]
        except BaseException:
            wipe(content)
            raise
        return content

    def unseal_stream(
        self, source: Source, sink: Sink | None, *, label: str = "", counter: MonotonicCounter | None = None
    ) -> int:
        """Unseal all of `source` into `sink`; how many bytes. None as `sink` only checks. Raises as `unseal`.

        Until this returns the end may be missing: do not act on what is in `sink`.
        """
        header, tag = read_header(source)
        self._recognise(header, tag)
        check_match(header, self.identity, label)
        check_stamp(header, counter)
        content = content_key(self.key, header, tag)
        with wiped(content):
            size = decrypt(content, source, sink)
        if counter is not None and header.stamp is not None and sink is not None:
            counter.advance_to(header.stamp.value)
        return size

    def _new_header(self, terms: Terms) -> SealedHeader:
        who, identity, counter = self.identity.of(terms.policy), self.identity, terms.counter
        if who is None:
            raise UsageError("nothing is sealed to the signer of a program that has none: seal to its measurement")
        return SealedHeader(
            policy=terms.policy, tee=identity.tee, who=who, security_version=identity.security_version,
            debug=identity.debug, label=terms.label, salt=secrets.token_bytes(SALT),
            key_id=self._identifier(Binding(terms.policy, identity.security_version)),
            stamp=CounterStamp(counter.identifier, counter.read() + 1) if counter else None,
        )  # fmt: skip

    def _recognise(self, header: SealedHeader, tag: bytes) -> None:
        """The header is authentic under this platform key. SealedForAnother, SealBroken."""
        if self.key.binds_identity and header.security_version > self.identity.security_version:
            raise too_old_for_the_tee(header, self.identity)
        if header.key_id != self._identifier(Binding(header.policy, header.security_version)):
            raise other_key(header, self.key)
        if not hmac.compare_digest(tag, header_tag(self.key, header)):
            raise SealBroken(
                "the header of the sealed data is not authentic: it was changed or forged; restore the file from a copy"
            )

    def _identifier(self, binding: Binding) -> bytes:
        if binding not in self._identifiers:
            if len(self._identifiers) >= IDENTIFIERS_KEPT:  # versions are chosen by whoever makes headers
                self._identifiers.clear()
            self._identifiers[binding] = key_identifier(self.key, binding)
        return self._identifiers[binding]


def read_header(source: Source) -> tuple[SealedHeader, bytes]:
    """The header that `source` begins with, and its tag; not checked. ParseError."""
    fixed = _exactly(source, FIXED_SIZE, "header", 0)
    rest = sizes_of(fixed)
    header = SealedHeader.parse(fixed + _exactly(source, rest, "header", FIXED_SIZE))
    return header, _exactly(source, TAG_SIZE, "tag", FIXED_SIZE + rest)


def _exactly(source: Source, size: int, what: str, offset: int) -> bytes:
    data = bytearray(size)
    if (got := fill(source, memoryview(data))) != size:
        raise ParseError("SealedData", what, offset, f"needs {size} bytes, {got} are left")
    return bytes(data)


def _write_all(sink: Sink, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        count = sink.write(rest)
        rest = rest[len(rest) if count is None else count :]
