"""What a verifier says of an attester: one submodule for each piece of evidence, and who says it, when, to whom.

The nouns are EAR's (draft-ietf-rats-ear, section 3). Encoding and signatures are elsewhere: this is what they carry.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NoReturn

from cloister.appraise.appraisal import Appraisal
from cloister.appraise.vector import Tier, TrustVector
from cloister.model import Tee
from cloister.verification.recipe import Tcb

__all__ = [
    "BASIS",
    "AttestationResult",
    "Basis",
    "Json",
    "Profile",
    "Submodule",
    "Verifier",
    "check_json",
    "whole_second",
]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""A value that JSON has."""
DEEPEST: Final = 24
"""Lists and objects inside each other, in what an attestation result repeats of the evidence."""
BASIS: Final = "cloister"
"""Under this name an appraisal's `Basis` stands among the verifier's claims."""
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST_NONCE, LONGEST_NONCE = 8, 64
"""Bytes (RFC 9711, section 4.1)."""


class Profile(StrEnum):
    """Who agrees with whom on the names of the claims (`eat_profile`)."""

    VERAISON = "tag:github.com,2023:veraison/ear"
    TRUSTEE = "tag:github.com,2024:confidential-containers/Trustee"
    DRAFT_03 = "tag:ietf.org,2026:rats/ear#03"
    DRAFT_04 = "tag:ietf.org,2026:rats/ear#04"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """Who appraised: the organization and the software build, both free text and neither empty."""

    developer: str
    build: str

    def __post_init__(self) -> None:
        """Refuse what identifies nobody."""
        for name, value in (("developer", self.developer), ("build", self.build)):
            if not value or not printable(value):
                raise ValueError(f"the verifier's {name} must be text, and not empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What an appraisal by Cloister rests on. Other verifiers' results have none."""

    tee: Tee
    anchor_kind: str
    """What the evidence is worth: `hardware`, `owner`, `software` or `testing`."""
    anchor: str
    verified_at: datetime
    tcb: Tcb = field(default_factory=Tcb)
    unchecked: tuple[str, ...] = ()
    evidence_sha256: bytes = b""
    """Of the evidence as it was sent, if the verifier keeps that; empty otherwise."""

    def __post_init__(self) -> None:
        """Refuse times without a zone, and a digest that is none."""
        aware(self.verified_at, "verified_at")
        if self.tcb.date is not None:
            aware(self.tcb.date, "tcb.date")
        if len(self.evidence_sha256) not in {0, 32}:
            raise ValueError(f"evidence_sha256 has 32 bytes, not {len(self.evidence_sha256)}")
        for text in (self.anchor, self.anchor_kind, self.tcb.status, *self.tcb.advisories, *self.unchecked):
            check_json(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submodule:
    """The verdict on one attester. `status` is never better than the worst claim of `vector`."""

    status: Tier
    vector: TrustVector = field(default_factory=TrustVector)
    policies: tuple[str, ...] = ()
    """Identifiers of the policies that were applied, in that order."""
    evidence: Mapping[str, Json] = field(default_factory=dict)
    """Claims of the attester, from the evidence."""
    added: Mapping[str, Json] = field(default_factory=dict)
    """Claims of the verifier, beyond `basis`."""
    attested_key: bytes = b""
    """A public key (DER SubjectPublicKeyInfo) that the evidence vouches for; empty if there is none."""
    basis: Basis | None = None

    def __post_init__(self) -> None:
        """Refuse a status that is better than the claims, and values that cannot be encoded."""
        if not self.vector.bears(self.status):
            raise ValueError(f"status {self.status} is better than the worst claim, which is {self.vector.worst()}")
        if not all(policy and printable(policy) for policy in self.policies):
            raise ValueError("a policy's identifier is text, and not empty")
        if BASIS in self.added:
            raise ValueError(f"the verifier's claim {BASIS!r} is for the basis")
        for claims in (self.evidence, self.added):
            check_json(dict(claims))

    @classmethod
    def of(cls, appraisal: Appraisal, *, evidence_sha256: bytes = b"", attested_key: bytes = b"") -> "Submodule":
        """The submodule that reports an appraisal. The attester's claims stand under the name of its TEE."""
        basis = Basis(
            tee=appraisal.tee, anchor_kind=appraisal.anchor_kind, anchor=appraisal.anchor, verified_at=appraisal.at,
            tcb=appraisal.tcb, unchecked=appraisal.unchecked, evidence_sha256=evidence_sha256,
        )  # fmt: skip
        claims: dict[str, Json] = dict(appraisal.claims.items())  # type: ignore[arg-type] # Claim is part of Json
        return cls(
            status=appraisal.status, vector=appraisal.vector, attested_key=attested_key, basis=basis,
            policies=(appraisal.policy_id,) if appraisal.policy_id else (), evidence={str(appraisal.tee): claims},
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationResult:
    """One or several appraisals, for a relying party. `status` is never better than the worst submodule's."""

    profile: Profile
    verifier: Verifier
    issued_at: datetime
    submodules: Mapping[str, Submodule]
    status: Tier
    nonce: bytes = b""
    """The relying party's, 8 to 64 bytes; empty if it sent none."""
    expires_at: datetime | None = None
    not_before: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if not self.submodules or not all(name and printable(name) for name in self.submodules):
            raise ValueError("an attestation result has at least one submodule, each with a name")
        worst = max(one.status for one in self.submodules.values())
        if self.status < worst:
            raise ValueError(f"status {self.status} is better than the worst submodule's, which is {worst}")
        if self.nonce and not SHORTEST_NONCE <= len(self.nonce) <= LONGEST_NONCE:
            raise ValueError(f"a nonce has {SHORTEST_NONCE} to {LONGEST_NONCE} bytes, this one has {len(self.nonce)}")
        for name, time in (
            ("issued_at", self.issued_at),
            ("expires_at", self.expires_at),
            ("not_before", self.not_before),
        ):
            if time is not None and (aware(time, name).microsecond or time < EARLIEST):
                raise ValueError(f"{name} is a whole second since 1970")
        if self.expires_at is not None and self.expires_at <= self.issued_at:
            raise ValueError("expires_at is not after issued_at")

    @classmethod
    def of(
        cls,
        submodules: Mapping[str, Submodule],
        *,
        verifier: Verifier,
        issued_at: datetime,
        expires_at: datetime | None,
        nonce: bytes = b"",
        profile: Profile = Profile.VERAISON,
    ) -> "AttestationResult":
        """The result over these submodules (`cpu0`, `tpm`): its status is their worst. Times become whole seconds."""
        return cls(
            profile=profile, verifier=verifier, submodules=dict(submodules), nonce=nonce,
            status=max((one.status for one in submodules.values()), default=Tier.NONE),
            issued_at=whole_second(issued_at), expires_at=None if expires_at is None else whole_second(expires_at),
        )  # fmt: skip

    def __bool__(self) -> NoReturn:
        """Refuse: that there is a result says nothing about what it says."""
        raise TypeError("an attestation result is neither true nor false: look at .status")


def whole_second(time: datetime) -> datetime:
    """The time without its fraction of a second, which tokens cannot carry."""
    return time.replace(microsecond=0)


def aware(time: datetime, name: str) -> datetime:
    """The time, which must have a zone."""
    if time.tzinfo is None:
        raise ValueError(f"{name} has no time zone")
    return time


def printable(text: str) -> bool:
    """Whether this is text that UTF-8 can write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_json(value: object, depth: int = 0) -> None:
    """Refuse what is no JSON value, with ValueError: other types, NaN, half characters, too deep nesting."""
    if depth > DEEPEST:
        raise ValueError(f"is nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("has a key that is no text")
        for item in (*value, *value.values()):
            if not (isinstance(item, str) and item.isascii()):  # nearly everything is
                check_json(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check_json(item, depth + 1)
    elif not _is_plain(value):
        raise ValueError(f"has a {type(value).__name__} that JSON cannot write in UTF-8")


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return printable(value)
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
