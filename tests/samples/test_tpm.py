"""Every real TPM quote: its fields, its verdict, and the parts that must be refused."""

import functools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.samples.conftest import EVIDENCE

from cloister._x509 import Certificate, pem_blocks
from cloister.appraise.tpm import claims
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, ChainInvalid, NotFresh, SignatureInvalid
from cloister.evidence import tpm as evidence
from cloister.evidence import tpm_protobuf
from cloister.evidence.tpm import TpmQuote, of_parts
from cloister.evidence.tpm_key import parse_key
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import tpm
from cloister.verification.recipe import Allowances, CheckState, VerifiedEvidence

SAMPLES = sorted(path.parent for path in EVIDENCE.glob("tpm/*/quote.msg"))
GOOGLE = sorted(EVIDENCE.glob("tpm/*/as-found.pb"))
CMC = EVIDENCE / "tpm" / "cmc"
AT = datetime(2024, 1, 1, tzinfo=UTC)
"""Inside every certificate's validity; the quotes themselves know no date."""

NO_NONCE = Unchecked("the sample was made without a nonce")
FORMATS = {"TPMT_SIGNATURE": False, "bare RSA PKCS#1 v1.5 signature": True}


@functools.cache
def meta(folder: Path) -> Any:
    return json.loads((folder / "meta.json").read_text())


def part(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes() if (folder / name).exists() else b""


@functools.cache
def quote_in(folder: Path) -> TpmQuote:
    values = json.loads(part(folder, "pcrs.json") or b"{}")
    bank = meta(folder)["fields"]["pcr_select"][0][0]
    return of_parts(
        part(folder, "quote.msg"),
        part(folder, "quote.sig"),
        key=part(folder, "ak.pub.pem"),
        pcrs={bank: {int(index): bytes.fromhex(value) for index, value in values.items()}} if values else None,
        event_log=part(folder, "eventlog.bin"),
    )


def pinned(folder: Path) -> TrustAnchors:
    key = parse_key(part(folder, "ak.pub.pem")).spki
    return TrustAnchors.of([key], kind=AnchorKind.OWNER, name="the sample's key", tees=[Tee.TPM])


def verify(folder: Path, quote: TpmQuote | None = None, **changes: Any) -> VerifiedEvidence[TpmQuote]:
    nonce = bytes.fromhex(meta(folder)["fields"]["extra_data"])
    settings: dict[str, Any] = {
        "anchors": pinned(folder), "endorsements": Endorsements(), "at": AT,
        "challenge": Challenge(nonce) if nonce else NO_NONCE,
    }  # fmt: skip
    return tpm.verify(quote or quote_in(folder), **settings | changes)


def test_the_samples_are_here() -> None:
    assert len(SAMPLES) == 14
    assert len(GOOGLE) == 6
    assert len(list(EVIDENCE.glob("tpm/*/meta.json"))) == 15  # one holds certificates only


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda one: one.name)
def test_every_field(folder: Path) -> None:
    quote, fields = quote_in(folder), meta(folder)["fields"]
    attest = quote.attest
    assert fields == {
        "type": "8018",
        "qualified_signer": attest.qualified_signer.hex(),
        "extra_data": attest.extra_data.hex(),
        "clock": attest.clock,
        "reset": attest.reset_count,
        "restart": attest.restart_count,
        "safe": attest.safe,
        "fw": f"{attest.firmware_version:016x}",
        "pcr_select": [[one.bank, list(one.indices)] for one in attest.selections],
        "pcr_digest": attest.pcr_digest.hex(),
    }
    assert quote.signature.bare is FORMATS[meta(folder)["expected"]["quote_sig_format"]]
    assert attest.serialize() == part(folder, "quote.msg")
    assert quote.signature.serialize() == part(folder, "quote.sig")
    assert evidence.parse(quote.serialize()) == quote


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda one: one.name)
def test_every_verdict(folder: Path) -> None:
    assert meta(folder)["expected"]["verdict"] == "valid"
    found = verify(folder)
    state = {check.title: check.state for check in found.checks}
    quote = quote_in(folder)
    assert state["Signature over the quote"] is CheckState.PASSED
    assert (state["PCR values"] is CheckState.PASSED) == bool(quote.pcrs)
    assert (state["Event log"] is CheckState.PASSED) == (quote.event_log is not None)
    made = claims(found)
    assert all(
        made[f"pcr{i}"] == value.hex()
        for bank in quote.pcrs
        for i, value in zip(bank.indices, bank.values, strict=True)
    )


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda one: one.name)
def test_every_quote_refused_for_another_nonce_or_under_another_key(folder: Path) -> None:
    with pytest.raises(NotFresh):
        verify(folder, challenge=Challenge(b"another"))
    other = next(one for one in SAMPLES if parse_key(part(one, "ak.pub.pem")) != quote_in(folder).key)
    with pytest.raises(ChainInvalid):
        verify(folder, anchors=pinned(other))
    for anchors in (TrustAnchors.hardware(), TrustAnchors(())):
        with pytest.raises(ChainInvalid):
            verify(folder, anchors=anchors)
    exchanged = of_parts(part(folder, "quote.msg"), part(folder, "quote.sig"), key=part(other, "ak.pub.pem"))
    with pytest.raises(SignatureInvalid):
        verify(folder, exchanged, anchors=pinned(other))


