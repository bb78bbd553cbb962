"""`cloister policy` from the command line, on forged evidence."""

import json
from pathlib import Path

import pytest
from tests.forge.keystone import KeystoneForge

from cloister import _cbor
from cloister.cli import main
from cloister.cli import policy as policy_command

FORGE = KeystoneForge()
MRENCLAVE = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no collateral of the user's; in it evidence and the key of its device."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "report.bin").write_bytes(FORGE.report(b"nonce"))
    (tmp_path / "other.bin").write_bytes(FORGE.report(b"nonce", enclave_hash=b"x" * 64))
    (tmp_path / "forged.bin").write_bytes(KeystoneForge(device_seed=b"another device, worth as little ").report(b"n"))
    (tmp_path / "device.txt").write_text(FORGE.device_key.hex())
    return tmp_path


def policy(*words: str) -> int:
    return main(["policy", *words])


TRUST = ("--trust-key", "device.txt")


def test_a_policy_written_from_evidence_affirms_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert policy("init", "--from", "report.bin", *TRUST, "-o", "p.toml") == 0
    assert policy("check", "p.toml", "--strict") == 0
    capsys.readouterr()
    assert policy("test", "p.toml", "report.bin", *TRUST) == 0
    assert capsys.readouterr().out.startswith("affirming        keystone  report.bin")
    assert policy("test", "p.toml", "report.bin", "other.bin", *TRUST) == 4
    out = capsys.readouterr().out
    assert "contraindicated  keystone  other.bin" in out
    line = next(n for n, text in enumerate((folder / "p.toml").read_text().splitlines(), 1) if "enclave_hash =" in text)
    assert f"p.toml:{line}: keystone.enclave_hash: expected" in out


def test_outcomes_that_are_no_appraisal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy("init", "--from", "report.bin", *TRUST, "-o", "p.toml")
    (folder / "noise.bin").write_bytes(b"\xff" * 100)
    assert policy("test", "p.toml", "forged.bin", *TRUST) == 5
    assert policy("test", "p.toml", "noise.bin", *TRUST) == 2
    assert policy("test", "p.toml", "report.bin", "noise.bin", "forged.bin", *TRUST) == 5
    out = capsys.readouterr().out
    assert "not authentic    ?         forged.bin" in out
    assert "malformed        ?         noise.bin" in out


@pytest.mark.usefixtures("folder")
def test_expectations() -> None:
    policy("init", "--from", "report.bin", *TRUST, "-o", "p.toml")
    assert policy("test", "p.toml", "report.bin", *TRUST, "--expect", "affirming") == 0
    assert policy("test", "p.toml", "other.bin", *TRUST, "--expect", "contraindicated") == 0
    assert policy("test", "p.toml", "other.bin", *TRUST, "--expect", "affirming") == 1
    assert policy("test", "p.toml", "forged.bin", *TRUST, "--expect", "not authentic") == 0


@pytest.mark.usefixtures("folder")
def test_outcomes_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    policy("init", "--from", "report.bin", *TRUST, "-o", "p.toml")
    capsys.readouterr()
    policy("test", "p.toml", "other.bin", *TRUST, "--json")
    (one,) = json.loads(capsys.readouterr().out)
    assert one["status"] == "contraindicated"
    assert one["failed"][0]["title"] == "keystone.enclave_hash"


