"""What `cloister run` does for a program that gets its secrets from a broker, or is held to a manifest."""

import argparse
import base64
import os
from dataclasses import replace
from pathlib import Path

from cloister.app.measuring import measure_program
from cloister.attest.starting import Plan, start_carrier
from cloister.cli._arguments import broker_key
from cloister.cli.run import attested_only
from cloister.errors import UsageError
from cloister.launch.command import RuntimeOptions, find_program
from cloister.launch.runtime_file import runtime_path
from cloister.launch.strict import manifest_descriptor, read_manifest_file
from cloister.measure.software import SoftwareMeasurement

__all__ = ["attested"]

FILES = ("ca", "host_key", "flow")


def attested(args: argparse.Namespace, program: str, options: RuntimeOptions) -> None:
    """Start the carrier, or read the manifest, and tell the runtime where they are."""
    check(args)
    found = find_program(program)
    if args.broker:
        options.attester = start_carrier(lambda: plan_of(args, measured(args.manifest, found, args.broker_key or "")))
    else:
        options.manifest_fd = manifest_descriptor(args.manifest, found)


def check(args: argparse.Namespace) -> None:
    """UsageError for options that cannot be meant together."""
    if args.tee is not None:
        raise UsageError("--broker and --manifest are for the software enclave; with --tee, `cloister attest` attests")
    if not args.broker and (named := attested_only(args)):
        raise UsageError(f"{named} is for programs that get secrets, and --broker URL says from whom; nothing was run")
    if args.broker and not args.session:
        raise UsageError("--broker needs --session NAME: which session says what this program gets")
    if args.unsafe_no_guard:
        raise UsageError("--unsafe-no-guard excludes --broker and --manifest: nothing would hold the program to them")
    if args.broker and args.start_fd is not None:
        raise UsageError("--start-fd and --broker exclude each other: both say what argv and environment are")
    if (args.attest == "passport") != bool(args.verifier):
        raise UsageError("--attest passport and --verifier URL go together")


def measured(file: str | None, program: str, broker: str = "") -> SoftwareMeasurement:
    """What may be code beside the program: by the manifest in a file, else by the word of the program's loader.

    `broker`: the key of the only broker to take secrets from, as --broker-key has it; a manifest has its own.
    """
    if file is None:
        found = measure_program(program).measured
        return replace(found, manifest=replace(found.manifest, broker=broker_key(broker)))
    if broker:
        raise UsageError(
            "--manifest and --broker-key exclude each other: `cloister measure --broker-key` writes it there"
        )
    found, started = read_manifest_file(file), os.path.abspath(program)  # noqa: PTH100 - not through links
    if started != found.program:
        raise UsageError(f"{file} is the manifest of {found.program}, not of {started}")
    return found


def plan_of(args: argparse.Namespace, program: SoftwareMeasurement) -> Plan:
    """What the carrier is started for: it has another working directory and environment than this process."""
    return Plan(
        starter=os.getpid(), runtime=runtime_path(), libraries=program.libraries.hex(),
        manifest=base64.b64encode(program.manifest.serialize()).decode(), broker=args.broker, session=args.session,
        service=args.service or "-", verifier=args.verifier or "",
        **{name: str(Path(getattr(args, name)).absolute()) for name in FILES if getattr(args, name)},
    )  # fmt: skip
