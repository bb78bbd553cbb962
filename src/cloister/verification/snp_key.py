"""Which of the certificates at hand belongs to the key that signed an SNP report.

A store may hold thousands of VCEK certificates, and several of one key: AMD's service makes a new one, with new dates,
whenever it is asked. So they are sorted once per set of endorsements, and looked up by product, chip and TCB.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloister import _crypto
from cloister._x509 import Certificate
from cloister.endorse.amd import KDS, EkInfo, ek_info, is_ek, kds_path
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, ParseError, SignatureInvalid
from cloister.evidence.snp import Product, Report, SigningKey
from cloister.model import Tee
from cloister.verification.chains import build_chain

__all__ = ["MASKED", "Ek", "authorities", "candidates", "pick", "report_signature_holds", "sought"]

MASKED: Final = bytes(64)
"""The chip identifier of a report whose host hides it, and of what is signed with a provider's key."""


@dataclass(frozen=True, slots=True, eq=False)
class Ek:
    """An endorsement key certificate at hand, and what it says. Neither is verified by being here.

    Compared by identity: what is remembered about one is found without hashing all that it says.
    """

    certificate: Certificate
    info: EkInfo


class _Sorted:
    """The certificates of one set of endorsements: endorsement keys by what they are for, and all others."""

    __slots__ = ("authorities", "by_chip", "by_product")

    def __init__(self, certificates: Iterable[Certificate]) -> None:
        self.by_product: dict[tuple[SigningKey, Product], list[Ek]] = {}
        self.by_chip: dict[tuple[SigningKey, Product, bytes, bytes], list[Ek]] = {}
        authorities = []
        for certificate in certificates:
            if not is_ek(certificate):
                authorities.append(certificate)
                continue
            try:
                ek = Ek(certificate, ek_info(certificate))
            except ParseError:
                continue  # not usable for anything; what is missing then is said where it is sought
            info = ek.info
            self.by_product.setdefault((info.kind, info.product), []).append(ek)
            self.by_chip.setdefault((info.kind, info.product, info.chip_id, info.tcb), []).append(ek)
        self.authorities = tuple(authorities)


@functools.lru_cache(maxsize=16)
def _sorted(endorsements: Endorsements) -> _Sorted:
    return _Sorted(endorsements.certificates)


def authorities(endorsements: Endorsements) -> tuple[Certificate, ...]:
    """The certificates that are of no endorsement key: the pool for its chain."""
    return _sorted(endorsements).authorities


def candidates(report: Report, endorsements: Endorsements) -> Sequence[Ek]:
    """The certificates that fit a report best: its product, chip and TCB; else its chip; else only its product.

    An empty chip identifier fits every VCEK.
    """
    return _fitting(report.signing_key, report.products, report.chip_id, report.reported_tcb, endorsements)


@functools.lru_cache(maxsize=1024)
def _fitting(
    key: SigningKey, products: tuple[Product, ...], chip: bytes, tcb: bytes, endorsements: Endorsements
) -> Sequence[Ek]:
    known = _sorted(endorsements)
    if key is SigningKey.VLEK or chip != MASKED:
        for product in products:
            exact = known.by_chip.get((key, product, MASKED if key is SigningKey.VLEK else chip, tcb))
            if exact:
                return exact
    found = [ek for product in products for ek in known.by_product.get((key, product), ())]
    same_chip = [ek for ek in found if ek.info.chip_id == chip != MASKED]
    same_tcb = [ek for ek in found if ek.info.tcb == tcb]
    return same_chip or same_tcb or found


def pick(found: Sequence[Ek], report: Report, *, anchors: TrustAnchors, endorsements: Endorsements, at: datetime) -> Ek:
    """One of several that fit equally: valid now, with a chain, and (if their keys differ) the one that signed.

    If none is all that, the first, so that the recipe says what is wrong with it.
    """
    if len(found) == 1:
        return found[0]
    keys = {ek.certificate.spki for ek in found}
    for ek in found:
        one = ek.certificate
        if not one.not_before <= at <= one.not_after or not _has_chain(one, anchors, endorsements):
            continue
        if len(keys) == 1 or _signed(report, one):
            return ek
    return found[0]


def _has_chain(certificate: Certificate, anchors: TrustAnchors, endorsements: Endorsements) -> bool:
    try:
        build_chain(certificate, authorities(endorsements), anchors, Tee.SNP)
    except ChainInvalid:
        return False
    return True


def _signed(report: Report, certificate: Certificate) -> bool:
    try:
        report_signature_holds(report, certificate)
    except SignatureInvalid:
        return False
    return True


def report_signature_holds(report: Report, certificate: Certificate) -> None:
    """The signature over a report verifies under the certificate's key, or SignatureInvalid."""
    key = _crypto.load_spki(certificate.spki)
    _crypto.verify_ecdsa_raw(
        key, report.signature.halves, report.signed, "sha384", what="the signature over the report"
    )


def sought(report: Report) -> str:
    """Where AMD has the certificate that is needed, for messages. Version 2 does not say for which product."""
    paths = (kds_path(report.signing_key, product, report.chip_id, report.reported_tcb) for product in report.products)
    return " or ".join(KDS + path for path in paths)
