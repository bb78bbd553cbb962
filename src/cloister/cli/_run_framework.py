"""`cloister run --tee sgx --with FRAMEWORK`: the framework that is installed runs the program, on SGX hardware."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cloister.app.measuring import measure_program
from cloister.cli._terminal import clean_lines
from cloister.cli.convert import read_files, report
from cloister.cli.run import undo_interpreter_start
from cloister.errors import UsageError
from cloister.frameworks.cloister_files import MANIFEST
from cloister.frameworks.conversion import Conversion, Outcome, convert
from cloister.frameworks.formats import FORMATS, read_configuration
from cloister.frameworks.model import Configuration, Kept, MeasuredFile
from cloister.launch.command import find_program
from cloister.launch.frameworks import ego, gramine, occlum, scone
from cloister.launch.frameworks.carry_out import carry_out
from cloister.launch.frameworks.needs import missing
from cloister.launch.frameworks.plan import Plan, Request, shown
from cloister.measure.software import write_measurement

__all__ = ["FRAMEWORKS", "run_with"]


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework: its file's format, what its commands carry, its plan, and who chooses the arguments."""

    format: str
    carried: frozenset[str]
    plan: Callable[[Request, str], Plan]
    takes_words: bool


FRAMEWORKS: Final = {
    "gramine": Framework(gramine.FORMAT, gramine.CARRIED, gramine.plan, takes_words=False),
    "scone": Framework(scone.FORMAT, scone.CARRIED, scone.plan, takes_words=False),
    "ego": Framework(ego.FORMAT, ego.CARRIED, ego.plan, takes_words=True),
    "occlum": Framework(occlum.FORMAT, occlum.CARRIED, occlum.plan, takes_words=True),
}
NOT_HERE: Final = (
    "broker", "session", "ca", "attest", "verifier", "broker_key", "host_key", "flow", "dram", "host", "keys",
    "unsafe_plain_console", "unsafe_outside", "unsafe_no_guard", "report", "start_fd", "checkpoint", "shield",
    "console", "unsafe_listen_anywhere", "memory", "frames",
)  # fmt: skip
DEFAULTS: Final = {"memory": 256, "frames": 2048}
UNPROTECTED: Final = "cloister: {} without SGX: nothing is protected; for development only"
PROTECTED: Final = "cloister: handing over to {} on SGX hardware; who can still read: docs/tees/sgx.md"


def run_with(args: argparse.Namespace, words: Sequence[str]) -> int:
    """Show the plan (--dry-run), or carry it out: then only errors return."""
    check(args)
    plan = plan_of(args, words)
    if not args.dry_run:
        notice = UNPROTECTED if args.unsafe_simulation else PROTECTED
        if args.unsafe_simulation or (not args.quiet and os.isatty(2)):
            print(notice.format(args.framework), file=sys.stderr, flush=True)
        undo_interpreter_start()
        carry_out(plan)
    print(shown(plan), end="")
    for one in missing(plan):
        print(clean_lines(f"missing: {one}"), file=sys.stderr)
    return 0


def check(args: argparse.Namespace) -> None:
    """UsageError for options that cannot be meant together."""
    if args.framework not in FRAMEWORKS:
        raise UsageError(f"--with {args.framework}: there is {', '.join(FRAMEWORKS)}")
    if args.tee != "sgx":
        raise UsageError("--with goes with --tee sgx: these frameworks run programs on SGX")
    if args.service is not None and args.manifest is None:
        raise UsageError("--service says which service of a session, and --manifest FILE gives one")
    for name in NOT_HERE:
        if given(args, name):
            raise UsageError(f"--{name.replace('_', '-')} is not for programs in a framework, which has its own way")


def given(args: argparse.Namespace, name: str) -> bool:
    """Whether an option was given: descriptor 0 is one, too."""
    value = getattr(args, name)
    return value is not None and value is not False and value != DEFAULTS.get(name)


def plan_of(args: argparse.Namespace, words: Sequence[str]) -> Plan:
    """The plan for these options."""
    framework = FRAMEWORKS[args.framework]
    found = _configuration(args, framework, words)
    native = args.manifest is not None and found.format == framework.format
    configuration = _settled(args, framework, found, words, native=native)
    program = _program(args.framework, words[0], native=native)
    directory = Path(args.manifest).absolute().parent if args.manifest is not None else Path.cwd()
    request = Request(
        configuration=configuration, native=Path(args.manifest).absolute() if native else None, directory=directory,
        folder=Path(args.folder or f"{program.name}.{args.framework}").absolute(), program=program,
        words=tuple(words[1:]) or (configuration.arguments or () if framework.takes_words else ()),
        key=None if args.sign_key is None else _key(args.sign_key), simulated=args.unsafe_simulation,
        environment=os.environ,
    )  # fmt: skip
    return framework.plan(request, _text(args, framework, request))


