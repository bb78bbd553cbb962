"""The host's attestation key: made once, for its owner only; and `cloister host-key`."""

import copy
import os
import pickle
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from cloister import _crypto, cli
from cloister.attest.host_key import FileHostKey, default_path
from cloister.errors import UsageError


def pem_of(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes = b"") -> bytes:
    hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        hidden = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


def test_it_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "host-key.pem"
    key = FileHostKey(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["host-key.pem"]
    assert FileHostKey(path).spki == key.spki
    _crypto.verify_ed25519(_crypto.load_spki(key.spki), key.sign(b"message"), b"message", what="it")


def test_all_who_make_it_at_once_have_the_same(tmp_path: Path) -> None:
    found: list[bytes] = []
    together = threading.Barrier(8)

    def make() -> None:
        together.wait()
        found.append(FileHostKey(tmp_path / "key.pem").spki)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_what_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    FileHostKey(path)
    path.chmod(mode)
    with pytest.raises(UsageError, match="by others"):
        FileHostKey(path)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no key at all", pem_of(ec.generate_private_key(ec.SECP256R1())),
        pem_of(ed25519.Ed25519PrivateKey.generate(), b"password"), b"-----BEGIN PRIVATE KEY-----\nAAAA\n",
    ],
    ids=["empty", "text", "P-256", "password", "damaged"],
)  # fmt: skip
def test_what_is_no_such_key_is_refused_without_being_quoted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="no Ed25519 private key") as refused:
        FileHostKey(path)
    assert not content or content.decode() not in str(refused.value)
    assert path.read_bytes() == content


def test_links_directories_and_pipes_are_refused(tmp_path: Path) -> None:
    FileHostKey(tmp_path / "real.pem")
    (tmp_path / "link.pem").symlink_to(tmp_path / "real.pem")
    (tmp_path / "dangling.pem").symlink_to(tmp_path / "nowhere.pem")
    os.mkfifo(tmp_path / "pipe.pem", 0o600)
    (tmp_path / "directory.pem").mkdir(mode=0o700)
    for name in ("link", "dangling", "pipe", "directory"):
        with pytest.raises(UsageError):
            FileHostKey(tmp_path / f"{name}.pem")
    assert not (tmp_path / "nowhere.pem").exists()


@pytest.mark.needs_root
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    FileHostKey(path)
    os.chown(path, 65534, 65534)
    with pytest.raises(UsageError, match="belongs to user 65534"):
        FileHostKey(path)


def test_it_does_not_travel_or_show_itself(tmp_path: Path) -> None:
    key = FileHostKey(tmp_path / "key.pem")
    private = (tmp_path / "key.pem").read_text()
    assert "PRIVATE" not in repr(key) + str(vars(key)) + key.public_pem().decode()
    assert private.splitlines()[1] not in repr(key) + str(vars(key))
    for travel in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            travel(key)


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_path() == Path("/state/cloister/host-key.pem")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/x")
    assert default_path() == Path("/home/x/.local/state/cloister/host-key.pem")


def test_the_command_shows_the_public_half(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    assert cli.main(["host-key", "--key", str(private)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert cli.main(["host-key", "--key", str(private), "-o", str(public)]) == 0
    assert public.read_text() == shown
    assert "PRIVATE" not in shown + capsys.readouterr().err
    private.chmod(0o644)
    assert cli.main(["host-key", "--key", str(private)]) == 2
    assert cli.main(["host-key", "--key", str(tmp_path / "other.pem"), "-o", str(tmp_path / "no" / "p")]) == 2
