"""Every real SNP report and AMD certificate: fields, verdict, the negatives; every published launch digest."""

import functools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.samples.conftest import EVIDENCE

from cloister._x509 import Certificate, Crl
from cloister.appraise.snp import claims, measurements
from cloister.endorse.amd import chain_path, ek_info, kds_path
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import (
    BindingInvalid,
    ChainInvalid,
    EndorsementUnavailable,
    Revoked,
    SignatureInvalid,
    VerificationError,
)
from cloister.evidence import snp as evidence
from cloister.evidence.sev_keys import EcSignature
from cloister.evidence.snp import MilanTcb, Report, ReportV3, SigningKey, tcb_of
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import snp, snp_key
from cloister.verification.chains import build_chain, check_revocation
from cloister.verification.recipe import Allowances, VerifiedEvidence

FOLDER = EVIDENCE / "amd-sev-snp"
UNASKED = Unchecked("recorded long ago")
SKIP = Allowances(unsafe_skip_revocation=True)
DEBUG = {"gosevguest-attestation"}
"""Launched with a policy that allows debugging (0xb0000)."""


@functools.cache
def meta(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / name / "meta.json").read_text())
    return found


NAMES = sorted(path.parent.name for path in FOLDER.glob("*/meta.json"))
REPORTS = [name for name in NAMES if (FOLDER / name / "report.bin").exists()]
WITH_KEY = [name for name in REPORTS if "collateral" in meta(name)]
WITHOUT_KEY = [name for name in REPORTS if "collateral" not in meta(name)]


def certificate(path: Path) -> Certificate:
    return Certificate.parse(path.read_bytes())


@functools.cache
def shared() -> Endorsements:
    folder = EVIDENCE / "collateral-amd"
    return Endorsements(
        certificates=tuple(certificate(path) for path in sorted(folder.glob("*.der"))),
        crls=tuple(Crl.parse(path.read_bytes()) for path in sorted(folder.glob("*.crl"))),
    )


@functools.cache
def everything() -> Endorsements:
    """What a verifier that has seen all these platforms has in its store."""
    found = shared()
    for name in WITH_KEY:
        found |= Endorsements(certificates=(key_of(name),))
    return found


def key_of(name: str) -> Certificate:
    return certificate(FOLDER / name / meta(name)["collateral"]["ek"])


@functools.cache
def report_in(name: str) -> Report:
    return evidence.parse((FOLDER / name / "report.bin").read_bytes())


def clock(name: str) -> datetime:
    return datetime.fromisoformat(meta(name)["expected"]["ek_validity"][0]) + timedelta(days=30)


def verify(name: str, given: Endorsements | None = None, **changes: Any) -> VerifiedEvidence[Report]:
    allow = Allowances(unsafe_skip_revocation=True, unsafe_allow_debug=name in DEBUG)
    settings: dict[str, Any] = {"at": clock(name), "challenge": UNASKED, "allow": allow} | changes
    return snp.verify(report_in(name), anchors=TrustAnchors.hardware(), endorsements=given or everything(), **settings)


def test_the_corpus_is_there() -> None:
    assert len(NAMES) == 24
    assert len(WITH_KEY) == 18
    assert len(WITHOUT_KEY) == 3
    assert len(shared().certificates) == 10


@pytest.mark.parametrize("name", REPORTS)
def test_fields(name: str) -> None:
    report, fields = report_in(name), meta(name)["fields"]
    assert report.serialize() == (FOLDER / name / "report.bin").read_bytes()
    for key, value in fields.items():
        assert field(report, key) == value, key


def field(report: Report, key: str) -> object:
    """A field as the samples' descriptions write it."""
    match key:
        case "policy" | "platform_info" | "cpuid_fam_id" | "cpuid_mod_id":
            return hex(getattr(report, key))
        case "key_info":
            return hex(report.signer_info)
        case "current_version" | "committed_version":
            kind = key.partition("_")[0]
            return ".".join(str(getattr(report, f"{kind}_{part}")) for part in ("major", "minor", "build"))
        case "reported_tcb_parsed":
            tcb = tcb_of(report.reported_tcb, report.products[0])
            return {name: level for name, level in vars(tcb).items() if not name.startswith("reserved")}
        case _:
            value = getattr(report, key)
            return value.hex() if isinstance(value, bytes) else value


@pytest.mark.parametrize("name", WITH_KEY)
def test_verdict(name: str) -> None:
    report, found = report_in(name), verify(name, challenge=Challenge(report_in(name).report_data))
    assert found.anchor.kind is AnchorKind.HARDWARE
    assert found.anchor.name == f"AMD ARK-{meta(name)['product'].rpartition('-')[2]}"
    assert found.facts["product"] in report.products
    expected = {"Authority not revoked", "Endorsement key of this chip", "Production guest"}
    assert {line.partition(":")[0] for line in found.unchecked} <= expected
    assert ek_info(key_of(name)).tcb == report.reported_tcb
    said = claims(found)
    assert said["measurement"] == meta(name)["fields"]["measurement"]
    assert said["debug"] is (name in DEBUG)
    assert measurements(report)[0].digest.value == report.measurement