@pytest.mark.parametrize(
    "folder", [one for one in SAMPLES if (one / "eventlog.bin").exists()], ids=lambda one: one.name
)
def test_logs_of_other_machines_are_refused(folder: Path) -> None:
    other = part(EVIDENCE / "event-logs" / "goeventlog-cos-93-amd-sev", "eventlog.bin")
    values = {bank.algorithm: dict(zip(bank.indices, bank.values, strict=True)) for bank in quote_in(folder).pcrs}
    exchanged = of_parts(
        part(folder, "quote.msg"),
        part(folder, "quote.sig"),
        key=part(folder, "ak.pub.pem"),
        pcrs=values,
        event_log=other,
    )
    with pytest.raises(BindingInvalid, match="does not give the value of"):
        verify(folder, exchanged)


def cmc_certificates(*names: str) -> tuple[Certificate, ...]:
    return tuple(Certificate.parse(block) for name in names for block in pem_blocks(part(CMC, name), "CERTIFICATE"))


def cmc_root(name: str) -> TrustAnchors:
    (root,) = cmc_certificates(name)
    return TrustAnchors.of([root.spki], kind=AnchorKind.OWNER, name=root.name, tees=[Tee.TPM])


SKIP = Allowances(unsafe_skip_revocation=True)


def given() -> Endorsements:
    return Endorsements(certificates=cmc_certificates("ak.crt.pem", "ca.crt.pem", "ca.invalid.pem"))


def test_a_certified_key_under_its_root() -> None:
    found = verify(CMC, anchors=cmc_root("ca.crt.pem"), allow=SKIP, endorsements=given())
    assert found.facts["ak_certificate"] == "de.test.ak.device0"
    assert found.anchor.name == "Test Root CA"


def test_the_negative_cases() -> None:
    with pytest.raises(ChainInvalid):
        verify(CMC, anchors=cmc_root("ca.invalid.pem"), allow=SKIP, endorsements=given())
    with pytest.raises(NotFresh):
        verify(CMC, challenge=Challenge(bytes.fromhex(meta(CMC)["negative_nonce"])))
    altered = of_parts(part(CMC, "quote.msg"), part(CMC, "quote.invalid.sig"), key=part(CMC, "ak.pub.pem"))
    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify(CMC, altered)
    assert meta(CMC)["expected_nonce"] == meta(CMC)["fields"]["extra_data"]


@pytest.mark.parametrize("path", GOOGLE, ids=lambda one: one.parent.name)
def test_googles_attestations_hold_these_quotes(path: Path) -> None:
    folder, data = path.parent, path.read_bytes()
    found = tpm_protobuf.parse(data)
    assert tpm_protobuf.looks_like(data)
    quote = found.quotes[int(folder.name[-1])]
    split = quote_in(folder)
    assert (quote.attest, quote.signature, quote.pcrs, quote.event_log) == (
        split.attest, split.signature, split.pcrs, split.event_log,
    )  # fmt: skip
    assert [check.title for check in verify(folder, quote).checks if check.state is CheckState.UNCHECKED][:2] == [
        "Certificates valid now", "Not revoked",
    ]  # fmt: skip
    # The public area came along and the key is a primary one, so the quote itself proves what the key may do.
    assert {check.title: check.state for check in verify(folder, quote).checks}["Key attests only"] is CheckState.PASSED


@pytest.mark.parametrize("path", GOOGLE, ids=lambda one: one.parent.name)
def test_googles_certificates_lead_to_googles_root(path: Path) -> None:
    issuers = [Certificate.parse(one.read_bytes()) for one in sorted(EVIDENCE.glob("tpm/gcp-ca-certs/*.c*r*"))]
    roots = [one for one in issuers if one.subject == one.issuer]
    assert (len(issuers), len(roots)) == (5, 2)
    found = tpm_protobuf.parse(path.read_bytes())
    anchors = TrustAnchors.of([one.spki for one in roots], kind=AnchorKind.OWNER, name="Google", tees=[Tee.TPM])
    given = Endorsements(certificates=(*found.certificates, *issuers))
    for quote in found.quotes:
        verified = verify(path.parent, quote, anchors=anchors, endorsements=given, allow=SKIP)
        assert verified.anchor.name == "Google"


def test_trustees_own_json() -> None:
    folder = EVIDENCE / "tpm" / "trustee-tpm-evidence"
    data = part(folder, "as-found.json")
    assert evidence.looks_like(data)
    assert evidence.parse(data) == quote_in(folder)
    verify(folder, evidence.parse(data))
