"""`cloister result`: what it prints where, and the exit code of every verdict."""

import argparse
import io
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.forge.results import LATER, NONCE, NOW, appraisal, result

from cloister.appraise.vector import Tier, TrustVector
from cloister.cli import result as command
from cloister.errors import EndorsementUnavailable, NotFresh, ParseError, SignatureInvalid, UsageError
from cloister.result import _base64url
from cloister.result.attestation import Submodule, Verifier
from cloister.result.jwk import public_jwk
from cloister.result.keys import jwk_set
from cloister.result.signing import SigningKey
from cloister.result.token import issue_cwt, issue_jwt

KEY = SigningKey.generate()
AT = ["--at", NOW.isoformat()]
RIGHT_NONCE = ["--nonce", NONCE.hex()]


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    command.build_parser(parser)
    return command.run(parser.parse_args(words))


@pytest.fixture
def key(tmp_path: Path) -> list[str]:
    path = tmp_path / "verifier.jwk"
    path.write_text(json.dumps(public_jwk(KEY.spki)))
    return ["--key", str(path)]


def token_of(status: Tier, tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "result.jwt"
    submodules = {"cpu0": Submodule.of(appraisal(status=status))}
    path.write_bytes(issue_jwt(result(submodules=submodules, status=status, **changes), KEY) + b"\n")
    return str(path)


@pytest.mark.parametrize(
    ("status", "code"), [(Tier.AFFIRMING, 0), (Tier.NONE, 3), (Tier.WARNING, 3), (Tier.CONTRAINDICATED, 4)], ids=str
)
def test_the_verdict_is_the_exit_code(
    status: Tier, code: int, key: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", token_of(status, tmp_path), *key, *RIGHT_NONCE, *AT) == code
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.startswith("verified: signed by the key given")
    assert f"status     {status}" in printed.err
    assert "not checked: no --max-age was given" in printed.err
    assert "not checked: no --nonce" not in printed.err


def test_show_says_first_that_it_does_not_believe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", token_of(Tier.AFFIRMING, tmp_path)) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("NOT VERIFIED: anybody can have written this")
    table = "\n".join(lines)
    for expected in (
        "cpu0: affirming", "hardware             2  affirming        genuine hardware and firmware",
        "executables          3  affirming        only approved code, loaded at boot",
        "TCB                UpToDate, INTEL-SA-00001",
        "trust anchor       Intel SGX Root CA (the hardware vendor vouches)", "not checked        the nonce is",
        "sgx.mrenclave = abab", f"nonce      {NONCE.hex()}", "expires 2026-03-15 12:05:00 UTC",
    ):  # fmt: skip
        assert expected in table, table


def test_testing_evidence_is_unmistakable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "result.cwt"
    emulated = appraisal(anchor_kind="testing", anchor="testing root", vector=TrustVector())
    path.write_bytes(issue_cwt(result(appraised=emulated), KEY))
    assert run("show", str(path)) == 0
    printed = capsys.readouterr().err
    assert "trust anchor       testing root (an emulator or a test: proves nothing)" in printed
    assert "no trust vector" in printed


@pytest.mark.parametrize("verified", [True, False], ids=["verify", "show"])
def test_json(verified: bool, key: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: FBT001
    path = token_of(Tier.WARNING, tmp_path)
    words = ["verify", path, *key, *AT] if verified else ["show", path]
    assert run(*words, "--json") == (3 if verified else 0)
    document = json.loads(capsys.readouterr().out)
    assert (document["verified"], document["status"], document["nonce"]) == (verified, "warning", NONCE.hex())
    assert document["unchecked"][0].startswith("no --nonce was given" if verified else "NOT VERIFIED")
    one = document["submodules"]["cpu0"]
    assert one["vector"]["hardware"] == {"value": 2, "tier": "affirming", "meaning": "genuine hardware and firmware"}
    assert one["basis"]["tcb"]["status"] == "UpToDate"
    assert one["evidence"]["sgx"]["debug"] is False
    assert document["token"] == {"encoding": "JWT", "algorithm": "ES256", "kid": public_jwk(KEY.spki)["kid"]}


def test_a_token_on_the_command_line_and_on_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token = issue_jwt(result(), KEY)
    assert run("show", token.decode()) == 0
    first = capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(token + b"\r\n")))
    assert run("show", "-") == 0
    assert capsys.readouterr().err == first


def test_several_keys(key: list[str], tmp_path: Path) -> None:
    other = tmp_path / "others.json"
    other.write_text(jwk_set(SigningKey.generate(), SigningKey.generate()))
    path = token_of(Tier.AFFIRMING, tmp_path)
    assert run("verify", path, "--key", str(other), *key, *AT) == 0
    with pytest.raises(SignatureInvalid):
        run("verify", path, "--key", str(other), *AT)


@pytest.mark.parametrize(
    ("words", "error", "code"),
    [
        (["--nonce", "0a" * 32, *AT], NotFresh, 5),
        ([*RIGHT_NONCE, "--at", LATER.isoformat()], EndorsementUnavailable, 6),
        (
            [*RIGHT_NONCE, "--at", (NOW + timedelta(minutes=2)).isoformat(), "--max-age", "60"],
            EndorsementUnavailable,
            6,
        ),
        (["--nonce", "0", *AT], UsageError, 2),
        (["--nonce", "", *AT], UsageError, 2),
        (["--at", "yesterday"], UsageError, 2),
        (["--max-age", "-1", *AT], UsageError, 2),
    ],
    ids=["another nonce", "expired", "too old", "half a byte", "empty nonce", "no time", "negative age"],
)
def test_refusals(words: list[str], error: type[Exception], code: int, key: list[str], tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        run("verify", token_of(Tier.AFFIRMING, tmp_path), *key, *words)
    assert getattr(caught.value, "exit_code", 0) == code


def test_without_a_time_the_clock_decides(key: list[str], tmp_path: Path) -> None:
    issued = datetime(2001, 1, 1, tzinfo=UTC)
    old = token_of(Tier.AFFIRMING, tmp_path, issued_at=issued, expires_at=issued + timedelta(hours=1))
    with pytest.raises(EndorsementUnavailable, match="has expired"):
        run("verify", old, *key)
    assert run("verify", token_of(Tier.AFFIRMING, tmp_path, issued_at=issued, expires_at=None), *key) == 0


def test_a_time_without_a_zone_is_utc(key: list[str], tmp_path: Path) -> None:
    assert run("verify", token_of(Tier.AFFIRMING, tmp_path), *key, "--at", "2026-03-15T12:00:00") == 0


def test_files_that_are_not_there(key: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        run("show", str(tmp_path / "missing"))
    with pytest.raises(UsageError, match="No such file"):
        run("verify", token_of(Tier.AFFIRMING, tmp_path), "--key", str(tmp_path / "missing"))
    with pytest.raises(ParseError):
        run("verify", key[1], *key)


def test_nothing_in_a_token_can_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A token that is only shown may be anybody's: escape sequences could hide the first line."""
    bad = "\x1b[2J\x1b[H\rverified\u202e"
    submodule = Submodule(
        status=Tier.NONE, policies=(bad,), evidence={bad: [bad]}, added={bad: bad},
        basis=Submodule.of(appraisal(anchor=bad, anchor_kind=bad, unchecked=(bad,))).basis,
    )  # fmt: skip
    made = result(submodules={bad: submodule}, status=Tier.NONE, verifier=Verifier(developer=bad, build=bad))
    path = tmp_path / "bad.cwt"
    path.write_bytes(issue_cwt(made, KEY))
    run("show", str(path))
    run("show", str(path), "--json")
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert all(letter.isprintable() or letter == "\n" for letter in text)
        assert "verified" in text


def test_nor_can_an_error_about_a_token() -> None:
    header = _base64url.encode(rb'{"\u001b[2J":1,"\u001b[2J":1}')
    with pytest.raises(ParseError, match="stands twice") as caught:
        run("show", f"{header}.e30.AA")
    assert str(caught.value).isprintable()


def test_long_results_are_cut_for_people_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = Submodule(status=Tier.NONE, evidence={f"c{number}": "x" * 200 for number in range(300)})
    path = tmp_path / "long.jwt"
    path.write_bytes(issue_jwt(result(submodules={"cpu0": many}, status=Tier.NONE), KEY))
    run("show", str(path))
    run("show", str(path), "--json")
    printed = capsys.readouterr()
    assert "and 100 more claims (--json shows all)" in printed.err
    assert "... (200 characters)" in printed.err
    assert len(json.loads(printed.out)["submodules"]["cpu0"]["evidence"]) == 300
