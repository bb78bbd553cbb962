"""A new volume in one go: objects are added, then the superblock finishes it."""

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from cloister.shield.volume.container import VolumeRoot, root_of
from cloister.shield.volume.keys import BlockCipher, VolumeKey, superblock_tag
from cloister.shield.volume.layout import (
    BLOCK,
    FANOUT,
    FREE,
    HOLE,
    MAGIC,
    ROOT_INODE,
    SUPERBLOCKS,
    TABLE,
    VERSION,
    Entry,
    Inode,
    Mode,
    Place,
    Pointer,
    Superblock,
    directory_blocks,
    levels_for,
)

__all__ = ["Builder", "Facts", "Sink"]

ZEROS: Final = bytes(BLOCK)
STORED_NOWHERE: Final = HOLE.serialize()
FIRST_GENERATION: Final = 2  # an even one stands in block 0


class Sink(Protocol):
    """Where a volume is written to: something with a descriptor."""

    @property
    def descriptor(self) -> int:
        """Open for writing; positions are given with each write."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an inode says of itself besides its content. Times in nanoseconds since 1970."""

    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    ctime: int = 0


class Builder:
    """Adds files, links and directories, each directory after what it holds; `finish` makes the volume valid."""

    def __init__(self, sink: Sink, key: VolumeKey, mode: int = Mode.ENCRYPTED) -> None:
        self._sink, self._key, self._mode = sink, key, mode
        self._identifier = secrets.token_bytes(16)
        self._cipher = BlockCipher(key, self._identifier, mode)
        self._used = SUPERBLOCKS
        self._inodes: dict[int, Inode] = {}
        self._next = ROOT_INODE + 1

    def add(self, facts: Facts, content: Iterable[bytes]) -> int:
        """A file or symbolic link, its content in pieces of any size; the number of its inode."""
        number = self._next
        self._next += 1
        self._inodes[number] = self._object(number, facts, content)
        return number

    def link(self, number: int) -> None:
        """One more name for a file."""
        inode = self._inodes[number]
        self._inodes[number] = _with(inode, links=inode.links + 1)

    def directory(self, facts: Facts, entries: Iterable[Entry], *, root: bool = False) -> int:
        """A directory of what was added before; the root directory comes last. The number of its inode."""
        named = list(entries)
        if root:
            number = ROOT_INODE
        else:
            number, self._next = self._next, self._next + 1
        self._inodes[number] = self._object(number, facts, directory_blocks(named))
        for entry in named:
            if self._inodes[entry.inode].is_directory:
                self._inodes[entry.inode] = _with(self._inodes[entry.inode], parent=number)
        return number

    def finish(self) -> VolumeRoot:
        """Write the table and both superblocks, and bring all of it to the disk; the volume's root."""
        self._inodes[ROOT_INODE] = _with(self._inodes[ROOT_INODE], parent=ROOT_INODE)
        table = (self._inodes.get(number, FREE).serialize() for number in range(self._next))
        stored = self._object(TABLE, Facts(stat.S_IFREG), table)
        os.fsync(self._sink.descriptor)
        older, newer = (self._superblock(generation, stored) for generation in (FIRST_GENERATION, FIRST_GENERATION + 1))
        os.pwrite(self._sink.descriptor, older.serialize() + newer.serialize(), 0)
        os.fsync(self._sink.descriptor)
        return root_of(newer)

    def _superblock(self, generation: int, table: Inode) -> Superblock:
        untagged = Superblock(
            magic=MAGIC, version=VERSION, mode=self._mode, identifier=self._identifier, generation=generation,
            blocks=self._used, table_size=table.size, table_levels=table.levels, table_root=table.root,
            writer=bytes(16), tag=bytes(32),
        )  # fmt: skip
        content = untagged.serialize()[: -len(untagged.tag)]
        return Superblock.parse(content + superblock_tag(self._key, self._identifier, content))

    def _object(self, number: int, facts: Facts, content: Iterable[bytes]) -> Inode:
        size, pointers = 0, []
        for index, (block, length) in enumerate(in_blocks(content)):
            size += length
            pointers.append(self._store(block, Place(object=number, index=index, level=0)))
        levels = levels_for(size)
        for level in range(1, levels + 1):
            pointers = self._nodes(number, level, pointers)
        return Inode(
            mode=facts.mode, links=1, uid=facts.uid, gid=facts.gid, size=size, mtime=facts.mtime, ctime=facts.ctime,
            parent=0, levels=levels, root=Pointer.parse(pointers[0]) if pointers else HOLE,
        )  # fmt: skip

    def _nodes(self, number: int, level: int, pointers: list[bytes]) -> list[bytes]:
        made = []
        for index in range(-(-len(pointers) // FANOUT)):
            node = b"".join(pointers[index * FANOUT : (index + 1) * FANOUT]).ljust(BLOCK, b"\0")
            made.append(self._store(node, Place(object=number, index=index, level=level)))
        return made

    def _store(self, block: bytes, place: Place) -> bytes:
        """The pointer to it, as bytes: large files have many."""
        if block == ZEROS:
            return STORED_NOWHERE
        pointer, stored = self._cipher.seal(block, place, self._used)
        os.pwrite(self._sink.descriptor, stored, self._used * BLOCK)
        self._used += 1
        return pointer.serialize()


def in_blocks(content: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Whole blocks, and how many bytes of each are content: all, but in the last, which is filled up with zeros."""
    waiting = bytearray()
    for piece in content:
        waiting += piece
        while len(waiting) >= BLOCK:
            yield bytes(waiting[:BLOCK]), BLOCK
            del waiting[:BLOCK]
    if waiting:
        yield bytes(waiting).ljust(BLOCK, b"\0"), len(waiting)


def _with(inode: Inode, **changed: int) -> Inode:
    """The inode with other fields."""
    return Inode(**{name: value for name, value in inode.fields() if not name.startswith("reserved")} | changed)
