"""`cloister session` on the command line: what it prints where, and every exit code."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.forge.results import NONCE, NOW
from tests.forge.sessions import (
    MEASUREMENT,
    OTHER,
    VERIFIER_KEY,
    attested,
    document,
    public_pem,
    session,
    text,
    token,
)

from cloister.appraise.vector import Tier
from cloister.broker.session.canonical import canonical_form, session_hash
from cloister.broker.session.language import KINDS
from cloister.broker.session.read import read_session
from cloister.broker.session.schema import json_schema
from cloister.cli import main
from cloister.result.signing import SigningKey

ALICE, BOB, CAROL = (SigningKey.generate() for _ in range(3))
VALUE = "correct horse"


def write(path: Path, mode: int = 0o600, **changes: Any) -> str:
    path.write_bytes(text(document(**changes)))
    path.chmod(mode)
    return str(path)


def key_file(path: Path, key: SigningKey) -> str:
    path.write_bytes(key.to_pem())
    path.chmod(0o600)
    return str(path)


def owners(threshold: int, *keys: SigningKey) -> dict[str, Any]:
    people = [{"name": f"owner{n}", "key": public_pem(key)} for n, key in enumerate(keys)]
    return {"threshold": threshold, "owners": people}


@pytest.fixture
def file(tmp_path: Path) -> str:
    return write(tmp_path / "app.yaml")


def test_create_writes_a_session_that_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "app.yaml"
    words = [
        "--name",
        "team/app",
        "--measurement",
        f"sgx:mrenclave={MEASUREMENT}",
        "--measurement",
        f"sgx:mrsigner={OTHER}",
    ]
    assert main(["session", "create", *words, "-o", str(made)]) == 0
    assert made.stat().st_mode & 0o777 == 0o600
    read = read_session(made)
    assert [rule.measurements for rule in read.services[0].attestation] == [{MEASUREMENT}, set()]
    assert read.secrets_of(read.services[0]) == ("token",)
    assert main(["session", "check", str(made), "--strict"]) == 0
    assert main(["session", "create", *words, "-o", str(made)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["session", "create", *words, "-o", str(made), "--force"]) == 0


@pytest.mark.parametrize(
    "program",
    [
        f"software:measurement={MEASUREMENT}",
        f"sgx:mrenclave={MEASUREMENT}",
        f"sgx:mrsigner={MEASUREMENT}",
        "tdx:mrtd=" + "ab" * 48,
        "snp:measurement=" + "ab" * 48,
        "snp:id_key_digest=" + "ab" * 48,
        "sev:launch_digest=" + "ab" * 32,
        "cca:rim=" + "ab" * 32,
        "keystone:enclave_hash=" + "ab" * 64,
    ],
)
def test_create_for_every_tee_and_every_kind(program: str, tmp_path: Path) -> None:
    made = tmp_path / "app.yaml"
    kinds = [word for kind in KINDS for word in ("--secret", f"a-{kind}:{kind}")]
    assert main(["session", "create", "--name", "a", "--measurement", program, *kinds, "-o", str(made)]) == 0
    read = read_session(made)
    assert set(read.secrets_of(read.services[0])) == {f"a-{kind}" for kind in KINDS}


@pytest.mark.parametrize(
    "words",
    [
        ["--name", "a b", "--measurement", f"sgx:mrenclave={MEASUREMENT}"],
        ["--name", "a", "--measurement", f"sgx:configid={'00' * 64}"],
        ["--name", "a", "--measurement", f"tpm:pcr7={MEASUREMENT}"],
        ["--name", "a", "--measurement", "sgx:mrenclave=00"],
        ["--name", "a", "--measurement", f"sgx:mrenclave={MEASUREMENT}", "--secret", "x:jwt"],
    ],
)
def test_create_refuses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["session", "create", *words]) == 2
    assert capsys.readouterr().out == ""


def test_check(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["session", "check", file]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"hash {session_hash(session())}" in shown.err
    assert "nobody gets the secret `unshared`" in shown.err
    assert main(["session", "check", file, "--strict"]) == 1


def test_check_refuses_with_file_line_and_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "bad.yaml"
    made.write_text("name: app\nversion: 1\n")
    assert main(["session", "check", str(made)]) == 2
    assert capsys.readouterr().err.startswith(f"cloister session: {made}:2:10: ")
    assert main(["session", "check", str(tmp_path / "absent.yaml")]) == 2


def test_a_file_with_values_that_others_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "app.yaml", 0o644)
    assert main(["session", "check", file]) == 0
    assert f"DANGEROUS: holds values of secrets, and others can read it: chmod 600 {file}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"unsafe_allow_debug": True}, "DANGEROUS: accepts debug"),
        ({"unsafe_accept_testing": True}, "DANGEROUS: accepts emulated TEEs"),
        ({"anchors": ["hardware", "software"]}, "open to whoever controls the host's kernel"),
    ],
)
def test_remarks(words: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = document()
    data["services"][0]["attestation"][0] |= words
    assert main(["session", "check", write(tmp_path / "app.yaml", services=data["services"])]) == 0
    assert says in capsys.readouterr().err


def test_check_as_json(tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    new = write(tmp_path / "new.yaml", predecessor=session_hash(session()), access_policy={"read": ["ANY"]})
    assert main(["session", "check", new, "--against", file, "--json"]) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert shown.err == ""
    assert told["hash"] == session_hash(read_session(Path(new)))
    assert told["predecessor"] == session_hash(session())
    assert [one["weakens"] for one in told["changes"]] == [True]
    assert told["approvals"] is None
    assert {one["dangerous"] for one in told["remarks"]} == {False}


def test_an_update_of_another_session(tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    new = write(tmp_path / "new.yaml", predecessor="00" * 32)
    assert main(["session", "check", new, "--against", file]) == 2
    assert f"the current session is {session_hash(session())}" in capsys.readouterr().err


def test_show(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["session", "show", file]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "ascii, made by the broker (24 characters)" in shown.err
    assert VALUE not in shown.err
    assert main(["session", "show", file, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.pop("hash") == session_hash(session())
    assert told == json.loads(canonical_form(session()))


def test_show_canonical_and_hash(file: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["session", "show", file, "--canonical"]) == 0
    assert capfdbinary.readouterr().out == canonical_form(session())
    assert main(["session", "hash", file]) == 0
    assert capfdbinary.readouterr().out.decode() == session_hash(session()) + "\n"


def test_diff(tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["session", "diff", file, file, "--strict"]) == 0
    assert "no change in meaning" in capsys.readouterr().err
    data = document()
    data["services"][0]["attestation"][0]["measurement"] = [MEASUREMENT, OTHER]
    new = write(tmp_path / "new.yaml", services=data["services"])
    assert main(["session", "diff", file, new]) == 0
    assert "WEAKENS: who may get `token` changed from service web" in capsys.readouterr().err
    assert main(["session", "diff", file, new, "--strict", "--json"]) == 10
    told = json.loads(capsys.readouterr().out)
    assert {one["weakens"] for one in told["changes"]} == {True, False}
    assert main(["session", "diff", new, file, "--strict"]) == 0


def test_sign_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "app.yaml", approvals=owners(2, ALICE, BOB))
    approvals: list[str] = []
    words: list[str] = []
    for name, key in (("alice", ALICE), ("bob", BOB)):
        made = str(tmp_path / f"{name}.json")
        words = ["--key", key_file(tmp_path / f"{name}.pem", key), "-o", made]
        assert main(["session", "sign", file, *words]) == 0
        approvals += ["--approval", made]
    assert f"signed as owner1: team/app, hash {session_hash(read_session(Path(file)))}" in capsys.readouterr().err
    assert main(["session", "check", file, *approvals[:2]]) == 10
    assert "not yet in effect: owner1 may sign" in capsys.readouterr().err
    assert main(["session", "check", file, *approvals]) == 0
    assert "approved by owner0, owner1: 2 of 2 needed" in capsys.readouterr().err
    assert main(["session", "check", file, *approvals, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["approvals"]["reached"] is True
    assert main(["session", "sign", file, *words]) == 2, "an approval is not written over another file"


def test_sign_an_update(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(tmp_path / "old.yaml", approvals=owners(1, ALICE))
    identity = session_hash(read_session(Path(old)))
    new = write(tmp_path / "new.yaml", approvals=owners(1, BOB), predecessor=identity)
    alice, bob = (key_file(tmp_path / f"{name}.pem", key) for name, key in (("alice", ALICE), ("bob", BOB)))
    assert main(["session", "sign", new, "--key", alice]) == 2
    assert "--against" in capsys.readouterr().err
    assert main(["session", "sign", new, "--key", bob, "--against", old]) == 2
    assert "would not count" in capsys.readouterr().err
    assert main(["session", "sign", new, "--key", alice, "--against", old]) == 0
    shown = capsys.readouterr()
    assert "WEAKENS: who must approve updates changed" in shown.err, "whoever signs sees what it changes"
    approval = tmp_path / "a.json"
    approval.write_text(shown.out)
    assert main(["session", "check", new, "--against", old, "--approval", str(approval)]) == 0
    assert main(["session", "check", old, "--approval", str(approval)]) == 5
    approval.write_text(shown.out.replace('"session"', '"sessiom"'))
    assert main(["session", "check", new, "--against", old, "--approval", str(approval)]) == 2


def test_a_stranger_s_key_and_one_that_others_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "app.yaml", approvals=owners(1, ALICE))
    assert main(["session", "sign", file, "--key", key_file(tmp_path / "c.pem", CAROL)]) == 2
    key = Path(key_file(tmp_path / "a.pem", ALICE))
    key.chmod(0o644)
    assert main(["session", "sign", file, "--key", str(key)]) == 2
    assert "others can read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({}, 0, "may get: pin, token"),
        ({"claims": {"mrenclave": OTHER}}, 4, "set by    "),
        ({"attested_key": b""}, 5, "no single key"),
        ({"status": Tier.NONE}, 6, "undecided"),
    ],
)
def test_explain(
    changes: dict[str, Any], code: int, says: str, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, key = tmp_path / "result.jwt", tmp_path / "verifier.pem"
    result.write_bytes(token(attested(**changes)) + b"\n")
    key.write_text(public_pem(VERIFIER_KEY))
    words = ["session", "explain", file, "--result", str(result), "--key", str(key), "--nonce", NONCE.hex()]
    assert main([*words, "--at", NOW.isoformat()]) == code
    assert says in capsys.readouterr().err
    assert main([*words, "--at", NOW.isoformat(), "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["outcome"] == "release") is (code == 0)
    assert main([*words, "--at", "2030-01-01"]) == 5
    assert "expired" in capsys.readouterr().err


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["session", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_no_command_prints_a_value(tmp_path: Path, file: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = document()
    data["secrets"][1]["value"] = "another value"
    new = write(tmp_path / "new.yaml", secrets=data["secrets"], predecessor=session_hash(session()))
    for words in (
        ["check", file], ["check", file, "--json"], ["show", file], ["show", file, "--json"],
        ["show", file, "--canonical"], ["hash", file], ["diff", file, new], ["diff", file, new, "--json"],
        ["check", new, "--against", file],
    ):  # fmt: skip
        assert main(["session", *words]) == 0
        shown = capfd.readouterr()
        assert not any(value in shown.out + shown.err for value in (VALUE, "another value"))


def test_names_cannot_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = document()
    data["services"][0]["environment"]["MODE"] = "\x1b[2J"
    file = write(tmp_path / "app.yaml", services=data["services"])
    assert main(["session", "show", file]) == 0
    assert "\x1b" not in capsys.readouterr().err
