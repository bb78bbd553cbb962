"""Run a program in the software enclave.

Data, heap, stacks and the loader's own state are secret memory; text and read-only data are sealed; a guard pair keeps
ptrace shut. Exit status, signals, standard streams and the terminal are the program's own. If this machine cannot
protect the program, it is not run.
"""

import argparse
import fcntl
import os
import signal
import sys

from cloister.errors import UsageError
from cloister.launch.command import RuntimeOptions, enclave_command

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  cloister run redis-server --port 7000
  cloister run -- bash -c 'echo $$; sleep 60'
  cloister run --report counters.jsonl -- python3 job.py

exit status: the program's own, or, when it was never started:
  120  this machine cannot protect it (the message says what is missing and the command that fixes it)
  121  the program cannot be enclaved (32-bit, or not an ELF program or #! script)
  125  the runtime failed    126  not executable    127  not found

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
    parser.add_argument("--quiet", action="store_true", help="no notice on the terminal")
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


def run(args: argparse.Namespace) -> int:
    """Replace this process by the runtime; returns only by raising."""
    options = RuntimeOptions(
        start_fd=args.start_fd, checkpoint=args.checkpoint, report=args.report, unsafe_no_guard=args.unsafe_no_guard
    )
    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not words:
        raise UsageError("no program given; for example: cloister run -- redis-server --port 7000")
    command = enclave_command(words[0], words[1:], options)
    if not args.quiet and sys.stderr.isatty():
        print(notice(guarded=not args.unsafe_no_guard), file=sys.stderr, flush=True)
    if args.start_fd is not None:
        fcntl.fcntl(args.start_fd, fcntl.F_SETFD, 0)  # not close-on-exec
    undo_interpreter_start()
    os.execv(command[0], command)


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


def notice(*, guarded: bool) -> str:
    """One line for a person at a terminal: the mode, and who can still read the program."""
    readers = "root with perf, BPF or a pidfd_getfd race, a kernel module, the hypervisor"
    if not guarded:
        readers = f"root with ptrace, {readers.removeprefix('root with ')}"
    return f"cloister: software enclave; {readers} can still read this"