@pytest.mark.parametrize("name", WITH_KEY)
def test_revocation_is_decided_or_undecided(name: str) -> None:
    """Both lists have long expired; at a time inside their windows they decide."""
    lists = [crl for crl in shared().crls if crl.issuer == issuer_of_authority(name)]
    assert len(lists) == 1
    decided = lists[0].this_update <= clock(name) <= (lists[0].next_update or clock(name))
    allow = Allowances(unsafe_allow_debug=name in DEBUG)
    if decided:
        assert not any("Authority" in line for line in verify(name, allow=allow).unchecked)
    else:
        with pytest.raises(EndorsementUnavailable, match="revocation list of 'ARK-"):
            verify(name, allow=allow)
    with pytest.raises(EndorsementUnavailable, match=r"not at hand; AMD has it at https://kdsintf\.amd\.com/v"):
        verify(name, Endorsements(certificates=everything().certificates), allow=allow)


def issuer_of_authority(name: str) -> bytes:
    ask = certificate(EVIDENCE / meta(name)["collateral"]["ask"])
    return ask.issuer


@pytest.mark.parametrize("name", sorted(DEBUG))
def test_debug_guests_are_refused(name: str) -> None:
    with pytest.raises(VerificationError, match="may be debugged"):
        verify(name, allow=SKIP)


@pytest.mark.parametrize("name", WITH_KEY)
def test_the_dates_are_what_the_samples_say(name: str) -> None:
    start, end = map(datetime.fromisoformat, meta(name)["expected"]["ek_validity"])
    for at, word in ((start - timedelta(seconds=1), "not valid yet"), (end + timedelta(seconds=1), "expired")):
        with pytest.raises(EndorsementUnavailable, match=word):
            verify(name, at=at)


@pytest.mark.parametrize("name", WITHOUT_KEY)
def test_without_a_certificate_nothing_is_decided(name: str) -> None:
    report = report_in(name)
    with pytest.raises(EndorsementUnavailable, match=report.chip_id.hex()) as caught:
        snp.verify(
            report, anchors=TrustAnchors.hardware(), endorsements=shared(), at=datetime(2024, 1, 1, tzinfo=UTC),
            challenge=UNASKED,
        )  # fmt: skip
    assert "https://kdsintf.amd.com/vcek/v1/Milan/" in str(caught.value)


@pytest.mark.parametrize("name", ["cmc-snp-test", "cmc-snp-test-917d4a"])
def test_reports_without_a_certificate_are_altered_ones_of_a_third(name: str) -> None:
    """One byte of a third one's key digest or signature was changed: its certificate fits, its key did not sign."""
    given = shared() | Endorsements(certificates=(key_of("cmc-snp-test-bdb449"),))
    with pytest.raises(SignatureInvalid, match="signature over the report does not verify"):
        snp.verify(
            report_in(name), anchors=TrustAnchors.hardware(), endorsements=given, at=clock("cmc-snp-test-bdb449"),
            challenge=UNASKED, allow=SKIP,
        )  # fmt: skip


# ---------------------------------------------------------------- negatives


def test_the_altered_vceks() -> None:
    folder = FOLDER / "neg-trustee-vcek-invalid"
    report = evidence.parse((folder / "test-report.bin").read_bytes())
    at = datetime(2024, 1, 1, tzinfo=UTC)

    def run(*names: str) -> VerifiedEvidence[Report]:
        given = shared() | Endorsements(certificates=tuple(certificate(folder / name) for name in names))
        return snp.verify(
            report, anchors=TrustAnchors.hardware(), endorsements=given, at=at, challenge=UNASKED, allow=SKIP
        )

    altered = ("test-vcek-invalid-legacy.der", "test-vcek-invalid-new.der")
    run("test-vcek.der")
    run(*altered, "test-vcek.der")  # their presence does no harm
    for name in altered:
        with pytest.raises(EndorsementUnavailable, match="for another TCB; AMD has the one needed at"):
            run(name)
        with pytest.raises(ChainInvalid, match="does not verify under 'SEV-Milan'"):
            build_chain(certificate(folder / name), shared().certificates, TrustAnchors.hardware(), Tee.SNP)


def test_the_revoked_authority_of_genoa() -> None:
    folder = FOLDER / "neg-revoked-genoa-ask"
    at = datetime.fromtimestamp(meta(folder.name)["clock_unix"], UTC)
    crl = Crl.parse((folder / "crl-ark-genoa-2022-10-31.crl").read_bytes())
    pool = tuple(certificate(path) for path in sorted(folder.glob("*.der")))
    for name, revoked in (("sev-genoa-ask-revoked.der", True), ("sev-genoa-ask-current.der", False)):
        chain = build_chain(certificate(folder / name), pool, TrustAnchors.hardware(), Tee.SNP)
        if revoked:
            with pytest.raises(Revoked, match="'SEV-Genoa' has been revoked by 'ARK-Genoa'"):
                check_revocation(chain, (crl,), at, Allowances(), hint="")
        else:
            check_revocation(chain, (crl,), at, Allowances(), hint="")


