"""How a TPM 2.0 quote is verified (TCG TPM 2.0 Library, parts 1 to 3; numbered as its explanation is).

 1. A TPM made it: the statement begins with TPM_GENERATED_VALUE and is a quote. A restricted key signs nothing foreign
    that begins so.
 2. Its attestation key (AK) is anchored: pinned itself, or by a certificate that leads to a pinned root.
 3. The AK's certificates are valid now, and
 4. not revoked. (An AK that is pinned itself has none.)
 5. The AK may do nothing but attest. Proven only where the TPM's public area came along and the key is a primary one:
    then the quote's qualified signer is a hash of it. Otherwise that is the promise of whoever pinned or certified it.
 6. The AK signed the statement: RSASSA, RSAPSS or ECDSA with SHA-256, SHA-384 or SHA-512. SHA-1 signatures are refused:
    collisions can be bought. RSA keys have 2048 bits or more.
 7. The extra data is exactly the nonce. Not zero-padded: TPMs take nonces of any length to 64 bytes.
 8. The PCR values that came along are those selected, all of them, and their hash is the one that was signed.
 9. The event log gives these PCR values.

PCR banks of SHA-1 are read (old machines have no others) and named in the claims: whether they are enough is the
policy's question.

Not checked: that the certified key belongs to the machine one thinks of (that is the certificate authority's or the
pin's promise); that PCR values are good (appraisal); what event types and data say beyond their digests. A TPM beside
the processor says nothing about who can read memory: it is no TEE.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloister.endorse.anchors import TrustAnchor, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import EndorsementUnavailable
from cloister.evidence.tpm import TpmQuote
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import chains
from cloister.verification.recipe import Allowances, Compared, Outcome, Recipe, Tcb, VerifiedEvidence, verified
from cloister.verification.tpm_key import anchored
from cloister.verification.tpm_quote import QuoteCase, add_quote_steps, add_statement_step

__all__ = ["RECIPE", "Case", "verify"]

NO_CHAIN: Final = chains.Chain()
PINNED: Final = Unchecked("the attestation key is pinned itself: there is no certificate")


@dataclass(slots=True, kw_only=True)
class Case(QuoteCase):
    """One verification on its way: what was handed in, then what the steps found."""

    anchors: TrustAnchors
    endorsements: Endorsements
    at: datetime
    allow: Allowances
    anchor: TrustAnchor | None = None
    chain: chains.Chain = NO_CHAIN


RECIPE: Final = Recipe[Case]("TPM")


add_statement_step(RECIPE)


@RECIPE.step(
    "Attestation key",
    source="TPM 2.0 Library, part 1, section 25.4",
    fix="pin the key (you know whose TPM it is), or give its certificate and those of its issuers, and pin the root",
    cost="without it anybody can make this quote with a key of their own",
)
def check_anchor(case: Case) -> Outcome:
    """The key is pinned, or certified under a pinned root."""
    quote, endorsements = case.quote, case.endorsements
    case.spki = quote.key.spki if quote.key is not None else only_pinned(endorsements.keys, case.anchors)
    case.anchor, case.chain = anchored(case.spki, endorsements.certificates, case.anchors)
    return Compared("a key that a trust anchor vouches for", case.anchor.name, "trust anchors")


def only_pinned(keys: tuple[bytes, ...], anchors: TrustAnchors) -> bytes:
    """The one key at hand that is pinned, for a quote that came without its key."""
    pinned = [key for key in keys if anchors.find(Tee.TPM, key) is not None]
    if len(pinned) != 1:
        raise EndorsementUnavailable(
            f"the quote came without its attestation key, and {len(pinned)} pinned keys are at hand; give exactly one"
        )
    return pinned[0]


@RECIPE.step(
    "Certificates valid now",
    source="RFC 5280, section 6.1.3",
    fix="check the verifier's clock; ask the TPM's or cloud's certificate authority for a new certificate",
    cost="an expired certificate is not on revocation lists any more: its key may have been stolen since",
)
def check_validity(case: Case) -> Outcome:
    """Every certificate of the chain is valid now."""
    if not case.chain:
        return PINNED
    chains.check_validity(case.chain, case.at)
    return Compared(("until", case.chain.window[1]), case.at, "the certificates")


@RECIPE.step(
    "Not revoked",
    source="RFC 5280, section 6.3",
    fix="nothing, if it was revoked; give the issuers' revocation lists, if they are missing",
    cost="a key that its issuer has withdrawn would be believed",
)
def check_revocation(case: Case) -> Outcome:
    """No certificate of the chain has been revoked."""
    if not case.chain:
        return PINNED
    hint = "give the lists of the certificates' distribution points"
    return chains.check_revocation(case.chain, case.endorsements.crls, case.at, case.allow, hint=hint)


add_quote_steps(RECIPE)


def conclude(case: Case) -> tuple[TrustAnchor, Tcb, Mapping[str, object]]:
    """The anchor, and who vouched for the key. TPM makers publish no TCB standing."""
    assert case.anchor is not None  # noqa: S101 - the step before did not raise
    certificate = case.chain[0].name if case.chain else ""
    return case.anchor, Tcb(), {"ak": case.spki, "ak_certificate": certificate, "event_log_proven": case.proven}


def verify(
    evidence: TpmQuote,
    *,
    anchors: TrustAnchors,
    endorsements: Endorsements,
    at: datetime,
    challenge: Challenge | Unchecked,
    allow: Allowances = Allowances(),  # noqa: B008 - immutable
) -> VerifiedEvidence[TpmQuote]:
    """Verify a quote at a time, against a nonce, with these anchors and endorsements."""
    case = Case(quote=evidence, anchors=anchors, endorsements=endorsements, at=at, challenge=challenge, allow=allow)
    return verified(RECIPE, case, tee=Tee.TPM, evidence=evidence, at=at, conclude=conclude)
