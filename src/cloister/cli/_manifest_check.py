"""`cloister manifest check`: what is dangerous in a configuration."""

import argparse
import json
import sys

from cloister.cli._terminal import clean_lines
from cloister.cli.convert import read_files
from cloister.frameworks.danger import findings
from cloister.frameworks.findings import Finding, Severity
from cloister.frameworks.formats import FORMATS

__all__ = ["add_options", "run"]

FOUND = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister manifest check`."""
    parser.add_argument("--from", dest="source", metavar="FORMAT", choices=FORMATS, help="if it is not recognised")
    parser.add_argument("--service", metavar="NAME", help="which service of a session, if it has several")
    parser.add_argument("--strict", action="store_true", help="exit with 10 for what is only risky, too")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    parser.add_argument("files", metavar="FILE", nargs="+", help="the configuration; several are taken together")


def run(args: argparse.Namespace) -> int:
    """Check, report, and return the exit code."""
    configuration = read_files(args.files, args.source, args.service)
    found = findings(configuration)
    counts = {severity: sum(one.severity is severity for one in found) for severity in Severity}
    if args.json:
        print(json.dumps(document(found, configuration.format), indent=2))
    else:
        for one in found:
            place = one.place or args.files[0]
            print(clean_lines(f"{place}: {one.severity}: {one.key}: {one.reason}"))
            print(f"    {one.advice}")
    said = ", ".join(f"{number} {severity}" for severity, number in counts.items() if number)
    sys.stdout.flush()  # the summary comes last, also where both go to one place
    print(f"{', '.join(args.files)}: {FORMATS[configuration.format].title}: {said or 'no remarks'}", file=sys.stderr)
    bad = counts[Severity.DANGEROUS] + (counts[Severity.RISKY] if args.strict else 0)
    return FOUND if bad else 0


def document(found: list[Finding], form: str) -> dict[str, object]:
    """What `--json` prints."""
    remarks = [
        {
            "severity": one.severity.value, "key": one.key, "place": one.place, "reason": one.reason,
            "advice": one.advice,
        }
        for one in found
    ]  # fmt: skip
    return {"format": form, "findings": remarks}
