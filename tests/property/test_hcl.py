"""Azure's HCL report, runtime data and bundles: any bytes give ParseError, or a value that comes out as it went in."""

from hypothesis import given
from hypothesis import strategies as st
from tests.forge.tpm import TpmForge, runtime_data
from tests.property.test_tpm import mutated
from tests.unit.test_hcl import bundle, hcl_report

from cloister.errors import ParseError
from cloister.evidence import hcl, hcl_bundle

RUNTIME = runtime_data(TpmForge())
REPORTS = [hcl_report(), hcl_report(4), hcl_report(padding=0), b"HCLA"]
BUNDLES = [bundle(form, kind) for form in (0, 1) for kind in (2, 4)]


@given(data=st.one_of(st.binary(max_size=200), mutated(REPORTS)))
def test_any_bytes_are_a_report_or_refused(data: bytes) -> None:
    assert hcl.looks_like(data) is data.startswith(b"HCLA")
    try:
        report = hcl.parse(data)
    except ParseError:
        return
    assert report.serialize() == data


@given(data=st.one_of(st.binary(max_size=200), mutated([RUNTIME])))
def test_any_bytes_are_runtime_data_or_refused(data: bytes) -> None:
    try:
        found = hcl.parse_runtime_data(data)
    except ParseError:
        return
    assert found.encoded == data
    assert found.ak.startswith(b"\x30")


@given(data=st.one_of(st.binary(max_size=200), mutated(BUNDLES)))
def test_any_bytes_are_a_bundle_or_refused(data: bytes) -> None:
    assert hcl_bundle.looks_like(data) in {True, False}
    try:
        found = hcl_bundle.parse(data)
    except ParseError:
        return
    assert hcl.parse(found.report.serialize()) == found.report
    assert found.hardware_evidence
