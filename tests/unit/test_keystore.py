"""The emulated manufacturers' keystore: what is kept, for whom, and what is refused."""

import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from tests.forge.x509 import NOW

from cloister._x509 import Certificate, pem_blocks
from cloister.emulate.vendors.keystore import WARNING, Keystore, PrivateKey, default_directory
from cloister.emulate.vendors.x509 import (
    LIFETIME,
    Issuer,
    armoured,
    der_integer,
    der_of,
    der_oid,
    issue,
    p256,
    p384,
    revocation_list,
    spki,
    subject,
)
from cloister.endorse.anchors import TrustAnchors
from cloister.errors import UsageError
from cloister.model import Tee
from cloister.verification import chains


@pytest.fixture
def keystore(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "data" / "emulated")


def quick_rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def never() -> ec.EllipticCurvePrivateKey:
    raise AssertionError("made twice")


@pytest.mark.parametrize("make", [p256, p384, quick_rsa, ed25519.Ed25519PrivateKey.generate])
def test_a_key_is_made_once_and_is_the_same_for_the_next_run(keystore: Keystore, make: type[PrivateKey]) -> None:
    first = keystore.key("one", make)
    again = Keystore(keystore.directory).key("one", never)
    assert type(again) is type(first)
    assert again.public_key() == first.public_key()


def test_secrets_and_certificates_are_kept_too(keystore: Keystore) -> None:
    secret = keystore.secret("fuses", 16)
    root = keystore.authority("root", subject("Emulated Root"), make=p256)
    later = Keystore(keystore.directory)
    assert later.secret("fuses", 16) == secret
    assert len(secret) == 16
    assert keystore.secret("others", 16) != secret
    assert later.authority("root", subject("Emulated Root"), make=never).certificate == root.certificate


def test_everything_is_for_its_owner_only_and_nothing_else_is_left(keystore: Keystore) -> None:
    keystore.authority("root", subject("Emulated Root"), make=p256)
    keystore.secret("fuses")
    keystore.publish("root.pem", b"a root")
    keystore.publish("root.pem", b"another root")
    assert stat.S_IMODE(keystore.directory.stat().st_mode) == 0o700
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in keystore.directory.iterdir()}
    assert found == dict.fromkeys(["root.key", "root.crt", "fuses.secret", "root.pem"], 0o600)
    assert (keystore.directory / "root.pem").read_bytes() == b"another root"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o620])
def test_a_file_that_others_may_read_or_write_is_refused(keystore: Keystore, mode: int) -> None:
    keystore.key("one", p256)
    path = keystore.directory / "one.key"
    path.chmod(mode)
    with pytest.raises(UsageError, match=f"one.key may be read or written by others .mode {mode:04o}"):
        keystore.key("one", p256)


def test_a_directory_that_others_may_look_into_is_refused(keystore: Keystore) -> None:
    keystore.key("one", p256)
    keystore.directory.chmod(0o755)
    with pytest.raises(UsageError, match="may be read or written by others"):
        keystore.key("another", p256)
    assert not (keystore.directory / "another.key").exists()


def test_a_link_in_place_of_a_key_is_not_followed(keystore: Keystore, tmp_path: Path) -> None:
    other = Keystore(tmp_path / "other")
    other.key("one", p256)
    keystore.secret("fuses")
    (keystore.directory / "one.key").symlink_to(other.directory / "one.key")
    with pytest.raises(UsageError, match="cannot keep emulated keys"):
        keystore.key("one", p256)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_damaged_keys_are_named_but_not_shown(keystore: Keystore, content: bytes) -> None:
    keystore.key("one", p256)
    (keystore.directory / "one.key").write_bytes(content)
    with pytest.raises(UsageError, match=r"one\.key is no private key in PEM; remove") as caught:
        keystore.key("one", p256)
    assert not content or content.decode() not in str(caught.value)


