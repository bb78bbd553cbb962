"""`cloister manifest learn`: what a run used stands in the configuration, each line explained, and nothing secret."""

import itertools
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cloister.app.learning import variables_in
from cloister.frameworks.formats import FORMATS, read_configuration
from cloister.frameworks.model import Backing, Variable
from cloister.observe.trace.tracefs import why_unavailable

PYTHON = "/usr/bin/python3"
SERVER = """\
import os, pathlib, socket, sys, threading, time
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen()
def speak():
    with socket.create_connection(listening.getsockname()) as talking:
        talking.sendall(b"hello")
        talking.recv(1)
speaker = threading.Thread(target=speak)
speaker.start()
connection, _ = listening.accept()
print(connection.recv(5).decode(), os.environ.get("LEARN_MODE"), os.environ.get("LEARN_TOKEN"))
connection.sendall(b"x")
speaker.join()
time.sleep(float(sys.argv[1]))  # whoever looks at its sockets from outside needs time
pathlib.Path("state").mkdir(exist_ok=True)
pathlib.Path("state/out").write_text(pathlib.Path("settings.ini").read_text())
"""
pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "settings.ini").write_text("[x]\n")
    return tmp_path


def learn(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LEARN_MODE": "prod", "LEARN_TOKEN": "hush-hush", "LEARN_NOT": "x"}
    command = [sys.executable, "-m", "cloister", "manifest", "learn", *words]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"{PYTHON} is not here")
def test_what_a_server_used_is_listed_and_explained(place: Path) -> None:
    done = learn(place, "-o", "m", "--", PYTHON, "server.py", "1.5")
    assert (done.returncode, done.stdout) == (0, "hello prod hush-hush\n"), done.stderr
    text = (place / "m").read_text()
    found = read_configuration(text, "m", "gramine")
    assert (found.program, found.arguments, found.working_directory) == (PYTHON, ("server.py", "1.5"), str(place))
    assert {PYTHON, f"{place}/server.py", f"{place}/settings.ini"} <= found.measured_files.keys()
    assert any(path.endswith("/libc.so.6") for path in found.measured_files)
    assert found.mounts["/"].backing is Backing.MAPPED
    assert any(path.startswith(f"{place}/state") for path in found.mounts), "what was written has its place"
    assert f"{place}/state/out" not in found.measured_files
    assert found.environment["LEARN_MODE"] == Variable("prod")
    assert "LEARN_NOT" not in found.environment, "no file of the program names it"
    assert "LEARN_TOKEN" not in found.environment
    assert "LEARN_TOKEN is left out" in text
    assert "hush-hush" not in text + done.stderr
    assert (found.debug, found.attestation, found.host_files) == (False, "dcap", {})
    commented(text)
    if not why_unavailable():
        assert "# listens on 127.0.0.1:" in text
        assert (found.threads or 0) >= 5


@pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"{PYTHON} is not here")
def test_a_server_that_ended_too_soon_is_said_or_seen(place: Path) -> None:
    """Whether its sockets can be looked at in time is chance; silence would say that there were none."""
    learn(place, "-o", "m", "--", PYTHON, "server.py", "0")
    text = (place / "m").read_text()
    assert "listens on 127.0.0.1:" in text or "ports were not observed:" in text or "spoke with" in text


def commented(text: str) -> None:
    """Each setting has a comment before it, or before the items of its kind."""
    lines = [line for line in text.splitlines() if line and line != "]"]
    for before, line in itertools.pairwise(lines):
        if line.lstrip().startswith(("#", "fs.root.uri")) or line.endswith("= ["):
            continue
        assert before.lstrip().startswith("#") or (line.startswith("  ") and before.startswith("  ")), line


