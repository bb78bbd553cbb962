"""`cloister session check`, and differences in words: whether it parses, what it changes, who has agreed."""

import argparse
import json
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloister.broker.session.approval import Agreement, Approval, agreement, check_successor, governing, parse_approval
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.difference import Change, differences
from cloister.broker.session.read import read_session
from cloister.broker.session.remarks import Remark, remarks
from cloister.broker.session.session import Session
from cloister.broker.session.words import approvals_in_words
from cloister.cli._arguments import read_input
from cloister.cli._session_text import print_lines
from cloister.quantities import counted

__all__ = ["add_options", "as_json", "changes_between", "in_words", "run"]

NOT_YET = 10
LONGEST_APPROVAL = 8192
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister session check`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the session")
    parser.add_argument("--against", metavar="OLD", type=Path, help="the current session, which FILE shall replace")
    parser.add_argument(
        "--approval", metavar="FILE", action="append", default=[], help="an owner's approval of FILE; repeatable"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there is anything to remark")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def run(args: argparse.Namespace) -> int:
    """Check, report, and return the exit code."""
    session = read_session(args.file)
    current = None if args.against is None else read_session(args.against)
    if current is not None:
        check_successor(current, session)
    found = (*remarks(session), *_about_file(args.file, session))
    changes = () if current is None else differences(current, session)
    agreed = None
    if args.approval:
        agreed = agreement(session, current, [_approval(one) for one in args.approval])
    if args.json:
        print(json.dumps(_document(session, found, changes, agreed), indent=2))
    else:
        print_lines(_report(session, current, found, changes, agreed))
    if agreed is not None and not agreed.reached:
        return NOT_YET
    return 1 if args.strict and found else 0


def _approval(name: str) -> Approval:
    return parse_approval(read_input(name, LONGEST_APPROVAL), name)


def _about_file(path: Path, session: Session) -> Iterator[Remark]:
    """The file itself is a secret if it holds values."""
    if session.values and path.stat().st_mode & OTHERS:
        yield Remark(f"{path}:1", f"holds values of secrets, and others can read it: chmod 600 {path}", dangerous=True)


def changes_between(old: Session, new: Session) -> tuple[Change, ...]:
    """What changes; whether one may replace the other is not asked."""
    return differences(old, new)


def in_words(changes: Sequence[Change]) -> Iterator[str]:
    """Changes, line by line, those that weaken marked."""
    for one in changes:
        yield f"{one.place}: {'WEAKENS: ' if one.weakens else ''}{one.text}"
    weaker = sum(one.weakens for one in changes)
    yield f"{counted(len(changes), 'change')}, {weaker} of them weakening" if changes else "no change in meaning"


def as_json(change: Change) -> dict[str, object]:
    """A change for scripts."""
    return {"place": change.place, "text": change.text, "weakens": change.weakens}


def _report(
    session: Session, current: Session | None, found: Sequence[Remark], changes: Sequence[Change],
    agreed: Agreement | None,
) -> Iterator[str]:  # fmt: skip
    for one in found:
        yield f"{one.place}: {'DANGEROUS: ' if one.dangerous else ''}{one.text}"
    if current is not None:
        yield f"replaces {session_hash(current)}, the session in {current.file}"
        yield from in_words(changes)
    needs = governing(session, current)
    if agreed is not None:
        yield from _signatures(agreed)
    elif session.predecessor and current is None:
        yield f"replaces {session.predecessor}: with --against and that session, you see what changes"
    elif needs is not None:
        yield f"must be approved by {approvals_in_words(needs)}"
    services, secrets = counted(len(session.services), "service"), counted(len(session.secrets), "secret")
    yield f"{session.file}: {services}, {secrets}; {counted(len(found), 'remark')}"
    yield f"hash {session_hash(session)}"


def _signatures(agreed: Agreement) -> Iterator[str]:
    names = ", ".join(one.name for one in agreed.signed) or "nobody"
    yield f"approved by {names}: {len(agreed.signed)} of {agreed.needed} needed"
    if not agreed.reached:
        yield f"not yet in effect: {', '.join(one.name for one in agreed.missing)} may sign (cloister session sign)"


def _document(
    session: Session, found: Sequence[Remark], changes: Sequence[Change], agreed: Agreement | None
) -> dict[str, object]:
    approvals = None
    if agreed is not None:
        approvals = {
            "needed": agreed.needed, "signed": [one.name for one in agreed.signed],
            "missing": [one.name for one in agreed.missing], "reached": agreed.reached,
        }  # fmt: skip
    return {
        "file": session.file, "name": session.name, "hash": session_hash(session),
        "predecessor": session.predecessor or None,
        "remarks": [{"place": one.place, "text": one.text, "dangerous": one.dangerous} for one in found],
        "changes": [as_json(one) for one in changes], "approvals": approvals,
    }  # fmt: skip
