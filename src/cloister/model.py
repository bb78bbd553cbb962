"""The nouns that every stage shares: what kind of TEE, what was measured, what was asked."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["Challenge", "Digest", "Measurement", "MeasurementKind", "Tee", "Unchecked"]


class Tee(StrEnum):
    """The kinds of environment whose evidence is understood. The value names the file of each stage."""

    SOFTWARE = "software"
    SGX = "sgx"
    TDX = "tdx"
    SNP = "snp"
    SEV = "sev"
    CCA = "cca"
    KEYSTONE = "keystone"
    TPM = "tpm"


@dataclass(frozen=True, slots=True)
class Digest:
    """A hash value. `algorithm` is hashlib's name (`sha256`, `sha384`, `sha3_512`)."""

    algorithm: str
    value: bytes

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value.hex()}"


class MeasurementKind(StrEnum):
    """What a measurement is of."""

    LAUNCH = "launch"  # MRENCLAVE, MRTD, SNP's MEASUREMENT, RIM, the Keystone enclave hash
    RUNTIME = "runtime"  # RTMR, REM, PCR: extended while running
    SIGNER = "signer"  # MRSIGNER, ID key digest: who signed what was launched


@dataclass(frozen=True, slots=True)
class Measurement:
    """A digest of what was loaded or of who signed it. `name` is the vendor's: `mrenclave`, `rtmr2`, `pcr7`."""

    name: str
    kind: MeasurementKind
    digest: Digest


LONGEST_NONCE: Final = 1024
"""Bytes. Keystone reports carry at most this much data; every other TEE has less room."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The relying party's nonce, 1 to 1024 bytes, which fresh evidence must contain (RFC 9334, section 10)."""

    nonce: bytes

    def __post_init__(self) -> None:
        """Refuse an empty nonce, which everything would answer, and zeros, which evidence without a nonce answers."""
        if not 1 <= len(self.nonce) <= LONGEST_NONCE:
            raise ValueError(f"a nonce has 1 to {LONGEST_NONCE} bytes, this one has {len(self.nonce)}")
        if not any(self.nonce):
            raise ValueError("a nonce of zeros only: evidence that nobody asked for would answer it")

    def answered_by(self, report_data: bytes) -> bool:
        """Whether `report_data` is the nonce followed by zeros only. A nonce that does not fit is never answered.

        Not truncated, ever: comparing only what fits is how verifiers accept what was not asked.
        """
        return len(self.nonce) <= len(report_data) and report_data == self.nonce.ljust(len(report_data), b"\0")


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Instead of a result: this was not checked, for this reason. Never the same as checked."""

    reason: str
