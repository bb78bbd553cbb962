"""Run a program in the software enclave, or in an emulated TEE inside it.

Data, heap, stacks and the loader's own state are secret memory; text and read-only data are sealed; a guard pair keeps
ptrace shut. Exit status, signals, standard streams and the terminal are the program's own. If this machine cannot
protect the program, it is not run.

With --broker the program, which stays as it is, gets arguments, variables and files from a key broker (`cloister
serve`, `cloister session`): encrypted to a key inside the enclave, after the broker has verified what runs there. Only
files that were measured beforehand can be code then.

With --console the program's terminal, or its standard streams, are those of one person at `cloister attach`, who
verifies first what runs here. The host carries ciphertext.

With --tee the program, which must be linked statically, runs in an emulated machine with that TEE: launched and
measured as the vendor's firmware does it, memory kept as that hardware keeps it, in a file of ciphertext (--dram) that
you may look at. The emulator itself runs in the software enclave. It protects as well as that, and no better.

With --tee sgx --with FRAMEWORK the framework that is installed here signs the program and runs it, on real SGX: from
--manifest FILE, which is the framework's own file or any that `cloister convert` reads, or from the program alone.
Written to the frameworks' documentation, not yet run on hardware.
"""

import argparse
import fcntl
import os
import signal
import sys
from collections.abc import Sequence

from cloister.errors import UsageError
from cloister.launch.command import RuntimeOptions, enclave_command, find_program

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  cloister run redis-server --port 7000
  cloister run -- bash -c 'echo $$; sleep 60'
  cloister run --report counters.jsonl -- python3 job.py
  cloister run --shield shield.toml -- sqlite3 /data/app.db   /data is a volume: ciphertext on the disk
  cloister run --broker https://broker:8443 --ca broker.pem --session team/app -- ./app
  cloister run --console ./app.console -- ./app            its terminal is that of `cloister attach ./app.console`
  cloister run --tee sgx -- ./app                          an emulated SGX machine
  cloister run --tee sev --dram dram.bin -- ./app          then look for your secret in dram.bin
  cloister run --tee sgx --with gramine -- ./app           real SGX, by the Gramine that is installed
  cloister run --tee sgx --with ego --manifest enclave.json --dry-run -- server       only show the commands

