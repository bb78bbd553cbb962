"""Write, check, compare and sign sessions: which attested program gets which secrets; and put them into effect.

A session is one readable YAML file (docs/formats/session.md), much like SCONE's. Its identity is a hash of what it
means; an update names the hash of what it replaces, and takes effect when enough owners have signed it. It is in effect
at a broker (`cloister serve`), which has it from `upload`.
"""

import argparse
import json
import sys
from pathlib import Path

from cloister.broker.session.canonical import canonical_bytes, document, session_hash
from cloister.broker.session.read import read_session
from cloister.broker.session.schema import json_schema
from cloister.cli import _session_check, _session_create, _session_explain, _session_server, _session_sign
from cloister.cli._actions import add_actions
from cloister.cli._session_text import described, print_lines
from cloister.errors import UsageError

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
at a broker, with --url URL --ca FILE, and --admin-token-file FILE or --key FILE:
  cloister session upload app.yaml --approval alice.json   create it, or replace what is in effect
  cloister session show team/app --url URL ...             what is in effect; diff app.yaml --url URL compares
  cloister session list | rotate team/app token | revoke team/app

exit codes:
  0    done; for `check`: it parses, follows the session given, and enough owners have signed; for `explain`: released
  1    `check --strict`: there are remarks
  2    the command line, a session or an approval's file is wrong; an update does not replace the session given
  4    `explain`: denied; the broker's: the access policy, missing approvals, revoked
  5    an approval is forged, or is of another session or person; `explain`: not attested; token or key not accepted
  6    `explain`: could not decide; the broker does not answer
  10   `diff --strict`: the update weakens something; `check`: the approvals given are not enough, not yet in effect
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of `cloister session` and their options."""
    add_actions(parser, EPILOG, {name: (summary, options) for name, (summary, options, _) in ACTIONS.items()})


def run(args: argparse.Namespace) -> int:
    """Do what was asked for and return the exit code."""
    code: int = ACTIONS[args.action][2](args)
    return code


def show_options(parser: argparse.ArgumentParser) -> None:
    """Options of `show`."""
    parser.add_argument("file", metavar="FILE|NAME", help="the session; with --url the name of one in effect there")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    form.add_argument(
        "--canonical", action="store_true", help="print the bytes whose SHA-256 is the session's identity"
    )
    _session_server.add_server_options(parser, default=None)


def show(args: argparse.Namespace) -> int:
    """Print what a session says."""
    if args.url is not None:
        found = _session_server.in_effect(_session_server.client_of(args), args.file)
        session, identity, content = found.session, found.sha256, found.document
    else:
        session = read_session(Path(args.file))
        identity, content = session_hash(session), {**document(session)}
    if args.canonical:
        sys.stdout.buffer.write(canonical_bytes(content))
    elif args.json:
        print(json.dumps({"hash": identity, **content}, indent=2))
    else:
        print_lines(described(session, identity))
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
    parser.add_argument("old", metavar="OLD", type=Path, nargs="?", help="the session as it is; not with --url")
    parser.add_argument("new", metavar="NEW", type=Path, help="the session as it shall be")
    parser.add_argument("--strict", action="store_true", help="exit with 10 if anything is weaker than before")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    _session_server.add_server_options(parser, default=None)


def diff(args: argparse.Namespace) -> int:
    """Print what changes."""
    if (args.old is None) == (args.url is None):
        raise UsageError("give two files, or one with --url: then what is in effect there is the old session")
    new = read_session(args.new)
    old = (
        read_session(args.old)
        if args.url is None
        else _session_server.in_effect(_session_server.client_of(args), new.name, new).session
    )
    changes = _session_check.changes_between(old, new)
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
    "upload": (
        "put a session into effect at a broker, or replace the one in effect",
        _session_server.upload_options,
        _session_server.upload,
    ),
    "list": ("list the sessions at a broker", _session_server.list_options, _session_server.print_list),
    "rotate": (
        "have a broker make new values of a session's secrets",
        _session_server.rotate_options,
        _session_server.rotate,
    ),
    "revoke": ("end a session at a broker", _session_server.revoke_options, _session_server.revoke),
}
