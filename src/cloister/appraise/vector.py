"""The AR4SI trust vector: eight numbers that say how far a verifier vouches for each aspect of an attester.

Numbers and tiers are those of draft-ietf-rats-ar4si, sections "Enumeration encoding" and "Specific claims"; the same
number means something else in each claim. Positive numbers are the draft's, negative ones a verifier's own.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from functools import lru_cache, total_ordering
from typing import Final, NoReturn

__all__ = [
    "CONFIGURATION_APPROVED",
    "CONFIGURATION_SAFE",
    "CONFIGURATION_UNAVAILABLE",
    "CONFIGURATION_UNSAFE",
    "CONFIGURATION_UNSUPPORTABLE",
    "CRYPTO_VALIDATION_FAILED",
    "EXECUTABLES_APPROVED_BOOT",
    "EXECUTABLES_APPROVED_RUNTIME",
    "EXECUTABLES_CONTRAINDICATED",
    "EXECUTABLES_UNRECOGNIZED",
    "EXECUTABLES_UNSAFE",
    "FILE_SYSTEM_APPROVED",
    "FILE_SYSTEM_CONTRAINDICATED",
    "FILE_SYSTEM_UNRECOGNIZED",
    "HARDWARE_CONTRAINDICATED",
    "HARDWARE_GENUINE",
    "HARDWARE_UNRECOGNIZED",
    "HARDWARE_UNSAFE",
    "INSTANCE_TRUSTWORTHY",
    "INSTANCE_UNRECOGNIZED",
    "INSTANCE_UNTRUSTWORTHY",
    "NO_CLAIM",
    "RUNTIME_ENCRYPTED",
    "RUNTIME_ISOLATED",
    "RUNTIME_VISIBLE",
    "SOURCES_CONTRAINDICATED",
    "SOURCES_TRUSTED",
    "SOURCES_UNTRUSTED",
    "STORAGE_HARDWARE_KEYS",
    "STORAGE_SOFTWARE_KEYS",
    "STORAGE_UNENCRYPTED",
    "UNEXPECTED_EVIDENCE",
    "VERIFIER_MALFUNCTION",
    "Tier",
    "TrustVector",
    "meaning_of",
    "tier_of",
]

# In every claim.
VERIFIER_MALFUNCTION: Final = -1
NO_CLAIM: Final = 0
UNEXPECTED_EVIDENCE: Final = 1
CRYPTO_VALIDATION_FAILED: Final = 99

INSTANCE_TRUSTWORTHY: Final = 2
INSTANCE_UNTRUSTWORTHY: Final = 96
INSTANCE_UNRECOGNIZED: Final = 97

CONFIGURATION_APPROVED: Final = 2
CONFIGURATION_SAFE: Final = 3
CONFIGURATION_UNSAFE: Final = 32
CONFIGURATION_UNAVAILABLE: Final = 36
CONFIGURATION_UNSUPPORTABLE: Final = 96

EXECUTABLES_APPROVED_RUNTIME: Final = 2
EXECUTABLES_APPROVED_BOOT: Final = 3
EXECUTABLES_UNSAFE: Final = 32
EXECUTABLES_UNRECOGNIZED: Final = 33
EXECUTABLES_CONTRAINDICATED: Final = 96

FILE_SYSTEM_APPROVED: Final = 2
FILE_SYSTEM_UNRECOGNIZED: Final = 32
FILE_SYSTEM_CONTRAINDICATED: Final = 96

HARDWARE_GENUINE: Final = 2
HARDWARE_UNSAFE: Final = 32
HARDWARE_CONTRAINDICATED: Final = 96
HARDWARE_UNRECOGNIZED: Final = 97

RUNTIME_ENCRYPTED: Final = 2
RUNTIME_ISOLATED: Final = 32
RUNTIME_VISIBLE: Final = 96

STORAGE_HARDWARE_KEYS: Final = 2
STORAGE_SOFTWARE_KEYS: Final = 32
STORAGE_UNENCRYPTED: Final = 96

SOURCES_TRUSTED: Final = 2
SOURCES_UNTRUSTED: Final = 32
SOURCES_CONTRAINDICATED: Final = 96

IN_EVERY_CLAIM: Final = {
    VERIFIER_MALFUNCTION: "the verifier itself failed",
    NO_CLAIM: "nothing claimed",
    UNEXPECTED_EVIDENCE: "the evidence holds parts that the verifier does not understand",
    CRYPTO_VALIDATION_FAILED: "the evidence is not authentic",
}
MEANINGS: Final = {
    "instance_identity": {
        INSTANCE_TRUSTWORTHY: "a known instance, not known to be compromised",
        INSTANCE_UNTRUSTWORTHY: "a known instance that is not to be trusted",
        INSTANCE_UNRECOGNIZED: "an unknown instance, which should be known",
    },
    "configuration": {
        CONFIGURATION_APPROVED: "an approved configuration",
        CONFIGURATION_SAFE: "no known vulnerability",
        CONFIGURATION_UNSAFE: "known vulnerabilities",
        CONFIGURATION_UNAVAILABLE: "parts that matter for security were not shown to the verifier",
        CONFIGURATION_UNSUPPORTABLE: "vulnerabilities that cannot be accepted",
    },
    "executables": {
        EXECUTABLES_APPROVED_RUNTIME: "only approved code, loaded at boot and since",
        EXECUTABLES_APPROVED_BOOT: "only approved code, loaded at boot",
        EXECUTABLES_UNSAFE: "only known code, some of it with known flaws",
        EXECUTABLES_UNRECOGNIZED: "unknown code",
        EXECUTABLES_CONTRAINDICATED: "code that must not run",
    },
    "file_system": {
        FILE_SYSTEM_APPROVED: "only approved files",
        FILE_SYSTEM_UNRECOGNIZED: "unknown files",
        FILE_SYSTEM_CONTRAINDICATED: "files that must not be there",
    },
    "hardware": {
        HARDWARE_GENUINE: "genuine hardware and firmware",
        HARDWARE_UNSAFE: "genuine hardware or firmware with known vulnerabilities",
        HARDWARE_CONTRAINDICATED: "known hardware or firmware that is not to be trusted",
        HARDWARE_UNRECOGNIZED: "unknown hardware or firmware, which should be known",
    },
    "runtime_opaque": {
        RUNTIME_ENCRYPTED: "memory is encrypted, closed to the operating system and hypervisor",
        RUNTIME_ISOLATED: "memory is closed to other programs and guests, not to root of the host",
        RUNTIME_VISIBLE: "memory can be read on the host",
    },
    "storage_opaque": {
        STORAGE_HARDWARE_KEYS: "stored secrets are encrypted under keys that never leave the hardware",
        STORAGE_SOFTWARE_KEYS: "stored secrets are encrypted under keys held by software",
        STORAGE_UNENCRYPTED: "stored secrets are not encrypted",
    },
    "sourced_data": {
        SOURCES_TRUSTED: "data comes from attesters that were affirmed",
        SOURCES_UNTRUSTED: "data comes from sources that were not attested, or with warnings",
        SOURCES_CONTRAINDICATED: "data comes from sources that are not to be trusted",
    },
}


@total_ordering
class Tier(Enum):
    """How far a verifier vouches. Ordered by how bad it is, so that `max` is the worst.

    NONE, no conclusion, is worse than AFFIRMING: whoever could not judge must not be counted as content.
    """

    AFFIRMING = "affirming"
    NONE = "none"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"

    def __init__(self, _: str) -> None:
        self.rank = len(type(self).__members__)  # those before this one

    def __lt__(self, other: object) -> bool:
        return self.rank < other.rank if isinstance(other, Tier) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self.rank > other.rank if isinstance(other, Tier) else NotImplemented

    def __str__(self) -> str:
        return self.value

    def __bool__(self) -> NoReturn:
        """Refuse: whether a tier is good enough is the relying party's decision."""
        raise TypeError("a tier is neither true nor false: compare it with Tier.AFFIRMING")


