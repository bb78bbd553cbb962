"""Real containers: each opens to the bytes that its folder says are inside, or is refused for a reason written here."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cloister.envelope import ClaimsBinding, KeyBinding, open_envelope
from cloister.errors import BindingInvalid, ParseError, SignatureInvalid
from cloister.evidence.hcl import HclReport
from cloister.evidence.tpm import TpmQuote
from cloister.verification.binding import check_binding, verify_binding
from cloister.verification.recipe import CheckState

EVIDENCE = Path(__file__).parents[3] / "shared" / "evidence"
AT = datetime(2026, 6, 1, tzinfo=UTC)

REFUSED = {
    "amd-sev-snp/scitt-css-attested-cosesign1-20250617/as-found.cose": "COSE_Sign1",
    "amd-sev-snp/scitt-css-attested-cosesign1-20250812/as-found.cose": "COSE_Sign1",
    "amd-sev-snp/scitt-css-attested-cosesign1-20250925/as-found.cose": "COSE_Sign1",
    "amd-sev-snp/scitt-css-attested-cosesign1-20260302/as-found.cose": "COSE_Sign1",
    "intel-tdx/gotdxguest-tdx-prod-quote-spr-e4-v4/as-found.bin": "signature data size",
    "keystone/neg-datalen-1025/report.bin": "Nearest: Keystone report: EnclaveReport: data_len at byte 64",
}
"""Signed statements of somebody else's design; words behind a quote; a length that leaves its field."""


def files(*patterns: str) -> list[str]:
    return sorted(path.relative_to(EVIDENCE).as_posix() for pattern in patterns for path in EVIDENCE.glob(pattern))


CONTAINERS = files(
    "*/*/as-found.*", "*/*/evidence.json", "*/*/hcl-report.bin", "intel-tdx/dstack-app-event-log/*[!a].json"
)
BARE = files("*/*/quote.bin", "*/*/report.bin", "*/*/token.cbor", "*/*/test-report.bin")


def inside(name: str) -> list[bytes]:
    """The evidence that stands beside a container."""
    folder = (EVIDENCE / name).parent
    return [path.read_bytes() for path in (folder / "quote.bin", folder / "report.bin") if path.exists()]


def serialized(part: Any) -> bytes:
    if isinstance(part, TpmQuote):
        return part.attest.serialize()
    made: bytes = part.serialize()
    return made


def test_there_are_samples() -> None:
    assert len(CONTAINERS) >= 30
    assert len(BARE) >= 90
    assert set(REFUSED) <= {*CONTAINERS, *BARE}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers(name: str) -> None:
    data = (EVIDENCE / name).read_bytes()
    if name in REFUSED:
        with pytest.raises(ParseError) as caught:
            open_envelope(data)
        assert REFUSED[name] in str(caught.value)
        return
    opened = open_envelope(data)
    parts = [serialized(part) for part in opened.parts]
    assert all(evidence in parts for evidence in inside(name))


@pytest.mark.parametrize("name", BARE)
def test_bare_evidence(name: str) -> None:
    data = (EVIDENCE / name).read_bytes()
    if name in REFUSED:
        with pytest.raises(ParseError) as caught:
            open_envelope(data)
        assert REFUSED[name] in str(caught.value)
        return
    for written in (data, data.hex().encode(), base64.b64encode(data), base64.urlsafe_b64encode(data).rstrip(b"=")):
        opened = open_envelope(written)
        assert [serialized(part) for part in opened.parts] == [data]


@pytest.mark.parametrize("name", files("tpm/trustee-az-*/evidence.json"))
def test_azure(name: str) -> None:
    """The hardware's evidence, the report around it and the TPM quote are those beside it, and belong together."""
    folder = (EVIDENCE / name).parent
    opened = open_envelope((EVIDENCE / name).read_bytes())
    hardware, report, quote = opened.parts
    assert isinstance(report, HclReport)
    assert isinstance(quote, TpmQuote)
    assert report.serialize() == (folder / "hcl-report.bin").read_bytes()
    assert report.runtime_data == (folder / "runtime-data.json").read_bytes()
    assert quote.attest.serialize() == (folder / "quote.msg").read_bytes()
    (binding,) = opened.bindings
    assert binding.evidence is hardware
    said: Any = hardware
    check_binding(binding, said.report_data if hasattr(said, "report_data") else said.body.report_data)
    with pytest.raises(BindingInvalid):
        check_binding(binding, bytes(64))


@pytest.mark.parametrize("name", files("tpm/gotpmtools-*/as-found.pb"))
def test_go_tpm_tools(name: str) -> None:
    folder = (EVIDENCE / name).parent
    opened = open_envelope((EVIDENCE / name).read_bytes())
    assert (folder / "quote.msg").read_bytes() in [serialized(part) for part in opened.parts]


