"""Attacks on envelopes: genuine evidence beside somebody else's key, flipped bits, two readings of the same bytes."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge import envelope as forge
from tests.forge.ratls import GRAMINE, INTEL, certificate, claims_for, dice_extension, report_data
from tests.forge.sigstruct import signing_key, sigstruct
from tests.forge.x509 import NOW, ec_key, spki

from cloister import _cbor
from cloister.envelope import open_envelope
from cloister.errors import BindingInvalid, ParseError, SignatureInvalid, VerificationError
from cloister.evidence.sigstruct import parse as parse_sigstruct
from cloister.verification.binding import verify_binding
from cloister.verification.recipe import CheckState
from cloister.verification.sigstruct import verify_sigstruct

VICTIM = ec_key(ec.SECP384R1())
ATTACKER = ec_key(ec.SECP384R1())


def held(data: bytes) -> bool:
    """Whether an envelope is accepted with all that binds it. Its evidence is taken as verified: the worst case."""
    opened = open_envelope(data)
    assert opened.bindings
    for binding in opened.bindings:
        evidence: Any = binding.evidence
        verify_binding(binding, evidence.body.report_data, at=NOW)
    return True


GENUINE = dice_extension(forge.sgx_quote, claims_for(VICTIM))
OLD = (GRAMINE, forge.sgx_quote(report_data(spki(VICTIM))))


@pytest.mark.parametrize("extensions", [[GENUINE], [OLD], [GENUINE, OLD]], ids=["tagged", "quote alone", "both"])
def test_evidence_of_a_victim_in_a_certificate_of_the_attacker(extensions: list[tuple[str, bytes]]) -> None:
    assert held(certificate(VICTIM, extensions).encoded)
    with pytest.raises(BindingInvalid):
        held(certificate(ATTACKER, extensions).encoded)


def test_a_certificate_of_the_victim_s_key_that_the_attacker_signed() -> None:
    with pytest.raises(SignatureInvalid):
        held(certificate(VICTIM, [GENUINE], signer=ATTACKER).encoded)


def test_one_good_quote_does_not_carry_a_bad_one() -> None:
    """A certificate with two kinds of evidence must hold in both: a client may look at either."""
    bad = (GRAMINE, forge.sgx_quote(report_data(spki(ATTACKER))))
    with pytest.raises(BindingInvalid):
        held(certificate(VICTIM, [GENUINE, bad]).encoded)


def test_claims_of_the_attacker_beside_the_victim_s_quote() -> None:
    (_, genuine) = GENUINE
    tagged = _cbor.loads(genuine, "test")
    assert isinstance(tagged, _cbor.Tag)
    forged = _cbor.dumps(_cbor.Tag(60000, [tagged.value[0], claims_for(ATTACKER)]))
    with pytest.raises(BindingInvalid, match="does not speak of the claims"):
        held(certificate(ATTACKER, [(GENUINE[0], forged)]).encoded)


def test_every_flipped_bit_of_a_certificate_is_noticed() -> None:
    """Refused, or, in the names of issuer and subject, said to be unchecked.

    With two different names it is no longer a certificate that signs itself, and who signed it is not known; its key
    still stands in the evidence, so what is sent to it is read by nobody else.
    """
    made = certificate(VICTIM, [GENUINE])
    issuer, subject = made.encoded.find(made.issuer), made.encoded.rfind(made.subject)
    names = [(start, start + len(made.issuer)) for start in (issuer, subject)]
    for position in range(0, len(made.encoded), 3):
        altered = bytearray(made.encoded)
        altered[position] ^= 1 << position % 8
        if any(start <= position < end for start, end in names):
            assert refused(bytes(altered)) or own_signature(bytes(altered)) is CheckState.UNCHECKED
        else:
            assert refused(bytes(altered)), f"bit {position % 8} of byte {position}"


def refused(data: bytes) -> bool:
    try:
        return not held(data)
    except (ParseError, VerificationError):
        return True


def own_signature(data: bytes) -> CheckState:
    (binding,) = open_envelope(data).bindings
    evidence: Any = binding.evidence
    return verify_binding(binding, evidence.body.report_data, at=NOW)[0].state


def test_a_certificate_authority_does_not_replace_the_binding() -> None:
    made = certificate(ATTACKER, [(INTEL, OLD[1])], signer=ec_key(), issuer="A trusted CA")
    with pytest.raises(BindingInvalid):
        held(made.encoded)


def test_evidence_is_never_found_in_the_middle() -> None:
    quote = forge.sgx_quote()
    for data in (b"\1" + quote, b"x" * 100 + quote, b"\0" + quote, quote + quote, b"-----" + quote):
        with pytest.raises(ParseError):
            open_envelope(data)


def test_a_member_that_stands_twice_is_refused() -> None:
    """Two parsers may take different ones."""
    good, other = (base64.b64encode(forge.sgx_quote(said)).decode() for said in (bytes(64), b"\1" * 64))
    with pytest.raises(ParseError, match="stands twice"):
        open_envelope(f'{{"quote": "{good}", "quote": "{other}"}}'.encode())
    with pytest.raises(ParseError, match="stands twice"):
        open_envelope(f'{{"quote": "{good}", "\\u0071uote": "{other}"}}'.encode())


def test_base64_has_one_reading() -> None:
    quote = base64.b64encode(forge.sgx_quote() + b"\0")
    assert open_envelope(quote).parts
    for altered in (quote[:-4] + b"AB==", quote[:-1] + b"*", quote[:100] + b"=" + quote[100:]):
        with pytest.raises(ParseError):
            open_envelope(altered)


SIGNED = sigstruct().serialize()


def test_every_flipped_bit_of_a_sigstruct_is_noticed() -> None:
    """Every position: what no signature covers is constant, reserved, or computed from what it covers."""
    for position in range(len(SIGNED)):
        altered = bytearray(SIGNED)
        altered[position] ^= 1 << position % 8
        with pytest.raises((ParseError, VerificationError)):
            verify_sigstruct(parse_sigstruct(bytes(altered)))


def test_a_sigstruct_of_another_key_has_another_signer() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - only here

    other = rsa.generate_private_key(public_exponent=3, key_size=3072)
    assert sigstruct(key=other).mrsigner != sigstruct(key=signing_key()).mrsigner
    with pytest.raises(SignatureInvalid):
        verify_sigstruct(sigstruct(modulus=sigstruct(key=other).modulus))


def test_a_debug_signature_is_not_a_production_signature() -> None:
    with pytest.raises(VerificationError, match="debug-signed"):
        verify_sigstruct(sigstruct(debug=True))


@pytest.mark.parametrize("value", [0, 1], ids=["zero", "one"])
def test_degenerate_signatures(value: int) -> None:
    """S = 0 and s = 1 have quotients that fit; the padding does not."""
    s = value.to_bytes(384, "little")
    zero = bytes(384)
    with pytest.raises(SignatureInvalid):
        verify_sigstruct(sigstruct(signature=s, q1=zero, q2=zero))
