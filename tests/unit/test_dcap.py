"""DCAP quotes under forged roots: what is read, what is refused, and for which reason."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.forge.intel import DEBUG_SGX, DEBUG_TD, IntelForge, Platform, enclave_report, td_report
from tests.forge.x509 import NOW, Authority, ec_key, issue, revocation_list, spki

from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import (
    BindingInvalid,
    ChainInvalid,
    EndorsementUnavailable,
    NotFresh,
    ParseError,
    Revoked,
    SignatureInvalid,
    VerificationError,
)
from cloister.evidence import sgx as sgx_evidence
from cloister.evidence import tdx as tdx_evidence
from cloister.evidence.tdx import TdReport15
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import sgx, tdx
from cloister.verification.recipe import Allowances, CheckState, VerifiedEvidence

FORGE = IntelForge()
UNASKED = Unchecked("no nonce in this test")


def verify_sgx(data: bytes, given: Endorsements | None = None, **changes: Any) -> VerifiedEvidence[Any]:
    settings: dict[str, Any] = {"anchors": FORGE.anchors, "at": NOW, "challenge": UNASKED} | changes
    return sgx.verify(sgx_evidence.parse(data), endorsements=given or FORGE.endorsements(), **settings)


def verify_tdx(data: bytes, given: Endorsements | None = None, **changes: Any) -> VerifiedEvidence[Any]:
    settings: dict[str, Any] = {"anchors": FORGE.anchors, "at": NOW, "challenge": UNASKED} | changes
    return tdx.verify(tdx_evidence.parse(data), endorsements=given or FORGE.endorsements(Tee.TDX), **settings)


# ---------------------------------------------------------------- good ones


@pytest.mark.parametrize("version", [3, 4, 5])
def test_sgx_quotes_verify(version: int) -> None:
    found = verify_sgx(FORGE.sgx_quote(version=version))
    assert found.tcb.status == "UpToDate"
    assert found.anchor.kind is AnchorKind.TESTING
    assert found.facts["fmspc"] == FORGE.platform.fmspc


@pytest.mark.parametrize(("version", "body"), [(4, td_report()), (5, td_report()), (5, td_report(TdReport15))])
def test_tdx_quotes_verify(version: int, body: Any) -> None:
    found = verify_tdx(FORGE.tdx_quote(version=version, body=body))
    assert found.tcb.status == "UpToDate"
    assert found.evidence.body == body


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_parsed_quote_is_what_its_constructors_make(version: int) -> None:
    quote = sgx_evidence.parse(FORGE.sgx_quote(version=version))
    made = replace(quote, signature=replace(quote.signature))
    assert made == quote
    assert vars(quote) == vars(made) | {"signed": made.signed}
    assert vars(quote.signature) == vars(made.signature) | {"signed_qe_report": made.signature.signed_qe_report}


def test_the_chain_may_stand_in_any_order_and_the_authentication_data_may_be_empty() -> None:
    blocks = FORGE.chain_pem().split(b"-----BEGIN")[1:]
    shuffled = b"".join(b"-----BEGIN" + block for block in reversed(blocks))
    assert verify_sgx(FORGE.sgx_quote(certification_data=shuffled, qe_auth_data=b"")).tcb.status == "UpToDate"


def test_the_nonce_is_found() -> None:
    nonce = bytes(range(40))
    body = enclave_report(report_data=nonce.ljust(64, b"\0"))
    found = verify_sgx(FORGE.sgx_quote(body=body), challenge=Challenge(nonce))
    assert found.unchecked == ()


def test_without_a_nonce_freshness_is_listed_as_not_checked() -> None:
    assert verify_sgx(FORGE.sgx_quote()).unchecked == ("Answers the challenge: no nonce in this test",)


# ---------------------------------------------------------------- formats

MALFORMED: dict[str, tuple[Callable[[bytes], bytes], str, int]] = {
    "one byte missing": (lambda quote: quote[:-1], "signature data size", 432),
    "one byte too many": (lambda quote: quote + b"\0", "signature data size", 432),
    "an unknown version": (lambda quote: b"\x06" + quote[1:], "version", 0),
    "another TEE": (lambda quote: quote[:4] + b"\x81" + quote[5:], "tee_type", 4),
    "a reserved byte of the body": (lambda quote: quote[:68] + b"\1" + quote[69:], "reserved_20", 68),
    "a reserved byte of the quoting enclave's report": (
        lambda quote: quote[: 436 + 128 + 96] + b"\1" + quote[436 + 128 + 97 :],
        "reserved_96",
        436 + 128 + 96,
    ),
    "nothing": (lambda _: b"", "header", 0),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_quotes_name_field_and_offset(fault: str) -> None:
    spoil, field, offset = MALFORMED[fault]
    with pytest.raises(ParseError) as caught:
        sgx_evidence.parse(spoil(FORGE.sgx_quote()))
    assert caught.value.field == field
    assert caught.value.offset in {offset, offset + 4}, caught.value


def test_a_body_of_another_type_is_refused() -> None:
    quote = FORGE.tdx_quote(version=5)
    with pytest.raises(ParseError, match="body type"):
        tdx_evidence.parse(quote[:48] + b"\4" + quote[49:])


# ---------------------------------------------------------------- one fault each

OTHER = IntelForge()
FAULTS: dict[str, tuple[type[Exception], str, Any]] = {
    "another attestation key type": (
        ChainInvalid, "Intel's quoting enclave", lambda: patched(FORGE.sgx_quote(), 2, b"\3"),
    ),
    "another vendor's quoting enclave": (
        ChainInvalid, "Intel's quoting enclave", lambda: patched(FORGE.sgx_quote(), 12, b"\0"),
    ),
    "a chain to another root": (
        ChainInvalid, "is not a trust anchor", OTHER.sgx_quote,
    ),
    "no chain in the quote": (
        EndorsementUnavailable, "carries no PCK certificate chain", lambda: FORGE.sgx_quote(certification_type=1),
    ),
    "a chain without its PCK certificate": (
        ChainInvalid, "carries 0 PCK certificates", lambda: FORGE.sgx_quote(certification_data=b"nothing"),
    ),
    "a quoting enclave's report signed by another key": (
        SignatureInvalid, "the PCK's signature", lambda: FORGE.sgx_quote(qe_report_signature=bytes(63) + b"\1"),
    ),
    "an attestation key that nobody vouches for": (
        BindingInvalid, "did not vouch", lambda: FORGE.sgx_quote(
            qe_report=replace_report(report_data=bytes(64)),
        ),
    ),
    "an altered body": (
        SignatureInvalid, "signature over the quote", lambda: patched(FORGE.sgx_quote(), 48 + 64, b"\xff"),
    ),
    "a debug enclave": (
        VerificationError, "debug enclave", lambda: FORGE.sgx_quote(body=enclave_report(attributes=DEBUG_SGX)),
    ),
}  # fmt: skip


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def replace_report(**changes: Any) -> Any:
    return FORGE.qe_report(**changes)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_each(fault: str) -> None:
    kind, reason, make = FAULTS[fault]
    with pytest.raises(kind, match=reason) as caught:
        verify_sgx(make())
    checks: Any = caught.value.checks  # type: ignore[attr-defined]
    assert [one.state for one in checks if one.state in {CheckState.FAILED, CheckState.UNDECIDED}] != []
    failed = next(one for one in checks if one.state in {CheckState.FAILED, CheckState.UNDECIDED})
    assert failed.fix
    assert failed.cost
    assert all(one.state is CheckState.NOT_REACHED for one in checks[checks.index(failed) + 1 :])


def test_a_debug_td_is_refused_and_can_be_allowed() -> None:
    quote = FORGE.tdx_quote(body=td_report(tdattributes=DEBUG_TD))
    with pytest.raises(VerificationError, match="debug TD"):
        verify_tdx(quote)
    found = verify_tdx(quote, allow=Allowances(unsafe_allow_debug=True))
    assert any("debug TD" in line for line in found.unchecked)


def test_a_stale_nonce() -> None:
    with pytest.raises(NotFresh):
        verify_sgx(
            FORGE.sgx_quote(body=enclave_report(report_data=b"old".ljust(64, b"\0"))), challenge=Challenge(b"new")
        )


# ---------------------------------------------------------------- endorsements


def test_collateral_signed_by_another_key_is_no_collateral() -> None:
    with pytest.raises(EndorsementUnavailable, match="does not verify"):
        verify_sgx(FORGE.sgx_quote(), FORGE.endorsements(signing_key=ec_key()))


def test_collateral_signed_by_a_pck_is_no_collateral() -> None:
    """Any genuine platform's key leads to the same root; only a TCB signing certificate may sign statements."""
    good = FORGE.collateral(signing_key=FORGE.pck_key)
    forged = replace(good, tcb_info_chain=(FORGE.pck, FORGE.pck_ca.certificate, FORGE.root.certificate))
    with pytest.raises(EndorsementUnavailable, match="may not sign"):
        verify_sgx(FORGE.sgx_quote(), Endorsements(intel=(forged,)))


