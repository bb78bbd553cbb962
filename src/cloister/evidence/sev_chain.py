"""AMD's own certificate formats, from before SNP (AMD document 55766, SEV API, appendices B and C).

A platform's certificates, as `sevctl export --full` writes them:

    PDH, PEK, OCA, CEK    2084 bytes each, with two places for signatures
    ASK, ARK              832 bytes (2048-bit keys) or 1600 bytes (4096-bit keys)

They have no dates, no names, and no revocation. The ARK signs the ASK, this the chip's CEK, this the platform's PEK, as
does the owner's OCA; the PEK signs the PDH, with which a guest's owner agrees on keys, and attestation reports.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cloister._wire import Reader, Record, raw, reserved, u8, u32
from cloister.errors import ParseError
from cloister.evidence.sev_keys import KEY_SIZE, EcKey, EcSignature, RsaKey

__all__ = [
    "Algorithm",
    "CaCertificate",
    "SevCertificate",
    "SevChain",
    "Usage",
    "parse_ca_certificate",
    "parse_certificate",
    "parse_chain",
]


class Usage(IntEnum):
    """What a key is for (appendix B.1 and C.1)."""

    ARK = 0
    ASK = 0x13
    INVALID = 0x1000
    OCA = 0x1001
    PEK = 0x1002
    PDH = 0x1003
    CEK = 0x1004


class Algorithm(IntEnum):
    """How a key is used (appendix C.1)."""

    INVALID = 0
    RSA_SHA256 = 1
    ECDSA_SHA256 = 2
    ECDH_SHA256 = 3
    RSA_SHA384 = 0x101
    ECDSA_SHA384 = 0x102
    ECDH_SHA384 = 0x103

    @property
    def is_rsa(self) -> bool:
        """Whether it needs an RSA key."""
        return self in {Algorithm.RSA_SHA256, Algorithm.RSA_SHA384}

    @property
    def digest(self) -> str:
        """The name of its hash."""
        return "sha384" if self & 0x100 else "sha256"


class CaCertificate(Record, size=0x40):
    """The certificate of an ARK or ASK. The modulus has as many bits as the exponent's field."""

    version: int = u32(equals=1)
    key_id: bytes = raw(16)
    certifying_id: bytes = raw(16)
    key_usage: int = u32()
    reserved_28: bytes = reserved(16)
    pubexp_size: int = u32()
    modulus_size: int = u32()

    # The tail: the same names in both sizes.
    pubexp: bytes
    modulus: bytes
    signature: bytes

    @property
    def numbers(self) -> tuple[int, int]:
        """Modulus and exponent."""
        return int.from_bytes(self.modulus, "little"), int.from_bytes(self.pubexp, "little")

    @property
    def digest(self) -> str:
        """The name of the hash that goes with a key of this size."""
        return "sha256" if self.modulus_size == 2048 else "sha384"

    @property
    def signed(self) -> bytes:
        """The bytes under the signature."""
        return self.serialize()[: -len(self.signature)]


class CaCertificate2048(CaCertificate, size=832):
    """With a key of 2048 bits: Naples."""

    pubexp_size: int = u32(equals=2048)
    modulus_size: int = u32(equals=2048)
    pubexp: bytes = raw(256)
    modulus: bytes = raw(256)
    signature: bytes = raw(256)


class CaCertificate4096(CaCertificate, size=1600):
    """With a key of 4096 bits: Rome and later."""

    pubexp_size: int = u32(equals=4096)
    modulus_size: int = u32(equals=4096)
    pubexp: bytes = raw(512)
    modulus: bytes = raw(512)
    signature: bytes = raw(512)


