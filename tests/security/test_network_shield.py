"""Attacks on the network shield: from between, by other peers, and by ways around it."""

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.property.tls_pieces.identities import known
from tests.system.service import free_port
from tests.system.shielded_network import Shielded, client_context, patient_connection, shielded_on

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

PYTHON = os.path.realpath(sys.executable)
SERVER = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as s:
    c, _ = s.accept()
got = b""
try:
    while data := c.recv(65536):
        got += data
        c.sendall(b"got %d\\n" % len(got))
    print("end", got)
except OSError as error:
    print(type(error).__name__, error.errno, got)
"""


def served(tmp_path: Path, talk: Callable[[socket.socket], None], **more: object) -> bytes:
    """What the program behind the shield says of a peer that talks so to its port."""
    shielded, port = shielded_on(tmp_path, **more)
    with shielded.started([PYTHON, "-c", SERVER, str(port)]) as process:
        with patient_connection(port, process) as plain:
            talk(plain)
        assert process.stdout is not None
        text: bytes = process.stdout.read()
        assert process.wait(30) == 0, text
        return text


class Between:
    """OpenSSL as the client, and every record of its own in the hands of a test."""

    def __init__(self, plain: socket.socket) -> None:
        self._plain = plain
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(self._in, self._out, server_hostname="localhost")
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(self._out.read())
                self._in.write(plain.recv(1 << 16))
        plain.sendall(self._out.read())

    def sealed(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self._out.read()

    def send(self, record: bytes, *, answered: bool = True) -> None:
        self._plain.sendall(record)
        if answered:
            self._in.write(self._plain.recv(1 << 16))
            self.tls.read(1 << 16)

    def wait(self) -> None:
        self._plain.settimeout(20)
        try:
            while self._plain.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass


def test_control(tmp_path: Path) -> None:
    def talk(plain: socket.socket) -> None:
        between = Between(plain)
        between.send(between.sealed(b"one"))
        between.send(between.sealed(b"two"))
        with pytest.raises(ssl.SSLWantReadError):
            between.tls.unwrap()
        plain.sendall(between._out.read())

    assert served(tmp_path, talk) == b"end b'onetwo'\n"


def flipped(record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


@pytest.mark.parametrize("attack", ["changed", "replayed", "reordered", "forged"])
def test_records_in_other_hands(tmp_path: Path, attack: str) -> None:
    def talk(plain: socket.socket) -> None:
        between = Between(plain)
        first = between.sealed(b"one")
        between.send(first)
        second, third = between.sealed(b"two"), between.sealed(b"three")
        wrong = {
            "changed": flipped(second),
            "replayed": first,
            "reordered": third,
            "forged": b"\x17\x03\x03\x00\x20" + bytes(32),
        }
        between.send(wrong[attack], answered=False)
        between.wait()

    assert served(tmp_path, talk) == b"OSError 74 b'one'\n"  # EBADMSG, and not a byte of it


def test_a_cut_connection_is_no_end(tmp_path: Path) -> None:
    def talk(plain: socket.socket) -> None:
        between = Between(plain)
        between.send(between.sealed(b"one"))

    assert served(tmp_path, talk) == b"ConnectionResetError 104 b'one'\n"


def test_a_cut_record(tmp_path: Path) -> None:
    def talk(plain: socket.socket) -> None:
        between = Between(plain)
        between.send(between.sealed(b"one"))
        between.send(between.sealed(b"two" * 5000)[:-1], answered=False)

    assert served(tmp_path, talk) == b"ConnectionResetError 104 b'one'\n"


@pytest.mark.parametrize("version", ["TLSv1.2", "none"])
def test_no_older_version_and_no_plain_text(tmp_path: Path, version: str) -> None:
    def talk(plain: socket.socket) -> None:
        if version == "none":
            plain.sendall(b"plain text, which nobody may take for the peer's\n" * 10)
            plain.shutdown(socket.SHUT_WR)
            assert b"got" not in plain.recv(1 << 16)
            return
        context = client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            context.wrap_socket(plain, server_hostname="localhost")

    assert served(tmp_path, talk) == b"ConnectionAbortedError 103 b''\n"


@pytest.mark.parametrize("label", ["client", "somebody", None])
def test_only_the_clients_that_are_named(tmp_path: Path, label: str | None) -> None:
    def talk(plain: socket.socket) -> None:
        own = known("p256", label).file(tmp_path) if label else None
        try:
            with client_context(own).wrap_socket(plain, server_hostname="localhost") as tls:
                tls.sendall(b"one")
                tls.recv(1 << 16)
                tls.unwrap()
        except (ssl.SSLError, ConnectionResetError):
            assert label != "client"

    said = served(tmp_path, talk, clients=[known("p256", "client")])
    assert said == (b"end b'one'\n" if label == "client" else b"ConnectionAbortedError 103 b''\n")


def received_by(certificate: Path) -> tuple[int, "list[bytes]", threading.Thread]:
    """A TLS server for one connection: its port, and what it is told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(30)
    told: list[bytes] = []

    def answer() -> None:
        with listening:
            plain, _ = listening.accept()
        try:
            with context.wrap_socket(plain, server_side=True) as tls:
                told.append(tls.recv(1 << 16))
        except OSError as error:
            told.append(type(error).__name__.encode())

    thread = threading.Thread(target=answer)
    thread.start()
    return listening.getsockname()[1], told, thread


