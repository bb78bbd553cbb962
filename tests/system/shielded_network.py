"""Programs behind the network shield: their policy, peers that speak TLS, and what goes over the loopback."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.property.tls_pieces.identities import Known, known
from tests.system.arms import CLOISTER_ENVIRONMENT, CLOISTER_RUN, Arm
from tests.system.service import PATIENCE, free_port

__all__ = ["Capture", "Shielded", "capturing", "client_context"]

ETHERNET_ALL: Final = 3


@dataclass
class Shielded:
    """A policy in `folder`, with one identity for all ports; `words` starts a program under it."""

    folder: Path
    listen: "list[int]" = field(default_factory=list)
    connect: "list[tuple[int, Known | None]]" = field(default_factory=list)
    clients: "list[Known]" = field(default_factory=list)
    plain: "list[int]" = field(default_factory=list)
    identity: Known = field(default_factory=lambda: known("p256"))

    def write(self) -> Path:
        (self.folder / "cert.pem").write_text(self.identity.pem)
        key = self.folder / "key.pem"
        key.touch(0o600)
        key.write_text(self.identity.key_pem)
        own = 'unsafe_certificate_file = "cert.pem"\nunsafe_key_file = "key.pem"\n'
        text = "[shield]\nunsafe_open_files = true\nunsafe_open_network = false\n"
        for port in self.listen:
            text += f'[[shield.listen]]\nport = {port}\nprotocol = "tls"\n{own}'
            if self.clients:
                text += f"clients = [{', '.join(quoted(one) for one in self.clients)}]\n"
        for port, peer in self.connect:
            text += f'[[shield.connect]]\naddress = "127.0.0.1"\nport = {port}\nprotocol = "tls"\n'
            text += 'server_name = "localhost"\n'
            text += f"pins = [{quoted(peer)}]\n" if peer else "unsafe_any_server = true\n"
        for port in self.plain:
            text += (
                f'[[shield.connect]]\naddress = "127.0.0.1"\nport = {port}\nprotocol = "plain"\nunsafe_plain = true\n'
            )
        path = self.folder / "shield.toml"
        path.write_text(text)
        return path

    def words(self, arm: Arm, argv: Sequence[str]) -> list[str]:
        if arm == "native":
            return list(argv)
        return [*CLOISTER_RUN, "--quiet", "--shield", str(self.write()), "--", *argv]

    def run(self, argv: Sequence[str], *, arm: Arm = "enclaved") -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            self.words(arm, argv),
            capture_output=True,
            timeout=60,
            check=False,
            cwd=self.folder,
            env=CLOISTER_ENVIRONMENT,
        )

    @contextlib.contextmanager
    def started(self, argv: Sequence[str], *, arm: Arm = "enclaved") -> "Iterator[subprocess.Popen[bytes]]":
        with subprocess.Popen(
            self.words(arm, argv),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=CLOISTER_ENVIRONMENT,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def quoted(one: Known) -> str:
    return f'"sha256:{one.pin.hex()}"'


def client_context(own: Path | None = None) -> ssl.SSLContext:
    """Believes the identity of `Shielded`, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=known("p256").pem)
    if own:
        context.load_cert_chain(own)
    return context


def patient_connection(port: int, process: "subprocess.Popen[bytes]") -> socket.socket:
    """As soon as the program listens."""
    for _ in range(400):
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            assert process.stdout is not None
            raise AssertionError(f"it has ended: {process.stdout.read().decode()}")
    raise AssertionError("it does not listen")


@contextlib.contextmanager
def talking(
    shielded: Shielded, arm: Arm, argv: Sequence[str], port: int
) -> "Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]":
    """The program and a connection to it: with TLS to the enclaved one, without it natively."""
    with shielded.started(argv, arm=arm) as process, patient_connection(port, process) as plain:
        if arm == "native":
            yield plain, process
            return
        with client_context().wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as tls:
            yield tls, process


class Capture:
    """Every packet of the loopback interface that is for or from one of the ports."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._marks = [port.to_bytes(2, "big") for port in ports]
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETHERNET_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.2)
        self.data = bytearray()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            try:
                packet = self._socket.recv(1 << 17)
            except TimeoutError:
                if self._ended.is_set():
                    return
                continue
            header = (packet[0] & 15) * 4
            if packet[header : header + 2] in self._marks or packet[header + 2 : header + 4] in self._marks:
                self.data += packet[header + (packet[header + 12] >> 4) * 4 :]

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()


@contextlib.contextmanager
def capturing(*ports: int) -> Iterator[Capture]:
    """What is there after the block has been left."""
    capture = Capture(ports)
    try:
        yield capture
    finally:
        capture.end()


def shielded_on(folder: Path, **more: object) -> tuple[Shielded, int]:
    """A policy with one port, and the port."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    return Shielded(folder, listen=[port], **more), port  # type: ignore[arg-type]
