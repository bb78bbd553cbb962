"""Injected files change when the broker rotates them: who opens one again gets the new content, nobody a mixture."""

import contextlib
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.forge.carrier import PlayedCarrier, block, send_frame
from tests.integration.runtime_programs.arms import build
from tests.security.victims import read_until

from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

PATH, OTHER = "/run/secrets/rotated", "/run/secrets/constant"
A_SECOND = 1.1
DENIED, UNDECIDED = 4, 6  # exit codes


class Broker(PlayedCarrier):
    """A carrier whose broker releases `files`, or refuses with `refusal`."""

    files: dict[bytes, bytes]
    refusal = 0

    def __init__(self, path: Path, content: bytes) -> None:
        super().__init__(path, b"", answers=Broker.release)
        self.rotate(content)

    def rotate(self, content: bytes, *, without: str = "") -> None:
        files = {OTHER: b"as ever", PATH: content}
        self.plaintext = block(files={name.encode(): data for name, data in files.items() if name != without})

    def release(self: PlayedCarrier, connection: socket.socket) -> None:
        assert isinstance(self, Broker)
        if not self.refusal:
            self.converse(connection)
            return
        self.hear(connection)
        send_frame(connection, _abi.FRAME_REFUSED, struct.pack("<I", self.refusal) + b"as the test wants it")

    def asked(self) -> int:
        """How often the program asked again."""
        return len(self.heard.of(_abi.FRAME_REFRESH))


@contextlib.contextmanager
def reading(carrier: Path, program: Path, *words: str, at: str = PATH) -> Iterator[subprocess.Popen[bytes]]:
    command = [runtime_path(), f"{_abi.OPTION_ATTESTER}{carrier}", "--", str(program), "rotation", at, OTHER, *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, env={}) as process:
        try:
            read_until(process, "ready")
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[bytes], command: str) -> list[str]:
    assert process.stdin
    process.stdin.write(command.encode() + b"\n")
    return read_until(process, "done")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("rotation"), "rotation", "static")


def test_who_opens_it_again_gets_the_new_content(tmp_path: Path, program: Path) -> None:
    with Broker(tmp_path / "c", b"old") as broker, reading(tmp_path / "c", program) as process:
        assert ask(process, "same") == ["same 3 old", "other 7 as ever"]
        assert ask(process, "stat") == ["stat 0 one file 1"]
        broker.rotate(b"much newer")
        time.sleep(A_SECOND)
        assert ask(process, "open") == ["open 10 much new"]
        assert ask(process, "same") == ["same error 116", "other 7 as ever"]
        assert ask(process, "stat") == ["stat 0 one file 0"]


def test_the_same_content_again_is_no_change(tmp_path: Path, program: Path) -> None:
    with Broker(tmp_path / "c", b"old") as broker, reading(tmp_path / "c", program) as process:
        time.sleep(A_SECOND)
        assert ask(process, "open") == ["open 3 old"]
        assert broker.asked()
        assert ask(process, "same") == ["same 3 old", "other 7 as ever"]
        assert ask(process, "stat") == ["stat 0 one file 1"]


def test_the_broker_is_asked_once_in_a_second(tmp_path: Path, program: Path) -> None:
    with Broker(tmp_path / "c", b"old") as broker, reading(tmp_path / "c", program) as process:
        started = time.monotonic()
        ask(process, "many")
        seconds = time.monotonic() - started
        assert broker.asked() <= seconds + 2


def test_access_that_ends_ends(tmp_path: Path, program: Path) -> None:
    with Broker(tmp_path / "c", b"old") as broker, reading(tmp_path / "c", program) as process:
        broker.refusal = DENIED
        time.sleep(A_SECOND)
        assert [ask(process, "open") for _ in range(3)] == [["open error 13"]] * 3
        broker.refusal = 0
        time.sleep(A_SECOND)
        assert ask(process, "open") == ["open 3 old"]


