"""Certificate chains: from a leaf to a pinned root, by certificates that may issue, each valid and not revoked.

Three questions, asked apart because they change at different speeds: does the chain hold (for ever, so remembered),
is it valid now, has something in it been revoked.
"""

import functools
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cloister import _crypto
from cloister._x509 import Certificate, Crl, SignatureAlgorithm
from cloister.endorse.anchors import TrustAnchors
from cloister.errors import ChainInvalid, EndorsementUnavailable, ParseError, Revoked, SignatureInvalid
from cloister.model import Tee, Unchecked
from cloister.verification.recipe import Allowances, Compared, Outcome

__all__ = [
    "NONE_REVOKED",
    "Chain",
    "build_chain",
    "check_revocation",
    "check_validity",
    "check_window",
    "cleared",
    "signature_holds",
]

LONGEST_CHAIN: Final = 6
MOST_TRIED: Final = 64
"""Issuers that are tried for one chain. Real pools have two or three of one name; with many of one name and key, all
orders of them would hold."""
EVER: Final = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
NEVER: Final = (EVER[1], EVER[0])
NONE_REVOKED: Final = Compared("no certificate revoked", "none is", "the issuers' revocation lists")
UNDERSTOOD: Final = frozenset({"2.5.29.15", "2.5.29.17", "2.5.29.19"})
"""Extensions that may be critical: keyUsage and basicConstraints are looked at; subjectAltName stands where the subject
is empty (RFC 5280, section 4.1.2.6), and only names. Any other critical one ends the chain."""


class Chain(tuple[Certificate, ...]):  # noqa: SLOT001 - remembers, so it needs a __dict__
    """(leaf, issuer, ..., root), each signed by the next, the root pinned. Remembers its hash and its window."""

    @functools.cached_property
    def window(self) -> tuple[datetime, datetime]:
        """The time in which all certificates are valid, both ends included."""
        return max(one.not_before for one in self), min(one.not_after for one in self)

    @functools.cached_property
    def _hash(self) -> int:
        return super().__hash__()

    def __hash__(self) -> int:
        return self._hash


@functools.lru_cache(maxsize=512)
def build_chain(leaf: Certificate, pool: tuple[Certificate, ...], anchors: TrustAnchors, tee: Tee) -> Chain:
    """The chain from `leaf` to a root that `anchors` pin for `tee`: (leaf, issuer, ..., root).

    Issuers are chosen by name and signature, never by position: quotes carry their chains in any order, and two AMD
    certificates share one name. Raises ChainInvalid if no chain holds. Says nothing about dates and revocation.
    """
    refuse_unknown_critical(leaf)
    chain = _search((leaf,), frozenset(pool), anchors, tee, [MOST_TRIED])
    if chain is None:
        raise _why_not(leaf, pool, anchors, tee)
    return Chain(chain)


def _search(
    chain: tuple[Certificate, ...], pool: frozenset[Certificate], anchors: TrustAnchors, tee: Tee, left: list[int]
) -> tuple[Certificate, ...] | None:
    last = chain[-1]
    if anchors.find(tee, last.spki) is not None and signature_holds(
        last.tbs, last.algorithm, last.signature, last.spki
    ):
        return chain
    if len(chain) == LONGEST_CHAIN:
        return None
    for issuer in sorted(pool, key=lambda one: one.encoded):
        if issuer.subject != last.issuer or issuer in chain or not usable(issuer, below=len(chain) - 1):
            continue
        left[0] -= 1
        if left[0] < 0:
            raise ChainInvalid(f"more than {MOST_TRIED} certificates could have issued {chain[0].name!r}")
        if signature_holds(last.tbs, last.algorithm, last.signature, issuer.spki):
            found = _search((*chain, issuer), pool, anchors, tee, left)
            if found is not None:
                return found
    return None


def usable(issuer: Certificate, *, below: int) -> bool:
    """Whether a chain may go over this. One that is malformed or not understood does not end the search for others."""
    try:
        refuse_unknown_critical(issuer)
        return may_issue(issuer, below=below)
    except (ChainInvalid, ParseError):
        return False


def may_issue(certificate: Certificate, *, below: int) -> bool:
    """Whether this is a CA certificate whose path length allows `below` CAs under it."""
    limit = certificate.path_length
    return certificate.is_ca and (limit is None or below <= limit)


def refuse_unknown_critical(certificate: Certificate) -> None:
    """Refuse a certificate with a critical extension that is not understood (RFC 5280, section 4.2)."""
    unknown = [oid for oid, one in certificate.extensions.items() if one.critical and oid not in UNDERSTOOD]
    if unknown:
        raise ChainInvalid(f"{certificate.name}: has critical extensions that are not understood", actual=unknown)