def test_a_damaged_secret_and_one_of_another_size_are_refused(keystore: Keystore) -> None:
    keystore.secret("fuses", 16)
    with pytest.raises(UsageError, match="has 16 bytes; 32 are expected"):
        keystore.secret("fuses", 32)
    (keystore.directory / "fuses.secret").write_bytes(b"xyz")
    with pytest.raises(UsageError, match="is not hexadecimal"):
        keystore.secret("fuses", 16)


def test_a_certificate_about_another_key_is_refused(keystore: Keystore) -> None:
    keystore.authority("root", subject("Emulated Root"), make=p256)
    (keystore.directory / "root.key").unlink()
    with pytest.raises(UsageError, match="is not about the key"):
        keystore.authority("root", subject("Emulated Root"), make=p256)


def test_two_certificates_in_one_file_are_refused(keystore: Keystore) -> None:
    root = keystore.authority("root", subject("Emulated Root"), make=p256)
    path = keystore.directory / "root.crt"
    path.write_bytes(2 * armoured(root.certificate.encoded))
    with pytest.raises(UsageError, match="is not one certificate"):
        keystore.certificate("root", lambda: root.certificate)


@pytest.mark.parametrize("name", ["../one", "", ".hidden", "a/b", "A", "a" * 200])
def test_names_stay_inside_the_directory(keystore: Keystore, name: str) -> None:
    with pytest.raises(ValueError, match="no name for a file"):
        keystore.publish(name, b"")


def test_those_who_make_a_key_at_once_go_on_with_one_key(keystore: Keystore) -> None:
    keystore.secret("directory-is-there")
    together, found = threading.Barrier(4), []

    def make() -> ec.EllipticCurvePrivateKey:
        together.wait(30)  # all four have seen that there is no key
        return p256()

    def run() -> None:
        found.append(spki(keystore.key("one", make)))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert len(found) == 4
    assert len(set(found)) == 1


def test_where_it_is_if_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Keystore().directory == default_directory() == tmp_path / "cloister" / "emulated"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_directory() == tmp_path / ".local" / "share" / "cloister" / "emulated"


def test_a_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=r"cannot keep emulated keys in .*: Not a directory"):
        Keystore(tmp_path / "file" / "below").secret("fuses")


def test_the_warning_is_one_line_that_says_it() -> None:
    assert "prove nothing" in WARNING
    assert "\n" not in WARNING


def test_authorities_issue_chains_and_lists_that_hold(keystore: Keystore) -> None:
    root = keystore.authority("root", subject("Emulated Root"), make=p256, path_length=1)
    below = keystore.authority("below", subject("Emulated CA"), make=p384, issuer=root, path_length=0)
    leaf = issue(subject("Emulated Leaf"), p256().public_key(), below)
    anchors = TrustAnchors.testing(spki(root.key))
    chain = chains.build_chain(leaf, (below.certificate, root.certificate), anchors, Tee.SGX)
    assert [one.name for one in chain] == ["Emulated Leaf", "Emulated CA", "Emulated Root"]
    assert chain.window == LIFETIME
    crl = revocation_list(below, [leaf], at=NOW)
    assert crl.revoked == {leaf.serial}
    assert chains.signature_holds(crl.tbs, crl.algorithm, crl.signature, below.certificate.spki)


def test_pem_and_der_are_what_others_read() -> None:
    certificate = _self_signed()
    assert pem_blocks(armoured(certificate.encoded), "CERTIFICATE") == [certificate.encoded]
    assert [der_integer(value).hex() for value in (0, 127, 128, 256)] == ["020100", "02017f", "02020080", "02020100"]
    assert der_oid("1.2.840.113741.1.13.1").hex() == "06092a864886f84d010d01"
    assert der_of(4, bytes(200))[:3].hex() == "0481c8"


def _self_signed() -> Certificate:
    key = p256()
    return issue(subject("x"), key.public_key(), Issuer(name=subject("x"), key=key), ca=True)
