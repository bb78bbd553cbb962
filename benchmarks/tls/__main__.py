"""Measure attested TLS handshakes beside plain ones: `python -m benchmarks.tls`."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.table import aligned
from benchmarks.tls.rounds import SPARE, Outcome, Spread, measure
from benchmarks.tls.subjects import EVIDENCE, subjects

EPILOG = """\
examples:
  python -m benchmarks.tls                        everything, about a minute
  python -m benchmarks.tls --quick --only sgx
  python -m benchmarks.tls --json numbers.json

Milliseconds of processor time for both ends together, in memory, from making the connection to the first byte of the
application: median (middle half). `added` is, round by round, the attested handshake minus the plain one minus the
verification of the evidence alone; the goal is 2 ms for a server that attests. Making evidence is not counted. Each
handshake meets a certificate, key and evidence that it has not seen; the vendor's collateral is known already.
"""
HEADING = ("", "", "plain", "attested", "evidence alone", "added", "in signatures")
QUICK, FULL = 40, 200


def main(words: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tls", description=__doc__, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rounds, not {FULL}")
    parser.add_argument("--only", action="append", choices=EVIDENCE, metavar="TEE", help=", ".join(EVIDENCE))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to FILE")
    args = parser.parse_args(words)
    before, rounds = machine.examine(), QUICK if args.quick else FULL
    found = [measure(one, rounds) for name in args.only or EVIDENCE for one in subjects(name, rounds + SPARE)]
    print(f"{machine.describe(before)}; at the end {machine.examine().load[0]:.2f}\n")
    print(as_text(found), end="")
    if args.json is not None:
        document = {"machine": dataclasses.asdict(before), "subjects": [dataclasses.asdict(one) for one in found]}
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def as_text(outcomes: Iterable[Outcome]) -> str:
    """The table."""
    rows = [HEADING, *(row_of(one) for one in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADING))]
    return "".join(f"{aligned(row, widths)}\n" for row in rows)


def row_of(one: Outcome) -> tuple[str, ...]:
    """One subject."""
    spreads = (one.plain, one.attested, one.verification, one.added)
    return (one.subject, "ms", *map(shown, spreads), f"{one.signatures:.0%}")


def shown(spread: Spread) -> str:
    """Median and middle half."""
    return f"{spread.median:.2f} ({spread.lower_quartile:.2f}-{spread.upper_quartile:.2f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
