"""The emulated AMD for SNP: what it makes verifies end to end, has AMD's form, and is the same after a restart."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.forge.amd import NOW, signed_report
from tests.samples.conftest import EVIDENCE

import cloister
from cloister import cli
from cloister._x509 import Certificate, Crl
from cloister.emulate.vendors.amd import AmdManufacturer, EndorsementKey, sign_report
from cloister.emulate.vendors.amd_keys import derived_p384
from cloister.emulate.vendors.amd_products import MODELS
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.x509 import spki
from cloister.endorse.amd import CSP_ID, HW_ID, MILAN_LAYOUT, SPLS, TURIN_LAYOUT, ek_info, issuer_name
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import UsageError
from cloister.evidence import snp
from cloister.evidence.snp import REPORTS, SIGNED, Product, SigningKey
from cloister.model import Tee
from cloister.verifier import Verdict
from cloister.verifier.trust_files import read_anchors, read_endorsements

NONCE = b"asked for just now"
PRODUCTS = list(Product)


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("amd") / "emulated")


@pytest.fixture
def amd(keystore: Keystore) -> AmdManufacturer:
    return of(keystore)


def of(keystore: Keystore, product: Product = Product.MILAN) -> AmdManufacturer:
    return AmdManufacturer(keystore, product, key_bits=2048)


def body_of(amd: AmdManufacturer, **fields: Any) -> bytes:
    """What the firmware would write: the first 0x2A0 bytes of a report."""
    return signed_report(None, **{"product": amd.product, "nonce": NONCE, "chip_id": padded(amd)} | fields).signed


def padded(amd: AmdManufacturer) -> bytes:
    return amd.chip_id().ljust(64, b"\0")


def written(files: Mapping[str, bytes], directory: Path) -> list[Path]:
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return [directory / name for name in files]


def verify(report: bytes, amd: AmdManufacturer, directory: Path, *keys: EndorsementKey) -> Verdict:
    """With the files that the manufacturer gives out, as a user has them."""
    anchors, _ = read_anchors(amd.publish_root(), kind=AnchorKind.TESTING, tees=[Tee.SNP])
    given = read_endorsements(*written(amd.collateral(*keys, at=NOW), directory))
    return cloister.verify(report, nonce=NONCE, at=NOW, anchors=anchors, endorsements=given)


FORMS = [(product, version) for product in Product for version in REPORTS if (product, version) != (Product.TURIN, 2)]
"""Version 2 does not say which product it is of; Turin's firmware began with version 3."""


@pytest.mark.parametrize(("product", "version"), FORMS)
def test_a_report_verifies_with_its_collateral(
    keystore: Keystore, tmp_path: Path, product: Product, version: int
) -> None:
    amd = of(keystore, product)
    vcek = amd.vcek(amd.chip_id(), amd.model.tcb, at=NOW)
    report = sign_report(body_of(amd, version=version), vcek.key)
    assert len(report) == 1184
    assert snp.parse(report).serialize() == report
    verdict = verify(report, amd, tmp_path, vcek)
    assert (verdict.tee, verdict.authentic.parts[0].anchor.kind) == (Tee.SNP, AnchorKind.TESTING)
    assert verdict.authentic.parts[0].facts["product"] == product


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_provider_s_key_verifies(keystore: Keystore, tmp_path: Path, product: Product) -> None:
    amd = of(keystore, product)
    vlek = amd.vlek("CN=cloud.example", amd.model.tcb, at=NOW)
    body = body_of(amd, vlek=True, chip_id=bytes(64))
    verdict = verify(sign_report(body, vlek.key), amd, tmp_path, vlek)
    assert verdict.authentic.parts[0].facts["csp_id"] == "CN=cloud.example"


def test_keys_of_the_size_that_amd_has_verify_too(tmp_path: Path) -> None:
    amd = AmdManufacturer(Keystore(tmp_path / "emulated"))
    vcek = amd.vcek(amd.chip_id(), amd.model.tcb, at=NOW)
    key = amd.ark.key.public_key()
    assert key.key_size == 4096
    verify(sign_report(body_of(amd), vcek.key), amd, tmp_path, vcek)


