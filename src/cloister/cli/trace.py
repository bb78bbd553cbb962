"""List every system call of a program and its children: arguments, secrets carried, metadata that stays visible.

Names, sizes, times and destinations are seen even where contents are closed to the administrator.

Two engines do this, and the choice is reported. ptrace reads buffers while the program stands still. A program in
the software enclave does not allow ptrace; there the kernel's own tracepoints are used (root only).
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TextIO

from cloister.errors import UsageError
from cloister.observe.trace import (
    Call,
    EngineName,
    Event,
    Options,
    Stop,
    Trace,
    Tracer,
    Unfinished,
    call_line,
    event_line,
    summary_lines,
    trace_document,
)

__all__ = ["build_parser", "run"]

CARRIED, COULD_NOT_TELL = 10, 16
UNKNOWN = 3
STDOUT, STDERR = 1, 2
PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
# The terminal sends these to the program as well; the tracer must outlive them.
FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
WAIT_SECONDS = 10.0

EPILOG = """
examples:
  cloister trace -- ls /etc                              trace a program; lines go to standard error
  cloister trace -o calls.txt -- ./app                   lines go to a file; the terminal is the program's
  cloister trace --secret-file pw -- ./app < pw          and mark the calls that carry what is in the file pw
  cloister trace --summary -- make                       only the summary
  cloister trace -p 4711 --timeout 10                    a running process and its children, for ten seconds
  cloister trace --json -o t.json -- ./app               one JSON document
  cloister trace -- cloister run -- ./app                what stays visible of a program in the software enclave

Standard input and output are the program's. With --json and no -o, the document is what goes to standard output,
and the program's output goes to standard error. A secret is shown as its label and length, never as bytes; prefer
--secret-file, because --secret TEXT can be read by every user in the list of processes.
Ctrl-C goes to the program; with -p it ends the trace and the process goes on.

