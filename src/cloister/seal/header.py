"""The header of sealed data, version 1 (docs/formats/sealed-data.md). Little-endian; every byte has one meaning.

`SealedHeader.parse` reads what `encoded` writes, and refuses everything else. What it read is not authentic yet.
"""

import functools
from dataclasses import dataclass
from typing import Final

from cloister._wire import Reader, Record, raw, reserved, u8, u16, u32, u64
from cloister.errors import ParseError
from cloister.model import Digest, Measurement, MeasurementKind, Tee
from cloister.seal.identity import Policy

__all__ = ["FIXED_SIZE", "LONGEST_HEADER", "CounterStamp", "SealedHeader", "sizes_of"]

MAGIC: Final = b"CLOISEAL"
VERSION: Final = 1
DEBUG, COUNTED = 1, 2
POLICIES: Final = {Policy.MEASUREMENT: 1, Policy.SIGNER: 2}
KINDS: Final = {Policy.MEASUREMENT: MeasurementKind.LAUNCH, Policy.SIGNER: MeasurementKind.SIGNER}
DIGESTS: Final = {"sha256": 32, "sha384": 48, "sha512": 64, "sha3_512": 64}
RECORD: Final = "SealedHeader"
LONGEST_NAME: Final = 32
LONGEST_LABEL: Final = 255


class FixedPart(Record, size=96):
    """What every header begins with; the sizes at its end are those of the parts that follow it, in that order."""

    magic: bytes = raw(8, equals=MAGIC)
    version: int = u16(equals=VERSION)
    policy: int = u8()
    flags: int = u8()
    security_version: int = u32()
    counter: int = u64()
    counter_id: bytes = raw(16)
    key_id: bytes = raw(16)
    salt: bytes = raw(32)
    digest_size: int = u8()
    tee_size: int = u8()
    name_size: int = u8()
    algorithm_size: int = u8()
    label_size: int = u8()
    reserved_93: bytes = reserved(3)


FIXED_SIZE: Final = FixedPart.SIZE
LONGEST_HEADER: Final = FIXED_SIZE + 64 + 3 * LONGEST_NAME + LONGEST_LABEL


@dataclass(frozen=True, slots=True)
class CounterStamp:
    """Where a monotonic counter (`identifier`, 16 bytes) will stand once this data is stored; `value` is not 0."""

    identifier: bytes
    value: int


@dataclass(frozen=True, kw_only=True)
class SealedHeader:
    """What sealed data says of itself. `who` is what `policy` binds it to; `key_id` (16 bytes) names the platform key.

    `salt`: 32 random bytes, so that no two seals share a content key. `label`: what the data is for, at most 255 bytes.
    """

    policy: Policy
    tee: Tee
    who: Measurement
    security_version: int
    debug: bool
    label: str
    key_id: bytes
    salt: bytes
    stamp: CounterStamp | None = None

    def __post_init__(self) -> None:
        """ValueError for what has no place in a header."""
        if len(self.label.encode()) > LONGEST_LABEL or not self.label.isprintable():
            raise ValueError(f"a label has at most {LONGEST_LABEL} bytes of printable characters")
        name = self.who.name
        if not (1 <= len(name) <= LONGEST_NAME and name.isascii() and name.isprintable()):
            raise ValueError(f"the name of a measurement has 1 to {LONGEST_NAME} printable ASCII characters: {name!r}")
        if DIGESTS.get(self.who.digest.algorithm) != len(self.who.digest.value):
            raise ValueError(f"{self.who.digest} is no digest of {', '.join(DIGESTS)}")

    @functools.cached_property
    def encoded(self) -> bytes:
        """The bytes that `parse` reads as this header."""
        digest = self.who.digest
        texts = [text.encode() for text in (self.tee, self.who.name, digest.algorithm, self.label)]
        tee_size, name_size, algorithm_size, label_size = map(len, texts)
        fixed = FixedPart(
            magic=MAGIC, version=VERSION,
            policy=POLICIES[self.policy],
            flags=DEBUG * self.debug | COUNTED * (self.stamp is not None),
            security_version=self.security_version,
            counter=self.stamp.value if self.stamp else 0,
            counter_id=self.stamp.identifier if self.stamp else bytes(16),
            key_id=self.key_id, salt=self.salt, digest_size=len(digest.value), tee_size=tee_size, name_size=name_size,
            algorithm_size=algorithm_size, label_size=label_size,
        )  # fmt: skip
        return b"".join((fixed.serialize(), digest.value, *texts))

    def terms(self) -> bytes:
        """What the key depends on: everything but the salt, the counter and the name of the platform key."""
        terms = bytearray(self.encoded)
        start, end = FixedPart.OFFSETS["counter"], FixedPart.OFFSETS["digest_size"]
        terms[start:end] = bytes(end - start)
        terms[FixedPart.OFFSETS["flags"]] &= ~COUNTED
        return bytes(terms)

    @classmethod
    def parse(cls, data: bytes) -> "SealedHeader":
        """Exactly one header. ParseError."""
        fixed = FixedPart.parse(data[:FIXED_SIZE])
        reader = Reader(data[FIXED_SIZE:], RECORD, base=FIXED_SIZE)
        digest = reader.take(fixed.digest_size, "digest")
        tee = _one_of(Tee, _text(reader, fixed.tee_size, "tee"), "tee", reader)
        name, algorithm = _text(reader, fixed.name_size, "name"), _text(reader, fixed.algorithm_size, "algorithm")
        label = _text(reader, fixed.label_size, "label")
        reader.finish()
        policy = {number: policy for policy, number in POLICIES.items()}.get(fixed.policy)
        if policy is None:
            raise _refused("policy", f"{fixed.policy} is not known")
        try:
            return cls(
                policy=policy, tee=tee, who=Measurement(name, KINDS[policy], Digest(algorithm, digest)),
                security_version=fixed.security_version, debug=bool(fixed.flags & DEBUG), label=label,
                key_id=fixed.key_id, salt=fixed.salt, stamp=_stamp(fixed),
            )  # fmt: skip
        except ValueError as error:
            raise ParseError(RECORD, "text", FIXED_SIZE, str(error)) from error


def sizes_of(fixed: bytes) -> int:
    """How many bytes of header follow its first `FIXED_SIZE`. ParseError if those are none."""
    part = FixedPart.parse(fixed)
    return part.digest_size + part.tee_size + part.name_size + part.algorithm_size + part.label_size


def _stamp(fixed: FixedPart) -> CounterStamp | None:
    if fixed.flags & ~(DEBUG | COUNTED):
        raise _refused("flags", f"{fixed.flags:#x} has bits that are not known")
    if fixed.flags & COUNTED:
        if not fixed.counter:
            raise _refused("counter", "is 0; the first seal has 1")
        return CounterStamp(fixed.counter_id, fixed.counter)
    if fixed.counter or any(fixed.counter_id):
        raise _refused("counter", "is given, and the flags say that there is none")
    return None


def _refused(field: str, reason: str) -> ParseError:
    return ParseError(RECORD, field, FixedPart.OFFSETS[field], reason)


def _text(reader: Reader, size: int, field: str) -> str:
    data = reader.take(size, field)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ParseError(RECORD, field, reader.base + reader.offset - size, "is not UTF-8") from error


def _one_of(kinds: type[Tee], text: str, field: str, reader: Reader) -> Tee:
    try:
        return kinds(text)
    except ValueError as error:
        raise reader.error(field, f"{text!r} is not known") from error
