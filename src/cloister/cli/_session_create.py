"""`cloister session create`: a session to start from."""

import argparse
import re
import secrets
import sys
from pathlib import Path

from cloister.broker.session.language import KINDS, NAME, SESSION_NAME
from cloister.broker.session.read import parse_session
from cloister.broker.session.read_attestation import MEASUREMENT_CLAIM, SIGNER_CLAIM
from cloister.broker.session.write import Program, session_to_start_from
from cloister.cli._arguments import read_input
from cloister.cli._policy_init import measurement
from cloister.errors import UsageError

__all__ = ["add_options", "run"]

LONGEST_KEY = 2048


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister session create`."""
    parser.add_argument("--name", required=True, help="the session's name, such as team/payroll")
    parser.add_argument(
        "--measurement", metavar="TEE:CLAIM=HEX", action="append", required=True,
        help="the program: sgx:mrenclave=00ff..., or its signer: sgx:mrsigner=00ff...; repeatable, as alternatives",
    )  # fmt: skip
    parser.add_argument("--service", default="app", help="what to call the program (default: %(default)s)")
    parser.add_argument(
        "--secret", metavar="NAME:KIND", action="append",
        help=f"a secret that the broker shall make, of kind {', '.join(KINDS)}; repeatable (default: token:ascii)",
    )  # fmt: skip
    parser.add_argument(
        "--owner", metavar="NAME:FILE", action="append", default=[],
        help="somebody who must agree to updates, with their public key in PEM; repeatable",
    )  # fmt: skip
    parser.add_argument("--threshold", metavar="M", type=int, help="how many owners must agree (default: all)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to (default: standard output)")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")


def run(args: argparse.Namespace) -> int:
    """Write the session; its file can be read by its owner only, since values of secrets may come into it."""
    if not re.fullmatch(SESSION_NAME, args.name) or not re.fullmatch(NAME, args.service):
        raise UsageError("names have letters, digits, `.`, `_` and `-`, and begin with a letter or digit")
    text = session_to_start_from(
        args.name, args.service, map(_program, args.measurement),
        [_secret(one) for one in args.secret or ["token:ascii"]], salt=secrets.token_bytes(16),
        owners=[_owner(one) for one in args.owner], threshold=args.threshold or len(args.owner),
    )  # fmt: skip
    parse_session(text.encode(), str(args.output or "standard output"))
    if args.output is None:
        print(text, end="")
        return 0
    _write(args.output, text, replace=args.force)
    print(f"{args.output}: written; read it, then check it: cloister session check {args.output}", file=sys.stderr)
    return 0


def _write(path: Path, text: str, *, replace: bool) -> None:
    try:
        if replace:
            path.unlink(missing_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise UsageError(f"{path} exists; give another name, or --force to replace it") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _program(text: str) -> Program:
    tee, claim, digits = measurement(text)
    if claim not in {MEASUREMENT_CLAIM.get(tee), SIGNER_CLAIM.get(tee)} or tee not in MEASUREMENT_CLAIM:
        named = [one for one in (MEASUREMENT_CLAIM.get(tee), SIGNER_CLAIM.get(tee)) if one]
        raise UsageError(
            f"{text}: a session names a program of {tee} by {' or '.join(named) or 'nothing: it is no TEE'}"
        )
    return Program(tee=tee, digits=digits.lower(), signed=claim == SIGNER_CLAIM.get(tee))


def _owner(text: str) -> tuple[str, str]:
    name, _, file = text.partition(":")
    if not re.fullmatch(NAME, name) or not file:
        raise UsageError("--owner takes NAME:FILE, a name and a file with their public key")
    return name, read_input(file, LONGEST_KEY).decode("ascii", "replace")


def _secret(text: str) -> tuple[str, str]:
    name, _, kind = text.partition(":")
    if not re.fullmatch(NAME, name) or kind not in KINDS:
        raise UsageError(f"--secret takes NAME:KIND, where KIND is one of {', '.join(KINDS)}")
    return name, kind
