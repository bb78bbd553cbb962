"""A connection behind the network shield, used in every way: as natively, but that the peer speaks TLS."""

import hashlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.system.arms import ARMS, Arm
from tests.system.shielded_network import client_context, patient_connection, shielded_on, talking

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

PROGRAM = str(Path(__file__).parent / "programs" / "python_sockets.py")
PYTHON = os.path.realpath(sys.executable)
DATA = os.urandom(1 << 20)


def words(port: int, *more: str) -> list[str]:
    return [PYTHON, PROGRAM, str(port), *more]


def read_to_end(peer: socket.socket) -> bytes:
    found = b""
    while data := peer.recv(1 << 16):
        found += data
    return found


def printed(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout is not None
    text = process.stdout.read()
    assert process.wait(30) == 0, text
    return text


def end_of_writing(peer: socket.socket) -> None:
    """Of its side. With TLS the other one ends too, which `unwrap` waits for."""
    peer.shutdown(socket.SHUT_WR) if not hasattr(peer, "unwrap") else peer.unwrap()


def test_pieces(tmp_path: Path) -> None:
    said: dict[Arm, tuple[bytes, bytes]] = {}
    for arm in ARMS:
        shielded, port = shielded_on(tmp_path / arm)
        with talking(shielded, arm, words(port, "pieces"), port) as (peer, process):
            peer.sendall(b"0123456789")
            time.sleep(0.3)
            peer.sendall(b"abcdefghijkl")
            answer = b""
            while len(answer) < 40004:
                answer += peer.recv(1 << 16)
            peer.sendall(b"last")
            end_of_writing(peer)
            said[arm] = answer, printed(process)
    assert said["enclaved"] == said["native"]
    assert b"TimeoutError" in said["native"][1]


@pytest.mark.parametrize("case", ["edges", "levels"])
@pytest.mark.parametrize("size", [100, 8192, 16384, 50000])
def test_readiness(tmp_path: Path, case: str, size: int) -> None:
    """Whatever the sizes of reads and records, the kernel says when there is something, and never when there is not."""
    shielded, port = shielded_on(tmp_path)
    data = DATA[: 200_000 if size == 100 else None]
    with talking(shielded, "enclaved", words(port, case, str(size)), port) as (peer, process):
        for at, piece in cut(data):
            peer.sendall(piece)
            if at % 7 == 0:
                time.sleep(0.002)
        end_of_writing(peer)
        assert printed(process).split() == [b"%d" % len(data), hashlib.sha256(data).hexdigest().encode()]


def cut(data: bytes) -> "list[tuple[int, bytes]]":
    sizes = (1, 40000, 16384, 5, 16385, 700, 16383, 1, 1, 90000)
    found, at, number = [], 0, 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        found.append((number, data[at : at + size]))
        at += size
        number += 1
    return found


@pytest.mark.parametrize("pause", [0, 0.001])
def test_a_slow_reader(tmp_path: Path, pause: float) -> None:
    shielded, port = shielded_on(tmp_path)
    size = 12_000_000 // 251 * 251
    with talking(shielded, "enclaved", words(port, "flood", str(size)), port) as (peer, process):
        time.sleep(0.5)
        found, digest = 0, hashlib.sha256()
        while data := peer.recv(1 << 16):
            found += len(data)
            digest.update(data)
            time.sleep(pause)
        assert found == size, printed(process)
        assert digest.digest() == hashlib.sha256(bytes(range(251)) * (size // 251)).digest()
        assert printed(process) == b"short\n"


def test_sendfile(tmp_path: Path) -> None:
    for arm in ARMS:
        shielded, port = shielded_on(tmp_path / arm)
        file = tmp_path / arm / "file"
        file.write_bytes(DATA)
        with talking(shielded, arm, words(port, "sends_file", str(file)), port) as (peer, process):
            assert read_to_end(peer) == DATA[7:]
            assert printed(process) == b"1000\n%d %d\n" % (len(DATA) - 1007, len(DATA))


def test_two_processes_write_to_one_connection(tmp_path: Path) -> None:
    """One sequence of records, whoever writes: were a number used twice, this peer would end the connection."""
    shielded, port = shielded_on(tmp_path)
    with talking(shielded, "enclaved", words(port, "forks", "3000"), port) as (peer, process):
        peer.sendall(b"12")
        lines = read_to_end(peer).split(b"\n")
        assert printed(process) == b""
    for name in (b"child", b"parent"):
        assert [line for line in lines if line.startswith(name)][:3000] == [b"%s %d" % (name, i) for i in range(3000)]
    assert {line for line in lines if b"has read" in line} == {b"child has read 1", b"parent has read 2"} or {
        line for line in lines if b"has read" in line
    } == {b"child has read 2", b"parent has read 1"}


def test_a_connection_goes_with_what_is_executed(tmp_path: Path) -> None:
    shielded, port = shielded_on(tmp_path)
    with talking(shielded, "enclaved", words(port, "executes", "head", "-c", "70000"), port) as (peer, process):
        threading.Thread(target=peer.sendall, args=(DATA[:70000],)).start()
        assert read_exactly(peer, 70000) == DATA[:70000]
        assert printed(process) == b"5\n"  # EIO: it is the other program's now


def read_exactly(peer: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        data = peer.recv(1 << 16)
        assert data, found
        found += data
    return found


def test_both_ways_at_once(tmp_path: Path) -> None:
    shielded, port = shielded_on(tmp_path)
    with talking(shielded, "enclaved", words(port, "echoes"), port) as (peer, process):
        found: list[bytes] = []
        reader = threading.Thread(target=lambda: found.append(read_exactly(peer, len(DATA))))
        reader.start()
        peer.sendall(DATA)
        reader.join()
        assert found == [DATA]
        end_of_writing(peer)
        assert printed(process) == b""


def test_a_writer_whose_peer_is_late(tmp_path: Path) -> None:
    """It waits for edges, and the handshake is not over when it has already much to say."""
    shielded, port = shielded_on(tmp_path)
    size = 2_000_000 // 251 * 251
    with shielded.started(words(port, "flood", str(size))) as process, patient_connection(port, process) as plain:
        time.sleep(1)
        with client_context().wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as tls:
            assert read_to_end(tls) == bytes(range(251)) * (size // 251)
        printed(process)


def test_children_that_are_killed_while_they_write(tmp_path: Path) -> None:
    """Whatever they were doing: no record is sealed twice with one number. Were one, OpenSSL would say so here."""
    shielded, port = shielded_on(tmp_path)
    with talking(shielded, "enclaved", words(port, "killed", "60"), port) as (peer, process):
        end = end_of(peer)
        assert end == "an end" or "EOF occurred" in end
        assert printed(process) in {b"done\n", b"told 5\n"}


def end_of(peer: socket.socket) -> str:
    try:
        while peer.recv(1 << 16):
            pass
    except ssl.SSLError as error:
        return str(error)
    return "an end"