def tier_of(value: int) -> Tier:
    """The tier of one claim's value, -128 to 127."""
    if not -128 <= value <= 127:
        raise ValueError(f"a trustworthiness claim is -128 to 127, not {value}")
    if -1 <= value <= 1:
        return Tier.NONE
    if -32 <= value <= 31:
        return Tier.AFFIRMING
    return Tier.WARNING if -96 <= value <= 95 else Tier.CONTRAINDICATED


def meaning_of(claim: str, value: int) -> str:
    """What a value says in this claim (a field of TrustVector), in words."""
    known = MEANINGS[claim] | IN_EVERY_CLAIM
    return known.get(
        value, f"the verifier's own reason {value}" if value < 0 else f"value {value}, which AR4SI leaves open"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustVector:
    """The eight claims, each -128 to 127; 0 claims nothing."""

    instance_identity: int = NO_CLAIM
    configuration: int = NO_CLAIM
    executables: int = NO_CLAIM
    file_system: int = NO_CLAIM
    hardware: int = NO_CLAIM
    runtime_opaque: int = NO_CLAIM
    storage_opaque: int = NO_CLAIM
    sourced_data: int = NO_CLAIM

    def __post_init__(self) -> None:
        """Refuse what is no signed byte."""
        for value in in_order(self):
            if type(value) is not int or not -128 <= value <= 127:
                name = next(name for name, one in self.values().items() if one is value)
                raise ValueError(f"{name} is a whole number from -128 to 127, not {value!r}")

    def values(self) -> dict[str, int]:
        """All eight claims by name, in the order of the draft's numbers."""
        return dict(zip(NAMES, in_order(self), strict=True))

    def claimed(self) -> dict[str, int]:
        """The claims that are not 0."""
        return {name: value for name, value in self.values().items() if value != NO_CLAIM}

    def worst(self) -> Tier:
        """The worst tier among the claims that are not 0; NONE if all are."""
        return worst_of(in_order(self))

    def bears(self, status: Tier) -> bool:
        """Whether an overall status is no better than the claims: an empty vector bears any."""
        return not any(in_order(self)) or status >= self.worst()


NAMES: Final = tuple(one.name for one in fields(TrustVector))
in_order: Final[Callable[[TrustVector], tuple[int, ...]]] = operator.attrgetter(*NAMES)
"""The eight numbers of a vector."""


@lru_cache(maxsize=1024)
def worst_of(values: tuple[int, ...]) -> Tier:
    """The worst tier among the values that are not 0; NONE if all are."""
    return max((tier_of(value) for value in values if value != NO_CLAIM), default=Tier.NONE)
