"""Evidence of a software enclave, Cloister's own format (docs/formats/software-evidence.md).

A tagged COSE_Sign1 (RFC 9052) by the host's attestation key over EAT-like claims (RFC 9711) in deterministic CBOR. It
vouches for what the kernel of one host enforced, so it says `software`, and is never evidence of hardware protection.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final

from cloister import _cbor
from cloister._cose import CoseSign1
from cloister.errors import ParseError
from cloister.model import Tee

__all__ = [
    "PROFILE",
    "Admission",
    "Guard",
    "SigningAlgorithm",
    "SoftwareEvidence",
    "extended",
    "libraries_digest",
    "looks_like",
    "parse",
]

PROFILE: Final = "tag:cloister,2026:software-enclave#1"
MODE: Final = "software"
EAT_NONCE: Final = 10
EAT_PROFILE: Final = 265
ALGORITHM, KEY_ID = 1, 4
REPORT_DATA: Final = 64
DIGEST: Final = 32
BOOT_ID: Final = 16
LONGEST_KERNEL: Final = 128
START: Final = b"\xd2\x84\x58\x26\xa2\x01"
"""Tag 18, an array of four, 38 bytes of protected headers: a map of two that begins with the algorithm."""
RECORD: Final = "SoftwareEvidence"


class SigningAlgorithm(StrEnum):
    """What the host's key may be: Ed25519, or P-256 where it lives in a TPM."""

    EDDSA = "EdDSA"
    ES256 = "ES256"


NUMBERS: Final = {SigningAlgorithm.EDDSA: -8, SigningAlgorithm.ES256: -7}


class Guard(StrEnum):
    """Whether the guard pair holds the enclave's ptrace slot."""

    ARMED = "armed"
    OFF = "off"


class Admission(StrEnum):
    """What code the enclave lets in after its start."""

    STRICT = "strict"  # only what was measured beforehand
    LEARN = "learn"  # anything, recorded in `loaded`


@dataclass(frozen=True, kw_only=True)
class SoftwareEvidence:
    """What a host says about one software enclave. All digests are SHA-256.

    `report_data`: 64 bytes that the enclave chose (a nonce, the hash of its key). `executable`: the program's file.
    `libraries`: the list of everything else that was mapped executable at the start (`libraries_digest`). `runtime`:
    the file of Cloister's runtime. `loaded`: extended with what came in later (`extended`), zeros if nothing did.
    `key_id`: SHA-256 of the host key's SubjectPublicKeyInfo. The last three describe the host, empty or None where it
    does not say: its kernel's release, the identifier of its boot, whether it booted with Secure Boot.
    """

    tee: ClassVar[Tee] = Tee.SOFTWARE

    algorithm: SigningAlgorithm
    key_id: bytes
    report_data: bytes
    executable: bytes
    libraries: bytes
    runtime: bytes
    loaded: bytes
    guard: Guard
    admission: Admission
    kernel: str = ""
    boot_id: bytes = b""
    secure_boot: bool | None = None
    signature: bytes = field(default=b"", repr=False)

    @property
    def measurement(self) -> bytes:
        """The one digest that names the program with its libraries: SHA-256 of `executable` and `libraries`."""
        return hashlib.sha256(self.executable + self.libraries).digest()

    @functools.cached_property
    def message(self) -> CoseSign1:
        """The signed message, made from the fields."""
        headers = {ALGORITHM: NUMBERS[self.algorithm], KEY_ID: self.key_id}
        return CoseSign1(
            protected=_cbor.dumps_as_ordered(headers), unprotected={}, payload=_cbor.dumps_as_ordered(self._claims()),
            signature=self.signature, tagged=True,
        )  # fmt: skip

    def _claims(self) -> dict[int | str, object]:
        """The claims in the order of their keys' encoding, which is the deterministic one."""
        claims: dict[int | str, object] = {
            EAT_NONCE: self.report_data, EAT_PROFILE: PROFILE, "mode": MODE, "guard": self.guard.value,
            "kernel": self.kernel, "loaded": self.loaded, "boot_id": self.boot_id, "runtime": self.runtime,
            "admission": self.admission.value, "libraries": self.libraries, "executable": self.executable,
            "secure_boot": self.secure_boot,
        }  # fmt: skip
        for name, unsaid in (("kernel", ""), ("boot_id", b""), ("secure_boot", None)):
            if claims[name] == unsaid:
                del claims[name]
        return claims

    def serialize(self) -> bytes:
        """The bytes that `parse` would read as this evidence."""
        return self.message.serialize()


