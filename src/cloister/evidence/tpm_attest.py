"""What a TPM signs: TPMS_ATTEST, and how it signs it: TPMT_SIGNATURE.

TCG TPM 2.0 Library, part 2: sections 10.12 (attestation), 10.6 (PCR selection), 11.3.4 (signatures). Big-endian.
"""

import functools
import struct
from dataclasses import dataclass
from typing import Final

from cloister._wire import Reader, frozen
from cloister.errors import ParseError
from cloister.evidence.eventlog import ALGORITHMS

__all__ = [
    "GENERATED",
    "QUOTE",
    "Attest",
    "PcrSelection",
    "TpmSignature",
    "parse_attest",
    "parse_signature",
    "selected",
]

GENERATED: Final = 0xFF544347
"""TPM_GENERATED_VALUE: 0xff and "TCG". A restricted key signs nothing foreign that begins so."""

QUOTE: Final = 0x8018
ATTESTATIONS: Final = {
    0x8014: "TPM_ST_ATTEST_NV",
    0x8015: "TPM_ST_ATTEST_COMMAND_AUDIT",
    0x8016: "TPM_ST_ATTEST_SESSION_AUDIT",
    0x8017: "TPM_ST_ATTEST_CERTIFY",
    QUOTE: "TPM_ST_ATTEST_QUOTE",
    0x8019: "TPM_ST_ATTEST_TIME",
    0x801A: "TPM_ST_ATTEST_CREATION",
    0x801C: "TPM_ST_ATTEST_NV_DIGEST",
}
SCHEMES: Final = {0x0014: "rsassa", 0x0016: "rsapss", 0x0018: "ecdsa"}
OTHER_SCHEMES: Final = {0x0005: "HMAC", 0x0010: "NULL", 0x001A: "ECDAA", 0x001B: "SM2", 0x001C: "ECSCHNORR"}
BARE_SIZES: Final = frozenset({256, 384, 512})
"""Bytes of RSA signatures without the TPMT_SIGNATURE around them. No TPMT_SIGNATURE has one of these lengths."""

LONGEST_DATA: Final = 66
"""Bytes. TPM2B_DATA and a TPM2B_NAME hold at most a hash algorithm and its longest digest."""

LONGEST_SELECTION: Final = 4
MOST_SELECTIONS: Final = 16
HASH_AND_SIZE: Final = struct.Struct(">HB")
SCHEME_AND_HASH: Final = struct.Struct(">HH")
HEAD: Final = struct.Struct(">IHH")
CLOCK_AND_COUNT: Final = struct.Struct(">QIIBQI")
"""TPMS_CLOCK_INFO (clock, resetCount, restartCount, safe), firmwareVersion, and the count of selections."""


@dataclass(frozen=True, slots=True)
class PcrSelection:
    """TPMS_PCR_SELECTION: a bank (TPM_ALG_ID) and the PCRs in it, as a bit map."""

    algorithm: int
    bitmap: bytes

    @property
    def bank(self) -> str:
        """The bank's algorithm by hashlib's name, or the number of one that is unknown."""
        return bank_name(self.algorithm)

    @property
    def indices(self) -> tuple[int, ...]:
        """The selected PCRs, ascending: the order in which the quote's digest takes them."""
        return selected(self.bitmap)


def bank_name(algorithm: int) -> str:
    """An algorithm by hashlib's name, or its number."""
    return ALGORITHMS[algorithm][0] if algorithm in ALGORITHMS else f"{algorithm:#06x}"


@functools.lru_cache(maxsize=256)
def selected(bitmap: bytes) -> tuple[int, ...]:
    """The bits that are set, bit 0 of byte 0 first."""
    return tuple(8 * i + b for i, byte in enumerate(bitmap) for b in range(8) if byte >> b & 1)


@dataclass(frozen=True, kw_only=True)
class Attest:
    """TPMS_ATTEST of a quote.

    `qualified_signer` is the signing key's name in its hierarchy; `extra_data` is the caller's nonce; `clock` is
    milliseconds; `firmware_version` has the vendor's meaning.
    """

    qualified_signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: int
    firmware_version: int
    selections: tuple[PcrSelection, ...]
    pcr_digest: bytes

    @functools.cached_property
    def signed(self) -> bytes:
        """The bytes under the signature."""
        return self.serialize()

    def serialize(self) -> bytes:
        """The bytes, from the fields."""
        rest = CLOCK_AND_COUNT.pack(
            self.clock, self.reset_count, self.restart_count, self.safe, self.firmware_version, len(self.selections)
        )
        each = (s.algorithm.to_bytes(2) + bytes([len(s.bitmap)]) + s.bitmap for s in self.selections)
        head = GENERATED.to_bytes(4) + QUOTE.to_bytes(2)
        return (
            head
            + sized(self.qualified_signer)
            + sized(self.extra_data)
            + rest
            + b"".join(each)
            + sized(self.pcr_digest)
        )


