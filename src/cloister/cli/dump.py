"""Dump what an administrator can read of a running program: an ELF core per process, and a map of what was refused.

The whole program is dumped: the process, its descendants, the guards of its software enclave. The cores open in
gdb; the map tells for each mapping how many bytes were readable, and why the others were not.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from cloister.errors import UsageError
from cloister.observe.describe import dump_document, dump_lines
from cloister.observe.dump import DumpOptions, ProcessDump, dump_family
from cloister.observe.family import Member
from cloister.quantities import human_size

__all__ = ["build_parser", "run"]

COULD_NOT_TELL = 16
PROGRESS_SECONDS = 0.5
EPILOG = """\
examples:
  cloister dump 4242                         core.4242, core.4242.CHILD for each child, core.4242.json
  cloister dump 4242 --output /tmp/before --map /tmp/before.json
  gdb /usr/bin/program core.4242             symbols, memory, and backtraces of all threads
  cloister scan core.4242 --secret-file marker.txt

Cores hold every secret that was readable: they are created for their owner only (mode 0600), and never over
an existing file. Remove them when you are done.

For backtraces each thread is stopped for a moment with ptrace; --no-registers never touches the process. Under
the guards of a software enclave ptrace is refused, and the map says so. Memory is read while the program runs;
--freeze keeps it stopped meanwhile, so that the dump is of one moment.

exit codes:
  0    dumped
  16   no memory was readable: permission was denied, or the process has ended
  2, 3 the command line is wrong or a file exists already; there is no such process, or the disk is full
"""


class ProgressLine:
    """A line on a terminal that is written over, once a dump takes longer than half a second."""

    def __init__(self) -> None:
        """Start the clock."""
        self.next_time = time.monotonic() + PROGRESS_SECONDS
        self.shown = False

    def __call__(self, member: Member, done: int) -> None:
        """Show how far it is, twice a second."""
        if sys.stderr.isatty() and time.monotonic() >= self.next_time:
            print(f"\r\x1b[K{member}: {human_size(done)} of address space", end="", file=sys.stderr, flush=True)
            self.next_time = time.monotonic() + PROGRESS_SECONDS
            self.shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cloister dump`."""
    parser.epilog = EPILOG
    parser.add_argument("pid", metavar="PID", type=int, help="the process; its family is dumped with it")
    parser.add_argument("--output", metavar="FILE", type=Path, help="the core; others get their pid added (core.PID)")
    parser.add_argument("--map", metavar="FILE", type=Path, help="the JSON map (default: the core's name with .json)")
    parser.add_argument("--no-registers", action="store_true", help="do not stop threads to read their registers")
    parser.add_argument("--freeze", action="store_true", help="keep the process stopped while it is dumped")
    parser.add_argument("--json", action="store_true", help="print the map on standard output too")


def run(args: argparse.Namespace) -> int:
    """Dump, write the map, report, and return the exit code."""
    if args.no_registers and args.freeze:
        raise UsageError("--freeze stops the threads and --no-registers forbids it; give one of them")
    output = args.output or Path(f"core.{args.pid}")
    map_file = args.map or Path(f"{output}.json")
    if map_file.exists():
        raise UsageError(f"{map_file} exists already; remove it or choose another --map")
    progress = ProgressLine()
    options = DumpOptions(registers=not args.no_registers, freeze=args.freeze)
    try:
        dumps = dump_family(args.pid, output, options, progress)
    finally:
        progress.clear()
    write_map(dumps, map_file)
    if args.json:
        print(json.dumps(dump_document(dumps), indent=2))
    else:
        print(*dump_lines(dumps), f"map: {map_file}", sep="\n", file=sys.stderr)
        print("the cores hold every secret that was readable; their mode is 0600", file=sys.stderr)
    return 0 if any(dump.read_bytes for dump in dumps) else COULD_NOT_TELL


def write_map(dumps: list[ProcessDump], path: Path) -> None:
    """Write the JSON map, which holds no memory."""
    try:
        path.write_text(json.dumps(dump_document(dumps), indent=2) + "\n", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"cannot write the map {path}: {error.strerror}; choose another --map") from error
