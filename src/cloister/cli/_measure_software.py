"""The software enclave's side of `cloister measure`: programs with their manifests, and what differs between two."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from cloister.app.measuring import Found, learn_program, measure_files, measure_program
from cloister.cli._arguments import broker_key
from cloister.errors import NotFound, UsageError
from cloister.launch.command import find_program
from cloister.launch.strict import read_manifest_file
from cloister.measure.software import Change, SoftwareMeasurement, difference, write_measurement

__all__ = ["add_options", "print_changes", "printable", "run"]

SHOWN = 16
"""Hexadecimal digits of a digest in what `diff` prints."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that only the software enclave has."""
    group = parser.add_argument_group("the software enclave: what its manifest lists")
    group.add_argument("-o", "--write-manifest", metavar="FILE", type=Path, help="write the manifest, as TOML")
    group.add_argument(
        "--manifest", metavar="FILE", help="read a manifest instead; with PROGRAM: measure what it lists once more"
    )
    group.add_argument(
        "--file", metavar="PATH", action="append", default=[], help="list this file too: a script, data; repeatable"
    )
    group.add_argument(
        "--closed", metavar="DIR", action="append", default=[],
        help="read nothing under DIR but what is listed: for languages that load code as data; repeatable",
    )  # fmt: skip
    group.add_argument(
        "--broker-key", metavar="KEY", default="",
        help="take secrets from this broker only: its key in hexadecimal, or the file STATE/broker-key",
    )  # fmt: skip
    group.add_argument("--learn", action="store_true", help="run PROGRAM with its ARGS and list the code it loads")
    group.add_argument("--learn-files", action="store_true", help="the same, and list what it reads besides code")
    group.add_argument("-q", "--quiet", action="store_true", help="no list of components on standard error")


def run(args: argparse.Namespace) -> int:
    """Measure, compare, or read; print and write."""
    if args.arguments and not (args.learn or args.learn_files):
        raise UsageError(f"{args.arguments[0]}: arguments are for a program that --learn runs")
    if args.manifest is not None:
        return from_manifest(args)
    if args.program is None:
        raise UsageError("no program given; for example: cloister measure ./app")
    found = measured(args)
    if args.write_manifest is not None:
        write(args.write_manifest, write_measurement(found.measured, found.notes))
    show(found.measured, args)
    if found.status:
        ended = f"with status {found.status}" if found.status > 0 else f"by signal {-found.status}"
        print(f"cloister measure: {args.program} ended {ended}; listed is what it loaded until then", file=sys.stderr)
    return 0


def measured(args: argparse.Namespace) -> Found:
    """The program, and what else its manifest says."""
    found = loaded(args)
    manifest = replace(found.measured.manifest, broker=broker_key(args.broker_key))
    return replace(found, measured=replace(found.measured, manifest=manifest))


def loaded(args: argparse.Namespace) -> Found:
    """What the program loads, by a run or by asking its loader."""
    if args.learn or args.learn_files:
        return learn_program(
            args.program, args.arguments, read_files=args.learn_files, files=args.file, closed=args.closed
        )
    return measure_program(args.program, args.file, args.closed)


def from_manifest(args: argparse.Namespace) -> int:
    """What a manifest says; with a program, whether that is still so: 1 if something differs."""
    for option in ("write_manifest", "file", "closed", "broker_key", "learn", "learn_files"):
        if getattr(args, option):
            raise UsageError(f"--manifest reads a manifest, --{option.replace('_', '-')} makes one; take one of them")
    said = read_manifest_file(args.manifest)
    if args.program is None:
        show(said, args)
        return 0
    try:
        program = find_program(args.program)
        now = measure_files([program, *said.manifest.files])
    except NotFound as error:
        raise NotFound(f"{error}; {args.manifest} lists it") from error
    executable = now[program]
    manifest = replace(said.manifest, files={path: now[path] for path in said.manifest.files})
    found = SoftwareMeasurement(program=said.program, executable=executable, manifest=manifest)
    if changes := difference(said, found):
        print_changes(changes, args)
        return 1
    show(found, args)
    return 0


def print_changes(changes: list[Change], args: argparse.Namespace) -> None:
    """One line for each component, or one JSON document."""
    if args.json:
        print(
            json.dumps(
                [{"component": c.component, "before": digits(c.before), "after": digits(c.after)} for c in changes]
            )
        )
        return
    for change in changes:
        print(f"{printable(change.component)}: {shown(change.before)} -> {shown(change.after)}")


def show(found: SoftwareMeasurement, args: argparse.Namespace) -> None:
    """The components and what they come to."""
    if args.json:
        print(json.dumps(as_json(found)))
        return
    if not args.quiet:
        print(f"executable {found.executable.hex()} {printable(found.program)}", file=sys.stderr)
        print(f"libraries  {found.libraries.hex()} {len(found.manifest.files)} files:", file=sys.stderr)
        for path, digest in found.manifest.files.items():
            print(f"           {digest.hex()} {printable(path)}", file=sys.stderr)
        for path in sorted(found.manifest.closed):
            print(f"           {'closed: nothing else is read there':<64} {printable(path)}", file=sys.stderr)
        if found.manifest.broker:
            print(f"           {found.manifest.broker.hex()} the key of the only broker", file=sys.stderr)
    print(f"software:measurement={found.measurement.hex()}")


def as_json(found: SoftwareMeasurement) -> dict[str, object]:
    """What `cloister measure --json` prints: the members that it has for every TEE, and the components."""
    return {
        "machine": "software",
        "tee": "software",
        "claim": "measurement",
        "algorithm": "sha256",
        "digest": found.measurement.hex(),
        "program": found.program,
        "executable": found.executable.hex(),
        "libraries": found.libraries.hex(),
        "files": {path: digest.hex() for path, digest in found.manifest.files.items()},
        "closed": sorted(found.manifest.closed),
        "broker": found.manifest.broker.hex() or None,
    }


def write(path: Path, text: str) -> None:
    """Write the manifest's text."""
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def digits(digest: bytes | None) -> str | None:
    """A digest in hexadecimal, if there is one."""
    return None if digest is None else digest.hex()


def shown(digest: bytes | None) -> str:
    """A digest's beginning, for people."""
    if digest is None:
        return "not listed"
    return f"{digest.hex()[:SHOWN]}..." if any(digest) else "closed"


def printable(text: str) -> str:
    """A path without what could move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
