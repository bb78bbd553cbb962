"""`cloister session explain`: what an attestation result would get under a session, check by check."""

import argparse
import json
from pathlib import Path

from cloister.broker.release import Decision, ReleaseOutcome, ReleasePolicy
from cloister.broker.release_checks import ReleaseCheck
from cloister.broker.session.read import read_session
from cloister.cli._arguments import nonce_of, read_input, time_of
from cloister.cli._session_text import print_lines
from cloister.errors import Denied, NotAttested, Undecided
from cloister.model import Unchecked
from cloister.result.keys import read_verification_keys
from cloister.result.token import LONGEST_JWT

__all__ = ["add_options", "run"]

CODES = {
    ReleaseOutcome.RELEASE: 0,
    ReleaseOutcome.DENIED: Denied.exit_code,
    ReleaseOutcome.NOT_ATTESTED: NotAttested.exit_code,
    ReleaseOutcome.UNDECIDED: Undecided.exit_code,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister session explain`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the session")
    parser.add_argument(
        "--result", metavar="FILE", required=True, help="the attestation result, JWT or CWT; - for stdin"
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        type=Path,
        action="append",
        required=True,
        help="a trusted verifier's public key; repeatable",
    )
    parser.add_argument("--nonce", metavar="HEX", help="the nonce that the result must echo")
    parser.add_argument("--service", metavar="NAME", help="as this service (default: every one that it is)")
    parser.add_argument("--at", metavar="TIME", help="decide for this time (ISO 8601, UTC if it has no zone), not now")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def run(args: argparse.Namespace) -> int:
    """Decide, explain, and return the exit code. Nothing is released."""
    policy = ReleasePolicy(read_session(args.file), [key for path in args.key for key in read_verification_keys(path)])
    at = time_of(args.at)
    nonce = Unchecked("no --nonce was given") if args.nonce is None else nonce_of(args.nonce)
    age = Unchecked("no maximum age on the command line")
    accepted = policy.accept(_token(args.result), at=at, nonce=nonce, max_age=age)
    decision = policy.decide(accepted, at=at, service=args.service)
    if args.json:
        print(json.dumps(_document(decision), indent=2))
    else:
        print_lines(decision.explanation())
        if decision.outcome is ReleaseOutcome.RELEASE:
            print_lines([f"may get: {', '.join(decision.secrets) or 'no secret'}"])
    return CODES[decision.outcome]


def _token(name: str) -> bytes:
    data = read_input(name, LONGEST_JWT + 2)
    return data.rstrip(b"\r\n") if data.startswith(b"ey") else data


def _document(decision: Decision) -> dict[str, object]:
    trials = [
        {
            "service": one.service, "submodule": one.submodule, "place": one.place, "outcome": str(one.outcome),
            "checks": [_check(check) for check in one.checks],
        }
        for one in decision.trials
    ]  # fmt: skip
    return {
        "outcome": str(decision.outcome), "reason": decision.reason, "services": list(decision.services),
        "secrets": list(decision.secrets), "checks": [_check(one) for one in decision.general], "trials": trials,
    }  # fmt: skip


def _check(check: ReleaseCheck) -> dict[str, str]:
    return {
        "title": check.title, "outcome": str(check.outcome), "expected": check.expected, "found": check.found,
        "set_by": check.set_by, "fix": check.fix,
    }  # fmt: skip
