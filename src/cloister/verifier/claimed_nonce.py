"""Freshness where the evidence carries a hash of claims, and the claims carry the nonce (CCC interoperable RA-TLS)."""

from dataclasses import dataclass
from typing import Final

from cloister import _crypto
from cloister.errors import NotFresh
from cloister.model import Challenge, Unchecked
from cloister.verification.recipe import Check, Compared, Outcome, Recipe

__all__ = ["ANSWERED_BY_CLAIMS", "RECIPE", "check_nonce"]

ANSWERED_BY_CLAIMS: Final = Unchecked("the claims that the evidence vouches for answer the challenge")
"""The challenge for verifying the evidence itself."""


@dataclass(slots=True)
class Case:
    """The claimed nonce, from claims whose hash the evidence carries, and the one that was asked for."""

    nonce: bytes
    challenge: Challenge | Unchecked


RECIPE: Final = Recipe[Case]("CLAIMS")


@RECIPE.step(
    "Claims answer the challenge",
    source="CCC interoperable RA-TLS, the claim nonce",
    fix="ask the attester for new evidence over this nonce",
    cost="an old certificate can be replayed by whoever recorded it and holds its key",
)
def fresh(case: Case) -> Outcome:
    """The claim is the nonce, to the byte."""
    if isinstance(case.challenge, Unchecked):
        return case.challenge
    if not _crypto.equal(case.nonce, case.challenge.nonce):
        raise NotFresh(
            "the claims do not contain the nonce: this evidence answers another challenge, or none",
            expected=case.challenge.nonce, actual=case.nonce, set_by="the caller's nonce",
        )  # fmt: skip
    return Compared(case.challenge.nonce, case.nonce, "the caller's nonce")


def check_nonce(nonce: bytes, challenge: Challenge | Unchecked) -> Check:
    """The check of one claimed nonce; NotFresh if it is another."""
    return RECIPE.explain(RECIPE.follow(Case(nonce, challenge)))[0]
