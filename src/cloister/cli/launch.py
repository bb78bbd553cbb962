"""Launch a program in an emulated TEE step by step: owner, host, and the processor's firmware between them.

The owner has a program and a secret for it, and trusts nothing but the manufacturer. The host (hypervisor, operating
system) carries every message and may tamper with it. Each message is shown with what its receiver checked. Only when
the owner is convinced, the secret is sent; then the program runs, and finds it in /run/secrets.

All of it is real: real measurements, real evidence, real cryptography. The roots are emulated and prove nothing, and
this process, unlike `cloister run`, is not in the software enclave: it is for learning, not for secrets that matter.
"""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cloister.app.launching import DATA, Launch, Owner, Secret, Tampering
from cloister.app.launching_sev import SevLaunch, sev_owner
from cloister.cli._lines import labelled, prose, width_of_terminal
from cloister.emulate.catalogue import Kind, kind_of
from cloister.emulate.inside import load_program, located, write_all
from cloister.emulate.launch_step import Stage, Step
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.sev.launch_steps import Tampering as SevTampering
from cloister.emulate.terminal import Terminal, sealed_terminal
from cloister.emulate.vendors.keystore import WARNING, Keystore
from cloister.errors import CannotEnclave, UsageError
from cloister.measure.image import PAGE, Image
from cloister.measure.program import MEASURED

__all__ = ["build_parser", "run"]

