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
        "--against", metavar="OLD", type=Path, help="the session that FILE replaces; needed if it replaces one"
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to (default: standard output)")


def run(args: argparse.Namespace) -> int:
    """Say what is signed, then sign it."""
    session = read_session(args.file)
    current = None if args.against is None else read_session(args.against)
    _check(session, current)
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


def _check(session: Session, current: Session | None) -> None:
    """Nobody signs an update without seeing what it changes."""
    if current is not None:
        check_successor(current, session)
    elif session.predecessor:
        raise UsageError(f"{session.file} replaces {session.predecessor}; give that session with --against")