exit codes:
  the program's own; 128+N when signal N killed it. With -p: 0, also when the process ends.
  With --exit-status trace: 0 no call carried a secret; 10 at least one did; 16 could not tell, because what some calls
  moved was not looked at (the summary says which) or no secret was given to look for.
  2 the command line cannot work; 3 the process cannot be traced; 126 not executable; 127 no such program
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister trace`."""
    parser.epilog = EPILOG
    parser.usage = "cloister trace [options] [--] PROGRAM [ARGS ...]\n       cloister trace [options] -p PID"
    target_options(parser.add_argument_group("what to trace"))
    secret_options(
        parser.add_argument_group("secrets to look for, in raw, UTF-16, base64, hex, percent-encoded and reversed form")
    )
    output_options(parser.add_argument_group("output"))
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="PROGRAM", help=argparse.SUPPRESS)


def target_options(group: argparse._ArgumentGroup) -> None:
    """What to observe, how, for how long."""
    group.add_argument("-p", "--pid", type=int, metavar="PID", help="a running process, its threads and descendants")
    group.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="end the trace; a program started here is killed"
    )
    group.add_argument(
        "--engine",
        choices=["auto", *(name.value for name in EngineName)],
        default="auto",
        help="how to observe (default auto: ptrace, or tracepoints where ptrace is refused)",
    )


def secret_options(group: argparse._ArgumentGroup) -> None:
    """What to mark."""
    group.add_argument("--secret", metavar="TEXT", action="append", default=[], help="may be given several times")
    group.add_argument("--secret-file", metavar="FILE", action="append", default=[], help="without its last newline")
    group.add_argument(
        "--secret-stdin", action="store_true", help="the first line of standard input; the rest is the program's"
    )


def output_options(group: argparse._ArgumentGroup) -> None:
    """Where the trace goes, and how much of it."""
    group.add_argument("-o", "--output", metavar="FILE", help="write here instead of to standard error")
    group.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    group.add_argument("--summary", action="store_true", help="only the summary, no line for each call")
    group.add_argument("-t", "--times", action="store_true", help="show when each call was made and how long it took")
    group.add_argument(
        "-s", "--shown", type=int, default=32, metavar="N", help="bytes shown of each buffer (default 32)"
    )
    group.add_argument(
        "--exit-status",
        choices=["program", "trace"],
        default="program",
        help="exit as the program did (default), or with what the trace found",
    )


def run(args: argparse.Namespace) -> int:
    """Trace and report; returns the exit code."""
    words = args.program[1:] if args.program[:1] == ["--"] else args.program
    if bool(words) == (args.pid is not None):
        raise UsageError("give either a program after `--` or a running process with -p PID")
    with ExitStack() as stack:
        out: TextIO = sys.stderr
        if args.output:
            out = stack.enter_context(Path(args.output).open("w", encoding="utf-8", errors="backslashreplace"))
        printer = Printer(out, times=args.times)
        tracer = prepare(args, words, printer)
        if not args.json:
            printer.line(f"tracing with {tracer.choice.engine.value}: {tracer.choice.reason}")
        trace = observe(tracer, args.timeout, attached=args.pid is not None)
        report(trace, args, printer)
    return exit_code(trace, args)


class Printer:
    """Writes lines as records come. The task's number is shown from the second task on."""

    def __init__(self, out: TextIO, *, times: bool) -> None:
        self._out = out
        self._times = times
        self._first = 0
        self._several = False

    def call(self, call: Call) -> None:
        """A call."""
        self.line(call_line(call, task=self.several(call.tid), times=self._times))

    def event(self, event: Event) -> None:
        """A signal or an end."""
        self.line(event_line(event, task=self.several(event.tid), times=self._times))

    def line(self, text: str) -> None:
        """One line, at once."""
        self._out.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
        self._out.flush()

    def lines(self, texts: Iterable[str]) -> None:
        """Several lines."""
        for text in texts:
            self.line(text)

    def several(self, tid: int) -> bool:
        """Whether more than one task has been seen."""
        self._first = self._first or tid
        self._several = self._several or tid != self._first
        return self._several


def prepare(args: argparse.Namespace, words: list[str], printer: Printer) -> Tracer:
    """The tracer that the command line describes."""
    secrets = secrets_of(args)
    lines = not (args.json or args.summary)
    options = Options(
        engine=None if args.engine == "auto" else EngineName(args.engine),
        on_call=printer.call if lines else None,
        on_event=printer.event if lines else None,
        keep=args.json,
        shown=max(args.shown, 0),
    )
    if args.pid is not None:
        return Tracer.process(args.pid, secrets=secrets, options=options)
    stdout = STDERR if args.json and not args.output else None
    return Tracer.program(words, secrets=secrets, stdout=stdout, options=options)


def secrets_of(args: argparse.Namespace) -> dict[str, bytes]:
    """The secrets by label."""
    secrets = {}
    for index, text in enumerate(args.secret, 1):
        secrets["secret" if index == 1 else f"secret-{index}"] = os.fsencode(text)
    for name in args.secret_file:
        label = Path(name).name
        if label in secrets:
            raise UsageError(f"--secret-file {name}: another secret is called {label} already; rename one of the two")
        try:
            secrets[label] = Path(name).read_bytes().removesuffix(b"\n")
        except OSError as error:
            raise UsageError(f"--secret-file {name}: {error.strerror}; give a readable file") from error
    if args.secret_stdin:
        secrets["stdin"] = first_line()
    return secrets


def first_line() -> bytes:
    """The first line of standard input, read byte by byte so that the program gets all that follows."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


def observe(tracer: Tracer, timeout: float | None, *, attached: bool) -> Trace:
    """Trace to the end, with the signals that arrive here meaning what the user expects."""

    def received(number: int, _frame: FrameType | None) -> None:
        """Pass a signal on, or let the process go."""
        if attached:
            tracer.stop(Stop.DETACH)
        elif number in PASSED_ON and tracer.pid:
            os.kill(tracer.pid, number)

    former = {number: signal.signal(number, received) for number in handled()}
    try:
        tracer.start()
        return tracer.wait(timeout)
    except TimeoutError:
        tracer.stop(Stop.DETACH if attached else Stop.KILL)
        return tracer.wait(WAIT_SECONDS)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def handled() -> list[signal.Signals]:
    """The signals to handle; one that was ignored from the start (nohup) stays ignored, for the program too."""
    return [number for number in (*PASSED_ON, *FROM_TERMINAL) if signal.getsignal(number) is not signal.SIG_IGN]


def report(trace: Trace, args: argparse.Namespace, printer: Printer) -> None:
    """The JSON document, or summary and notes."""
    if args.json:
        document = json.dumps(trace_document(trace), ensure_ascii=True)
        if args.output:
            printer.line(document)
        else:
            sys.stdout.write(document + "\n")
        return
    printer.line("")
    printer.lines(summary_lines(trace.summary))
    printer.lines(f"note: {note}" for note in trace.notes)


def exit_code(trace: Trace, args: argparse.Namespace) -> int:
    """See the epilog of the help."""
    if args.exit_status == "trace":
        return found_code(trace)
    if args.pid is not None:
        return 0
    return UNKNOWN if isinstance(trace.status, Unfinished) else trace.status


def found_code(trace: Trace) -> int:
    """Whether a call carried a secret; "none did" is an answer only if nothing went by unseen."""
    if trace.summary.carried:
        return CARRIED
    return COULD_NOT_TELL if trace.summary.leaves_doubt or not trace.complete else 0
