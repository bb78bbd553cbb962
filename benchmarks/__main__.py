"""Measure enclaved against native programs: `python -m benchmarks`, or `make bench`."""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from benchmarks import machine, record, table
from benchmarks.benchmark import Benchmark
from benchmarks.pairs import FULL, QUICK, Effort, Outcome, alternate
from benchmarks.subjects import ALL

EPILOG = """\
examples:
  python -m benchmarks                          everything, about 7 minutes
  python -m benchmarks --quick                  everything, about 2 minutes
  python -m benchmarks --only redis --only fork
  make bench BENCH='--quick --json numbers.json'

Native and enclaved runs alternate. `speed` is the median, over pairs of neighbouring runs, of the enclaved speed as a
fraction of the native speed: 0.50 means half as fast. `middle half` and `min-max` show how far the pairs lie apart.
The control compares native runs with native runs: what it shows is the machine's noise.

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
    parser.add_argument("--quick", action="store_true", help="three short pairs of each, about 2 minutes in all")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of: {', '.join(names)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every pair to FILE")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Measure and print; the table goes to standard output, progress to standard error."""
    args = arguments(words)
    signal.signal(signal.SIGTERM, interrupt)
    before = machine.examine()
    outcomes: list[Outcome] = []
    status = 0
    try:
        for outcome in measured(
            [b for b in ALL if not args.only or b.name in args.only], QUICK if args.quick else FULL
        ):
            outcomes.append(outcome)
            status = max(status, int(outcome.failed))
    except KeyboardInterrupt:
        status = 130
    show(before, "quick" if args.quick else "full", outcomes, args.json)
    return status


def interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does, so that every server is ended on the way out."""
    del number, frame
    raise KeyboardInterrupt


def measured(benchmarks: Sequence[Benchmark], effort: Effort) -> Iterator[Outcome]:
    """Measure one benchmark after the other, each in a fresh directory."""
    for benchmark in benchmarks:
        print(f"{benchmark.name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="cloister-bench-") as scratch:
            yield alternate(benchmark, effort, Path(scratch))


def show(before: machine.Machine, mode: str, outcomes: list[Outcome], file: Path | None) -> None:
    """Print the machine and the table, and write the document if asked to."""
    after = machine.examine()
    print(f"{machine.describe(before)}; at the end {after.load[0]:.2f}\nmode: {mode}\n\n{table.as_text(outcomes)}")
    if file is not None:
        file.write_text(json.dumps(record.as_document(before, after, mode, outcomes), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
