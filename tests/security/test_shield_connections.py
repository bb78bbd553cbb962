"""Shielded connections that are interrupted, closed and reused at the same time: each peer has its own."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.security.shielded_runs import compiled
from tests.system.arms import ARMS, Arm
from tests.system.shielded_network import client_context, shielded_on

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root, pytest.mark.needs_program("cc")]

DATA = os.urandom(50_000)
PIECE = 250  # which the program reads at once: it answers each with one write


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("connections", tmp_path_factory.mktemp("connections"))


class Talk:
    """The program, what it says, and its peers: in the arm where it is shielded they speak TLS."""

    def __init__(self, process: "subprocess.Popen[bytes]", arm: Arm, port: int) -> None:
        self.process, self.arm, self.port = process, arm, port
        self.said: list[str] = []

    def line(self) -> str:
        assert self.process.stdout is not None
        self.said.append(self.process.stdout.readline().decode())
        return self.said[-1]

    def peer(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        if self.arm == "native":
            return plain
        return client_context().wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)

    def end(self) -> list[str]:
        assert self.process.stdout is not None
        self.said += [line.decode() for line in self.process.stdout]
        assert self.process.wait(30) == 0, self.said
        return self.said


@contextmanager
def talk_with(directory: Path, program: Path, scenario: str, arm: Arm) -> Iterator[Talk]:
    shielded, port = shielded_on(directory / arm)
    with shielded.started([str(program), str(port), scenario], arm=arm) as process:
        talk = Talk(process, arm, port)
        assert talk.line() == "listens\n", talk.end()
        yield talk


def echoed(peer: socket.socket, data: bytes) -> bool:
    peer.settimeout(20)
    found = b""
    for at in range(0, len(data), PIECE):
        peer.sendall(data[at : at + PIECE])
        while len(found) < min(at + PIECE, len(data)):
            piece = peer.recv(1 << 16)
            assert piece, f"the end after {len(found)} bytes"
            found += piece
    return found == data


@pytest.mark.parametrize("arm", ARMS)
def test_a_call_that_waits_is_left_by_siglongjmp(tmp_path: Path, program: Path, arm: Arm) -> None:
    with talk_with(tmp_path, program, "jumped", arm) as talk:
        assert talk.line() == "20 accepts\n"
        with talk.peer() as peer:
            assert peer.recv(1) == b"!"
            assert peer.recv(1) == b"?"
            assert echoed(peer, DATA)
        assert talk.end()[2:] == ["60 jumps\n"]


@pytest.mark.parametrize("arm", ARMS)
def test_a_number_that_was_closed_is_another_connection(tmp_path: Path, program: Path, arm: Arm) -> None:
    with talk_with(tmp_path, program, "reused", arm) as talk, talk.peer() as first:
        assert talk.line() == "closed\n"
        with talk.peer() as second:
            second.sendall(b"of the second")
            first.sendall(b"of the first")
            assert second.recv(100) == b"of the second"
            assert echoed(second, DATA)
        assert talk.end()[2:] == ["the same number\n", "end\n"]


@pytest.mark.parametrize("arm", ARMS)
def test_a_number_that_was_closed_is_a_pipe(tmp_path: Path, program: Path, arm: Arm) -> None:
    with talk_with(tmp_path, program, "piped", arm) as talk, talk.peer() as first:
        assert talk.line() == "closed\n"
        first.sendall(b"of the first")
        with talk.peer() as second:
            assert echoed(second, DATA)
        assert talk.end()[2:] == ["piped\n"]


@pytest.mark.parametrize("arm", ARMS)
def test_a_thread_with_the_smallest_stack(tmp_path: Path, program: Path, arm: Arm) -> None:
    with talk_with(tmp_path, program, "small", arm) as talk:
        with talk.peer() as peer:
            assert echoed(peer, DATA)
        assert talk.end()[1:] == ["end\n"]


@pytest.mark.parametrize("arm", ARMS)
def test_a_thousand_signals_a_second(tmp_path: Path, program: Path, arm: Arm) -> None:
    with talk_with(tmp_path, program, "storm", arm) as talk:
        with talk.peer() as peer:
            assert echoed(peer, DATA * 8)
        assert talk.end()[1:] == ["many\n"]
