"""`cloister session sign`: an owner's approval, as a file of its own."""

import argparse
import sys
from pathlib import Path

from cloister.broker.session.approval import approval_json, check_successor, governing, sign_approval
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.difference import differences
from cloister.broker.session.read import read_session
from cloister.broker.session.read_people import fingerprint
from cloister.broker.session.session import Session
from cloister.cli._session_check import in_words
from cloister.cli._session_server import add_server_options, client_of, in_effect
from cloister.cli._session_text import described, print_lines
from cloister.errors import UsageError
from cloister.result.keys import read_signing_key

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister session sign`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the session to approve")
    parser.add_argument(
        "--key", metavar="FILE", type=Path, required=True, help="your private key, PEM or JWK, mode 0600"
    )
    parser.add_argument(
        "--against", metavar="OLD", type=Path,
        help="the session that FILE replaces; needed if it replaces one, unless --url says where that is in effect",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to (default: standard output)")
    add_server_options(parser, default=None, key=False)


def run(args: argparse.Namespace) -> int:
    """Say what is signed, then sign it."""
    session = read_session(args.file)
    current = _current(args, session)
    key = read_signing_key(args.key)
    owners = governing(session, current)
    name = next((one.name for one in owners.owners if one.fingerprint == fingerprint(key.spki)), "") if owners else ""
    if not name:
        whose = "the session that is replaced" if current else "this session"
        raise UsageError(f"{args.key}: this key is not of an owner under `approvals` of {whose}: it would not count")
    print_lines(described(session) if current is None else in_words(differences(current, session)))
    print_lines([f"signed as {name}: {session.name}, hash {session_hash(session)}"])
    text = approval_json(sign_approval(session, key))
    if args.output is None:
        print(text, end="")
        return 0
    try:
        with args.output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"cannot write {args.output}: {error.strerror}; approvals are written to new files only"
        ) from error
    print(f"{args.output}: written; give it to whoever updates the session", file=sys.stderr)
    return 0


def _current(args: argparse.Namespace, session: Session) -> Session | None:
    """The session that is replaced: nobody signs an update without seeing what it changes."""
    if args.against is not None and args.url is not None:
        raise UsageError("--against and --url exclude each other: both say which session is replaced")
    if args.against is not None:
        current = read_session(args.against)
        check_successor(current, session)
        return current
    if args.url is not None:
        found = in_effect(client_of(args), session.name, session)
        check_successor(found.session, session, found.sha256)
        return found.session
    if session.predecessor:
        raise UsageError(f"{session.file} replaces {session.predecessor}; give that session with --against, or --url")
    return None
