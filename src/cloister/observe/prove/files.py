"""Which files the program wrote, and whether the secret is in them or in their names.

Two sources. fanotify(7), where the prover may use it (root): every file on any mounted disk or tmpfs that was closed
after writing, handed over open, so that a file deleted at once is read too. And a comparison of directory trees before
and after: the working directory, the temporary directories, /dev/shm, the directory of core files.
"""

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloister.observe.prove.descriptors import FileId
from cloister.observe.prove.grounds.blocks import DiskBlocks
from cloister.observe.prove.kernel_unsafe import mark_mount, open_fanotify, waiting_bytes
from cloister.observe.prove.record import Surface
from cloister.observe.prove.wanted import Wanted

__all__ = ["FileHit", "FileWatch", "Tree", "core_directory", "watched_directories"]

EVENT = struct.Struct("<IBBHQii")  # struct fanotify_event_metadata: length, version, reserved, metadata, mask, fd, pid
STORED = {
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "btrfs",
    "f2fs",
    "zfs",
    "tmpfs",
    "ramfs",
    "overlay",
    "vfat",
    "exfat",
    "nfs4",
    "9p",
}
PUBLIC = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 -- looked at, nothing is created there
TREE_LIMIT = 50_000
FOREIGN_LIMIT = 1 << 20
EVENTS_AT_ONCE = 64  # each event is an open descriptor, and the prover may have 1024
FILE_LIMIT = 256 << 20


@dataclass(frozen=True, kw_only=True)
class FileHit:
    """A labelled secret seen in a file, or in its name; `pid` is the writer where fanotify told it, else 0."""

    label: str
    encoding: str
    surface: Surface
    path: str
    pid: int


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The entries of directory trees: path to (inode, size, mtime, ctime). `complete` is false beyond TREE_LIMIT."""

    entries: dict[str, tuple[int, int, int, int]]
    complete: bool

    @classmethod
    def read(cls, directories: tuple[Path, ...]) -> "Tree":
        """Walk the directories without following links; what vanishes or may not be read is left out."""
        entries: dict[str, tuple[int, int, int, int]] = {}
        for entry in walk(directories):
            if len(entries) >= TREE_LIMIT:
                return cls(entries=entries, complete=False)
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            entries[entry.path] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return cls(entries=entries, complete=True)

    def changed_since(self, before: "Tree") -> list[str]:
        """Paths that are new or differ."""
        return [path for path, identity in self.entries.items() if before.entries.get(path) != identity]


def walk(directories: tuple[Path, ...]) -> Iterator[os.DirEntry[str]]:
    """Every entry below the directories, staying on each one's file system."""
    waiting = [str(directory) for directory in directories]
    devices = {directory.stat().st_dev for directory in directories}
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    yield entry
                    if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_dev in devices:
                        waiting.append(entry.path)
        except OSError:
            continue


