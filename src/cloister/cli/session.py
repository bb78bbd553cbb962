"""Write, check, compare and sign sessions: which attested program gets which secrets.

A session is one readable YAML file (docs/formats/session.md), much like SCONE's. Its identity is a hash of what it
means; an update names the hash of what it replaces, and takes effect when enough owners have signed it.
"""

import argparse
import json
import sys
from pathlib import Path

from cloister.broker.session.canonical import canonical_form, document, session_hash
from cloister.broker.session.read import read_session
from cloister.broker.session.schema import json_schema
from cloister.cli import _session_check, _session_create, _session_explain, _session_sign
from cloister.cli._session_text import described, print_lines

__all__ = ["build_parser", "run"]

WEAKER = 10
EPILOG = """\
examples:
  cloister session create --name team/app --measurement sgx:mrenclave=00ff... -o app.yaml
  cloister session check app.yaml                       does it parse, and what should its author know
  cloister session show app.yaml                        who gets what; never the value of a secret
  cloister session diff old.yaml app.yaml --strict      what an update changes, and whether it weakens
  cloister session check app.yaml --against old.yaml --approval alice.json --approval bob.json
  cloister session sign app.yaml --against old.yaml --key alice.pem -o alice.json
  cloister session explain app.yaml --result result.jwt --key verifier.pem

exit codes:
  0    done; for `check`: it parses, follows the session given, and enough owners have signed; for `explain`: released
  1    `check --strict`: there are remarks
  2    the command line, a session or an approval's file is wrong; an update does not replace the session given
  4    `explain`: denied
  5    an approval is forged, or is of another session or person; `explain`: not attested
  6    `explain`: could not decide
  10   `diff --strict`: the update weakens something; `check`: the approvals given are not enough, not yet in effect
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of `cloister session` and their options."""
    parser.epilog = EPILOG
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="ACTION",
        help="create, check, show, hash, diff, sign, explain or schema; each has its own --help",
    )  # fmt: skip
    for name, (summary, options, _) in ACTIONS.items():
        made = actions.add_parser(
            name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", epilog=EPILOG, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        options(made)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for and return the exit code."""
    code: int = ACTIONS[args.action][2](args)
    return code


def show_options(parser: argparse.ArgumentParser) -> None:
    """Options of `show`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the session")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    form.add_argument(
        "--canonical", action="store_true", help="print the bytes whose SHA-256 is the session's identity"
    )


def show(args: argparse.Namespace) -> int:
    """Print what a session says."""
    session = read_session(args.file)
    if args.canonical:
        sys.stdout.buffer.write(canonical_form(session))
    elif args.json:
        print(json.dumps({"hash": session_hash(session), **document(session)}, indent=2))
    else:
        print_lines(described(session))
    return 0


def hash_options(parser: argparse.ArgumentParser) -> None:
    """Options of `hash`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the session")


def print_hash(args: argparse.Namespace) -> int:
    """Print the identity alone, for scripts."""
    print(session_hash(read_session(args.file)))
    return 0


def diff_options(parser: argparse.ArgumentParser) -> None:
    """Options of `diff`."""
    parser.add_argument("old", metavar="OLD", type=Path, help="the session as it is")
    parser.add_argument("new", metavar="NEW", type=Path, help="the session as it shall be")
    parser.add_argument("--strict", action="store_true", help="exit with 10 if anything is weaker than before")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def diff(args: argparse.Namespace) -> int:
    """Print what changes."""
    changes = _session_check.changes_between(read_session(args.old), read_session(args.new))
    if args.json:
        print(json.dumps({"changes": [_session_check.as_json(one) for one in changes]}, indent=2))
    else:
        print_lines(_session_check.in_words(changes))
    return WEAKER if args.strict and any(one.weakens for one in changes) else 0


def schema_options(parser: argparse.ArgumentParser) -> None:
    """`schema` takes none."""
    del parser


def schema(args: argparse.Namespace) -> int:
    """Print the JSON schema."""
    del args
    print(json.dumps(json_schema(), indent=2))
    return 0


ACTIONS = {
    "create": ("write a session to start from, every line explained", _session_create.add_options, _session_create.run),
    "check": (
        "say what is wrong, dangerous or without effect in a session",
        _session_check.add_options,
        _session_check.run,
    ),
    "show": ("show what a session says, secrets by name only", show_options, show),
    "hash": ("print the identity of a session", hash_options, print_hash),
    "diff": ("say what an update changes, and what it weakens", diff_options, diff),
    "sign": ("approve a session as one of its owners", _session_sign.add_options, _session_sign.run),
    "explain": (
        "say what an attestation result would get, check by check",
        _session_explain.add_options,
        _session_explain.run,
    ),
    "schema": ("print the JSON schema of sessions", schema_options, schema),
}