def test_a_comment_before_the_evidence_is_not_skipped() -> None:
    """Open Enclave's test files begin with two lines of text; nothing is looked for behind unknown bytes."""
    folder = EVIDENCE / "intel-sgx" / "openenclave-evidence-container"
    data = (folder / "evidence").read_bytes()
    with pytest.raises(ParseError, match="begins with a comment"):
        open_envelope(data)
    bare = data.split(b"\n", 2)[2]
    (part,) = open_envelope(bare).parts
    assert serialized(part) == (folder.parent / "openenclave-evidence-v3" / "quote.bin").read_bytes()


@pytest.mark.parametrize("name", files("intel-tdx/openenclave-endorsement-containers/*.bin"))
def test_endorsements_are_not_evidence(name: str) -> None:
    with pytest.raises(ParseError, match="endorsements, but no evidence"):
        open_envelope((EVIDENCE / name).read_bytes())


@pytest.mark.parametrize("name", ["quote-report.json", "attestation.bin", "tdx-lite-attestation.json"])
def test_dstack(name: str) -> None:
    """What stands beside the quote is what the quote says; the log is the agent's JSON."""
    opened = open_envelope((EVIDENCE / "intel-tdx" / "dstack-app-event-log" / name).read_bytes())
    (binding,), (log,) = opened.bindings, opened.event_logs
    part: Any = opened.parts[0]
    check_binding(binding, part.body.report_data)
    assert {"imr", "event_type", "digest", "event", "event_payload"} <= set(json.loads(log)[0])


def test_trustee_s_fields_are_the_signed_bytes() -> None:
    """The report that is rebuilt from fields verifies under the certificate beside it, so it is exact."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - only here
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415

    opened = open_envelope((EVIDENCE / "amd-sev-snp" / "format-trustee-coco-evidence" / "evidence.json").read_bytes())
    report = serialized(opened.parts[0])
    r, s = (int.from_bytes(report[at : at + 72], "little") for at in (0x2A0, 0x2E8))
    key = load_der_public_key(opened.certificates[0].spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(encode_dss_signature(r, s), report[:0x2A0], ec.ECDSA(hashes.SHA384()))


RA_TLS = {
    "ra-tls/ccc-ratls-gramine-cert/gramine-cert.pem": [ClaimsBinding, KeyBinding],
    "ra-tls/ccc-ratls-intel-sgxsdk-cert/intel-sgxsdk-cert.pem": [ClaimsBinding],
    "ra-tls/openenclave-sgx-cert-ec-bad/sgx_cert_ec_bad.der": [KeyBinding],
    "ra-tls/openenclave-sgx-cert-rsa-bad/sgx_cert_rsa_bad.der": [KeyBinding],
}


def test_all_ra_tls_samples_are_looked_at() -> None:
    assert files("ra-tls/*/*.pem", "ra-tls/*/*.der") == sorted(RA_TLS)


@pytest.mark.parametrize("name", RA_TLS)
def test_ra_tls(name: str) -> None:
    """The altered ones are altered inside the signed part: the binding holds, the certificate's signature does not."""
    opened = open_envelope((EVIDENCE / name).read_bytes())
    assert [type(one) for one in opened.bindings] == RA_TLS[name]
    for binding in opened.bindings:
        part: Any = binding.evidence
        check_binding(binding, part.body.report_data)
        if "bad" in name:
            with pytest.raises(SignatureInvalid, match="not signed with its own key"):
                verify_binding(binding, part.body.report_data, at=AT)
        else:
            checks = verify_binding(binding, part.body.report_data, at=AT)
            assert [check.state for check in checks] == [CheckState.PASSED] * 3


def test_gramine_s_quotes_are_those_of_its_samples() -> None:
    opened = open_envelope((EVIDENCE / "ra-tls/ccc-ratls-gramine-cert/gramine-cert.pem").read_bytes())
    folders = ("ccc-ratls-gramine-cert-v3", "ccc-ratls-gramine-cert-v3-b8a62c")
    quotes = {(EVIDENCE / "intel-sgx" / folder / "quote.bin").read_bytes() for folder in folders}
    assert {serialized(part) for part in opened.parts} == quotes


@pytest.mark.parametrize("name", files("*/steward-*/as-found.csr"))
def test_requests_are_bound_to_their_key(name: str) -> None:
    opened = open_envelope((EVIDENCE / name).read_bytes())
    (binding,) = opened.bindings
    part: Any = binding.evidence
    said = part.report_data if hasattr(part, "report_data") else part.body.report_data
    states = [check.state for check in verify_binding(binding, said, at=AT)]
    assert states == [CheckState.PASSED, CheckState.PASSED, CheckState.UNCHECKED]
