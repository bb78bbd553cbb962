"""What a peer must prove, and the appraisal of the certificate that it shows.

Certificate evidence was made before the connection, over the certificate's key: it carries no nonce of whoever verifies
it. It says that this key was made in that TEE at some time before now. It does not say that the TEE is still up to
date, running, or alone with its key. `fresh=True` adds evidence made for the connection (`cloister.tls.freshness`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from cloister._x509 import Certificate
from cloister.appraise.policy import HARDWARE_ONLY
from cloister.appraise.reference import ReferenceValues
from cloister.appraise.vector import Tier
from cloister.endorse import cache
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.envelope import ClaimsBinding, Envelope, KeyBinding
from cloister.envelope.contents import Opening
from cloister.envelope.ratls import open_container
from cloister.envelope.recognise import recognise
from cloister.errors import BindingInvalid, CloisterError, NotAttested, NotFresh, UsageError
from cloister.model import Challenge, Unchecked
from cloister.tls.identity import now
from cloister.tls.refusal import PeerRefused
from cloister.verification.recipe import Allowances, Check, Compared, Outcome, Recipe
from cloister.verifier import Verdict, Verifier
from cloister.verifier.policy_files import Policy, load_policy
from cloister.verifier.verifier import STRICT

__all__ = ["CERTIFICATE_RECIPE", "Demands", "demand", "with_checks"]

NO_NONCE: Final = Unchecked(
    "a certificate's evidence is older than the connection and answers no nonce of this side; fresh=True asks for more"
)
CERTIFICATE_RECIPE: Final = Recipe["Shown"]("CERTIFICATE")


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What a peer must prove. Without a policy nothing is affirming: then only those who `accept` less may pass.

    `accept` are the statuses with which a peer may speak; `accept_anchors` is for policies in Rego. `fresh` demands
    evidence that was made for this very connection, beside the certificate's. `clock` says when it is.
    """

    verifier: Verifier
    policy: Policy | Unchecked
    references: ReferenceValues | None = None
    allow: Allowances = STRICT
    accept: frozenset[Tier] = frozenset({Tier.AFFIRMING})
    accept_anchors: frozenset[AnchorKind] = HARDWARE_ONLY
    fresh: bool = False
    clock: Callable[[], datetime] = now

    def appraise(self, certificates: Sequence[bytes]) -> Verdict:
        """Verify and appraise the evidence in the first of these certificates; the others are endorsements at best.

        PeerRefused with what the verifier raised, or with the verdict where its status is not accepted; NotAttested or
        ParseError where there is no evidence to verify. That the peer holds the key is the handshake's to show.
        """
        if not certificates:
            raise NotAttested("it shows no certificate, and so no evidence")
        leaf, *others = map(Certificate.parse, certificates)
        envelope = opened(leaf, others)
        at = self.clock()
        try:
            checks = CERTIFICATE_RECIPE.explain(CERTIFICATE_RECIPE.follow(Shown(leaf, envelope, at)))
            verdict = self.judge(envelope, NO_NONCE, at)
        except CloisterError as error:
            raise PeerRefused.because(error, envelope.path) from error
        return self.accepted(with_checks(verdict, checks))

    def judge(self, envelope: Envelope, challenge: Challenge | Unchecked, at: datetime) -> Verdict:
        """The verdict about an envelope, whatever it is."""
        return self.verifier.appraise_opened(
            envelope, at=at, challenge=challenge, policy=self.policy, references=self.references, allow=self.allow,
            accept_anchors=self.accept_anchors,
        )  # fmt: skip

    def accepted(self, verdict: Verdict) -> Verdict:
        """The verdict, if its status is accepted; PeerRefused with it otherwise."""
        if verdict.status in self.accept:
            return verdict
        failed = ", ".join(one.number for one in verdict.checks if one.state == "failed")
        reason = "no policy says which program it should be" if isinstance(self.policy, Unchecked) else failed
        raise PeerRefused(
            f"the TLS peer is attested, but {verdict.status}{f' ({reason})' if reason else ''}", verdict=verdict
        )


def demand(
    policy: str | Path | Policy | Unchecked,
    *,
    anchors: TrustAnchors | None = None,
    endorsements: Endorsements | None = None,
    allow: Allowances = STRICT,
    accept: frozenset[Tier] = frozenset({Tier.AFFIRMING}),
    fresh: bool = False,
    clock: Callable[[], datetime] = now,
) -> Demands:
    """Demands with the defaults of `cloister.verify`: hardware vendors' anchors, and the user's collateral cache.

    PolicyError if the policy is wrong; UsageError if what is demanded cannot be meant.
    """
    if not accept:
        raise UsageError("accept: no status is accepted, so every peer would be refused")
    verifier = Verifier(anchors=anchors, endorsements=cache.load() if endorsements is None else endorsements)
    loaded, references = load_policy(Path(policy), clock()) if isinstance(policy, str | Path) else (policy, None)
    return Demands(
        verifier=verifier, policy=loaded, references=references, allow=allow, accept=accept,
        fresh=fresh, clock=clock,
    )  # fmt: skip


def opened(leaf: Certificate, others: Sequence[Certificate]) -> Envelope:
    """The evidence in a peer's own certificate. The certificate itself endorses nothing, so it is left out of those."""
    envelope = open_container(leaf.encoded, Opening(recognise))
    along = (*(one for one in envelope.certificates if one != leaf), *others)
    return replace(envelope, certificates=tuple(dict.fromkeys(along))).bounded()


def with_checks(verdict: Verdict, before: Sequence[Check] = (), after: Sequence[Check] = ()) -> Verdict:
    """The verdict with further checks of what surrounds its evidence."""
    bindings = (*before, *verdict.authentic.bindings, *after)
    return replace(verdict, authentic=replace(verdict.authentic, bindings=bindings))


@dataclass(slots=True)
class Shown:
    """A certificate as the peer shows it, opened; nothing in it is verified."""

    leaf: Certificate
    envelope: Envelope
    at: datetime


@CERTIFICATE_RECIPE.step(
    "the certificate is in its time",
    source="RFC 5280, section 4.1.2.5",
    fix="have the peer renew its certificate, and check both clocks",
    cost="evidence that its own maker no longer stands by is believed: the platform may have become vulnerable since",
)
def in_time(shown: Shown) -> Outcome:
    """Dates are the peer's own words; a TEE that limits how long its evidence is good is taken at its word."""
    window = (shown.leaf.not_before, shown.leaf.not_after)
    if not window[0] <= shown.at <= window[1]:
        raise NotFresh("the peer's certificate is outside its dates", expected=window, actual=shown.at)
    return Compared(window, shown.at, "the certificate itself")


@CERTIFICATE_RECIPE.step(
    "all evidence in the certificate speaks of its key",
    source="CCC interoperable RA-TLS, evidence formats",
    fix="connect to the attester itself, and have it make its certificate again",
    cost="evidence of somebody else's TEE stands in a certificate of the attacker's own",
)
def all_bound(shown: Shown) -> Outcome:
    """Whether each binding holds is the verifier's to check; here, that there is one for each piece of evidence."""
    bound = [
        one.evidence
        for one in shown.envelope.bindings
        if isinstance(one, KeyBinding | ClaimsBinding) and one.holder == shown.leaf
    ]
    if not shown.envelope.parts or any(part not in bound for part in shown.envelope.parts):
        raise BindingInvalid("a piece of evidence in the certificate is not bound to the certificate's key")
    count = len(shown.envelope.parts)
    return Compared(f"{count} bound", f"{count} bound")