def libraries_digest(files: Mapping[str, bytes]) -> bytes:
    """The digest of a list of files: path to SHA-256 of the content, as deterministic CBOR, hashed."""
    return hashlib.sha256(_cbor.dumps(files)).digest()


def extended(loaded: bytes, digest: bytes) -> bytes:
    """`loaded` after one more file came in, given its SHA-256."""
    return hashlib.sha256(loaded + digest).digest()


def looks_like(data: bytes) -> bool:
    """Whether this begins as software evidence does, and names its profile."""
    return data.startswith(START) and PROFILE.encode() in data[:512]


def parse(data: bytes, *, base: int = 0) -> SoftwareEvidence:
    """Read software evidence of exactly these bytes. Only the deterministic encoding is accepted: it is our own."""
    message = CoseSign1.parse(data, record=RECORD, base=base)
    claims = _cbor.loads(message.payload, RECORD, base=base)
    if not isinstance(claims, Mapping):
        raise ParseError(RECORD, "claims", base, "are not a map")
    for key, name, only in ((EAT_PROFILE, "eat_profile", PROFILE), ("mode", "mode", MODE)):
        value = claims.get(key)
        if value != only:
            raise ParseError(RECORD, name, base, f"is {value!r}; only {only!r} is understood")
    made = _evidence(message, claims, base)
    if made.serialize() != data:
        raise ParseError(RECORD, "encoding", base, "has unknown claims or headers, or is not deterministic CBOR")
    return made


def _evidence(message: CoseSign1, claims: Mapping[int | str, object], base: int) -> SoftwareEvidence:
    def digest(name: str) -> bytes:
        return _cbor.octets(claims.get(name), RECORD, name, DIGEST, base=base)

    kernel = _cbor.text(claims.get("kernel", ""), RECORD, "kernel", base=base)
    secure_boot = claims.get("secure_boot")
    if len(kernel) > LONGEST_KERNEL or not (secure_boot is None or isinstance(secure_boot, bool)):
        raise ParseError(RECORD, "kernel or secure_boot", base, "is too long, or neither true nor false")
    if len(message.signature) != 64:
        raise ParseError(RECORD, "signature", base, f"has {len(message.signature)} bytes, not 64")
    return SoftwareEvidence(
        algorithm=SigningAlgorithm(_choice(SigningAlgorithm, message.algorithm.name, "alg", base)),
        key_id=_cbor.octets(message.key_id, RECORD, "kid", DIGEST, base=base),
        report_data=_cbor.octets(claims.get(EAT_NONCE), RECORD, "eat_nonce", REPORT_DATA, base=base),
        executable=digest("executable"), libraries=digest("libraries"), runtime=digest("runtime"),
        loaded=digest("loaded"), guard=Guard(_choice(Guard, claims.get("guard"), "guard", base)),
        admission=Admission(_choice(Admission, claims.get("admission"), "admission", base)),
        kernel=kernel, secure_boot=secure_boot, signature=message.signature,
        boot_id=_cbor.octets(claims.get("boot_id", b""), RECORD, "boot_id", 0, BOOT_ID, base=base),
    )  # fmt: skip


def _choice(words: type[StrEnum], value: object, name: str, base: int) -> str:
    if isinstance(value, str) and value in set(words):
        return value
    raise ParseError(RECORD, name, base, f"is {value!r}; only {', '.join(words)} are understood")
