"""`cloister manifest learn`: a minimal configuration from a run."""

import argparse
import sys
from pathlib import Path

from cloister.app.learning import Learned, learn_configuration, without_digests
from cloister.app.learning_shield import shield_policy
from cloister.cli._terminal import clean_lines
from cloister.cli.convert import write
from cloister.errors import UsageError
from cloister.frameworks import cloister_shield
from cloister.frameworks.cloister_files import MANIFEST
from cloister.frameworks.conversion import Conversion, convert, name_of
from cloister.frameworks.formats import FORMATS
from cloister.measure.software import write_measurement
from cloister.quantities import counted

__all__ = ["add_options", "run"]

STDERR = 2
HEAD = (
    "Written from one run by `cloister manifest learn`. It lists what that run used, and nothing else:",
    "another input may need more, and what is listed without need can be taken out.",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister manifest learn`."""
    parser.usage = "cloister manifest learn [--to FORMAT] [-o FILE] [--] PROGRAM [ARGS...]"
    parser.add_argument("--to", metavar="FORMAT", default="gramine", choices=FORMATS, help="gramine, if not given")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write here, not to standard output")
    parser.add_argument(
        "--no-trace", action="store_true", help="look at no system calls: quicker, but ports and threads are not known"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, help="end the program (SIGTERM) after this time; Ctrl-C does, too"
    )
    parser.add_argument(
        "program", metavar="PROGRAM", help="the program, which runs in the software enclave until it ends"
    )
    parser.add_argument("arguments", metavar="ARGS", nargs=argparse.REMAINDER, help="its arguments")


def run(args: argparse.Namespace) -> int:
    """Run the program, and write what it used. Without -o, the program's output goes to standard error."""
    stdout = None if args.output is not None else STDERR
    learned = learn_configuration(
        args.program, args.arguments, trace=not args.no_trace, stdout=stdout, timeout=args.timeout
    )
    text = made(learned, args.to)
    if args.output is None:
        print(text, end="")
    else:
        write(args.output, text)
    status = learned.found.status
    if status:
        ended = f"with status {status}" if status > 0 else f"by signal {-status}"
        print(f"cloister manifest: {args.program} ended {ended}; listed is what it used until then", file=sys.stderr)
    return 0


def made(learned: Learned, to: str) -> str:
    """The configuration's text; what has no place in it goes to standard error."""
    remarks = [clean_lines(one) for one in learned.remarks()]
    if to == MANIFEST:
        text, comments = write_measurement(learned.found.measured, learned.found.notes), True
    elif to == cloister_shield.NAME:
        text, comments, remarks = shield_policy(learned), True, []
    else:
        found = convert(without_digests(learned.configuration), to)
        text, comments = found.text, FORMATS[to].comments
        report_losses(found, to)
    if comments:
        return "".join(f"# {line}\n" for line in (*HEAD, *remarks)) + f"\n{text}"
    if not text.strip():
        raise UsageError(f"{FORMATS[to].title} has no place for anything that was learned; choose another format")
    for line in remarks:
        print(line, file=sys.stderr)
    explain(learned)
    return text


def report_losses(found: Conversion, to: str) -> None:
    """What the format has no place for: the items of one reason together, each named."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in found.differences:
        groups.setdefault((one.outcome.value, one.reason), []).append(one.item)
    for (outcome, reason), items in groups.items():
        print(clean_lines(f"{outcome}: {', '.join(items)}: {reason}"), file=sys.stderr)
    if found.losses:
        print(f"{FORMATS[to].title}: {counted(len(found.losses), 'item')} of the run without a place", file=sys.stderr)


def explain(learned: Learned) -> None:
    """The comments that a format has no place for: the items of one reason together."""
    groups: dict[str, list[str]] = {}
    for item, note in learned.configuration.notes.items():
        groups.setdefault(note, []).append(name_of(item))
    for note, items in groups.items():
        print(clean_lines(f"{', '.join(items)}: {note}"), file=sys.stderr)