class SevCertificate(Record, size=2084):
    """The certificate of a CEK, OCA, PEK or PDH. Which signature stands in which place varies."""

    version: int = u32(equals=1)
    api_major: int = u8()
    api_minor: int = u8()
    reserved_6: bytes = reserved(2)
    pubkey_usage: int = u32()
    pubkey_algo: int = u32()
    pubkey: bytes = raw(KEY_SIZE)
    sig_1_usage: int = u32()
    sig_1_algo: int = u32()
    sig_1: bytes = raw(512)
    sig_2_usage: int = u32()
    sig_2_algo: int = u32()
    sig_2: bytes = raw(512)

    @property
    def usage(self) -> Usage:
        """What the key is for."""
        return Usage(self.pubkey_usage)

    @property
    def key(self) -> EcKey | RsaKey:
        """The public key."""
        return (RsaKey if Algorithm(self.pubkey_algo).is_rsa else EcKey).parse(self.pubkey)

    @property
    def signed(self) -> bytes:
        """The bytes under both signatures."""
        return self.serialize()[:0x414]

    @property
    def signatures(self) -> dict[Usage, tuple[Algorithm, bytes]]:
        """The signatures by whose they are: algorithm, and the 512 bytes of their place."""
        places = ((self.sig_1_usage, self.sig_1_algo, self.sig_1), (self.sig_2_usage, self.sig_2_algo, self.sig_2))
        return {Usage(usage): (Algorithm(algo), sig) for usage, algo, sig in places if usage != Usage.INVALID}


@dataclass(frozen=True, kw_only=True)
class SevChain:
    """All certificates of a platform."""

    pdh: SevCertificate
    pek: SevCertificate
    oca: SevCertificate
    cek: SevCertificate
    ask: CaCertificate
    ark: CaCertificate

    def serialize(self) -> bytes:
        """The bytes that `parse_chain` would read as this."""
        return b"".join(one.serialize() for one in (self.pdh, self.pek, self.oca, self.cek, self.ask, self.ark))


SIGNERS: Final = {
    Usage.CEK: frozenset({Usage.ASK}),
    Usage.OCA: frozenset({Usage.OCA}),
    Usage.PEK: frozenset({Usage.OCA, Usage.CEK}),
    Usage.PDH: frozenset({Usage.PEK}),
}
"""Who signs which certificate."""

SIGNATURES: Final = frozenset({
    Algorithm.RSA_SHA256, Algorithm.RSA_SHA384, Algorithm.ECDSA_SHA256, Algorithm.ECDSA_SHA384,
})  # fmt: skip
ALGORITHMS: Final = {
    Usage.CEK: frozenset({Algorithm.ECDSA_SHA256, Algorithm.ECDSA_SHA384}),
    Usage.PEK: frozenset({Algorithm.ECDSA_SHA256, Algorithm.ECDSA_SHA384}),
    Usage.OCA: SIGNATURES,
    Usage.PDH: frozenset({Algorithm.ECDH_SHA256, Algorithm.ECDH_SHA384}),
}
"""What each key may be. The owner's may be RSA; those of the platform are made by its firmware."""

CA_RECORDS: Final[dict[int, type[CaCertificate]]] = {2048: CaCertificate2048, 4096: CaCertificate4096}


def parse_ca_certificate(data: bytes, usage: Usage, *, base: int = 0) -> CaCertificate:
    """Read the certificate of an ARK or ASK from exactly these bytes."""
    bits = int.from_bytes(data[0x3C:0x40], "little")
    if len(data) < CaCertificate.SIZE or bits not in CA_RECORDS:
        raise ParseError("CaCertificate", "modulus_size", base + 0x3C, "is neither 2048 nor 4096, or not there")
    certificate = CA_RECORDS[bits].parse(data, base=base)
    if certificate.key_usage != usage:
        reason = f"is {certificate.key_usage:#x}; {usage:#x} is the usage of an {usage.name}"
        raise ParseError("CaCertificate", "key_usage", base + 0x24, reason)
    modulus, exponent = certificate.numbers
    if modulus.bit_length() != bits or exponent.bit_length() > 32 or not exponent & 1 or exponent < 3:
        raise ParseError("CaCertificate", "modulus", base + 0x40, "is no RSA key of the stated size")
    return certificate


