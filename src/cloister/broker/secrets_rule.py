"""Who may have a secret: the rule that stands beside it, over attestation results. Default deny.

A rule names measurements; an empty one lets nobody in. An attestation result satisfies it if the verifier affirms
everything, and its first submodule, the CPU, is of a TEE that the rule names, vouched for by a kind of anchor that the
rule accepts, with a launch measurement that the rule lists.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister import _json
from cloister.appraise.known_claims import PROGRAM
from cloister.appraise.vector import Tier
from cloister.errors import Denied, ParseError
from cloister.model import Tee
from cloister.result.attestation import AttestationResult, Submodule

__all__ = ["CPU", "MEASUREMENT_CLAIM", "ReleaseRule", "measurement_of", "parse_rule"]

CPU: Final = "cpu0"
"""The submodule of the environment that asks. Others are devices beside it."""
MEASUREMENT_CLAIM: Final[Mapping[Tee, str]] = {
    tee: next(iter(names)) for tee, names in PROGRAM.items() if len(names) == 1
}
"""The claim that says what was launched. A TPM has none: its PCRs are the verifier's policy's business."""
ANCHORS: Final = frozenset({"hardware", "owner", "software", "testing"})
RECORD: Final = "release rule"
HEXADECIMAL: Final = re.compile(r"([0-9a-f]{2}){16,64}")
MOST: Final = 64
"""Measurements of one TEE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRule:
    """What must be attested. `measurements`: for each TEE, launch measurements in lower-case hexadecimal."""

    measurements: Mapping[Tee, frozenset[str]] = field(default_factory=dict)
    anchors: frozenset[str] = frozenset({"hardware"})

    def __post_init__(self) -> None:
        """ParseError for what can never match."""
        for tee, digests in self.measurements.items():
            if tee not in MEASUREMENT_CLAIM:
                raise ParseError(RECORD, str(tee), 0, "has no launch measurement that a rule could name")
            if not 1 <= len(digests) <= MOST or not all(map(HEXADECIMAL.fullmatch, digests)):
                raise ParseError(RECORD, str(tee), 0, f"takes 1 to {MOST} digests in lower-case hexadecimal")
        if not self.anchors <= ANCHORS:
            raise ParseError(RECORD, "anchors", 0, f"are some of {', '.join(sorted(ANCHORS))}")

    def text(self) -> str:
        """Canonical JSON: what is stored, and authenticated with the secret."""
        measurements = {str(tee): sorted(digests) for tee, digests in self.measurements.items()}
        document = {"anchors": sorted(self.anchors), "measurements": measurements}
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @property
    def sha256(self) -> bytes:
        """The rule's identity."""
        return hashlib.sha256(self.text().encode()).digest()

    def check(self, result: AttestationResult) -> None:
        """Denied, with every reason, if this result does not satisfy the rule."""
        reasons = list(self._reasons(result))
        if reasons:
            raise Denied("; ".join(reasons), set_by="the secret's release rule")

    def _reasons(self, result: AttestationResult) -> Iterator[str]:
        if result.status is not Tier.AFFIRMING:
            yield f"the verifier's verdict is {result.status}, not affirming"
        for name, one in result.submodules.items():
            if one.basis is None or one.basis.anchor_kind not in self.anchors:
                kind = "unknown" if one.basis is None else one.basis.anchor_kind
                yield f"{name} is vouched for by an anchor of kind {kind}; accepted: {', '.join(sorted(self.anchors))}"
        cpu = result.submodules.get(CPU)
        if cpu is None or cpu.basis is None:
            yield f"the result says nothing of {CPU}"
        elif cpu.basis.tee not in self.measurements:
            yield f"no program in {cpu.basis.tee} may have it"
        elif measurement_of(cpu) not in self.measurements[cpu.basis.tee]:
            yield "another program was launched than those that may have it"


def measurement_of(one: Submodule) -> str:
    """The launch measurement that a submodule reports, in lower-case hexadecimal; empty if it reports none."""
    if one.basis is None:
        return ""
    claims = one.evidence.get(str(one.basis.tee))
    found = claims.get(MEASUREMENT_CLAIM.get(one.basis.tee, "")) if isinstance(claims, dict) else None
    return found.lower() if isinstance(found, str) else ""


def parse_rule(value: object) -> ReleaseRule:
    """The rule in `{"measurements": {TEE: [HEX]}, "anchors": [KIND]}`; ParseError if it is not that."""
    if not isinstance(value, Mapping) or not value.keys() <= {"measurements", "anchors"}:
        raise ParseError(RECORD, "members", 0, "are `measurements` and `anchors`, and no others")
    given = _json.member(value, "measurements", RECORD)
    if not isinstance(given, Mapping):
        raise ParseError(RECORD, "measurements", 0, "is not an object")
    measurements = {_tee(name): _words(given, name) for name in given}
    anchors = _words(value, "anchors") if "anchors" in value else frozenset({"hardware"})
    return ReleaseRule(measurements=measurements, anchors=anchors)


def _tee(name: str) -> Tee:
    try:
        return Tee(name)
    except ValueError:
        raise ParseError(RECORD, "measurements", 0, f"are for some of {', '.join(Tee)}") from None


def _words(value: Mapping[str, object], name: str) -> frozenset[str]:
    found = _json.members(value, name, RECORD)
    words = frozenset(one for one in found if isinstance(one, str))
    if len(words) != len(found):
        raise ParseError(RECORD, name, 0, "is not a list of different texts")
    return words
