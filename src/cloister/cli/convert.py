"""Write the configuration of a confidential program in another framework's format, and name what that cannot express.

Formats: gramine (manifest, rendered), scone (session, language 0.3), scone-env (SCONE_... variables), ego
(enclave.json), occlum (Occlum.json), sgx-sdk (Enclave.config.xml), and Cloister's own: cloister-session,
cloister-manifest. Several files of one program are taken together, such as a session and SCONE's variables.

The written text is read again and compared: what is not the same is named on standard error, with the line where it
stood. Values of variables, arguments and secrets are never shown.
"""

import argparse
import json
import secrets
import sys
from dataclasses import replace
from pathlib import Path

from cloister.broker.session.read import parse_session
from cloister.cli._arguments import read_input
from cloister.cli._terminal import clean_lines
from cloister.errors import PolicyError, UsageError
from cloister.frameworks.cloister_files import MANIFEST, SESSION
from cloister.frameworks.conversion import Conversion, Difference, Outcome, convert, merge
from cloister.frameworks.formats import FORMATS, detect, read_configuration
from cloister.frameworks.model import Configuration
from cloister.frameworks.source import LONGEST
from cloister.measure.software import read_measurement

__all__ = ["build_parser", "read_files", "run", "write"]

LOST = 10
EPILOG = """\
examples:
  cloister convert --to ego app.manifest -o enclave.json       Gramine to EGo; the source's format is recognised
  cloister convert --from scone --to gramine --service web session.yml
  cloister convert --to gramine session.yml scone.env          a session and SCONE's variables, as one
  cloister convert --to cloister-session session.yml --json | jq .differences
  cloister convert --to occlum --strict app.manifest           fails if anything is lost

exit codes:
    0  written; without --strict, whatever was lost on the way
    2  the command line or a file is wrong, or is in no known format
   10  --strict: something was lost or changed; it was written nevertheless
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister convert`."""
    parser.epilog = EPILOG
    parser.usage = "cloister convert --to FORMAT [--from FORMAT] [options] FILE..."
    parser.add_argument("--to", metavar="FORMAT", required=True, choices=FORMATS, help=", ".join(FORMATS))
    parser.add_argument("--from", dest="source", metavar="FORMAT", choices=FORMATS, help="if it is not recognised")
    parser.add_argument("--service", metavar="NAME", help="which service of a session, if it has several")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write here, not to standard output")
    parser.add_argument("--strict", action="store_true", help="exit with 10 if anything is lost or changed")
    parser.add_argument("--json", action="store_true", help="print one JSON document: the text, and every difference")
    parser.add_argument("-q", "--quiet", action="store_true", help="name no differences on standard error")
    parser.add_argument("files", metavar="FILE", nargs="+", help="the configuration; `-` is standard input")


def run(args: argparse.Namespace) -> int:
    """Convert and report."""
    configuration = read_files(args.files, args.source, args.service)
    if configuration.secrets and configuration.salt is None and args.to in {"scone", "cloister-session"}:
        configuration = replace(configuration, salt=secrets.token_hex(16))
    found = checked(convert(configuration, args.to), args.to)
    if args.output is not None:
        write(args.output, found.text)
    if args.json:
        print(json.dumps(document(found, configuration.format, args.to), indent=2))
    else:
        if args.output is None:
            print(found.text, end="")
        if not args.quiet:
            report(found, configuration.format, args.to)
    return LOST if args.strict and found.losses else 0


def checked(found: Conversion, to: str) -> Conversion:
    """The same, and what Cloister's own readers say of its own two formats: what is still to be added by hand."""
    try:
        if to == SESSION:
            parse_session(found.text.encode(), to)
        elif to == MANIFEST:
            read_measurement(found.text, to)
    except (PolicyError, UsageError) as error:
        missing = Difference(
            outcome=Outcome.MISSING, item="a valid file", place="", before="", after="", reason=str(error)
        )
        return replace(found, differences=(*found.differences, missing))
    return found


def read_files(names: list[str], form: str | None, service: str | None) -> Configuration:
    """What the files say together. `service` is for those that have several."""
    found: Configuration | None = None
    for name in names:
        text = text_of(name)
        has_services = FORMATS[form or detect(text, name)].read_service is not None
        chosen = read_configuration(text, name, form, service if has_services or len(names) == 1 else None)
        found = chosen if found is None else merge(found, chosen)
    if found is None:
        raise UsageError("no file given")
    return found


def text_of(name: str) -> str:
    """The text of a file; UsageError if it is not UTF-8."""
    try:
        return read_input(name, LONGEST).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def write(path: Path, text: str) -> None:
    """Write what was made."""
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def document(found: Conversion, source: str, target: str) -> dict[str, object]:
    """What `--json` prints."""
    differences = [
        {
            "outcome": one.outcome.value, "item": one.item, "place": one.place, "before": one.before,
            "after": one.after, "reason": one.reason,
        }
        for one in found.differences
    ]  # fmt: skip
    return {"from": source, "to": target, "text": found.text, "differences": differences}


def report(found: Conversion, source: str, target: str) -> None:
    """One line for each difference, and a last one that counts them."""
    for one in found.differences:
        place = f"{one.place}: " if one.place else ""
        change = f" {one.before} -> {one.after}" if one.outcome is Outcome.CHANGED and one.before != one.after else ""
        value = f" = {one.after}" if one.outcome is Outcome.ADDED and one.after else ""
        print(clean_lines(f"{place}{one.outcome}: {one.item}{change}{value}: {one.reason}"), file=sys.stderr)
    counts = {outcome: sum(one.outcome is outcome for one in found.differences) for outcome in Outcome}
    said = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)
    print(f"{source} to {target}: {said or 'everything was kept'}", file=sys.stderr)
