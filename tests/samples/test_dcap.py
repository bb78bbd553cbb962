"""Every real Intel quote: its fields, its chain, and Intel's own verdict for every row at the row's clock."""

import csv
import functools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.samples.conftest import EVIDENCE

from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.intel import IntelCollateral, pck_info
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, EndorsementUnavailable, SignatureInvalid, VerificationError
from cloister.evidence import sgx as sgx_evidence
from cloister.evidence import tdx as tdx_evidence
from cloister.evidence.dcap import Quote
from cloister.evidence.sgx import SgxQuote
from cloister.evidence.tdx import TdReport10, TdReport15, TdxQuote
from cloister.model import Unchecked
from cloister.verification import sgx, tdx
from cloister.verification.dcap import pck_certificates
from cloister.verification.recipe import Allowances, VerifiedEvidence

WORDS = {
    "OK": "UpToDate",
    "TCB_OUT_OF_DATE": "OutOfDate",
    "TCB_NOT_SUPPORTED": "NotSupported",
    "TCB_SW_HARDENING_NEEDED": "SWHardeningNeeded",
    "TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED": "ConfigurationAndSWHardeningNeeded",
    "TCB_TD_RELAUNCH_ADVISED": "TDRelaunchAdvised",
}
"""Intel's library speaks in status codes; this package in the words of Intel's statements."""

SAMPLES = sorted(path.parent for path in EVIDENCE.glob("intel-*/*/quote.bin"))
ALLOW = Allowances(
    unsafe_allow_debug=True
)  # Intel's library does not look at the debug attribute, and some samples have it


def rows() -> list[dict[str, str]]:
    path = EVIDENCE / "dcap-verdicts.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def row_name(row: dict[str, str]) -> str:
    return f"{row['quote_dir']} {row['collateral_file']}"


@functools.cache
def quote_in(folder: Path) -> Quote:
    data = (folder / "quote.bin").read_bytes()
    return tdx_evidence.parse(data) if tdx_evidence.looks_like(data) else sgx_evidence.parse(data)


@functools.cache
def endorsements(name: str) -> Endorsements:
    path = EVIDENCE / "collateral-intel" / name
    return Endorsements(intel=(IntelCollateral.from_json(path.read_bytes(), source=name),))


def verify(quote: Quote, given: Endorsements, clock: int) -> VerifiedEvidence[Any]:
    at, unasked = datetime.fromtimestamp(clock, UTC), Unchecked("recorded evidence: its nonce is not known")
    anchors = TrustAnchors.hardware()
    if isinstance(quote, SgxQuote):
        return sgx.verify(quote, anchors=anchors, endorsements=given, at=at, challenge=unasked, allow=ALLOW)
    assert isinstance(quote, TdxQuote)
    return tdx.verify(quote, anchors=anchors, endorsements=given, at=at, challenge=unasked, allow=ALLOW)


def test_the_corpus_is_complete() -> None:
    assert len(rows()) == 177
    assert len(SAMPLES) == 56


@pytest.mark.parametrize("row", rows(), ids=row_name)
def test_the_verdict_is_intel_s_own(row: dict[str, str]) -> None:
    quote = quote_in(EVIDENCE / row["quote_dir"])
    found = verify(quote, endorsements(row["collateral_file"]), int(row["clock_unix"]))
    assert found.tcb.status == WORDS[row["intel_qvl_quote"]]
    if row["advisories"]:
        assert set(found.tcb.advisories) == set(row["advisories"].replace(",", " ").replace(";", " ").split())


@pytest.mark.parametrize("row", rows(), ids=row_name)
def test_a_minute_after_the_window_it_has_expired(row: dict[str, str]) -> None:
    quote = quote_in(EVIDENCE / row["quote_dir"])
    with pytest.raises(EndorsementUnavailable, match="expired"):
        verify(quote, endorsements(row["collateral_file"]), int(row["valid_until_unix"]) + 60)


