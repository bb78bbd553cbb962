"""The claims in the two tokens of an Arm CCA attestation token (draft-ffm-rats-cca-token, sections 4.2 to 4.8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from cloister import _cbor
from cloister.errors import ParseError

__all__ = ["HASHES", "PlatformClaims", "RealmClaims", "SoftwareComponent", "platform_claims", "realm_claims"]

HASHES: Final = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}
"""IANA "Named Information Hash Algorithm Registry" names, as hashlib calls them."""
DIGEST_SIZES: Final = (32, 48, 64)
UNDIVIDED: Final = "http://arm.com/CCA-SSD/1.0.0"
"""The first profile: it describes both tokens, so the realm token needs none."""
PLATFORM_PROFILES: Final = frozenset({UNDIVIDED, "tag:arm.com,2023:cca_platform#1.0.0"})
REALM_PROFILES: Final = frozenset({"tag:arm.com,2023:realm#1.0.0", "tag:arm.com,2024:realm#2.0.0"})
RAW_POINT: Final = 97
"""Bytes of a P-384 point as SEC 1 writes it."""
MAX_COMPONENTS: Final = 64
"""Software components of a platform. The most seen is 13."""
LIFECYCLES: Final = {
    0x00: "unknown",
    0x10: "assembly_and_test",
    0x20: "cca_platform_rot_provisioning",
    0x30: "secured",
    0x40: "non_cca_platform_rot_debug",
    0x50: "recoverable_cca_platform_rot_debug",
    0x60: "decommissioned",
}
"""By the high byte; the low one is the implementation's (section 4.5.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareComponent:
    """One measured piece of platform firmware (section 4.6.1). Empty strings: the token does not say."""

    kind: str
    measurement: bytes
    version: str
    signer_id: bytes
    hash_algorithm: str
    other: Mapping[int | str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformClaims:
    """What the platform token says (sections 4.3 to 4.7). `other` are claims that are not understood.

    `challenge` is the hash of the realm attestation key; `hash_algorithm` is the token's name (`sha-256`).
    """

    profile: str
    challenge: bytes
    implementation_id: bytes
    instance_id: bytes
    config: bytes
    lifecycle: int
    software_components: tuple[SoftwareComponent, ...]
    hash_algorithm: str
    verification_service: str
    other: Mapping[int | str, object]

    @property
    def lifecycle_state(self) -> str:
        """The draft's name of the lifecycle state: `secured`, `decommissioned`."""
        return LIFECYCLES[self.lifecycle >> 8]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealmClaims:
    """What the realm token says (section 4.8). `other` are claims that are not understood.

    `profile`, `instance_id` and `mec_policy` are empty or None where the token is older than they are. `public_key` is
    as given: a COSE_Key, or a raw point where there is no profile. So is `mec_policy` (is a memory encryption context
    shared with other realms): the draft writes `shared` or `private`, tokens of reference firmware write a number.
    """

    profile: str
    challenge: bytes
    personalization_value: bytes
    initial_measurement: bytes
    extensible_measurements: tuple[bytes, bytes, bytes, bytes]
    hash_algorithm: str
    public_key: bytes
    public_key_hash_algorithm: str
    instance_id: bytes
    mec_policy: int | str | None
    other: Mapping[int | str, object]


class Claims:
    """Takes claims by number out of a decoded map; what is left over afterwards is not understood."""

    __slots__ = ("base", "left", "record")

    def __init__(self, value: object, record: str, base: int) -> None:
        if not isinstance(value, dict):
            raise ParseError(record, "claims", base, "are not a map")
        self.left, self.record, self.base = value, record, base

    def octets(self, key: int, name: str, *sizes: int) -> bytes:
        """A byte string that must be there, of one of `sizes` if any are given."""
        value = self.left.pop(key, None)
        if type(value) is bytes and (not sizes or len(value) in sizes):
            return value
        return self.refuse(name, f"(claim {key}) is not a byte string of the right length")

    def text(self, key: int, name: str, default: str | None = None) -> str:
        """A text string; it must be there unless there is a default."""
        value = self.left.pop(key, default)
        return value if type(value) is str else self.refuse(name, f"(claim {key}) is not a text string")

    def hash_name(self, key: int, name: str) -> str:
        """The name of a hash algorithm."""
        value = self.text(key, name)
        return value if value in HASHES else self.refuse(name, f"is {value!r}; only {', '.join(HASHES)} are understood")

    def listed(self, key: int, name: str) -> list[object]:
        """A list that must be there."""
        value = self.left.pop(key, None)
        return value if type(value) is list else self.refuse(name, f"(claim {key}) is not a list")

    def refuse(self, name: str, reason: str) -> NoReturn:
        """Raise the ParseError about one claim."""
        raise ParseError(self.record, name, self.base, reason)


def platform_claims(payload: bytes, base: int = 0) -> PlatformClaims:
    """Read the platform token's payload."""
    claims = Claims(_cbor.loads(payload, "CcaPlatformClaims", base=base), "CcaPlatformClaims", base)
    profile, lifecycle = claims.text(265, "profile"), claims.left.pop(2395, None)
    if profile not in PLATFORM_PROFILES:
        claims.refuse("profile", f"is {profile!r}; only {', '.join(sorted(PLATFORM_PROFILES))} are understood")
    if type(lifecycle) is not int or lifecycle < 0 or lifecycle >> 8 not in LIFECYCLES:
        claims.refuse("lifecycle", f"is {lifecycle!r}, which is no state")
    components = claims.listed(2399, "software_components")
    if not 1 <= len(components) <= MAX_COMPONENTS:
        claims.refuse("software_components", f"are {len(components)}; 1 to {MAX_COMPONENTS} expected")
    instance_id = claims.octets(256, "instance_id", 33)
    if instance_id[0] != 1:
        claims.refuse("instance_id", "is not of type RAND (a first byte of 1)")
    return PlatformClaims(
        profile=profile, challenge=claims.octets(10, "challenge", *DIGEST_SIZES),
        implementation_id=claims.octets(2396, "implementation_id", 32), instance_id=instance_id,
        config=claims.octets(2401, "config"), lifecycle=lifecycle,
        software_components=tuple(_component(one, base) for one in components),
        hash_algorithm=claims.hash_name(2402, "hash_algorithm"),
        verification_service=claims.text(2400, "verification_service", ""), other=claims.left,
    )  # fmt: skip


def _component(value: object, base: int) -> SoftwareComponent:
    part = Claims(value, "CcaSoftwareComponent", base)
    return SoftwareComponent(
        kind=part.text(1, "type", ""), measurement=part.octets(2, "measurement", *DIGEST_SIZES),
        version=part.text(4, "version", ""), signer_id=part.octets(5, "signer_id", *DIGEST_SIZES),
        hash_algorithm=part.text(6, "hash_algorithm", ""), other=part.left,
    )  # fmt: skip


def realm_claims(payload: bytes, platform_profile: str, base: int = 0) -> RealmClaims:
    """Read the realm token's payload. A realm token without a profile goes with the undivided platform profile only."""
    claims = Claims(_cbor.loads(payload, "CcaRealmClaims", base=base), "CcaRealmClaims", base)
    profile, mec_policy = claims.text(265, "profile", ""), claims.left.pop(44243, None)
    if profile not in REALM_PROFILES and (profile or platform_profile != UNDIVIDED):
        claims.refuse("profile", f"is {profile!r}, which does not go with the platform's {platform_profile!r}")
    if type(mec_policy) not in {int, str, type(None)}:
        claims.refuse("mec_policy", f"(claim 44243) is {mec_policy!r}, neither a word nor a number")
    registers = claims.listed(44239, "extensible_measurements")
    if len(registers) != 4 or not all(type(one) is bytes and len(one) in DIGEST_SIZES for one in registers):
        claims.refuse("extensible_measurements", "are not four digests")
    public_key = claims.octets(44237, "public_key", *(() if profile else (RAW_POINT,)))
    return RealmClaims(
        profile=profile, challenge=claims.octets(10, "challenge", 64),
        personalization_value=claims.octets(44235, "personalization_value", 64),
        initial_measurement=claims.octets(44238, "initial_measurement", *DIGEST_SIZES),
        extensible_measurements=tuple(registers),  # type: ignore[arg-type] # looked at above
        hash_algorithm=claims.hash_name(44236, "hash_algorithm"), public_key=public_key,
        public_key_hash_algorithm=claims.hash_name(44240, "public_key_hash_algorithm"),
        instance_id=claims.octets(256, "instance_id", 33) if 256 in claims.left else b"",
        mec_policy=mec_policy, other=claims.left,
    )  # fmt: skip
