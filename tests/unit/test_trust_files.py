"""Keys and collateral from files: what is read, what is refused, and that evidence is never mistaken for keys."""

import base64
import json
from pathlib import Path

import pytest
from tests.forge.every import NONCE, armoured, every, write_files

from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.errors import ParseError, UsageError
from cloister.model import Tee
from cloister.result.jwk import public_jwk
from cloister.verifier import read_anchors, read_endorsements

SAMPLES = every(NONCE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path)
    return tmp_path


@pytest.mark.parametrize("tee", sorted(SAMPLES))
def test_a_key_becomes_an_anchor_for_its_tees_only(tee: Tee, folder: Path) -> None:
    anchors, endorsements = read_anchors(folder / f"{tee}-root.pem", kind=AnchorKind.OWNER, tees=[tee])
    found = anchors.find(tee, SAMPLES[tee].root)
    assert found is not None
    assert (found.kind, found.name) == (AnchorKind.OWNER, f"{tee}-root.pem")
    assert endorsements.keys == (SAMPLES[tee].root,)
    assert not [other for other in Tee if other is not tee and anchors.find(other, SAMPLES[tee].root)]


def test_no_hardware_anchor_comes_along(folder: Path) -> None:
    anchors, _ = read_anchors(folder / "sgx-root.pem", kind=AnchorKind.TESTING)
    assert anchors.named(Tee.SGX) == "sgx-root.pem"
    assert (TrustAnchors.hardware() | anchors).named(Tee.SGX) == "Intel SGX Root CA, sgx-root.pem"


def test_forms(folder: Path) -> None:
    """DER and PEM certificates, several in a file; an Ed25519 key in digits; a NUL at the end, as quotes have it."""
    certificate = SAMPLES[Tee.SNP].endorsements.certificates[0]
    (folder / "one.der").write_bytes(certificate.encoded)
    (folder / "two.pem").write_bytes((folder / "snp-certificates.pem").read_bytes() + b"\0")
    (folder / "ed25519.hex").write_text("0f" * 32 + "\n")
    for name, count in (("one.der", 1), ("two.pem", len(SAMPLES[Tee.SNP].endorsements.certificates))):
        _, given = read_anchors(folder / name, kind=AnchorKind.TESTING)
        assert len(given.certificates) == count
    _, given = read_anchors(str(folder / "ed25519.hex"), kind=AnchorKind.OWNER)
    assert given.keys[0].endswith(b"\x0f" * 32)


def test_public_keys_in_der_and_as_jwk(folder: Path) -> None:
    """As CCA platform keys are published."""
    root = SAMPLES[Tee.CCA].root
    (folder / "key.der").write_bytes(root)
    (folder / "key.jwk").write_text(json.dumps(public_jwk(root)))
    (folder / "keys.jwks").write_text(json.dumps({"keys": [public_jwk(root)]}))
    for name in ("key.der", "key.jwk", "keys.jwks"):
        anchors, given = read_anchors(folder / name, kind=AnchorKind.OWNER)
        assert given.keys == (root,), name
        assert anchors.find(Tee.CCA, root) is not None


@pytest.mark.parametrize("name", ["sgx.bin", "tdx.bin", "sgx-collateral.json", "empty", "junk", "private.pem"])
def test_what_is_no_key_is_refused(name: str, folder: Path) -> None:
    """The quotes have Intel's chain in PEM inside: nobody may come to believe a quote's own chain by mistake."""
    assert b"-----BEGIN CERTIFICATE" in (folder / "sgx.bin").read_bytes()
    (folder / "empty").touch()
    (folder / "junk").write_bytes(b"\x30\x03junk")
    (folder / "private.pem").write_bytes(armoured(b"secret", "PRIVATE KEY"))
    with pytest.raises((UsageError, ParseError)) as refused:
        read_anchors(folder / name, kind=AnchorKind.TESTING)
    assert base64.b64encode(b"secret").decode() not in str(refused.value)


@pytest.mark.parametrize("read", [lambda path: read_anchors(path, kind=AnchorKind.OWNER), read_endorsements])
def test_what_cannot_be_read(read: type, tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(bytes((16 << 20) + 1))
    for name, why in (("absent", "No such file"), (".", "Is a directory"), ("long", "longer than")):
        with pytest.raises(UsageError, match=why):
            read(tmp_path / name)


def test_endorsements(folder: Path) -> None:
    found = read_endorsements(folder / "sgx-collateral.json", str(folder / "snp-certificates.pem"))
    assert len(found.intel) == 1
    assert len(found.certificates) == len(SAMPLES[Tee.SNP].endorsements.certificates)
    assert found.crls
