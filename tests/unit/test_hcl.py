"""Azure's HCL report and bundle, and the recipe by which a hardware report vouches for a vTPM's key."""

import base64
import json
from typing import Any

import pytest
from tests.forge.tpm import BOOT, NONCE, TpmForge, event_log, hardware_report, runtime_data
from tests.forge.x509 import Authority

from cloister.appraise.tpm import claims
from cloister.errors import BindingInvalid, NotFresh, ParseError, SignatureInvalid, VerificationError
from cloister.evidence import hcl, hcl_bundle
from cloister.evidence.tpm import TpmQuote
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification.hcl import ANSWERED_BY_QUOTE, RECIPE, HardwareReport, verify_bound_quote
from cloister.verification.recipe import CheckState, VerifiedEvidence

FORGE, OTHER = TpmForge(), TpmForge()
RUNTIME = runtime_data(FORGE)
QUOTE = FORGE.quote(key=b"")


def hcl_report(kind: int = 2, runtime: bytes = RUNTIME, padding: int = 100, hardware: bytes = b"\2") -> bytes:
    size = len(runtime)
    head = b"HCLA" + b"".join(n.to_bytes(4, "little") for n in (2, 1236 + size, 2, 0, 0, 0, 0))
    request = b"".join(n.to_bytes(4, "little") for n in (20 + size, 1, kind, 1, size))
    return head + hardware.ljust(1184, b"\0") + request + runtime + bytes(padding)


@pytest.mark.parametrize(("kind", "tee", "size"), [(2, Tee.SNP, 1184), (4, Tee.TDX, 1024)])
@pytest.mark.parametrize("padding", [0, 1, 100])
def test_an_hcl_report_is_read_and_written_again(kind: int, tee: Tee, size: int, padding: int) -> None:
    data = hcl_report(kind, padding=padding)
    report = hcl.parse(data)
    assert hcl.looks_like(data)
    assert (report.tee, len(report.hardware_report), report.padding) == (tee, size, padding)
    assert report.runtime_data == RUNTIME
    assert report.serialize() == data


def patched(at: int, new: bytes, data: bytes | None = None) -> bytes:
    whole = data or hcl_report()
    return whole[:at] + new + whole[at + len(new) :]


MALFORMED = {
    "another signature": (patched(0, b"HCLB"), "signature"),
    "another version": (patched(4, b"\3"), "version 3"),
    "another request": (patched(12, b"\1"), "request type 1"),
    "a failed request": (patched(16, b"\1"), "status"),
    "reserved bytes": (patched(31, b"\1"), "reserved"),
    "a size that is not the report's": (patched(8, b"\0"), "runtime data size"),
    "a size that is not the data's": (patched(1216, b"\0"), "runtime data size"),
    "data longer than the report": (patched(1232, b"\xff\xff"), "runtime data size"),
    "another hash": (patched(1228, b"\2"), "hash_type"),
    "another request version": (patched(1220, b"\2"), "version"),
    "a report of virtualization-based security": (hcl_report(1), "VBS: only SNP and TDX"),
    "an unknown report": (hcl_report(9), "type 9"),
    "bytes behind a TDREPORT": (hcl_report(4, hardware=bytes(1100) + b"\1"), "behind the TDREPORT"),
    "bytes behind the report": (hcl_report() + b"\1", "not zero"),
    "cut off in the data": (hcl_report(padding=0)[:-1], "runtime data"),
    "cut off in the header": (hcl_report()[:31], "header"),
    "far too much": (hcl_report(padding=70_000), "at most 65536"),
}