def test_the_command_takes_the_files(amd: AmdManufacturer, tmp_path: Path) -> None:
    vcek = amd.vcek(amd.chip_id(), amd.model.tcb, at=NOW)
    report = tmp_path / "report.bin"
    report.write_bytes(sign_report(body_of(amd), vcek.key))
    files = written(amd.collateral(vcek, at=NOW), tmp_path)
    cache = str(tmp_path / "cache")
    assert cli.main(["collateral", "import", "--cache", cache, *map(str, files)]) == 0
    words = ["verify", str(report), "--nonce", NONCE.hex(), "--at", NOW.isoformat(), "--collateral", cache]
    assert cli.main([*words, "--unsafe-trust-root", str(amd.publish_root())]) == 3, "authentic, but without a policy"
    assert cli.main(words) == 5


# ---------------------------------------------------------------- form


@pytest.mark.parametrize("product", PRODUCTS)
def test_what_a_vcek_certificate_says(keystore: Keystore, product: Product) -> None:
    """Read by the verifier's own table of extensions, which the factory does not share."""
    amd = of(keystore, product)
    info = ek_info(amd.vcek(padded(amd), amd.model.tcb, at=NOW).certificate)
    assert (info.kind, info.product, info.chip_id, info.tcb) == (
        SigningKey.VCEK, product, padded(amd), MODELS[product].tcb,
    )  # fmt: skip
    assert len(info.hw_id) == (8 if product is Product.TURIN else 64)
    distinct = bytes([1, 2, 3, 4, 0, 0, 0, 8]) if product is Product.TURIN else bytes([1, 2, 0, 0, 0, 0, 7, 8])
    assert ek_info(amd.vcek(padded(amd), distinct, at=NOW).certificate).tcb == distinct


def test_the_extensions_are_the_verifiers_and_a_vlek_has_no_chip(amd: AmdManufacturer) -> None:
    vcek, vlek = amd.vcek(amd.chip_id(), amd.model.tcb, at=NOW), amd.vlek("CN=x", amd.model.tcb, at=NOW)
    assert {SPLS[level] for level in MILAN_LAYOUT} < set(vcek.certificate.extensions)
    assert {SPLS[level] for level in TURIN_LAYOUT} - {SPLS[level] for level in MILAN_LAYOUT} == {SPLS["fmcSPL"]}
    assert (HW_ID in vcek.certificate.extensions, CSP_ID in vcek.certificate.extensions) == (True, False)
    assert (HW_ID in vlek.certificate.extensions, CSP_ID in vlek.certificate.extensions) == (False, True)


AS_AMD_BEGINS = bytes.fromhex(
    "a003020102020100304106092a864886f70d01010a3034a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130"
)
"""Version 3, serial number 0, RSASSA-PSS: how what is signed begins in genuine certificates of VCEKs and VLEKs."""


def test_certificates_begin_as_genuine_ones_do(amd: AmdManufacturer) -> None:
    for key in (amd.vcek(amd.chip_id(), amd.model.tcb, at=NOW), amd.vlek("CN=x", amd.model.tcb, at=NOW)):
        assert key.certificate.tbs[4:].startswith(AS_AMD_BEGINS)
        assert key.certificate.tbs.count(AS_AMD_BEGINS[8:]) == 1
        assert "2.5.29.19" not in key.certificate.extensions


@pytest.mark.skipif(not EVIDENCE.is_dir(), reason=f"no evidence samples at {EVIDENCE}")
@pytest.mark.parametrize("kind", ["vcek", "vlek"])
def test_certificates_have_the_form_of_genuine_ones(amd: AmdManufacturer, kind: str) -> None:
    """Serial number, algorithm in the same bytes, the same extensions in the same order, with values of equal form."""
    name = {"vcek": "dstack-sev-snp-attestation", "vlek": "trustee-test-vlek-report"}[kind]
    genuine = Certificate.parse((EVIDENCE / "amd-sev-snp" / name / f"{kind}.der").read_bytes())
    key = amd.vlek("CN=x", amd.model.tcb, at=NOW) if kind == "vlek" else amd.vcek(padded(amd), amd.model.tcb, at=NOW)
    made = key.certificate
    assert made.serial == genuine.serial == 0
    assert made.tbs[4:80] == genuine.tbs[4:80]
    assert list(made.extensions) == list(genuine.extensions)
    product = amd.vcek(padded(amd), amd.model.tcb, at=NOW).certificate.extensions if kind == "vcek" else made.extensions
    for oid in list(made.extensions)[:2]:
        assert product[oid].value == genuine.extensions[oid].value
    assert [one.critical for one in made.extensions.values()] == [one.critical for one in genuine.extensions.values()]


