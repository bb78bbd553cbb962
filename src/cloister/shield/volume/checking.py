"""Whether a whole volume is right: every block authenticates, and every record agrees with the others."""

from collections.abc import Callable
from dataclasses import dataclass

from cloister.shield.volume.keys import VolumeBroken
from cloister.shield.volume.layout import (
    BLOCK,
    FANOUT,
    NAME_MAX,
    ROOT_INODE,
    TABLE,
    Inode,
    Place,
    Pointer,
    levels_for,
)
from cloister.shield.volume.reading import Volume

__all__ = ["Checked", "check"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Checked:
    """What was looked at."""

    files: int
    directories: int
    links: int
    bytes: int
    blocks: int


def check(volume: Volume, progress: Progress | None = None) -> Checked:
    """Read everything. VolumeBroken at the first thing that is wrong; `progress` is told blocks: done, of all."""
    return _Check(volume, progress).run()


class _Check:
    def __init__(self, volume: Volume, progress: Progress | None) -> None:
        self._volume, self._progress = volume, progress
        self._path = volume.container.path
        self._total = volume.container.superblock.blocks
        self._seen: set[int] = set()
        self._named: dict[int, int] = {ROOT_INODE: 1}

    def run(self) -> Checked:
        start = self._volume.container.superblock
        if start.table_size % Inode.SIZE or start.table_levels != levels_for(start.table_size):
            raise VolumeBroken(f"{self._path}: the table of inodes has an impossible size: {start.table_size} bytes")
        self._tree(TABLE, start.table_root, start.table_levels, start.table_size)
        self._directory(ROOT_INODE, ROOT_INODE)
        return self._inodes()

    def _tree(self, number: int, root: Pointer, level: int, size: int, index: int = 0) -> None:
        """One object's block at `level` and `index` and all below, and that what lies behind its size is zero."""
        behind = (index * FANOUT**level) * BLOCK >= size
        if root.is_hole:
            return
        if behind and index:
            raise VolumeBroken(f"{self._path}: object {number} has a block behind its end")
        if root.physical in self._seen:
            raise VolumeBroken(f"{self._path}: block {root.physical} is used twice, the second time by object {number}")
        self._seen.add(root.physical)
        if self._progress:
            self._progress(len(self._seen), self._total)
        place = Place(object=number, index=index, level=level)
        if level:
            for child, pointer in enumerate(self._volume.node(root, place)):
                self._tree(number, pointer, level - 1, size, index * FANOUT + child)
            return
        block = self._volume.container.read(root, place)
        if any(block[max(size - index * BLOCK, 0) :]):
            raise VolumeBroken(f"{self._path}: object {number} has bytes behind its end")

    def _directory(self, number: int, parent: int) -> None:
        """Depth first, without recursion: a volume may be deeper than Python's stack."""
        waiting = [(number, parent)]
        while waiting:
            number, parent = waiting.pop()
            if self._volume.inode(number).parent != parent:
                raise VolumeBroken(f"{self._path}: directory {number} does not know the directory that names it")
            names: set[bytes] = set()
            for entry in self._volume.entries(number):
                if entry.name in names or len(entry.name) > NAME_MAX:
                    raise VolumeBroken(f"{self._path}: directory {number} names {entry.name!r} twice")
                names.add(entry.name)
                self._named[entry.inode] = self._named.get(entry.inode, 0) + 1
                if self._volume.inode(entry.inode).is_directory:
                    if self._named[entry.inode] > 1:
                        raise VolumeBroken(f"{self._path}: directory {entry.inode} is named twice")
                    waiting.append((entry.inode, number))

    def _inodes(self) -> Checked:
        files = directories = links = size = 0
        for number in range(ROOT_INODE, self._volume.inode_count):
            inode = self._volume.inode(number)
            named = self._named.get(number, 0)
            if inode.links != named:
                raise VolumeBroken(f"{self._path}: inode {number} has {inode.links} links; {named} entries name it")
            if inode.mode == 0:
                continue
            self._tree(number, inode.root, inode.levels, inode.size)
            size += 0 if inode.is_directory else inode.size
            files += not inode.is_directory
            directories += inode.is_directory
            links += inode.links
        return Checked(files, directories, links - directories, size, len(self._seen))
