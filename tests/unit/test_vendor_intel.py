"""The emulated Intel: its certificates and statements, and quotes that only verified reports become."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.forge.intel import ANSWERED as NONCE
from tests.forge.intel import sgx_machine_report, sgx_verified, td_machine_report, td_verified
from tests.forge.x509 import NOW, YEAR

import cloister
from cloister._x509 import pem_blocks
from cloister.cli import main
from cloister.emulate.vendors.intel import IntelManufacturer
from cloister.emulate.vendors.intel_platform import CLIENT, SERVER, SgxType
from cloister.emulate.vendors.intel_quoting import SgxQuotingEnclave, TdQuotingEnclave
from cloister.emulate.vendors.intel_reports import TargetInfo
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.sigstruct import mrsigner, sign_enclave, signing_key
from cloister.emulate.vendors.x509 import armoured
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.intel import pck_info, qe_identity, tcb_info
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, EndorsementUnavailable, ParseError, Revoked, SignatureInvalid, UsageError
from cloister.evidence import sgx, sigstruct, tdx
from cloister.measure.sigstruct import Product
from cloister.model import Tee
from cloister.verification.sigstruct import verify_sigstruct
from cloister.verifier.trust_files import read_anchors, read_endorsements


@pytest.fixture(scope="module")
def intel(tmp_path_factory: pytest.TempPathFactory) -> IntelManufacturer:
    return IntelManufacturer(Keystore(tmp_path_factory.mktemp("keys") / "emulated"))


@pytest.fixture(scope="module")
def enclave(intel: IntelManufacturer) -> SgxQuotingEnclave:
    return intel.sgx_quoting_enclave(verified=sgx_verified)


@pytest.fixture(scope="module")
def td_enclave(intel: IntelManufacturer) -> TdQuotingEnclave:
    return intel.td_quoting_enclave(verified=td_verified)


def given(data: bytes, folder: Path) -> Endorsements:
    """What `cloister verify --endorsement` reads of it."""
    path = folder / "collateral.json"
    path.write_bytes(data)
    return read_endorsements(path)


def verify(quote: bytes, intel: IntelManufacturer, folder: Path, **changes: Any) -> cloister.Verdict:
    settings: dict[str, Any] = {"nonce": NONCE, "at": NOW, "anchors": TrustAnchors.testing(intel.root_spki)}
    collateral = changes.pop("collateral", None) or intel.collateral(NOW)
    return cloister.verify(quote, endorsements=given(collateral, folder), **settings | changes)


# ---------------------------------------------------------------- certificates


def test_names_say_emulated_and_are_else_as_intels(intel: IntelManufacturer) -> None:
    made = (intel.root.certificate, intel.pck_ca.certificate, intel.pck, intel.tcb_signer)
    assert [one.name for one in made] == [
        "Emulated Intel SGX Root CA", "Emulated Intel SGX PCK Platform CA", "Emulated Intel SGX PCK Certificate",
        "Emulated Intel SGX TCB Signing",
    ]  # fmt: skip
    assert [one.path_length for one in made] == [1, 0, None, None]
    assert [one.is_ca for one in made] == [True, True, False, False]


def test_the_pck_certificate_says_what_the_platform_is(intel: IntelManufacturer) -> None:
    found = pck_info(intel.pck)
    assert (found.fmspc, found.pce_id, found.pcesvn) == (SERVER.fmspc, SERVER.pce_id, SERVER.pcesvn)
    assert (found.components, found.cpusvn) == (SERVER.components, SERVER.cpusvn)
    assert found.sgx_type == SgxType.SCALABLE
    assert len(found.ppid) == len(found.platform_instance_id) == 16
    assert found.ppid != found.platform_instance_id
    assert found.configuration == {"dynamic_platform": False, "cached_keys": True, "smt_enabled": False}


def test_a_client_is_certified_by_the_processor_ca_and_has_no_tdx(intel: IntelManufacturer) -> None:
    client = IntelManufacturer(intel.keystore, CLIENT)
    assert client.root.certificate == intel.root.certificate
    assert client.pck_ca.certificate.name == "Emulated Intel SGX PCK Processor CA"
    assert pck_info(client.pck).platform_instance_id == b""
    assert pck_info(client.pck).sgx_type == SgxType.STANDARD
    bundles = json.loads(client.collateral(NOW))
    assert [json.loads(one["tcb_info"])["id"] for one in bundles] == ["SGX"]
    with pytest.raises(UsageError, match="is a client processor, which has no TDX"):
        client.td_quoting_enclave(verified=td_verified)


def test_a_client_s_quote_verifies_with_its_own_collateral(intel: IntelManufacturer, tmp_path: Path) -> None:
    client = IntelManufacturer(intel.keystore, CLIENT)
    quote = client.sgx_quoting_enclave(verified=sgx_verified).quote(sgx_machine_report())
    assert verify(quote, client, tmp_path).tcb_status == "UpToDate"


def test_another_level_has_another_key_and_the_first_one_is_kept(intel: IntelManufacturer) -> None:
    raised = IntelManufacturer(intel.keystore, replace(SERVER, components=(200, *SERVER.components[1:])))
    assert pck_info(raised.pck).components[0] == 200
    assert raised.pck.spki != intel.pck.spki
    assert IntelManufacturer(Keystore(intel.keystore.directory)).pck == intel.pck


@pytest.mark.needs_program("openssl")
def test_openssl_agrees_about_certificates_and_lists(intel: IntelManufacturer, tmp_path: Path) -> None:
    """Somebody else's reader, at its strictest (RFC 5280 to the letter)."""
    bundle = json.loads(intel.collateral(NOW))[0]
    lists = [armoured(bytes.fromhex(bundle[member]), "X509 CRL") for member in ("pck_crl", "root_ca_crl")]
    files = {
        "root": intel.root_pem, "ca": armoured(intel.pck_ca.certificate.encoded), "crls": b"".join(lists),
        "pck": armoured(intel.pck.encoded), "signer": armoured(intel.tcb_signer.encoded),
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    asked = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW.timestamp())), "-crl_check_all"]
    asked += ["-CRLfile", "crls", "-CAfile", "root", "-untrusted", "ca", "pck", "signer"]
    found = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (found.stdout, found.stderr, found.returncode) == ("pck: OK\nsigner: OK\n", "", 0)