def test_a_broker_that_cannot_be_asked_changes_nothing(tmp_path: Path, program: Path) -> None:
    with Broker(tmp_path / "c", b"old") as broker, reading(tmp_path / "c", program) as process:
        broker.refusal = UNDECIDED
        time.sleep(A_SECOND)
        assert ask(process, "open") == ["open 3 old"]
        broker.refusal, broker.plaintext = 0, b"no block"
        time.sleep(A_SECOND)
        assert ask(process, "open") == ["open 3 old"]
        assert ask(process, "same") == ["same 3 old", "other 7 as ever"]


def test_access_that_ended_is_not_given_back_by_who_ends_the_carrier(tmp_path: Path, program: Path) -> None:
    with Broker(tmp_path / "c", b"old") as broker, reading(tmp_path / "c", program) as process:
        broker.refusal = DENIED
        time.sleep(A_SECOND)
        assert ask(process, "open") == ["open error 13"]
        broker.refusal = UNDECIDED
        time.sleep(A_SECOND)
        assert ask(process, "open") == ["open error 13"]
        broker.__exit__(None, None, None)
        try:
            time.sleep(A_SECOND)
            assert ask(process, "open") == ["open error 13"]
        finally:
            broker.path.touch()  # for the end of the block
            broker._thread = threading.Thread(target=int)
            broker._thread.start()


def test_a_carrier_that_was_stopped_does_not_stop_the_program(tmp_path: Path, program: Path) -> None:
    """Nobody answers: the program goes on with what it has, and does not wait at each open."""
    with Broker(tmp_path / "c", b"old") as broker, reading(tmp_path / "c", program) as process:
        heard, over = threading.Event(), threading.Event()

        def hang(*_: object) -> None:
            heard.set()
            over.wait(60)

        broker.answers = hang
        time.sleep(A_SECOND)
        began = time.monotonic()
        try:
            assert ask(process, "open") == ["open 3 old"]
            assert heard.is_set(), "it was asked"
            waited = time.monotonic() - began
            assert 10 < waited < 40
            for _ in range(3):
                time.sleep(A_SECOND)
                assert ask(process, "open") == ["open 3 old"]
            assert time.monotonic() - began < waited + 10
        finally:
            over.set()


def test_the_hosts_file_does_not_take_the_place_of_one_that_is_gone(tmp_path: Path, program: Path) -> None:
    path = tmp_path / "injected"
    path.write_bytes(b"chosen by the host")
    name = str(path).encode()
    with Broker(tmp_path / "c", b"") as broker:
        broker.plaintext = block(files={name: b"old", b"/other": b"more"})
        with reading(tmp_path / "c", program, at=str(path)) as process:
            assert ask(process, "open") == ["open 3 old"]
            for files in ({b"/other": b"more"}, {}, {b"/third": b""}):
                broker.plaintext = block(files=files)
                time.sleep(A_SECOND)
                assert [ask(process, "open") for _ in range(3)] == [["open error 2"]] * 3
            broker.plaintext = block(files={name: b"again"})
            time.sleep(A_SECOND)
            assert ask(process, "open") == ["open 5 again"]


def test_a_file_may_go(tmp_path: Path, program: Path) -> None:
    with Broker(tmp_path / "c", b"old") as broker, reading(tmp_path / "c", program) as process:
        broker.rotate(b"", without=PATH)
        time.sleep(A_SECOND)
        assert ask(process, "open") == ["open error 2"]
        assert ask(process, "same") == ["same error 116", "other 7 as ever"]


def test_readers_never_get_a_mixture(tmp_path: Path, program: Path) -> None:
    """Three threads read while it is rotated again and again, between lengths too."""
    with Broker(tmp_path / "c", b"a" * 200_000) as broker, reading(tmp_path / "c", program, "threads") as process:
        for letter, size in ((b"b", 200_000), (b"c", 250_000), (b"d", 10)):
            broker.rotate(letter * size)
            time.sleep(A_SECOND)
            assert ask(process, "open") == [f"open {size} {(letter * 8).decode()}"]
        assert ask(process, "count") == ["mixed 0, some 1"]
        assert broker.asked() >= 3
