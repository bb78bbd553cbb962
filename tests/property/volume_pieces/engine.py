"""The volume engine as a child process with sanitizers, and what a disk holds after any of its writes."""

import functools
import itertools
import random
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Self

from tests.property.runtime_pieces.pieces_unsafe import RUNTIME

from cloister.shield.volume.layout import BLOCK

__all__ = ["FEW_FRAMES", "Engine", "Write", "crashed", "journal"]

HERE: Final = Path(__file__).parent
SANITIZED: Final = ("-O1", "-g", "-std=gnu11", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
WARNED: Final = ("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow")
VECTORS: Final = ("-O3", "-maes", "-mpclmul", "-mssse3", "-msse4.1")
ENGINE: Final = (
    "cache", "commit", "directory", "file", "holes", "index", "names", "open", "order", "peek", "store", "superblock",
    "table", "tree", "walk",
)  # fmt: skip
FEW_FRAMES: Final = 2_600_000 + (1 << 19)
"""Bytes of memory that leave some three hundred frames: most blocks are read again and again."""
SYNC: Final = (1 << 64) - 1
SECTOR: Final = 512

Write = tuple[int, bytes]
"""A block's number and what was written there; None instead, if everything before is durable."""


@functools.cache
def program() -> Path:
    """The engine, compiled once a session."""
    folder = Path(tempfile.mkdtemp(prefix="volume-engine-"))
    source, volume = RUNTIME / "src", RUNTIME / "volume"
    includes = [f"-I{RUNTIME / 'include'}", f"-I{source}", f"-I{volume}"]
    steps: list[tuple[tuple[str, ...], tuple[str, ...]]] = [(("-c", str(volume / "aes_gcm.c")), VECTORS)]
    steps += [(("-c", str(volume / f"{name}.c")), WARNED) for name in ENGINE]
    steps += [(("-c", str(source / name)), ()) for name in ("sha2.c", "hmac.c", "sha256_blocks.S")]
    steps += [(("-c", str(HERE / "engine.c")), ())]
    for what, flags in steps:
        subprocess.run(["cc", *SANITIZED, *flags, *includes, *what], cwd=folder, check=True)
    objects = [str(path) for path in folder.glob("*.o")]
    subprocess.run(["cc", *SANITIZED, *objects, "-o", str(folder / "engine")], check=True)
    return folder / "engine"


class Engine:
    """One opened volume. A context manager; leaving it without `commit` forgets what was changed."""

    def __init__(self, volume: Path, key: Path, log: Path, memory: int = FEW_FRAMES, state: str = "") -> None:
        """`state`: the root to open, or "create"."""
        words = [state] if state else []
        self._process = subprocess.Popen(
            [program(), volume, key, str(memory), log, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.opened = int(self._line())

    def ask(self, *words: object) -> str:
        """One line in, one line out."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return self._line()

    def number(self, *words: object) -> int:
        """The same, where the answer is a number: an inode, bytes, 0 or a negative errno."""
        return int(self.ask(*words))

    def read(self, inode: int, offset: int, size: int) -> bytes:
        """What stands there."""
        count, _, data = self.ask("read", inode, offset, size).partition(" ")
        assert int(count) == len(data) // 2
        return bytes.fromhex(data)

    def entries(self, directory: int) -> dict[bytes, int]:
        """Names and their inodes."""
        *found, end = self.ask("list", directory).split()
        assert end == "0"
        return {bytes.fromhex(name): int(inode) for name, _, inode in (one.partition(":") for one in found)}

    def kill(self) -> None:
        """It ends at once, whatever it is doing."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        assert self._process.returncode in {0, 1}, "the sanitizers found something"

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the engine ended: {self._process.wait(30)}"
        return line.rstrip("\n")


def journal(log: Path) -> Iterator[Write | None]:
    """Every write in order; None for a sync."""
    data = log.read_bytes()
    for at in range(0, len(data), 8 + BLOCK):
        block = int.from_bytes(data[at : at + 8], "little")
        yield None if block == SYNC else (block, data[at + 8 : at + 8 + BLOCK])


def crashed(before: bytes, writes: Iterable[Write | None], cut: int, draw: random.Random) -> bytes:
    """What a disk may hold when the power goes after `cut` writes.

    Everything before the last sync is there. Of what came later, each sector is there or not, in any order.
    """
    seen = list(itertools.islice(writes, cut))
    last = max((number for number, write in enumerate(seen) if write is None), default=-1)
    disk = bytearray(before)
    for number, write in enumerate(seen):
        if write is None:
            continue
        block, content = write
        disk.extend(bytes(max((block + 1) * BLOCK - len(disk), 0)))
        for sector in range(0, BLOCK, SECTOR):
            if number < last or draw.random() < 0.5:
                disk[block * BLOCK + sector : block * BLOCK + sector + SECTOR] = content[sector : sector + SECTOR]
    return bytes(disk)
