"""`cloister sigstruct`: signing with a key in a file and outside, looking, verifying."""

import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tests.forge.enclave_elf import LOADER, PAGE, oe_image, oe_properties
from tests.forge.sdk_enclave import sdk_image
from tests.forge.sigstruct import image_with, signing_key, sigstruct
from tests.unit.test_measure_enclaves import MANIFEST

from cloister.cli import main
from cloister.evidence.sigstruct import parse
from cloister.verification.sigstruct import verify_sigstruct

MRENCLAVE = bytes(range(32)).hex()


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: KeySerializationEncryption | None = None
) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, password or NoEncryption())


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    key = signing_key()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    made = {
        "key.pem": pem(key), "key.pub.pem": public, "locked.pem": pem(key, BestAvailableEncryption(b"x")),
        "ec.pem": pem(ec.generate_private_key(ec.SECP384R1())), "small.pem": pem(rsa.generate_private_key(3, 2048)),
        "app.manifest.sgx": MANIFEST, "libpal.so": LOADER.build(),
        "enclave": oe_image(oe_properties(attributes=6)).build(),
        "text": b"text", "signed.so": image_with(sigstruct().serialize()),
        "signed-oe": oe_image(oe_properties(sigstruct=sigstruct().serialize())).build(),
    }  # fmt: skip
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def command(capsys: pytest.CaptureFixture[str], line: str, status: int = 0) -> tuple[str, str]:
    assert main(["sigstruct", *line.split()]) == status
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_gramine_is_measured_and_signed_in_one_go(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = command(
        capsys,
        "create --key key.pem --with gramine --loader libpal.so app.manifest.sgx --date 2026-02-03 "
        "--isvsvn 9 -o app.sig",
    )
    made = parse((files / "app.sig").read_bytes())
    verify_sigstruct(made)
    assert out.splitlines() == [f"sgx:mrenclave={made.enclave_hash.hex()}", f"sgx:mrsigner={made.mrsigner.hex()}"]
    assert made.enclave_hash.hex() == "68300e91579373ed172951b847965104f6c0352116445934cb6037614f04cb9e"
    assert (made.isvprodid, made.isvsvn, made.signed_on.isoformat(), made.attributes[0]) == (7, 9, "2026-02-03", 6)


def test_open_enclave_s_settings_are_taken_over(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(capsys, "create --key key.pem --with oe enclave -o made")
    made = parse((files / "made").read_bytes())
    assert (made.isvprodid, made.isvsvn, made.attributes[0], made.attribute_mask[0]) == (5, 4, 6, 0xF9)


def test_every_field_can_be_set(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = {
        "attributes": "84" + 7 * "00" + "07" + 7 * "00", "attribute_mask": "ff" * 16, "isvfamilyid": "01" * 16,
        "isvextprodid": "02" * 16, "miscselect": "01000000", "miscmask": "feffffff", "isvsvn": "0100",
    }  # fmt: skip
    words = " ".join(f"--set {name}={value}" for name, value in fields.items())
    command(capsys, f"create --key key.pem --mrenclave {MRENCLAVE} {words} --isvprodid 3 --debug -o made")
    made = parse((files / "made").read_bytes())
    assert made.attributes.hex() == "86" + 7 * "00" + "07" + 7 * "00"
    assert (made.miscselect, made.miscmask, made.isvsvn, made.isvprodid) == (1, 0xFFFFFFFE, 1, 3)
    assert (made.isvfamilyid, made.isvextprodid) == (b"\1" * 16, b"\2" * 16)


@pytest.mark.needs_program("openssl")
def test_a_key_that_signs_outside(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = f"--mrenclave {MRENCLAVE} --date 2026-02-03 --isvprodid 3"
    _, err = command(capsys, f"prepare {settings} -o unsigned")
    assert "sign these 256 bytes" in err
    assert len((files / "unsigned").read_bytes()) == 256
    subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", "key.pem", "-out", "signature", "unsigned"], check=True, timeout=60
    )
    command(capsys, "attach unsigned --signature signature --public-key key.pub.pem -o outside")
    command(capsys, f"create --key key.pem {settings} -o inside")
    assert (files / "outside").read_bytes() == (files / "inside").read_bytes()


def test_a_signature_over_something_else_is_not_attached(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(capsys, f"prepare --mrenclave {MRENCLAVE} --date 2026-02-03 -o unsigned")
    (files / "signature").write_bytes(sigstruct().signature[::-1])
    _, err = command(capsys, "attach unsigned --signature signature --public-key key.pub.pem -o made", 5)
    assert "does not verify" in err
    assert not (files / "made").exists()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", ["signed.so", "signed-oe"])
def test_view_and_verify_a_signed_image(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = command(capsys, f"view {name}")
    assert MRENCLAVE in out
    assert "not verified" in out
    made = json.loads(command(capsys, f"view --json {name}")[0])
    assert (made["mrenclave"], made["signed_on"], made["verified"]) == (MRENCLAVE, "2026-06-01", False)
    assert (made["flags"], made["features"]) == (["64 bit"], ["x87 SSE"])
    signer = made["mrsigner"]
    out, _ = command(capsys, f"verify {name} --mrsigner {signer} --mrenclave {MRENCLAVE}")
    assert "q1 and q2: passed" in out
    out, _ = command(capsys, f"verify {name} --mrsigner {'00' * 32}", 4)
    assert f"DIFFERS: mrsigner is {signer}" in out
    made = json.loads(command(capsys, f"verify --json {name} --mrenclave {'11' * 32}", 4)[0])
    assert made["another"] == ["mrenclave"]


@pytest.mark.parametrize(("framework", "image"), [("oe", "enclave"), ("sdk", "sdk.so")])
def test_a_signature_is_put_into_an_image(
    framework: str, image: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "sdk.so").write_bytes(sdk_image())
    (files / image).chmod(0o750)
    command(capsys, f"create --key key.pem --with {framework} {image} -o made")
    _, err = command(capsys, f"embed made {image} -o signed")
    assert "tells whether it is what was signed" in err
    assert (files / "signed").stat().st_mode & 0o777 == 0o750
    assert main(["measure", "--tee", "sgx", "--with", framework, "-q", "signed"]) == 0
    assert capsys.readouterr().err == ""
    shown = json.loads(command(capsys, "view --json signed")[0])
    assert shown["mrsigner"] == parse((files / "made").read_bytes()).mrsigner.hex()
    changed = bytearray((files / image).read_bytes())
    changed[PAGE + 0x20] ^= 1
    (files / image).write_bytes(changed)
    command(capsys, f"embed made {image} -o signed --force")
    assert main(["measure", "--tee", "sgx", "--with", framework, "-q", "signed"]) == 1


def test_what_does_not_verify_is_not_put_into_an_image(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(sigstruct().serialize())
    data[970] ^= 1
    (files / "changed").write_bytes(data)
    command(capsys, "embed changed enclave -o made", 5)
    (files / "good").write_bytes(sigstruct().serialize())
    assert "no .note.sgxmeta" in command(capsys, "embed good libpal.so -o made", 2)[1]
    assert not (files / "made").exists()


def test_the_general_verifier_reads_open_enclave_s_too(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(files / "signed-oe")]) == 3
    assert MRENCLAVE in capsys.readouterr().err


@pytest.mark.parametrize("place", [520, 970, 1100, 1500])
def test_a_changed_sigstruct_does_not_verify(place: int, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(sigstruct().serialize())
    data[place] ^= 1
    (files / "changed").write_bytes(data)
    command(capsys, "verify changed", 5)


def test_debug_signed_needs_permission(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "debug").write_bytes(sigstruct(debug=True).serialize())
    assert "debug" in command(capsys, "verify debug", 5)[1]
    command(capsys, "verify debug --unsafe-allow-debug")


@pytest.mark.usefixtures("files")
def test_the_signer_of_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    expected = f"sgx:mrsigner={sigstruct().mrsigner.hex()}\n"
    assert [command(capsys, f"signer {name}")[0] for name in ("key.pem", "key.pub.pem")] == [expected] * 2


def test_a_key_that_others_can_read(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "key.pem").chmod(0o640)
    for line in (f"create --key key.pem --mrenclave {MRENCLAVE} -o made", "signer key.pem"):
        assert "chmod 600 key.pem" in command(capsys, line, 2)[1]


def test_nothing_is_replaced_unasked(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"create --key key.pem --mrenclave {MRENCLAVE} -o text"
    assert "--force to replace" in command(capsys, line, 2)[1]
    assert (files / "text").read_bytes() == b"text"
    command(capsys, f"{line} --force")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("create --key key.pem -o made", "give an image"),
        (f"create --key key.pem --mrenclave {MRENCLAVE} --with oe enclave -o made", "give an image"),
        (f"create --key key.pem --mrenclave {MRENCLAVE} enclave -o made", "say its framework"),
        ("create --key key.pem --mrenclave 00 -o made", "64 hexadecimal digits"),
        ("create --key key.pem --with oe libpal.so -o made", "no image of Open Enclave"),
        (f"create --key small.pem --mrenclave {MRENCLAVE} -o made", "RSA-2048"),
        (f"create --key ec.pem --mrenclave {MRENCLAVE} -o made", "with an RSA key"),
        (f"create --key text --mrenclave {MRENCLAVE} -o made", "no private key in PEM"),
        (f"create --key locked.pem --mrenclave {MRENCLAVE} -o made", "is encrypted"),
        (f"create --key missing --mrenclave {MRENCLAVE} -o made", "cannot read missing"),
        (f"create --key key.pem --mrenclave {MRENCLAVE} --date 3.2.2026 -o made", "2026-01-31"),
        (f"create --key key.pem --mrenclave {MRENCLAVE} --isvsvn 65536 -o made", "65535"),
        (f"create --key key.pem --mrenclave {MRENCLAVE} --set modulus=00 -o made", "no such field"),
        (f"create --key key.pem --mrenclave {MRENCLAVE} --set miscmask=00 -o made", "8 hexadecimal digits"),
        (f"create --key key.pem --mrenclave {MRENCLAVE} -o no/such/place", "cannot write"),
        ("attach text --signature text --public-key key.pub.pem -o made", "length"),
        ("signer text", "no public key in PEM"),
        ("view text", "neither a SIGSTRUCT"),
        ("view libpal.so", "no .note.sgxmeta"),
        ("view enclave", "no .note.sgxmeta"),
        ("verify signed.so --mrsigner 00", "64 hexadecimal digits"),
    ],
)
def test_what_cannot_be_done_is_refused(line: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = command(capsys, line, 2)
    assert reason in err
    assert out == ""
    assert not Path("made").exists()
