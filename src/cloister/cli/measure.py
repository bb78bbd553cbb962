"""Compute what a program must measure, offline: the reference value that a policy compares evidence with.

In the software enclave a program measures its file and its manifest: the files that may be code beside it, each by its
path and SHA-256. The manifest lists what the dynamic loader says the program loads, or, with --learn, what a run of it
loads. `cloister run --manifest` lets nothing else in.

In an emulated machine (--tee) the program must be linked statically. It is measured as `cloister run --tee` launches
it: its pages, their addresses and permissions, and where it starts. Neither measures arguments, environment and input.
"""

import argparse
import json
from pathlib import Path

from cloister.cli import _measure_software
from cloister.errors import NotFound, UsageError
from cloister.measure.image import read_image
from cloister.measure.program import MEASURED, ProgramMeasurement, program_measurement

__all__ = ["build_parser", "run"]

SOFTWARE = "software"
EPILOG = f"""\
examples:
  cloister measure ./app                                            prints software:measurement=... (and of what)
  cloister measure -o app.toml ./app                                writes the manifest for `cloister run --manifest`
  cloister measure --learn -o app.toml -- ./app --serve             runs it, and lists what it loads meanwhile
  cloister measure --learn-files --closed /srv/app -o app.toml -- python3 /srv/app/main.py
  cloister measure diff old.toml new.toml                           which component changed
  cloister measure --tee sgx ./app                                  prints sgx:mrenclave=...
  cloister measure --tee sev-snp --json ./app | jq -r .digest
  cloister policy init --measurement "$(cloister measure --tee tdx ./app)" -o app.toml

machines: {", ".join((SOFTWARE, *MEASURED))}

exit codes:
    0  measured; `diff`: no difference
    1  `diff`, or --manifest with a program: something differs
    2  the command line or a manifest is wrong, or there is no such machine, or it measures nothing
  121  the program is no static program for that machine; or its loader is not one that can be asked
  127  the program, or a file that it needs, was not found
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister measure`."""
    parser.epilog = EPILOG
    parser.usage = "cloister measure [options] [--] PROGRAM [ARGS...]\n       cloister measure diff A B"
    parser.add_argument("--tee", metavar="NAME", default=SOFTWARE, help="the kind of machine (software)")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    _measure_software.add_options(parser)
    parser.add_argument("program", metavar="PROGRAM", nargs="?", help="the program's file")
    parser.add_argument("arguments", metavar="ARGS", nargs="*", help="its arguments, for --learn")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.tee == SOFTWARE:
        return _measure_software.run(args)
    return run_emulated(args)


def run_emulated(args: argparse.Namespace) -> int:
    """Measure for an emulated machine."""
    if args.program is None or args.arguments:
        raise UsageError(f"one program is measured for --tee {args.tee}: cloister measure --tee {args.tee} ./app")
    for option in ("write_manifest", "manifest", "file", "closed", "learn", "learn_files"):
        if getattr(args, option):
            raise UsageError(f"--{option.replace('_', '-')} is for the software enclave, without --tee")
    try:
        data = Path(args.program).read_bytes()
    except OSError as error:
        raise NotFound(f"{args.program}: {error.strerror}") from error
    found = program_measurement(args.tee, read_image(data, args.program))
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
