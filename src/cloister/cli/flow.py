"""Draw how secrets came into an enclave, from the messages that were really sent.

`cloister run --broker URL --session NAME --flow FILE` records every message of the attestation: from whom, to whom, of
what kind, how large, and its SHA-256; never its content. This draws the record, on the terminal or as a page.
"""

import argparse
import sys
from pathlib import Path

from cloister.app.flow.page import draw_page
from cloister.app.flow.record import read_flow
from cloister.app.flow.text import draw_text
from cloister.errors import UsageError

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  cloister run --broker https://localhost:8443 --ca tls.pem --session demo --flow flow.jsonl -- ./app
  cloister flow flow.jsonl                      the sequence of messages on the terminal
  cloister flow flow.jsonl --explain            with a sentence about each
  cloister flow flow.jsonl --html flow.html     as a page

exit codes:
  0  drawn
  2  the file cannot be read or written, or is no record of a flow
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister flow`."""
    parser.epilog = EPILOG
    parser.add_argument("record", metavar="FILE", type=Path, help="what `cloister run --flow` wrote")
    parser.add_argument("--explain", action="store_true", help="say what each message is")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page instead of drawing on the terminal")


def run(args: argparse.Namespace) -> int:
    """Read, draw."""
    try:
        messages = read_flow(args.record.read_bytes())
        if args.html is not None:
            args.html.write_text(draw_page(messages), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from error
    if args.html is not None:
        print(f"{args.html}: {len(messages)} messages drawn", file=sys.stderr)
    else:
        print(draw_text(messages, explain=args.explain), end="")
    return 0
