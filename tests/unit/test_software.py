"""Evidence of software enclaves: every claim, every refusal for its own reason, the recipe, its document."""

import hashlib
import re
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tests.forge.cose import signed
from tests.forge.software import SoftwareForge, digest
from tests.forge.x509 import NOW

from cloister import _cbor
from cloister._cose import CoseSign1
from cloister.appraise import software as appraise
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import (
    ChainInvalid,
    EndorsementUnavailable,
    NotFresh,
    ParseError,
    SignatureInvalid,
    VerificationError,
)
from cloister.evidence.software import (
    PROFILE,
    Admission,
    Guard,
    SoftwareEvidence,
    extended,
    libraries_digest,
    looks_like,
    parse,
)
from cloister.model import Challenge, MeasurementKind, Tee, Unchecked
from cloister.verification import software
from cloister.verification.recipe import Allowances, CheckState, VerifiedEvidence

FORGE = SoftwareForge()
TPM = SoftwareForge(key=ec.generate_private_key(ec.SECP256R1()))
FORGES = {"Ed25519": FORGE, "P-256": TPM}
NONCE = b"a nonce of the caller"
HOST: dict[str, Any] = {"kernel": "6.18.0", "boot_id": bytes(range(16)), "secure_boot": False}
PAGE = Path(__file__).parents[2] / "docs" / "formats" / "software-evidence.md"


def verify(data: bytes, forge: SoftwareForge = FORGE, **changes: Any) -> VerifiedEvidence[SoftwareEvidence]:
    given: dict[str, Any] = {"anchors": forge.anchors, "endorsements": forge.endorsements}
    given["challenge"] = Challenge(NONCE)
    return software.verify(parse(data), at=NOW, **given | changes)


@pytest.mark.parametrize("host", [{}, HOST], ids=["nothing about the host", "all about the host"])
def test_it_is_written_in_the_deterministic_order(host: dict[str, Any]) -> None:
    message = FORGE.said(NONCE, **host).message
    for written in (message.payload, message.protected):
        assert _cbor.dumps(_cbor.loads(written, "-")) == written


@pytest.mark.parametrize("name", FORGES)
@pytest.mark.parametrize("host", [{}, HOST], ids=["nothing about the host", "all about the host"])
def test_it_is_read_written_and_verified(name: str, host: dict[str, Any]) -> None:
    forge = FORGES[name]
    data = forge.evidence(NONCE, **host)
    evidence = parse(data)
    assert looks_like(data)
    assert evidence.tee is Tee.SOFTWARE
    assert evidence.serialize() == data
    assert evidence == forge.said(NONCE, **host, signature=evidence.signature)
    verified = verify(data, forge)
    assert [check.number for check in verified.checks] == ["SOFTWARE-1", "SOFTWARE-2", "SOFTWARE-3"]
    assert verified.anchor.kind is AnchorKind.SOFTWARE
    assert verified.unchecked == ()


def test_the_digests_are_what_the_document_says() -> None:
    files = {"/lib/b.so": digest("b"), "/lib/a.so": digest("a")}
    listed = b"\xa2\x69/lib/a.so\x58\x20" + digest("a") + b"\x69/lib/b.so\x58\x20" + digest("b")
    assert libraries_digest(files) == hashlib.sha256(listed).digest()
    assert libraries_digest({}) == hashlib.sha256(b"\xa0").digest()
    assert extended(bytes(32), digest("plugin")) == hashlib.sha256(bytes(32) + digest("plugin")).digest()
    evidence = FORGE.said()
    assert evidence.measurement == hashlib.sha256(evidence.executable + evidence.libraries).digest()


def claims_of(**changes: object) -> dict[int | str, object]:
    """Genuine claims, changed; `None` leaves one out."""
    names: dict[str, int | str] = {"eat_profile": 265, "eat_nonce": 10}
    claims: dict[int | str, Any] = cbor2.loads(FORGE.said(NONCE).message.payload)
    for name, value in changes.items():
        claims[names.get(name, name)] = value
    return {name: value for name, value in claims.items() if value is not None}


