"""Fetch, import and show collateral: the certificates, revocation lists and TCB statements that vouch for evidence.

Evidence from SGX, TDX and SEV-SNP can only be judged with what Intel and AMD publish about the processor. This gets
it from their services, or from files where there is no network, and keeps it in a directory. What is kept is verified
each time it is used, so a mirror or a memory stick will do: they could hold back what is new, but not forge.
"""

import argparse
import json
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from cloister.cli._actions import add_actions
from cloister.cli._arguments import read_input, time_of
from cloister.cli._collateral_fetch import add_options, fetch
from cloister.cli._collateral_state import as_json, lines, standings
from cloister.endorse import cache
from cloister.endorse.importing import LARGEST_FILE, import_files
from cloister.errors import EndorsementUnavailable

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  cloister collateral fetch quote.bin                   what this quote or report needs
  cloister collateral fetch --intel-fmspc 00606A000000 --tee sgx
  cloister collateral fetch --amd-product Milan
  cloister collateral fetch quote.bin --url https://pccs.example:8081 --authorities pccs-ca.pem
  cloister collateral import bundle.json vcek.der crl.pem
  cloister collateral show                              what is there, and how long it still holds
  cloister collateral show --json --at 2025-09-01

exit codes:
  0  done
  2  the command line or a file is wrong
  6  something could not be fetched: the message names the URL and what to do; what did come is kept
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the three actions of `cloister collateral` and their options."""
    add_actions(
        parser,
        EPILOG,
        {
            "fetch": ("get from the vendors' services what evidence needs", fetch_options),
            "import": ("take over what stands in files, in the forms in which tools write it", import_options),
            "show": ("list what is kept: from where, until when, signed under whom", show_options),
        },
    )


def cache_option(parser: argparse.ArgumentParser) -> None:
    """Where collateral is kept, which all actions want to know."""
    parser.add_argument(
        "--cache", metavar="DIR", type=Path, help="where it is kept (default: ~/.cache/cloister/collateral)"
    )


def fetch_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister collateral fetch`."""
    cache_option(parser)
    add_options(parser)


def import_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister collateral import`."""
    cache_option(parser)
    parser.add_argument("files", nargs="+", metavar="FILE", help="PEM, DER, JSON, Open Enclave container")


def show_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister collateral show`."""
    cache_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    parser.add_argument("--at", metavar="TIME", help="as of this time (ISO 8601, UTC if it has no zone), not now")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for: 0, or one of the errors that the exit codes stand for."""
    directory = args.cache or cache.default_directory()
    if args.action == "show":
        return show(directory, args)
    if args.action == "import":
        found = import_files([(name, read_input(name, LARGEST_FILE)) for name in args.files])
        written = cache.store(directory, found, now=datetime.now(UTC), report=say)
        describe(directory, [piece.name for piece in found])
        say(f"{len(found)} pieces, {len(written)} of them new, in {directory}")
        return 0
    came, failure = fetch(directory, args, say)
    describe(directory, came)
    say(f"{len(came)} pieces kept in {directory}")
    if failure:
        raise EndorsementUnavailable(failure)
    return 0


def describe(directory: Path, names: Collection[str]) -> None:
    """Tell the standing of some pieces, by everything that the cache has."""
    found = [
        one for one in standings(cache.pieces(directory, report=say), datetime.now(UTC)) if one.piece.name in names
    ]
    say(*(line for one in found for line in lines(one)))


def show(directory: Path, args: argparse.Namespace) -> int:
    """Tell the standing of everything that the cache has."""
    at = time_of(args.at)
    found = standings(cache.pieces(directory, report=say), at)
    if args.json:
        print(json.dumps({"cache": str(directory), "at": at.isoformat(), "pieces": as_json(found)}, indent=2))
        return 0
    say(*(line for one in found for line in lines(one)))
    outside = sum(bool(one.outside) for one in found)
    say(f"{len(found)} pieces in {directory}; {outside} do not hold at {at:%Y-%m-%d %H:%M} UTC")
    return 0


def say(*texts: str) -> None:
    """Print lines for people."""
    for text in texts:
        print(text, file=sys.stderr)