def test_collateral_of_another_platform_is_not_used() -> None:
    other = IntelForge(platform=Platform(fmspc=bytes(6)))
    with pytest.raises(EndorsementUnavailable, match="no Intel collateral for SGX platforms with FMSPC 00a06f010203"):
        verify_sgx(FORGE.sgx_quote(), other.endorsements())


def test_collateral_of_the_other_tee_is_not_used() -> None:
    with pytest.raises(EndorsementUnavailable, match="no Intel collateral"):
        verify_sgx(FORGE.sgx_quote(), FORGE.endorsements(Tee.TDX))


def test_tcb_info_for_another_pce_does_not_fit() -> None:
    with pytest.raises(BindingInvalid, match="another platform family"):
        verify_sgx(FORGE.sgx_quote(), FORGE.endorsements(tcb_info=FORGE.tcb_info(pceId="0001")))


@pytest.mark.parametrize(
    ("change", "value"),
    [("mrsigner", "00" * 32), ("isvprodid", 9), ("attributes", "13" + 15 * "00"), ("miscselect", "01000000")],
)
def test_a_quoting_enclave_with_another_identity(change: str, value: Any) -> None:
    with pytest.raises(BindingInvalid, match="quoting enclave is not the one"):
        verify_sgx(FORGE.sgx_quote(), FORGE.endorsements(qe_identity=FORGE.qe_identity(**{change: value})))


