"""Verifying a SIGSTRUCT: the enclave's author signed these values.

    1  not signed with a debug key, unless allowed
    2  the RSA-3072 signature, exponent 3, PKCS #1 v1.5 with SHA-256, over bytes 0-127 and 900-1027
    3  q1 and q2, the quotients with which the processor checks that signature

Not checked: who the author is (compare `mrsigner` with one that is known), that an image has this enclave hash (measure
it), and the date, which is the author's word.
"""

from dataclasses import dataclass
from typing import Final

from cloister import _crypto
from cloister.errors import SignatureInvalid, VerificationError
from cloister.evidence.sigstruct import Sigstruct
from cloister.model import Unchecked
from cloister.verification.recipe import Allowances, Check, Compared, Outcome, Recipe

__all__ = ["RECIPE", "verify_sigstruct"]

SDM: Final = "Intel SDM volume 3D, section 38.13"
RECIPE: Final = Recipe["Case"]("SIGSTRUCT")


@dataclass(slots=True)
class Case:
    """A SIGSTRUCT while it is being verified."""

    sigstruct: Sigstruct
    allow: Allowances


@RECIPE.step(
    "the signing key may sign production enclaves",
    source=f"{SDM}, HEADER",
    fix="sign the enclave with a production key",
    cost="anybody may hold a debug signing key: the signature says nothing about who made the enclave",
)
def production(case: Case) -> Outcome:
    """The header's debug bit."""
    if not case.sigstruct.debug_signed:
        return Compared("not debug-signed", "not debug-signed")
    if case.allow.unsafe_allow_debug:
        return Unchecked("debug-signed; accepted because the caller allows it (unsafe_allow_debug)")
    raise VerificationError("SIGSTRUCT is debug-signed", expected="not debug-signed", actual="debug-signed")


@RECIPE.step(
    "the author's signature",
    source=f"{SDM}, SIGNATURE",
    fix="get the enclave image and its SIGSTRUCT again from its author",
    cost="every value in it, measurement and product included, may have been written by anybody",
)
def signature(case: Case) -> Outcome:
    """RSA with the modulus that stands in the structure; both are little-endian."""
    one = case.sigstruct
    key = _crypto.rsa_public_key(int.from_bytes(one.modulus, "little"), one.exponent)
    _crypto.verify_rsa_pkcs1(key, one.signature[::-1], one.signed, "sha256", what="the signature of SIGSTRUCT")
    return Compared("a signature by the key in it", "verifies")


@RECIPE.step(
    "q1 and q2",
    source=f"{SDM}, Q1 and Q2",
    fix="sign the enclave again with a tool that computes them",
    cost="none for what is signed; a processor would refuse to start the enclave",
)
def quotients(case: Case) -> Outcome:
    """q1 = s*s / n, q2 = s * (s*s mod n) / n, rounded down."""
    one = case.sigstruct
    n, s, q1, q2 = (int.from_bytes(value, "little") for value in (one.modulus, one.signature, one.q1, one.q2))
    expected = (s * s // n, s * (s * s % n) // n)
    if (q1, q2) != expected:
        raise SignatureInvalid("q1 or q2 of SIGSTRUCT is wrong", expected=expected, actual=(q1, q2))
    return Compared(expected, (q1, q2))


def verify_sigstruct(sigstruct: Sigstruct, *, allow: Allowances = Allowances()) -> tuple[Check, ...]:  # noqa: B008 - immutable
    """Follow the recipe; its checks, or SignatureInvalid or VerificationError with them."""
    return RECIPE.explain(RECIPE.follow(Case(sigstruct, allow)))
