"""`--kek` and `cloister secret rekey` as a person uses them: processes, words, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.services.serve_process import command, serving
from tests.services.transit import TOKEN, key_service

from cloister.cli import main

MEASUREMENT = "ab" * 48


def rekey(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "cloister", "secret", "rekey", "--state", str(state), *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def store(file: Path, action: str, *words: str) -> None:
    line = [sys.executable, "-m", "cloister", "secret", action, "app/keys/db", *words]
    with file.open() as value:
        subprocess.run(line, stdin=value, check=True, capture_output=True)


def start_refused(directory: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(command(directory, options), capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_from_a_file_to_a_key_service_while_it_runs(tmp_path: Path) -> None:
    with key_service(tmp_path) as service:
        with serving(tmp_path, "--kek", "file", "--kek", service.kek) as running:
            (tmp_path / "token").touch(mode=0o600)
            (tmp_path / "token").write_text(running.token)
            where = ["--url", running.url, "--ca", str(running.state / "tls.pem")]
            where += ["--admin-token-file", str(tmp_path / "token")]
            file = tmp_path / "value"
            file.write_bytes(b"value")
            store(file, "put", "--to", f"snp:{MEASUREMENT}", *where)
            done = rekey(running.state, "--new-kek", service.kek)
            assert (done.returncode, done.stderr) == (0, "")
            assert f"4 keys are under kms {service.url}, none under file " in done.stdout
            store(file, "rotate", *where)  # the broker goes on, under the new key
            words = b"".join(Path(f"/proc/{running.process.pid}/{one}").read_bytes() for one in ("cmdline", "environ"))
            assert TOKEN.encode() not in words
            assert TOKEN not in running.said()
        code, said = start_refused(tmp_path, "--kek", "file")
        assert code == 6
        assert f"the database's key is under kms {service.url}; at hand is file " in said
        service.fault = "403"
        code, said = start_refused(tmp_path, "--kek", service.kek)
        assert code == 6
        assert "refuses the token" in said
        assert TOKEN not in said
        service.fault = ""
        (running.state / "kek").unlink()
        with serving(tmp_path, "--kek", service.kek) as again:
            assert not again.token
        done = rekey(running.state, "--kek", service.kek, "--new-kek", f"file={tmp_path / 'kek2'}", "--json")
        assert json.loads(done.stdout)["keys"] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rekey", "--new-kek", "file"], "takes --state DIR and --new-kek"),
        (["rekey", "--state", "x"], "takes --state DIR and --new-kek"),
        (["rekey", "name", "--state", "x", "--new-kek", "file"], "and no NAME"),
        (["rekey", "--state", "x", "--new-kek", "file", "--to", "snp:00"], "are for `cloister secret put`"),
        (["rekey", "--state", "/nonexistent", "--new-kek", "file"], "no such directory"),
        (["list", "--new-kek", "file"], "are for `cloister secret rekey`"),
    ],
)
def test_what_cannot_be_meant(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secret", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_kek_that_cannot_be(tmp_path: Path) -> None:
    code, said = start_refused(tmp_path, "--kek", "vault")
    assert code == 2
    assert "give file[=PATH], tpm[=TCTI] or kms=URL" in said