def test_every_subject_says_emulated_and_has_amd_s_common_name(amd: AmdManufacturer) -> None:
    vcek, vlek = amd.vcek(amd.chip_id(), amd.model.tcb, at=NOW), amd.vlek("CN=x", amd.model.tcb, at=NOW)
    authorities = (amd.ark.certificate, amd.ask.certificate, amd.asvk.certificate)
    for one in (*authorities, vcek.certificate, vlek.certificate):
        assert b"emulated" in one.subject
        assert b"emulated" in one.issuer
        assert b"Advanced Micro Devices" not in one.subject
    assert [one.name for one in authorities] == [
        "ARK-Milan", issuer_name(SigningKey.VCEK, Product.MILAN), issuer_name(SigningKey.VLEK, Product.MILAN),
    ]  # fmt: skip


def test_another_library_accepts_the_authorities(amd: AmdManufacturer) -> None:
    ark, ask, asvk = (x509.load_der_x509_certificate(one.certificate.encoded) for one in (amd.ark, amd.ask, amd.asvk))
    for one in (ark, ask, asvk):
        one.verify_directly_issued_by(ark)
        constraints = one.extensions.get_extension_for_class(x509.BasicConstraints).value
        assert (constraints.ca, constraints.path_length) == (True, None if one == ark else 0)
    listed = x509.load_der_x509_crl(amd.crl(at=NOW, revoked=[amd.ask.certificate]).encoded)
    assert listed.is_signature_valid(ark.public_key())  # type: ignore[arg-type] # an RSA key
    assert listed.get_revoked_certificate_by_serial_number(ask.serial_number) is not None
    assert listed.get_revoked_certificate_by_serial_number(asvk.serial_number) is None


