"""Run the class exercise: a C program holds a secret; dump its memory natively and in the software enclave.

The program is compiled with this machine's compiler and run both ways. While it waits with the secret in memory,
its memory is dumped, its system calls are traced and the administrator's tools are tried; everything is put
side by side in an HTML report.

`list`, `start`, `say`, `hint`, `check` and `stop` are for seven exercises on emulated machines: you are the
administrator, attack a program in a TEE, then see another TEE stop the same. What the machines saw happen decides.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from cloister.app.lab.experiment import run_lab
from cloister.app.lab.interactive import Stopped, walk
from cloister.errors import UsageError
from cloister.observe.report import ArmRecord, LabRecord, Verdict, as_json, render
from cloister.quantities import counted, human_size

__all__ = ["EXIT_CODES", "build_parser", "run"]

ACTIONS = ("list", "start", "say", "hint", "check", "stop")

EXIT_CODES = {Verdict.PROTECTED: 0, Verdict.LEAKED: 10, Verdict.INCONCLUSIVE: 16}

EPILOG = """examples:
  sudo cloister lab                          the whole exercise; writes lab-report.html
  sudo cloister lab --report /tmp/lab.html   the same, report elsewhere
  sudo cloister lab --json > lab.json        the observations as data as well
  sudo cloister lab --console                the same with a shielded console: its trace shows ciphertext
  cloister lab --interactive                 do it yourself, in two terminals, step by step
  cloister lab list                          the seven exercises on emulated machines
  cloister lab start 3                       start the third: explains it, and is the owner's terminal
  cloister lab say 3 sev w                   the owner types `w` to the program in the SEV machine
  cloister lab hint 3                        a hint; `hint 3 2` is the next
  cloister lab check 1 --answer PIN-...      what is done, what is missing
  cloister lab stop 3                        end its machines

exit codes:
   0  protected: the secret was found natively and not in the enclave, and the hash was right both times
  10  leaked: the secret was read out of the enclave
  16  inconclusive: the experiment shows nothing; the reason and the fix are printed
   2  the command line is wrong, or the report cannot be written

exit codes of check:
   0  done: all that the exercise demands was seen to happen
  10  not yet; what is missing is printed
   2  the exercise is not running, or there is no such exercise
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of `cloister lab`."""
    parser.epilog = EPILOG
    parser.usage = "cloister lab [options] [list | start N | say N MACHINE LINE | hint N [K] | check N | stop N]"
    parser.add_argument("action", nargs="?", choices=ACTIONS, metavar="ACTION", help="for the exercises: see above")
    parser.add_argument("words", nargs="*", metavar="N", help="the exercise's number, and what the action takes")
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("lab-report.html"),
        metavar="FILE",
        help="where to write the report (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="also print everything that was observed as JSON on stdout")
    parser.add_argument(
        "--interactive",
        action="store_true",
        help="walk through the exercise in two terminals; makes ./cloister-lab, writes no report",
    )
    parser.add_argument(
        "--console",
        action="store_true",
        help="trace the enclaved program with a shielded console: the secret is typed at `cloister attach`",
    )
    exercise_options(parser.add_argument_group("exercises on emulated machines (needs the extra cloister[emulate])"))


def exercise_options(group: "argparse._ArgumentGroup") -> None:
    """Options of the actions."""
    group.add_argument("--answer", metavar="TEXT", help="check: the secret that you found")
    group.add_argument("--background", action="store_true", help="start: return when the machines are running")
    group.add_argument("--folder", metavar="DIR", type=Path, help="the exercise's folder (default: ./cloister-lab-N)")
    group.add_argument("--keys", metavar="DIR", help="start, check: keys of the emulated manufacturers")
    group.add_argument(
        "--unsafe-outside", action="store_true", help="start: machines outside the software enclave; root reads them"
    )


def run(args: argparse.Namespace) -> int:
    """Run the lab, or one action of an exercise, and return its exit code."""
    if args.action is not None:
        from cloister.cli import _lab_exercises  # noqa: PLC0415 - the emulator is an extra

        return _lab_exercises.run(args)
    if args.interactive:
        if args.json or args.console:
            raise UsageError(
                "--interactive talks to a person and has no JSON and no --console; leave one of the two out"
            )
        return EXIT_CODES[walk(Path("cloister-lab"), Person())]
    record = run_lab(ProgressLine(), console=args.console)
    print(file=sys.stderr)
    write_report(args.report, record)
    print(summary(record, args.report), file=sys.stderr)
    if args.json:
        json.dump(as_json(record), sys.stdout, indent=2)
        print()
    return EXIT_CODES[record.verdict]


class ProgressLine:
    """Shows the current step: on a terminal one line that is written over, elsewhere a line per step."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._head, self._end = ("\r\x1b[K", "") if sys.stderr.isatty() else ("", "\n")

    def __call__(self, step: str) -> None:
        """Show `step` and the seconds since the start."""
        seconds = time.monotonic() - self._started
        print(f"{self._head}[{seconds:4.1f} s] {step} …", end=self._end, file=sys.stderr, flush=True)


class Person:
    """The person at this terminal. Prose goes to standard error, as everywhere in Cloister."""

    def say(self, *lines: str) -> None:
        """Show lines of text."""
        print("\n".join(lines), file=sys.stderr, flush=True)

    def ask(self, prompt: str) -> None:
        """Wait for Enter; Stopped on `q` or the end of input."""
        print(f"> {prompt} (or q to stop): ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() == "q":
            raise Stopped


def write_report(path: Path, record: LabRecord) -> None:
    """Write the HTML report; UsageError if that is not possible."""
    try:
        path.write_text(render(record), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write the report to {path}: {error.strerror}; name another file with --report"
        ) from error


def summary(record: LabRecord, report: Path) -> str:
    """What a person wants to know at the end, in a few lines."""
    return "\n".join(
        [
            arm_line(record.native),
            arm_line(record.enclaved),
            "",
            f"{record.verdict.value.upper()} (mode: {record.mode}): {record.reason}",
            f"Report: {report.absolute()}",
        ]
    )


def arm_line(arm: ArmRecord) -> str:
    """One arm in one line: hash, copies found, bytes looked at."""
    if arm.absent:
        return f"  {arm.name:<17} did not run: {arm.absent}"
    found = f"found {counted(len(arm.hits), 'time')}" if arm.hits else "not found"
    searched = f"{human_size(arm.read_bytes)} readable, {human_size(arm.unreadable_bytes)} unreadable"
    return f"  {arm.name:<17} hash {arm.hash_shown or '(none)'}   secret {found:<15} {searched}"