def _why_not(leaf: Certificate, pool: tuple[Certificate, ...], anchors: TrustAnchors, tee: Tee) -> ChainInvalid:
    """Which link is missing, as far as names tell."""
    chain, reason = [leaf], ""
    while not reason:
        last = chain[-1]
        named = [one for one in pool if one.subject == last.issuer and one not in chain]
        held = (one for one in named if signature_holds(last.tbs, last.algorithm, last.signature, one.spki))
        signers = list(itertools.islice(held, 1))
        if last.subject == last.issuer and not signers:
            reason = f"the chain ends in {last.name!r}, which is not a trust anchor"
        elif not named:
            reason = f"the issuer of {last.name!r} is not at hand"
        elif not signers:
            reason = f"the signature on certificate {last.name!r} does not verify under {named[0].name!r}"
        elif not may_issue(signers[0], below=len(chain) - 1):
            reason = f"{signers[0].name!r} may not issue certificates, but issued {last.name!r}"
        elif len(chain) == LONGEST_CHAIN:
            reason = f"the chain is longer than {LONGEST_CHAIN} certificates"
        else:
            chain.append(signers[0])
    return ChainInvalid(
        reason, expected=f"a chain to {anchors.named(tee)}", actual=chain[-1].name, set_by="trust anchors"
    )


@functools.lru_cache(maxsize=4096)
def signature_holds(signed: bytes, algorithm: SignatureAlgorithm, signature: bytes, spki: bytes) -> bool:
    """Whether `signature` over `signed` verifies under the key. Remembered: it will never change."""
    try:
        key = _crypto.load_spki(spki)
        if algorithm.scheme == "ecdsa":
            _crypto.verify_ecdsa(key, signature, signed, algorithm.digest, what="")
        elif algorithm.scheme == "rsa-pkcs1":
            _crypto.verify_rsa_pkcs1(key, signature, signed, algorithm.digest, what="")
        elif algorithm.scheme == "rsa-pss":
            _crypto.verify_rsa_pss(key, signature, signed, algorithm.digest, what="", salt=algorithm.salt)
        else:
            _crypto.verify_ed25519(key, signature, signed, what="")
    except SignatureInvalid:
        return False
    return True


def check_validity(chain: Chain, at: datetime) -> None:
    """Every certificate of the chain is valid at that time, or EndorsementUnavailable."""
    start, end = chain.window
    if not start <= at <= end:
        for one in chain:
            check_window(f"certificate {one.name!r}", one.not_before, one.not_after, at)


def check_window(what: str, start: datetime, end: datetime, at: datetime) -> None:
    """`at` lies inside the window, both ends included, or EndorsementUnavailable."""
    if at > end:
        raise EndorsementUnavailable(f"{what} has expired", expected=("until", end), actual=at, set_by=what)
    if at < start:
        raise EndorsementUnavailable(f"{what} is not valid yet", expected=("from", start), actual=at, set_by=what)


def check_revocation(chain: Chain, crls: tuple[Crl, ...], at: datetime, allow: Allowances, *, hint: str) -> Outcome:
    """No certificate of the chain is on its issuer's current list; the step that every chain has.

    A missing list means that nobody knows: EndorsementUnavailable, unless the caller allowed that knowingly. `hint`
    says how to get the lists.
    """
    start, end = cleared(chain, crls)
    if start <= at <= end:
        return NONE_REVOKED
    missing = []
    for certificate, issuer, lists in _lists(chain, crls):
        current = False
        for crl, revokes in lists:
            if revokes and crl.this_update <= at:
                raise Revoked(
                    f"certificate {certificate.name!r} has been revoked by {issuer.name!r}", actual=certificate.serial
                )
            current |= crl.this_update <= at and (crl.next_update is None or at <= crl.next_update)
        if not current:
            missing.append(f"the revocation list of {issuer.name!r} {_what_is_there([crl for crl, _ in lists], at)}")
    if not missing:
        return NONE_REVOKED
    reason = "; ".join(missing)
    if allow.unsafe_skip_revocation:
        return Unchecked(f"{reason}; skipped because the caller allows it (unsafe_skip_revocation)")
    raise EndorsementUnavailable(f"{reason}; {hint}", expected="a current list of every issuer", actual="none")


@functools.lru_cache(maxsize=512)
def cleared(chain: Chain, crls: tuple[Crl, ...]) -> tuple[datetime, datetime]:
    """A stretch of time, both ends included, in which every issuer's list is current and none names a certificate.

    Outside of it, or where it is empty, each list has to be looked at.
    """
    start, end = EVER
    for _, _, lists in _lists(chain, crls):
        if not lists or any(revokes for _, revokes in lists):
            return NEVER
        latest = max((crl for crl, _ in lists), key=lambda one: one.this_update)
        start = max(start, latest.this_update)
        end = min(end, latest.next_update or end)
    return start, end


def _what_is_there(lists: Sequence[Crl], at: datetime) -> str:
    """Why none of an issuer's lists is current."""
    if not lists:
        return "is not at hand"
    latest = max(lists, key=lambda one: one.this_update)
    if at < latest.this_update:
        return f"is not valid yet: it is of {latest.this_update:%Y-%m-%d}"
    return f"has expired on {latest.next_update:%Y-%m-%d}"


@functools.lru_cache(maxsize=512)
def _lists(
    chain: Chain, crls: tuple[Crl, ...]
) -> tuple[tuple[Certificate, Certificate, tuple[tuple[Crl, bool], ...]], ...]:
    """For every certificate but the root: its issuer, the lists that the issuer signed, whether it is on them."""
    return tuple(
        (
            one,
            issuer,
            tuple(
                (crl, one.serial in crl.revoked)
                for crl in crls
                if crl.issuer == issuer.subject and signature_holds(crl.tbs, crl.algorithm, crl.signature, issuer.spki)
            ),
        )
        for one, issuer in itertools.pairwise(chain)
    )
