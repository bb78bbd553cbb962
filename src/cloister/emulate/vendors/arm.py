"""An emulated Arm CCA platform: its attestation key, and the tokens that it and its monitor sign.

    platform = ArmPlatform(Keystore())
    booted = platform.boot(state)                     # one realm attestation key (RAK) and platform token per boot
    token = booted.cca_token(challenge, realm)
    platform.publish_key()                            # for `cloister verify --unsafe-trust-root`

draft-ffm-rats-cca-token, sections 4 and 6; Arm DEN0137 (RMM specification), "Realm attestation". No vendor certifies
platform keys (CPAK): whoever owns a genuine platform hands its key over, and verifiers pin it (`--trust-key`). The key
of an emulated one looks the same, so its file begins with a warning, and is for `--unsafe-trust-root` only.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from cloister import _cbor
from cloister._cose import CoseSign1
from cloister.emulate.vendors.arm_claims import PlatformState, RealmState, TokenForm, platform_claims, realm_claims
from cloister.emulate.vendors.arm_cose import cose_key, raw_point, sign1
from cloister.emulate.vendors.keystore import WARNING, Keystore
from cloister.emulate.vendors.x509 import armoured, p384, spki

__all__ = ["ArmPlatform", "BootedPlatform", "collection"]

PLATFORM: Final = 44234
REALM: Final = 44241
CMW_COLLECTION: Final = 907
EAT_CWT: Final = 263
"""The content format application/eat+cwt (IANA "CoAP Content-Formats")."""
RAND: Final = b"\x01"
"""The type of an instance identifier (RFC 9711, section 4.2.1)."""


class ArmPlatform:
    """One platform. Its attestation key (CPAK, P-384) is made on first use, then kept; `name` tells platforms apart."""

    def __init__(self, keystore: Keystore, name: str = "platform") -> None:
        self.keystore, self.label = keystore, f"arm-cca-{name}"
        self._key = keystore.key(f"{self.label}-cpak", p384)

    @property
    def spki(self) -> bytes:
        """The platform's public key, DER SubjectPublicKeyInfo: both anchor and endorsement."""
        return spki(self._key)

    @property
    def instance_id(self) -> bytes:
        """Which platform this is: a type, then the hash of its key."""
        return RAND + hashlib.sha256(self.spki).digest()

    def publish_key(self) -> Path:
        """Write the public key in PEM, behind a warning, beside the private one; the file's path."""
        return self.keystore.publish(f"{self.label}-cpak.pem", labelled(armoured(self.spki, "PUBLIC KEY")))

    def boot(self, state: PlatformState, *, form: TokenForm = TokenForm.CMW) -> "BootedPlatform":
        """Start the platform with the firmware that `state` describes; it makes a new RAK and vouches for it."""
        realm_key = p384()
        claims = platform_claims(state, realm_key_claims(realm_key, form), self.instance_id, form)
        token = sign1(self._key, _cbor.dumps(claims)).serialize()
        return BootedPlatform(realm_key=realm_key, platform_token=token, form=form)

    def cca_token(
        self, challenge: bytes, realm: RealmState, state: PlatformState, *, form: TokenForm = TokenForm.CMW
    ) -> bytes:
        """A token by a platform that has just booted. Tokens of one boot all have the same platform part."""
        return self.boot(state, form=form).cca_token(challenge, realm)


@dataclass(frozen=True, kw_only=True)
class BootedPlatform:
    """From one boot to the next: the realm attestation key of the monitor, and the token that vouches for it."""

    realm_key: ec.EllipticCurvePrivateKey = field(repr=False)
    platform_token: bytes = field(repr=False)
    form: TokenForm

    def cca_token(self, challenge: bytes, realm: RealmState) -> bytes:
        """RSI_ATTESTATION_TOKEN's answer for a realm: platform and realm token. `challenge` has exactly 64 bytes."""
        claims = realm_claims(realm, challenge, key_claim(self.realm_key, self.form), self.form)
        realm_token = sign1(self.realm_key, _cbor.dumps(claims)).serialize()
        return collection(self.form.collection, self.platform_token, realm_token)


def labelled(pem: bytes) -> bytes:
    """PEM with the warning in front, which readers of PEM skip (RFC 7468, section 2)."""
    return f"{WARNING}\n".encode() + pem


def key_claim(key: ec.EllipticCurvePrivateKey, form: TokenForm) -> bytes:
    """The public half of a realm key as a form writes it."""
    return cose_key(key) if form.realm_profile else raw_point(key)


def realm_key_claims(key: ec.EllipticCurvePrivateKey, form: TokenForm) -> dict[int, object]:
    """A realm's claims with the two in them that the platform token is bound to: the key, and the hash of it."""
    blank = RealmState(initial_measurement=bytes(32), extensible_measurements=(bytes(32),) * 4)
    return realm_claims(blank, bytes(64), key_claim(key, form), form)


def collection(tag: int, platform: bytes | CoseSign1, realm: bytes | CoseSign1) -> bytes:
    """Both tokens in one collection (section 4.1), in byte strings, or embedded as they are if given as messages."""
    members: Mapping[int, bytes | object] = {
        label: one if isinstance(one, bytes) else embedded(one) for label, one in ((PLATFORM, platform), (REALM, realm))
    }
    if tag == CMW_COLLECTION:
        members = {label: [EAT_CWT, one] for label, one in members.items()}
    return _cbor.dumps(_cbor.Tag(tag, members))


def embedded(token: CoseSign1) -> object:
    """A message as a CBOR value."""
    parts = [token.protected, token.unprotected, token.payload, token.signature]
    return _cbor.Tag(18, parts) if token.tagged else parts
