"""A forged TPM with its PCRs, its boot's event log, and an Azure-like hardware report that vouches for it.

    forge = TpmForge()                              # an RSA key; TpmForge("ecdsa") has a P-256 key
    quote = forge.quote(nonce=b"...")               # TpmQuote, genuine but for the key
    forge.anchors, Endorsements()                   # what verifies it

Everything here is made under fresh keys and worth nothing. Every part can be changed by keyword.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.forge.x509 import NOW

from cloister.endorse.anchors import AnchorKind, TrustAnchor, TrustAnchors
from cloister.evidence import snp
from cloister.evidence.snp import Report
from cloister.evidence.tpm import TpmQuote, of_parts
from cloister.model import Tee
from cloister.verification.recipe import Compared, Outcome, Recipe, Tcb, VerifiedEvidence, verified

__all__ = [
    "ATTESTATION_KEY",
    "BOOT",
    "NONCE",
    "Measured",
    "TpmForge",
    "attest",
    "event_log",
    "extended",
    "hardware_report",
    "runtime_data",
    "sized",
    "tpmt_signature",
]

NONCE: Final = b"a nonce of twenty-six byte"
ATTESTATION_KEY: Final = 0x50072
"""objectAttributes of a restricted signing key that cannot leave its TPM."""

ENDORSEMENT_HIERARCHY: Final = 0x4000000B
NUMBERS: Final = {"sha1": 0x04, "sha256": 0x0B, "sha384": 0x0C, "sha512": 0x0D, "sm3": 0x12}
SCHEMES: Final = {"rsassa": 0x14, "rsapss": 0x16, "ecdsa": 0x18}
HASHES: Final = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}  # noqa: S303 - what must be refused must be made


@dataclass(frozen=True)
class Measured:
    """One event: its register and type, what was hashed, and what the log says was. Type 3 extends nothing."""

    register: int
    type: int
    data: bytes
    said: bytes | None = None


BOOT: Final = (
    Measured(0, 0x08, b"firmware 1"),
    *(Measured(index, 0x04, bytes(4)) for index in range(8)),
    Measured(4, 0x80000007, b"Calling EFI Application from Boot Option"),
    Measured(8, 0x0D, b"linux /vmlinuz", b"grub_cmd: linux /vmlinuz\0"),
    Measured(9, 0x0D, b"the kernel's bytes", b"/vmlinuz\0"),
)
"""A short boot: firmware, separators, loader, kernel."""


def event_log(
    events: Sequence[Measured] = BOOT,
    *,
    banks: Sequence[str] = ("sha1", "sha256"),
    legacy: bool = False,
    filling: bytes = b"",
) -> bytes:
    """The log of these events, crypto-agile unless `legacy`."""
    made = b"" if legacy else spec_id(banks)
    for one in events:
        made += one.register.to_bytes(4, "little") + one.type.to_bytes(4, "little")
        digests = [bytes(len(digest(b, b""))) if one.type == 3 else digest(b, one.data) for b in banks]
        if legacy:
            made += bytes(20) if one.type == 3 else hashlib.sha1(one.data, usedforsecurity=False).digest()
        else:
            made += len(banks).to_bytes(4, "little")
            made += b"".join(NUMBERS[b].to_bytes(2, "little") + d for b, d in zip(banks, digests, strict=True))
        made += little_sized(one.data if one.said is None else one.said)
    return made + filling


def spec_id(banks: Sequence[str]) -> bytes:
    """The first event of a crypto-agile log."""
    sizes = b"".join(NUMBERS[b].to_bytes(2, "little") + len(digest(b, b"")).to_bytes(2, "little") for b in banks)
    data = b"Spec ID Event03\0" + bytes(4) + b"\0\2\0\2" + len(banks).to_bytes(4, "little") + sizes + b"\0"
    return bytes(4) + b"\3\0\0\0" + bytes(20) + little_sized(data)


def digest(bank: str, data: bytes) -> bytes:
    """A hash in a bank. SM3 is not at hand everywhere, so its stand-in is SHA-256."""
    return hashlib.new("sha256" if bank == "sm3" else bank, data, usedforsecurity=False).digest()


def little_sized(data: bytes) -> bytes:
    """Data behind its size of four bytes."""
    return len(data).to_bytes(4, "little") + data


def extended(events: Sequence[Measured] = BOOT, *, bank: str = "sha256", locality: int = 0) -> dict[int, bytes]:
    """The values of PCR 0 to 23 after these events."""
    zeros = bytes(len(digest(bank, b"")))
    values = dict.fromkeys(range(24), zeros)
    values[0] = zeros[:-1] + bytes([locality])
    for one in events:
        if one.type != 3:
            values[one.register] = digest(bank, values[one.register] + digest(bank, one.data))
    return values


def sized(data: bytes) -> bytes:
    """A TPM2B."""
    return len(data).to_bytes(2) + data


def attest(
    pcrs: Mapping[str, Mapping[int, bytes]],
    *,
    nonce: bytes = NONCE,
    signer: bytes = b"\0\x0b" + bytes(32),
    hash_name: str = "sha256",
    magic: int = 0xFF544347,
    kind: int = 0x8018,
    safe: int = 1,
) -> bytes:
    """TPMS_ATTEST of a quote over exactly these PCRs."""
    values = b"".join(bank[index] for bank in pcrs.values() for index in sorted(bank))
    clock = (1234).to_bytes(8) + (5).to_bytes(4) + (0).to_bytes(4) + bytes([safe]) + (0x20200001).to_bytes(8)
    selections = b"".join(NUMBERS[name].to_bytes(2) + b"\3" + bitmap(bank) for name, bank in pcrs.items())
    head = magic.to_bytes(4) + kind.to_bytes(2) + sized(signer) + sized(nonce)
    return head + clock + len(pcrs).to_bytes(4) + selections + sized(hashlib.new(hash_name, values).digest())


def bitmap(indices: Mapping[int, bytes]) -> bytes:
    """The selected PCRs as a TPM writes them."""
    return sum(1 << index for index in indices).to_bytes(3, "little")


def tpmt_signature(scheme: str, hash_name: str, *parts: bytes) -> bytes:
    """TPMT_SIGNATURE."""
    return SCHEMES[scheme].to_bytes(2) + NUMBERS[hash_name].to_bytes(2) + b"".join(map(sized, parts))


class TpmForge:
    """A TPM whose attestation key everybody has. `scheme` is rsassa, rsapss or ecdsa."""

    def __init__(self, scheme: str = "rsassa", *, bits: int = 2048) -> None:
        self.scheme = scheme
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        public: Any = (self.ec if scheme == "ecdsa" else self.rsa).public_key()
        self.spki: bytes = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.anchors = TrustAnchors.testing(self.spki, tees=[Tee.TPM])

    def sign(self, message: bytes, *, hash_name: str = "sha256", salt: int | None = None) -> bytes:
        """TPMT_SIGNATURE over a message."""
        algorithm = HASHES[hash_name]
        if self.scheme == "ecdsa":
            r, s = decode_dss_signature(self.ec.sign(message, ec.ECDSA(algorithm)))
            return tpmt_signature("ecdsa", hash_name, *(n.to_bytes((n.bit_length() + 7) // 8) for n in (r, s)))
        pss = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size if salt is None else salt)
        scheme = pss if self.scheme == "rsapss" else padding.PKCS1v15()
        return tpmt_signature(self.scheme, hash_name, self.rsa.sign(message, scheme, algorithm))

    def public_area(self, *, attributes: int = ATTESTATION_KEY) -> bytes:
        """TPMT_PUBLIC of the key."""
        head = (0x23 if self.scheme == "ecdsa" else 1).to_bytes(2) + b"\0\x0b" + attributes.to_bytes(4) + sized(b"")
        scheme = b"\0\x10" + SCHEMES[self.scheme].to_bytes(2) + b"\0\x0b"
        if self.scheme == "ecdsa":
            numbers = self.ec.public_key().public_numbers()
            return head + scheme + b"\0\3\0\x10" + sized(numbers.x.to_bytes(32)) + sized(numbers.y.to_bytes(32))
        modulus = self.rsa.public_key().public_numbers().n.to_bytes(self.rsa.key_size // 8)
        return head + scheme + self.rsa.key_size.to_bytes(2) + bytes(4) + sized(modulus)

    def qualified_signer(self, public_area: bytes) -> bytes:
        """The name that a quote by this key bears, if it is a primary key of the endorsement hierarchy."""
        name = b"\0\x0b" + hashlib.sha256(public_area).digest()
        return b"\0\x0b" + hashlib.sha256(ENDORSEMENT_HIERARCHY.to_bytes(4) + name).digest()

    def quote(
        self,
        *,
        nonce: bytes = NONCE,
        banks: Sequence[str] = ("sha256",),
        events: Sequence[Measured] = BOOT,
        log: bytes | None = None,
        key: bytes | None = None,
        hash_name: str = "sha256",
        **changes: Any,
    ) -> TpmQuote:
        """A quote after these events. `changes` go to `attest`; an empty `log` or `key` is left out."""
        pcrs = {bank: extended(events, bank=bank) for bank in banks}
        message = attest(pcrs, nonce=nonce, hash_name=hash_name, **changes)
        return of_parts(
            message,
            self.sign(message, hash_name=hash_name),
            key=self.spki if key is None else key,
            pcrs=pcrs,
            event_log=event_log(events, banks=banks) if log is None else log,
        )


def runtime_data(forge: TpmForge, **changes: Any) -> bytes:
    """Azure's runtime data with this TPM's key in it."""
    numbers = forge.rsa.public_key().public_numbers()
    key = {
        "kid": "HCLAkPub",
        "key_ops": ["sign"],
        "kty": "RSA",
        "e": base64url(numbers.e.to_bytes(3)),
        "n": base64url(numbers.n.to_bytes(forge.rsa.key_size // 8)),
    }
    document: dict[str, Any] = {"keys": [key], "vm-configuration": {"secure-boot": True, "vmUniqueId": "A-B"}}
    return json.dumps(document | changes, separators=(",", ":")).encode()


def base64url(data: bytes) -> str:
    """Base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


TAKEN: Final = Recipe[list[Outcome]]("TAKEN")


@TAKEN.step("Taken as verified", source="-", fix="-", cost="-")
def taken(case: list[Outcome]) -> Outcome:
    """Nothing is found out."""
    return case[0]


def hardware_report(
    data: bytes, *, vmpl: int = 0, policy: int = 0x3001F, outcome: Outcome | None = None
) -> VerifiedEvidence[Report]:
    """The result of verifying an SNP report over this runtime data, as if somebody had done that."""
    encoded = bytearray(0x4A0)
    for offset, value in ((0x00, 2), (0x08, policy), (0x30, vmpl), (0x34, 1)):
        encoded[offset : offset + 4] = value.to_bytes(4, "little")
    encoded[0x50:0x70] = hashlib.sha256(data).digest()
    report = snp.parse(bytes(encoded))
    anchor = TrustAnchor(name="forged AMD", tees=frozenset({Tee.SNP}), kind=AnchorKind.TESTING, spki_sha256=bytes(32))
    case: list[Outcome] = [outcome or Compared("-", "-")]
    return verified(
        TAKEN, case, tee=Tee.SNP, evidence=report, at=NOW, conclude=lambda _: (anchor, Tcb(), {})
    )  # fmt: skip
