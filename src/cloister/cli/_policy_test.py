"""`cloister policy test`: recorded evidence through a policy, in a table."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloister.appraise.appraisal import Appraisal
from cloister.appraise.vector import Tier
from cloister.cli._arguments import time_of
from cloister.cli._policy_evidence import authenticated, verifier_of
from cloister.cli._verify_batch import WORST_FIRST
from cloister.cli._verify_inputs import add_trust_options, anchors_named
from cloister.errors import CloisterError, EndorsementUnavailable, ParseError, VerificationError
from cloister.verification.recipe import Check, CheckState
from cloister.verifier.appraising import appraise_all
from cloister.verifier.many import EXIT_CODES
from cloister.verifier.policy_files import load_policy

__all__ = ["add_options", "run"]

WORDS = {ParseError: "malformed", VerificationError: "not authentic", EndorsementUnavailable: "undecided"}
NOT_AS_EXPECTED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one file. `failed` are the checks that did not hold."""

    file: str
    tee: str
    status: str
    code: int
    failed: tuple[Check, ...] = ()
    reason: str = ""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister policy test`."""
    parser.add_argument("policy", metavar="POLICY", type=Path, help="the policy: TOML, or Rego if it ends in .rego")
    parser.add_argument("evidence", metavar="EVIDENCE", nargs="+", help="recorded evidence, in any form")
    parser.add_argument(
        "--expect",
        metavar="OUTCOME",
        choices=["affirming", "warning", "contraindicated", *WORDS.values()],
        help="exit with 0 if every outcome is this one, else with 1: affirming, warning, contraindicated, "
        "'not authentic', undecided, malformed",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    add_trust_options(parser)


def run(args: argparse.Namespace) -> int:
    """Try the policy, print the table, return the exit code."""
    policy, references = load_policy(args.policy, time_of(args.at))
    verifier = verifier_of(args)
    outcomes = []
    for file in args.evidence:
        try:
            found = authenticated(verifier, file, args)
            outcomes.append(outcome(file, appraise_all(found, policy, references, accept_anchors=anchors_named(args))))
        except (ParseError, VerificationError, EndorsementUnavailable) as error:
            outcomes.append(refused(file, error))
    if args.json:
        print(json.dumps([as_json(one) for one in outcomes], indent=2))
    else:
        print(*table(outcomes), sep="\n")
    if args.expect is not None:
        return 0 if all(one.status == args.expect for one in outcomes) else NOT_AS_EXPECTED
    return next(code for code in WORST_FIRST if any(one.code == code for one in outcomes))


def outcome(file: str, appraisals: tuple[Appraisal, ...]) -> Outcome:
    """The worst part decides."""
    status: Tier = max(one.status for one in appraisals)
    failed = tuple(check for one in appraisals for check in one.checks if check.state is CheckState.FAILED)
    tees = "+".join(str(one.tee) for one in appraisals)
    return Outcome(file=file, tee=tees, status=str(status), code=EXIT_CODES[str(status)], failed=failed)


def refused(file: str, error: CloisterError) -> Outcome:
    """Evidence that got no appraisal."""
    word = next(word for kind, word in WORDS.items() if isinstance(error, kind))
    return Outcome(file=file, tee="?", status=word, code=error.exit_code, reason=str(error))


def table(outcomes: list[Outcome]) -> Iterator[str]:
    """A line for each file, and below it what did not hold."""
    for one in outcomes:
        yield f"{one.status:<16} {one.tee:<9} {one.file}"
        if one.reason:
            yield f"{'':17}{one.reason}"
        for check in one.failed:
            yield f"{'':17}{check.set_by}: {check.title}: expected {short(check.expected)}, found {short(check.actual)}"


def short(text: str) -> str:
    """A value that fits beside another one."""
    return text if len(text) <= 40 else f"{text[:36]}…"


def as_json(one: Outcome) -> dict[str, object]:
    """One outcome as data."""
    checks = [
        {"number": c.number, "title": c.title, "expected": c.expected, "actual": c.actual, "set_by": c.set_by}
        for c in one.failed
    ]
    return {"file": one.file, "tee": one.tee, "status": one.status, "failed": checks, "reason": one.reason}