REFUSED = 5
SEV = frozenset({"sev", "sev-es"})
EPILOG = f"""\
examples:
  cloister launch --tee sev --secret-file key -- ./app
  cloister launch --tee sev --secret-file key --data customers.csv -- ./app
  cloister launch --tee sev --step -- ./app                      one message at a time, with Enter
  cloister launch --tee sev-snp --tamper changed-program --secret-file key -- ./app
  cloister launch --tee tdx --json --secret-file key -- ./app

machines: {", ".join(MEASURED)}

what the host may do (--tamper):
  sev, sev-es   {", ".join(SevTampering)}
  the others    {", ".join(Tampering)}

without --secret-file, the secret is asked for, or is the first line of standard input.

exit status: the program's own, or, when it was never started:
    2  the command line cannot work
    5  somebody refused: the secret stayed with its owner, or is of no use to whoever has it
  121  the program is no static program for that machine, or does not fit into it
  126  the program may not be executed    127  it was not found
"""
TITLES = {
    Stage.DEPLOY: "the owner asks the host to deploy",
    Stage.LAUNCH: "the host has the program encrypted, measured and launched",
    Stage.MEASURE: "what was launched is measured, and the owner judges it",
    Stage.SECRET: "the owner sends the secret",
}


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister launch`."""
    parser.epilog = EPILOG
    parser.usage = "cloister launch --tee NAME [options] [--] PROGRAM [ARGS...]"
    parser.add_argument("--tee", metavar="NAME", required=True, help="the kind of machine")
    parser.add_argument("--tamper", metavar="NAME", default="none", help="let the host do this; see below")
    parser.add_argument("--step", action="store_true", help="wait for Enter after each message")
    parser.add_argument("--secret-file", metavar="FILE", type=Path, help="what the owner sends, byte for byte")
    parser.add_argument("--secret-name", metavar="NAME", default="secret", help="its file in /run/secrets (secret)")
    parser.add_argument(
        "--data",
        metavar="FILE",
        type=Path,
        help="deploy this too, encrypted; the program finds /run/secrets/data",
    )
    parser.add_argument("--keys", metavar="DIR", type=Path, help="keys of the emulated manufacturers")
    parser.add_argument("--memory", type=int, default=64, metavar="MIB", help="DRAM in MiB (64)")
    parser.add_argument(
        "--json", action="store_true", help="each message as a line of JSON on stdout; the program prints to stderr"
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="PROGRAM [ARGS...]", help="the program's path and its arguments"
    )


def run(args: argparse.Namespace) -> int:
    """The dialogue, and the program's run if everybody agrees."""
    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not words:
        raise UsageError("no program given; for example: cloister launch --tee sev --secret-file key -- ./app")
    if args.tee not in MEASURED:
        raise UsageError(f"{args.tee} has no attested launch; these have one: {', '.join(MEASURED)}")
    tampering = tampering_of(args)
    kind, image = kind_of(args.tee), load_program(located(words[0]))
    secret = Secret(file_name(args), secret_of(args))
    data = content_of(args.data) if args.data else b""
    keystore = Keystore(args.keys) if args.keys else Keystore()
    shape = Shape(memory=args.memory * (1 << 20) // PAGE)
    machine = kind.make(shape, terminal_of(args), keystore, debug=tampering is Tampering.DEBUG)
    try:
        launch = launch_of(kind, machine, image, secret, tampering, data)
        talk(launch, args)
        return started(machine, words) if launch.accepted else REFUSED
    except MemoryError as error:
        raise CannotEnclave(f"{words[0]} does not fit into this machine: {error}; give it more --memory") from error
    finally:
        machine.close()


def tampering_of(args: argparse.Namespace) -> Tampering | SevTampering:
    """What --tamper names for this machine. UsageError with what there is."""
    names: type[Tampering | SevTampering] = SevTampering if args.tee in SEV else Tampering
    if args.tamper not in list(names):
        raise UsageError(f"--tamper {args.tamper}: with {args.tee} the host can do {', '.join(names)}")
    return names(args.tamper)


def file_name(args: argparse.Namespace) -> str:
    """The secret's name. UsageError if it cannot be a file's, or is that of the data."""
    name: str = args.secret_name
    if not name or "/" in name or name in {".", ".."}:
        raise UsageError(f"--secret-name {name!r} is no file name")
    if args.data and name == DATA:
        raise UsageError(f"--secret-name {name} is the name of what --data gives; choose another")
    return name


def content_of(path: Path) -> bytes:
    """A file of the owner's. UsageError if it cannot be read, or is empty."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if not content:
        raise UsageError(f"{path} is empty: there is nothing to protect")
    return content


def secret_of(args: argparse.Namespace) -> bytes:
    """The secret, from wherever it comes. UsageError without one."""
    if args.secret_file is not None:
        return content_of(args.secret_file)
    secret = getpass.getpass("the owner's secret: ").encode() if os.isatty(0) else line_of_input()
    if not secret:
        raise UsageError("the owner's secret is empty: give --secret-file, or a line on standard input")
    return secret


def line_of_input() -> bytes:
    """One line, and not a byte more: the rest is the program's."""
    line = b""
    while (byte := os.read(0, 1)) not in {b"", b"\n"}:
        line += byte
    return line


def terminal_of(args: argparse.Namespace) -> Terminal:
    """The program's terminal."""
    output = 2 if args.json else 1
    return sealed_terminal(
        lambda size: os.read(0, size),
        lambda data: write_all(output, data),
        lambda data: write_all(2, data),
        directory=Path.cwd(),
        interactive=os.isatty(0) and os.isatty(output),
    )


def launch_of(
    kind: Kind,
    machine: Machine,
    image: Image,
    secret: Secret,
    tampering: Tampering | SevTampering,
    data: bytes,
) -> Launch | SevLaunch:
    """The dialogue of this machine. CannotEnclave if the program is for another instruction set."""
    vouching = machine.vouching(datetime.now(UTC))
    if isinstance(tampering, SevTampering):
        owner = sev_owner(kind.name, image, secret, vouching, with_data=bool(data))
        return SevLaunch(machine, image, owner, secret, tampering, data)
    return Launch(machine, image, Owner(kind.name, image, secret, vouching, data), tampering)


def talk(launch: Launch | SevLaunch, args: argparse.Namespace) -> None:
    """Show every message as it comes."""
    stage: Stage | None = None
    shows: Callable[[Step], None] = show_json if args.json else show
    if not args.json:
        print(WARNING)
    for step in launch.steps():
        if step.stage is not stage and not args.json:
            print(f"\n{int(step.stage)}. {TITLES[step.stage]}")
        stage = step.stage
        shows(step)
        sys.stdout.flush()
        if args.step:
            print("   [Enter]", end="", file=sys.stderr, flush=True)
            line_of_input()
    if args.json:
        print(json.dumps({"accepted": launch.accepted}), flush=True)
    elif launch.accepted:
        print("\nThe program runs.\n", flush=True)
    else:
        print("\nThe launch ends here: the program does not run, and nobody but its owner can read the secret.")


def show(step: Step) -> None:
    """One message, for people."""
    width = width_of_terminal()
    size = f", {len(step.message):,} bytes" if step.message else ""
    print(f"\n   {step.sender} -> {step.receiver}: {step.name}{size}")
    for label, value in step.fields.items():
        print_lines(label, value, width)
    print_lines("checks", step.check, width)
    if step.expected:
        print_lines("expected", step.expected, width)
        print_lines("actual", step.actual, width)
    if step.failure:
        print_lines("REFUSED", step.failure, width)


def print_lines(label: str, value: str, width: int) -> None:
    """A label and its value; a long label has a line of its own."""
    if len(label) > LABEL:
        lines = [f"      {label}: {value}"] if len(label) + len(value) < width - 8 else []
        print("\n".join(lines or [f"      {label}:", *prose(value, width=width, first=" " * 9, later=" " * 9)]))
        return
    print("\n".join(labelled(label, value, width=width, indent=6, column=LABEL + 8)))


LABEL = 19


def show_json(step: Step) -> None:
    """One message, for programs: `message` in hexadecimal is left out, `size` are its bytes."""
    document: dict[str, Any] = {
        "stage": int(step.stage), "sender": str(step.sender), "receiver": str(step.receiver), "name": step.name,
        "size": len(step.message), "fields": dict(step.fields), "check": step.check, "ok": step.ok,
        "expected": step.expected, "actual": step.actual, "failure": step.failure,
    }  # fmt: skip
    print(json.dumps(document))


def started(machine: Machine, words: list[str]) -> int:
    """Run the program to its end."""
    machine.start(words, os.environ)
    ending = machine.run()
    if ending.stopped:
        print(f"cloister: the machine stopped the program: {ending.stopped}", file=sys.stderr)
    return ending.status
