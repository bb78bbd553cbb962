"""Measure the verifier: `python -m benchmarks.verify`, or `make bench-verify`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.benchmark import NotMeasured
from benchmarks.verify import samples
from benchmarks.verify.forged import FORGED
from benchmarks.verify.many import ManyOutcome, measure_many
from benchmarks.verify.record import as_document
from benchmarks.verify.rounds import FULL, QUICK, Effort, Outcome, measure
from benchmarks.verify.table import as_text

from cloister.errors import CloisterError

EPILOG = """\
examples:
  python -m benchmarks.verify                          everything, about 4 minutes
  python -m benchmarks.verify --quick                  everything, about 1 minute
  python -m benchmarks.verify --only sgx3 --only snp
  make bench-verify BENCH='--quick --json numbers.json'

In every round the same evidence is verified by everybody in turn. `of the limit` is the median, over rounds, of the
speed as a fraction of the crypto library's, which does nothing but the signature checks that are unavoidable.
docs/benchmarks-verify.md says what is remembered between verifications and what is not.

exit status: 0 all measured (a peer that is missing has its reason in its row); 1 evidence was refused; 2 wrong usage;
130 interrupted (what was measured so far is shown)
"""


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verify",
        description="Measure verifications per second beside the unavoidable signature checks and other verifiers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(FORGED)
    parser.add_argument("--quick", action="store_true", help="few short rounds, about a minute in all")
    parser.add_argument("--only", action="append", choices=FORGED, metavar="NAME", help=f"one of: {names}")
    parser.add_argument("--samples", action="store_true", help=f"also real evidence, from {samples.EVIDENCE}")
    parser.add_argument("--no-many", action="store_true", help="leave out verify_many")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every round to FILE")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Measure and print; the table goes to standard output, progress to standard error."""
    args, before, status = arguments(words), machine.examine(), 0
    outcomes: list[Outcome] = []
    many: list[ManyOutcome] = []
    try:
        measure_all(args, QUICK if args.quick else FULL, outcomes, many)
    except (CloisterError, NotMeasured) as error:
        print(f"not measured: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    after = machine.examine()
    print(f"{machine.describe(before)}; at the end {after.load[0]:.2f}\n\n{as_text(outcomes, many)}")
    if args.json is not None:
        args.json.write_text(json.dumps(as_document(before, after, outcomes, many), indent=1) + "\n")
    return status


def measure_all(args: argparse.Namespace, effort: Effort, outcomes: list[Outcome], many: list[ManyOutcome]) -> None:
    """Measure what the command line names; results are added as they come, so that an interruption keeps them."""
    for name, make in FORGED.items():
        if args.only and name not in args.only:
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        subject = make(effort.evidence)
        outcomes.append(measure(subject, effort))
        if not args.no_many and not subject.no_format:
            many.append(measure_many(subject, records=effort.records, passes=effort.passes))
    if args.samples:
        for subject in samples.subjects():
            print(f"{subject.name} ...", file=sys.stderr, flush=True)
            outcomes.append(measure(subject, effort))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
