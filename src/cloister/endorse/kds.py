"""AMD's Key Distribution Service: the certificates of a product, and of one chip's key at one TCB.

AMD document 57230, VCEK Certificate and KDS Interface Specification, chapter 4. The service limits how often it may be
asked; certificates never change under their URL, so what is at hand already is not asked for again.
"""

from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from cloister._x509 import pem_blocks
from cloister.endorse.amd import KDS, chain_path, crl_path, kds_path
from cloister.endorse.fetch import Fetched, Fetcher, NotPublished
from cloister.endorse.needs import AmdRequest
from cloister.endorse.piece import CERTIFICATE, CRL, Piece
from cloister.errors import EndorsementUnavailable, ParseError
from cloister.evidence.snp import Product

__all__ = ["fetch_amd"]

MOST_CERTIFICATES = 8
"""In one chain; there are two."""


def fetch_amd(
    fetcher: Fetcher, request: AmdRequest, *, url: str = KDS, at_hand: Collection[str] = frozenset()
) -> Iterator[Piece]:
    """The chip's certificate if the request names a chip, its issuers', and the revocation list, each as it comes.

    `at_hand` are the sources of certificates that need not be fetched again.
    """
    base, products = url.rstrip("/"), request.products
    if request.chip_id:
        product, found = _chip(fetcher, request, base, at_hand)
        products = (product,)
        yield from found
    for product in products:
        chain = base + chain_path(request.kind, product)
        if chain not in at_hand:
            yield from _chain(fetcher.get(chain))
        answer = fetcher.get(base + crl_path(request.kind, product))
        yield _piece(answer, answer.body, CRL)


def _chip(
    fetcher: Fetcher, request: AmdRequest, base: str, at_hand: Collection[str]
) -> tuple[Product, tuple[Piece, ...]]:
    """The product that knows this chip, and the certificate of the chip's key unless that is at hand."""
    failure = NotPublished("no product was named; give --amd-product")
    for product in request.products:
        url = base + kds_path(request.kind, product, request.chip_id, request.tcb)
        if url in at_hand:
            return product, ()
        absent = f"AMD has no {product} chip with this identifier at this TCB; name another with --amd-product"
        try:
            answer = fetcher.get(url, absent=absent)
        except NotPublished as error:
            failure = error
        else:
            return product, (_piece(answer, answer.body, CERTIFICATE),)
    raise failure


def _chain(answer: Fetched) -> list[Piece]:
    try:
        blocks = pem_blocks(answer.body, CERTIFICATE)
    except ParseError as error:
        raise _useless(answer, str(error)) from error
    if not 1 <= len(blocks) <= MOST_CERTIFICATES:
        raise _useless(answer, f"{len(blocks)} certificates")
    return [_piece(answer, block, CERTIFICATE) for block in blocks]


def _piece(answer: Fetched, der: bytes, label: str) -> Piece:
    try:
        return Piece.of_der(der, label).at(answer.url, None)
    except ParseError as error:
        raise _useless(answer, str(error)) from error


def _useless(answer: Fetched, why: str) -> EndorsementUnavailable:
    host = urlsplit(answer.url).hostname
    return EndorsementUnavailable(
        f"{answer.url}: {host} answered something else than what belongs there ({why}); check --url"
    )
