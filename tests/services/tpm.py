"""A TPM of the test's own: swtpm on unix sockets in a temporary directory, with a listener on its bus."""

import contextlib
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Tpm", "tpm"]

SECONDS = 10


@dataclass
class Tpm:
    """A software TPM. `heard` is everything that went over its bus."""

    directory: Path
    heard: list[bytes] = field(default_factory=list)

    @property
    def tcti(self) -> str:
        return f"swtpm:path={self.directory / 'bus'}"

    @property
    def kek(self) -> str:
        """As `--kek` has it."""
        return f"tpm={self.tcti}"


@contextmanager
def tpm() -> Iterator[Tpm]:
    """A running one, new."""
    directory = Path(tempfile.mkdtemp(prefix="cloister-tpm-"))  # short: sockets' paths have 108 bytes
    made, behind = Tpm(directory), directory / "tpm"
    words = [
        "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={directory}", "--server", f"type=unixio,path={behind}",
        "--ctrl", f"type=unixio,path={behind}.ctrl", "--flags", "not-need-init,startup-clear",
    ]  # fmt: skip
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    listeners = []
    try:
        until = time.monotonic() + SECONDS
        while not (behind.exists() and Path(f"{behind}.ctrl").exists()):
            assert time.monotonic() < until, (directory / "log").read_text()
            time.sleep(0.02)
        listeners = [listen(made, directory / f"bus{end}", f"{behind}{end}") for end in ("", ".ctrl")]
        yield made
    finally:
        for one in listeners:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        process.terminate()
        process.wait(SECONDS)
        shutil.rmtree(directory)


def listen(made: Tpm, path: Path, behind: str) -> socket.socket:
    """Between whoever uses the TPM and the TPM."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                user, _ = listener.accept()
                threading.Thread(target=pass_on, args=(made, user, behind), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener


def pass_on(made: Tpm, user: socket.socket, behind: str) -> None:
    """One connection, until either side ends it."""
    with user, socket.socket(socket.AF_UNIX) as chip, contextlib.suppress(OSError):
        chip.connect(behind)
        other = {user: chip, chip: user}
        while True:
            for source in select.select(list(other), [], [])[0]:
                data = source.recv(1 << 16)
                if not data:
                    return
                made.heard.append(data)
                other[source].sendall(data)