GENOA = [name for name in WITH_KEY if meta(name)["product"] == "SEV-Genoa"]


@pytest.mark.parametrize("name", GENOA)
def test_of_two_authorities_with_one_name_the_one_that_signed_is_taken(name: str) -> None:
    both = [one for one in shared().certificates if one.name == "SEV-Genoa"]
    assert len(both) == 2
    chain = build_chain(key_of(name), shared().certificates, TrustAnchors.hardware(), Tee.SNP)
    assert chain[1] == certificate(EVIDENCE / meta(name)["collateral"]["ask"])
    revoked_one = next(one for one in both if one != chain[1])
    given = Endorsements(
        certificates=(key_of(name), revoked_one, *(one for one in shared().certificates if one.name == "ARK-Genoa"))
    )
    with pytest.raises(ChainInvalid):
        verify(name, given)


def test_products_do_not_vouch_for_one_another() -> None:
    """A report of one product, with its certificate, under the authorities of another."""
    milan = tuple(one for one in shared().certificates if one.name.endswith("Milan"))
    with pytest.raises(EndorsementUnavailable, match="SEV-Genoa is not at hand"):
        verify(GENOA[0], Endorsements(certificates=(key_of(GENOA[0]), *milan)))


def test_altered_reports_are_refused() -> None:
    name = "dstack-sev-snp-attestation"
    for offset in (0x50, 0x90, 0xC0, 0x1F0, 0x2A0, 0x2E8):
        data = bytearray((FOLDER / name / "report.bin").read_bytes())
        data[offset] ^= 1
        with pytest.raises((VerificationError, EndorsementUnavailable)):
            snp.verify(
                evidence.parse(bytes(data)), anchors=TrustAnchors.hardware(), endorsements=everything(),
                at=clock(name), challenge=UNASKED, allow=SKIP,
            )  # fmt: skip


def test_a_tcb_above_the_current_one_would_be_seen() -> None:
    case = snp.Case(
        report=report_in("trustee-hcl-report"), anchors=TrustAnchors.hardware(), endorsements=everything(),
        at=clock("trustee-hcl-report"), challenge=UNASKED, allow=SKIP,
    )  # fmt: skip
    snp.tcb_in_order(case)
    swapped = dict(case.report.fields())
    swapped |= {"current_tcb": case.report.committed_tcb, "committed_tcb": case.report.current_tcb}
    case.report = type(case.report)(**swapped)
    with pytest.raises(BindingInvalid, match="COMMITTED_TCB is above CURRENT_TCB"):
        snp.tcb_in_order(case)


# ---------------------------------------------------------------- the JSON form, and where AMD has certificates


def test_the_json_form_is_the_report_field_by_field() -> None:
    document = json.loads((FOLDER / "format-trustee-coco-evidence" / "evidence.json").read_text())
    said = document["attestation_report"]
    renamed = {"sig_algo": "signature_algo", "plat_info": "platform_info", "key_info": "signer_info"}
    fields: dict[str, Any] = {}
    for name, value in said.items():
        if name in {"current", "committed"}:
            fields |= {f"{name}_{part}": number for part, number in value.items()}
        elif name == "signature":
            fields[name] = EcSignature(r=bytes(value["r"]), s=bytes(value["s"]))
        elif name.endswith("_tcb"):
            levels = {part: level for part, level in value.items() if part != "fmc"}
            fields[name] = MilanTcb(**levels).serialize()
        else:
            fields[renamed.get(name, name)] = bytes(value) if isinstance(value, list) else value
    report = evidence.parse(ReportV3(**fields).serialize())
    key = Certificate.parse(bytes(document["cert_chain"][0]["data"]))
    found = snp.verify(
        report, anchors=TrustAnchors.hardware(), endorsements=shared() | Endorsements(certificates=(key,)),
        at=key.not_before, challenge=UNASKED, allow=SKIP,
    )  # fmt: skip
    assert found.anchor.name == "AMD ARK-Genoa"


@pytest.mark.parametrize("name", WITH_KEY)
def test_the_message_about_a_missing_certificate_says_where_it_is(name: str) -> None:
    report = report_in(name)
    with pytest.raises(EndorsementUnavailable) as caught:
        verify(name, shared())
    kind, product = report.signing_key, ek_info(key_of(name)).product
    path = kds_path(kind, product, report.chip_id, report.reported_tcb)
    assert f"https://kdsintf.amd.com{path}" in str(caught.value)
    assert path.startswith(chain_path(kind, product).removesuffix("cert_chain"))


def test_the_vlek_names_its_provider_instead_of_a_chip() -> None:
    found = verify("trustee-test-vlek-report")
    assert found.evidence.signing_key is SigningKey.VLEK
    assert claims(found)["csp_id"] == "CN=cc-us-east-2.amazonaws.com"
    assert any("not of one chip" in line for line in found.unchecked)
    assert found.evidence.chip_id == snp_key.MASKED
