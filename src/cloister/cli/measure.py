"""Compute what a program must measure, offline: the reference value that a policy compares evidence with.

The program must be linked statically. It is measured as `cloister run --tee` launches it: its pages, their addresses
and permissions, and where it starts; not its arguments, environment and input, which the host chooses.
"""

import argparse
import json
from pathlib import Path

from cloister.errors import NotFound
from cloister.measure.image import read_image
from cloister.measure.program import MEASURED, ProgramMeasurement, program_measurement

__all__ = ["build_parser", "run"]

EPILOG = f"""\
examples:
  cloister measure --tee sgx ./app                                  prints sgx:mrenclave=...
  cloister measure --tee sev-snp --json ./app | jq -r .digest
  cloister policy init --measurement "$(cloister measure --tee tdx ./app)" -o app.toml

machines: {", ".join(MEASURED)}

exit codes:
    0  measured
    2  there is no such machine, or it measures nothing
  121  the program is no static program for that machine
  127  the program was not found
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister measure`."""
    parser.epilog = EPILOG
    parser.add_argument("--tee", metavar="NAME", required=True, help="the kind of machine")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    parser.add_argument("program", metavar="PROGRAM", type=Path, help="the program's file")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    try:
        data = args.program.read_bytes()
    except OSError as error:
        raise NotFound(f"{args.program}: {error.strerror}") from error
    found = program_measurement(args.tee, read_image(data, str(args.program)))
    print(
        json.dumps(as_json(args.tee, found)) if args.json else f"{found.tee}:{found.claim}={found.digest.value.hex()}"
    )
    return 0


def as_json(machine: str, found: ProgramMeasurement) -> dict[str, str]:
    """`digest` in hexadecimal; `claim` as policies call it."""
    return {
        "machine": machine,
        "tee": str(found.tee),
        "claim": found.claim,
        "algorithm": found.digest.algorithm,
        "digest": found.digest.value.hex(),
    }
