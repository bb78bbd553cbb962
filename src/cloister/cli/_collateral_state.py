"""What a person wants to know of cached endorsements: from where, until when, and whether their vendor signed them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cloister._x509 import Certificate, Crl, common_name
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.piece import Piece, Window
from cloister.errors import ChainInvalid, SignatureInvalid
from cloister.model import Tee
from cloister.verification.chains import build_chain, signature_holds
from cloister.verification.intel_collateral import statements_of

__all__ = ["Standing", "as_json", "lines", "standings"]

TEES = (Tee.SGX, Tee.SNP)
"""One for each vendor: anchors are pinned for all of a vendor's TEEs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A piece at one time. `anchor` is the root that vouches for it, or empty; then `doubt` says why."""

    piece: Piece
    at: datetime
    anchor: str
    doubt: str

    @property
    def outside(self) -> tuple[Window, ...]:
        """The parts that do not hold at that time."""
        return tuple(
            one for one in self.piece.windows if self.at < one.start or (one.end is not None and self.at > one.end)
        )


def standings(pieces: Sequence[Piece], at: datetime, anchors: TrustAnchors | None = None) -> list[Standing]:
    """Every piece with its standing under the vendors' roots, by signatures alone; windows are told apart from that."""
    roots = anchors or TrustAnchors.hardware()
    pool = tuple(one for piece in pieces for one in _certificates(piece))
    return [_standing(piece, at, tuple(dict.fromkeys(pool)), roots) for piece in pieces]


def _certificates(piece: Piece) -> Iterable[Certificate]:
    content = piece.content
    if isinstance(content, IntelCollateral):
        return (*content.tcb_info_chain, *content.qe_identity_chain)
    return (content,) if isinstance(content, Certificate) else ()


def _standing(piece: Piece, at: datetime, pool: tuple[Certificate, ...], anchors: TrustAnchors) -> Standing:
    try:
        anchor, doubt = _anchor(piece, pool, anchors), ""
    except (ChainInvalid, SignatureInvalid) as error:
        anchor, doubt = "", error.reason
    return Standing(piece=piece, at=at, anchor=anchor, doubt=doubt)


def _anchor(piece: Piece, pool: tuple[Certificate, ...], anchors: TrustAnchors) -> str:
    """The name of the root that vouches for a piece."""
    content = piece.content
    if isinstance(content, IntelCollateral):
        return statements_of(content, anchors).signers[0][-1].name
    if isinstance(content, Crl):
        return _root_of(_issuer(content, pool), pool, anchors)
    return _root_of(content, pool, anchors)


def _issuer(crl: Crl, pool: Iterable[Certificate]) -> Certificate:
    for one in pool:
        if one.subject == crl.issuer and signature_holds(crl.tbs, crl.algorithm, crl.signature, one.spki):
            return one
    raise ChainInvalid(f"no certificate at hand of {common_name(crl.issuer)!r} verifies its signature")


def _root_of(leaf: Certificate, pool: tuple[Certificate, ...], anchors: TrustAnchors) -> str:
    failure = ChainInvalid("no trust anchors")
    for tee in TEES:
        try:
            return build_chain(leaf, pool, anchors, tee)[-1].name
        except ChainInvalid as error:
            failure = error
    raise failure


def lines(one: Standing) -> list[str]:
    """A piece for people."""
    piece, window = one.piece, one.piece.window
    got = f", {piece.obtained:%Y-%m-%d}" if piece.obtained else ""
    return [
        piece.name,
        f"  from    {piece.source or 'not recorded'}{got}",
        f"  holds   {day(window.start)} until {day(window.end) if window.end else 'replaced'}; {_left(one)}",
        f"  signed  {f'yes, under {one.anchor}' if one.anchor else f'NOT ESTABLISHED: {one.doubt}'}",
        *(
            f"  outside {part.part}: {day(part.start)} until {day(part.end)}"
            for part in one.outside
            if len(piece.windows) > 1
        ),
    ]


def _left(one: Standing) -> str:
    """How long a piece still holds, or since when not."""
    window, at = one.piece.window, one.at
    if at < window.start:
        return f"not yet: begins in {span(window.start - at)}"
    if window.end is None:
        return "holds"
    if at > window.end:
        return f"EXPIRED {span(at - window.end)} ago ({window.part})"
    return f"{span(window.end - at)} left ({window.part} ends first)"


def day(time: datetime | None) -> str:
    """A time to the minute, in UTC."""
    return f"{time:%Y-%m-%d %H:%M}" if time else "always"


def span(length: timedelta) -> str:
    """A length of time in the unit that tells most."""
    hours = int(length.total_seconds() // 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours"


def as_json(found: Iterable[Standing]) -> list[dict[str, object]]:
    """The same for programs: times in ISO 8601."""
    return [
        {
            "name": one.piece.name,
            "kind": one.piece.stem.split("-", 1)[0],
            "source": one.piece.source,
            "obtained": one.piece.obtained.isoformat() if one.piece.obtained else None,
            "holds": not one.outside,
            "windows": [
                {"part": part, "start": start.isoformat(), "end": end.isoformat() if end else None}
                for part, start, end in one.piece.windows
            ],
            "anchor": one.anchor or None,
            "doubt": one.doubt or None,
        }
        for one in found
    ]
