"""Programs that get secrets on a hostile host: it gets none of them, and no code of its own in."""

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.forge.carrier import PlayedCarrier, block, seal, send_frame
from tests.integration.runtime_programs.strict import measured
from tests.security.test_runtime_handoff import compiled
from tests.services import attested_launch
from tests.services.carrier import Sealing, yes_broker

from cloister.app.measuring import learn_program
from cloister.app.measuring_loader import loaded_by
from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path
from cloister.measure.software import Manifest

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

PYTHON = os.path.realpath("/usr/bin/python3")
SHELL = "/bin/sh"
PATIENCE = 60
Attack = Callable[["Application"], None]
SHOW = """\
#include <stdio.h>
#include <stdlib.h>
int main(void) { puts(getenv("TOKEN")); return 7; }
"""


@pytest.fixture
def token() -> str:
    return secrets.token_hex(24)


def provisioned(carrier: Path, program: str, *, before: tuple[str, ...] = (), cwd: Path | None = None) -> list[str]:
    """What such a program prints: standard output and error by lines."""
    words = [*before, str(runtime_path()), f"{_abi.OPTION_ATTESTER}{carrier}", "--", program, Path(program).name]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=PATIENCE, cwd=cwd, stdin=subprocess.DEVNULL
    )
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that prints its secret."""
    folder = tmp_path_factory.mktemp("show")
    (folder / "show.c").write_text(SHOW)
    subprocess.run(["cc", "-static", "-o", folder / "show", folder / "show.c"], check=True, timeout=PATIENCE)
    return folder / "show"


def launch(broker: str, directory: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """As `cloister run --broker` starts a program; `words` come before."""
    plan = {
        "manifest": base64.b64encode(Manifest().serialize()).decode(), "libraries": Manifest().digest.hex(),
        "broker": broker, "session": "team/shop", "host_key": str(directory / "host-key.pem"),
    }  # fmt: skip
    task = {"key": "11" * 32, "steps": [], "attester": True}
    command = [*words, sys.executable, attested_launch.__file__, json.dumps(plan), json.dumps(task)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


@pytest.mark.needs_root
def test_a_host_that_answers_system_calls_itself(tmp_path: Path, show: Path, token: str) -> None:
    """A seccomp listener gives the runtime ordinary memory for secret memory. It cannot know; the carrier does."""
    hostile = str(compiled(tmp_path, "hostile_filter"))
    with PlayedCarrier(tmp_path / "c", block([b"show"], {b"TOKEN": token.encode()})):
        found = provisioned(tmp_path / "c", str(show), before=(hostile, token))
    assert found[0] == token
    assert int(found[1]) > 0, "the control: a carrier that does not look gives the secret away"
    with yes_broker(Sealing) as broker:
        done = launch(broker, tmp_path, hostile, token)
    assert done.returncode == _abi.EXIT_NOT_PROVISIONED
    assert "greets under a seccomp filter" in done.stderr


def test_an_enclave_in_an_enclave_is_not_vouched_for(tmp_path: Path) -> None:
    """The outer one is not held to anything, and has the same guard: it could ask for secrets in the other's name."""
    with yes_broker(Sealing) as broker:
        done = launch(broker, tmp_path, str(runtime_path()), "--", sys.executable)
    assert done.returncode == _abi.EXIT_NOT_PROVISIONED, done
    assert "greets under a seccomp filter" in done.stderr


def test_a_directory_that_is_renamed_between_measuring_and_reading(tmp_path: Path, token: str) -> None:
    """A script is read by its interpreter, and only after the secrets have come: by the name that was measured."""
    work, other = tmp_path / "work", tmp_path / "other"

    def script(word: str) -> str:
        return f"#!{SHELL}\necho {word} $TOKEN\n"

    def put(directory: Path, word: str) -> None:
        directory.mkdir(exist_ok=True)
        (directory / "run").write_text(script(word))
        (directory / "run").chmod(0o755)

    def turn(self: PlayedCarrier, connection: object) -> None:
        self.hear(connection)  # type: ignore[arg-type]  # a socket
        send_frame(connection, _abi.FRAME_MANIFEST, self.allowed)  # type: ignore[arg-type]
        _, statement = self.hear(connection)  # type: ignore[arg-type]
        work.rename(other)
        put(other, "evil")
        put(work, "good")
        send_frame(connection, _abi.FRAME_NONCE, self.nonce.encode())  # type: ignore[arg-type]
        self.hear(connection)  # type: ignore[arg-type]
        send_frame(connection, _abi.FRAME_SEALED, seal(statement[-32:], self.plaintext))  # type: ignore[arg-type]

    manifest = Manifest(measured([SHELL, *loaded_by(SHELL)])).serialize()
    plaintext = block([b"run"], {b"TOKEN": token.encode()})
    put(work, "good")
    with PlayedCarrier(tmp_path / "c", plaintext, allowed=manifest, answers=turn):
        assert provisioned(tmp_path / "c", "./run", cwd=work) == [f"good {token}"]


