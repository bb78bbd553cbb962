"""Certificates and requests that carry evidence: what is found in them, and the refusals."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge import envelope as forge
from tests.forge.ratls import (
    DICE,
    GRAMINE,
    INTEL,
    OE_EVIDENCE,
    OE_REPORT,
    RATS_TLS,
    armoured,
    certificate,
    claims_for,
    dice_extension,
    oe_evidence,
    oe_report,
)
from tests.forge.x509 import ec_key, spki

from cloister import _cbor
from cloister._cbor import Tag
from cloister.envelope import ClaimsBinding, DataBinding, KeyBinding, KeyForm, open_envelope
from cloister.envelope.ratls import has_evidence
from cloister.errors import ParseError
from cloister.evidence import sgx, tdx
from cloister.model import Digest

KEY = ec_key(ec.SECP384R1())
QUOTE = forge.sgx_quote()
CLAIMS = claims_for(KEY, nonce=b"nonce")


def test_tagged_evidence_binds_claims() -> None:
    made = certificate(KEY, [dice_extension(forge.sgx_quote, CLAIMS)])
    opened = open_envelope(made.encoded)
    (binding,) = opened.bindings
    assert isinstance(binding, ClaimsBinding)
    assert opened.certificates == (made,) == (binding.holder,)
    assert binding.evidence is opened.parts[0]
    assert (binding.claims, binding.nonce) == (CLAIMS, b"nonce")
    assert binding.key_digest == Digest("sha256", _cbor.loads(_cbor.loads(CLAIMS, "")["pubkey-hash"], "")[1])  # type: ignore[index]
    assert opened.path == (f"RA-TLS certificate, extension {DICE}", "Intel SGX quote v3")


def test_a_td_quote_may_be_tagged_evidence() -> None:
    opened = open_envelope(certificate(KEY, [dice_extension(forge.tdx_quote, CLAIMS)]).encoded)
    assert isinstance(opened.parts[0], tdx.TdxQuote)


@pytest.mark.parametrize(
    ("oid", "forms"),
    [(INTEL, (KeyForm.SPKI,)), (GRAMINE, (KeyForm.SPKI,)), (RATS_TLS, (KeyForm.BARE, KeyForm.SPKI))],
)
def test_a_quote_alone_binds_the_key(oid: str, forms: tuple[KeyForm, ...]) -> None:
    made = certificate(KEY, [(oid, QUOTE)])
    opened = open_envelope(armoured(made.encoded))
    assert opened.parts == (sgx.parse(QUOTE),)
    assert opened.bindings == (KeyBinding(evidence=opened.parts[0], holder=made, forms=forms),)


def test_open_enclave_report() -> None:
    made = certificate(KEY, [(OE_REPORT, oe_report(QUOTE))])
    (binding,) = open_envelope(made.encoded).bindings
    assert binding == KeyBinding(evidence=sgx.parse(QUOTE), holder=made, forms=(KeyForm.PEM, KeyForm.SPKI))


def test_open_enclave_evidence_binds_its_claims_and_the_key() -> None:
    made = certificate(KEY, [(OE_EVIDENCE, oe_evidence(QUOTE, b"claims"))])
    data, key = open_envelope(made.encoded).bindings
    assert data == DataBinding(evidence=sgx.parse(QUOTE), what="custom claims", data=b"claims")
    assert key == KeyBinding(evidence=sgx.parse(QUOTE), holder=made, forms=(KeyForm.PEM,))


def test_one_quote_under_two_identifiers_is_one_part() -> None:
    dice = dice_extension(lambda _: QUOTE, CLAIMS)
    opened = open_envelope(certificate(KEY, [(INTEL, QUOTE), dice]).encoded)
    assert len(opened.parts) == 1
    assert [type(one) for one in opened.bindings] == [ClaimsBinding]


def test_two_quotes_are_two_parts_each_bound() -> None:
    opened = open_envelope(certificate(KEY, [(GRAMINE, QUOTE), dice_extension(forge.sgx_quote, CLAIMS)]).encoded)
    assert [type(one) for one in opened.bindings] == [ClaimsBinding, KeyBinding]
    assert tuple(one.evidence for one in opened.bindings) == opened.parts


def test_evidence_as_a_message_wrapper() -> None:
    wrapped = _cbor.dumps(["application/unknown", QUOTE])
    assert open_envelope(certificate(KEY, [(DICE, wrapped)]).encoded).parts == (sgx.parse(QUOTE),)


def test_a_pck_certificate_is_not_one_with_evidence() -> None:
    assert INTEL in forge.intel().pck.extensions
    assert not has_evidence(forge.intel().pck)


def test_a_chain_comes_along() -> None:
    made = certificate(KEY, [(INTEL, QUOTE)])
    issuer = forge.authority().certificate
    assert open_envelope(armoured(made.encoded) + armoured(issuer.encoded)).certificates == (made, issuer)


def test_endorsements_in_the_certificate_are_mentioned() -> None:
    made = certificate(KEY, [(INTEL, QUOTE), ("2.23.133.5.4.2", b"\xa0")])
    assert open_envelope(made.encoded).leftovers == ("endorsements in the certificate, extension 2.23.133.5.4.2",)


REFUSED = {
    "evidence for local attestation": (dice_extension(forge.sgx_quote, CLAIMS, tag=60002), "60002 is an SGX report"),
    "an unknown tag": (dice_extension(forge.sgx_quote, CLAIMS, tag=1), "1 is not a format that is understood"),
    "no tag": ((DICE, _cbor.dumps(b"x")), "is not tagged CBOR"),
    "a tag around one thing": ((DICE, _cbor.dumps(Tag(60000, [QUOTE]))), "is not a quote and its claims"),
    "claims that are no bytes": ((DICE, _cbor.dumps(Tag(60000, [QUOTE, 1]))), "claims"),
    "evidence that is none": ((DICE, _cbor.dumps(Tag(60000, [b"x", CLAIMS]))), "is no evidence format"),
    "claims without a key": ((DICE, _cbor.dumps(Tag(60000, [QUOTE, _cbor.dumps({"nonce": b"x"})]))), "pubkey-hash"),
    "a hash algorithm that is unknown": (dice_extension(forge.sgx_quote, claims_for(KEY, algorithm=2)), "pubkey-hash"),
    "a hash of the wrong length": (dice_extension(forge.sgx_quote, claims_for(KEY, key_hash=bytes(31))), "31 bytes"),
    "a nonce that is no bytes": (
        dice_extension(forge.sgx_quote, _cbor.dumps({"pubkey-hash": _cbor.dumps([1, bytes(32)]), "nonce": 5})), "nonce"
    ),
    "an extension with something else": ((GRAMINE, b"x" * 5000), "holds no quote"),
    "a quote with bytes behind it": ((INTEL, QUOTE + b"x"), "signature data size"),
    "Open Enclave's local report": ((OE_REPORT, oe_report(QUOTE, kind=1)), "local attestation"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    extension, reason = REFUSED[case]
    with pytest.raises(ParseError) as caught:
        open_envelope(certificate(KEY, [extension]).encoded)
    assert reason in str(caught.value)


def test_offsets_count_within_the_certificate() -> None:
    made = certificate(KEY, [dice_extension(forge.sgx_quote, CLAIMS, tag=1)])
    with pytest.raises(ParseError) as caught:
        open_envelope(made.encoded)
    assert caught.value.offset == made.encoded.index(made.extensions[DICE].value)


def test_the_key_is_the_certificate_s() -> None:
    assert certificate(KEY, [(INTEL, QUOTE)]).spki == spki(KEY)
