"""Compute what must be measured, offline: the reference value that a policy compares evidence with.

In the software enclave a program measures its file and its manifest: the files that may be code beside it, each by its
path and SHA-256. The manifest lists what the dynamic loader says the program loads, or, with --learn, what a run of it
loads. `cloister run --manifest` lets nothing else in.

In an emulated machine (--tee) the program must be linked statically. It is measured as `cloister run --tee` launches
it: its pages, their addresses and permissions, and where it starts. Neither measures arguments, environment and input.

For real machines, give what is launched there: an enclave image of a framework (--with), a guest's firmware with its
kernel (--firmware), a realm's description (--realm), Keystone's three images. Components and their digests go to
standard error, and with --json into the document, so that `diff` can name which input changed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from cloister.cli import _measure_diff, _measure_software
from cloister.cli._measure_enclave import measure_enclave, measure_keystone
from cloister.cli._measure_guest import measure_guest
from cloister.cli._measure_options import GUEST_OPTIONS, add_enclave_options, add_guest_options, given
from cloister.cli._measure_software import printable
from cloister.errors import NotFound, UsageError
from cloister.measure.components import Measured, content
from cloister.measure.image import read_image
from cloister.measure.program import MEASURED, program_measurement

__all__ = ["build_parser", "run"]

SOFTWARE = "software"
GUESTS: Final = frozenset({"sev", "sev-es", "sev-snp", "tdx", "cca"})
ENCLAVES: Final = frozenset({"sgx", "sgx-scalable"})
EPILOG = f"""\
examples:
  cloister measure ./app                                            prints software:measurement=... (and of what)
  cloister measure -o app.toml ./app                                writes the manifest for `cloister run --manifest`
  cloister measure --learn -o app.toml -- ./app --serve             runs it, and lists what it loads meanwhile
  cloister measure --learn-files --closed /srv/app -o app.toml -- python3 /srv/app/main.py
  cloister measure diff old.toml new.toml                           which component changed; also of two --json outputs
  cloister measure --tee sgx ./app                                  prints sgx:mrenclave=...
  cloister measure --tee sgx --with gramine --loader libpal.so app.manifest.sgx
  cloister measure --tee sgx --with ego --runtime ego-enclave app
  cloister measure --tee sgx --with sdk enclave.signed.so           exit code 1 if its SIGSTRUCT says otherwise
  cloister measure --tee sev-snp --firmware OVMF.fd --kernel bzImage --initrd initrd --append "quiet" --vcpus 4 \\
      --vcpu-type EPYC-v4
  cloister measure --tee tdx --firmware OVMF.fd --event-log CCEL    prints tdx:mrtd=... and tdx:rtmr0=... to rtmr3
  cloister measure --tee cca --realm realm.toml
  cloister measure --tee keystone --loader loader.bin --runtime eyrie-rt ./app
  cloister measure --tee sev-snp --json ./app | jq -r .digest
  cloister policy init --measurement "$(cloister measure --tee tdx ./app)" -o app.toml

machines: {", ".join((SOFTWARE, *MEASURED))}

exit codes:
    0  measured; `diff`: no difference
    1  `diff`, or --manifest with a program: something differs; --with: the image's own SIGSTRUCT is for another
       measurement
    2  the command line or an input file is wrong, or there is no such machine, or it measures nothing
  121  the program is no static program for that machine; or its loader is not one that can be asked
  127  the program, or a file that it needs, was not found
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister measure`."""
    parser.epilog = EPILOG
    parser.usage = (
        "cloister measure [options] [--] PROGRAM [ARGS...]\n"
        "       cloister measure --tee NAME --with|--firmware|--realm ...\n"
        "       cloister measure diff A B"
    )
    parser.add_argument("--tee", metavar="NAME", default=SOFTWARE, help="the kind of machine (software)")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    _measure_software.add_options(parser)
    add_enclave_options(parser)
    add_guest_options(parser)
    parser.add_argument("program", metavar="PROGRAM", nargs="?", help="the program's file, or the image")
    parser.add_argument("arguments", metavar="ARGS", nargs="*", help="its arguments, for --learn")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.program == "diff" and not args.learn:
        return _measure_diff.compare(args)
    if args.tee == SOFTWARE:
        if options := given(args):
            raise UsageError(f"{options[0]} needs --tee: it says what another machine launches")
        return _measure_software.run(args)
    refuse_software_options(args)
    measured, doubts = measure(args)
    show(measured, args)
    for doubt in doubts:
        print(f"cloister measure: {doubt}", file=sys.stderr)
    return 1 if doubts else 0


def refuse_software_options(args: argparse.Namespace) -> None:
    """UsageError for what only the software enclave has."""
    for option in ("write_manifest", "manifest", "file", "closed", "broker_key", "learn", "learn_files"):
        if getattr(args, option):
            raise UsageError(f"--{option.replace('_', '-')} is for the software enclave, without --tee")


def measure(args: argparse.Namespace) -> tuple[Measured, list[str]]:
    """The measurement, and what its own signature says otherwise."""
    if args.arguments:
        raise UsageError(f"one program is measured for --tee {args.tee}: cloister measure --tee {args.tee} ./app")
    if args.tee in ENCLAVES and args.framework is not None:
        return measure_enclave(args)
    if args.tee in GUESTS and any(getattr(args, option) is not None for option in GUEST_OPTIONS):
        return measure_guest(args), []
    if args.tee == "keystone" and given(args):
        return measure_keystone(args), []
    if options := given(args):
        raise UsageError(f"{options[0]} is not for --tee {args.tee}, or needs --with; see --help")
    return measure_program(args), []


def measure_program(args: argparse.Namespace) -> Measured:
    """A program in an emulated machine."""
    if args.program is None:
        raise UsageError(f"one program is measured for --tee {args.tee}: cloister measure --tee {args.tee} ./app")
    try:
        data = Path(args.program).read_bytes()
    except OSError as error:
        raise NotFound(f"{args.program}: {error.strerror}") from error
    found = program_measurement(args.tee, read_image(data, args.program))
    return Measured(
        machine=args.tee, tee=found.tee, claims={found.claim: found.digest}, components={"program": content(data)}
    )


def show(found: Measured, args: argparse.Namespace) -> None:
    """The claims on standard output; what they were made of on standard error, unless there is one program only."""
    if args.json:
        print(json.dumps(found.as_json()))
        return
    if not args.quiet and [*found.components] != ["program"]:
        width = max(map(len, found.components))
        for name, value in found.components.items():
            print(printable(f"{name:<{width}}  {value}"), file=sys.stderr)
        print(f"{'root':<{width}}  sha256:{found.root.hex()}", file=sys.stderr)
    print("\n".join(found.references()))
