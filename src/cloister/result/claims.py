"""EAR claims-sets: the names and numbers of every profile, and the way from an AttestationResult to claims and back.

| | Veraison, Trustee | drafts 03 and 04 | CBOR |
|---|---|---|---|
| verifier | `ear.verifier-id` | `ear_verifier_id` | 1004 {0: developer, 1: build} |
| tier | `ear.status` | `ear_status` (also of the whole) | 1000: 0, 2, 32, 96 |
| vector | `ear.trustworthiness-vector` | `ear_trustworthiness_vector` | 1001 {0 to 7} |
| policy | `ear.appraisal-policy-id` (one) | `ear_appraisal_policy_ids` (list) | 1003 |
| evidence | `ear.veraison.annotated-evidence` | `ear_veraison_annotated_evidence` | -70000 |
| | | draft 04: `ear_attester_claims` | 1005 |
| added | `ear.veraison.policy-claims` | `ear_veraison_policy_claims` | -70001 |
| | | draft 04: `ear_verifier_claims` | 1006 |
| key | `ear.veraison.key-attestation` | `ear_veraison_key_attestation` | -70002 {"akpub", deployed: 0} |

Sources: veraison/ear (Go) ear.go, ear_appraisal.go; veraison/rust-ear ear.rs, appraisal.rs, key.rs; Trustee
attestation-service ear_token/broker.rs; draft-ietf-rats-ear-03 and -04; RFC 9711 (`eat_profile` 265, `submods` 266,
`eat_nonce` 10); RFC 8392 (`exp` 4, `nbf` 5, `iat` 6).

Read strictly where it matters: a claim that is known has its type and range, tiers and vectors are consistent, no claim
of a vector is unknown. Claims that are not known are passed over, as the drafts demand. The raw evidence is neither
written nor read: it is large, and may identify who is not meant to be known (draft, "Privacy Considerations").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cloister.appraise.vector import Tier
from cloister.errors import BindingInvalid, ParseError
from cloister.result import _base64url
from cloister.result.attestation import Profile

__all__ = [
    "CBOR",
    "EXPIRES",
    "ISSUED",
    "JSON",
    "NAMES",
    "NONCE",
    "NOT_BEFORE",
    "PROFILE",
    "SUBMODULES",
    "VECTOR",
    "VERIFIER",
    "Form",
    "Name",
    "Names",
    "contradiction",
]

Name = tuple[str, int | str]
"""How a claim is called in JSON and in CBOR."""

RECORD: Final = "EAR"
PROFILE: Final[Name] = ("eat_profile", 265)
ISSUED: Final[Name] = ("iat", 6)
EXPIRES: Final[Name] = ("exp", 4)
NOT_BEFORE: Final[Name] = ("nbf", 5)
NONCE: Final[Name] = ("eat_nonce", 10)
SUBMODULES: Final[Name] = ("submods", 266)
VERIFIER: Final[dict[str, Name]] = {"developer": ("developer", 0), "build": ("build", 1)}
VECTOR: Final[dict[str, Name]] = {
    "instance_identity": ("instance-identity", 0),
    "configuration": ("configuration", 1),
    "executables": ("executables", 2),
    "file_system": ("file-system", 3),
    "hardware": ("hardware", 4),
    "runtime_opaque": ("runtime-opaque", 5),
    "storage_opaque": ("storage-opaque", 6),
    "sourced_data": ("sourced-data", 7),
}
TIERS: Final = {Tier.NONE: 0, Tier.AFFIRMING: 2, Tier.WARNING: 32, Tier.CONTRAINDICATED: 96}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The claims whose names depend on the profile. `key_member` is what stands in `key`."""

    verifier: Name
    status: Name
    vector: Name
    policy: Name
    evidence: Name
    added: Name
    key: Name
    key_member: Name
    drafted: bool
    """Several policies in a list, and a status of the whole: what the deployed profiles do not have."""