@pytest.mark.parametrize("form", ["scone", "ego", "occlum", "cloister-session", "scone-env", "sgx-sdk"])
def test_every_format_can_be_written(place: Path, form: str) -> None:
    done = learn(place, "--no-trace", "--to", form, "--", "/bin/cat", "settings.ini")
    assert done.returncode == 0, done.stderr
    found = read_configuration(done.stdout, "made", form)
    assert found.debug in {False, None}
    assert "[x]" in done.stderr, "the program's output goes to standard error, where the manifest does not"
    if not FORMATS[form].comments:
        assert "in use" in done.stderr, "the comments go there too"


def test_the_manifest_of_the_software_enclave_runs(place: Path) -> None:
    done = learn(place, "--no-trace", "--to", "cloister-manifest", "-o", "m.toml", "--", "/bin/cat", "settings.ini")
    assert done.returncode == 0, done.stderr
    tomllib.loads((place / "m.toml").read_text())
    run = [sys.executable, "-m", "cloister", "run", "--manifest", "m.toml", "--", "/bin/cat", "settings.ini"]
    again = subprocess.run(run, cwd=place, capture_output=True, text=True, timeout=60, check=False)
    assert (again.returncode, again.stdout) == (0, "[x]\n"), again.stderr


def test_a_shield_policy_lets_the_program_do_the_same_and_no_more(place: Path) -> None:
    done = learn(place, "--no-trace", "--to", "cloister-shield", "-o", "s.toml", "--", "/bin/cat", "settings.ini")
    assert done.returncode == 0, done.stderr
    (place.parent / "elsewhere").write_text("not for it\n")
    run = [sys.executable, "-m", "cloister", "run", "--quiet", "--shield", "s.toml", "--", "/bin/cat", "settings.ini"]
    again = subprocess.run(run, cwd=place, capture_output=True, text=True, timeout=60, check=False)
    assert (again.returncode, again.stdout) == (0, "[x]\n"), again.stderr
    run[-1] = str(place.parent / "elsewhere")
    other = subprocess.run(run, cwd=place, capture_output=True, text=True, timeout=60, check=False)
    assert (other.returncode, other.stdout) == (1, ""), other.stderr
    assert "Permission denied" in other.stderr


def test_a_program_that_fails_is_said_to_have(place: Path) -> None:
    done = learn(place, "--no-trace", "-o", "m", "--", "/bin/cat", "no-such-file")
    assert done.returncode == 0
    assert "ended with status 1; listed is what it used until then" in done.stderr


@pytest.mark.parametrize("tracing", [[], ["--no-trace"]], ids=["traced", "untraced"])
def test_a_server_that_does_not_end_is_ended(place: Path, tracing: list[str]) -> None:
    done = learn(place, *tracing, "--timeout", "2", "-o", "m", "--", "/bin/sleep", "1000")
    assert done.returncode == 0, done.stderr
    assert "listed is what it used until then" in done.stderr
    assert read_configuration((place / "m").read_text(), "m", "gramine").arguments == ("1000",)


@pytest.mark.parametrize("tracing", [[], ["--no-trace"]], ids=["traced", "untraced"])
def test_an_interrupt_ends_the_program_and_loses_nothing(place: Path, tracing: list[str]) -> None:
    """As from a keyboard: to the whole group at once."""
    command = [sys.executable, "-m", "cloister", "manifest", "learn", *tracing, "-o", "m", "--"]
    command += ["/bin/sh", "-c", "echo started; exec sleep 1000"]
    with subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "started\n"
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said
    assert "until then" in said
    assert read_configuration((place / "m").read_text(), "m", "gramine").program == "/bin/sh"


def test_a_program_that_is_not_there_is_not_run(place: Path) -> None:
    done = learn(place, "--", "/no/such/program")
    assert (done.returncode, done.stdout) == (127, "")


def test_variables_are_found_as_words_only(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(b"\0HOME\0XHOMEX\0PATHS\0")
    names = ["HOME", "PATH", "XHOME"]
    assert variables_in([str(tmp_path / "code"), str(tmp_path / "gone")], names) == {"HOME": str(tmp_path / "code")}
