"""Intel TDX quotes, versions 4 and 5, of TDX 1.0 and 1.5 (`cloister.evidence.dcap` has the frame)."""

from dataclasses import dataclass
from typing import ClassVar

from cloister._wire import Record, raw
from cloister.evidence import dcap
from cloister.model import Tee

__all__ = ["TdReport10", "TdReport15", "TdxQuote", "looks_like", "parse"]


class TdReport10(Record, size=584):
    """TD report body of TDX 1.0 (Intel TDX DCAP Quoting Library API, appendix A.3.2)."""

    tee_tcb_svn: bytes = raw(16)
    mrseam: bytes = raw(48)
    mrsignerseam: bytes = raw(48)
    seamattributes: bytes = raw(8)
    tdattributes: bytes = raw(8)
    xfam: bytes = raw(8)
    mrtd: bytes = raw(48)
    mrconfigid: bytes = raw(48)
    mrowner: bytes = raw(48)
    mrownerconfig: bytes = raw(48)
    rtmr0: bytes = raw(48)
    rtmr1: bytes = raw(48)
    rtmr2: bytes = raw(48)
    rtmr3: bytes = raw(48)
    report_data: bytes = raw(64)


class TdReport15(TdReport10, size=648):
    """TD report body of TDX 1.5: the SVNs of the module that runs now, and the service TD that was bound."""

    tee_tcb_svn2: bytes = raw(16)
    mrservicetd: bytes = raw(48)


BODIES: dict[int, type[TdReport10]] = {0: TdReport10, 2: TdReport10, 3: TdReport15}


@dataclass(frozen=True, kw_only=True)
class TdxQuote(dcap.Quote):
    """A quote about a trust domain."""

    tee: ClassVar[Tee] = Tee.TDX

    body: TdReport10


def looks_like(data: bytes) -> bool:
    """Whether this begins as a TDX quote does."""
    return dcap.looks_like_quote(data, Tee.TDX)


def parse(data: bytes, *, base: int = 0) -> TdxQuote:
    """Read a TDX quote of exactly these bytes."""
    return dcap.parse_quote(TdxQuote, data, BODIES, base=base)
