"""The file that a volume is: which superblock counts, and the block that a pointer leads to."""

import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cloister.errors import ParseError, UsageError
from cloister.shield.volume.keys import BlockCipher, VolumeBroken, VolumeKey, superblock_tag
from cloister.shield.volume.layout import BLOCK, SUPERBLOCKS, Mode, Place, Pointer, Superblock

__all__ = ["Container", "VolumeRoot", "root_of"]

MODES: Final = frozenset({Mode.ENCRYPTED, Mode.AUTHENTICATED})
UNTAGGED: Final = BLOCK - 32
ZEROS: Final = bytes(BLOCK)
WRITTEN_ROOT: Final = re.compile(r"([0-9]{1,20}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class VolumeRoot:
    """What tells a volume's newest state from older ones: the generation, and the SHA-256 of its superblock."""

    generation: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.generation}:{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `GENERATION:HEX`. UsageError."""
        match = WRITTEN_ROOT.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"{text.strip()!r} is no root of a volume: GENERATION:SHA-256 in hexadecimal is expected")
        return cls(int(match[1]), bytes.fromhex(match[2]))

    def require(self, found: "VolumeRoot", path: Path) -> None:
        """VolumeBroken unless `found` is this very state."""
        if found.generation < self.generation:
            raise VolumeBroken(f"{path} was rolled back: generation {found.generation} in place of {self.generation}")
        if found.generation > self.generation:
            raise VolumeBroken(
                f"{path} is newer than the given root: generation {found.generation}, not {self.generation}; if its "
                f"program wrote to it since, ask whoever keeps the newest root"
            )
        if not hmac.compare_digest(found.digest, self.digest):
            raise VolumeBroken(f"{path} is of generation {self.generation}, but not the volume of the given root")


def root_of(superblock: Superblock) -> VolumeRoot:
    """The root of the state that this superblock starts."""
    return VolumeRoot(superblock.generation, hashlib.sha256(superblock.serialize()).digest())


class Container:
    """An opened volume, for reading. A context manager."""

    def __init__(self, path: Path, key: VolumeKey) -> None:
        """UsageError if the file cannot be read, VolumeBroken if no superblock is right."""
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise UsageError(f"cannot read the volume {path}: {error.strerror}") from error
        try:
            self.superblock, self.torn = self._choose(key)
            self._cipher = BlockCipher(key, self.superblock.identifier, self.superblock.mode)
            self._check_length()
        except BaseException:
            self.close()
            raise

    @property
    def root(self) -> VolumeRoot:
        """Of the state that was opened."""
        return root_of(self.superblock)

    def read(self, pointer: Pointer, place: Place) -> bytes:
        """The block there; zeros for a hole. VolumeBroken."""
        if pointer.is_hole:
            return ZEROS
        if not SUPERBLOCKS <= pointer.physical < self.superblock.blocks:
            raise VolumeBroken(f"{self.path}: a pointer to block {pointer.physical} of {self.superblock.blocks}")
        return self._cipher.open(pointer, self._stored(pointer.physical), place)

    def close(self) -> None:
        """May be called once."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _stored(self, physical: int) -> bytes:
        try:
            stored = os.pread(self._descriptor, BLOCK, physical * BLOCK)
        except OSError as error:
            raise UsageError(f"cannot read the volume {self.path}: {error.strerror}") from error
        if len(stored) != BLOCK:
            raise VolumeBroken(f"{self.path} was cut off: it ends in or before block {physical}")
        return stored

    def _choose(self, key: VolumeKey) -> tuple[Superblock, bool]:
        """The right superblock of the higher generation, and whether the other is wrong: a write was cut off there."""
        right: list[Superblock] = []
        reasons: list[str] = []
        for number in range(SUPERBLOCKS):
            try:
                right.append(_superblock(self._stored(number), number, key))
            except (ParseError, VolumeBroken) as error:
                reasons.append(f"superblock {number}: {error}")
        if not right:
            raise VolumeBroken(f"{self.path} is no volume of this key, or was changed: {'; '.join(reasons)}")
        if len({one.identifier for one in right}) > 1:
            raise VolumeBroken(f"{self.path} was put together from two volumes: its superblocks name different ones")
        return max(right, key=lambda one: one.generation), bool(reasons)

    def _check_length(self) -> None:
        length = os.fstat(self._descriptor).st_size
        if length < self.superblock.blocks * BLOCK:
            raise VolumeBroken(f"{self.path} was cut off: {length} bytes, {self.superblock.blocks * BLOCK} are needed")


def _superblock(stored: bytes, number: int, key: VolumeKey) -> Superblock:
    """The superblock, if it authenticates. ParseError, VolumeBroken."""
    parsed = Superblock.parse(stored, base=number * BLOCK)
    if not hmac.compare_digest(superblock_tag(key, parsed.identifier, stored[:UNTAGGED]), parsed.tag):
        raise VolumeBroken("it does not authenticate")
    if parsed.mode not in MODES or parsed.generation % SUPERBLOCKS != number or parsed.blocks < SUPERBLOCKS:
        raise VolumeBroken("its fields contradict each other")
    return parsed