def core_directory(cwd: Path) -> Path | str:
    """Where the kernel writes core files of a process in `cwd`, or the program it pipes them to (core(5))."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith("|"):
        return pattern[1:].split()[0]
    return Path(pattern).parent if pattern.startswith("/") else cwd


def watched_directories(cwd: Path, environment_tmp: str | None) -> tuple[Path, ...]:
    """The trees compared before and after, without those inside another one."""
    core = core_directory(cwd)
    wanted = [cwd, Path(environment_tmp or cwd), *PUBLIC]
    candidates = {path.resolve() for path in [*wanted, *([core] if isinstance(core, Path) else [])] if path.is_dir()}
    return tuple(
        sorted(p for p in candidates if not any(p != other and p.is_relative_to(other) for other in candidates))
    )


@dataclass(kw_only=True)
class FileWatch:
    """Watches from `start` to `finish`; `foreign` tells whether a pid is outside the program's family."""

    wanted: Wanted
    directories: tuple[Path, ...]
    excluded: frozenset[FileId]
    foreign: Callable[[int], bool]
    group: int = -1
    before: Tree = field(default_factory=lambda: Tree(entries={}, complete=False))
    notes: list[str] = field(default_factory=list)
    blocks: DiskBlocks | None = None
    files: int = 0
    size: int = 0
    written: dict[str, None] = field(default_factory=dict)
    skipped: int = 0

    def start(self) -> None:
        """Begin watching: mark the mounts, then read the trees."""
        try:
            self.group = open_fanotify()
            for mount in stored_mounts():
                self.mark(mount)
        except OSError as error:
            self.notes.append(f"files written outside the watched directories were not seen ({error})")
        self.before = Tree.read(self.directories)

    def mark(self, mount: Path) -> None:
        """Watch one mounted file system; one that refuses is noted."""
        try:
            mark_mount(self.group, mount)
        except OSError as error:
            self.notes.append(f"files written on {mount} were not seen unless in a watched directory ({error})")

    @property
    def sees_everything(self) -> bool:
        """Whether written files could be found at all: by fanotify, or by complete trees."""
        return self.group >= 0 or self.before.complete

    def drain(self) -> Iterator[FileHit]:
        """The hits in files closed after writing since the last call, and no later: others may write without end."""
        left = waiting_bytes(self.group) if self.group >= 0 else 0
        while left > 0:
            try:
                events = os.read(self.group, min(left, EVENTS_AT_ONCE * EVENT.size))
            except BlockingIOError:
                return
            except (
                OSError
            ) as error:  # the kernel could not open the file of the event for us: nobody knows whose it was
                left -= EVENT.size
                self.skipped += 1
                self.notes.append(f"a written file could not be opened ({error})")
                continue
            left -= len(events)
            for *_, descriptor, pid in EVENT.iter_unpack(events):
                if descriptor >= 0:
                    try:
                        yield from self.look(descriptor, pid)
                    finally:
                        os.close(descriptor)

    def look(self, descriptor: int, pid: int) -> Iterator[FileHit]:
        """The hits in one file handed over by fanotify; the prover's own files are not the program's."""
        status = os.fstat(descriptor)
        limit = FOREIGN_LIMIT if self.foreign(pid) else FILE_LIMIT
        if pid != os.getpid() and (status.st_dev, status.st_ino) not in self.excluded:
            path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            if limit == FILE_LIMIT:
                self.belongs(descriptor, path)
            yield from self.look_in(f"/proc/self/fd/{descriptor}", path, pid, status, limit)

    def belongs(self, descriptor: int, path: str) -> None:
        """Note a file of the program's own, and where it lies."""
        self.written.setdefault(path)
        if self.blocks is not None:
            self.blocks.wrote(descriptor, path)

    def look_in(self, source: str, path: str, pid: int, status: os.stat_result, limit: int) -> Iterator[FileHit]:
        """The hits in one file's name and content."""
        self.files += 1
        for label, encoding in self.wanted.search(os.fsencode(path)):
            yield FileHit(label=label, encoding=encoding, surface=Surface.FILE_NAME, path=path, pid=pid)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            self.skipped += stat.S_ISREG(status.st_mode) and limit == FILE_LIMIT
            return
        self.size += status.st_size
        surface = Surface.CORE if is_core(source) else Surface.FILE
        for label, encoding in self.read(Path(source), limit):
            yield FileHit(label=label, encoding=encoding, surface=surface, path=path, pid=pid)

    def read(self, path: Path, limit: int) -> set[tuple[str, str]]:
        """What is found in one file; one of the program's own that cannot be read is counted, and leaves a doubt."""
        try:
            return self.wanted.search_file(path)
        except OSError:
            self.skipped += limit == FILE_LIMIT
            return set()

    def finish(self) -> Iterator[FileHit]:
        """The last events, then everything that changed in the trees."""
        yield from self.drain()
        after = Tree.read(self.directories)
        if not after.complete:
            self.notes.append(f"more than {TREE_LIMIT} files in the watched directories: not all were compared")
        for path in after.changed_since(self.before):
            try:
                yield from self.look_at_changed(path)
            except OSError:
                continue

    def look_at_changed(self, path: str) -> Iterator[FileHit]:
        """The hits in one changed entry of the trees; a link's target counts as a name."""
        status = os.lstat(path)
        if (status.st_dev, status.st_ino) in self.excluded:
            return
        name = f"{path} -> {Path(path).readlink()}" if stat.S_ISLNK(status.st_mode) else path
        if stat.S_ISREG(status.st_mode) and self.group < 0:  # else whose it is was told, and this may be anybody's
            with opened(path) as descriptor:
                self.belongs(descriptor, path)
        yield from self.look_in(path, name, 0, status, FILE_LIMIT)

    def close(self) -> None:
        """End the fanotify group."""
        if self.group >= 0:
            os.close(self.group)
            self.group = -1


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of a file, to ask about it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def stored_mounts() -> list[Path]:
    """Mount points that hold files a program may write, one per file system (proc_pid_mountinfo(5))."""
    mounts: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        device, point = fields.split()[2], fields.split()[4]
        if rest.split()[0] in STORED:
            mounts.setdefault(device, Path(point.replace("\\040", " ")))
    return list(mounts.values())


def is_core(path: str) -> bool:
    """Whether a file is an ELF core: e_type is ET_CORE (elf(5))."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(18)
    except OSError:
        return False
    return head[:4] == b"\x7fELF" and head[16:18] == b"\x04\x00"