DEPLOYED: Final = Names(
    verifier=("ear.verifier-id", 1004), status=("ear.status", 1000), vector=("ear.trustworthiness-vector", 1001),
    policy=("ear.appraisal-policy-id", 1003), evidence=("ear.veraison.annotated-evidence", -70000),
    added=("ear.veraison.policy-claims", -70001), key=("ear.veraison.key-attestation", -70002),
    key_member=("akpub", 0), drafted=False,
)  # fmt: skip
DRAFT_03: Final = Names(
    verifier=("ear_verifier_id", 1004), status=("ear_status", 1000), vector=("ear_trustworthiness_vector", 1001),
    policy=("ear_appraisal_policy_ids", 1003), evidence=("ear_veraison_annotated_evidence", -70000),
    added=("ear_veraison_policy_claims", -70001), key=("ear_veraison_key_attestation", -70002),
    key_member=("akpub", "akpub"), drafted=True,
)  # fmt: skip
DRAFT_04: Final = Names(
    verifier=DRAFT_03.verifier, status=DRAFT_03.status, vector=DRAFT_03.vector, policy=DRAFT_03.policy,
    evidence=("ear_attester_claims", 1005), added=("ear_verifier_claims", 1006), key=DRAFT_03.key,
    key_member=DRAFT_03.key_member, drafted=True,
)  # fmt: skip
NAMES: Final = {
    Profile.VERAISON: DEPLOYED,
    Profile.TRUSTEE: DEPLOYED,
    Profile.DRAFT_03: DRAFT_03,
    Profile.DRAFT_04: DRAFT_04,
}


@dataclass(frozen=True, slots=True)
class Form:
    """JSON or CBOR: how names, bytes and tiers are written. Reading refuses with ParseError."""

    index: Literal[0, 1]

    def name(self, name: Name) -> int | str:
        """The name of a claim."""
        return name[self.index]

    def octets(self, value: bytes) -> str | bytes:
        """Bytes: base64url in JSON (RFC 9711, section 7.2.2)."""
        return value if self.index else _base64url.encode(value)

    def tier(self, tier: Tier) -> str | int:
        """A tier: a word in JSON, a number in CBOR."""
        return TIERS[tier] if self.index else tier.value

    def has(self, claims: Mapping[object, object], name: Name) -> bool:
        """Whether the claim is there."""
        return self.name(name) in claims

    def find(self, claims: Mapping[object, object], name: Name) -> object:
        """A claim that must be there."""
        if not self.has(claims, name):
            raise ParseError(RECORD, str(self.name(name)), 0, "is missing")
        return claims[self.name(name)]

    def text(self, claims: Mapping[object, object], name: Name) -> str:
        """A claim that is text."""
        found = self.find(claims, name)
        if not isinstance(found, str):
            raise self.error(name, "is not text")
        return found

    def whole(self, claims: Mapping[object, object], name: Name) -> int:
        """A claim that is a whole number; 1.0 is none (RFC 9711, section 4.3.1)."""
        found = self.find(claims, name)
        if type(found) is not int:
            raise self.error(name, "is not a whole number")
        return found

    def map(self, claims: Mapping[object, object], name: Name) -> Mapping[object, object]:
        """A claim that is an object or map."""
        found = self.find(claims, name)
        if not isinstance(found, Mapping):
            raise self.error(name, "is not an object")
        return found

    def read_octets(self, claims: Mapping[object, object], name: Name) -> bytes:
        """A claim that is bytes."""
        found = self.find(claims, name)
        if self.index:
            if not isinstance(found, bytes):
                raise self.error(name, "is not a byte string")
            return found
        try:
            return _base64url.decode(self.text(claims, name))
        except ValueError as error:
            raise self.error(name, str(error)) from error

    def read_nonce(self, claims: Mapping[object, object]) -> bytes:
        """The nonce. In JSON the deployed verifiers write it in ordinary base64 with padding; both are taken."""
        if self.index:
            return self.read_octets(claims, NONCE)
        text = self.text(claims, NONCE)
        bare = text.removesuffix("=").removesuffix("=") if len(text) % 4 == 0 else text
        return self.read_octets({NONCE[0]: bare.replace("+", "-").replace("/", "_")}, NONCE)

    def read_tier(self, claims: Mapping[object, object], name: Name) -> Tier:
        """A claim that is a tier."""
        found = self.find(claims, name)
        for tier in Tier:
            if type(found) is type(self.tier(tier)) and found == self.tier(tier):
                return tier
        raise self.error(name, f"is {found!r}, which is no tier")

    def error(self, name: Name, reason: str) -> ParseError:
        """A ParseError about a claim, to be raised."""
        return ParseError(RECORD, str(self.name(name)), 0, reason)


JSON: Final = Form(0)
CBOR: Final = Form(1)


def contradiction(reason: str, *, expected: object, actual: object) -> BindingInvalid:
    """A token that contradicts itself, to be raised: who wrote it made a mistake, or hopes for a careless reader."""
    return BindingInvalid(reason, expected=expected, actual=actual, set_by="draft-ietf-rats-ear, ear_status")
