"""The disk beneath the files that the program wrote: what was there stays there when a file is deleted.

Where a file lay is asked when it is closed after writing (and makes the kernel write it out); what stands there is read
from the device itself, past every cache, once the program has ended. What a file was moved away from before, and what
was overwritten in between, is not seen.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloister.observe.prove.grounds.disk_unsafe import BLOCK, device_of, physical_extents, read_device
from cloister.observe.prove.plan import GroundName
from cloister.observe.prove.record import Check, Ground
from cloister.observe.prove.wanted import Wanted, spell
from cloister.observe.search import Searcher
from cloister.quantities import counted, human_size

__all__ = ["BlockHit", "DiskBlocks"]

LIMIT = 2 << 30
OR = " or "
MOST_OWNERS = 4
MAJOR_OF_NONE = 0  # file systems without a device: tmpfs, overlays, network


@dataclass(frozen=True, kw_only=True)
class BlockHit:
    """A labelled secret seen on a disk."""

    label: str
    encoding: str
    where: str


@dataclass(kw_only=True)
class DiskBlocks:
    """Told of each file that the program wrote (`wrote`), then searched once (`search`)."""

    wanted: Wanted
    places: dict[int, dict[int, str]] = field(default_factory=dict)
    """By device number: each block of 4 KiB by its number on the device, and the files that it belonged to."""
    unplaced: dict[str, int] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    size: int = 0

    def wrote(self, descriptor: int, path: str) -> None:
        """Note where a file lies that was written."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return
        if os.major(status.st_dev) == MAJOR_OF_NONE:
            kind = file_system(status.st_dev)
            self.unplaced[kind] = self.unplaced.get(kind, 0) + 1
            if kind not in {"tmpfs", "ramfs"}:
                self.note(f"{path}: {kind} does not say where on which disk it lies")
            return
        try:
            extents = physical_extents(descriptor)
        except OSError as error:
            self.note(f"{path}: where it lies cannot be asked: {error.strerror}")
            return
        blocks = self.places.setdefault(status.st_dev, {})
        for start, size in extents:
            if (sum(map(len, self.places.values())) * BLOCK) + size > LIMIT:
                self.note(f"{path}: more than {human_size(LIMIT)} of blocks, not all were searched")
                return
            for number in range(start // BLOCK, -(-(start + size) // BLOCK)):
                blocks[number] = _owners(blocks.get(number), path)

    def note(self, text: str) -> None:
        """Why something was not searched, once."""
        if text not in self.trouble:
            self.trouble.append(text)

    def search(self) -> list[BlockHit]:
        """What is found on the disks."""
        hits: dict[BlockHit, None] = {}
        for number, blocks in self.places.items():
            try:
                device = device_of(number)
                for hit in self.on_device(device, blocks):
                    hits.setdefault(hit)
            except OSError as error:
                self.note(f"the disk {os.major(number)}:{os.minor(number)} cannot be read: {error.strerror or error}")
        return list(hits)

    def on_device(self, device: Path, blocks: dict[int, str]) -> Iterator[BlockHit]:
        """The hits on one disk. Blocks side by side are searched as one."""
        searcher = Searcher(self.wanted.needles)
        for position, data in read_device(device, runs(sorted(blocks))):
            self.size += len(data)
            for found in searcher.feed(position, memoryview(data)):
                label, encoding = spell(found.needle.label, found.needle.encoding)
                path = blocks.get(found.address // BLOCK, "?")
                where = f"{device} at byte {found.address:,}, where {path} was written"
                yield BlockHit(label=label, encoding=encoding, where=where)

    def report(self) -> Ground:
        """What was looked at."""
        disks = [f"{os.major(number)}:{os.minor(number)}" for number in self.places]
        amount = f"{counted(self.size, 'byte')} on {counted(len(disks), 'disk')}"
        for kind, count in sorted(self.unplaced.items()):
            amount += f"; {counted(count, 'file')} on {kind}, which is on no disk"
        whole = Check(holds=not self.trouble, detail="; ".join(self.trouble[:3]) or amount)
        return Ground(name=GroundName.BLOCKS, amount=amount, whole=whole, seen=tuple(disks))


def _owners(before: str | None, path: str) -> str:
    """Whose a block is: of several files one after the other, or at once where the disk's own blocks are smaller."""
    if before is None or before == path:
        return path
    known = before.split(OR)
    return before if path in known or len(known) == MOST_OWNERS else f"{before}{OR}{path}"


def runs(blocks: list[int]) -> list[tuple[int, int]]:
    """(offset, bytes) of neighbouring blocks taken together."""
    found: list[tuple[int, int]] = []
    for block in blocks:
        if found and found[-1][0] + found[-1][1] == block * BLOCK:
            found[-1] = (found[-1][0], found[-1][1] + BLOCK)
        else:
            found.append((block * BLOCK, BLOCK))
    return found


def file_system(device: int) -> str:
    """The kind of file system behind a device number (proc_pid_mountinfo(5)); a word for one that is not mounted."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == wanted:
            return rest.split()[0]
    return "memory"
