"""The steps that SGX and TDX quotes share. `sgx.py` and `tdx.py` put them in order.

Authenticity comes first: a forged quote is refused as forged even where no collateral is at hand.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeVar

from cloister import _crypto
from cloister._x509 import Certificate, Crl, pem_blocks
from cloister.endorse.anchors import TrustAnchor, TrustAnchors
from cloister.endorse.intel import SGX_EXTENSIONS, EnclaveLevel, PckInfo, pck_info
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, ChainInvalid, EndorsementUnavailable
from cloister.evidence.dcap import ECDSA_P256, PCK_CHAIN, Quote, SgxReportBody
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import chains
from cloister.verification.intel_collateral import QE_IDS, Statements, current_statements
from cloister.verification.recipe import Allowances, Compared, Outcome, Tcb, freshness

__all__ = [
    "Case",
    "attestation_key",
    "chain_to_root",
    "chain_valid",
    "collateral_current",
    "conclude",
    "fits_platform",
    "fresh",
    "qe_identity",
    "qe_report_signature",
    "quote_format",
    "quote_signature",
    "revocation",
]

INTEL_QE: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""The vendor id of Intel's quoting enclaves; nobody else's are endorsed by a PCK certificate."""

VALID_UNDER_PCK: Final = Compared("valid under the PCK", "valid")
VALID_UNDER_KEY: Final = Compared("valid under the attestation key", "valid")
BY_INTEL: Final = Compared((ECDSA_P256, INTEL_QE), (ECDSA_P256, INTEL_QE))

Q = TypeVar("Q", bound=Quote)


@dataclass(slots=True, kw_only=True)
class Case(Generic[Q]):
    """One verification on its way: what was handed in, then what the steps found."""

    quote: Q
    anchors: TrustAnchors
    endorsements: Endorsements
    at: datetime
    challenge: Challenge | Unchecked
    allow: Allowances
    chain: chains.Chain = field(init=False)
    pck: PckInfo = field(init=False)
    anchor: TrustAnchor = field(init=False)
    statements: Statements = field(init=False)
    qe_level: EnclaveLevel | None = field(init=False)
    standing: Tcb = field(init=False)


def quote_format(case: Case[Q]) -> Outcome:
    """The quote was made with an ECDSA P-256 key by Intel's quoting enclave."""
    header = case.quote.header
    if header.attestation_key_type != ECDSA_P256 or header.qe_vendor_id != INTEL_QE:
        raise ChainInvalid(
            "the quote is not by Intel's quoting enclave, or with a kind of key that it does not use",
            expected=(ECDSA_P256, INTEL_QE), actual=(header.attestation_key_type, header.qe_vendor_id),
        )  # fmt: skip
    return BY_INTEL


def chain_to_root(case: Case[Q]) -> Outcome:
    """The PCK certificate in the quote leads to the pinned root."""
    signature = case.quote.signature
    if signature.certification_type != PCK_CHAIN:
        raise EndorsementUnavailable(
            "the quote carries no PCK certificate chain; ask its platform for one with certification data of type 5",
            expected=PCK_CHAIN, actual=signature.certification_type,
        )  # fmt: skip
    case.chain, case.pck, case.anchor, outcome = endorsed_pck(
        signature.certification_data, case.anchors, case.quote.tee
    )
    return outcome


@functools.lru_cache(maxsize=1024)
def endorsed_pck(pem: bytes, anchors: TrustAnchors, tee: Tee) -> tuple[chains.Chain, PckInfo, TrustAnchor, Compared]:
    """The chain of the PCK certificate in a quote, what that says, the anchor, and the step's outcome.

    Remembered by its bytes: a platform's certificates are the same in all its quotes. Dates are another step.
    """
    leaf, certificates = pck_certificates(pem)
    chain = chains.build_chain(leaf, certificates, anchors, tee)
    anchor = anchors.find(tee, chain[-1].spki)
    assert anchor is not None  # noqa: S101 - build_chain ended there
    return chain, pck_info(leaf), anchor, Compared(anchors.named(tee), chain[-1].name, "trust anchors")


@functools.lru_cache(maxsize=1024)
def pck_certificates(pem: bytes) -> tuple[Certificate, tuple[Certificate, ...]]:
    """The PCK certificate among those in a quote, and all of them. Their order varies in real quotes."""
    found = tuple(Certificate.parse(block) for block in pem_blocks(pem, "CERTIFICATE"))
    leaves = [one for one in found if SGX_EXTENSIONS in one.extensions and not one.is_ca]
    if len(leaves) != 1 or "SGX PCK Certificate" not in leaves[0].name:
        raise ChainInvalid(f"the quote carries {len(leaves)} PCK certificates; exactly one is needed")
    return leaves[0], found


def chain_valid(case: Case[Q]) -> Outcome:
    """Every certificate of the chain is valid now."""
    chains.check_validity(case.chain, case.at)
    return Compared(("until", case.chain.window[1]), case.at, "the certificates")


def qe_report_signature(case: Case[Q]) -> Outcome:
    """The platform's PCK signed the quoting enclave's report."""
    signature = case.quote.signature
    key = _crypto.load_spki(case.chain[0].spki)
    _crypto.verify_ecdsa_raw(
        key, signature.qe_report_signature, signature.signed_qe_report, "sha256",
        what="the PCK's signature over the quoting enclave's report",
    )  # fmt: skip
    return VALID_UNDER_PCK


