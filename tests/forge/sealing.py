"""What sealing tests share: programs, platform keys, a TPM of software, and what sealed data is made of."""

import hashlib
import select
import shutil
import socket
import socketserver
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from cloister.model import Digest, Measurement, MeasurementKind, Tee
from cloister.seal import SealedHeader, SealingIdentity, read_header
from cloister.seal.keys import TAG_SIZE, Binding, expand
from cloister.seal.memory import MemorySource

__all__ = ["MemoryKey", "body_start", "eavesdropped", "header_of", "program", "signed_by", "software_tpm"]


def program(code: bytes = b"a program", **known: Any) -> SealingIdentity:
    """A program with this code."""
    digest = Digest("sha256", hashlib.sha256(code).digest())
    return SealingIdentity(
        tee=Tee.SOFTWARE, measurement=Measurement("executable", MeasurementKind.LAUNCH, digest), **known
    )


def signed_by(signer: bytes, code: bytes = b"a program", **known: Any) -> SealingIdentity:
    """A program that this signer signed."""
    digest = Digest("sha256", hashlib.sha256(signer).digest())
    return program(code, signer=Measurement("signer-key", MeasurementKind.SIGNER, digest), **known)


class MemoryKey:
    """A platform key that a test made, and what was derived from it."""

    name = "the key of this test"

    def __init__(self, key: bytes = b"K" * 32, *, binds_identity: bool = False) -> None:
        self._key, self.binds_identity = key, binds_identity
        self.derived: list[bytearray] = []

    def derive(self, info: bytes, binding: Binding) -> bytearray:
        del binding
        self.derived.append(expand(self._key, info))
        return self.derived[-1]


def header_of(sealed: bytes) -> SealedHeader:
    """What sealed data says of itself."""
    return read_header(MemorySource(sealed))[0]


def body_start(sealed: bytes) -> int:
    """Where the chunks begin."""
    return len(header_of(sealed).encoded) + TAG_SIZE


@contextmanager
def software_tpm(directory: Path) -> Iterator[str]:
    """A swtpm with its state in `directory`, on the loopback interface; the TCTI that names it."""
    directory.mkdir(exist_ok=True)
    for port in range(24_000, 60_000, 2):
        if _free(port) and _free(port + 1):
            break
    server = f"type=tcp,port={port},bindaddr=127.0.0.1"
    control = f"type=tcp,port={port + 1},bindaddr=127.0.0.1"
    found = shutil.which("swtpm")
    assert found is not None
    process = subprocess.Popen(
        [found, "socket", "--tpm2", "--tpmstate", f"dir={directory}", "--server", server, "--ctrl", control,
         "--flags", "not-need-init,startup-clear"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 10
        while _free(port + 1) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        yield f"swtpm:host=127.0.0.1,port={port}"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def eavesdropped(tcti: str) -> Iterator[tuple[str, bytearray]]:
    """Somebody on the bus: a TCTI that leads to the same TPM, and all that goes by on the way, both ways."""
    port, heard = int(tcti.rpartition("=")[2]), bytearray()

    class Tap(socketserver.BaseRequestHandler):
        """One connection. tpm2-tss makes one for each command, to the TPM's port or to that of its control channel."""

        def handle(self) -> None:
            offset = self.request.getsockname()[1] - near
            with socket.create_connection(("127.0.0.1", port + offset)) as far:
                _pass_on(self.request, far, heard)

    near = next(port for port in range(23_000, 24_000, 2) if _free(port) and _free(port + 1))
    with ExitStack() as servers:
        for at in (near, near + 1):
            server = servers.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", at), Tap))
            Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            servers.callback(server.shutdown)
        yield f"swtpm:host=127.0.0.1,port={near}", heard


def _pass_on(near: socket.socket, far: socket.socket, heard: bytearray) -> None:
    """Both ways, until either end closes the connection, or nothing comes for ten seconds."""
    others = {near: far, far: near}
    while ready := select.select([near, far], [], [], 10)[0]:
        for one in ready:
            data = one.recv(4096)
            if not data:
                return
            heard += data
            others[one].sendall(data)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
