"""The attestation message of Google's go-tpm-tools: one quote per PCR bank, key, event log, certificates.

github.com/google/go-tpm-tools, proto/attest.proto and proto/tpm.proto (package attest, message Attestation), in the
wire format of Protocol Buffers 3, of which only what these messages use is read:

    1 AK's TPMT_PUBLIC | 2 quotes {1 TPMS_ATTEST, 2 TPMT_SIGNATURE, 3 PCRs {1 bank, 2 {1 index, 2 value}}}
    3 event log | 6 AK certificate (DER) | 7 intermediate certificates

The instance's name (4) is nobody's proof and is passed over. A second event log (5) or a TEE's own evidence (8, 9) is
refused by name rather than dropped: other parsers read those.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from cloister._wire import Reader
from cloister._x509 import Certificate
from cloister.errors import ParseError
from cloister.evidence import eventlog
from cloister.evidence.eventlog import ALGORITHMS, EventLog
from cloister.evidence.tpm import TpmQuote, of_parts

__all__ = ["GoogleAttestation", "looks_like", "parse"]

RECORD: Final = "go-tpm-tools attestation"
LONGEST: Final = 8 << 20
MOST_FIELDS: Final = 256
"""Fields of one message. A bank has 24 PCRs and an attestation about 10 certificates."""

VARINT: Final = 0
LENGTH_DELIMITED: Final = 2
NOT_READ: Final = {5: "a canonical event log", 8: "an AMD SEV-SNP attestation", 9: "an Intel TDX quote"}


@dataclass(frozen=True, kw_only=True)
class GoogleAttestation:
    """Quotes over different banks, all by one key and with one event log; certificates that may vouch for the key."""

    quotes: tuple[TpmQuote, ...]
    certificates: tuple[Certificate, ...] = field(default=(), repr=False)


def looks_like(data: bytes) -> bool:
    """Whether this begins with a TPM's public area as field 1, as this message does."""
    return data[:1] == b"\x0a" and data[3:5] in {b"\x00\x01", b"\x00\x23"}


def parse(data: bytes, *, base: int = 0) -> GoogleAttestation:
    """Read an attestation of exactly these bytes."""
    if len(data) > LONGEST:
        raise ParseError(RECORD, "length", base, f"{len(data)} bytes; at most {LONGEST}")
    fields = _fields(data, base)
    for number, what in NOT_READ.items():
        if number in fields:
            raise ParseError(RECORD, f"field {number}", base, f"{what} is inside: not read here")
    key, log = _one(fields, 1, base), _one(fields, 3, base)
    parsed = eventlog.parse(log) if log else None  # once: up to 128 quotes share it
    quotes = tuple(_quote(_octets(one, base), key, parsed, base) for one in fields.get(2, []))
    if not quotes:
        raise ParseError(RECORD, "quotes", base, "there is none")
    certificates = [_octets(one, base) for number in (6, 7) for one in fields.get(number, [])]
    return GoogleAttestation(quotes=quotes, certificates=tuple(Certificate.parse(one) for one in certificates if one))


def _quote(data: bytes, key: bytes, log: EventLog | None, base: int) -> TpmQuote:
    fields = _fields(data, base)
    pcrs = _fields(_one(fields, 3, base), base)
    bank = pcrs.get(1, [0])[-1]
    values: dict[int, bytes] = {}
    for one in pcrs.get(2, []):
        entry = _fields(_octets(one, base), base)
        index = entry.get(1, [0])[-1]
        if not isinstance(index, int) or index in values:
            raise ParseError(RECORD, "pcrs", base, "an index stands twice, or is not a number")
        values[index] = _one(entry, 2, base)
    if bank not in ALGORITHMS or not isinstance(bank, int):
        raise ParseError(RECORD, "hash", base, f"bank {bank!r} is unknown")
    quote = of_parts(_one(fields, 1, base), _one(fields, 2, base), key=key, pcrs={bank: values})
    return replace(quote, event_log=log)


def _fields(data: bytes, base: int) -> dict[int, list[int | bytes]]:
    """The fields of one message by number, each with its values in order."""
    reader = Reader(data, RECORD, base=base)
    found: dict[int, list[int | bytes]] = {}
    count = 0
    while reader.left:
        tag = _varint(reader)
        number, wire = tag >> 3, tag & 7
        count += 1
        if count > MOST_FIELDS or not number:
            raise reader.error("tag", f"field number 0, or more than {MOST_FIELDS} fields")
        if wire == VARINT:
            value: int | bytes = _varint(reader)
        elif wire == LENGTH_DELIMITED:
            value = reader.take(_varint(reader), f"field {number}")
        else:
            raise reader.error("tag", f"wire type {wire} of field {number} is not used by these messages")
        found.setdefault(number, []).append(value)
    return found


def _varint(reader: Reader) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = reader.u8("varint")
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise reader.error("varint", "has more than 64 bits")


def _octets(value: int | bytes, base: int) -> bytes:
    if isinstance(value, int):
        raise ParseError(RECORD, "field", base, "is a number where bytes are needed")
    return value


def _one(fields: dict[int, list[int | bytes]], number: int, base: int) -> bytes:
    """The bytes of a field that stands at most once; empty if it does not."""
    values = fields.get(number, [b""])
    if len(values) > 1:
        raise ParseError(RECORD, f"field {number}", base, "stands more than once")
    return _octets(values[0], base)