@pytest.mark.parametrize(("data", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_reports_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        hcl.parse(data)


def test_runtime_data_names_the_key() -> None:
    found = hcl.parse_runtime_data(RUNTIME)
    assert found.ak == FORGE.spki
    assert found.vm_configuration == {"secure-boot": True, "vmUniqueId": "A-B"}
    assert (found.encoded, found.user_data) == (RUNTIME, "")


KEY = json.loads(RUNTIME)["keys"][0]
BAD_RUNTIME = {
    "no keys": (runtime_data(FORGE, keys=[]), "0 keys"),
    "two keys of that name": (runtime_data(FORGE, keys=[KEY, KEY]), "2 keys"),
    "a key of another name": (runtime_data(FORGE, keys=[KEY | {"kid": "HCLEkPub"}]), "0 keys"),
    "an EC key": (runtime_data(FORGE, keys=[KEY | {"kty": "EC"}]), "only RSA"),
    "a short key": (runtime_data(FORGE, keys=[KEY | {"n": "AQAB"}]), "17 bits"),
    "a key without exponent": (runtime_data(FORGE, keys=[{k: v for k, v in KEY.items() if k != "e"}]), "e at"),
    "a key in another base64": (runtime_data(FORGE, keys=[KEY | {"n": KEY["n"][:-2] + "+/"}]), "base64url"),
    "keys that are no list": (runtime_data(FORGE, keys={}), "not a list"),
    "a name twice in one object": (RUNTIME.replace(b'"kty"', b'"kid":"x","kty"'), "stands twice"),
    "a configuration that is none": (runtime_data(FORGE, **{"vm-configuration": 1}), "vm-configuration"),
    "far too much": (RUNTIME + b" " * 20_000, "at most 16384"),
    "no JSON": (RUNTIME[:-1], "json"),
}


@pytest.mark.parametrize(("data", "reason"), BAD_RUNTIME.values(), ids=BAD_RUNTIME)
def test_malformed_runtime_data_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        hcl.parse_runtime_data(data)
    with pytest.raises(ParseError, match=reason):
        verify(report=hardware_report(data), runtime=data)


def verify(
    quote: TpmQuote = QUOTE, report: HardwareReport | None = None, runtime: bytes = RUNTIME, nonce: bytes = NONCE
) -> VerifiedEvidence[TpmQuote]:
    return verify_bound_quote(quote, report or hardware_report(runtime), runtime, challenge=Challenge(nonce))


def test_a_quote_that_a_hardware_report_vouches_for() -> None:
    found = verify()
    assert [(check.number, check.state) for check in found.checks if check.state is not CheckState.PASSED] == [
        ("HCL-6", CheckState.UNCHECKED)
    ]
    assert (found.tee, found.anchor.name, found.facts["ak"]) == (Tee.TPM, "forged AMD", FORGE.spki)
    made = claims(found)
    assert (made["hardware"], made["debug"], made["vm_secure_boot"], made["vm_unique_id"]) == (
        "snp",
        False,
        True,
        "A-B",
    )


def test_every_step_says_where_it_comes_from_and_what_it_is_worth() -> None:
    assert [step.number for step in RECIPE.steps] == [f"HCL-{number}" for number in range(1, 11)]
    assert all(step.source and step.fix and step.cost for step in RECIPE.steps)


def test_the_key_may_come_along_if_it_is_the_same() -> None:
    assert verify(FORGE.quote()).facts["ak"] == FORGE.spki
    with pytest.raises(BindingInvalid, match="another key than the runtime data"):
        verify(OTHER.quote())


def test_an_operating_systems_own_report_vouches_for_nothing() -> None:
    with pytest.raises(BindingInvalid, match="not asked for by the paravisor"):
        verify(report=hardware_report(RUNTIME, vmpl=2))


def test_runtime_data_is_bound_by_its_exact_bytes() -> None:
    for other in (RUNTIME + b"\n", json.dumps(json.loads(RUNTIME)).encode(), runtime_data(OTHER)):
        with pytest.raises(BindingInvalid, match="does not vouch for this runtime data"):
            verify(report=hardware_report(RUNTIME), runtime=other)


def test_the_quote_is_by_that_key_and_answers_the_challenge() -> None:
    with pytest.raises(SignatureInvalid):
        verify(OTHER.quote(key=b""))
    with pytest.raises(NotFresh):
        verify(nonce=NONCE + b"\0")
    with pytest.raises(BindingInvalid, match="event log"):
        verify(FORGE.quote(key=b"", log=event_log(BOOT[1:], banks=("sha256",))))


@pytest.mark.parametrize("report", [None, object(), b"a report", hcl.parse(hcl_report())], ids=repr)
def test_nothing_but_a_verified_report_vouches(report: Any) -> None:
    with pytest.raises(VerificationError, match="needs a verified SNP report or TDX quote"):
        verify_bound_quote(QUOTE, report, RUNTIME, challenge=Challenge(NONCE))


def test_a_verified_quote_is_no_hardware_report() -> None:
    with pytest.raises(VerificationError, match="needs a verified"):
        verify_bound_quote(QUOTE, verify(), RUNTIME, challenge=Challenge(NONCE))  # type: ignore[arg-type]


def test_what_the_reports_verification_left_open_is_open_here_too() -> None:
    left = verify(report=hardware_report(RUNTIME, outcome=Unchecked("no revocation list")))
    assert any("not everything in it: no revocation list" in line for line in left.unchecked)
    right = verify(report=hardware_report(RUNTIME, outcome=ANSWERED_BY_QUOTE))
    assert not any("Hardware report" in line for line in right.unchecked)


def test_a_debug_vm_says_so() -> None:
    assert claims(verify(report=hardware_report(RUNTIME, policy=0x3001F | 1 << 19)))["debug"] is True


VCEK = Authority("a chip").certificate.encoded
MESSAGE, SIGNATURE = QUOTE.attest.serialize(), QUOTE.signature.parts[0]
VALUES = QUOTE.pcrs[0].values


def url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def bundle(form: int, kind: int = 2, **changes: Any) -> bytes:
    """Trustee's JSON without version (0), or of that version."""
    report, td_quote = hcl_report(kind), b"a TD quote"
    if form == 0:
        quote: dict[str, Any] = {"message": [*MESSAGE], "signature": [*SIGNATURE], "pcrs": [[*one] for one in VALUES]}
        pem = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(VCEK).decode()}\n-----END CERTIFICATE-----\n"
        made: dict[str, Any] = {"quote": quote, "report": [*report], "vcek": pem}
        if kind == 4:
            made = {"tpm_quote": quote, "hcl_report": [*report], "td_quote": [*td_quote]}
    else:
        quote = {"message": MESSAGE.hex(), "signature": SIGNATURE.hex(), "pcrs": [one.hex() for one in VALUES]}
        made = {"version": form, "tpm_quote": quote, "hcl_report": url(report)}
        made |= {"td_quote": url(td_quote)} if kind == 4 else {"vcek": url(VCEK)}
    return json.dumps({key: value for key, value in (made | changes).items() if value is not None}).encode()


@pytest.mark.parametrize("form", [0, 1, 2])
@pytest.mark.parametrize("kind", [2, 4])
def test_every_form_of_a_bundle(form: int, kind: int) -> None:
    data = bundle(form, kind)
    found = hcl_bundle.parse(data)
    assert hcl_bundle.looks_like(data)
    assert found.report == hcl.parse(hcl_report(kind))
    assert (found.quote.attest, found.quote.pcrs) == (QUOTE.attest, QUOTE.pcrs)
    assert found.quote.signature.bare
    assert [one.encoded for one in found.certificates] == ([VCEK] if kind == 2 else [])
    assert found.hardware_evidence == (found.report.hardware_report if kind == 2 else b"a TD quote")


def test_a_bundle_whose_certificate_comes_another_way() -> None:
    data = bundle(1, vcek=None)
    assert hcl_bundle.looks_like(data)
    assert hcl_bundle.parse(data).certificates == ()


def test_a_bundle_verifies_by_its_runtime_data() -> None:
    found = hcl_bundle.parse(bundle(1))
    assert verify(found.quote, runtime=found.report.runtime_data).facts["ak"] == FORGE.spki


BAD_BUNDLES = {
    "a field that is not understood": (bundle(1, extra=1), "any form"),
    "no certificate in the form without a version": (bundle(0, vcek=None), "any form"),
    "neither a certificate nor a TD quote, of a TD": (bundle(1, 4, td_quote=None), "must be there, or not"),
    "an unknown version": (bundle(3), "neither 1 nor 2"),
    "a version that is true": (bundle(1, version=True), "neither 1 nor 2"),
    "a TD quote with an SNP report": (bundle(1, 4, hcl_report=url(hcl_report())), "must be there, or not"),
    "no TD quote with a TD report": (bundle(1, hcl_report=url(hcl_report(4))), "must be there, or not"),
    "a quote that is none": (bundle(1, tpm_quote=[]), "nothing else"),
    "a quote without values": (bundle(1, tpm_quote={"message": "", "signature": ""}), "nothing else"),
    "values that are no list": (bundle(1, tpm_quote={"message": "", "signature": "", "pcrs": ""}), "not a list"),
    "a report that is no bytes": (bundle(1, hcl_report=5), "not a string"),
    "a report of numbers too large": (bundle(0, report=[256]), "form that is known"),
    "a report of truth values": (bundle(0, report=[True]), "not a string"),
    "a report in another base64": (bundle(1, hcl_report="a+/="), "one form"),
    "a certificate in no base64": (bundle(1, vcek="é"), "not base64url"),
    "two certificates": (bundle(0, vcek=json.loads(bundle(0))["vcek"] * 2), "2 certificates"),
    "a list": (b"[]", "any form"),
}


@pytest.mark.parametrize(("data", "reason"), BAD_BUNDLES.values(), ids=BAD_BUNDLES)
def test_malformed_bundles_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        hcl_bundle.parse(data)
