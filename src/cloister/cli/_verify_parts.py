"""Evidence in several files: a TPM quote as tpm2-tools and others write it, and event logs beside a quote."""

import argparse
from collections.abc import Mapping
from dataclasses import replace

from cloister import _json
from cloister.cli._arguments import read_input
from cloister.envelope import LARGEST, Envelope, open_envelope
from cloister.errors import ParseError, UsageError
from cloister.evidence import tpm
from cloister.evidence.eventlog import ALGORITHMS
from cloister.evidence.tpm_attest import parse_attest

__all__ = ["add_options", "opened"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this page."""
    parser.add_argument(
        "--event-log", metavar="FILE", action="append", default=[], help="a TCG or CC event log to replay; repeatable"
    )
    parser.add_argument("--tpm-signature", metavar="FILE", help="FILE is a TPM's signed statement; this its signature")
    parser.add_argument(
        "--tpm-key", metavar="FILE", help="with --tpm-signature: the attestation key (trusting is apart)"
    )
    parser.add_argument("--tpm-pcrs", metavar="FILE", help='with --tpm-signature: PCR values, {"sha256": {"0": "…"}}')


def opened(args: argparse.Namespace, data: bytes) -> Envelope:
    """What the main file contains, with what the other files add."""
    logs = [read_input(name, LARGEST) for name in args.event_log]
    if not args.tpm_signature:
        if args.tpm_key or args.tpm_pcrs:
            raise UsageError("--tpm-key and --tpm-pcrs belong to a TPM quote in several files: give --tpm-signature")
        envelope = open_envelope(data)
        return replace(envelope, event_logs=(*envelope.event_logs, *logs))
    if len(logs) > 1:
        raise UsageError("a TPM quote has one event log; give --event-log once")
    quote = tpm.of_parts(
        data,
        read_input(args.tpm_signature, LARGEST),
        key=read_input(args.tpm_key, LARGEST) if args.tpm_key else b"",
        pcrs=pcr_values(data, read_input(args.tpm_pcrs, LARGEST)) if args.tpm_pcrs else None,
        event_log=logs[0] if logs else b"",
    )
    return Envelope(parts=(quote,), path=("TPM quote in several files",))


def pcr_values(message: bytes, document: bytes) -> dict[int, dict[int, bytes]]:
    """PCR values by bank and index, from `{bank: {index: value}}`; without banks they are of the first one quoted."""
    name = "PCR values"
    value = _json.loads(document, name)
    if not isinstance(value, Mapping):
        raise ParseError(name, "json", 0, "is no object")
    banks = value if all(isinstance(one, Mapping) for one in value.values()) else {"": value}
    return {bank_number(bank, message): of_bank(values, name) for bank, values in banks.items()}


def bank_number(bank: str, message: bytes) -> int:
    """TPM_ALG_ID of a bank's name."""
    if not bank:
        selections = parse_attest(message).selections
        return selections[0].algorithm if selections else 0
    for number, (name, _) in ALGORITHMS.items():
        if name == bank:
            return number
    known = ", ".join(name for name, _ in ALGORITHMS.values())
    raise ParseError("PCR values", "bank", 0, f"is {bank!r}; one of {known}")


def of_bank(values: object, name: str) -> dict[int, bytes]:
    """The values of one bank by index."""
    if not isinstance(values, Mapping):
        raise ParseError(name, "bank", 0, "is no object")
    try:
        return {int(index): bytes.fromhex(value) for index, value in values.items()}
    except (TypeError, ValueError) as error:
        raise ParseError(name, "index", 0, f"an index is a number and a value hexadecimal digits: {error}") from error