def attestation_key(case: Case[Q]) -> Outcome:
    """The quoting enclave's report names the attestation key: SHA-256(key || authentication data) || 32 zeros."""
    signature = case.quote.signature
    expected = hashlib.sha256(signature.attestation_key + signature.qe_auth_data).digest() + bytes(32)
    actual = signature.qe_report.report_data
    if expected != actual:
        raise BindingInvalid(
            "the quoting enclave did not vouch for this attestation key", expected=expected, actual=actual,
        )  # fmt: skip
    return Compared(expected, actual)


def quote_signature(case: Case[Q]) -> Outcome:
    """The attestation key signed header and body."""
    signature = case.quote.signature
    key = _crypto.ec_public_key("P-256", signature.attestation_key)
    _crypto.verify_ecdsa_raw(
        key, signature.signature, case.quote.signed, "sha256", what="the attestation key's signature over the quote"
    )
    return VALID_UNDER_KEY


def fresh(case: Case[Q]) -> Outcome:
    """The report data is the nonce, zero-padded."""
    report_data: bytes = getattr(case.quote.body, "report_data")  # noqa: B009 - both kinds of body have it
    return freshness(case.challenge, report_data, field_name="report_data")


def collateral_current(case: Case[Q]) -> Outcome:
    """Intel's signed statements about this platform family are at hand and valid now."""
    case.statements = current_statements(case.endorsements, case.anchors, case.quote.tee, case.pck.fmspc, case.at)
    one = case.statements
    return Compared(("until", one.end), case.at, one.named)


def revocation(case: Case[Q]) -> Outcome:
    """Neither the PCK certificate nor its CA, nor the signer of the statements, has been revoked."""
    start, end = cleared(case.chain, case.statements, case.endorsements)
    if start <= case.at <= end:
        return chains.NONE_REVOKED
    lists = lists_of(case.endorsements)
    how = "`cloister collateral fetch` gets them"
    outcomes = [
        chains.check_revocation(one, lists, case.at, case.allow, hint=how)
        for one in (case.chain, *case.statements.signers)
    ]
    return next((one for one in outcomes if isinstance(one, Unchecked)), chains.NONE_REVOKED)


@functools.lru_cache(maxsize=128)
def lists_of(endorsements: Endorsements) -> tuple[Crl, ...]:
    """Every list at hand, also those beside statements that are not used: any of them may name a certificate."""
    return (*endorsements.crls, *(crl for one in endorsements.intel for crl in one.crls))


@functools.lru_cache(maxsize=1024)
def cleared(chain: chains.Chain, statements: Statements, endorsements: Endorsements) -> tuple[datetime, datetime]:
    """The time in which `chains.cleared` clears the PCK chain and the signers of the statements; empty if none."""
    lists = lists_of(endorsements)
    windows = [chains.cleared(one, lists) for one in (chain, *statements.signers)]
    return max(start for start, _ in windows), min(end for _, end in windows)


def fits_platform(case: Case[Q]) -> Outcome:
    """The statements are about this platform: FMSPC and PCE id."""
    return fitting(case.statements, case.pck)


@functools.lru_cache(maxsize=1024)
def fitting(statements: Statements, pck: PckInfo) -> Compared:
    """Platform family and PCE of both, or BindingInvalid. Neither changes, so the answer does not."""
    expected, actual = (statements.tcb.fmspc, statements.tcb.pce_id), (pck.fmspc, pck.pce_id)
    if expected != actual:
        raise BindingInvalid(
            "the TCB info is about another platform family", expected=expected, actual=actual, set_by=statements.named
        )
    return Compared(expected, actual, statements.named)


def qe_identity(case: Case[Q]) -> Outcome:
    """The quoting enclave is Intel's current one (QVL steps 4.1.2.9.5 to 4.1.2.9.10)."""
    outcome, case.qe_level = judged_qe(case.statements, case.quote.tee, case.quote.signature.signed_qe_report)
    if outcome.expected != outcome.actual:
        raise BindingInvalid(
            "the quoting enclave is not the one that Intel endorses",
            expected=outcome.expected, actual=outcome.actual, set_by=outcome.set_by,
        )  # fmt: skip
    return outcome


@functools.lru_cache(maxsize=1024)
def judged_qe(statements: Statements, tee: Tee, signed_report: bytes) -> tuple[Compared, EnclaveLevel | None]:
    """What Intel demands of the quoting enclave, what its report says, and the level that its ISVSVN reaches."""
    qe, report = statements.qe, SgxReportBody.parse(signed_report)
    attributes = int.from_bytes(report.attributes) & int.from_bytes(qe.attributes_mask)
    expected = (QE_IDS[tee], qe.miscselect, qe.attributes, qe.mrsigner, qe.isvprodid)
    misc = report.miscselect & qe.miscselect_mask
    actual = (qe.id, misc, attributes.to_bytes(16), report.mrsigner, report.isvprodid)
    level = next((one for one in qe.levels if report.isvsvn >= one.isvsvn), None)
    return Compared(expected, actual, "Intel QE identity"), level


def conclude(case: Case[Q]) -> tuple[TrustAnchor, Tcb, Mapping[str, object]]:
    """The anchor, the TCB standing, and what the endorsements said of the platform."""
    facts = {
        "fmspc": case.pck.fmspc, "pce_id": case.pck.pce_id, "platform_components": case.pck.components,
        "pcesvn": case.pck.pcesvn, "ppid": case.pck.ppid, "platform_instance_id": case.pck.platform_instance_id,
        "configuration": case.pck.configuration, "tcb_evaluation_data_number": case.statements.tcb.evaluation,
        "collateral_expires": case.statements.end,
    }  # fmt: skip
    return case.anchor, case.standing, facts