def test_a_revoked_pck() -> None:
    lists = (revocation_list(FORGE.root), revocation_list(FORGE.pck_ca, FORGE.pck))
    with pytest.raises(Revoked, match="PCK Certificate"):
        verify_sgx(FORGE.sgx_quote(), FORGE.endorsements(crls=lists))


def test_a_revoked_pck_ca() -> None:
    lists = (revocation_list(FORGE.root, FORGE.pck_ca.certificate), revocation_list(FORGE.pck_ca))
    with pytest.raises(Revoked, match="Platform CA"):
        verify_sgx(FORGE.sgx_quote(), FORGE.endorsements(crls=lists))


def test_a_revoked_signer_of_statements() -> None:
    lists = (revocation_list(FORGE.root, FORGE.signer), revocation_list(FORGE.pck_ca))
    with pytest.raises(Revoked, match="TCB Signing"):
        verify_sgx(FORGE.sgx_quote(), FORGE.endorsements(crls=lists))


def test_a_revocation_list_by_somebody_else_does_not_count() -> None:
    impostor = Authority("Forged SGX PCK Platform CA")
    lists = (revocation_list(FORGE.root), revocation_list(impostor))
    with pytest.raises(EndorsementUnavailable, match="not at hand"):
        verify_sgx(FORGE.sgx_quote(), FORGE.endorsements(crls=lists))


def test_without_revocation_lists_nothing_is_decided_unless_allowed() -> None:
    given = FORGE.endorsements(crls=())
    with pytest.raises(EndorsementUnavailable, match="revocation list"):
        verify_sgx(FORGE.sgx_quote(), given)
    found = verify_sgx(FORGE.sgx_quote(), given, allow=Allowances(unsafe_skip_revocation=True))
    assert any("revocation list" in line for line in found.unchecked)


def test_what_was_not_checked_about_the_statements_signer_is_said_too() -> None:
    """Its list is the only one that is missing: it is under a root of its own."""
    other = IntelForge()
    lists = (revocation_list(FORGE.root), revocation_list(FORGE.pck_ca))
    given, anchors = other.endorsements(crls=lists), FORGE.anchors | other.anchors
    with pytest.raises(EndorsementUnavailable, match="revocation list"):
        verify_sgx(FORGE.sgx_quote(), given, anchors=anchors)
    found = verify_sgx(FORGE.sgx_quote(), given, anchors=anchors, allow=Allowances(unsafe_skip_revocation=True))
    assert any("revocation list" in line for line in found.unchecked)


