"""The shared DCAP steps: titles, sources, remedies and costs, in the order in which both recipes need them."""

from typing import Any

from cloister.verification import dcap
from cloister.verification.recipe import Recipe

__all__ = ["add_authenticity", "add_endorsements", "add_freshness"]


def add_authenticity(recipe: Recipe[Any]) -> None:
    """Steps 1 to 5: who signed the quote."""
    recipe.step(
        "Made by Intel's quoting enclave", source="Intel QuoteGenReference, section A.1",
        fix="use a quote with an ECDSA P-256 attestation key (type 2)",
        cost="no other quoting enclave is endorsed by Intel",
    )(dcap.quote_format)  # fmt: skip
    recipe.step(
        "PCK certificate chain", source="Intel QVL, step 4.1.2.4",
        fix="nothing, if the quote is an emulator's or altered; else get the quote again from its platform",
        cost="without it anybody can make this quote with a key of their own",
    )(dcap.chain_to_root)  # fmt: skip
    recipe.step(
        "Signature over the quoting enclave's report", source="Intel QVL, step 4.1.2.5.13",
        fix="nothing: the quote was altered or put together from parts",
        cost="any enclave could pose as the quoting enclave",
    )(dcap.qe_report_signature)  # fmt: skip
    recipe.step(
        "Attestation key", source="Intel QVL, step 4.1.2.5.14",
        fix="nothing: the attestation key was exchanged",
        cost="anybody could sign quotes with a key of their own",
    )(dcap.attestation_key)  # fmt: skip
    recipe.step(
        "Signature over the quote", source="Intel QVL, step 4.1.2.5.17",
        fix="nothing: the quote was altered after it was signed",
        cost="every measurement in the quote could be forged",
    )(dcap.quote_signature)  # fmt: skip


def add_freshness(recipe: Recipe[Any]) -> None:
    """Step 7: for whom the quote was made."""
    recipe.step(
        "Answers the challenge", source="RFC 9334, section 10",
        fix="ask the attester for new evidence over this nonce",
        cost="an old quote can be replayed by whoever recorded it",
    )(dcap.fresh)  # fmt: skip


def add_endorsements(recipe: Recipe[Any]) -> None:
    """What Intel says of the platform, after authenticity, debug and freshness."""
    recipe.step(
        "Certificates valid now", source="RFC 5280, section 6.1.3",
        fix="check the verifier's clock (--at); a platform gets new PCK certificates from its provisioning service",
        cost="an expired certificate is not on revocation lists any more: its key may have been stolen since",
    )(dcap.chain_valid)  # fmt: skip
    recipe.step(
        "TCB info and QE identity", source="Intel QVL, steps 4.1.2.6 and 4.1.2.9",
        fix="`cloister collateral fetch` with the evidence, on a machine with Internet access",
        cost="known holes of this platform would stay unknown: the TCB status could not be said",
    )(dcap.collateral_current)  # fmt: skip
    recipe.step(
        "Not revoked", source="Intel QVL, step 4.1.2.5.8",
        fix="nothing, if it was revoked; `cloister collateral fetch`, if the list is missing",
        cost="a key that Intel has withdrawn because it leaked would be believed",
    )(dcap.revocation)  # fmt: skip
    recipe.step(
        "TCB info fits the platform", source="Intel QVL, step 4.1.2.5.11",
        fix="fetch the collateral for this FMSPC",
        cost="the levels of another processor would be applied",
    )(dcap.fits_platform)  # fmt: skip
    recipe.step(
        "Quoting enclave's identity", source="Intel QVL, step 4.1.2.5.16",
        fix="nothing: another enclave than Intel's made this quote",
        cost="any enclave on a genuine platform could make quotes about others",
    )(dcap.qe_identity)  # fmt: skip
