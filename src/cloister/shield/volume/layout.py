"""The records of a volume (docs/formats/volume.md). Parsing is strict; serializing gives the same bytes."""

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cloister._wire import Record, nested, raw, reserved, u8, u16, u32, u64
from cloister.errors import ParseError

__all__ = [
    "BLOCK",
    "FANOUT",
    "FREE",
    "HOLE",
    "INODES_PER_BLOCK",
    "MAGIC",
    "NAME_MAX",
    "ROOT_INODE",
    "SUPERBLOCKS",
    "TABLE",
    "VERSION",
    "Entry",
    "Inode",
    "Mode",
    "Place",
    "Pointer",
    "Superblock",
    "check_inode",
    "directory_blocks",
    "levels_for",
    "parse_directory_block",
    "parse_node",
]

MAGIC: Final = b"CLOIVOLM"
VERSION: Final = 1
BLOCK: Final = 4096
FANOUT: Final = 128
SUPERBLOCKS: Final = 2
TABLE: Final = 0
ROOT_INODE: Final = 1
NAME_MAX: Final = 255
ENTRY_START: Final = 8
TYPES: Final = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK})


class Mode:
    """What a volume does with its blocks."""

    ENCRYPTED: Final = 1
    AUTHENTICATED: Final = 2


class Pointer(Record, size=32):
    """Where a block is, and the nonce and tag of the one that is right."""

    physical: int = u32()
    nonce: bytes = raw(12)
    tag: bytes = raw(16)

    @property
    def is_hole(self) -> bool:
        """Whether it stands for zeros that are stored nowhere."""
        return self.physical == 0


HOLE: Final = Pointer(physical=0, nonce=bytes(12), tag=bytes(16))


class Place(Record, size=24):
    """Where in the volume a block belongs: its associated data."""

    object: int = u64()
    index: int = u64()
    level: int = u64()


class Inode(Record, size=128):
    """A file, directory or symbolic link. Sizes in bytes, times in nanoseconds since 1970."""

    mode: int = u32()
    links: int = u32()
    uid: int = u32()
    gid: int = u32()
    size: int = u64()
    mtime: int = u64()
    ctime: int = u64()
    parent: int = u64()
    levels: int = u32()
    reserved_52: bytes = reserved(12)
    root: Pointer = nested(Pointer)
    reserved_96: bytes = reserved(32)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)


INODES_PER_BLOCK: Final = BLOCK // Inode.SIZE


class Superblock(Record, size=BLOCK):
    """Where everything starts. `tag` is the HMAC-SHA-256 of what stands before it."""

    magic: bytes = raw(8, equals=MAGIC)
    version: int = u32(equals=VERSION)
    mode: int = u32()
    identifier: bytes = raw(16)
    generation: int = u64()
    blocks: int = u64()
    table_size: int = u64()
    table_levels: int = u32()
    reserved_60: bytes = reserved(4)
    table_root: Pointer = nested(Pointer)
    writer: bytes = raw(16)
    reserved_112: bytes = reserved(3952)
    tag: bytes = raw(32)


class EntryStart(Record, size=ENTRY_START):
    """What stands before an entry's name."""

    inode: int = u32()
    length: int = u16()
    name_length: int = u8()
    reserved_7: bytes = reserved(1)


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a directory, and the inode it names."""

    name: bytes
    inode: int


def levels_for(size: int) -> int:
    """How many levels of nodes an object of `size` bytes has above its data."""
    blocks, levels = -(-size // BLOCK), 0
    while blocks > FANOUT**levels:
        levels += 1
    return levels


def parse_node(block: bytes) -> list[Pointer]:
    """The 128 pointers of a node. ParseError if a hole has a nonce or a tag."""
    pointers = [Pointer.parse(block[at : at + Pointer.SIZE], base=at) for at in range(0, BLOCK, Pointer.SIZE)]
    for number, pointer in enumerate(pointers):
        if pointer.is_hole and pointer != HOLE:
            raise ParseError("node", f"pointer {number}", number * Pointer.SIZE, "a hole must be all zeros")
    return pointers


def check_inode(inode: Inode, number: int) -> None:
    """ParseError unless its fields agree with one another."""
    if inode.mode == 0:
        wrong = inode != FREE
        reason = "a free inode must be all zeros"
    elif stat.S_IFMT(inode.mode) not in TYPES or inode.mode >> 16:
        wrong, reason = True, f"type {stat.S_IFMT(inode.mode):o} is not stored in volumes"
    elif inode.is_directory and inode.size % BLOCK:
        wrong, reason = True, f"a directory of {inode.size} bytes"
    else:
        wrong = inode.levels != levels_for(inode.size) or (inode.root.is_hole and inode.root != HOLE)
        reason = f"{inode.levels} levels for {inode.size} bytes"
    if wrong:
        raise ParseError("Inode", f"inode {number}", number * Inode.SIZE, reason)


FREE: Final = Inode(mode=0, links=0, uid=0, gid=0, size=0, mtime=0, ctime=0, parent=0, levels=0, root=HOLE)


def parse_directory_block(block: bytes) -> Iterator[Entry]:
    """The entries of one block of a directory. ParseError."""
    at = 0
    while at < BLOCK:
        if BLOCK - at < ENTRY_START:
            raise ParseError("directory", "entry", at, f"{BLOCK - at} bytes are left for an entry")
        start = EntryStart.parse(block[at : at + ENTRY_START], base=at)
        end = at + start.length
        name_end = at + ENTRY_START + start.name_length
        if start.length % 4 or end > BLOCK or name_end > end:
            raise ParseError("directory", "length", at + 4, f"{start.length} bytes for a name of {start.name_length}")
        name = block[at + ENTRY_START : name_end]
        _check_entry(start, name, block[name_end:end], at)
        if start.inode:
            yield Entry(name, start.inode)
        at = end


def _check_entry(start: EntryStart, name: bytes, rest: bytes, at: int) -> None:
    if any(rest):
        raise ParseError("directory", "entry", at, "what follows a name must be zeros")
    if bool(start.inode) != bool(name):
        raise ParseError("directory", "name", at + ENTRY_START, "a name without an inode, or an inode without a name")
    if name in {b".", b".."} or b"/" in name or b"\0" in name:
        raise ParseError("directory", "name", at + ENTRY_START, f"{name!r} is no name of a file")


def directory_blocks(entries: Iterable[Entry]) -> Iterator[bytes]:
    """A directory's content: the entries in order, in as few blocks as that gives."""
    waiting: list[Entry] = []
    used = 0
    for entry in entries:
        length = entry_length(entry)
        if used + length > BLOCK:
            yield _directory_block(waiting)
            waiting, used = [], 0
        waiting.append(entry)
        used += length
    if waiting:
        yield _directory_block(waiting)


def entry_length(entry: Entry) -> int:
    """How many bytes it takes at least."""
    return -(-(ENTRY_START + len(entry.name)) // 4) * 4


def _directory_block(entries: list[Entry]) -> bytes:
    """The last entry takes what is left."""
    made = bytearray()
    for number, entry in enumerate(entries):
        is_last = number == len(entries) - 1
        length = BLOCK - len(made) if is_last else entry_length(entry)
        start = EntryStart(inode=entry.inode, length=length, name_length=len(entry.name))
        made += (start.serialize() + entry.name).ljust(length, b"\0")
    return bytes(made)