# ---------------------------------------------------------------- statements


def test_statements_are_good_for_thirty_days(intel: IntelManufacturer) -> None:
    for bundle in json.loads(intel.collateral(NOW)):
        info, identity = tcb_info(bundle["tcb_info"].encode()), qe_identity(bundle["qe_identity"].encode())
        assert info.issued == identity.issued == NOW
        assert info.next_update == identity.next_update == NOW + timedelta(days=30)
        assert info.fmspc == SERVER.fmspc


def test_bundles_hold_the_chains_that_belong_to_them(intel: IntelManufacturer) -> None:
    bundle = json.loads(intel.collateral(NOW))[0]
    root, ca, signer = (one.encoded for one in (intel.root.certificate, intel.pck_ca.certificate, intel.tcb_signer))
    assert pem_blocks(bundle["tcb_info_issuer_chain"].encode(), "CERTIFICATE") == [signer, root]
    assert pem_blocks(bundle["pck_crl_issuer_chain"].encode(), "CERTIFICATE") == [ca, root]


@pytest.mark.parametrize("moment", [NOW - timedelta(seconds=1), NOW + timedelta(days=30, seconds=1)])
def test_outside_of_that_time_nothing_is_decided_until_it_is_issued_anew(
    intel: IntelManufacturer, enclave: SgxQuotingEnclave, tmp_path: Path, moment: Any
) -> None:
    quote = enclave.quote(sgx_machine_report())
    with pytest.raises(EndorsementUnavailable):
        verify(quote, intel, tmp_path, at=moment)
    assert verify(quote, intel, tmp_path, at=moment, collateral=intel.collateral(moment)).tcb_status == "UpToDate"


def test_after_a_tcb_recovery_the_same_platform_is_out_of_date(
    intel: IntelManufacturer, enclave: SgxQuotingEnclave, tmp_path: Path
) -> None:
    recovered = intel.collateral(NOW, status="OutOfDate", advisories=["EMULATED-SA-00100"])
    verdict = verify(enclave.quote(sgx_machine_report()), intel, tmp_path, collateral=recovered)
    assert (verdict.tcb_status, verdict.advisories) == ("OutOfDate", ("EMULATED-SA-00100",))


@pytest.mark.parametrize("which", ["pck", "pck_ca", "tcb_signer"])
def test_what_is_revoked_vouches_for_nothing(
    intel: IntelManufacturer, enclave: SgxQuotingEnclave, tmp_path: Path, which: str
) -> None:
    found = getattr(intel, which)
    certificate = found.certificate if which == "pck_ca" else found
    collateral = intel.collateral(NOW, revoked=[certificate])
    with pytest.raises(Revoked):
        verify(enclave.quote(sgx_machine_report()), intel, tmp_path, collateral=collateral)


