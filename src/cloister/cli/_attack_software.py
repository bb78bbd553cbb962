"""`cloister attack` without --tee: the battery against the software enclave."""

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from cloister.app.battery import Setting, attacks_named, run_battery
from cloister.app.battery.attack import Attack
from cloister.app.battery.render import as_html, as_json, as_text
from cloister.app.battery.verdict import exit_code
from cloister.errors import UsageError

__all__ = ["add_options", "run", "write_page"]

LONGEST_DELAY = 600.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that only the software enclave has."""
    group = parser.add_argument_group("the software enclave: without --tee and --matrix")
    group.add_argument(
        "--only",
        metavar="ATTACK",
        action="append",
        default=[],
        help="only this attack, or these ('file-*'); repeatable",
    )
    group.add_argument(
        "--list", action="store_true", help="name all attacks, with what they do and their sources, and end"
    )
    group.add_argument(
        "--feed", metavar="HOW", default="stdin", help="how PROGRAM gets its secret: stdin (default), env:NAME"
    )
    group.add_argument(
        "--ready-delay", metavar="SECONDS", type=delay, default=0.5, help="how long PROGRAM takes to get it (0.5)"
    )
    group.add_argument("--unsafe-no-guard", action="store_true", help="attack an enclave without guards")
    group.add_argument(
        "--unsafe-change-machine",
        action="store_true",
        help="also try what changes a setting of the whole machine for a moment: core_pattern, a swap file",
    )


def delay(text: str) -> float:
    """Seconds, at most ten minutes. ValueError otherwise, which argparse reports."""
    value = float(text)
    if not 0 <= value <= LONGEST_DELAY:
        raise ValueError(text)
    return value


def run(args: argparse.Namespace, progress: Callable[[str], None]) -> int:
    """Attack, print, judge."""
    if args.keys is not None:
        raise UsageError("--keys goes with --tee or --matrix")
    attacks = attacks_named(args.only)
    if args.list:
        return show_list(attacks, as_document=args.json)
    signal.signal(signal.SIGTERM, interrupted)
    findings = run_battery(setting_of(args), attacks, progress)
    user = "root" if os.geteuid() == 0 else "user"
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    if args.html is not None:
        write_page(args.html, as_html(findings, user))
    if args.json:
        print(json.dumps(as_json(findings, user), indent=2))
    else:
        print(as_text(findings, user), end="")
    return exit_code(findings)


def write_page(path: Path, page: str) -> None:
    """Write the page. UsageError where that is impossible."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def setting_of(args: argparse.Namespace) -> Setting:
    """What is attacked, and how."""
    how, _, name = args.feed.partition(":")
    if (how, bool(name)) not in {("stdin", False), ("env", True)}:
        raise UsageError(f"--feed {args.feed}: use stdin or env:NAME")
    words = tuple(args.attacks)
    if words and not shutil.which(words[0]):
        raise UsageError(f"{words[0]}: no such program (attacks by name: --only {words[0]})")
    return Setting(
        words=words,
        variable=name,
        delay=args.ready_delay,
        unsafe_no_guard=args.unsafe_no_guard,
        may_change_machine=args.unsafe_change_machine,
    )


def show_list(attacks: tuple[Attack, ...], *, as_document: bool) -> int:
    """Every attack in one line, or as JSON."""
    if as_document:
        fields = ("name", "what", "source", "reader", "declared")
        print(json.dumps([{field: getattr(attack, field) for field in fields} for attack in attacks], indent=2))
        return 0
    for attack in attacks:
        print(f"{attack.name:18} {attack.what} [{attack.source}]{' (declared)' if attack.declared else ''}")
    return 0


def interrupted(number: int, _frame: object) -> None:
    """End as Ctrl-C does: what was started is ended on the way out."""
    raise SystemExit(128 + number)
