"""`cloister id-block`: signing with keys in files and outside, looking, verifying."""

import base64
import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.unit.test_snp_measure import SECTIONS, image

from cloister.cli import main
from cloister.evidence.snp_id_block import IdAuth, IdBlock
from cloister.verification.snp_id_block import check_id_block

DIGEST = bytes(range(48)).hex()
KEYS = {name: ec.derive_private_key(number, ec.SECP384R1()) for name, number in (("id", 0x1D), ("author", 0xA))}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = {"OVMF.fd": image(*SECTIONS), "text": b"text"}
    for name, key in KEYS.items():
        made[f"{name}.pem"] = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        made[f"{name}.pub.pem"] = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    other = ec.derive_private_key(7, ec.SECP256R1())
    made["p256.pem"] = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def command(capsys: pytest.CaptureFixture[str], line: str, status: int = 0) -> tuple[str, str]:
    assert main(["id-block", *line.split()]) == status
    printed = capsys.readouterr()
    return printed.out, printed.err


def read(files: Path) -> tuple[IdBlock, IdAuth]:
    return IdBlock.parse((files / "block").read_bytes()), IdAuth.parse((files / "auth").read_bytes())


def test_a_measured_guest_is_signed(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "--tee", "sev-snp", "--firmware", "OVMF.fd", "--vcpu-type", "EPYC", "--json"]) == 0
    (files / "guest.json").write_text(capsys.readouterr().out)
    digest = json.loads((files / "guest.json").read_text())["digest"]
    out, _ = command(
        capsys,
        "create guest.json --id-key id.pem --author-key author.pem --family-id shop --image-id web --guest-svn 3 "
        "--policy 0xb0000 --block block --auth auth",
    )
    block, auth = read(files)
    check_id_block(block, auth, author=True)
    assert (block.launch_digest.hex(), block.policy, block.guest_svn) == (digest, 0xB0000, 3)
    assert (block.family_id.rstrip(b"\0"), block.image_id.rstrip(b"\0")) == (b"shop", b"web")
    assert out.splitlines() == [
        f"snp:measurement={digest}",
        f"snp:id_key_digest={auth.id_key.digest.hex()}",
        f"snp:author_key_digest={auth.author_key.digest.hex()}",
    ]
    command(capsys, f"verify block auth --measured guest.json --id-key-digest {auth.id_key.digest.hex()}")


def test_without_an_author_for_qemu(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = command(capsys, f"create --measurement {DIGEST} --id-key id.pem --block block --auth auth --json")
    block, auth = read(files)
    check_id_block(block, auth, author=False)
    made = json.loads(out)
    assert base64.b64decode(made["id_block"]) == block.serialize()
    assert base64.b64decode(made["id_auth"]) == auth.serialize()
    assert made["claims"].keys() == {"measurement", "id_key_digest"}
    assert (auth.auth_key_algo, auth.author_key.curve, block.policy) == (0, 0, 0x30000)


@pytest.mark.needs_program("openssl")
def test_keys_that_sign_outside(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, err = command(
        capsys, f"prepare --measurement {DIGEST} --id-public id.pub.pem --id-key-data id.key --block block"
    )
    assert "block: written; sign it with the ID key" in err
    for key, data in (("id", "block"), ("author", "id.key")):
        line = ["openssl", "dgst", "-sha384", "-sign", f"{key}.pem", "-out", f"{key}.sig", data]
        subprocess.run(line, check=True, timeout=60)
    parts = "--id-public id.pub.pem --id-signature id.sig --author-public author.pub.pem"
    command(capsys, f"attach block {parts} --author-signature author.sig --auth auth")
    check_id_block(*read(files), author=True)
    _, err = command(capsys, f"attach block {parts} --author-signature id.sig --auth other", 5)
    assert "author key's signature" in err
    assert not (files / "other").exists()


def test_what_view_and_verify_say(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(capsys, f"create --measurement {DIGEST} --id-key id.pem --author-key author.pem --block block --auth auth")
    out, _ = command(capsys, "view block auth")
    assert f"launch_digest      {DIGEST}" in out
    assert "verified           False" in out
    assert json.loads(command(capsys, f"verify block auth --json --measurement {DIGEST}")[0])["another"] == []
    out, _ = command(capsys, f"verify block auth --json --measurement {'00' * 48}", 4)
    assert json.loads(out)["another"] == ["launch_digest"]
    out, _ = command(capsys, f"verify block auth --json --author-key-digest {'00' * 48}", 4)
    assert json.loads(out)["another"] == ["author_key_digest"]
    data = bytearray((files / "block").read_bytes())
    data[0x58] ^= 1
    (files / "block").write_bytes(data)
    command(capsys, "verify block auth", 5)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("create --id-key id.pem --block b --auth a", "give a measurement"),
        ("create text --id-key id.pem --block b --auth a", "no measurement"),
        (f"create text --measurement {DIGEST} --id-key id.pem --block b --auth a", "give a measurement"),
        ("create --measurement 00 --id-key id.pem --block b --auth a", "48 bytes, not 1"),
        ("create --measurement xy --id-key id.pem --block b --auth a", "not hexadecimal"),
        (f"create --measurement {DIGEST} --policy x --id-key id.pem --block b --auth a", "hexadecimal number"),
        (f"create --measurement {DIGEST} --policy {'f' * 17} --id-key id.pem --block b --auth a", "64 bits"),
        (f"create --measurement {DIGEST} --guest-svn -1 --id-key id.pem --block b --auth a", "has 32"),
        (f"create --measurement {DIGEST} --guest-svn 4294967296 --id-key id.pem --block b --auth a", "has 32"),
        (f"create --measurement {DIGEST} --family-id {'x' * 17} --id-key id.pem --block b --auth a", "at most 16"),
        (f"create --measurement {DIGEST} --id-key p256.pem --block b --auth a", "with a P-384 key"),
        (f"create --measurement {DIGEST} --id-key text --block b --auth a", "no private key"),
        (f"create --measurement {DIGEST} --id-key id.pem --block text --auth a", "--force to replace"),
        (f"prepare --measurement {DIGEST} --id-public id.pub.pem --block b", "go together"),
        ("attach text --id-public id.pub.pem --id-signature text --auth a", "IdBlock"),
        ("view text text", "IdBlock"),
    ],
)
def test_what_cannot_be_done_is_refused(line: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = command(capsys, line, 2)
    assert reason in err
    assert out == ""
    assert not Path("a").exists()


def test_an_author_s_key_and_signature_go_together(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(capsys, f"prepare --measurement {DIGEST} --block block")
    (files / "id.sig").write_bytes(bytes.fromhex("3006020101020101"))
    line = "attach block --id-public id.pub.pem --id-signature id.sig --author-public author.pub.pem --auth a"
    assert "goes with the author's signature" in command(capsys, line, 2)[1]
    (files / "id.sig").write_bytes(b"\x30\x00")
    assert "no ECDSA signature" in command(capsys, line, 2)[1]