# ---------------------------------------------------------------- quotes


def test_an_sgx_quote_verifies_and_says_what_the_report_said(
    intel: IntelManufacturer, enclave: SgxQuotingEnclave, tmp_path: Path
) -> None:
    report = sgx_machine_report()
    quote = enclave.quote(report, user_data=b"mine")
    parsed = sgx.parse(quote)
    assert (parsed.header.version, parsed.header.user_data[16:]) == (3, b"mine")
    assert parsed.body.serialize() == report[:384]
    verdict = verify(quote, intel, tmp_path)
    assert (verdict.tee, verdict.tcb_status) == (Tee.SGX, "UpToDate")
    assert verdict.claims["mrenclave"] == bytes(range(32)).hex()


@pytest.mark.parametrize("version", [4, 5])
def test_a_tdx_quote_verifies_and_says_what_the_report_said(
    intel: IntelManufacturer, td_enclave: TdQuotingEnclave, tmp_path: Path, version: int
) -> None:
    quote = td_enclave.quote(td_machine_report(), version=version)
    body = tdx.parse(quote).body
    assert isinstance(body, tdx.TdReport15) is (version == 5)
    assert (body.mrtd, body.rtmr3, body.mrseam) == (bytes(range(48)), b"\x03" * 48, b"\x5e" * 48)
    verdict = verify(quote, intel, tmp_path)
    assert (verdict.tee, verdict.tcb_status) == (Tee.TDX, "UpToDate")


def test_all_quotes_of_a_platform_name_one_quoting_enclave(intel: IntelManufacturer) -> None:
    again = IntelManufacturer(Keystore(intel.keystore.directory))
    quotes = [
        sgx.parse(one.sgx_quoting_enclave(verified=sgx_verified).quote(sgx_machine_report())) for one in (intel, again)
    ]  # fmt: skip
    assert quotes[0].header.user_data == quotes[1].header.user_data != bytes(20)
    assert quotes[0].signature.attestation_key == quotes[1].signature.attestation_key


def test_the_target_of_reports_is_the_enclave_that_signs(enclave: SgxQuotingEnclave) -> None:
    target = TargetInfo.parse(enclave.target_info)
    qe = sgx.parse(enclave.quote(sgx_machine_report())).signature.qe_report
    assert (target.mrenclave, target.attributes) == (qe.mrenclave, qe.attributes)


@pytest.mark.parametrize("at", [0, 64, 320, 383, 416, 431])
def test_a_report_that_was_changed_becomes_no_sgx_quote(enclave: SgxQuotingEnclave, at: int) -> None:
    with pytest.raises(SignatureInvalid, match="MAC does not verify"):
        enclave.quote(flipped(sgx_machine_report(), at))


@pytest.mark.parametrize("at", [16, 32, 80, 128, 224, 255])
def test_a_report_that_was_changed_becomes_no_tdx_quote(td_enclave: TdQuotingEnclave, at: int) -> None:
    with pytest.raises(SignatureInvalid, match="MAC does not verify"):
        td_enclave.quote(flipped(td_machine_report(), at))


@pytest.mark.parametrize("at", [256, 264, 280, 384, 512, 528, 720, 959])
def test_what_the_mac_covers_only_by_hash_is_compared_too(td_enclave: TdQuotingEnclave, at: int) -> None:
    report = flipped(td_machine_report(), at)
    assert td_verified(report)
    with pytest.raises(BindingInvalid, match="is not the one that the TDREPORT's MAC covers"):
        td_enclave.quote(report)


@pytest.mark.parametrize("size", [0, 384, 431, 433])
def test_a_report_without_its_mac_is_no_report(enclave: SgxQuotingEnclave, size: int) -> None:
    with pytest.raises(ParseError):
        enclave.quote((sgx_machine_report() + b"\0")[:size])


def test_the_machine_is_asked_about_every_report(intel: IntelManufacturer) -> None:
    asked: list[bytes] = []

    def never(report: bytes) -> bool:
        asked.append(report)
        return False

    for quote, report in (
        (intel.sgx_quoting_enclave(verified=never).quote, sgx_machine_report()),
        (intel.td_quoting_enclave(verified=never).quote, td_machine_report()),
    ):
        for _ in range(2):
            with pytest.raises(SignatureInvalid):
                quote(report)
        assert asked[-2:] == [report, report]


