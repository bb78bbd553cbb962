"""`cloister attest --guest`: evidence about the confidential guest that this runs in."""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from cloister.attest.guest.asking import ask
from cloister.attest.guest.event_log import LOG, TPM_LOG, read_event_log
from cloister.attest.guest.report import REPORT_DATA_SIZE
from cloister.attest.guest.tpm import ask_tpm
from cloister.attest.guest.tpm_commands import opened
from cloister.cli._arguments import nonce_of
from cloister.errors import UsageError

__all__ = ["add_options", "refuse_options", "run"]

HIGHEST_LEVEL: Final = 3
FOR_GUESTS: Final = {
    "privilege_level": "--privilege-level", "svsm": "--svsm", "tpm": "--tpm", "tpm_key": "--tpm-key",
    "event_log": "--event-log",
}  # fmt: skip
FOR_SNP: Final = ("privilege_level", "svsm")
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
        "--tpm", action="store_true",
        help="a quote of this machine's TPM; on Azure with the hardware's report that the paravisor keeps there",
    )  # fmt: skip
    group.add_argument(
        "--tpm-key", type=_handle, metavar="HANDLE",
        help="with --tpm: the key that signs it, such as 0x81010001 (one that the TPM derives)",
    )  # fmt: skip
    group.add_argument(
        "--event-log", type=Path, metavar="FILE",
        help="also write what firmware and loader measured (CCEL; with --tpm the TPM's log)",
    )  # fmt: skip


def _handle(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no number such as 0x81010001") from None


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
    _refuse_other_options(args)
    log = read_event_log(TPM_LOG if args.tpm else LOG) if args.event_log else b""
    provider, evidence = _tpm_evidence(args, nonce) if args.tpm else _guest_evidence(args, nonce)
    written = {"evidence": str(args.output)}
    _write(args.output, evidence)
    if args.event_log:
        _write(args.event_log, log)
        written["event_log"] = str(args.event_log)
    if args.json:
        print(json.dumps({"provider": provider, **written}))
    else:
        print(f"evidence of {provider} is in {args.output}: cloister verify {args.output}", file=sys.stderr)
    return 0


def _refuse_other_options(args: argparse.Namespace) -> None:
    """UsageError for what is the hardware's with --tpm, and the TPM's without."""
    if args.tpm:
        given = [FOR_GUESTS[name] for name in FOR_SNP if getattr(args, name) not in (None, False)]
        if given:
            raise UsageError(f"{', '.join(given)}: not with --tpm, which asks the TPM")
    elif args.tpm_key is not None:
        raise UsageError("--tpm-key: only with --tpm")


def _guest_evidence(args: argparse.Namespace, nonce: bytes) -> tuple[str, bytes]:
    service = "svsm" if args.svsm else ""
    report = ask(nonce.ljust(REPORT_DATA_SIZE, b"\0"), privilege_level=args.privilege_level, service=service)
    return report.provider, (json.dumps(report.as_json(), indent=2) + "\n").encode()


def _tpm_evidence(args: argparse.Namespace, nonce: bytes) -> tuple[str, bytes]:
    with opened() as tpm:
        return "tpm", ask_tpm(nonce, tpm, key=args.tpm_key)


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
