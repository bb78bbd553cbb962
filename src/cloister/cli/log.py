"""Verify and read a broker's audit log: who got which secret, on what evidence, under which session.

`verify` proves that no entry was changed, taken out or put in, and grades what it finds. That nothing is missing at the
end, only a checkpoint proves: a few hundred bytes, which `checkpoint` prints and you keep where the broker cannot
write. `show` prints entries without verifying them.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cloister.broker.audit import (
    Checkpoint,
    Entry,
    Event,
    Grade,
    KeyEncryptionChanged,
    LogReport,
    LogStarted,
    Released,
    ReleaseDenied,
    ReleaseUnattested,
    ReleaseUndecided,
    SecretChanged,
    TornTail,
    parse_checkpoint,
    read_entries,
    verify_log,
)
from cloister.broker.audit.checkpoint import LONGEST_CHECKPOINT
from cloister.cli._actions import add_actions
from cloister.cli._arguments import read_input, time_of
from cloister.cli._log_text import document, entry_document, entry_lines, report_lines
from cloister.errors import ParseError, UsageError
from cloister.model import Unchecked
from cloister.result.keys import read_verification_keys

__all__ = ["build_parser", "run"]

NOT_VERIFIED = "NOT VERIFIED: anybody can have written this; `cloister log verify` checks who signed it"
NO_KEY = Unchecked("no --key was given")
CONSISTENT = (Grade.INTACT, Grade.TORN, Grade.UNDECIDED)
EPILOG = """\
examples:
  cloister log verify audit.log --key broker.pem --checkpoint yesterday.json
  cloister log checkpoint audit.log --key broker.pem --checkpoint yesterday.json > today.json
  cloister log show audit.log --session payroll --secret db-password --since 2026-01-31
  cloister log show audit.log --json | jq 'select(.event.kind == "denied")'

FILE is the active segment; closed segments beside it (FILE.000000000001, ...) are read with it.
Without --key, whoever could write the files may have made them. Without --checkpoint, the end may be missing.

exit codes (from 10 on, those of SCONE's verify-audit-log):
  0    verify: intact; show: shown; checkpoint: printed
  2    malformed: not an audit log, or a line that is no entry; or the command line is wrong
  5    a checkpoint is not signed by the key
  10   intact, and the last line is unfinished: an append was interrupted, and never confirmed
  14   truncated: recent entries are missing, the log ends before the checkpoint
  15   older entries are missing: what is here does not begin with entry 1
  16   rollback cannot be ruled out: no checkpoint or no key was given
  17   a closed segment is missing between others
  18   rolled back or forked: another history than the checkpoint's
  19   another broker's: signed throughout, by another key
  20   forged: an entry was changed, taken out, put in, moved, or signed by another key
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister log`."""
    add_actions(
        parser,
        EPILOG,
        {
            "verify": ("verify a log, and exit with its grade", verify_options),
            "show": ("print entries, without verifying them", show_options),
            "checkpoint": ("verify a log, and print a checkpoint of its last entry, to be kept elsewhere", believing),
        },
    )


def verify_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister log verify`."""
    believing(parser)
    json_option(parser)


def show_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister log show`."""
    file_option(parser)
    json_option(parser)
    parser.add_argument("--session", metavar="NAME", help="only entries under this session")
    parser.add_argument("--secret", metavar="NAME", help="only entries that name this secret")
    parser.add_argument(
        "--since", metavar="TIME", help="only entries of this time or later (ISO 8601, UTC without zone)"
    )


def believing(parser: argparse.ArgumentParser) -> None:
    """The log, and what says that it is the broker's."""
    file_option(parser)
    parser.add_argument("--key", metavar="FILE", help="the broker's public key, Ed25519: PEM, DER, JWK or JWK set")
    parser.add_argument(
        "--checkpoint", metavar="FILE", action="append", default=[],
        help="a checkpoint taken earlier, or - for standard input; repeatable",
    )  # fmt: skip


def file_option(parser: argparse.ArgumentParser) -> None:
    """The log itself."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the log's active segment")


def json_option(parser: argparse.ArgumentParser) -> None:
    """For scripts."""
    parser.add_argument("--json", action="store_true", help="JSON on standard output; show: one entry in each line")


def run(args: argparse.Namespace) -> int:
    """Verify, show or make a checkpoint; returns the exit code."""
    return {"verify": verify, "show": show, "checkpoint": checkpoint}[args.action](args)


def verify(args: argparse.Namespace) -> int:
    """Print the grade, and return its code."""
    report = verified(args)
    if args.json:
        print(json.dumps(document(report), indent=2))
    else:
        print(*report_lines(report), sep="\n", file=sys.stderr)
    return report.grade.code


def checkpoint(args: argparse.Namespace) -> int:
    """Print a checkpoint of a log that is consistent; otherwise its grade, and return that."""
    sync(args.file)
    report = verified(args)
    print(*report_lines(report), sep="\n", file=sys.stderr)
    if report.grade not in CONSISTENT or report.last is None:
        print("no checkpoint: it would vouch for this log", file=sys.stderr)
        return report.grade.code
    print(Checkpoint.of(report.last, report.key).serialize().decode(), end="")
    return 0


def sync(path: Path) -> None:
    """Have the disk keep what is about to be vouched for: after a power cut, an honest log must still contain it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # only closed segments, which are on the disk: verifying tells
        return
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def show(args: argparse.Namespace) -> int:
    """Print entries as they are read."""
    since = None if args.since is None else time_of(args.since, "--since")
    print(NOT_VERIFIED, file=sys.stderr)
    for entry in read_entries(args.file):
        if (since is None or entry.time >= since) and concerns(entry, args.session, args.secret):
            if args.json:
                print(json.dumps(entry_document(entry)))
            else:
                print(*entry_lines(entry), sep="\n", file=sys.stderr)
    return 0


def concerns(entry: Entry, session: str | None, secret: str | None) -> bool:
    """Whether an entry is under this session and names this secret, as far as either is asked for."""
    return (session is None or session == session_of(entry.event)) and (
        secret is None or secret in secrets_of(entry.event)
    )


def session_of(event: Event) -> str | None:
    """The name of the session that an event is under; None if it is under none."""
    if isinstance(event, LogStarted | TornTail | KeyEncryptionChanged) or isinstance(event.session, Unchecked):
        return None
    return event.session.name


def secrets_of(event: Event) -> Iterator[str]:
    """The names of the secrets in an event."""
    match event:
        case Released():
            yield from (one.name for one in event.secrets)
        case ReleaseDenied() | ReleaseUnattested() | ReleaseUndecided():
            yield from event.secrets
        case SecretChanged():
            yield event.secret.name


def verified(args: argparse.Namespace) -> LogReport:
    """The report on the log that the command line names."""
    key = NO_KEY if args.key is None else key_of(Path(args.key))
    return verify_log(args.file, key=key, checkpoints=[checkpoint_in(one) for one in args.checkpoint])


def key_of(path: Path) -> bytes:
    """The one key in a file."""
    keys = read_verification_keys(path)
    if len(keys) != 1:
        raise UsageError(f"{path} has {len(keys)} keys; an audit log is signed with one")
    return keys[0].spki


def checkpoint_in(name: str) -> Checkpoint:
    """The checkpoint in a file; UsageError if there is none."""
    try:
        return parse_checkpoint(read_input(name, LONGEST_CHECKPOINT))
    except ParseError as error:
        raise UsageError(f"--checkpoint {name}: {error}") from error
