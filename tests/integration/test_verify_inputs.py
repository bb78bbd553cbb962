"""What users give `cloister verify`, wrong and hostile, and the signed results that it writes."""

import json
import re
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from tests.forge.every import NONCE, write_files
from tests.forge.intel import IntelForge
from tests.forge.x509 import NOW
from tests.services.verify_command import AT, TEES, trust, trusted, verify

from cloister import cli
from cloister.model import Tee

ESCAPES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("evidence")
    write_files(made)
    return made


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the user of this machine has fetched plays no part."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# ---------------------------------------------------------------- what users give it


@pytest.mark.parametrize("words", [["--at", "2026-06-01"], ["--at", AT], ["--at", "2026-06-01T02:00:00+02:00"],
                                   ["--at", str(int(NOW.timestamp()))]], ids=lambda one: one[1])  # fmt: skip
def test_times(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(trusted(capsys, Tee.SGX, folder, *words, "--json").out)
    assert found["at"] == "2026-06-01T00:00:00Z"


def test_standard_input(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO((folder / "cca.bin").read_bytes())))
    ran = verify(capsys, "-", *trust(Tee.CCA, folder))
    assert ran.code == 3
    assert ran.err.startswith("standard input: Arm CCA token\n")


def test_collateral_from_a_directory(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    assert cli.main(["collateral", "import", str(folder / "sgx-collateral.json"), "--cache", str(kept)]) == 0
    words = ["--at", AT, "--unsafe-trust-root", folder / "sgx-root.pem", "--collateral", kept]
    assert verify(capsys, folder / "sgx.bin", *words).code == 3


WRONG: dict[str, list[str]] = {
    "no file": [], "two sources": ["sgx.bin", "--batch", "."], "absent": ["absent.bin"], "a folder": ["."],
    "no content": ["/dev/null"], "an empty name": [""], "a nonce that is not hexadecimal": ["sgx.bin", "--nonce", "0x"],
    "an empty nonce": ["sgx.bin", "--nonce", ""], "a nonce too long": ["sgx.bin", "--nonce", "01" * 1025],
    "no time": ["sgx.bin", "--at", "yesterday"], "a date without hyphens": ["sgx.bin", "--at", "20260601"],
    "a time beyond all": ["sgx.bin", "--at", "9999-12-31T23:59:59-14:00"],
    "seconds beyond all": ["sgx.bin", "--at", "9" * 30],
    "an absent policy": ["sgx.bin", "--policy", "absent.toml"], "an empty policy name": ["sgx.bin", "--policy", ""],
    "a policy that is none": ["sgx.bin", "--policy", "sgx.bin"], "a folder as policy": ["sgx.bin", "--policy", "."],
    "absent collateral": ["sgx.bin", "--collateral", "absent"],
    "a file as the cache": ["sgx.bin", "--collateral", "sgx.bin"],
    "an absent endorsement": ["sgx.bin", "--endorsement", "absent"],
    "a folder as endorsement": ["sgx.bin", "--endorsement", "."],
    "evidence as endorsement": ["sgx.bin", "--endorsement", "cca.bin"],
    "an absent key": ["cca.bin", "--trust-key", "absent.pem"],
    "evidence as a key": ["cca.bin", "--trust-key", "cca.bin"],
    "evidence with certificates in it as a root": ["sgx.bin", "--unsafe-trust-root", "sgx.bin"],
    "collateral as a key": ["sgx.bin", "--unsafe-trust-root", "sgx-collateral.json"],
    "a result without a key": ["sgx.bin", "--ear", "r.jwt"],
    "a key without a result": ["sgx.bin", "--signing-key", "k"],
    "a public key to sign with": ["sgx.bin", "--ear", "r.jwt", "--signing-key", "sgx-root.pem"],
    "no lifetime": ["sgx.bin", "--ear", "r.jwt", "--signing-key", "k", "--lifetime", "0"],
    "processes without a batch": ["sgx.bin", "--processes", "2"],
    "explain with a batch": ["--batch", ".", "--explain"],
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG)
def test_wrong_usage_is_one_clear_line(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    ran = verify(capsys, *words)
    assert (ran.code, ran.out) == (2, "")
    assert "Traceback" not in ran.err
    assert ran.err.startswith("cloister verify: ") or "NOT UNDERSTOOD" in ran.err
    assert len(ran.err.splitlines()) <= 2


MISTAKEN = {
    "sgx-collateral.json": "--endorsement", "snp-certificates.pem": "--endorsement", "sgx-root.pem": "--trust-key",
    "cca-root.pem": "--trust-key",
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKEN)
def test_what_is_not_evidence_is_told_where_it_belongs(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = verify(capsys, folder / name)
    assert ran.code == 2
    assert MISTAKEN[name] in ran.err


def test_a_file_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    ran = verify(capsys, "/proc/self/mem")
    assert (ran.code, ran.err) == (2, "cloister verify: cannot read /proc/self/mem: Input/output error\n")


# ---------------------------------------------------------------- hostile


def hostile(tmp_path: Path, name: bytes = b"\x1b]0;pwned\x07\x1b[2J\xe2\x80\xae.bin") -> Path:
    """A quote in a file with a name that plays with terminals, under a root that does too."""
    forge = IntelForge()
    forge.root = type(forge.root)("\x1b[2J\x1b]0;pwned\x07 Root")
    forge.pck_ca = type(forge.root)("\x9b31m\u202e CA\r\nAFFIRMING: authentic", forge.root)
    forge.pck = forge.pck_certificate()
    path = tmp_path / name.decode("utf-8", "surrogateescape")
    path.write_bytes(forge.sgx_quote())
    return path


@pytest.mark.parametrize("words", [[], ["--explain"], ["--json"]], ids=["text", "explained", "json"])
def test_nothing_in_names_and_certificates_moves_the_cursor(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = verify(capsys, hostile(tmp_path), "--at", AT, *words)
    assert ran.code == 5
    assert not ESCAPES.search(ran.err + ran.out)
    assert not [line for line in ran.err.splitlines() if line.startswith("AFFIRMING")]


def test_nothing_in_json_evidence_or_a_policy_does(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.json").write_text('{"\\u001b[2J\\u009b": 1, "\\r\\nAFFIRMING": 2}')
    ran = verify(capsys, tmp_path / "e.json")
    assert ran.code == 2
    assert not ESCAPES.search(ran.err)
    (tmp_path / "p.toml").write_text('[sgx]\nmrenclave = { equal = "00", because = "\\u001b[2J" }\n"\\u001b" = 1\n')
    for words in ([], ["--explain"]):
        ran = trusted(capsys, Tee.SGX, folder, "--policy", tmp_path / "p.toml", *words)
        assert not ESCAPES.search(ran.err)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = hostile(tmp_path, b"\xff\xfe.bin")
    for words in ([], ["--json"]):
        line = [sys.executable, "-m", "cloister", "verify", str(path), "--at", AT, *words]
        ran = subprocess.run([one.encode("utf-8", "surrogateescape") for one in line], capture_output=True, check=False)
        assert ran.returncode == 5
        assert b"Traceback" not in ran.stderr
        assert b"\xff" not in ran.stderr + ran.stdout
        assert not words or json.loads(ran.stdout)["file"].endswith("\\udcff\\udcfe.bin")


# ---------------------------------------------------------------- signed results


@pytest.mark.parametrize("tee", TEES)
@pytest.mark.parametrize("name", ["result.jwt", "result.cwt"])
def test_the_verdict_as_a_signed_result(
    tee: Tee, name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, ear = tmp_path / "key.pem", tmp_path / name
    words = ["--nonce", NONCE.hex(), "--ear", ear, "--signing-key", key]
    assert trusted(capsys, tee, folder, *words).code == 3
    assert key.stat().st_mode & 0o777 == 0o600
    line = ["result", "verify", str(ear), "--key", f"{key}.jwks", "--nonce", NONCE.hex(), "--json"]
    assert cli.main(line) == 3
    submodule: dict[str, Any] = json.loads(capsys.readouterr().out)["submodules"]["cpu0"]
    assert submodule["basis"]["tee"] == tee


def test_no_result_without_a_verdict_and_an_older_one_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ear = tmp_path / "result.jwt"
    ear.write_text("older")
    words = ["--nonce", "01", "--ear", ear, "--signing-key", tmp_path / "key.pem"]
    ran = trusted(capsys, Tee.SGX, folder, *words)
    assert ran.code == 5
    assert "not written, because there is no verdict; what is there is from an earlier run" in ran.err
    assert ear.read_text() == "older"


def test_a_nonce_that_no_result_can_carry_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path, nonce=b"short")
    words = ["--nonce", b"short".hex(), "--ear", tmp_path / "r.jwt", "--signing-key", tmp_path / "key.pem"]
    ran = trusted(capsys, Tee.CCA, tmp_path, *words)
    assert ran.code == 3
    assert "does not echo the nonce" in ran.err