@pytest.mark.parametrize("row", rows(), ids=row_name)
def test_before_the_window_it_is_not_valid_yet(row: dict[str, str]) -> None:
    quote = quote_in(EVIDENCE / row["quote_dir"])
    with pytest.raises(EndorsementUnavailable, match="not valid yet"):
        verify(quote, endorsements(row["collateral_file"]), int(row["valid_from_unix"]) - 60)


def metas() -> list[tuple[Path, dict[str, Any]]]:
    return [(folder, json.loads((folder / "meta.json").read_text())) for folder in SAMPLES]


@pytest.mark.parametrize(("folder", "meta"), metas(), ids=lambda value: value.name if isinstance(value, Path) else "")
def test_fields(folder: Path, meta: dict[str, Any]) -> None:
    quote = quote_in(folder)
    assert quote.serialize() == (folder / "quote.bin").read_bytes()
    body: Any = quote.body
    for name, expected in meta["fields"].items():
        assert field_of(quote, body, name) == expected, name


def field_of(quote: Quote, body: Any, name: str) -> object:
    """A field in the form that meta.json has it."""
    if name == "rtmr":
        return [getattr(body, f"rtmr{i}").hex() for i in range(4)]
    if name == "debug":
        return bool(body.attributes[0] & sgx.DEBUG)
    if name == "body_type":
        return quote.body_type
    value = getattr(body, name)
    return value.hex() if isinstance(value, bytes) else value


@pytest.mark.parametrize(("folder", "meta"), metas(), ids=lambda value: value.name if isinstance(value, Path) else "")
def test_chain_and_signatures(folder: Path, meta: dict[str, Any]) -> None:
    """Without collateral nothing can be decided, unless it is forged; and that is seen without collateral."""
    quote, expected = quote_in(folder), meta["expected"]
    clock = meta.get("chain_clock", {}).get("valid_from_unix", 1_750_000_000) + 3600
    with pytest.raises((EndorsementUnavailable, VerificationError)) as caught:
        verify(quote, Endorsements(), clock)
    if "negative_reason" in meta:
        assert isinstance(caught.value, VerificationError), meta["negative_reason"]
    else:
        assert isinstance(caught.value, EndorsementUnavailable)
        assert "no Intel collateral" in str(caught.value)
        leaf, certificates = pck_certificates(quote.signature.certification_data)
        assert pck_info(leaf).fmspc.hex() == expected["fmspc"]
        assert [one.name for one in certificates] == expected["pck_chain_order_in_quote"]
        assert len(quote.signature.qe_auth_data) == expected["qe_auth_data_length"]


NEGATIVE = {
    "cmc-sgx-test-v3-db2148": (SignatureInvalid, "the attestation key's signature over the quote does not verify"),
    "openenclave-sgx-cert-ec-bad-v3": (ChainInvalid, "the issuer of 'Intel SGX PCK Certificate' is not at hand"),
    "openenclave-sgx-cert-rsa-bad-v3": (ChainInvalid, "Intel SGX Root CA"),
    "openenclave-sgx-report-bad-v3": (ChainInvalid, "the issuer of 'Intel SGX PCK Certificate' is not at hand"),
    "ccapi-quote-v4": (ChainInvalid, "is not a trust anchor"),
}


def test_every_negative_case_is_refused_for_its_reason() -> None:
    negatives = {folder.name: folder for folder, meta in metas() if "negative_reason" in meta}
    assert set(negatives) == set(NEGATIVE)
    for name, (kind, reason) in NEGATIVE.items():
        with pytest.raises(kind, match=reason):
            verify(quote_in(negatives[name]), Endorsements(), 1_750_000_000)


def test_every_form_of_quote_is_there() -> None:
    forms = {(quote.header.version, type(quote.body)) for quote in map(quote_in, SAMPLES)}
    assert {version for version, _ in forms} == {3, 4, 5}
    assert {TdReport10, TdReport15} < {body for _, body in forms}
