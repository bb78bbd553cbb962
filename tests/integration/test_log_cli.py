"""`cloister log` on the command line: grades as exit codes, what is shown, checkpoints that can be used."""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from tests.forge.audit import DENIED, KEY, MALLORY, START, every_event, make_log, release, releases

from cloister.broker.audit import Grade, parse_checkpoint
from cloister.broker.audit.segments import closed_segments, segment_path
from cloister.cli import command_parser, main
from cloister.result.keys import jwk_set
from cloister.result.signing import SigningKey

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a log, a checkpoint of its end, one of its middle, and both brokers' public keys."""
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "audit.log"
    (tmp_path / "early.json").write_bytes(make_log(log, releases(3), segment_bytes=3000).serialize())
    (tmp_path / "late.json").write_bytes(make_log(log, every_event(), segment_bytes=3000).serialize())
    write_key(tmp_path / "broker.pem", KEY)
    (tmp_path / "other.jwks").write_text(jwk_set(MALLORY))
    return tmp_path


def write_key(path: Path, key: SigningKey) -> None:
    public = serialization.load_der_public_key(key.spki)
    path.write_bytes(public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def verify(*words: str) -> int:
    return main(["log", "verify", "audit.log", "--key", "broker.pem", "--checkpoint", "late.json", *words])


def lines_of(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines(keepends=True)


def cut(folder: Path) -> None:
    (folder / "audit.log").unlink()


def add_half_a_line(folder: Path) -> None:
    with (folder / "audit.log").open("ab") as file:
        file.write(b'{"event":')


def begin_anew(folder: Path) -> None:
    for one in folder.glob("audit.log*"):
        one.unlink()
    make_log(folder / "audit.log", releases(30))


def become_another_broker_s(folder: Path) -> None:
    for one in folder.glob("audit.log*"):
        one.unlink()
    make_log(folder / "audit.log", releases(30), key=MALLORY)


def forge(folder: Path) -> None:
    log = closed_segments(folder / "audit.log")[0][1]
    log.write_bytes(log.read_bytes().replace(b"db-password", b"db-passwurd", 1))


def spoil(folder: Path) -> None:
    log = closed_segments(folder / "audit.log")[0][1]
    log.write_bytes(log.read_bytes().replace(b"{", b"[", 1))


CASES: dict[Grade, Callable[[Path], object]] = {
    Grade.INTACT: lambda _: None,
    Grade.TORN: add_half_a_line,
    Grade.RECENT_MISSING: cut,
    Grade.OLDER_MISSING: lambda folder: segment_path(folder / "audit.log", 1).unlink(),
    Grade.GAP: lambda folder: closed_segments(folder / "audit.log")[1][1].unlink(),
    Grade.ROLLED_BACK: begin_anew,
    Grade.OTHER_BROKER: become_another_broker_s,
    Grade.FORGED: forge,
    Grade.MALFORMED: spoil,
}


@pytest.mark.parametrize("grade", CASES, ids=lambda grade: grade.name)
def test_each_grade_has_its_exit_code(folder: Path, capsys: pytest.CaptureFixture[str], grade: Grade) -> None:
    CASES[grade](folder)
    assert verify() == grade.code
    assert capsys.readouterr().err.startswith(f"{grade.title}: ")
    assert verify("--json") == grade.code
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == grade.code
    assert told["grade"] == grade.name.lower().replace("_", "-")


@pytest.mark.usefixtures("folder")
def test_without_a_checkpoint_or_key_rollback_cannot_be_ruled_out(capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: str) -> tuple[int, str]:
        code = main(["log", "verify", "audit.log", *words])
        return code, re.sub(r"\s+", " ", capsys.readouterr().err)

    code, text = told("--key", "broker.pem")
    assert code == Grade.UNDECIDED.code == 16
    assert "not checked no checkpoint was given" in text
    assert "no key was given" not in text
    code, text = told()
    assert code == 16
    assert "not checked no key was given" in text
    code, text = told("--checkpoint", "late.json")
    assert code == 0
    assert "not checked no key was given: the checkpoint's was used" in text


def test_every_grade_is_tried_and_explained() -> None:
    assert {*CASES, Grade.UNDECIDED} == set(Grade)
    codes = [grade.code for grade in Grade]
    assert len(set(codes)) == len(codes)
    epilog = command_parser("log").epilog or ""
    pages = [(ROOT / "docs" / name).read_text() for name in ("exit-codes.md", "how-to/verify-the-audit-log.md")]
    for code in codes:
        assert re.search(rf"^  {code} ", epilog, re.MULTILINE)
        assert all(re.search(rf"^\| {code} \|.*", page, re.MULTILINE) for page in pages)
    assert all(re.search(rf"^\| {code} \|.*`log verify`", pages[0], re.MULTILINE) for code in codes)


def test_a_key_or_checkpoint_that_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = ["log", "verify", "audit.log", "--key"]
    assert main([*log, "other.jwks", "--checkpoint", "late.json"]) == 5
    assert "signature" in capsys.readouterr().err
    assert main([*log, "other.jwks"]) == Grade.OTHER_BROKER.code
    (folder / "ec.jwks").write_text(jwk_set(SigningKey.generate()))
    assert main([*log, "ec.jwks"]) == 2
    (folder / "two.jwks").write_text(jwk_set(KEY, MALLORY))
    assert main([*log, "two.jwks"]) == 2
    assert main([*log, "broker.pem", "--checkpoint", "broker.pem"]) == 2
    assert main([*log, "broker.pem", "--checkpoint", "no-such-file"]) == 2
    assert main(["log", "verify", "no-such-log"]) == 2


def test_a_checkpoint_is_printed_and_serves(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["log", "checkpoint", "audit.log", "--key", "broker.pem", "--checkpoint", "early.json"]) == 0
    printed = capsys.readouterr().out
    assert parse_checkpoint(printed.encode()) == parse_checkpoint((folder / "late.json").read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(printed.encode())))
    assert main(["log", "verify", "audit.log", "--key", "broker.pem", "--checkpoint", "-"]) == 0


@pytest.mark.parametrize("grade", [one for one in CASES if one not in {Grade.INTACT, Grade.TORN}], ids=str)
def test_no_checkpoint_is_made_of_a_bad_log(folder: Path, capsys: pytest.CaptureFixture[str], grade: Grade) -> None:
    CASES[grade](folder)
    words = ["log", "checkpoint", "audit.log", "--key", "broker.pem", "--checkpoint", "late.json"]
    assert main(words) == grade.code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no checkpoint" in captured.err


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["log", "show", "audit.log", "--json", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_is_shown_can_be_chosen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_log(folder / "audit.log", [release(77, "tls-key"), DENIED])
    everything = shown(capsys)
    assert [one["sequence"] for one in everything] == list(range(1, len(everything) + 1))
    assert len(shown(capsys, "--secret", "tls-key")) == 1
    assert len(shown(capsys, "--secret", "löschen ✓")) == 2
    assert shown(capsys, "--secret", "tls") == shown(capsys, "--session", "pay") == []
    assert len(shown(capsys, "--session", "payroll")) == len(everything) - 4  # the first, changed keys, and two without
    since = f"{START.isoformat()[:17]}02"
    assert 0 < len(shown(capsys, "--since", since)) < len(everything)
    assert shown(capsys, "--since", "2030-01-01") == []
    assert main(["log", "show", "audit.log", "--since", "soon"]) == 2
    assert "--since takes a time" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_entries_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "show", "audit.log"]) == 0
    text = capsys.readouterr().err
    assert text.startswith("NOT VERIFIED")
    for words in (
        "released        db-password (version 2)", "session payroll (version 3, 0001020304050607...), request",
        "cpu0: snp, affirming, evidence e0e0e0e0e0e0e0e0..., measurement sha384:4d4d", "gpu0: TEE not known, warning",
        "denied          db-password, löschen ✓: policy-deny", "no session: no such session",
        "undecided       db-password: collateral-missing", "session-changed payroll: updated",
        "secret-changed  db-password (version 3): updated", "log-started",
    ):  # fmt: skip
        assert words in text


def test_what_a_log_says_cannot_move_the_cursor(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """U+202E turns text around, and is no control character of those that events refuse."""
    make_log(folder / "audit.log", [release(1, "a\u202eb")])
    assert main(["log", "show", "audit.log"]) == 0
    text = capsys.readouterr().err
    assert "a\\u202eb" in text
    assert "\u202e" not in text


def test_showing_stops_at_what_is_no_entry(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "audit.log").open("ab") as file:
        file.write(b"{}\n")
    assert main(["log", "show", "audit.log"]) == 2
    assert "an entry is an object of" in capsys.readouterr().err
