"""A server, natively in the clear and in the enclave behind TLS, its client, and whoever stands between both."""

import contextlib
import hashlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from cloister import _x509
from cloister.app.battery.keeping import check_guard
from cloister.app.battery.target import Arena, Start, Target, wait_for
from cloister.broker.session.key_material import make_certificate, private_der
from cloister.errors import LaunchError
from cloister.observe.prove.grounds.gate import Gate
from cloister.observe.prove.plan import Tls
from cloister.observe.prove.tls_feed import over_tls
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import ListenEntry
from cloister.shield_policy.words import Transport

__all__ = ["Between", "Server", "Way", "close_writing", "digest_of", "server"]

SECONDS: Final = 20.0
MOMENT: Final = 0.5
PIECE: Final = 1 << 16
SERVER: Final = """
import hashlib, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    got = b""
    try:
        while part := connection.recv(65536):
            got += part
        print("got", hashlib.sha256(got).hexdigest(), flush=True)
    except OSError:
        print("noticed", flush=True)
    connection.close()
"""
"""Says of each connection what all of it was, or that something is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """One that listens. `pin`: whose key it has, if it speaks TLS."""

    target: Target
    port: int
    pin: bytes

    def connect(self, port: int = 0) -> socket.socket:
        """A client's connection, there or through another port. OSError."""
        plain = socket.create_connection(("127.0.0.1", port or self.port), SECONDS)
        return over_tls(plain, Tls(pins=(self.pin,), natively=False)) if self.pin else plain

    def send(self, data: bytes, port: int = 0) -> None:
        """All of a connection, whose end is told in good order."""
        connection = self.connect(port)
        with connection:
            connection.sendall(data)
            close_writing(connection)

    def answer(self, before: int = 0) -> str:
        """What it says next of a connection: the digest of all that came, or `noticed`. LaunchError if nothing."""
        if not wait_for(lambda: len(self.answers()) > before, SECONDS):
            raise LaunchError("the server did not say what it got")
        return self.answers()[before]

    def answers(self) -> list[str]:
        """Of all connections."""
        lines = self.target.output.read_text(errors="replace").splitlines()
        return [line.removeprefix("got ") for line in lines if line == "noticed" or line.startswith("got ")]


def close_writing(connection: socket.socket) -> None:
    """Nothing more comes: TLS says it in a record of its own."""
    if hasattr(connection, "unwrap"):
        connection.settimeout(MOMENT)
        with contextlib.suppress(OSError):  # the server may not care to say it too
            connection.unwrap()
    else:
        connection.shutdown(socket.SHUT_WR)


def digest_of(data: bytes) -> str:
    """As the server says it."""
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def server(
    arena: Arena, gate: Gate | None = None, follow: Callable[[Target], object] = lambda _: None
) -> Iterator[Server]:
    """A new one. With a gate it waits there until it is followed."""
    check_guard(arena)
    how, port, pin = shielded(arena)
    words = (sys.executable, "-I", "-S", "-c", SERVER, str(port))
    with arena.started(words, b"-", how=replace(how, gate=gate)) as target:
        follow(target)
        wait_until_ready(target)
        yield Server(target=target, port=port, pin=pin)


def shielded(arena: Arena) -> tuple[Start, int, bytes]:
    """How a server is started, its port, and whose key it has: in the enclave's arm, of a fresh certificate."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    if not arena.enclaved:
        return Start(), port, b""
    pem = make_certificate(
        "P-256", os.urandom, common_name="localhost", dns=("localhost",), start=datetime.now(UTC), days=1
    )
    (certificate,) = _x509.pem_blocks(pem, "CERTIFICATE")
    entry = ListenEntry(transport=Transport.TLS, port=port, certificates=(certificate,), private_key=private_der(pem))
    block = ShieldBlock(strict=False, network=True, entries=(entry,))
    pin = hashlib.sha256(_x509.Certificate.parse(certificate).spki).digest()
    return Start(shield=block.serialize()), port, pin


def wait_until_ready(target: Target) -> None:
    """It listens. LaunchError."""
    wait_for(lambda: target.is_ready() or not target.alive(), SECONDS)
    if not target.is_ready():
        raise LaunchError(f"the server did not get ready: {target.output.read_text(errors='replace')[-200:]}")


Way = Callable[[bytes], list[bytes] | None]
"""What to pass on in place of what came from the client; None ends both connections."""


@dataclass(kw_only=True)
class Between:
    """A port that passes on what comes to it, until `attack` is set, which then chooses."""

    port: int
    attack: Way | None = None
    seen: list[bytes] = field(default_factory=list, repr=False)

    @classmethod
    @contextlib.contextmanager
    def of(cls, other: int) -> Iterator["Between"]:
        """Before this port; for one connection."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            made = cls(port=listener.getsockname()[1])
            thread = threading.Thread(target=made.carry, args=(listener, other), daemon=True)
            thread.start()
            yield made
            thread.join(SECONDS)

    def carry(self, listener: socket.socket, other: int) -> None:
        """Both ways, until one side has ended."""
        listener.settimeout(SECONDS)
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", other), SECONDS) as far:
                client.settimeout(SECONDS)
                back = threading.Thread(target=self.back, args=(far, client), daemon=True)
                back.start()
                self.forth(client, far)
                back.join(SECONDS)

    def forth(self, client: socket.socket, far: socket.socket) -> None:
        """From the client; an attack may choose what."""
        while data := client.recv(PIECE):
            self.seen.append(data)
            passed = [data] if self.attack is None else self.attack(data)
            if passed is None:
                break
            for piece in passed:
                far.sendall(piece)
        far.shutdown(socket.SHUT_WR)

    @staticmethod
    def back(far: socket.socket, client: socket.socket) -> None:
        """To the client."""
        with contextlib.suppress(OSError):
            while data := far.recv(PIECE):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