CLIENT = """
import socket, sys
try:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as c:
        c.sendall(b"the secret")
        print("sent")
        c.recv(1)
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("right", [True, False])
def test_a_server_with_another_key_hears_nothing(tmp_path: Path, *, right: bool) -> None:
    """It has a certificate for the right name, of the same kind. Only the key is another."""
    label = "localhost" if right else "somebody"
    port, told, thread = received_by(known("p256", label).file(tmp_path))
    shielded = Shielded(tmp_path, connect=[(port, known("p256"))])
    done = shielded.run([PYTHON, "-c", CLIENT, str(port)])
    thread.join()
    if right:
        assert (told, done.stdout.split()[0]) == ([b"the secret"], b"sent")
    else:
        assert (told, done.stdout) == ([b"SSLError"], b"ConnectionAbortedError\n")


WAYS = """
import errno, os, socket, sys
listed, unlisted, away, udp = map(int, sys.argv[1:])
def attempt(name, act):
    try:
        act()
        print(name, "done")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
def serve(port):
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))
        s.listen()
def visit(port, family=socket.AF_INET, host="127.0.0.1"):
    with socket.socket(family) as s:
        s.connect((host, port))
def unbound():
    with socket.socket() as s:
        s.listen()
def fast():
    with socket.socket() as s:
        s.sendto(b"secret", socket.MSG_FASTOPEN, ("127.0.0.1", away))
def unix(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
def unix_serve():
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("\\0cloister-test-of-a-name")
def unix_datagram():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(b"secret", "/run/systemd/journal/socket")
def pair():
    a, b = socket.socketpair()
    a.sendall(b"x")
    assert b.recv(1) == b"x"
def give():
    a, b = socket.socketpair()
    with socket.create_server(("127.0.0.1", listed)) as s, socket.socket() as c:
        socket.send_fds(a, [b"x"], [s.fileno()])
def mapped():
    visit(away, socket.AF_INET6, "::ffff:127.0.0.1")
attempt("listen", lambda: serve(listed))
attempt("listen elsewhere", lambda: serve(unlisted))
attempt("listen anywhere", unbound)
attempt("connect", lambda: visit(away))
attempt("connect as IPv6", mapped)
attempt("fast open", fast)
attempt("datagrams", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("vsock", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
attempt("mptcp", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262))
attempt("unix", lambda: unix("/nowhere"))
attempt("unix name", unix_serve)
attempt("unix datagram", unix_datagram)
attempt("pair", pair)
attempt("interfaces", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).bind((0, 0)))
attempt("audit", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9))
"""


def test_what_is_not_listed_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as away:
        shielded, listed = shielded_on(tmp_path)
        ports = [str(port) for port in (listed, free_port(), away.getsockname()[1], 1)]
        done = shielded.run([PYTHON, "-c", WAYS, *ports])
    said = dict(line.rsplit(" ", 1) for line in done.stdout.decode().splitlines())
    assert done.stderr == b""
    assert {name for name, result in said.items() if result == "done"} == {"listen", "pair", "interfaces"}
    assert {said[name] for name in ("listen elsewhere", "listen anywhere", "datagrams", "raw", "packets", "mptcp")} == {
        "EACCES"
    }
    assert {said[name] for name in ("connect", "connect as IPv6", "unix", "unix datagram")} == {"EPERM"}
    assert len(said) == 17


def test_the_same_ways_without_a_shield() -> None:
    """The control: as root nearly all of them are open."""
    with socket.create_server(("127.0.0.1", 0)) as away:
        ports = [str(port) for port in (free_port(), free_port(), away.getsockname()[1], 1)]
        done = subprocess.run([PYTHON, "-c", WAYS, *ports], capture_output=True, timeout=60, check=False)
    said = dict(line.rsplit(" ", 1) for line in done.stdout.decode().splitlines())
    assert {"listen elsewhere", "listen anywhere", "connect", "datagrams", "raw", "packets"} <= {
        name for name, result in said.items() if result == "done"
    }