def _configuration(args: argparse.Namespace, framework: Framework, words: Sequence[str]) -> Configuration:
    """What the file says; without one, the program alone, and for Gramine what its loader loads."""
    if args.manifest is not None:
        return read_files([args.manifest], None, args.service)
    program = find_program(words[0])
    if framework.format != gramine.FORMAT:
        return Configuration(format=MANIFEST, program=str(Path(program).absolute()))
    return read_configuration(write_measurement(measure_program(program).measured), program, MANIFEST)


def _settled(
    args: argparse.Namespace, framework: Framework, found: Configuration, words: Sequence[str], *, native: bool
) -> Configuration:
    """The configuration with the arguments and the debug mode that were asked for. UsageError if it says otherwise."""
    file, given = args.manifest, tuple(words[1:])
    if found.program is not None and Path(found.program).name != Path(words[0]).name:
        raise UsageError(f"{file} is of {found.program}, not of {words[0]}")
    if found.debug and not args.unsafe_debug:
        raise UsageError(f"{file}: it is a debug enclave, which the host may read; turn it off, or say --unsafe-debug")
    if args.unsafe_debug and native and not found.debug:
        raise UsageError(f"--unsafe-debug: {file} says otherwise, and is used as it is; change it there")
    if args.unsafe_debug:
        found = replace(found, debug=True)
    if given and found.arguments is not None and given != found.arguments:
        raise UsageError(f"{file} fixes the program's arguments; leave them out, or change them there")
    if framework.takes_words or found.host_arguments:
        return found
    if native:
        if given and found.arguments is None:
            raise UsageError(f"{file} says nothing of arguments, so the program would get none: add them there")
        return found
    return replace(found, arguments=found.arguments or given)


def _program(name: str, word: str, *, native: bool) -> Path:
    """The program's file; where the framework's own file says how it is mounted, the path that it has inside."""
    if native and (name == "gramine" or (name == "occlum" and word.startswith("/"))):
        return Path(word)
    return Path(find_program(word)).absolute()


def _key(path: str) -> Path:
    if not Path(path).is_file():
        raise UsageError(f"--sign-key {path}: there is no such file")
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve() follows links


def _text(args: argparse.Namespace, framework: Framework, request: Request) -> str:
    """The framework's file. UsageError if it cannot say all that it must: nothing is dropped on the way to a run."""
    if request.native is not None:
        return request.native.read_text()
    if args.framework == "scone" and args.manifest is None:
        return ""
    converted = convert(_placed(args.framework, request), framework.format)
    lost = [one for one in converted.differences if _stops(one.outcome, one.item, framework)]
    if lost:
        lines = "\n  ".join(clean_lines(f"{one.item}: {one.reason}") for one in lost)
        source = args.manifest or request.program
        raise UsageError(
            f"{source} cannot be said in {FORMATS[framework.format].title}; nothing was run:\n  {lines}\n"
            f"write that file (cloister convert --to {framework.format}), decide, and give it with --manifest"
        )
    _tell(args, converted, request)
    return converted.text


def _placed(name: str, request: Request) -> Configuration:
    """The configuration as the made file says it: EGo's paths are seen from the file's directory."""
    configuration = request.configuration
    if name == "occlum":
        return replace(configuration, program=str(request.program), measured_files={})
    if name != "ego":
        return configuration
    files = {
        ego.relative(request.directory / path, request.folder): MeasuredFile(file.targets or (path,))
        for path, file in configuration.measured_files.items()
        if Path(path).name != request.program.name
    }
    signed_by = () if request.key is None else (_ego_key(request),)
    return replace(
        configuration, program=request.program.name, measured_files=files, kept=(*configuration.kept, *signed_by)
    )


def _ego_key(request: Request) -> Kept:
    """The key's place, which only EGo's file has."""
    return Kept(ego.FORMAT, ("key",), ego.relative(request.key or Path(), request.folder), known=True)


def _stops(outcome: Outcome, item: str, framework: Framework) -> bool:
    return outcome in {Outcome.LOST, Outcome.MISSING} and item.partition(".")[0] not in framework.carried


def _tell(args: argparse.Namespace, converted: Conversion, request: Request) -> None:
    """What was changed or filled in on the way, where a person's file was converted."""
    if args.manifest is not None and not args.quiet:
        report(converted, request.configuration.format, FRAMEWORKS[args.framework].format)
