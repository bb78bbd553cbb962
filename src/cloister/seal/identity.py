"""Who seals and unseals: what is known of a program, and which part of that its data is bound to."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cloister.model import Measurement, MeasurementKind, Tee

__all__ = ["Policy", "SealingIdentity"]

LARGEST_VERSION: Final = (1 << 32) - 1


class Policy(StrEnum):
    """What data is bound to."""

    MEASUREMENT = "measurement"  # exactly this program; an update cannot read it
    SIGNER = "signer"  # every program of this signer, of this security version or a newer one


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingIdentity:
    """One program, as whoever vouches for it knows it: a TEE, an agent, or only the caller.

    `measurement` is of kind LAUNCH, `signer` of kind SIGNER. `security_version` counts upwards (SGX calls it ISVSVN).
    A program in `debug` mode gets other keys, because its memory can be read.
    """

    tee: Tee
    measurement: Measurement
    signer: Measurement | None = None
    security_version: int = 0
    debug: bool = False

    def __post_init__(self) -> None:
        """ValueError for what cannot stand in sealed data."""
        if self.measurement.kind is not MeasurementKind.LAUNCH:
            raise ValueError(f"a program is known by its launch measurement, not {self.measurement.kind}")
        if self.signer is not None and self.signer.kind is not MeasurementKind.SIGNER:
            raise ValueError(f"a signer is known by a measurement of kind signer, not {self.signer.kind}")
        if not 0 <= self.security_version <= LARGEST_VERSION:
            raise ValueError(f"a security version is 0 to {LARGEST_VERSION:,}, not {self.security_version}")

    def of(self, policy: Policy) -> Measurement | None:
        """What data under this policy is bound to; None if this program has no signer."""
        return self.measurement if policy is Policy.MEASUREMENT else self.signer
