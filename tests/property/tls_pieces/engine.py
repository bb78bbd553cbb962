"""The TLS engine of the runtime as a child process with sanitizers: bytes in, bytes out."""

import atexit
import enum
import functools
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.property.runtime_pieces.pieces_unsafe import RUNTIME

__all__ = ["Answer", "Engine", "Event", "Identity", "records"]

HERE: Final = Path(__file__).parent
SANITIZED: Final = ("-O1", "-g", "-std=gnu11", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
WARNED: Final = ("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow")
VECTORS: Final = ("-O3", "-maes", "-mpclmul", "-mssse3", "-msse4.1")
SHARED: Final = ("sha2.c", "hmac.c", "x25519.c", "aead.c", "text.c", "sha256_blocks.S")
HEADER: Final = 5


class Event(enum.IntEnum):
    """What the engine says of what it was fed."""

    MORE = 0
    DATA = 1
    END = 2
    BROKEN = 3
    UNUSABLE = 8
    BAD_KEY = 9


@dataclass(frozen=True)
class Answer:
    """What came of one operation."""

    event: Event
    alert: int
    connected: bool
    broken: bool
    from_peer: bool
    sent: bytes
    data: bytes


@dataclass(frozen=True)
class Identity:
    """A certificate chain, the leaf first, and its key (PKCS#8), all DER."""

    chain: tuple[bytes, ...] = ()
    key: bytes = b""

    @property
    def packed(self) -> bytes:
        return b"".join(len(one).to_bytes(4, "little") + one for one in self.chain)


@functools.cache
def program() -> Path:
    """The engine, compiled once a session."""
    folder = Path(tempfile.mkdtemp(prefix="tls-engine-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source, tls, volume = RUNTIME / "src", RUNTIME / "tls", RUNTIME / "volume"
    includes = [f"-I{RUNTIME / 'include'}", f"-I{source}", f"-I{tls}", f"-I{volume}"]
    steps: list[tuple[Path, tuple[str, ...]]] = [(volume / "aes_gcm.c", VECTORS)]
    steps += [(path, WARNED) for path in sorted(tls.glob("*.c"))]
    steps += [(source / name, ()) for name in SHARED]
    steps += [(HERE / "engine.c", ())]
    for path, flags in steps:
        subprocess.run(["cc", *SANITIZED, *flags, *includes, "-c", path], cwd=folder, check=True)
    objects = [str(path) for path in folder.glob("*.o")]
    subprocess.run(["cc", *SANITIZED, *objects, "-o", str(folder / "engine")], check=True)
    return folder / "engine"


class Engine:
    """One connection at a time. A context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([program()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def start(
        self,
        *,
        server: bool,
        own: Identity = Identity(),
        pins: tuple[bytes, ...] = (),
        name: str = "",
        wants: bool = False,
        requires: bool = False,
    ) -> Answer:
        """A new connection; a client's first bytes are in the answer."""
        parts = (own.packed, own.key, b"".join(pins), name.encode())
        flags = server | wants << 1 | requires << 2
        return self._ask(b"S", bytes([flags]) + b"".join(len(p).to_bytes(4, "little") + p for p in parts))

    def feed(self, data: bytes) -> Answer:
        return self._ask(b"F", data)

    def write(self, data: bytes) -> bytes:
        return self._ask(b"W", data).sent

    def close(self) -> bytes:
        return self._ask(b"C").sent

    def update(self) -> bytes:
        return self._ask(b"U").sent

    def stream_ended(self) -> Event:
        return self._ask(b"E").event

    def set_sequence(self, number: int) -> None:
        self._ask(b"G", number.to_bytes(8, "little"))

    def expand_label(self, name: str, secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
        parts = b"".join(len(one).to_bytes(4, "little") + one for one in (secret, label, context))
        return self._ask(b"K", bytes([name == "sha384", size]) + parts).sent

    def _ask(self, operation: bytes, body: bytes = b"") -> Answer:
        assert self._process.stdin is not None
        self._process.stdin.write(operation + len(body).to_bytes(4, "little") + body)
        self._process.stdin.flush()
        event, alert, flags, _ = self._read(4)
        sent, data = (self._read(*struct.unpack("<I", self._read(4))) for _ in range(2))
        return Answer(Event(event), alert, bool(flags & 1), bool(flags & 2), bool(flags & 4), sent, data)

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        assert len(data) == size, "the engine has ended: the sanitizer's words are above"
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        assert status == 0, "the sanitizer's words are above"


def records(stream: bytes) -> list[bytes]:
    """A stream, cut into its records; what is left over is dropped."""
    found = []
    while len(stream) >= HEADER:
        size = HEADER + int.from_bytes(stream[3:5], "big")
        if size > len(stream):
            break
        found.append(stream[:size])
        stream = stream[size:]
    return found
