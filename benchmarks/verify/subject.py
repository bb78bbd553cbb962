"""The nouns: evidence with its nonces, what verifies it, and the signature checks that nobody can do without."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from benchmarks.benchmark import NotMeasured

from cloister.appraise.policy import EvidencePolicy
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.model import Challenge, Unchecked
from cloister.verification.recipe import Allowances

__all__ = ["Checks", "Contender", "Item", "Subject", "Work", "absentee", "items_of"]

STRICT: Final = Allowances()

Checks = tuple[tuple[Callable[..., object], tuple[object, ...]], ...]
"""Functions of the crypto library with their arguments, keys loaded; each raises if its signature does not hold."""

Work = Callable[[], object]
"""What is timed. It raises if anything that it verifies is not authentic."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One piece of evidence as it is received, the nonce that it answers, and its own unavoidable checks."""

    data: bytes
    challenge: Challenge | Unchecked
    checks: Checks


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Somebody who verifies. `start` gets ready for some evidence; `missing` says why there is nobody."""

    name: str
    start: Callable[[Sequence[Item]], Work]
    missing: str = ""


def absentee(name: str, why: str) -> Contender:
    """Somebody who would verify this too, if it were possible here."""

    def start(_: Sequence[Item]) -> Work:
        raise NotMeasured(f"{name}: {why}")

    return Contender(name=name, start=start, missing=why)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Evidence of one kind, all from one platform.

    `limit` names the unavoidable checks, `goal` is the part of their speed that is aimed at. `parse` and `verify` are
    the stages of Cloister; `peers` are others that can verify the same. `no_format` says why the facade cannot
    recognise the evidence, where that is so.
    """

    name: str
    limit: str
    goal: float | None
    items: tuple[Item, ...]
    parse: Callable[[bytes], Any]
    verify: Callable[..., Any]
    anchors: TrustAnchors
    endorsements: Endorsements
    at: datetime
    policy: EvidencePolicy | Unchecked
    allow: Allowances = STRICT
    peers: tuple[Contender, ...] = ()
    no_format: str = ""


def items_of(
    evidence: Sequence[tuple[bytes, Challenge | Unchecked]],
    parse: Callable[[bytes], Any],
    checks: Callable[[Any], Checks],
) -> tuple[Item, ...]:
    """Evidence and challenges as items; `checks` finds the signatures in what was parsed."""
    return tuple(Item(data=data, challenge=asked, checks=checks(parse(data))) for data, asked in evidence)
