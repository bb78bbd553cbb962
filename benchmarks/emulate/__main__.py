"""Measure emulated machines against native programs: `python -m benchmarks.emulate`, or `make bench-emulate`."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.benchmark import NotMeasured, PackageMissing
from benchmarks.emulate.costs import Costs, costs_of
from benchmarks.emulate.rounds import Row, measured
from benchmarks.emulate.subjects import SUBJECTS
from benchmarks.emulate.table import costs_as_text, rows_as_text

from cloister.emulate.catalogue import KINDS, NATIVE
from cloister.errors import CloisterError
from cloister.measure.image import Architecture

EPILOG = """\
examples:
  python -m benchmarks.emulate                        everything, about 6 minutes
  python -m benchmarks.emulate --quick                three rounds, about 2 minutes
  python -m benchmarks.emulate --only sgx --frames 256
  make bench-emulate BENCH='--quick --json numbers.json'

In every round a program runs natively, then in each machine. `slowdown` is the median, over rounds, of a machine's time
divided by the native time of that round; `min-max` its spread. `native` is the emulated machine without a TEE: what is
above its figures is the TEE's. `ciphers` is the share of the time in memory encryption. x86-64 programs only.

exit status: 0 all measured; 1 something was not (the row says why); 2 wrong usage; 130 interrupted
"""

X86 = tuple(name for name, kind in KINDS.items() if kind.architecture is Architecture.X86_64)


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.emulate",
        description="Measure programs in emulated machines against the same programs natively.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="three rounds instead of seven")
    parser.add_argument(
        "--only", action="append", choices=(NATIVE.name, *X86), metavar="NAME", help=f"{', '.join(X86)}"
    )
    parser.add_argument("--frames", type=int, default=2048, metavar="N", help="pages of on-die memory (2048)")
    parser.add_argument("--no-costs", action="store_true", help="leave out what an exit and a miss cost")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every round to FILE")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Measure and print; tables go to standard output, progress to standard error."""
    args, before, status = arguments(words), machine.examine(), 0
    rows: list[Row] = []
    costs: dict[str, Costs] = {}
    machines = tuple(args.only or (NATIVE.name, *X86))
    with tempfile.TemporaryDirectory(prefix="cloister-bench-") as name:
        scratch = Path(name)
        try:
            for row in all_rows(machines, args, scratch):
                rows.append(row)
                status = max(status, int(bool(row.obstacle)))
            if not args.no_costs:
                costs |= {one: costs_of(one, scratch / "keys") for one in dict.fromkeys((*machines, *others(args)))}
        except (CloisterError, NotMeasured) as error:
            print(f"not measured: {error}", file=sys.stderr)
            status = 1
        except KeyboardInterrupt:
            status = 130
    after = machine.examine()
    print(f"{machine.describe(before)}; at the end {after.load[0]:.2f}\n{args.frames} frames\n\n{rows_as_text(rows)}")
    print(f"\n{costs_as_text(costs)}")
    if args.json is not None:
        args.json.write_text(json.dumps(document(args.frames, rows, costs), indent=1) + "\n")
    return status


def others(args: argparse.Namespace) -> tuple[str, ...]:
    """Machines whose costs are measured although no x86-64 program runs on them."""
    return () if args.only else tuple(name for name in KINDS if name not in X86)


def all_rows(machines: Sequence[str], args: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    """One program after the other, on all machines."""
    for subject in SUBJECTS:
        print(f"{subject.name} ...", file=sys.stderr, flush=True)
        try:
            program = subject.compiled(scratch)
        except (PackageMissing, NotMeasured) as error:
            yield Row(subject=subject.name, machine="", goal=subject.goal, obstacle=str(error))
            continue
        yield from measured(subject, program, machines, 3 if args.quick else 7, args.frames, scratch / "keys")


def document(frames: int, rows: Sequence[Row], costs: dict[str, Costs]) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "frames": frames,
        "rows": [asdict(row) for row in rows],
        "costs_us": {name: asdict(one) for name, one in costs.items()},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
