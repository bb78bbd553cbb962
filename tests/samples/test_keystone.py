"""Every Keystone report of the corpus, signed by Keystone's own code: its fields and its verdict."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.samples.conftest import EVIDENCE

from cloister._ed25519_sha3 import spki_of_ed25519
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, CloisterError, ParseError, SignatureInvalid
from cloister.evidence import keystone as evidence
from cloister.evidence.keystone import KeystoneReport
from cloister.model import Challenge, Tee, Unchecked
from cloister.verification import keystone
from cloister.verification.recipe import CheckState, VerifiedEvidence

SAMPLES = sorted(path.parent for path in EVIDENCE.glob("keystone/*/report.bin"))
AT = datetime(2026, 1, 1, tzinfo=UTC)

NEGATIVES: dict[str, tuple[type[CloisterError], str]] = {
    "neg-data": (SignatureInvalid, "the enclave's report"),
    "neg-datalen": (SignatureInvalid, "the enclave's report"),
    "neg-datalen-1025": (ParseError, "room for 1024"),
    "neg-enclave-hash": (SignatureInvalid, "the enclave's report"),
    "neg-other-device": (ChainInvalid, "not a trust anchor"),
    "neg-rfc8032-sha512": (SignatureInvalid, "the security monitor's report"),
    "neg-sm-hash": (SignatureInvalid, "the security monitor's report"),
    "neg-sm-key": (SignatureInvalid, "the security monitor's report"),
}
"""How each is refused: what was altered decides which signature fails."""


def name_of(folder: Path) -> str:
    return folder.name


def meta(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    return loaded


def report_in(folder: Path) -> KeystoneReport:
    return evidence.parse((folder / "report.bin").read_bytes())


def verify(folder: Path, challenge: Challenge | Unchecked) -> VerifiedEvidence[KeystoneReport]:
    key = spki_of_ed25519(bytes.fromhex((folder / "device_public_key.hex").read_text()))
    anchors = TrustAnchors.of([key], kind=AnchorKind.OWNER, name="device", tees=[Tee.KEYSTONE])
    given = Endorsements(keys=(key,))
    return keystone.verify(report_in(folder), anchors=anchors, endorsements=given, at=AT, challenge=challenge)


def test_the_corpus_is_complete() -> None:
    assert len(SAMPLES) == 13
    assert {folder.name for folder in SAMPLES if "negative_reason" in meta(folder)} == NEGATIVES.keys()


@pytest.mark.parametrize("folder", [one for one in SAMPLES if one.name != "neg-datalen-1025"], ids=name_of)
def test_its_fields(folder: Path) -> None:
    report, fields = report_in(folder), meta(folder)["fields"]
    assert report.enclave.hash.hex() == fields["enclave_hash"]
    assert report.enclave.data_len == fields["data_len"] == len(report.enclave.signed_data)
    assert report.monitor.hash.hex() == fields["sm_hash"]
    assert report.monitor.public_key.hex() == fields["sm_public_key"]
    assert report.device_key.hex() == fields["embedded_dev_key"]
    assert report.serialize() == (folder / "report.bin").read_bytes()


@pytest.mark.parametrize("folder", [one for one in SAMPLES if one.name not in NEGATIVES], ids=name_of)
def test_a_good_one_verifies(folder: Path) -> None:
    assert meta(folder)["expected"]["valid"] is True
    data = report_in(folder).enclave.signed_data
    verified = verify(folder, Challenge(data) if data else Unchecked("it carries no data"))
    assert {check.state for check in verified.checks[:2]} == {CheckState.PASSED}


@pytest.mark.parametrize("folder", [one for one in SAMPLES if one.name in NEGATIVES], ids=name_of)
def test_a_bad_one_is_refused_for_its_own_reason(folder: Path) -> None:
    assert meta(folder)["expected"]["valid"] is False
    error, reason = NEGATIVES[folder.name]
    with pytest.raises(error, match=reason) as raised:
        verify(folder, Unchecked("it is refused before"))
    assert type(raised.value) is error


@pytest.mark.parametrize("folder", [one for one in SAMPLES if one.name != "neg-datalen-1025"], ids=name_of)
def test_whether_a_standard_library_accepts_the_enclave_s_signature(folder: Path) -> None:
    """The schemes are told apart by the corpus, not by our own code."""
    enclave, monitor = report_in(folder).enclave, report_in(folder).monitor
    try:
        Ed25519PublicKey.from_public_bytes(monitor.public_key).verify(enclave.signature, enclave.signed)
        accepted = True
    except InvalidSignature:
        accepted = False
    assert accepted is meta(folder)["expected"]["rfc8032_ed25519_accepts_enclave_signature"]
