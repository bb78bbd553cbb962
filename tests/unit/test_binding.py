"""Checking that evidence speaks of the key, claims or data beside it."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.forge import envelope as forge
from tests.forge.ratls import (
    INTEL,
    OE_EVIDENCE,
    OE_REPORT,
    RATS_TLS,
    Key,
    bare,
    certificate,
    claims_for,
    dice_extension,
    oe_evidence,
    oe_report,
    pem_key,
    report_data,
)
from tests.forge.x509 import NOW, YEAR, ec_key, spki

from cloister.envelope import DataBinding, KeyForm, open_envelope
from cloister.errors import BindingInvalid, SignatureInvalid
from cloister.verification.binding import RECIPE, check_binding, verify_binding
from cloister.verification.recipe import CheckState

EC = ec_key(ec.SECP384R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STATES = [CheckState.PASSED] * 3


def states(data: bytes, **changes: Any) -> list[list[CheckState]]:
    """The checks of every binding of an envelope, against its own evidence."""
    return [
        [
            check.state
            for check in verify_binding(one, changes.get("said") or said(one.evidence), at=changes.get("at", NOW))
        ]
        for one in open_envelope(data).bindings
    ]


def said(evidence: Any) -> bytes:
    found: bytes = evidence.body.report_data
    return found


@pytest.mark.parametrize("algorithm", [1, 7, 8], ids=["SHA-256", "SHA-384", "SHA-512"])
@pytest.mark.parametrize("key", [EC, RSA], ids=["EC", "RSA"])
def test_claims_that_name_the_key(key: Key, algorithm: int) -> None:
    extension = dice_extension(forge.sgx_quote, claims_for(key, algorithm=algorithm))
    assert states(certificate(key, [extension]).encoded) == [STATES]


@pytest.mark.parametrize("key", [EC, RSA], ids=["EC", "RSA"])
@pytest.mark.parametrize(
    ("oid", "written", "wrap"),
    [
        (INTEL, spki, bytes), (RATS_TLS, bare, bytes), (RATS_TLS, spki, bytes),
        (OE_REPORT, pem_key, oe_report), (OE_REPORT, spki, oe_report),
    ],
    ids=["the key", "rats-tls", "rats-tls with the header", "Open Enclave", "EGo"],
)  # fmt: skip
def test_the_key_in_every_form(key: Key, oid: str, written: Any, wrap: Any) -> None:
    quote = forge.sgx_quote(report_data(written(key)))
    assert states(certificate(key, [(oid, wrap(quote))]).encoded) == [STATES]


def test_open_enclave_evidence() -> None:
    claims = pem_key(EC)
    evidence = oe_evidence(forge.sgx_quote(report_data(claims)), claims)
    unchecked = CheckState.UNCHECKED
    expected = [[unchecked, CheckState.PASSED, unchecked], STATES]
    assert states(certificate(EC, [(OE_EVIDENCE, evidence)]).encoded) == expected


@pytest.mark.parametrize(
    "said",
    [bytes(64), report_data(b"other"), report_data(spki(EC))[:63] + b"\1", report_data(spki(EC))[:16] + bytes(48)],
    ids=["nothing", "another key", "something behind the hash", "part of the hash"],
)
def test_another_key_is_refused(said: bytes) -> None:
    made = certificate(EC, [(INTEL, forge.sgx_quote(said))])
    with pytest.raises(BindingInvalid, match="does not speak of the public key") as caught:
        states(made.encoded)
    assert [check.state for check in caught.value.checks] == [  # type: ignore[attr-defined]
        CheckState.PASSED, CheckState.FAILED, CheckState.NOT_REACHED,
    ]  # fmt: skip


def test_claims_that_the_evidence_does_not_speak_of() -> None:
    extension = dice_extension(forge.sgx_quote, claims_for(EC), bound=False)
    with pytest.raises(BindingInvalid, match="does not speak of the claims"):
        states(certificate(EC, [extension]).encoded)


def test_claims_that_name_another_key() -> None:
    extension = dice_extension(forge.sgx_quote, claims_for(RSA))
    with pytest.raises(BindingInvalid, match="name another key"):
        states(certificate(EC, [extension]).encoded)


def test_a_form_that_this_identifier_does_not_have() -> None:
    made = certificate(EC, [(INTEL, forge.sgx_quote(report_data(pem_key(EC))))])
    with pytest.raises(BindingInvalid):
        states(made.encoded)


def test_a_certificate_that_its_key_did_not_sign() -> None:
    extension = dice_extension(forge.sgx_quote, claims_for(EC))
    with pytest.raises(SignatureInvalid, match="not signed with its own key"):
        states(certificate(EC, [extension], signer=ec_key(ec.SECP384R1())).encoded)


def test_a_certificate_that_somebody_else_signed_is_said_to_be_so() -> None:
    made = certificate(EC, [dice_extension(forge.sgx_quote, claims_for(EC))], signer=ec_key(), issuer="A CA")
    assert states(made.encoded) == [[CheckState.UNCHECKED, CheckState.PASSED, CheckState.PASSED]]


@pytest.mark.parametrize("at", [NOW - 2 * YEAR, NOW + 2 * YEAR], ids=["before", "after"])
def test_dates_are_reported(at: Any) -> None:
    made = certificate(EC, [dice_extension(forge.sgx_quote, claims_for(EC))])
    assert states(made.encoded, at=at) == [[CheckState.PASSED, CheckState.PASSED, CheckState.UNCHECKED]]
    assert states(made.encoded, at=NOW + timedelta(1)) == [STATES]


@pytest.mark.parametrize(
    ("algorithm", "value"),
    [("sha256", hashlib.sha256(b"data").digest()), ("sha384", hashlib.sha384(b"data").digest()), ("", b"data")],
)
def test_data(algorithm: str, value: bytes) -> None:
    binding = DataBinding(evidence=None, what="data", data=b"data", algorithm=algorithm)
    check_binding(binding, value.ljust(64, b"\0"))
    for wrong in (bytes(64), value.ljust(63, b"\0") + b"\1", value[:-1].ljust(64, b"\0"), value[:16][:3]):
        with pytest.raises(BindingInvalid, match="does not speak of data"):
            check_binding(binding, wrong)


def test_empty_data_binds_nothing() -> None:
    with pytest.raises(BindingInvalid):
        check_binding(DataBinding(evidence=None, what="data", data=b"", algorithm=""), bytes(64))


def test_the_recipe_explains_itself() -> None:
    assert [step.number for step in RECIPE.steps] == ["BINDING-1", "BINDING-2", "BINDING-3"]
    assert all(step.fix and step.cost and step.source for step in RECIPE.steps)
    assert {form.value for form in KeyForm}