def parse_certificate(data: bytes, usage: Usage, *, base: int = 0) -> SevCertificate:
    """Read the certificate of a CEK, OCA, PEK or PDH from exactly these bytes."""
    certificate = SevCertificate.parse(data, base=base)
    if certificate.pubkey_usage != usage:
        reason = f"is {certificate.pubkey_usage:#x}; {usage:#x} is the usage of a {usage.name}"
        raise _refusal("pubkey_usage", base, reason)
    if certificate.pubkey_algo not in ALGORITHMS[usage]:
        raise _refusal("pubkey_algo", base, f"{certificate.pubkey_algo:#x} is no algorithm of a {usage.name}")
    kind = RsaKey if Algorithm(certificate.pubkey_algo).is_rsa else EcKey
    if not kind.parse(certificate.pubkey, base=base + 0x10).usable:
        raise _refusal("pubkey", base, "is no key of a size or on a curve that is defined")
    found = [_signer(certificate, place, base) for place in ("sig_1", "sig_2")]
    if sorted(one for one in found if one is not Usage.INVALID) != sorted(SIGNERS[usage]):
        named = " and ".join(one.name for one in sorted(SIGNERS[usage]))
        raise _refusal("sig_1_usage", base, f"a {usage.name} is signed by {named}, each once, and by nobody else")
    return certificate


def _signer(certificate: SevCertificate, place: str, base: int) -> Usage:
    """Whose signature stands in a place; it is laid out as its algorithm wants, or empty."""
    usage, algorithm = getattr(certificate, f"{place}_usage"), getattr(certificate, f"{place}_algo")
    signature: bytes = getattr(certificate, place)
    if usage == Usage.INVALID and algorithm == Algorithm.INVALID and not any(signature):
        return Usage.INVALID
    if usage not in {Usage.ASK, Usage.CEK, Usage.OCA, Usage.PEK}:
        raise _refusal(
            f"{place}_usage", base, f"{usage:#x} is no key that signs certificates, or the place is not empty"
        )
    if algorithm not in SIGNATURES:
        raise _refusal(f"{place}_algo", base, f"{algorithm:#x} is no signature algorithm")
    if not Algorithm(algorithm).is_rsa:
        EcSignature.parse(signature, base=base + SevCertificate.OFFSETS[place])
    return Usage(usage)


def _refusal(field: str, base: int, reason: str) -> ParseError:
    return ParseError("SevCertificate", field, base + SevCertificate.OFFSETS[field], reason)


def parse_chain(data: bytes, *, base: int = 0) -> SevChain:
    """Read a platform's certificates from exactly these bytes."""
    reader = Reader(data, "SevChain", base=base)
    platform = {}
    for usage in (Usage.PDH, Usage.PEK, Usage.OCA, Usage.CEK):
        at = base + reader.offset
        platform[usage] = parse_certificate(reader.take(SevCertificate.SIZE, usage.name), usage, base=at)
    ask, ark = (_take_authority(reader, usage) for usage in (Usage.ASK, Usage.ARK))
    reader.finish()
    return SevChain(
        pdh=platform[Usage.PDH], pek=platform[Usage.PEK], oca=platform[Usage.OCA], cek=platform[Usage.CEK],
        ask=ask, ark=ark,
    )  # fmt: skip


def _take_authority(reader: Reader, usage: Usage) -> CaCertificate:
    """The next certificate, as long as the size of its key says."""
    at = reader.base + reader.offset
    head = reader.take(CaCertificate.SIZE, usage.name)
    record = CA_RECORDS.get(int.from_bytes(head[0x3C:], "little"))
    rest = reader.take(record.SIZE - CaCertificate.SIZE, usage.name) if record else b""
    return parse_ca_certificate(head + rest, usage, base=at)
