"""Azure's real bundles, end to end: AMD's or Intel's chain, the report, the runtime data, the vTPM's quote."""

import csv
import functools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.samples.conftest import EVIDENCE

from cloister._x509 import Certificate
from cloister.appraise.tpm import claims
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, NotFresh, VerificationError
from cloister.evidence import hcl, hcl_bundle, snp, tdx
from cloister.evidence.hcl_bundle import HclBundle
from cloister.evidence.tpm_key import parse_key
from cloister.model import Challenge, Tee
from cloister.verification import snp as snp_verification
from cloister.verification import tdx as tdx_verification
from cloister.verification.hcl import ANSWERED_BY_QUOTE, HardwareReport, verify_bound_quote
from cloister.verification.recipe import Allowances, CheckState

BUNDLES = sorted(path.parent for path in EVIDENCE.glob("tpm/*/evidence.json"))
REPORTS = sorted([*EVIDENCE.glob("tpm/*/hcl-report.bin"), *EVIDENCE.glob("amd-sev-snp/*hcl-report*/as-found.bin")])
AT = datetime(2025, 6, 1, tzinfo=UTC)
TD_QUOTE = EVIDENCE / "intel-tdx" / "trustee-evidence-v0-v4" / "quote.bin"
TD_SAMPLE = "intel-tdx/trustee-evidence-v0-v4"
SKIP = Allowances(unsafe_skip_revocation=True)


@functools.cache
def meta(folder: Path) -> Any:
    return json.loads((folder / "meta.json").read_text())


@functools.cache
def bundle_in(folder: Path) -> HclBundle:
    return hcl_bundle.parse((folder / "evidence.json").read_bytes())


def test_the_samples_are_here() -> None:
    assert len(BUNDLES) == 6
    assert {bundle_in(one).report.tee for one in BUNDLES} == {Tee.SNP, Tee.TDX}
    assert len(REPORTS) == 8


@pytest.mark.parametrize("path", REPORTS, ids=lambda one: one.parent.name)
def test_every_report_is_read_and_written_again(path: Path) -> None:
    data = path.read_bytes()
    report = hcl.parse(data)
    assert hcl.looks_like(data)
    assert report.serialize() == data
    assert hcl.parse_runtime_data(report.runtime_data).vm_configuration["secure-boot"] is True


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda one: one.name)
def test_every_bundle(folder: Path) -> None:
    found, said = bundle_in(folder), meta(folder)
    assert hcl_bundle.looks_like((folder / "evidence.json").read_bytes())
    assert found.report.serialize() == (folder / "hcl-report.bin").read_bytes()
    assert found.report.request.report_type == said["hcl_report_type"]
    assert found.report.runtime_data == (folder / "runtime-data.json").read_bytes()
    assert hcl.parse_runtime_data(found.report.runtime_data).ak == parse_key((folder / "ak.pub.pem").read_bytes()).spki
    assert found.quote.attest.signed == (folder / "quote.msg").read_bytes()
    assert found.quote.key is None
    if found.report.tee is Tee.SNP:
        assert snp.parse(found.report.hardware_report).report_data.hex() == said["report_data"]
    else:
        assert found.td_quote.rstrip(b"\0") == TD_QUOTE.read_bytes().rstrip(b"\0")
        assert tdx.parse(TD_QUOTE.read_bytes()).body.report_data.hex() == said["report_data"]


@functools.cache
def hardware(folder: Path) -> HardwareReport:
    """The hardware report, verified under the vendor's root with the vendor's endorsements."""
    found = bundle_in(folder)
    if found.report.tee is Tee.SNP:
        issuers = [Certificate.parse(one.read_bytes()) for one in EVIDENCE.glob("collateral-amd/a*.der")]
        return snp_verification.verify(
            snp.parse(found.report.hardware_report), anchors=TrustAnchors.hardware(), at=AT, allow=SKIP,
            endorsements=Endorsements(certificates=(*found.certificates, *issuers)), challenge=ANSWERED_BY_QUOTE,
        )  # fmt: skip
    rows = csv.DictReader((EVIDENCE / "dcap-verdicts.csv").read_text().splitlines())
    row = next(one for one in rows if one["quote_dir"] == TD_SAMPLE)
    collateral = IntelCollateral.from_json(
        (EVIDENCE / "collateral-intel" / row["collateral_file"]).read_bytes(), source="sample"
    )
    return tdx_verification.verify(
        tdx.parse(TD_QUOTE.read_bytes()), anchors=TrustAnchors.hardware(), challenge=ANSWERED_BY_QUOTE,
        endorsements=Endorsements(intel=(collateral,)), at=datetime.fromtimestamp(int(row["clock_unix"]), UTC),
    )  # fmt: skip


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda one: one.name)
def test_every_quote_is_vouched_for_by_its_processor(folder: Path) -> None:
    found = bundle_in(folder)
    nonce = Challenge(bytes.fromhex(meta(folder)["fields"]["extra_data"]))
    verified = verify_bound_quote(found.quote, hardware(folder), found.report.runtime_data, challenge=nonce)
    state = {check.title: check.state for check in verified.checks}
    passed = {"Made by a TPM", "Runtime data", "Attestation key", "Signature over the quote", "PCR values"}
    assert {title for title, one in state.items() if one is CheckState.PASSED} >= passed
    assert (state["Asked for by the paravisor"] is CheckState.PASSED) == (found.report.tee is Tee.SNP)
    assert verified.anchor is hardware(folder).anchor
    assert verified.at == hardware(folder).at
    made = claims(verified)
    assert (made["hardware"], made["debug"], made["vm_secure_boot"]) == (found.report.tee.value, False, True)
    assert made["pcr0"] == json.loads((folder / "pcrs.json").read_text())["0"]
    with pytest.raises(NotFresh):
        verify_bound_quote(found.quote, hardware(folder), found.report.runtime_data, challenge=Challenge(b"another"))


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda one: one.name)
def test_no_quote_is_vouched_for_by_another_machine(folder: Path) -> None:
    found = bundle_in(folder)
    others = [one for one in BUNDLES if bundle_in(one).report.runtime_data != found.report.runtime_data]
    assert len(others) >= 4
    for other in others:
        theirs = bundle_in(other)
        for report, runtime in (
            (hardware(other), found.report.runtime_data),
            (hardware(folder), theirs.report.runtime_data),
        ):
            with pytest.raises(BindingInvalid, match="does not vouch for this runtime data"):
                verify_bound_quote(found.quote, report, runtime, challenge=ANSWERED_BY_QUOTE)
        with pytest.raises(VerificationError):
            verify_bound_quote(theirs.quote, hardware(folder), found.report.runtime_data, challenge=ANSWERED_BY_QUOTE)
