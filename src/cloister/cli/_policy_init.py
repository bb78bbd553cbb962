"""`cloister policy init`: a policy to start from."""

import argparse
import sys
from pathlib import Path

from cloister.appraise.judge import claims_of
from cloister.appraise.known_claims import SIZES, is_known
from cloister.appraise.rules import is_hex
from cloister.appraise.write_policy import policy_for_measurements, policy_for_sample
from cloister.cli._policy_evidence import authenticated, verifier_of
from cloister.cli._verify_inputs import add_trust_options
from cloister.errors import UsageError
from cloister.model import Tee

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister policy init`."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--from", dest="sample", metavar="EVIDENCE", help="write what this evidence is; it is verified first"
    )
    source.add_argument(
        "--measurement", metavar="TEE:CLAIM=HEX", action="append",
        help="accept this measurement, such as sgx:mrenclave=00ff...; repeatable",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to (default: standard output)")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    add_trust_options(parser)


def run(args: argparse.Namespace) -> int:
    """Write the policy."""
    text = policy_from_evidence(args) if args.sample else policy_for_measurements(map(measurement, args.measurement))
    if args.output is None:
        print(text, end="")
        return 0
    try:
        with args.output.open("w" if args.force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{args.output} exists; give another name, or --force to replace it") from error
    except OSError as error:
        raise UsageError(f"cannot write {args.output}: {error.strerror}") from error
    print(f"{args.output}: written; read it, then try it: cloister policy test {args.output} EVIDENCE", file=sys.stderr)
    return 0


def policy_from_evidence(args: argparse.Namespace) -> str:
    """The policy that the primary part of this evidence passes."""
    parts = authenticated(verifier_of(args), args.sample, args).parts
    if len(parts) > 1:
        others = ", ".join(str(one.tee) for one in parts[1:])
        print(f"cloister policy: {args.sample} holds other evidence too ({others}), which is left out", file=sys.stderr)
    one = parts[0]
    return policy_for_sample(one.tee, claims_of(one), one.tcb, one.anchor.kind, source=Path(args.sample).name)


def measurement(text: str) -> tuple[Tee, str, str]:
    """TEE:CLAIM=HEX."""
    tee, _, rest = text.partition(":")
    claim, _, digits = rest.partition("=")
    if tee not in tuple(Tee) or not is_hex(digits):
        raise UsageError(f"{text}: give TEE:CLAIM=HEX, such as sgx:mrenclave=00ff...; TEEs are {', '.join(Tee)}")
    if not is_known(Tee(tee), claim):
        raise UsageError(f"{text}: evidence of {tee} has no claim {claim!r}; docs/policy-file.md lists them")
    if claim in SIZES and len(digits) != 2 * SIZES[claim]:
        raise UsageError(f"{text}: {claim} has {2 * SIZES[claim]} hexadecimal digits, these are {len(digits)}")
    return Tee(tee), claim, digits
