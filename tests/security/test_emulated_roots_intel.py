"""Attacks on emulated Intel evidence: it proves nothing to who trusts hardware, and nobody else can make it."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.forge.intel import (
    ANSWERED,
    DEBUG_SGX,
    sgx_machine_report,
    sgx_verified,
    td_machine_report,
    td_verified,
)
from tests.forge.x509 import NOW, YEAR

import cloister
from cloister._x509 import pem_blocks
from cloister.emulate.vendors import intel_signing
from cloister.emulate.vendors.intel import IntelManufacturer
from cloister.emulate.vendors.intel_platform import CLIENT, SERVER
from cloister.emulate.vendors.intel_signing import raw_signature
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.x509 import LIFETIME, Issuer, armoured, issue, key_extensions, p256, subject
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.importing import import_files
from cloister.endorse.store import Endorsements
from cloister.errors import (
    BindingInvalid,
    ChainInvalid,
    EndorsementUnavailable,
    NotFresh,
    ParseError,
    SignatureInvalid,
    VerificationError,
)
from cloister.evidence import sgx, tdx
from cloister.evidence.sgx import SgxQuote
from cloister.evidence.tdx import TdxQuote
from cloister.verifier.trust_files import read_endorsements

KINDS = ["sgx", "tdx-4", "tdx-5"]
UNUSED = {"pck_crl_issuer_chain"}
"""The member of a bundle that verification does not need: quotes bring the same certificates."""


@pytest.fixture(scope="module")
def intel(tmp_path_factory: pytest.TempPathFactory) -> IntelManufacturer:
    return IntelManufacturer(Keystore(tmp_path_factory.mktemp("keys") / "emulated"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> IntelManufacturer:
    """Somebody else's: all names are the same, no key is."""
    return IntelManufacturer(Keystore(tmp_path_factory.mktemp("others") / "emulated"))


@pytest.fixture(scope="module")
def given(intel: IntelManufacturer) -> Endorsements:
    return endorsements(intel.collateral(NOW))


def endorsements(collateral: bytes) -> Endorsements:
    return Endorsements(intel=tuple(one.content for one in import_files([("collateral", collateral)])))  # type: ignore[misc]


def quote_of(intel: IntelManufacturer, kind: str) -> bytes:
    if kind == "sgx":
        return intel.sgx_quoting_enclave(verified=sgx_verified).quote(sgx_machine_report())
    return intel.td_quoting_enclave(verified=td_verified).quote(td_machine_report(), version=int(kind[-1]))


def parsed(data: bytes) -> SgxQuote | TdxQuote:
    return tdx.parse(data) if tdx.looks_like(data) else sgx.parse(data)


def verify(data: bytes, intel: IntelManufacturer, given: Endorsements, **changes: Any) -> cloister.Verdict:
    settings: dict[str, Any] = {"nonce": ANSWERED, "at": NOW, "anchors": TrustAnchors.testing(intel.root_spki)}
    return cloister.verify(data, endorsements=given, **settings | changes)


# ---------------------------------------------------------------- what it is worth


@pytest.mark.parametrize("kind", KINDS)
def test_the_control_it_verifies(intel: IntelManufacturer, given: Endorsements, kind: str) -> None:
    verdict = verify(quote_of(intel, kind), intel, given)
    assert (verdict.tcb_status, verdict.appraisals[0].anchor_kind) == ("UpToDate", "testing")


@pytest.mark.parametrize("kind", KINDS)
def test_the_hardware_anchors_refuse_it(intel: IntelManufacturer, given: Endorsements, kind: str) -> None:
    with pytest.raises(ChainInvalid, match="'Emulated Intel SGX Root CA', which is not a trust anchor"):
        verify(quote_of(intel, kind), intel, given, anchors=TrustAnchors.hardware())


def test_a_policy_has_to_name_the_kind_of_anchor(intel: IntelManufacturer, given: Endorsements, tmp_path: Path) -> None:
    path, quote = tmp_path / "policy.toml", quote_of(intel, "sgx")
    mixed = TrustAnchors.hardware() | TrustAnchors.testing(intel.root_spki)
    policy = f'[sgx]\nmrenclave = "{bytes(range(32)).hex()}"\n'
    path.write_text(policy)
    assert verify(quote, intel, given, anchors=mixed, policy=path).status is cloister.Tier.CONTRAINDICATED
    path.write_text('accept_anchors = ["testing"]\n' + policy)
    assert verify(quote, intel, given, anchors=mixed, policy=path).status is cloister.Tier.AFFIRMING


# ---------------------------------------------------------------- one fault each


