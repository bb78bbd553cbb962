"""Attacks on the whole verifier: wrappers that bind nothing, nonces, times, inputs with two readings."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from tests.forge import amd, envelope, ratls
from tests.forge.every import NONCE, Sample, every, members, of_sgx
from tests.forge.x509 import NOW, issue

import cloister
from cloister import _cbor
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.envelope import open_envelope
from cloister.errors import BindingInvalid, ChainInvalid, CloisterError, NotFresh, ParseError, UsageError
from cloister.model import Challenge, Tee, Unchecked
from cloister.verifier.documents import verdict_document

ANY = Unchecked("the attack does not depend on the nonce")


def verify(sample: Sample, data: bytes, nonce: bytes | Unchecked = ANY, **settings: Any) -> cloister.Verdict:
    given: dict[str, Any] = {"at": NOW, "anchors": sample.anchors, "endorsements": sample.endorsements} | settings
    return cloister.verify(data, nonce=nonce, **given)


def holds(sample: Sample, data: bytes, nonce: bytes | Unchecked = ANY) -> bool:
    """The control: this does verify."""
    return verify(sample, data, nonce).status is cloister.Tier.WARNING


# ---------------------------------------------------------------- certificates that bind nothing

SGX = every()[Tee.SGX]


def wrapped(key: Any, evidence: bytes) -> bytes:
    """A certificate of this key with evidence in a message wrapper."""
    return ratls.certificate(key, [(ratls.DICE, _cbor.dumps(["application/x-quote", evidence]))]).encoded


def test_a_wrapper_in_a_certificate_binds_the_evidence_to_the_key() -> None:
    """Anybody can put somebody's evidence into a certificate of his own; only the report data tell whose it is."""
    key = ratls.fresh_key()
    spki = ratls.certificate(key, []).spki
    own = every_sgx(hashlib.sha256(spki).digest())
    verdict = verify(SGX, wrapped(key, own))
    assert [one.number for one in verdict.authentic.bindings] == ["BINDING-1", "BINDING-2", "BINDING-3"]
    with pytest.raises(BindingInvalid, match="does not speak of the public key"):
        verify(SGX, wrapped(ratls.fresh_key(), own))
    with pytest.raises(BindingInvalid):
        verify(SGX, wrapped(key, SGX.evidence))


def every_sgx(report_data: bytes) -> bytes:
    """A quote by the platform of `SGX` with this report data."""
    return of_sgx(report_data).evidence


@pytest.mark.parametrize("tee", sorted(every()))
def test_no_evidence_is_believed_in_a_certificate_of_somebody_else(tee: Tee) -> None:
    sample = every()[tee]
    key = ratls.fresh_key()
    claims = ratls.claims_for(key)
    for extension in (
        _cbor.dumps(["application/x-any", sample.evidence]),
        _cbor.dumps(_cbor.Tag(60000, [sample.evidence, claims])),
        _cbor.dumps({1: ["application/x-any", sample.evidence]}),
    ):
        with pytest.raises((BindingInvalid, ParseError)):
            verify(sample, ratls.certificate(key, [(ratls.DICE, extension)]).encoded)


@pytest.mark.parametrize("tee", sorted(every()))
def test_data_beside_evidence_of_any_kind_must_be_what_it_says(tee: Tee) -> None:
    sample = every()[tee]
    beside = {"quote": base64.b64encode(sample.evidence).decode(), "event_log": "", "report_data": "ab" * 64}
    with pytest.raises(BindingInvalid):
        verify(sample, envelope.document(beside))


def test_endorsements_in_the_place_of_evidence() -> None:
    for inside in (SGX.endorsements.intel[0].tcb_info, json.dumps(members(SGX.endorsements.intel[0])).encode()):
        beside = {"quote": base64.b64encode(inside).decode(), "event_log": "", "report_data": "00"}
        with pytest.raises(ParseError):
            verify(SGX, envelope.document(beside))


def test_evidence_further_down_the_chain_speaks_of_another_key() -> None:
    """A connection uses the key of the first certificate; the victim's, with evidence, can be sent along behind it."""
    victim = ratls.fresh_key()
    extension = ratls.dice_extension(every_sgx, ratls.claims_for(victim))
    genuine = ratls.armoured(ratls.certificate(victim, [extension]).encoded)
    assert verify(SGX, genuine).authentic.bindings
    own = ratls.armoured(ratls.certificate(ratls.fresh_key(), []).encoded)
    assert verify(SGX, genuine + own).authentic.bindings
    with pytest.raises(ParseError, match="a later certificate carries evidence"):
        verify(SGX, own + genuine)


# ---------------------------------------------------------------- nonces and times


@pytest.mark.parametrize("size", [1, 16, 32, 64, 1024])
def test_a_nonce_of_zeros_is_no_nonce(size: int) -> None:
    """Report data of zeros is what evidence has that nobody asked for."""
    with pytest.raises(ValueError, match="zeros only"):
        Challenge(bytes(size))
    assert Challenge(bytes(size - 1) + b"\1").nonce


NEAR = {
    "a prefix": NONCE[:-2],
    "with a zero behind it and something after": NONCE + b"\0\1",
    "a suffix": NONCE[1:],
    "with a byte before": b"\0" + NONCE,
    "longer than the field": NONCE.ljust(64, b"\0") + b"\1",
    "longer than the field, zeros": NONCE + bytes(600),
}
"""Zeros at the end of a nonce are not told from the padding behind it: no report data says how long its nonce was."""


@pytest.mark.parametrize("tee", sorted(every()))
@pytest.mark.parametrize("nonce", NEAR.values(), ids=NEAR)
def test_nonces_that_are_nearly_right(tee: Tee, nonce: bytes) -> None:
    assert holds(every()[tee], every()[tee].evidence, NONCE)
    with pytest.raises(NotFresh):
        verify(every()[tee], every()[tee].evidence, nonce)