def sized(data: bytes) -> bytes:
    """A TPM2B: two bytes of size, then the data."""
    return len(data).to_bytes(2) + data


def parse_attest(data: bytes, *, base: int = 0) -> Attest:
    """Read a quote's TPMS_ATTEST of exactly these bytes."""
    reader = Reader(data, "TPMS_ATTEST", order="big", base=base)
    magic, kind, size = HEAD.unpack(reader.take(8, "magic"))
    if magic != GENERATED:
        raise ParseError("TPMS_ATTEST", "magic", base, f"is {magic:#010x}: a TPM did not make this")
    if kind != QUOTE:
        raise ParseError("TPMS_ATTEST", "type", base + 4, f"is {ATTESTATIONS.get(kind, hex(kind))}, not a quote")
    signer = _limited(reader, size, "qualifiedSigner")
    extra = _limited(reader, reader.u16("extraData size"), "extraData")
    clock, resets, restarts, safe, firmware, count = CLOCK_AND_COUNT.unpack(reader.take(29, "clockInfo"))
    if safe > 1:
        raise reader.error("safe", f"is {safe}: neither yes nor no")
    selections = _selections(reader, count)
    digest = reader.take(reader.u16("pcrDigest size"), "pcrDigest")
    reader.finish()
    return frozen(Attest, {
        "qualified_signer": signer, "extra_data": extra, "clock": clock, "reset_count": resets,
        "restart_count": restarts, "safe": safe, "firmware_version": firmware, "selections": selections,
        "pcr_digest": digest, "signed": data,
    })  # fmt: skip


def _limited(reader: Reader, size: int, field: str) -> bytes:
    if size > LONGEST_DATA:
        raise reader.error(field, f"{size} bytes; at most {LONGEST_DATA}")
    return reader.take(size, field)


def _selections(reader: Reader, count: int) -> tuple[PcrSelection, ...]:
    if count > MOST_SELECTIONS:
        raise reader.error("pcrSelect", f"{count} banks; at most {MOST_SELECTIONS}")
    found: dict[int, PcrSelection] = {}
    for _ in range(count):
        algorithm, size = HASH_AND_SIZE.unpack(reader.take(3, "pcrSelect hash"))
        if algorithm in found or size > LONGEST_SELECTION:
            raise reader.error(
                "pcrSelect", f"a bank stands twice, or its bit map has more than {LONGEST_SELECTION} bytes"
            )
        found[algorithm] = selection(algorithm, reader.take(size, "pcrSelect"))
    return tuple(found.values())


@functools.lru_cache(maxsize=256)
def selection(algorithm: int, bitmap: bytes) -> PcrSelection:
    """A selection, made once: nearly all quotes have the same few."""
    return PcrSelection(algorithm, bitmap)


@dataclass(frozen=True, kw_only=True)
class TpmSignature:
    """TPMT_SIGNATURE: `scheme` is rsassa, rsapss or ecdsa, `digest` hashlib's name, `parts` the signature or r and s.

    A `bare` one is an RSA signature alone, as Azure's tools hand it over: RSASSA with SHA-256, their keys' scheme.
    """

    scheme: str
    digest: str
    parts: tuple[bytes, ...]
    bare: bool = False

    def serialize(self) -> bytes:
        """The signature's bytes."""
        if self.bare:
            return self.parts[0]
        scheme = next(number for number, name in SCHEMES.items() if name == self.scheme)
        digest = next(number for number, (name, _) in ALGORITHMS.items() if name == self.digest)
        return scheme.to_bytes(2) + digest.to_bytes(2) + b"".join(map(sized, self.parts))


def parse_signature(data: bytes, *, base: int = 0) -> TpmSignature:
    """Read a TPMT_SIGNATURE, or a bare RSA signature, of exactly these bytes; the length tells which."""
    if len(data) in BARE_SIZES:
        return TpmSignature(scheme="rsassa", digest="sha256", parts=(data,), bare=True)
    reader = Reader(data, "TPMT_SIGNATURE", order="big", base=base)
    number, algorithm = SCHEME_AND_HASH.unpack(reader.take(4, "sigAlg"))
    scheme = SCHEMES.get(number)
    if scheme is None:
        raise reader.error("sigAlg", f"is {OTHER_SCHEMES.get(number, hex(number))}: not RSASSA, RSAPSS or ECDSA")
    digest, _ = ALGORITHMS.get(algorithm, ("", 0))
    if not digest:
        raise reader.error("hash", "is not an algorithm that is known")
    parts: tuple[bytes, ...] = (reader.take(reader.u16("size"), "signature"),)
    if scheme == "ecdsa":
        parts += (reader.take(reader.u16("size"), "signature"),)
    reader.finish()
    return frozen(TpmSignature, {"scheme": scheme, "digest": digest, "parts": parts, "bare": False})