@pytest.mark.needs_program("openssl")
@pytest.mark.parametrize("kind", ["vcek", "vlek"])
def test_openssl_accepts_the_chain(amd: AmdManufacturer, tmp_path: Path, kind: str) -> None:
    key = amd.vlek("CN=x", amd.model.tcb, at=NOW) if kind == "vlek" else amd.vcek(padded(amd), amd.model.tcb, at=NOW)
    written(amd.collateral(key, at=NOW), tmp_path)
    root, chain = amd.publish_root(), tmp_path / f"amd-milan-{kind}-cert_chain.pem"
    leaf = tmp_path / f"amd-milan-{kind}-0.der"
    when = str(int(NOW.timestamp()) + 1)
    command = ["openssl", "verify", "-attime", when, "-CAfile", str(root), "-untrusted", str(chain), str(leaf)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert said.returncode == 0, said.stderr


# ---------------------------------------------------------------- keys


def test_another_tcb_another_chip_another_kind_are_other_keys(amd: AmdManufacturer) -> None:
    tcb, other = amd.model.tcb, bytes([4, 0, 0, 0, 0, 0, 24, 220])
    keys = [
        amd.vcek(amd.chip_id(), tcb, at=NOW), amd.vcek(amd.chip_id(), other, at=NOW),
        amd.vcek(amd.chip_id("another"), tcb, at=NOW), amd.vlek("CN=x", tcb, at=NOW), amd.vlek("CN=y", tcb, at=NOW),
    ]  # fmt: skip
    assert len({spki(one.key) for one in keys}) == len(keys)


def test_everything_is_the_same_after_a_restart(keystore: Keystore, amd: AmdManufacturer) -> None:
    again = of(Keystore(keystore.directory))
    assert again.chip_id() == amd.chip_id()
    assert again.ark.certificate.encoded == amd.ark.certificate.encoded
    first, second = (one.vcek(one.chip_id(), one.model.tcb, at=NOW) for one in (amd, again))
    assert spki(first.key) == spki(second.key)


def test_two_factories_have_nothing_in_common(amd: AmdManufacturer, tmp_path: Path) -> None:
    other = of(Keystore(tmp_path / "emulated"))
    assert other.chip_id() != amd.chip_id()
    assert other.ark.certificate.spki != amd.ark.certificate.spki
    same_chip = other.vcek(amd.chip_id(), amd.model.tcb, at=NOW)
    assert spki(same_chip.key) != spki(amd.vcek(amd.chip_id(), amd.model.tcb, at=NOW).key)


def test_derived_keys_use_all_of_secret_and_purpose() -> None:
    secrets = (bytes(32), bytes(31) + b"\1", b"\1" + bytes(31))
    purposes = (b"VCEK", b"VLEK", b"VCEK\0")
    found = {spki(derived_p384(secret, purpose)) for secret in secrets for purpose in purposes}
    assert len(found) == len(secrets) * len(purposes)


def test_private_keys_are_not_shown(amd: AmdManufacturer) -> None:
    vcek = amd.vcek(amd.chip_id(), amd.model.tcb, at=NOW)
    assert "key=" not in repr(vcek)
    assert amd.chip_secret(amd.chip_id()).hex() not in repr(vcek.__dict__)


def test_signatures_are_the_same_each_time_and_depend_on_the_body(amd: AmdManufacturer) -> None:
    vcek, body = amd.vcek(amd.chip_id(), amd.model.tcb, at=NOW), body_of(amd)
    assert sign_report(body, vcek.key) == sign_report(body, vcek.key)
    assert sign_report(body, vcek.key)[SIGNED:] != sign_report(bytes(SIGNED), vcek.key)[SIGNED:]


# ---------------------------------------------------------------- refusals of the factory itself


@pytest.mark.parametrize("size", [0, SIGNED - 1, SIGNED + 1, 1184])
def test_a_body_of_another_length_is_not_signed(amd: AmdManufacturer, size: int) -> None:
    with pytest.raises(UsageError, match="672 bytes"):
        sign_report(bytes(size), amd.vcek(amd.chip_id(), amd.model.tcb, at=NOW).key)


@pytest.mark.parametrize("chip", [b"", bytes(64), bytes(8), b"\1" * 63, b"\1" * 65])
def test_no_chip_has_such_an_identifier(amd: AmdManufacturer, chip: bytes) -> None:
    with pytest.raises(UsageError, match="Milan chip identifier"):
        amd.vcek(chip, amd.model.tcb, at=NOW)


def test_a_turin_chip_has_eight_bytes(keystore: Keystore) -> None:
    turin = of(keystore, Product.TURIN)
    with pytest.raises(UsageError, match="Turin chip identifier"):
        turin.vcek(b"\1" * 64, turin.model.tcb, at=NOW)


@pytest.mark.parametrize("tcb", [b"", bytes(7), bytes(9)])
def test_a_tcb_version_has_eight_bytes(amd: AmdManufacturer, tcb: bytes) -> None:
    with pytest.raises(UsageError, match="TCB version"):
        amd.vcek(amd.chip_id(), tcb, at=NOW)
    with pytest.raises(UsageError, match="TCB version"):
        amd.vlek("CN=x", tcb, at=NOW)


def test_unknown_products_and_sizes_are_refused(keystore: Keystore) -> None:
    with pytest.raises(UsageError, match="Naples"):
        AmdManufacturer(keystore, "Naples")
    with pytest.raises(UsageError, match="3072"):
        AmdManufacturer(keystore, key_bits=3072)


def test_the_published_root_is_the_pin(amd: AmdManufacturer) -> None:
    anchors, _ = read_anchors(amd.publish_root(), kind=AnchorKind.TESTING, tees=[Tee.SNP])
    assert anchors.find(Tee.SNP, amd.ark.certificate.spki) is not None
    assert TrustAnchors.hardware().find(Tee.SNP, amd.ark.certificate.spki) is None


def test_the_list_is_parsed_back(amd: AmdManufacturer) -> None:
    listed = Crl.parse(amd.crl(at=NOW, revoked=[amd.asvk.certificate]).encoded)
    assert listed.revoked == {amd.asvk.certificate.serial}
    assert Endorsements(crls=(listed,)).crls[0].this_update == NOW
