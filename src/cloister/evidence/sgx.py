"""Intel SGX quotes, versions 3, 4 and 5 (`cloister.evidence.dcap` has the frame)."""

from dataclasses import dataclass
from typing import ClassVar

from cloister.evidence import dcap
from cloister.evidence.dcap import SgxReportBody
from cloister.model import Tee

__all__ = ["SgxQuote", "looks_like", "parse"]

BODIES: dict[int, type[SgxReportBody]] = {0: SgxReportBody, 1: SgxReportBody}


@dataclass(frozen=True, kw_only=True)
class SgxQuote(dcap.Quote):
    """A quote about an SGX enclave."""

    tee: ClassVar[Tee] = Tee.SGX

    body: SgxReportBody


def looks_like(data: bytes) -> bool:
    """Whether this begins as an SGX quote does."""
    return dcap.looks_like_quote(data, Tee.SGX)


def parse(data: bytes, *, base: int = 0) -> SgxQuote:
    """Read an SGX quote of exactly these bytes."""
    return dcap.parse_quote(SgxQuote, data, BODIES, base=base)
