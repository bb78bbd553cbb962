"""Measure enclaved against native programs: `python -m benchmarks`, or `make bench`."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import machine, publish, published, record, table
from benchmarks.benchmark import Benchmark
from benchmarks.pairs import FULL, QUICK, Effort, Outcome, alternate
from benchmarks.subjects import ALL

INTERRUPTED = 130
EPILOG = """\
examples:
  python -m benchmarks                          everything, about 10 minutes
  python -m benchmarks --quick                  everything, about 4 minutes
  python -m benchmarks --only redis --only fork
  python -m benchmarks --record                 everything; the figures of README.md, docs/benchmarks.md and the report
  make bench BENCH='--quick --json numbers.json'

Native and enclaved runs alternate. `speed` is the median, over pairs of neighbouring runs, of the enclaved speed as a
fraction of the native speed: 0.50 means half as fast. `middle half` and `min-max` show how far the pairs lie apart.
The control compares native runs with native runs: what it shows is the machine's noise.
`goal` is what the row is aimed at, and "reached", or "not" and what was measured; a goal missed fails nothing.

exit status: 0 all measured, or a package is missing (the row says which); 1 a benchmark failed (the row says why);
2 wrong usage; 130 interrupted (what was measured so far is shown).
"""


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure programs in the software enclave against the same programs natively.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [benchmark.name for benchmark in ALL]
    parser.add_argument("--quick", action="store_true", help="three short pairs of each, about 4 minutes in all")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of: {', '.join(names)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every pair to FILE")
    parser.add_argument(
        "--record", action="store_true", help="write the record of this repository, and the pages that show it, anew"
    )
    parser.add_argument("--pages", action="store_true", help="measure nothing: write the pages anew from the record")
    args = parser.parse_args(words)
    if args.record and args.only:
        parser.error("--record is of all benchmarks at one time: leave --only out")
    return args


def main(words: Sequence[str]) -> int:
    """Measure and print; the table goes to standard output, progress to standard error."""
    args = arguments(words)
    if args.pages:
        publish.publish(publish.current())
        return 0
    signal.signal(signal.SIGTERM, interrupt)
    chosen = [benchmark for benchmark in ALL if not args.only or benchmark.name in args.only]
    before, outcomes, status = machine.examine(), list[Outcome](), 0
    try:
        for outcome in measured(chosen, QUICK if args.quick else FULL):
            outcomes.append(outcome)
            status = max(status, int(outcome.failed))
    except KeyboardInterrupt:
        status = INTERRUPTED
    after, mode = machine.examine(), "quick" if args.quick else "full"
    print(f"{machine.describe(before)}; at the end {after.load[0]:.2f}\nmode: {mode}\n\n{table.as_text(outcomes)}")
    print(published.as_text())
    keep(args, record.as_document(before, after, mode, outcomes), interrupted=status == INTERRUPTED)
    return status


def interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does, so that every server is ended on the way out."""
    del number, frame
    raise KeyboardInterrupt


def measured(benchmarks: Sequence[Benchmark], effort: Effort) -> Iterator[Outcome]:
    """Measure one benchmark after the other, each in a fresh directory."""
    begin = time.monotonic()
    for place, benchmark in enumerate(benchmarks, start=1):
        so_far = f"{time.monotonic() - begin:4.0f} s  {place}/{len(benchmarks)}"
        print(so_far, benchmark.name, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="cloister-bench-") as scratch:
            yield alternate(benchmark, effort, Path(scratch))


def keep(args: argparse.Namespace, document: dict[str, Any], *, interrupted: bool) -> None:
    """Write the document where it was asked for. Half a run is no record."""
    if args.json is not None:
        args.json.write_text(record.as_text(document))
    if args.record and interrupted:
        print("interrupted: the record stays as it was", file=sys.stderr)
    elif args.record:
        publish.publish(document)
        print(f"written: {', '.join(map(str, (publish.RECORD, *publish.PAGES)))}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
