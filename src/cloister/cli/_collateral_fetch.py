"""`cloister collateral fetch`: what is asked for on the command line, got piece by piece and kept as it comes."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cloister._x509 import Certificate
from cloister.cli._arguments import read_input
from cloister.endorse import cache
from cloister.endorse.amd import KDS, ek_info, is_ek
from cloister.endorse.fetch import Fetcher, check_url
from cloister.endorse.kds import fetch_amd
from cloister.endorse.needs import PCK_CAS, AmdRequest, IntelRequest, Request, needs
from cloister.endorse.pcs import PCS, UPDATES, fetch_intel, fmspc_of
from cloister.endorse.piece import Piece
from cloister.envelope import open_envelope
from cloister.errors import EndorsementUnavailable, ParseError, UsageError
from cloister.evidence.snp import Product
from cloister.model import Tee

__all__ = ["add_options", "fetch"]

LARGEST_EVIDENCE: Final = 16 << 20
LONGEST_WAIT: Final = 3600.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cloister collateral fetch`."""
    parser.add_argument(
        "evidence", nargs="*", metavar="EVIDENCE", help="SGX or TDX quotes, SNP reports, in any container"
    )
    parser.add_argument("--intel-fmspc", metavar="FMSPC", action="append", default=[], help="an Intel platform family")
    parser.add_argument("--tee", choices=["sgx", "tdx"], help="for --intel-fmspc: which statements (default: sgx)")
    parser.add_argument(
        "--amd-product",
        action="append",
        default=[],
        choices=[str(one) for one in Product],
        help="an AMD product line; beside an SNP report of version 2, which does not say it, that report's",
    )
    parser.add_argument("--url", help=f"a caching service or mirror (default: {PCS}, {KDS})")
    parser.add_argument(
        "--update", choices=UPDATES, default="early", help="Intel's requirements: the newest (default), or last year's"
    )
    parser.add_argument("--authorities", metavar="FILE", type=Path, help="PEM: who may vouch for the server of --url")
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, default=60.0, help="for each URL (default: 60)")


def seconds(text: str) -> float:
    """A waiting time from the command line."""
    value = float(text)
    if not 0 < value <= LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {LONGEST_WAIT:.0f}")
    return value


def fetch(directory: Path, args: argparse.Namespace, say: Callable[[str], None]) -> tuple[list[str], str]:
    """Fetch and keep; the names of what came, and what went wrong, empty if nothing did.

    A request that fails does not keep the others from being made.
    """
    if args.url:
        check_url(args.url)
    wanted = list(dict.fromkeys(requests(args)))
    if not wanted:
        raise UsageError("nothing to fetch; give a quote or report, --intel-fmspc or --amd-product")
    fetcher = Fetcher(seconds=args.timeout, authorities=args.authorities, told=lambda text: say(f"  {text}"))
    came: dict[str, None] = {}
    failures: list[str] = []
    for request in wanted:
        say(f"{request}:")
        try:
            for piece in answers(fetcher, request, args, cache.pieces(directory, report=say)):
                cache.store(directory, [piece], now=datetime.now(UTC), report=say)
                came[piece.name] = None
        except EndorsementUnavailable as error:
            failures.append(error.reason)
    more = f" ({len(failures) - 1} more: {'; '.join(failures[1:])})" if failures[1:] else ""
    return list(came), failures[0] + more if failures else ""


def answers(fetcher: Fetcher, request: Request, args: argparse.Namespace, there: Sequence[Piece]) -> Iterator[Piece]:
    """What the services answer to one request, piece by piece; certificates that are there are not asked for again."""
    if isinstance(request, IntelRequest):
        yield fetch_intel(fetcher, request, url=args.url or PCS, update=args.update)
        return
    at_hand = {piece.source for piece in there if piece.stem.startswith("certificate")}
    yield from fetch_amd(fetcher, request, url=args.url or KDS, at_hand=at_hand)


def requests(args: argparse.Namespace) -> Iterator[Request]:
    """What the command line asks for."""
    if args.tee and not args.intel_fmspc:
        raise UsageError("--tee belongs to --intel-fmspc; evidence says itself what it is")
    products = tuple(Product(one) for one in args.amd_product)
    for name in args.evidence:
        for request in needs_of_file(name):
            if isinstance(request, AmdRequest) and products:
                yield replace(request, products=products)
            else:
                yield request
    for fmspc in args.intel_fmspc:
        for ca in PCK_CAS.values():  # an FMSPC does not say which of the two issues its certificates
            yield IntelRequest(tee=Tee(args.tee or "sgx"), fmspc=fmspc_of(fmspc).lower(), ca=ca)
    yield from (AmdRequest(products=(product,)) for product in products)


def unless_it_came_along(request: Request, certificates: Iterable[Certificate]) -> Request:
    """The request without the chip's certificate if that stands beside the report: AMD's service is not asked often."""
    for one in certificates:
        if not isinstance(request, AmdRequest) or not is_ek(one):
            continue
        try:
            info = ek_info(one)
        except ParseError:
            continue  # not the one that is needed
        if (info.kind, info.chip_id, info.tcb) == (request.kind, request.chip_id, request.tcb):
            return AmdRequest(products=(info.product,), kind=request.kind)
    return request


def needs_of_file(name: str) -> list[Request]:
    """What the evidence in a file needs; UsageError if it is none, or needs nothing that is published."""
    try:
        opened = open_envelope(read_input(name, LARGEST_EVIDENCE))
    except ParseError as error:
        raise ParseError(f"{name}: {error.record}", error.field, error.offset, error.reason) from error
    found: list[Request] = []
    refusal = UsageError("no evidence in it")
    for part in opened.parts:
        try:
            found += [unless_it_came_along(one, opened.certificates) for one in needs(part)]
        except UsageError as error:
            refusal = error
    if not found:
        raise UsageError(f"{name}: {refusal}")
    return found