@pytest.mark.parametrize(
    "nonce", ["6e", bytearray(NONCE), memoryview(NONCE), None, 7], ids=lambda one: type(one).__name__
)
def test_nonces_of_another_type_are_refused_before_anything_is_compared(nonce: Any) -> None:
    with pytest.raises(TypeError):
        verify(SGX, SGX.evidence, nonce)


class NoZone(tzinfo):
    """A zone that does not know its offset: Python takes such times for naive."""

    def utcoffset(self, _: datetime | None) -> None:
        """Unknown."""

    def dst(self, _: datetime | None) -> None:
        """Unknown."""

    def tzname(self, _: datetime | None) -> None:
        """Unknown."""


@pytest.mark.parametrize("tee", sorted(every()))
@pytest.mark.parametrize("at", [NOW.replace(tzinfo=None), NOW.replace(tzinfo=NoZone())], ids=["none", "unknown"])
def test_times_without_a_zone_are_refused_for_every_tee(tee: Tee, at: datetime) -> None:
    with pytest.raises(UsageError, match="time zone"):
        verify(every()[tee], every()[tee].evidence, at=at)


@pytest.mark.parametrize("offset", [-23, -5, 5, 14])
def test_a_time_in_another_zone_is_reported_in_utc(offset: int) -> None:
    verdict = verify(SGX, SGX.evidence, at=NOW.astimezone(timezone(timedelta(hours=offset))))
    assert verdict_document(verdict)["at"] == f"{NOW:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    "at", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)], ids=["first", "last"]
)
@pytest.mark.parametrize("offset", [-14, 0, 14])
def test_the_ends_of_all_times(at: datetime, offset: int) -> None:
    with pytest.raises(CloisterError):
        verify(SGX, SGX.evidence, at=at.replace(tzinfo=timezone(timedelta(hours=offset))))


# ---------------------------------------------------------------- two readings of one input


def test_a_wrapper_cannot_call_one_tee_s_evidence_another_s() -> None:
    tdx = every()[Tee.TDX]
    said = {"provider": "sev_guest", "outblob": base64.b64encode(tdx.evidence).decode()}
    with pytest.raises(ParseError, match="makes an AMD SEV-SNP report"):
        verify(tdx, envelope.document(said))
    record = ["application/vnd.veraison.configfs-tsm+json", envelope.base64url(tdx.evidence)]
    with pytest.raises(ParseError, match="inside is Intel TDX quote"):
        verify(tdx, envelope.document(record))
    assert holds(tdx, envelope.document(said | {"provider": "tdx_guest"}))


@pytest.mark.parametrize("kind", ["a/b\x1b[2J", "a/b AFFIRMING: authentic", "a/b\nAFFIRMING", "a/" + "b" * 300, "ä/ö"])
def test_a_media_type_cannot_write_into_the_report(kind: str) -> None:
    with pytest.raises(ParseError, match="no media type"):
        open_envelope(envelope.document([kind, envelope.base64url(SGX.evidence)]))
    assert (
        open_envelope(envelope.document(["a/b; x=\x1b[2J", envelope.base64url(SGX.evidence)])).path[0].endswith("a/b")
    )


def test_a_field_that_the_signature_does_not_cover_cannot_be_said_in_json() -> None:
    """Reports written field by field: every number that is changed is noticed, or does not change the report."""
    sample = every()[Tee.SNP]
    fields = envelope.fields_of_report(sample.evidence)

    def document(changed: dict[str, object]) -> bytes:
        return envelope.document({"attestation_report": changed})

    assert verify(sample, document(fields)).status is cloister.Tier.WARNING
    tried = 0
    for changed in alterations(fields):
        tried += 1
        with pytest.raises(CloisterError):
            verify(sample, document(changed))
    assert tried > 300


def alterations(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """The fields with one number, or one byte in a list, made another."""
    made: list[dict[str, Any]] = []
    for name, value in fields.items():
        if isinstance(value, int):
            made.append(fields | {name: value ^ 1})
        elif isinstance(value, list):
            made += [fields | {name: [*value[:i], value[i] ^ 1, *value[i + 1 :]]} for i in range(0, len(value), 2)]
        elif isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, int):
                    made.append(fields | {name: value | {key: inner ^ 1}})
                elif isinstance(inner, list):
                    made += [
                        fields | {name: value | {key: [*inner[:i], inner[i] ^ 1, *inner[i + 1 :]]}}
                        for i in range(len(inner))
                    ]
    return made


def test_evidence_of_a_test_root_is_worth_nothing_under_the_vendors() -> None:
    """Whatever comes along in the envelope, roots among it."""
    snp = every()[Tee.SNP]
    for root in (*snp.endorsements.certificates, issue("ARK-Milan", amd.ec_key("x").public_key(), authority())):
        data = snp.evidence + envelope.cert_table({envelope.VCEK_GUID: root.encoded})
        with pytest.raises(CloisterError) as caught:
            cloister.verify(data, nonce=ANY, at=NOW, anchors=TrustAnchors.hardware(), endorsements=snp.endorsements)
        assert isinstance(caught.value, ChainInvalid)


def authority() -> Any:
    """Somebody who issues certificates in the name of others."""
    return envelope.authority()


def test_no_envelope_of_any_kind_is_evidence_without_anchors() -> None:
    nobody = TrustAnchors(())
    for sample in every().values():
        with pytest.raises(CloisterError):
            cloister.verify(sample.evidence, nonce=ANY, at=NOW, anchors=nobody, endorsements=Endorsements())
