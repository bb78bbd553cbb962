"""`cloister attest --guest`: evidence about the confidential guest that this runs in."""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from cloister.attest.guest.asking import ask
from cloister.attest.guest.event_log import read_event_log
from cloister.attest.guest.report import REPORT_DATA_SIZE
from cloister.cli._arguments import nonce_of
from cloister.errors import UsageError

__all__ = ["add_options", "refuse_options", "run"]

HIGHEST_LEVEL: Final = 3
FOR_GUESTS: Final = {"privilege_level": "--privilege-level", "svsm": "--svsm", "event_log": "--event-log"}
FOR_PROGRAMS: Final = {"program": "PROGRAM", "keys": "--keys", "unsafe_debug": "--unsafe-debug"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that only guests have."""
    group = parser.add_argument_group("inside a confidential guest (--guest)")
    group.add_argument(
        "--privilege-level", type=int, choices=range(HIGHEST_LEVEL + 1), metavar="N",
        help="the VMPL that an SNP report shall name (the kernel's own)",
    )  # fmt: skip
    group.add_argument("--svsm", action="store_true", help="ask the SVSM that this SNP guest runs under")
    group.add_argument(
        "--event-log", type=Path, metavar="FILE", help="also write what firmware and loader measured (CCEL)"
    )


def refuse_options(args: argparse.Namespace) -> None:
    """UsageError if one of them is given without --guest."""
    given = [
        option
        for name, option in FOR_GUESTS.items()
        if (value := getattr(args, name)) is not None and value is not False
    ]
    if given:
        raise UsageError(f"{', '.join(given)}: only with --guest")


def run(args: argparse.Namespace) -> int:
    """Ask, and write the answer. CannotProtect says what this machine lacks."""
    given = [option for name, option in FOR_PROGRAMS.items() if getattr(args, name)]
    if given:
        raise UsageError(f"{', '.join(given)}: only with --tee; --guest attests the whole guest")
    nonce = b"" if args.nonce is None else nonce_of(args.nonce).nonce
    if len(nonce) > REPORT_DATA_SIZE:
        raise UsageError(f"--nonce: {len(nonce)} bytes; guests have room for {REPORT_DATA_SIZE}")
    log = read_event_log() if args.event_log else b""
    report = ask(
        nonce.ljust(REPORT_DATA_SIZE, b"\0"), privilege_level=args.privilege_level, service="svsm" if args.svsm else ""
    )
    written = {"evidence": str(args.output)}
    _write(args.output, (json.dumps(report.as_json(), indent=2) + "\n").encode())
    if args.event_log:
        _write(args.event_log, log)
        written["event_log"] = str(args.event_log)
    if args.json:
        print(json.dumps({"provider": report.provider, **written}))
    else:
        print(f"evidence of {report.provider} is in {args.output}: cloister verify {args.output}", file=sys.stderr)
    return 0


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