@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_before_the_certificates_can_be_changed(
    intel: IntelManufacturer, given: Endorsements, kind: str
) -> None:
    quote = quote_of(intel, kind)
    for at in range(quote.index(b"-----BEGIN")):
        changed = bytearray(quote)
        changed[at] ^= 1 << at % 8
        with pytest.raises((ParseError, VerificationError, EndorsementUnavailable)):
            verify(bytes(changed), intel, given)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["PCK", "CA", "root"])
def test_no_byte_of_its_certificates_can_be_changed(intel: IntelManufacturer, given: Endorsements, which: int) -> None:
    quote = parsed(quote_of(intel, "sgx"))
    chain = pem_blocks(quote.signature.certification_data, "CERTIFICATE")
    for at in range(0, len(chain[which]), 3):
        changed = bytearray(chain[which])
        changed[at] ^= 1 << at % 8
        pem = b"".join(armoured(bytes(changed) if i == which else der) for i, der in enumerate(chain))
        with pytest.raises((ParseError, VerificationError)):
            verify(with_signature(quote, certification_data=pem), intel, given)


def with_signature(quote: SgxQuote | TdxQuote, **changes: Any) -> bytes:
    return dataclasses.replace(quote, signature=dataclasses.replace(quote.signature, **changes)).serialize()


MEMBERS = [
    "tcb_info", "tcb_info_signature", "tcb_info_issuer_chain", "qe_identity", "qe_identity_signature",
    "qe_identity_issuer_chain", "pck_crl", "root_ca_crl",
]  # fmt: skip


def test_every_member_that_counts_is_attacked(intel: IntelManufacturer) -> None:
    assert set(json.loads(intel.collateral(NOW))[0]) == {*MEMBERS, *UNUSED}


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("kind", ["sgx", "tdx-4"])
def test_collateral_that_was_changed_decides_nothing(intel: IntelManufacturer, member: str, kind: str) -> None:
    bundle = json.loads(intel.collateral(NOW))[0 if kind == "sgx" else 1]
    quote, refused = quote_of(intel, kind), 0
    for changed in changed_texts(bundle[member], member):
        try:
            found = endorsements(json.dumps(bundle | {member: changed}).encode())
        except ParseError:
            continue
        with pytest.raises((ParseError, EndorsementUnavailable)):
            verify(quote, intel, found)
        refused += 1
    assert refused > 10


def changed_texts(text: str, member: str) -> Iterator[str]:
    """The text with one character changed, so that it can still be read: digits in statements, bytes elsewhere."""
    if member.endswith("_chain"):
        blocks = pem_blocks(text.encode(), "CERTIFICATE")
        for which, der in enumerate(blocks):
            for changed in changed_bytes(der):
                yield b"".join(armoured(changed if i == which else one) for i, one in enumerate(blocks)).decode()
    elif member in {"tcb_info", "qe_identity"}:
        for at, digit in enumerate(text):
            if digit.isdigit():
                yield text[:at] + str((int(digit) + 1) % 10) + text[at + 1 :]
    else:
        yield from (changed.hex() for changed in changed_bytes(bytes.fromhex(text)))


def changed_bytes(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 5):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        yield bytes(changed)


# ---------------------------------------------------------------- wrong keys


@pytest.mark.parametrize("kind", KINDS)
def test_names_alone_are_worth_nothing(
    intel: IntelManufacturer, other: IntelManufacturer, given: Endorsements, kind: str
) -> None:
    with pytest.raises(ChainInvalid, match="not a trust anchor"):
        verify(quote_of(other, kind), intel, given)


def test_collateral_of_somebody_else_decides_nothing(intel: IntelManufacturer, other: IntelManufacturer) -> None:
    with pytest.raises(EndorsementUnavailable, match=r"was refused: .*not a trust anchor"):
        verify(quote_of(intel, "sgx"), intel, endorsements(other.collateral(NOW)))


def wrong_attestation_key(quote: SgxQuote | TdxQuote) -> bytes:
    key = p256()
    return with_signature(
        quote, attestation_key=intel_signing.point(key), signature=raw_signature(key, quote.signed)
    )  # fmt: skip


def wrong_signer(quote: SgxQuote | TdxQuote) -> bytes:
    return with_signature(quote, signature=raw_signature(p256(), quote.signed))


def wrong_pck(quote: SgxQuote | TdxQuote) -> bytes:
    key = p256()
    report = intel_signing.qe_report(quote.tee, key)
    return with_signature(
        quote, attestation_key=intel_signing.point(key), signature=raw_signature(key, quote.signed),
        qe_report=report, qe_report_signature=raw_signature(p256(), report.serialize()),
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("attack", "error"),
    [(wrong_attestation_key, BindingInvalid), (wrong_signer, SignatureInvalid), (wrong_pck, SignatureInvalid)],
)
def test_another_key_at_any_place_is_refused(
    intel: IntelManufacturer, given: Endorsements, kind: str, attack: Callable[..., bytes], error: type[Exception]
) -> None:
    with pytest.raises(error):
        verify(attack(parsed(quote_of(intel, kind))), intel, given)


