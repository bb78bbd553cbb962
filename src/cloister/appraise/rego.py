"""Rego policies, as Trustee and Veraison deploy them: `package policy`, AR4SI numbers out.

Trustee's define `trust_claims`, an object by AR4SI name, and ask `query_reference_value("name")` or `data.reference`;
Veraison's define claims by name (`executables = APPROVED_RT { ... }`) and `status`. Both are evaluated in a child
process with limits. What a policy says counts, except that it cannot make good what was found before it: an anchor
that nobody accepted, debug, a platform that its vendor has revoked. Needs the extra: pip install 'cloister[rego]'.
"""

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.appraise.vector import TrustVector
from cloister.errors import PolicyError

__all__ = ["RegoPolicy", "RegoResult", "evaluate_rego", "parse_rego"]

CHILD: Final = Path(__file__).with_name("rego_child.py")
SECONDS: Final = 5
"""Processor time, and time on the clock, that one evaluation may take. Deployed policies take milliseconds."""
MEMORY: Final = 512 << 20
"""Bytes. Deployed policies take 30 MB."""
LONGEST: Final = 1 << 20
PACKAGE: Final = re.compile(r"^[ \t]*package[ \t]+policy[ \t\r]*(?:#.*)?$", re.MULTILINE)
TRUSTEE: Final = re.compile(r"^[ \t]*(?:default[ \t]+)?trust_claims\b", re.MULTILINE)

LOOKUP: Final = """package policy
import rego.v1
query_reference_value(name) := data.reference[name]
"""
"""Trustee's extension. Without such a value it is undefined, and so is every rule that needs it."""

WORDS: Final[Mapping[str, int]] = {
    "NO_CLAIM": 0, "UNEXPECTED_EVIDENCE": 1, "UNEXECTED_EVIDENCE": 1,
    "AFFIRMING": 2, "WARNING": 32, "CONTRAINDICATED": 96,
    "RECOGNIZED_INSTANCE": 2, "UNTRUSTWORTHY_INSTANCE": 96, "UNRECOGNIZED_INSTANCE": 97,
    "APPROVED_CONFIG": 2, "SAFE_CONFIG": 3, "UNSAFE_CONFIG": 32, "UNSUPPORTABLE_CONFIG": 96,
    "APPROVED_RT": 2, "APPROVED_BOOT": 3, "UNSAFE_RT": 32, "UNRECOGNIZED_RT": 33, "CONTRAINDICATED_RT": 96,
    "APPROVED_FS": 2, "UNRECOGNIZED_FS": 32, "CONTRAINDICATED_FS": 96,
    "GENUINE_HW": 2, "UNSAFE_HW": 32, "CONTRAINDICATED_HW": 96, "UNRECOGNIZED_HW": 97,
    "ENCRYPTED_RT": 2, "ISOLATED_RT": 32, "VISIBLE_RT": 96,
    "HW_ENCRYPTED_SECRETS": 2, "SW_ENCRYPTED_SECRETS": 32, "UNENCRYPTED_SECRETS": 96, "UNENCRYPTED_SECRETES": 96,
    "TRUSTED_SOURCES": 2, "UNTRUSTED_SOURCES": 32, "CONTRAINDICATED_SOURCES": 96,
}  # fmt: skip
"""Names that Veraison defines for its policies (veraison/services, policy/opa.rego), its misspelt ones too."""

