"""A forged Arm CCA platform: attestation tokens of every form, genuine but for the platform key.

    forge = ArmForge()
    token = forge.token(nonce=b"...")
    forge.anchors, forge.endorsements               # what verifies it

Keyword arguments change one thing each; claims are changed before they are signed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge.x509 import spki

from cloister.emulate.vendors.arm import collection as collected
from cloister.emulate.vendors.arm_claims import (
    Component,
    PlatformState,
    RealmState,
    TokenForm,
    platform_claims,
    realm_claims,
)
from cloister.emulate.vendors.arm_cose import cose_key, raw_point, sign1
from cloister.emulate.vendors.x509 import p384
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.evidence.cca_claims import HASHES
from cloister.model import Tee

__all__ = ["GONE", "ArmForge", "Changes"]

Changes = Mapping[int, object]
"""Claims by number that replace the ordinary ones."""
GONE = object()
"""Instead of a claim's value: leave the claim out."""


def digest(name: str) -> bytes:
    """A digest that is the same in every run."""
    return hashlib.sha256(name.encode()).digest()


STATE = PlatformState(
    implementation_id=hashlib.sha256(b"platform implementation").digest(),
    components=(
        Component(kind="BL2", measurement=digest("BL2"), version="1.2.3", signer_id=digest("signer")),
        Component(kind="RMM", measurement=digest("RMM"), signer_id=digest("signer")),
    ),
    config=b"\xcf\xcf\xcf\xcf",
    verification_service="https://verifier.example/",
)
REALM = RealmState(
    initial_measurement=digest("realm"),
    extensible_measurements=(digest("register 0"), digest("register 1"), digest("register 2"), digest("register 3")),
    personalization_value=b"a realm's personalisation value".ljust(64, b"\0"),
)


@dataclass(kw_only=True)
class ArmForge:
    """A platform with its key (CPAK) and the realm attestation key (RAK) of its monitor."""

    platform_key: ec.EllipticCurvePrivateKey = field(default_factory=p384)
    realm_key: ec.EllipticCurvePrivateKey = field(default_factory=p384)

    @property
    def anchors(self) -> TrustAnchors:
        """Pins the platform key."""
        return TrustAnchors.testing(spki(self.platform_key), tees=[Tee.CCA])

    @property
    def endorsements(self) -> Endorsements:
        """Holds the platform key."""
        return Endorsements(keys=(spki(self.platform_key),))

    def realm_claims(self, nonce: bytes = b"", *, legacy: bool = False, changes: Changes = {}) -> dict[int, object]:  # noqa: B006 - not changed
        """The realm token's claims. `legacy`: without a profile, and with the key as a raw point."""
        form = TokenForm.UNDIVIDED if legacy else TokenForm.CMW
        key = raw_point(self.realm_key) if legacy else cose_key(self.realm_key)
        claims = realm_claims(REALM, nonce.ljust(64, b"\0"), key, form)
        return without_gone(claims | {256: b"\x01" + digest("realm instance"), 44243: "private"} | dict(changes))

    def platform_claims(
        self,
        realm: Mapping[int, object],
        *,
        legacy: bool = False,
        changes: Changes = {},  # noqa: B006 - not changed
    ) -> dict[int, object]:
        """The platform token's claims, bound to the key in the realm's claims."""
        key, algorithm = realm.get(44237), str(realm.get(44240))
        bound = {44237: key if isinstance(key, bytes) else b"", 44240: algorithm if algorithm in HASHES else "sha-256"}
        form = TokenForm.UNDIVIDED if legacy else TokenForm.CMW
        claims = platform_claims(STATE, bound, b"\x01" + digest("platform instance"), form)
        terse: object = {2: digest("RMM"), 5: digest("signer")}  # most of a component's claims are optional
        parts = claims[2399]
        assert isinstance(parts, list)
        return without_gone(claims | {2399: [parts[0], terse]} | dict(changes))

    def token(
        self,
        *,
        nonce: bytes = b"",
        collection: int = 907,
        legacy: bool = False,
        embedded: bool = False,
        platform: Changes = {},  # noqa: B006 - not changed
        realm: Changes = {},  # noqa: B006 - not changed
        sign_platform: ec.EllipticCurvePrivateKey | None = None,
        sign_realm: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:
        """A token over a nonce. `platform` and `realm` change claims, `sign_…` sign with another key."""
        realm_said = self.realm_claims(nonce, legacy=legacy, changes=realm)
        platform_said = self.platform_claims(realm_said, legacy=legacy, changes=platform)
        tokens = (
            sign1(sign_platform or self.platform_key, cbor2.dumps(platform_said)),
            sign1(sign_realm or self.realm_key, cbor2.dumps(realm_said)),
        )
        if embedded:
            return collected(collection, *tokens)
        return collected(collection, *(one.serialize() for one in tokens))


def without_gone(claims: Mapping[int, object]) -> dict[int, object]:
    """The claims that are not GONE."""
    return {key: value for key, value in claims.items() if value is not GONE}
