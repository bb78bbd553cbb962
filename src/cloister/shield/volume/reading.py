"""What stands in a volume: inodes, directories, contents, and paths to them."""

import os
import stat
from collections.abc import Iterator

from cloister.errors import ParseError, UsageError
from cloister.shield.volume.container import Container
from cloister.shield.volume.keys import VolumeBroken
from cloister.shield.volume.layout import (
    BLOCK,
    FANOUT,
    INODES_PER_BLOCK,
    ROOT_INODE,
    TABLE,
    Entry,
    Inode,
    Place,
    Pointer,
    check_inode,
    parse_directory_block,
    parse_node,
)

__all__ = ["Volume"]


class Volume:
    """The files of an opened container. Every block is authenticated when it is read."""

    def __init__(self, container: Container) -> None:
        self.container = container
        start = container.superblock
        self.inode_count = start.table_size // Inode.SIZE

    def inode(self, number: int) -> Inode:
        """VolumeBroken if there is none."""
        if not ROOT_INODE <= number < self.inode_count:
            raise VolumeBroken(f"{self.container.path}: an entry names inode {number} of {self.inode_count}")
        start = self.container.superblock
        block = self.block(TABLE, start.table_root, start.table_levels, number // INODES_PER_BLOCK)
        at = number % INODES_PER_BLOCK * Inode.SIZE
        with self._as_broken(f"inode {number}"):
            found = Inode.parse(block[at : at + Inode.SIZE])
            check_inode(found, number)
        return found

    def block(self, number: int, root: Pointer, levels: int, index: int) -> bytes:
        """Data block `index` of object `number`, whose tree is `levels` high. VolumeBroken."""
        pointer = root
        for level in range(levels, 0, -1):
            if pointer.is_hole:
                break
            node = self.node(pointer, Place(object=number, index=index // FANOUT**level, level=level))
            pointer = node[index // FANOUT ** (level - 1) % FANOUT]
        return self.container.read(pointer, Place(object=number, index=index, level=0))

    def node(self, pointer: Pointer, place: Place) -> list[Pointer]:
        """The pointers of a node. VolumeBroken."""
        with self._as_broken(f"a node of object {place.object}"):
            return parse_node(self.container.read(pointer, place))

    def content(self, number: int) -> Iterator[bytes]:
        """The bytes of a file or link, block by block. VolumeBroken."""
        inode = self.inode(number)
        for index in range(-(-inode.size // BLOCK)):
            block = self.block(number, inode.root, inode.levels, index)
            yield block[: inode.size - index * BLOCK]

    def entries(self, number: int) -> Iterator[Entry]:
        """The entries of a directory, in their stored order. VolumeBroken."""
        for block in self.content(number):
            with self._as_broken(f"directory {number}"):
                yield from parse_directory_block(block)

    def find(self, path: str) -> int:
        """The inode at a path from the volume's root; links are not followed. UsageError if there is none."""
        number = ROOT_INODE
        for name in (part for part in path.split("/") if part not in {"", "."}):
            if not self.inode(number).is_directory:
                raise UsageError(f"{path}: in this volume, what stands before {name!r} is no directory")
            wanted = os.fsencode(name)
            matching = [entry.inode for entry in self.entries(number) if entry.name == wanted]
            if not matching:
                raise UsageError(f"{path}: there is no {name!r} in this volume")
            number = matching[0]
        return number

    def walk(self, number: int = ROOT_INODE, prefix: bytes = b"") -> Iterator[tuple[bytes, int]]:
        """Every path below a directory and its inode, parents first, names in order."""
        for entry in sorted(self.entries(number), key=lambda one: one.name):
            path = prefix + entry.name
            yield path, entry.inode
            if self.inode(entry.inode).is_directory:
                yield from self.walk(entry.inode, path + b"/")

    def link_target(self, number: int) -> bytes:
        """What a symbolic link says. VolumeBroken if it is none."""
        if not stat.S_ISLNK(self.inode(number).mode):
            raise VolumeBroken(f"{self.container.path}: inode {number} is no symbolic link")
        return b"".join(self.content(number))

    def _as_broken(self, what: str) -> "_AsBroken":
        return _AsBroken(f"{self.container.path}: {what}")


class _AsBroken:
    """Authentic bytes that are no record: whoever had the key wrote them wrongly."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ParseError):
            raise VolumeBroken(f"{self._what}: {error}") from error