COMPARE: Final = """
evidence := input.evidence
endorsements := input.endorsements
result := input.result
session := input.session
scheme := input.scheme
semver_parts(text) := [to_number(part) | some part in split(text, ".")]
semver_number(text) := (((p[0] * 100000 + p[1]) * 100000 + p[2]) * 100000 + p[3]) * 10 + count(semver_parts(text)) if {
    p := array.concat(semver_parts(text), [0, 0, 0, 0])
}
semver_cmp(one, other) := 1 if { semver_number(one) > semver_number(other) }
semver_cmp(one, other) := -1 if { semver_number(one) < semver_number(other) }
semver_cmp(one, other) := 0 if { semver_number(one) == semver_number(other) }
"""
VERAISON: Final = "package policy\nimport rego.v1\n" + "".join(f"{n} := {v}\n" for n, v in WORDS.items()) + COMPARE
"""What Veraison puts before every policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegoPolicy:
    """A Rego policy: its text, and whether it is one for Trustee or for Veraison."""

    name: str
    text: str
    policy_id: str
    for_trustee: bool

    def place(self, claim: str) -> str:
        """Where the policy first defines a claim, as `policy.rego:12`; the file if it does not."""
        found = re.search(rf"^[ \t]*(?:default[ \t]+)?{re.escape(claim)}\b", self.text, re.MULTILINE)
        return f"{self.name}:{self.text[: found.end()].count(chr(10)) + 1}" if found else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RegoResult:
    """What a policy said: AR4SI claims by field name, and an overall status that it set itself (0: it did not)."""

    claims: Mapping[str, int]
    status: int


def parse_rego(text: str, *, name: str = "policy.rego") -> RegoPolicy:
    """Take a policy. PolicyError if it is not one of `package policy`, or too long; its rules are not looked at yet."""
    if len(text) > LONGEST:
        raise PolicyError(f"{name}:1: {len(text)} characters; a policy has at most {LONGEST}")
    if not PACKAGE.search(text):
        raise PolicyError(f"{name}:1: has no line `package policy`, in which rules are looked for")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return RegoPolicy(name=name, text=text, policy_id=f"sha256:{digest}", for_trustee=bool(TRUSTEE.search(text)))


def evaluate_rego(policy: RegoPolicy, document: object, reference: Mapping[str, object]) -> RegoResult:
    """What the policy says about this input. PolicyError if it says nothing usable, fails, or takes too long."""
    preamble = LOOKUP if policy.for_trustee else VERAISON
    answer = _ask_child(policy, {
        "modules": [["preamble.rego", preamble], [policy.name, policy.text]], "input": document,
        "data": {"reference": dict(reference)}, "memory": MEMORY, "seconds": SECONDS,
    })  # fmt: skip
    package = answer.get("value")
    if not isinstance(package, dict):
        raise _complaint(policy, str(answer.get("error", "no result")))
    said = package.get("trust_claims", {}) if policy.for_trustee else _defined(package)
    if not isinstance(said, dict) or not said:
        raise PolicyError(f"{policy.name}: defines no AR4SI claim for this evidence, such as executables")
    status = 0 if policy.for_trustee else _value(policy, "status", package.get("status", 0))
    return RegoResult(
        claims={_field(policy, key): _value(policy, key, one) for key, one in said.items()}, status=status
    )


def _defined(package: Mapping[str, object]) -> dict[str, object]:
    """The claims that a policy for Veraison defines."""
    found = {name: package[name] for name in TrustVector().values() if name in package}
    return found or ({"executables": 0} if "status" in package else {})


def _field(policy: RegoPolicy, name: str) -> str:
    field = str(name).replace("-", "_")
    if field not in TrustVector().values():
        raise PolicyError(f"{policy.place('trust_claims')}: {name!r} is no AR4SI claim")
    return field


def _value(policy: RegoPolicy, name: str, value: object) -> int:
    if type(value) is not int or not -128 <= value <= 127:
        raise PolicyError(f"{policy.place(name.replace('-', '_'))}: {name} is {value!r}; an AR4SI value is -128 to 127")
    return value


def _complaint(policy: RegoPolicy, text: str) -> PolicyError:
    """The interpreter's error, which gives the offset in the policy, as ours, which gives the line."""
    message = re.search(r"errormsg \d+:([^)]*)", text)
    offset = re.search(rf"\d+:{re.escape(policy.name)}\|(\d+)\|", text)
    line = policy.text.encode()[: int(offset[1])].count(b"\n") + 1 if offset else 1
    reason = message[1].strip() if message else " ".join(text.split())[:200]
    return PolicyError(f"{policy.name}:{line}: cannot be evaluated: {reason}")


def _ask_child(policy: RegoPolicy, request: Mapping[str, object]) -> dict[str, object]:
    if importlib.util.find_spec("regopy") is None:
        raise PolicyError(f"{policy.name}: Rego policies need an interpreter: pip install 'cloister[rego]'")
    try:
        child = subprocess.run(
            [sys.executable, "-I", str(CHILD)], input=json.dumps(request).encode(), capture_output=True, env={},
            timeout=SECONDS + 2, check=False,
        )  # fmt: skip
        answer = json.loads(child.stdout)
    except subprocess.TimeoutExpired as error:
        raise PolicyError(f"{policy.name}: was stopped: it had not ended after {SECONDS + 2} seconds") from error
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{policy.name}: was stopped: it takes more than {SECONDS} s or too much memory") from error
    return answer if isinstance(answer, dict) else {}
