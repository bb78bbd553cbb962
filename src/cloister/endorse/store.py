"""Endorsements: everything that vouches for evidence, gathered in memory. Held, not believed: verification decides."""

from dataclasses import dataclass, field
from typing import TypeVar

from cloister._x509 import Certificate, Crl
from cloister.endorse.intel import IntelCollateral

__all__ = ["Endorsements"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Endorsements:
    """What is at hand: certificates of any vendor, revocation lists, Intel's signed TCB statements.

    `keys` are public keys without a certificate (DER SubjectPublicKeyInfo): a CCA platform's, a Keystone device's, a
    TPM's attestation key. `sources` says for people where each part came from. Join two with `|`.
    """

    certificates: tuple[Certificate, ...] = ()
    crls: tuple[Crl, ...] = ()
    keys: tuple[bytes, ...] = ()
    intel: tuple[IntelCollateral, ...] = ()
    sources: tuple[str, ...] = field(default=(), repr=False)

    def __or__(self, other: "Endorsements") -> "Endorsements":
        """Both together, each part once."""
        return Endorsements(
            certificates=unique(self.certificates, other.certificates),
            crls=unique(self.crls, other.crls),
            keys=unique(self.keys, other.keys),
            intel=unique(self.intel, other.intel),
            sources=unique(self.sources, other.sources),
        )


def unique(*parts: tuple[T, ...]) -> tuple[T, ...]:
    """All items in order, none twice."""
    return tuple(dict.fromkeys(item for part in parts for item in part))