def test_other_versions_of_quotes_are_refused(td_enclave: TdQuotingEnclave) -> None:
    with pytest.raises(ValueError, match="version 4 or 5, not 3"):
        td_enclave.quote(td_machine_report(), version=3)


def test_credentials_do_not_show_their_keys(enclave: SgxQuotingEnclave) -> None:
    assert "PrivateKey" not in repr(enclave)


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


# ---------------------------------------------------------------- files for verifiers


def test_published_files_are_what_the_command_takes(
    intel: IntelManufacturer, enclave: SgxQuotingEnclave, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, collateral = intel.publish(NOW)
    quote, nothing = tmp_path / "quote.bin", tmp_path / "nothing"
    nothing.mkdir()
    quote.write_bytes(enclave.quote(sgx_machine_report()))
    asked = ["verify", str(quote), "--nonce", NONCE.hex(), "--at", f"{NOW:%Y-%m-%dT%H:%M:%SZ}", "--json"]
    asked += ["--collateral", str(nothing), "--endorsement", str(collateral)]
    assert main(asked) == 5  # the vendors' roots alone
    capsys.readouterr()
    assert main([*asked, "--unsafe-trust-root", str(root)]) == 3  # authentic, but nobody said which program
    assert json.loads(capsys.readouterr().out)["tee"] == "sgx"


def test_the_root_is_an_anchor_for_testing_and_nothing_more(intel: IntelManufacturer, tmp_path: Path) -> None:
    path = tmp_path / "root.pem"
    path.write_bytes(intel.root_pem)
    anchors, _ = read_anchors(path, kind=AnchorKind.TESTING)
    anchor = anchors.find(Tee.SGX, intel.root_spki)
    assert anchor is not None
    assert anchor.kind is AnchorKind.TESTING
    assert TrustAnchors.hardware().find(Tee.SGX, intel.root_spki) is None


# ---------------------------------------------------------------- authors of enclaves


@pytest.fixture(scope="module")
def author() -> rsa.RSAPrivateKey:
    return signing_key()


def test_a_signed_enclave_verifies(author: rsa.RSAPrivateKey) -> None:
    made = sign_enclave(author, bytes(range(32)), date=date(2026, 6, 1), product=Product(isvprodid=7, isvsvn=3))
    parsed = sigstruct.parse(made)
    assert len(made) == 1808
    assert all(one.state == "passed" for one in verify_sigstruct(parsed))
    assert (parsed.enclave_hash, parsed.isvprodid, parsed.isvsvn) == (bytes(range(32)), 7, 3)
    assert (parsed.signed_on, parsed.mrsigner, parsed.debug_signed) == (date(2026, 6, 1), mrsigner(author), False)


SIGNED = [*range(0, 44, 4), 128, 511, 900, 904, 928, 944, 960, 991, 1024, 1026]
"""One byte of every field under the signature, and two of the key."""


@pytest.mark.parametrize("at", [*SIGNED, 516, 899, 1040, 1424, 1807])
def test_a_sigstruct_with_one_bit_changed_is_refused(author: rsa.RSAPrivateKey, at: int) -> None:
    made = sign_enclave(author, bytes(range(32)), date=date(2026, 6, 1))
    with pytest.raises((ParseError, SignatureInvalid)):
        verify_sigstruct(sigstruct.parse(flipped(made, at)))


def test_a_debug_signature_says_so(author: rsa.RSAPrivateKey) -> None:
    made = sigstruct.parse(sign_enclave(author, bytes(32), date=date(2026, 6, 1), debug=True))
    assert made.debug_signed


@pytest.mark.parametrize(("size", "exponent"), [(2048, 3), (3072, 65537)])
@pytest.mark.parametrize("use", [mrsigner, lambda key: sign_enclave(key, bytes(32), date=date(2026, 6, 1))])
def test_keys_that_no_processor_takes_are_refused(use: Callable[[Any], bytes], size: int, exponent: int) -> None:
    key = rsa.generate_private_key(public_exponent=exponent, key_size=size)
    with pytest.raises(UsageError, match=f"this key is RSA-{size} with exponent {exponent}"):
        use(key)


def test_certificates_outlive_every_statement(intel: IntelManufacturer) -> None:
    assert all(one.not_before < NOW < NOW + 10 * YEAR < one.not_after for one in (intel.root.certificate, intel.pck))
