"""Check and show shield policies: which files, ports, destinations and console of a program are shielded, and how.

A policy is a TOML file for `cloister run --shield`, or stands under `shield` in a service of a session.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from cloister.cli._actions import add_actions
from cloister.cli._shield_file import read_policy_file
from cloister.cli._shield_text import lines_of
from cloister.cli._terminal import clean_lines
from cloister.frameworks.danger_shield import findings_of_shield
from cloister.frameworks.findings import Severity
from cloister.shield_policy.document import policy_document

__all__ = ["build_parser", "run"]

EPILOG: Final = """\
examples:
  cloister shield check shield.toml             what it protects, what is dangerous, in which line, why, what to do
  cloister shield check --strict --json shield.toml
  cloister shield show shield.toml              what the program will find: each path, port, destination
  cloister run --shield shield.toml -- sqlite3 /data/app.db

exit codes:
   0  shown; `check`: nothing dangerous (with --strict: nothing risky either)
   2  the command line or the file is wrong: the message names the line
  10  `check`: something is dangerous, or with --strict risky
"""
FOUND: Final = 10


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of `cloister shield` and their options."""
    add_actions(parser, EPILOG, {
        "check": ("say what a policy protects, and what is dangerous in it", _check_options),
        "show": ("list what the program will find", _show_options),
    })  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do what was asked for and return the exit code."""
    return _check(args) if args.action == "check" else _show(args)


def _check_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="exit with 10 for what is only risky, too")
    _show_options(parser)


def _show_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    parser.add_argument("file", type=Path, metavar="FILE", help="the policy, TOML")


def _check(args: argparse.Namespace) -> int:
    policy = read_policy_file(args.file)
    found = findings_of_shield(policy)
    counts = {severity: sum(one.severity is severity for one in found) for severity in Severity}
    if args.json:
        remarks = [
            {"severity": one.severity.value, "key": one.key, "place": one.place, "reason": one.reason,
             "advice": one.advice} for one in found
        ]  # fmt: skip
        print(json.dumps({**policy_document(policy), "findings": remarks}, indent=2))
    else:
        print(clean_lines("\n".join(lines_of(policy))))
        for one in found:
            print(clean_lines(f"{one.place}: {one.severity}: {one.key}: {one.reason}\n    {one.advice}"))
    said = ", ".join(f"{number} {severity}" for severity, number in counts.items() if number)
    sys.stdout.flush()  # the summary comes last, also where both go to one place
    print(clean_lines(f"{args.file}: shield policy: {said or 'no remarks'}"), file=sys.stderr)
    bad = counts[Severity.DANGEROUS] + (counts[Severity.RISKY] if args.strict else 0)
    return FOUND if bad else 0


def _show(args: argparse.Namespace) -> int:
    policy = read_policy_file(args.file)
    print(json.dumps(policy_document(policy), indent=2) if args.json else clean_lines("\n".join(lines_of(policy))))
    return 0