def test_a_pck_certificate_that_another_ca_signed_is_refused(
    intel: IntelManufacturer, other: IntelManufacturer, given: Endorsements
) -> None:
    quote = parsed(quote_of(intel, "sgx"))
    chain = (other.pck, intel.pck_ca.certificate, intel.root.certificate)
    pem = b"".join(armoured(one.encoded) for one in chain)
    with pytest.raises(ChainInvalid, match="does not verify under"):
        verify(with_signature(quote, certification_data=pem), intel, given)


def test_statements_signed_by_a_platforms_key_are_refused(intel: IntelManufacturer) -> None:
    """Whoever has a genuine platform has a key with a genuine certificate: it may not speak for its manufacturer."""
    bundle = json.loads(intel.collateral(NOW))[0]
    key = intel.keystore.key(intel._pck_label, p256)
    chain = b"".join(
        armoured(one.encoded) for one in (intel.pck, intel.pck_ca.certificate, intel.root.certificate)
    ).decode()  # fmt: skip
    signature = raw_signature(key, bundle["tcb_info"].encode()).hex()
    forged = bundle | {"tcb_info_signature": signature, "tcb_info_issuer_chain": chain}
    with pytest.raises(EndorsementUnavailable, match="may not sign it"):
        verify(quote_of(intel, "sgx"), intel, endorsements(json.dumps(forged).encode()))


# ---------------------------------------------------------------- wrong time, wrong platform, replay


@pytest.mark.parametrize("at", [LIFETIME[0] - YEAR, LIFETIME[1] + YEAR])
def test_outside_of_its_certificates_time_nothing_is_decided(intel: IntelManufacturer, at: Any) -> None:
    with pytest.raises(EndorsementUnavailable):
        verify(quote_of(intel, "sgx"), intel, endorsements(intel.collateral(at)), at=at)


def test_an_expired_signer_of_statements_decides_nothing(intel: IntelManufacturer) -> None:
    key, root = p256(), Issuer(name=intel.root.name, key=intel.root.key)
    signer = issue(
        subject("Emulated Intel SGX TCB Signing"), key.public_key(), root, valid=(NOW - 2 * YEAR, NOW - YEAR),
        extensions=key_extensions(key.public_key(), root, ca=False),
    )  # fmt: skip
    bundle = json.loads(intel.collateral(NOW))[0]
    chain = (armoured(signer.encoded) + intel.root_pem).decode()
    for member in ("tcb_info", "qe_identity"):
        signature = raw_signature(key, bundle[member].encode()).hex()
        bundle |= {f"{member}_signature": signature, f"{member}_issuer_chain": chain}
    with pytest.raises(EndorsementUnavailable, match="has expired"):
        verify(quote_of(intel, "sgx"), intel, endorsements(json.dumps(bundle).encode()))


def test_collateral_of_another_family_decides_nothing(intel: IntelManufacturer) -> None:
    client = IntelManufacturer(intel.keystore, CLIENT)
    with pytest.raises(EndorsementUnavailable, match=f"FMSPC {SERVER.fmspc.hex()}"):
        verify(quote_of(intel, "sgx"), intel, endorsements(client.collateral(NOW)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_recorded_quote_answers_no_other_challenge(intel: IntelManufacturer, given: Endorsements, kind: str) -> None:
    with pytest.raises(NotFresh):
        verify(quote_of(intel, kind), intel, given, nonce=b"another nonce")


def test_a_debug_enclave_gets_a_quote_that_is_refused(intel: IntelManufacturer, given: Endorsements) -> None:
    enclave = intel.sgx_quoting_enclave(verified=sgx_verified)
    with pytest.raises(VerificationError, match="debug enclave"):
        verify(enclave.quote(sgx_machine_report(attributes=DEBUG_SGX)), intel, given)


def test_old_collateral_does_not_hide_a_recovery_from_who_has_newer(intel: IntelManufacturer, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_bytes(intel.collateral(NOW))
    (tmp_path / "new.json").write_bytes(intel.collateral(NOW + timedelta(days=1), status="OutOfDate"))
    both = read_endorsements(tmp_path / "old.json", tmp_path / "new.json")
    verdict = verify(quote_of(intel, "sgx"), intel, both, at=NOW + timedelta(days=2))
    assert verdict.tcb_status == "OutOfDate"
