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
from tests.forge.cose import cose_key_of, sign1
from tests.forge.x509 import spki

from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.evidence.cca_claims import HASHES
from cloister.model import Tee

__all__ = ["GONE", "ArmForge", "Changes"]

Changes = Mapping[int, object]
"""Claims by number that replace the ordinary ones."""
GONE = object()
"""Instead of a claim's value: leave the claim out."""
LEGACY_PROFILE = "http://arm.com/CCA-SSD/1.0.0"
PLATFORM_PROFILE = "tag:arm.com,2023:cca_platform#1.0.0"
REALM_PROFILE = "tag:arm.com,2024:realm#2.0.0"
SECURED = 0x3000


def digest(name: str) -> bytes:
    """A digest that is the same in every run."""
    return hashlib.sha256(name.encode()).digest()


def p384() -> ec.EllipticCurvePrivateKey:
    """A fresh P-384 key."""
    return ec.generate_private_key(ec.SECP384R1())


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
        numbers = self.realm_key.public_key().public_numbers()
        point = b"\x04" + numbers.x.to_bytes(48) + numbers.y.to_bytes(48)
        claims: dict[int, object] = {
            10: nonce.ljust(64, b"\0"),
            256: b"\x01" + digest("realm instance"),
            265: GONE if legacy else REALM_PROFILE,
            44235: b"a realm's personalisation value".ljust(64, b"\0"),
            44236: "sha-256",
            44237: point if legacy else cose_key_of(self.realm_key),
            44238: digest("realm"),
            44239: [digest(f"register {number}") for number in range(4)],
            44240: "sha-256",
            44243: "private",
        }
        return without_gone(claims | dict(changes))

    def platform_claims(
        self,
        realm: Mapping[int, object],
        *,
        legacy: bool = False,
        changes: Changes = {},  # noqa: B006 - not changed
    ) -> dict[int, object]:
        """The platform token's claims, bound to the key in the realm's claims."""
        key, algorithm = realm.get(44237), HASHES.get(str(realm.get(44240)), "sha256")
        claims: dict[int, object] = {
            10: hashlib.new(algorithm, key if isinstance(key, bytes) else b"").digest(),
            256: b"\x01" + digest("platform instance"),
            265: LEGACY_PROFILE if legacy else PLATFORM_PROFILE,
            2395: SECURED,
            2396: digest("platform implementation"),
            2399: [
                {1: "BL2", 2: digest("BL2"), 4: "1.2.3", 5: digest("signer"), 6: "sha-256"},
                {2: digest("RMM"), 5: digest("signer")},
            ],
            2400: "https://verifier.example/",
            2401: b"\xcf\xcf\xcf\xcf",
            2402: "sha-256",
        }
        return without_gone(claims | dict(changes))

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
        tokens = {
            44234: sign1(sign_platform or self.platform_key, cbor2.dumps(platform_said)).serialize(),
            44241: sign1(sign_realm or self.realm_key, cbor2.dumps(realm_said)).serialize(),
        }
        members = {label: cbor2.loads(one) if embedded else one for label, one in tokens.items()}
        if collection == 907:
            return cbor2.dumps(cbor2.CBORTag(907, {label: [263, one] for label, one in members.items()}))
        return cbor2.dumps(cbor2.CBORTag(collection, members))


def without_gone(claims: Mapping[int, object]) -> dict[int, object]:
    """The claims that are not GONE."""
    return {key: value for key, value in claims.items() if value is not GONE}