@pytest.mark.parametrize(("moment", "current"), [(-1, False), (0, True), (1, True), (2, True), (3, False)])
def test_lists_are_current_from_their_first_to_their_last_moment(moment: int, current: bool) -> None:  # noqa: FBT001
    lists = tuple(
        revocation_list(issuer, start=NOW, end=NOW + timedelta(seconds=2)) for issuer in (FORGE.root, FORGE.pck_ca)
    )
    given, at = FORGE.endorsements(crls=lists), NOW + timedelta(seconds=moment)
    for _ in range(2):  # the second time from memory
        if current:
            assert verify_sgx(FORGE.sgx_quote(), given, at=at).unchecked == (
                f"Answers the challenge: {UNASKED.reason}",
            )
        else:
            with pytest.raises(EndorsementUnavailable, match="revocation list"):
                verify_sgx(FORGE.sgx_quote(), given, at=at)


def test_an_expired_list_is_no_list() -> None:
    old = revocation_list(FORGE.pck_ca, start=NOW - timedelta(60), end=NOW - timedelta(30))
    with pytest.raises(EndorsementUnavailable, match="expired"):
        verify_sgx(FORGE.sgx_quote(), FORGE.endorsements(crls=(revocation_list(FORGE.root), old)))


def test_an_expired_list_still_revokes() -> None:
    old = revocation_list(FORGE.pck_ca, FORGE.pck, start=NOW - timedelta(60), end=NOW - timedelta(30))
    with pytest.raises(Revoked):
        verify_sgx(FORGE.sgx_quote(), FORGE.endorsements(crls=(revocation_list(FORGE.root), old)))


@pytest.mark.parametrize(("days", "words"), [(20, "has expired"), (-20, "not valid yet")])
def test_outside_the_collateral_s_window(days: int, words: str) -> None:
    with pytest.raises(EndorsementUnavailable, match=words):
        verify_sgx(FORGE.sgx_quote(), at=NOW + timedelta(days))


def test_an_expired_pck_certificate() -> None:
    with pytest.raises(EndorsementUnavailable, match=r"certificate .* has expired"):
        verify_sgx(FORGE.sgx_quote(), at=NOW + timedelta(4000))


def test_the_newest_statement_that_is_valid_is_used() -> None:
    old, new = (
        FORGE.collateral(),
        FORGE.collateral(tcb_info=FORGE.tcb_info(status="OutOfDate", tcbEvaluationDataNumber=18)),
    )
    found = verify_sgx(FORGE.sgx_quote(), Endorsements(intel=(old, new)))
    assert (found.tcb.status, found.tcb.advisories) == ("OutOfDate", ("INTEL-SA-00001",))


# ---------------------------------------------------------------- certificates that may not issue


def test_a_leaf_cannot_issue() -> None:
    """A genuine PCK key signs a certificate for another key: the chain must not hold."""
    forge = IntelForge()
    middle = Authority("Forged SGX PCK Platform CA", forge.root)
    middle.certificate = issue("Forged SGX PCK Platform CA", middle.key.public_key(), forge.root, ca=False)
    forge.pck_ca = middle
    forge.pck = forge.pck_certificate()
    with pytest.raises(ChainInvalid, match="may not issue"):
        verify_sgx(forge.sgx_quote(), forge.endorsements(), anchors=forge.anchors)


def test_a_self_signed_pck_is_not_a_root() -> None:
    forge = IntelForge()
    forge.pck_ca = Authority("Forged SGX PCK Platform CA")
    forge.pck = forge.pck_certificate()
    with pytest.raises(ChainInvalid, match="not a trust anchor"):
        verify_sgx(forge.sgx_quote(), forge.endorsements(), anchors=forge.anchors)


def test_an_anchor_for_another_tee_does_not_vouch() -> None:
    anchors = TrustAnchors.testing(spki(FORGE.root.key), tees=[Tee.SNP])
    with pytest.raises(ChainInvalid):
        verify_sgx(FORGE.sgx_quote(), anchors=anchors)


def test_verified_evidence_is_not_made_elsewhere() -> None:
    found = verify_sgx(FORGE.sgx_quote())
    with pytest.raises(TypeError, match=r"made by cloister\.verification only"):
        VerifiedEvidence(
            tee=Tee.SGX, evidence=found.evidence, anchor=found.anchor, at=NOW, tcb=found.tcb, recipe=found.recipe,
            outcomes=(),
        )  # fmt: skip