def wrapped(payload: bytes, headers: object = None, unprotected: object = None) -> bytes:
    protected = _cbor.dumps(headers or {1: -8, 4: hashlib.sha256(FORGE.spki).digest()})
    message = CoseSign1(protected=protected, unprotected=unprotected or {}, payload=payload, signature=b"", tagged=True)  # type: ignore[arg-type] # for a test
    return signed(message, FORGE.key).serialize()


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "no profile": ({"eat_profile": None}, "eat_profile"),
    "another profile": ({"eat_profile": "tag:cloister,2026:software-enclave#2"}, "eat_profile"),
    "no mode": ({"mode": None}, "mode"),
    "hardware": ({"mode": "hardware"}, "mode"),
    "report data of 32 bytes": ({"eat_nonce": bytes(32)}, "eat_nonce"),
    "no report data": ({"eat_nonce": None}, "eat_nonce"),
    "no executable": ({"executable": None}, "executable"),
    "an executable's SHA-1": ({"executable": bytes(20)}, "executable"),
    "libraries in a list": ({"libraries": []}, "libraries"),
    "no runtime": ({"runtime": None}, "runtime"),
    "nothing about what was loaded": ({"loaded": None}, "loaded"),
    "no guard": ({"guard": None}, "guard"),
    "a guard that nobody knows": ({"guard": "asleep"}, "guard"),
    "a guard that is true": ({"guard": True}, "guard"),
    "no admission": ({"admission": None}, "admission"),
    "an admission that nobody knows": ({"admission": "lenient"}, "admission"),
    "a kernel that is a number": ({"kernel": 6}, "kernel"),
    "a kernel's name of 129 characters": ({"kernel": "x" * 129}, "kernel or secure_boot"),
    "an empty kernel's name": ({"kernel": ""}, "encoding"),
    "a boot identifier of 4 bytes": ({"boot_id": bytes(4)}, "boot_id"),
    "a boot that is perhaps secure": ({"secure_boot": 1}, "kernel or secure_boot"),
    "a claim that is not listed": ({"debug": False}, "encoding"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    changes, field = REFUSED[name]
    with pytest.raises(ParseError) as raised:
        parse(wrapped(_cbor.dumps(claims_of(**changes))))
    assert raised.value.field == field
    parse(wrapped(_cbor.dumps(claims_of())))


ENVELOPES: dict[str, tuple[bytes, str]] = {
    "claims in another order": (wrapped(cbor2.dumps(dict(reversed(claims_of().items())))), "encoding"),
    "claims in a list": (wrapped(b"\x80"), "claims"),
    "claims that are not CBOR": (wrapped(b"\xff"), "cbor"),
    "an unprotected header": (wrapped(_cbor.dumps(claims_of()), None, {99: 1}), "encoding"),
    "another protected header": (
        wrapped(_cbor.dumps(claims_of()), {1: -8, 4: hashlib.sha256(FORGE.spki).digest(), 3: 60}), "encoding",
    ),
    "no key identifier": (wrapped(_cbor.dumps(claims_of()), {1: -8}), "kid"),
    "a key identifier of 8 bytes": (wrapped(_cbor.dumps(claims_of()), {1: -8, 4: bytes(8)}), "kid"),
    "no tag": (FORGE.evidence()[1:], "encoding"),
    "a signature of 63 bytes": (
        cbor2.dumps(cbor2.CBORTag(18, [*cbor2.loads(FORGE.evidence()).value[:3], bytes(63)])), "signature",
    ),
    "another algorithm": (
        cbor2.dumps(cbor2.CBORTag(18, [_cbor.dumps({1: -35, 4: bytes(32)}), *cbor2.loads(FORGE.evidence()).value[1:]])),
        "alg",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENVELOPES)
def test_what_is_no_envelope(name: str) -> None:
    data, field = ENVELOPES[name]
    with pytest.raises(ParseError) as raised:
        parse(data)
    assert raised.value.field == field


def test_evidence_without_the_guard_is_refused_or_named() -> None:
    data = FORGE.evidence(NONCE, guard=Guard.OFF)
    with pytest.raises(VerificationError, match="without its guard") as raised:
        verify(data)
    assert [check.state for check in raised.value.checks] == [  # type: ignore[attr-defined] # Check
        CheckState.PASSED, CheckState.FAILED, CheckState.NOT_REACHED,
    ]  # fmt: skip
    verified = verify(data, allow=Allowances(unsafe_allow_debug=True))
    assert "Guarded" in verified.unchecked[0]
    assert appraise.claims(verified)["debug"] is True


def test_another_nonce_is_not_fresh() -> None:
    for other in (b"another", NONCE + b"!", b""):
        with pytest.raises(NotFresh):
            verify(FORGE.evidence(other))
    unasked = verify(FORGE.evidence(b""), challenge=Unchecked("recorded"))
    assert unasked.unchecked == ("Answers the challenge: recorded",)


def test_only_the_named_key_is_tried() -> None:
    """Evidence signed by one pinned host in the name of another pinned host."""
    keys = (FORGE.spki, TPM.spki)
    anchors = TrustAnchors.of(keys, kind=AnchorKind.SOFTWARE, name="hosts", tees=[Tee.SOFTWARE])
    data = FORGE.evidence(NONCE, key_id=hashlib.sha256(TPM.spki).digest())
    with pytest.raises(SignatureInvalid):
        verify(data, anchors=anchors, endorsements=Endorsements(keys=keys))


def test_a_host_that_is_not_pinned_vouches_for_nothing() -> None:
    data, other = FORGE.evidence(NONCE), SoftwareForge()
    for anchors in (other.anchors, TrustAnchors.testing(FORGE.spki, tees=[Tee.TPM])):
        with pytest.raises(ChainInvalid):
            verify(data, anchors=anchors)
    with pytest.raises(ChainInvalid):
        verify(data, endorsements=other.endorsements | FORGE.endorsements, anchors=other.anchors)


def test_a_pinned_host_s_key_that_is_not_at_hand_decides_nothing() -> None:
    with pytest.raises(EndorsementUnavailable, match="hand it over"):
        verify(FORGE.evidence(NONCE), endorsements=Endorsements())


def test_the_claims_and_measurements() -> None:
    evidence = FORGE.said(NONCE)
    claims = appraise.claims(verify(FORGE.evidence(NONCE, admission=Admission.LEARN, **HOST)))
    assert claims["mode"] == "software"
    assert claims["measurement"] == evidence.measurement.hex()
    assert claims["admission"] == "learn"
    assert (claims["kernel"], claims["boot_id"], claims["secure_boot"]) == ("6.18.0", bytes(range(16)).hex(), False)
    assert claims["debug"] is False
    assert claims.keys() - appraise.claims(verify(FORGE.evidence(NONCE))).keys() == set(HOST)
    launch, runtime = appraise.measurements(evidence)
    assert (launch.name, launch.kind) == ("measurement", MeasurementKind.LAUNCH)
    assert launch.digest.value == evidence.measurement
    assert (runtime.name, runtime.kind) == ("loaded", MeasurementKind.RUNTIME)


def test_the_document_lists_every_claim_and_word() -> None:
    page = PAGE.read_text()
    rows = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    assert rows == {str(key) for key in cbor2.loads(FORGE.said(**HOST).message.payload)}
    for word in (PROFILE, *Guard, *Admission):
        assert f"`{word}`" in page


def test_the_key_is_of_a_kind_that_the_format_has() -> None:
    assert isinstance(FORGE.key, ed25519.Ed25519PrivateKey)
    assert parse(FORGE.evidence()).algorithm == "EdDSA"
    assert parse(TPM.evidence()).algorithm == "ES256"
