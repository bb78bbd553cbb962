"""Measure the shields beside what else encrypts files and connections: `python -m benchmarks.shield`."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import machine, table
from benchmarks.pairs import FULL, QUICK, Outcome, alternate
from benchmarks.shield.subjects import NAMES, PEERS, subjects

EPILOG = """\
examples:
  python -m benchmarks.shield                                       everything, about 20 minutes
  python -m benchmarks.shield --quick --only files --site shielded
  python -m benchmarks.shield --quick --only files --site gocryptfs --site encfs
  python -m benchmarks.shield --json numbers.json

One table for each two sites that are compared: an ordinary directory with the shielded one, and with each peer; then
each peer with the shielded one. `speed` is the second's as a fraction of the first's, as in `python -m benchmarks`.
Caches of files are emptied before `read from the disk`. A site that cannot be made here says why.

exit status: 0 all measured, or something is missing (the row says what); 1 a benchmark failed (the row says why)
"""


def main(words: Sequence[str]) -> int:
    """Measure and print; tables go to standard output, progress to standard error."""
    args = arguments(words)
    effort = QUICK if args.quick else FULL
    before, outcomes = machine.examine(), list[Outcome]()
    with tempfile.TemporaryDirectory(prefix="cloister-bench-") as name:
        Path(name).chmod(0o755)
        for benchmark in subjects(args.only or NAMES, args.site or ("shielded", *PEERS)):
            print(f"{benchmark.name} ({benchmark.baseline.name})", file=sys.stderr, flush=True)
            scratch = Path(name) / f"{benchmark.name}-{benchmark.baseline.name}"
            scratch.mkdir()
            outcomes.append(alternate(benchmark, effort, scratch))
    print(f"{machine.describe(before)}; at the end {machine.examine().load[0]:.2f}\n")
    print(table.as_text(outcomes), end="")
    if args.json is not None:
        args.json.write_text(json.dumps(document(before, outcomes), indent=1) + "\n")
    return int(any(outcome.failed for outcome in outcomes))


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shield", description="Measure the shields against what they are compared with.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    sites = ("shielded", *PEERS)
    parser.add_argument("--quick", action="store_true", help="three short pairs of each")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=f"one of: {', '.join(NAMES)}")
    parser.add_argument("--site", action="append", choices=sites, metavar="SITE", help=f"one of: {', '.join(sites)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every pair to FILE")
    return parser.parse_args(words)


def document(before: machine.Machine, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Every pair as it was measured."""
    rows = [
        {
            "benchmark": outcome.benchmark.name,
            "baseline": outcome.benchmark.baseline.name,
            "candidate": outcome.benchmark.candidate.name,
            "pairs": [[dict(base), dict(candidate)] for base, candidate in outcome.pairs],
            "trouble": outcome.trouble,
        }
        for outcome in outcomes
    ]
    return {"machine": asdict(before), "outcomes": rows}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
