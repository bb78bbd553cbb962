"""`cloister run --tee NAME --host SOCKET` in one terminal, `cloister host SOCKET` in another."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.emulate.attacks.victims import FLAGS, SOURCE, compiled
from cloister.measure.image import Architecture

SECONDS = 60
ENVIRONMENT = dict(os.environ, PYTHONPATH=":".join(sys.path))
OUTSIDE = ["--unsafe-outside"]
pytestmark = pytest.mark.needs_program("cc")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("keys")
    directory.chmod(0o700)
    return str(directory)


class Terminals:
    """The owner's terminal, in which the program runs, and the administrator's."""

    def __init__(self, directory: Path, keys: str, tee: str, options: list[str]) -> None:
        self.socket = directory / "machine.sock"
        program = directory / "victim"
        program.write_bytes(compiled(SOURCE, Architecture.X86_64, FLAGS))
        program.chmod(0o755)
        words = ["run", "--tee", tee, "--memory", "32", "--keys", keys, "--host", str(self.socket), *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloister", *words, "--", str(program)],
            env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, bufsize=1,
        )  # fmt: skip
        self._watchdog = threading.Timer(SECONDS, self.process.kill)
        self._watchdog.start()
        assert self.line() == "ready", self.end()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def type(self, text: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.line()

    def host(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cloister", "host", str(self.socket), *words],
            env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    def quit(self) -> tuple[int, str]:
        _, errors = self.process.communicate("q\n", timeout=SECONDS)
        return self.process.returncode, errors

    def end(self) -> str:
        self.process.kill()
        return self.process.communicate()[1]

    def close(self) -> None:
        self._watchdog.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def native(tmp_path: Path, keys: str) -> Iterator[Terminals]:
    with contextlib.closing(Terminals(tmp_path, keys, "native", OUTSIDE)) as terminals:
        yield terminals


def test_the_administrator_sees_and_changes_a_program_without_a_tee(native: Terminals) -> None:
    assert native.type("sFUNFOO") == "kept"
    assert "FUNFOO" in native.host("read", "secret").stdout
    assert native.host("remap", "balance", "riches").returncode == 0
    assert native.type("b") == "1000000"
    assert native.quit() == (0, "")
    assert not native.socket.exists()


def test_a_program_in_a_tee(tmp_path: Path, keys: str) -> None:
    with contextlib.closing(Terminals(tmp_path, keys, "sgx", OUTSIDE)) as sgx:
        assert sgx.type("sFUNFOO") == "kept"
        done = sgx.host("read", "secret")
        assert done.returncode == 0
        assert "ff ff ff ff" in done.stdout
        assert "not in the 32 MiB" in sgx.host("search", "FUNFOO").stdout
        refused = sgx.host("debug", "secret")
        assert (refused.returncode, refused.stdout[:9]) == (0, "refused: ")
        sgx.host("remap", "balance", "riches")
        assert sgx.type("b") == ""
        status, errors = sgx.quit()
    assert status == 139
    assert "the machine stopped the program" in errors


@pytest.mark.needs_runtime
def test_in_the_software_enclave(tmp_path: Path, keys: str) -> None:
    with contextlib.closing(Terminals(tmp_path, keys, "native", [])) as native:
        assert native.host("keep", "balance", "full").stdout == "kept as full\n"
        assert native.type("w") == "taken"
        assert native.host("put", "balance", "full").returncode == 0
        assert native.type("b") == "1000"
        assert native.quit()[0] == 0


def test_the_socket_is_its_owners(native: Terminals) -> None:
    assert native.socket.stat().st_mode & 0o777 == 0o600


def test_hostile_callers_neither_end_nor_hold_the_program(native: Terminals) -> None:
    silent = []
    for data in (b"", b"{", b"\xff\n", b"[" * 100_000, b'{"words": ["read", 5, null, {}]}\n', b"x" * 1_000_000):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(str(native.socket))
        with contextlib.suppress(OSError):  # too long: the machine hangs up
            connection.sendall(data)
        silent.append(connection)
    assert native.type("b") == "1000"
    assert native.host("help").returncode == 0
    for connection in silent:
        connection.close()
    assert native.type("b") == "1000"
    assert native.quit()[0] == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nonsense"], "no such command"),
        (["read"], "`read ADDRESS`"),
        (["read", "nowhere"], "neither a symbol"),
        (["flip", "balance", "99999"], "bits 0 to"),
    ],
)
def test_words_that_mean_nothing(native: Terminals, words: list[str], part: str) -> None:
    done = native.host(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("cloister host: ")
    assert part in done.stderr
    assert native.type("b") == "1000"


def test_no_machine_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.sock", tmp_path / "none" / "none.sock", tmp_path):
        done = subprocess.run(
            [sys.executable, "-m", "cloister", "host", str(path), "help"],
            env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done
        assert "cloister host: " in done.stderr


def test_a_socket_that_exists_is_left_alone(native: Terminals) -> None:
    words = ["run", "--tee", "native", *OUTSIDE, "--memory", "32", "--host", str(native.socket)]
    second = subprocess.run(
        [sys.executable, "-m", "cloister", *words, "--", str(native.socket.with_name("victim"))],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS, check=False, input="q\n",
    )  # fmt: skip
    assert second.returncode == 2, second
    assert "name a socket that does not exist" in second.stderr
    assert native.host("help").returncode == 0
