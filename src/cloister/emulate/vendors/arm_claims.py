"""The claims of an Arm CCA platform and of its realms (draft-ffm-rats-cca-token, sections 4.2 to 4.8; Arm DEN0137).

What a platform and a realm are (`PlatformState`, `RealmState`) becomes the maps that their tokens sign, in one of the
forms that are in use (`TokenForm`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cloister.errors import UsageError
from cloister.evidence.cca_claims import HASHES

__all__ = ["SECURED", "Component", "PlatformState", "RealmState", "TokenForm", "platform_claims", "realm_claims"]

SECURED: Final = 0x3000
"""The lifecycle state in which nobody can debug the platform (section 4.5.2)."""
CHALLENGE: Final = 64
"""Bytes of a realm's challenge and of its personalisation value."""
REGISTERS: Final = 4

NONCE, INSTANCE_ID, PROFILE = 10, 256, 265
LIFECYCLE, IMPLEMENTATION_ID, COMPONENTS, SERVICE, CONFIG, PLATFORM_HASH = 2395, 2396, 2399, 2400, 2401, 2402
RPV, REALM_HASH, REALM_KEY, RIM, REMS, KEY_HASH = 44235, 44236, 44237, 44238, 44239, 44240
"""The claims' numbers (IANA "CWT Claims", and section 4.2)."""
UNDIVIDED: Final = "http://arm.com/CCA-SSD/1.0.0"


class TokenForm(Enum):
    """How a token is put together: collection tag, platform profile, realm profile (empty: none, and a raw key)."""

    UNDIVIDED = (399, UNDIVIDED, "")
    """As TF-RMM sent before profiles were divided: the realm token has no profile and the raw point of its key."""
    EAT = (399, "tag:arm.com,2023:cca_platform#1.0.0", "tag:arm.com,2023:realm#1.0.0")
    """As TF-RMM 1.0 sends."""
    CMW = (907, "tag:arm.com,2023:cca_platform#1.0.0", "tag:arm.com,2024:realm#2.0.0")
    """As the draft has it."""

    def __init__(self, collection: int, platform_profile: str, realm_profile: str) -> None:
        self.collection, self.platform_profile, self.realm_profile = collection, platform_profile, realm_profile


@dataclass(frozen=True, kw_only=True)
class Component:
    """One measured piece of the platform's firmware (section 4.6.1). `measurement` and `signer_id` are digests."""

    kind: str
    measurement: bytes
    signer_id: bytes
    version: str = "1.0.0"


@dataclass(frozen=True, kw_only=True)
class PlatformState:
    """What the platform's root of trust measured when it booted (sections 4.3 to 4.7).

    `implementation_id` has 32 bytes; `hash_algorithm` is sha-256, sha-384 or sha-512.
    """

    implementation_id: bytes
    components: tuple[Component, ...]
    config: bytes = bytes(4)
    lifecycle: int = SECURED
    hash_algorithm: str = "sha-256"
    verification_service: str = ""


@dataclass(frozen=True, kw_only=True)
class RealmState:
    """What the monitor (RMM) measured of a realm: RIM, four REMs, and its personalisation value (64 bytes)."""

    initial_measurement: bytes
    extensible_measurements: tuple[bytes, bytes, bytes, bytes]
    personalization_value: bytes = bytes(CHALLENGE)
    hash_algorithm: str = "sha-256"


def realm_claims(
    realm: RealmState, challenge: bytes, realm_key: bytes, form: TokenForm, *, key_hash: str = "sha-256"
) -> dict[int, object]:
    """What the realm token says (section 4.8). `challenge`: 64 bytes; `realm_key` as the form writes it.

    UsageError if something has not the length that the monitor gives it.
    """
    size = hashlib.new(HASHES[realm.hash_algorithm]).digest_size
    measured = (realm.initial_measurement, *realm.extensible_measurements)
    if len(challenge) != CHALLENGE or len(realm.personalization_value) != CHALLENGE:
        raise UsageError(f"a realm's challenge and its personalisation value have {CHALLENGE} bytes each")
    if len(measured) != 1 + REGISTERS or any(len(one) != size for one in measured):
        raise UsageError(f"a realm has an initial and {REGISTERS} extensible measurements, {size} bytes each")
    return {
        NONCE: challenge,
        **({PROFILE: form.realm_profile} if form.realm_profile else {}),
        RPV: realm.personalization_value,
        REALM_HASH: realm.hash_algorithm,
        REALM_KEY: realm_key,
        RIM: realm.initial_measurement,
        REMS: list(realm.extensible_measurements),
        KEY_HASH: key_hash,
    }


def platform_claims(
    platform: PlatformState, realm: Mapping[int, object], instance_id: bytes, form: TokenForm
) -> dict[int, object]:
    """What the platform token says, bound to the key in a realm's claims by that key's hash (section 4.10).

    `instance_id`: 33 bytes, the first of them 1.
    """
    return {
        NONCE: key_digest(realm),
        INSTANCE_ID: instance_id,
        PROFILE: form.platform_profile,
        LIFECYCLE: platform.lifecycle,
        IMPLEMENTATION_ID: platform.implementation_id,
        COMPONENTS: [
            {1: one.kind, 2: one.measurement, 4: one.version, 5: one.signer_id, 6: platform.hash_algorithm}
            for one in platform.components
        ],
        **({SERVICE: platform.verification_service} if platform.verification_service else {}),
        CONFIG: platform.config,
        PLATFORM_HASH: platform.hash_algorithm,
    }


def key_digest(realm: Mapping[int, object]) -> bytes:
    """The hash of the realm key claim, over its bytes as they stand, by the algorithm that stands beside it."""
    key = realm[REALM_KEY]
    if not isinstance(key, bytes):
        raise UsageError("a realm's key is a byte string")
    return hashlib.new(HASHES[str(realm[KEY_HASH])], key).digest()