@pytest.mark.usefixtures("folder")
def test_measurements(capsys: pytest.CaptureFixture[str]) -> None:
    assert policy("init", "--measurement", f"sgx:mrenclave={MRENCLAVE}", "-o", "p.toml") == 0
    assert policy("check", "p.toml", "--strict") == 0
    assert policy("init", "--measurement", f"sgx:mrenclave={MRENCLAVE}", "-o", "p.toml") == 2
    assert "--force" in capsys.readouterr().err
    assert policy("init", "--measurement", f"sgx:mrenclave={MRENCLAVE}", "-o", "p.toml", "--force") == 0
    assert policy("init", "--measurement", f"sgx:mrsigner={MRENCLAVE}") == 0
    assert 'decides = "executables"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("mrenclave=ab", "TEE:CLAIM=HEX"),
        ("sgx:mrenclave=xyz", "TEE:CLAIM=HEX"),
        ("sgx:mrenclve=" + MRENCLAVE, "mrenclve"),
        ("sgx:mrenclave=abcd", "64 hexadecimal digits"),
    ],
)
def test_measurements_that_are_none(words: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert policy("init", "--measurement", words) == 2
    assert reason in capsys.readouterr().err


def test_check_names_file_and_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "p.toml").write_text(f'[sgx]\nmrenclave = "{MRENCLAVE}"\nunsafe_allow_debug = true\n')
    assert policy("check", "p.toml") == 0
    assert "p.toml:3: DANGEROUS: accepts debug" in capsys.readouterr().err
    assert policy("check", "p.toml", "--strict", "--json") == 1
    assert json.loads(capsys.readouterr().out)["remarks"][0]["dangerous"] is True
    (folder / "p.toml").write_text("[sgx]\nmrenclave = {}\n")
    assert policy("check", "p.toml") == 2
    assert "p.toml:2: demands nothing" in capsys.readouterr().err
    (folder / "p.toml").write_bytes(b"[sgx]\n\xff\n")
    assert policy("check", "p.toml") == 2
    assert "p.toml:2: is not UTF-8" in capsys.readouterr().err
    assert policy("check", "absent.toml") == 2


def test_reference_values_stand_beside_the_policy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policies").mkdir()
    (folder / "policies" / "p.toml").write_text(
        'accept_anchors = ["owner"]\n[reference_values]\nfiles = ["rv.json"]\n'
        '[keystone]\nenclave_hash = { in = "reference_values" }\n'
    )
    assert policy("check", "policies/p.toml") == 2
    assert "policies/p.toml:3: cannot read policies/rv.json" in capsys.readouterr().err
    digest = FORGE.report()[:64].hex()
    entry = {"tee": "keystone", "name": "enclave_hash", "digest": f"sha3_512:{digest}", "label": "v1"}
    (folder / "policies" / "rv.json").write_text(json.dumps([entry]))
    assert policy("check", "policies/p.toml", "--strict") == 0
    assert policy("test", "policies/p.toml", "report.bin", *TRUST) == 0
    assert policy("test", "policies/p.toml", "other.bin", *TRUST) == 4


def test_rego(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("regopy")
    (folder / "p.rego").write_text(
        "package policy\nimport rego.v1\ndefault executables := 33\n"
        'executables := 2 if input.keystone.debug == false\ntrust_claims := {"executables": executables}\n'
    )
    assert policy("check", "p.rego", "--strict") == 0
    assert policy("test", "p.rego", "report.bin", *TRUST) == 0
    assert policy("test", "p.rego", "report.bin") == 5, "nobody vouches for this device"
    (folder / "p.rego").write_text('package policy\ntrust_claims := {"executables": 2}\n')
    assert policy("check", "p.rego", "--strict") == 1
    assert "affirms executables of evidence that says nothing" in capsys.readouterr().err


def test_signed_manifests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = FORGE.report()[:64]
    measured = {0: "enclave_hash", 1: {2: [[12, digest]]}}
    comid = {1: {0: "app"}, 4: {0: [[{0: {1: "ACME"}}, [measured]]]}}
    manifest = _cbor.dumps(_cbor.Tag(501, {0: "app 1", 1: [_cbor.Tag(506, _cbor.dumps(comid))]}))
    (folder / "app.corim").write_bytes(manifest)
    head = 'accept_anchors = ["owner"]\n[reference_values]\nfiles = ["app.corim"]\n'
    rule = '[keystone]\nenclave_hash = { in = "reference_values" }\n'
    (folder / "p.toml").write_text(head + rule)
    assert policy("check", "p.toml") == 2
    assert "is not signed" in capsys.readouterr().err
    (folder / "p.toml").write_text(head + "unsafe_unsigned = true\n" + rule)
    assert policy("check", "p.toml") == 0
    assert policy("test", "p.toml", "report.bin", *TRUST) == 0


def test_the_command_is_complete() -> None:
    assert set(policy_command.ACTIONS) == {"init", "check", "test"}
