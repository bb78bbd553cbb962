"""`cloister serve` and `cloister secret` as a person uses them: processes, files, exit codes."""

import io
import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.services.serve_process import Running, command, serving

from cloister.cli import main

MEASUREMENT = "ab" * 48
NAME = "app/keys/db"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Running]:
    with serving(directory) as made:
        token = directory / "token"
        token.write_text(made.token + "\n")
        token.chmod(0o600)
        yield made


def secret(server: Running, *words: str, token: str = "token") -> int:  # noqa: S107 - a file's name
    """Run `cloister secret` against the server."""
    where = ["--url", server.url, "--ca", str(server.state / "tls.pem")]
    return main(["secret", *words, *where, "--admin-token-file", str(server.state.parent / token)])


def typed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def refused(directory: Path, *options: str) -> tuple[int, str]:
    """A start that fails: exit code and what it said."""
    done = subprocess.run(command(directory, options), capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_the_first_start_says_what_to_do_next(server: Running) -> None:
    said = server.said()
    assert re.search(r"SHA-256 ([0-9a-f]{2}:){31}[0-9a-f]{2}", said)
    where = f"{server.url} --ca {server.state}/tls.pem"
    upload = f"cloister session upload demo.yaml --url {where} \\\n        --admin-token-file admin-token"
    steps = ["cloister session create --name demo", upload, f"cloister run --broker {where} --session demo -- ./app"]
    assert sorted(steps, key=said.index) == steps
    assert "--trust-host-key host.pem" in said
    assert "no --policy, so no result is affirming" in said
    for file in server.state.iterdir():
        public = file.name in {"tls.pem", "audit-public.pem", "broker-key"}
        assert public or stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(server.state.stat().st_mode) == 0o700


def test_the_certificate_is_the_one_that_was_made(server: Running) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{server.url}/healthz")


def test_a_secret_from_its_beginning_to_its_end(
    server: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, b"the value\n")
    assert secret(server, "put", NAME, "--to", f"snp:{MEASUREMENT}", "--expires", "2099-01-01T00:00:00Z") == 0
    assert capsys.readouterr().out == f"{NAME}: version 1\n"
    typed(monkeypatch, b"another value\n")
    assert secret(server, "rotate", NAME) == 0
    assert secret(server, "get", NAME) == 0
    shown = capsys.readouterr().out
    assert f"{NAME}  version 2  until 2099-01-01T00:00:00+00:00  (hardware)\n    snp:{MEASUREMENT}\n" in shown
    assert "value" not in shown
    assert secret(server, "list", "--json") == 0
    assert [one["version"] for one in json.loads(capsys.readouterr().out)["secrets"]] == [1, 2]
    assert secret(server, "revoke", NAME) == 0
    typed(monkeypatch, b"x")
    assert secret(server, "rotate", NAME) == 4
    assert "revoked" in capsys.readouterr().err


def test_what_goes_wrong_has_its_code(
    server: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = server.state.parent
    (directory / "wrong").write_text("wrong\n")
    (directory / "wrong").chmod(0o600)
    (directory / "open").write_text("x")
    (directory / "open").chmod(0o644)
    assert secret(server, "list", token="wrong") == 5
    assert secret(server, "list", token="open") == 2
    assert secret(server, "list", token="none") == 2
    assert secret(server, "get", "app/keys/none") == 2
    assert secret(server, "get", "not-a-name") == 2
    assert secret(server, "list", NAME) == 2
    assert secret(server, "get") == 2
    assert secret(server, "get", NAME, "--to", "snp:ab") == 2
    typed(monkeypatch, b"x")
    assert secret(server, "put", NAME) == 2
    assert "--to TEE:MEASUREMENT" in capsys.readouterr().err
    typed(monkeypatch, b"x")
    assert secret(server, "put", NAME, "--to", "snp:short") == 2
    typed(monkeypatch, b"")
    assert secret(server, "put", NAME, "--to", f"snp:{MEASUREMENT}") == 2
    monkeypatch.delenv("CLOISTER_ADMIN_TOKEN", raising=False)
    assert main(["secret", "list", "--url", server.url]) == 2
    monkeypatch.setenv("CLOISTER_ADMIN_TOKEN", server.token)
    assert main(["secret", "list", "--url", server.url]) == 6
    assert "does not answer" in capsys.readouterr().err
    assert main(["secret", "list", "--url", "https://127.0.0.1:9"]) == 6
    assert main(["secret", "list", "--url", "ftp://127.0.0.1"]) == 2


def test_a_second_server_on_the_same_state_is_refused(server: Running) -> None:
    code, said = refused(server.state.parent)
    assert code == 2
    assert "is writing this log" in said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--listen", "127.0.0.1"], "give HOST:PORT"), (["--listen", "203.0.113.1:1"], "cannot listen"),
        (["--tls-cert", "none.pem"], "go together"),
        (["--tls-cert", "none.pem", "--tls-key", "none.pem"], "no certificate"),
        (["--broker"], "believes no verifier"), (["--policy", "none.toml"], "none.toml"),
        (["--database", "mysql://x/y"], "--database"), (["--at", "2026-01-01"], "--at is for"),
        (["--unsafe-plain-http", "--tls-cert", "a", "--tls-key", "b"], "exclude each other"),
        (["--verifier-key", "none.pem"], "none.pem"),
    ],
)  # fmt: skip
def test_a_start_that_cannot_work_says_why(tmp_path: Path, options: list[str], reason: str) -> None:
    code, said = refused(tmp_path, *options)
    assert code == 2, said
    assert reason in said
    assert "Traceback" not in said


def test_state_that_others_can_look_into_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    code, said = refused(tmp_path)
    assert code == 2
    assert "chmod 700" in said


def test_a_second_start_finds_everything_and_shows_no_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with serving(tmp_path, "--unsafe-plain-http", "--admin-token-file", str(token)) as first:
        assert not first.token
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        before = httpx.get(f"{first.url}/.well-known/veraison/verification").json()["ear-verification-key"]
        assert os.environ.get("CLOISTER_ADMIN_TOKEN") is None
    assert first.process.returncode == 0
    with serving(tmp_path, "--unsafe-plain-http") as second:
        assert not second.token
        assert "token" not in second.said()
        after = httpx.get(f"{second.url}/.well-known/veraison/verification").json()["ear-verification-key"]
        headers = {"authorization": f"Bearer {token.read_text().strip()}"}
        assert httpx.get(f"{second.url}/admin/v1/secrets", headers=headers).status_code == 200
    assert before == after
    state = tmp_path / "state"
    assert main(["log", "verify", str(state / "audit.log"), "--key", str(state / "audit-public.pem")]) == 16


def test_roles_are_apart(tmp_path: Path) -> None:
    with serving(tmp_path, "--verifier", "--unsafe-plain-http") as made, httpx.Client(base_url=made.url) as client:
        paths = client.get("/openapi.json").json()["paths"]
        assert "/kbs/v0/attest" in paths
        assert not [path for path in paths if path.startswith(("/admin", "/kbs/v0/resource"))]
        assert client.get("/kbs/v0/resource/a/b/c").status_code == 404
        assert client.get("/admin/v1/secrets").status_code == 404
