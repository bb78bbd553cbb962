"""Trust anchors: whose keys are believed without further proof.

An anchor is a pin, the SHA-256 of a DER SubjectPublicKeyInfo; the certificate or key itself comes with the evidence or
the endorsements and is compared. `TrustAnchors.hardware()` holds the vendors' roots, and nothing else ever gets in
there: emulated and software evidence ends under other roots, which a caller must hand over knowingly.
"""

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cloister.model import Tee

__all__ = ["AnchorKind", "TrustAnchor", "TrustAnchors", "pin_of"]


class AnchorKind(StrEnum):
    """What evidence that ends at an anchor is worth."""

    HARDWARE = "hardware"  # a vendor's root: the silicon vouches
    OWNER = "owner"  # a key that the owner of a device handed over: worth what the owner knows of it
    SOFTWARE = "software"  # a host's attestation key: the kernel and root of that host are trusted
    TESTING = "testing"  # emulators and tests: worth nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustAnchor:
    """One pinned key: `name` for people, the TEEs that it may vouch for, and what it is worth."""

    name: str
    tees: frozenset[Tee]
    kind: AnchorKind
    spki_sha256: bytes


INTEL: Final = frozenset({Tee.SGX, Tee.TDX})
AMD: Final = frozenset({Tee.SNP, Tee.SEV})
AMD_BEFORE_SNP: Final = frozenset({Tee.SEV})
VENDOR_ROOTS: Final = (
    ("Intel SGX Root CA", INTEL, "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e"),
    ("AMD ARK-Genoa", AMD, "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831"),
    ("AMD ARK-Milan", AMD, "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9"),
    ("AMD ARK-Turin", AMD, "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08"),
    ("AMD ARK-Naples", AMD_BEFORE_SNP, "3a04f8f1347de206c9206a81148ba4ef0a233b245d43a15dd82de043bb3e4f69"),
    ("AMD ARK-Rome", AMD_BEFORE_SNP, "7447ffa21e2b938bfade89f5e9066c00a328813bfc43685605cceabd18da6fde"),
)
"""name, TEEs, SHA-256 of the SubjectPublicKeyInfo. Intel's is in every quote's chain and at the Provisioning
Certification Service; AMD's are at the Key Distribution Service (ARK)."""


class TrustAnchors:
    """A set of anchors. Immutable; compared by identity, because verified results are remembered per set."""

    __slots__ = ("__weakref__", "_by_pin")

    def __init__(self, anchors: Iterable[TrustAnchor]) -> None:
        self._by_pin = {anchor.spki_sha256: anchor for anchor in anchors}

    @classmethod
    def hardware(cls) -> "TrustAnchors":
        """The roots of the hardware vendors, pinned in this package."""
        return _hardware()

    @classmethod
    def testing(cls, *spkis: bytes, tees: Iterable[Tee] = Tee) -> "TrustAnchors":
        """Roots of emulators and tests, given as DER SubjectPublicKeyInfo. Evidence under them proves nothing."""
        return cls.of(spkis, kind=AnchorKind.TESTING, name="testing root", tees=tees)

    @classmethod
    def of(cls, spkis: Iterable[bytes], *, kind: AnchorKind, name: str, tees: Iterable[Tee]) -> "TrustAnchors":
        """Anchors of one kind for keys that somebody handed over, as DER SubjectPublicKeyInfo."""
        return cls(TrustAnchor(name=name, tees=frozenset(tees), kind=kind, spki_sha256=pin_of(spki)) for spki in spkis)

    def find(self, tee: Tee, spki: bytes) -> TrustAnchor | None:
        """The anchor for this key, if it may vouch for this TEE."""
        anchor = self._by_pin.get(pin_of(spki))
        return anchor if anchor is not None and tee in anchor.tees else None

    def named(self, tee: Tee) -> str:
        """The names of the anchors for a TEE, for messages."""
        return ", ".join(sorted({anchor.name for anchor in self._by_pin.values() if tee in anchor.tees})) or "none"

    def __or__(self, other: "TrustAnchors") -> "TrustAnchors":
        return TrustAnchors([*other._by_pin.values(), *self._by_pin.values()])


@functools.cache
def _hardware() -> TrustAnchors:
    return TrustAnchors(
        TrustAnchor(name=name, tees=tees, kind=AnchorKind.HARDWARE, spki_sha256=bytes.fromhex(pin))
        for name, tees, pin in VENDOR_ROOTS
    )


@functools.lru_cache(maxsize=256)
def pin_of(spki: bytes) -> bytes:
    """The SHA-256 of a DER SubjectPublicKeyInfo, by which a key is pinned."""
    return hashlib.sha256(spki).digest()