@pytest.mark.parametrize(
    "options",
    [
        [f"{_abi.OPTION_ATTESTER}/nonexistent", f"{_abi.OPTION_LEARN}/dev/null"],
        [f"{_abi.OPTION_MANIFEST_FD}0", f"{_abi.OPTION_LEARN}/dev/null"],
        [f"{_abi.OPTION_HANDOFF_FD}0", f"{_abi.OPTION_START_FD}0"],
        [f"{_abi.OPTION_HANDOFF_FD}0", f"{_abi.OPTION_MANIFEST_FD}0"],
        [f"{_abi.OPTION_HANDOFF_FD}0", f"{_abi.OPTION_ATTESTER}/nonexistent"],
        [f"{_abi.OPTION_ATTESTER}/nonexistent", _abi.OPTION_UNSAFE_NO_GUARD],
    ],
)
def test_options_that_would_loosen_a_strict_enclave(options: list[str]) -> None:
    """Whoever starts the runtime chooses its options, and root can change those of an image that is being executed."""
    for words in (options, options[::-1]):
        command = [str(runtime_path()), *words, "--", "/bin/true", "true"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == _abi.EXIT_USAGE
        assert "excludes" in done.stderr


class Application:
    """A Python program of one file, with what it loads measured."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.elsewhere = directory / "app", directory / "elsewhere"
        self.directory.mkdir()
        self.elsewhere.mkdir()
        self.main = self.directory / "main.py"
        self.main.write_text("import json, os\nprint('good', os.environ.get('TOKEN'))\n")

    def learnt(self, *closed: str) -> bytes:
        found = learn_program(PYTHON, [str(self.main)], read_files=True, files=[], closed=list(closed))
        return found.measured.manifest.serialize()

    def put_code_beside(self) -> None:
        (self.directory / "json.py").write_text("import os\nprint('evil', os.environ['TOKEN'])\n")

    def put_a_link(self) -> None:
        """Python looks for modules where the link leads."""
        self.main.rename(self.elsewhere / "main.py")
        self.main.symlink_to(self.elsewhere / "main.py")
        (self.elsewhere / "json.py").write_text("import os\nprint('evil', os.environ['TOKEN'])\n")


@pytest.mark.skipif(not Path(PYTHON).exists(), reason="no python3 of the system")
@pytest.mark.parametrize("attack", [Application.put_code_beside, Application.put_a_link])
def test_code_that_an_interpreter_finds(tmp_path: Path, token: str, attack: "Attack") -> None:
    """It is data to the enclave. All that it may read must be closed; a closed directory is not enough."""
    plaintext = block([PYTHON.encode(), str(tmp_path / "app" / "main.py").encode()], {b"TOKEN": token.encode()})
    outcomes = {}
    for name, closed in {"open": (), "closed": ("/",)}.items():
        shutil.rmtree(tmp_path / "app", ignore_errors=True)
        shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
        application = Application(tmp_path)
        manifest = application.learnt(*closed)
        with PlayedCarrier(tmp_path / "c", plaintext, allowed=manifest):
            assert provisioned(tmp_path / "c", PYTHON) == [f"good {token}"]
            attack(application)
            outcomes[name] = provisioned(tmp_path / "c", PYTHON)
    assert f"evil {token}" in outcomes["open"], "the control: found, and run"
    assert not [line for line in outcomes["closed"] if token in line]
    assert outcomes["closed"], "and it says why"