exit status: the program's own, or, when it was never started:
  120  this machine cannot protect it (the message says what is missing and the command that fixes it)
  121  the program cannot be enclaved (32-bit, or not an ELF program or #! script)
  122  the broker did not release its secrets: denied, not attested, or undecided
  125  the runtime failed, or a framework's tool    126  not executable    127  not found

who can still read the program: root with perf, BPF or a pidfd_getfd race (LIMITATIONS.md), a kernel module, the
hypervisor, hardware access.
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cloister run`."""
    parser.epilog = EPILOG
    parser.usage = "cloister run [options] [--] PROGRAM [ARGS...]"
    parser.add_argument("--report", metavar="FILE", help="append counters of each process to FILE, one JSON line each")
    parser.add_argument(
        "--unsafe-no-guard",
        action="store_true",
        help="do not guard against ptrace: root can then force the program to write out its memory",
    )
    parser.add_argument(
        "--shield",
        metavar="FILE",
        help="which files, ports, destinations and console are shielded, and how (docs/formats/shield.md)",
    )
    parser.add_argument("--quiet", action="store_true", help="no notice on the terminal, and none at the end")
    attested_options(parser.add_argument_group("secrets from a broker"))
    console_options(parser.add_argument_group("a shielded console"))
    emulated_options(parser.add_argument_group("emulated TEEs (static programs; needs the extra cloister[emulate])"))
    framework_options(parser.add_argument_group("SGX hardware, by a framework that is installed (--tee sgx --with)"))
    tools = parser.add_argument_group("for other tools (cloister prove uses both)")
    tools.add_argument(
        "--start-fd",
        type=int,
        metavar="N",
        help="read the program's argv and environment from descriptor N instead of from this process",
    )
    tools.add_argument(
        "--checkpoint", metavar="SOCKET", help="ask the observer on this unix socket before each start and exit"
    )
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="PROGRAM [ARGS...]",
        help="path, or name to look up in PATH, and its arguments, passed on unchanged",
    )


def attested_options(group: "argparse._ArgumentGroup") -> None:
    """Which broker, what for, and what may be code."""
    group.add_argument("--broker", metavar="URL", help="get arguments, environment and files from this broker")
    group.add_argument("--session", metavar="NAME", help="the session that says which program gets which secrets")
    group.add_argument("--service", metavar="NAME", help="its service (default: the only one)")
    group.add_argument("--ca", metavar="FILE", help="believe these authorities only (default: the system's)")
    group.add_argument(
        "--attest",
        choices=("background", "passport"),
        help="background: the broker has the evidence verified (default); passport: --verifier does, first",
    )
    group.add_argument("--verifier", metavar="URL", help="with --attest passport: who verifies the evidence")
    group.add_argument(
        "--manifest",
        metavar="FILE",
        help="the files that may be code beside the program; without --broker too (default: what its loader lists). "
        "With --with: the program's configuration, in any format of `cloister convert`",
    )
    group.add_argument(
        "--broker-key", metavar="KEY", help="as `cloister measure --broker-key`: take secrets from this broker only"
    )
    group.add_argument("--host-key", metavar="FILE", help="this host's attestation key (default: `cloister host-key`)")
    group.add_argument("--flow", metavar="FILE", help="append each message to FILE: its kind, size and digest")


def console_options(group: "argparse._ArgumentGroup") -> None:
    """Where the person at `cloister attach` is waited for."""
    group.add_argument(
        "--console",
        metavar="ADDRESS",
        help="wait at ADDRESS (a unix socket's path, or 127.0.0.1:PORT) for `cloister attach`: the program's standard "
        "streams, or its terminal, are that person's, encrypted",
    )
    group.add_argument(
        "--unsafe-listen-anywhere", action="store_true", help="with --console: ADDRESS may be one that others reach"
    )


def emulated_options(group: "argparse._ArgumentGroup") -> None:
    """Which machine, and how large."""
    group.add_argument(
        "--tee",
        metavar="NAME",
        help="sgx, sgx-scalable, sme, sev, sev-es, sev-snp, tdx, trustzone, cca, keystone; or native, for comparison",
    )
    group.add_argument("--dram", metavar="FILE", help="keep the machine's DRAM in FILE (default: a file without name)")
    group.add_argument("--memory", type=int, default=256, metavar="MIB", help="DRAM in MiB (256)")
    group.add_argument("--frames", type=int, default=2048, metavar="N", help="on-die memory, pages of 4 KiB (2048)")
    group.add_argument("--keys", metavar="DIR", help="keys of the emulated manufacturers (default: the user's)")
    group.add_argument(
        "--host", metavar="SOCKET", help="listen there for the machine's administrator (`cloister host`)"
    )
    group.add_argument("--unsafe-debug", action="store_true", help="launch in the TEE's debug mode: its host may read")
    group.add_argument(
        "--unsafe-plain-console", action="store_true", help="do not seal the terminal's line: the host reads along"
    )
    group.add_argument(
        "--unsafe-outside", action="store_true", help="run the emulator outside the software enclave: root reads it"
    )


def framework_options(group: "argparse._ArgumentGroup") -> None:
    """Which framework, and what it signs with."""
    group.add_argument("--with", dest="framework", metavar="NAME", help="gramine, scone, ego, occlum")
    group.add_argument("--sign-key", metavar="FILE", help="sign the enclave with this key, RSA-3072 with exponent 3")
    group.add_argument("--folder", metavar="DIR", help="make files there (default: ./PROGRAM.FRAMEWORK)")
    group.add_argument("--dry-run", action="store_true", help="show the files and commands, and what is missing here")
    group.add_argument(
        "--unsafe-simulation",
        action="store_true",
        help="without SGX, and without protection: gramine-direct, OE_SIMULATION=1, SGX_MODE=SIM, SCONE_MODE=sim",
    )


def run(args: argparse.Namespace) -> int:
    """Hand over to a framework (--with), or replace this process by the runtime; the latter returns only by raising."""
    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not words:
        raise UsageError("no program given; for example: cloister run -- redis-server --port 7000")
    if args.framework is not None:
        from cloister.cli._run_framework import run_with  # noqa: PLC0415 - nothing of it is needed for an ordinary run

        return run_with(args, words)
    if named := framework_only(args):
        raise UsageError(f"{named} is for frameworks on SGX hardware, and --with NAME chooses one; nothing was run")
    return enclaved(args, words)


def enclaved(args: argparse.Namespace, words: list[str]) -> int:
    """Replace this process by the runtime, which runs the program, or the emulator that does."""
    options = RuntimeOptions(
        start_fd=args.start_fd, checkpoint=args.checkpoint, report=args.report, unsafe_no_guard=args.unsafe_no_guard
    )
    if args.tee is not None:
        if args.start_fd is not None:
            raise UsageError(
                "--start-fd is for programs without --tee: give an emulated TEE its secrets by standard input"
            )
        words = emulated_words(args, words)
    elif named := emulated_only(args):
        raise UsageError(f"{named} is for emulated machines, and --tee NAME chooses one; nothing was run")
    shield = shield_of(args)
    attest(args, words[0], options)
    find_program(words[0])  # what is not there is said before anything else is done
    if args.tee is not None:  # before the notice: whoever has read it may type Ctrl-C
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until the emulator has begun: no traceback
    if not args.quiet and not args.console and os.isatty(2):
        print(notice_of(args), file=sys.stderr, flush=True)
    undo_interpreter_start()
    if shield:
        from cloister.cli._run_shield import start_with  # noqa: PLC0415 - likewise

        options.start_fd, options.shield = start_with(shield, words), True
    if options.start_fd is not None:
        fcntl.fcntl(options.start_fd, fcntl.F_SETFD, 0)  # not close-on-exec
    command = words if args.unsafe_outside else enclave_command(words[0], [] if shield else words[1:], options)
    os.execv(command[0], command)


def framework_only(args: argparse.Namespace) -> str:
    """The first option given that means nothing without --with: --unsafe-simulation would seem to be obeyed."""
    for name in ("sign_key", "folder", "dry_run", "unsafe_simulation"):
        if getattr(args, name):
            return f"--{name.replace('_', '-')}"
    return ""


def shield_of(args: argparse.Namespace) -> bytes:
    """The shield block that --shield asks for; nothing without it."""
    if args.shield is None:
        return b""
    from cloister.cli._run_shield import shield_block  # noqa: PLC0415 - nothing of it is needed for an ordinary run

    return shield_block(args)


def attest(args: argparse.Namespace, program: str, options: RuntimeOptions) -> None:
    """Start what speaks for the program outside, if something shall; nothing of it is needed for an ordinary run."""
    if args.console:
        from cloister.cli._run_console import console  # noqa: PLC0415

        console(args, program, options)
    elif args.unsafe_listen_anywhere:
        raise UsageError("--unsafe-listen-anywhere is for --console, which says where; nothing was run")
    elif args.broker or args.manifest or attested_only(args):
        from cloister.cli._run_attested import attested  # noqa: PLC0415

        attested(args, program, options)


def emulated_only(args: argparse.Namespace) -> str:
    """The first option given that means nothing without --tee: --unsafe-outside would leave the program unprotected."""
    for name in ("unsafe_outside", "unsafe_debug", "unsafe_plain_console", "dram", "host", "keys"):
        if getattr(args, name):
            return f"--{name.replace('_', '-')}"
    return ""


def attested_only(args: argparse.Namespace) -> str:
    """The first option given that means nothing without --broker."""
    for name in ("session", "service", "ca", "attest", "verifier", "broker_key", "host_key", "flow"):
        if getattr(args, name) is not None:
            return f"--{name.replace('_', '-')}"
    return ""


def undo_interpreter_start() -> None:
    """Take back what the Python interpreter changed of this process at its start: the program starts as natively.

    It ignores SIGPIPE and SIGXFSZ (Python/pylifecycle.c), and sets LC_CTYPE where no locale is given (PEP 538).
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if os.environ.get("LC_CTYPE") == "C.UTF-8":
        with open("/proc/self/environ", "rb") as given:
            if b"LC_CTYPE=" not in given.read():
                del os.environ["LC_CTYPE"]


def emulated_words(args: argparse.Namespace, words: Sequence[str]) -> list[str]:
    """The command line of the emulator for this program."""
    from cloister.emulate.inside import Request  # noqa: PLC0415 - nothing of it is needed for an ordinary run

    request = Request(
        tee=args.tee,
        memory=args.memory,
        frames=args.frames,
        dram=os.path.abspath(args.dram) if args.dram else "",
        keys=os.path.abspath(args.keys) if args.keys else "",
        host=os.path.abspath(args.host) if args.host else "",
        debug=args.unsafe_debug,
        unsafe_plain_console=args.unsafe_plain_console,
        quiet=args.quiet,
    )
    return request.command(words)


def notice_of(args: argparse.Namespace) -> str:
    """The notice for these options."""
    if args.tee is not None and args.unsafe_outside:
        return f"cloister: emulated TEE ({args.tee}) outside the software enclave; root reads the emulator's memory"
    return notice(guarded=not args.unsafe_no_guard, tee=args.tee)


def notice(*, guarded: bool, tee: str | None = None) -> str:
    """One line for a person at a terminal: the mode, and who can still read the program."""
    readers = "root with perf, BPF or a pidfd_getfd race, a kernel module, the hypervisor"
    if not guarded:
        readers = f"root with ptrace, {readers.removeprefix('root with ')}"
    mode = "software enclave" if tee is None else f"emulated TEE ({tee}) in the software enclave"
    return f"cloister: {mode}; {readers} can still read this"
