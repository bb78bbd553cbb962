"""Random calls on files, and what came of each: `python3 file_program.py DIRECTORY SEED STEPS`.

Started natively and in an enclave whose shield holds DIRECTORY: both must say the same. What Linux leaves open
(sizes and link counts of directories, device and inode numbers, times of access) is not said.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import random
import signal
import stat
import sys
from collections.abc import Callable

NAMES = ("a", "b", "c", "dd", "e", "x" * 255, "y" * 256, ".", "..", "e/", "a/..", "./b", "//c", "")
SIZES = (0, 1, 10, 4095, 4096, 4097, 10_000, 70_000, 200_000)
PLACES = (0, 1, 4095, 4096, 5000, 65_536, 100_000, 1 << 22)
ACCESS = (os.O_RDONLY, os.O_RDWR, os.O_WRONLY)
MODES = (0o644, 0o600, 0o777, 0o755, 0o444, 0o000, 0o1777, 0o2775)
NOBODY = 65534


def kept(status: os.stat_result) -> tuple[object, ...]:
    """What two file systems must agree on."""
    kind, directory = stat.S_IFMT(status.st_mode), stat.S_ISDIR(status.st_mode)
    counted = ("-", "-") if directory else (status.st_size, status.st_nlink)
    return (oct(kind), oct(stat.S_IMODE(status.st_mode)), *counted, status.st_uid, status.st_gid)


def digest(data: bytes) -> tuple[int, int, int]:
    return (len(data), sum(data), sum(data[::7]))


class Work:
    """One process's files."""

    def __init__(self, root: str, seed: int) -> None:
        self.root, self.chance = root, random.Random(seed)  # noqa: S311 - it must be repeatable
        self.open: list[int] = []
        self.said = ""
        os.chdir(root)

    def path(self) -> str:
        names = "/".join(self.chance.choice(NAMES) for _ in range(self.chance.choice((1, 1, 1, 2, 2, 3))))
        path = os.path.join(self.root, names) if self.chance.random() < 0.7 else names
        self.said += f" {path.replace('x' * 255, 'X').replace('y' * 256, 'Y').replace(self.root, '~')!r}"
        return path

    def inside(self, path: str, directory: int | None = None, *, of_itself: bool = True) -> str:
        """The path, unless it leads out of the directory: what is there differs."""
        start = os.getcwd() if directory is None else os.readlink(f"/proc/self/fd/{directory}")
        whole = os.path.normpath(os.path.join(start, path))
        if not whole.startswith(self.root + "/") and not (of_itself and whole == self.root):
            raise ValueError(path)
        return path

    def flags(self) -> int:
        pick = self.chance.choice
        flags = pick(ACCESS) | pick((0, os.O_CREAT, os.O_CREAT, os.O_CREAT | os.O_EXCL)) | pick((0, 0, os.O_TRUNC))
        flags |= pick((0, 0, os.O_APPEND)) | pick((0, 0, 0, os.O_NOFOLLOW)) | pick((0, 0, 0, 0, os.O_SYNC, os.O_DSYNC))
        flags = flags if flags & os.O_CREAT else flags | pick((0, 0, 0, os.O_DIRECTORY, os.O_PATH))
        self.said += f" {flags:#o}"
        return flags

    def some(self) -> int:
        if not self.open:
            raise ValueError("none")
        return self.chance.choice(self.open)

    def keep(self, number: int) -> int:
        self.open.append(number)
        if len(self.open) > 12:
            os.close(self.open.pop(0))
        return number

    def data(self) -> bytes:
        return bytes([self.chance.randrange(1, 256)]) * self.chance.choice(SIZES)

    # ---- by path

    def op_open(self) -> object:
        return kept(os.fstat(self.keep(os.open(self.inside(self.path()), self.flags(), self.chance.choice(MODES)))))

    def op_mkdir(self) -> None:
        os.mkdir(self.inside(self.path()), self.chance.choice(MODES))

    def op_rmdir(self) -> None:
        os.rmdir(self.inside(self.path(), of_itself=False))

    def op_unlink(self) -> None:
        os.unlink(self.inside(self.path()))

    def op_rename(self) -> None:
        os.rename(self.inside(self.path(), of_itself=False), self.inside(self.path(), of_itself=False))

    def op_link(self) -> None:
        os.link(self.inside(self.path()), self.inside(self.path()), follow_symlinks=False)

    def op_symlink(self) -> None:
        target = self.chance.choice(("a", "b", "a/b", "./a", f"{self.root}/b", "nowhere", ".", "dd/", "x" * 255))
        os.symlink(target, self.inside(self.path()))

    def op_readlink(self) -> object:
        return os.readlink(self.inside(self.path()))

    def op_stat(self) -> object:
        return kept(os.stat(self.inside(self.path())))

    def op_lstat(self) -> object:
        return kept(os.lstat(self.inside(self.path())))

    def op_list(self) -> object:
        return sorted(os.listdir(self.inside(self.path())))

    def op_truncate(self) -> None:
        os.truncate(self.inside(self.path()), self.chance.choice(PLACES))

    def op_chmod(self) -> None:
        os.chmod(self.inside(self.path()), self.chance.choice(MODES))

    def op_chown(self) -> None:
        os.chown(self.inside(self.path()), self.chance.choice((-1, 0, 1, NOBODY)), self.chance.choice((-1, 0, NOBODY)))

    def op_chdir(self) -> object:
        os.chdir(self.inside(self.path()))
        return os.getcwd()

    def op_access(self) -> object:
        return os.access(self.inside(self.path()), self.chance.randrange(8), effective_ids=True)

    def op_utime(self) -> object:
        path, moment = self.inside(self.path()), self.chance.randrange(1 << 33)
        os.utime(path, ns=(moment, moment))
        return os.stat(path).st_mtime_ns

    def op_mknod(self) -> None:
        os.mknod(self.inside(self.path()), stat.S_IFREG | self.chance.choice(MODES))

    # ---- by the descriptor of a directory

    def at(self) -> int:
        directories = [number for number in self.open if stat.S_ISDIR(os.fstat(number).st_mode)]
        if not directories:
            raise ValueError("none")
        return self.chance.choice(directories)

    def op_openat(self) -> object:
        at = self.at()
        path = self.inside(self.path(), at)
        return kept(os.fstat(self.keep(os.open(path, self.flags(), self.chance.choice(MODES), dir_fd=at))))

    def op_statat(self) -> object:
        at = self.at()
        return kept(os.stat(self.inside(self.path(), at), dir_fd=at, follow_symlinks=self.chance.random() < 0.5))

    def op_unlinkat(self) -> None:
        at = self.at()
        os.unlink(self.inside(self.path(), at), dir_fd=at)

    def op_mkdirat(self) -> None:
        at = self.at()
        os.mkdir(self.inside(self.path(), at), self.chance.choice(MODES), dir_fd=at)

    def op_renameat(self) -> None:
        one, other = self.at(), self.at()
        old, new = self.inside(self.path(), one, of_itself=False), self.inside(self.path(), other, of_itself=False)
        os.rename(old, new, src_dir_fd=one, dst_dir_fd=other)

    def op_fchdir(self) -> object:
        number = self.some()
        os.fchdir(number)
        return self.inside(os.getcwd())

    def op_fdopendir(self) -> object:
        number = self.at()
        os.lseek(number, 0, os.SEEK_SET)  # other places are the file system's own
        return sorted(os.listdir(number))

    # ---- by descriptor

    def op_write(self) -> object:
        number = self.some()
        return os.write(number, self.data()), os.lseek(number, 0, os.SEEK_CUR)

    def op_writev(self) -> object:
        return os.writev(self.some(), [self.data() for _ in range(self.chance.randrange(1, 5))])

    def op_read(self) -> object:
        return digest(os.read(self.some(), self.chance.choice(SIZES)))

    def op_readv(self) -> object:
        rooms = [bytearray(self.chance.choice(SIZES)) for _ in range(self.chance.randrange(1, 5))]
        return os.readv(self.some(), rooms), [digest(bytes(room)) for room in rooms]

    def op_pwrite(self) -> object:
        return os.pwrite(self.some(), self.data(), self.chance.choice(PLACES))

    def op_pread(self) -> object:
        return digest(os.pread(self.some(), self.chance.choice(SIZES), self.chance.choice(PLACES)))

    def op_lseek(self) -> object:
        whence, place = self.chance.randrange(3), self.chance.choice(PLACES)
        return os.lseek(self.some(), -min(place, 100) if whence == 2 else place, whence)

    def op_ftruncate(self) -> object:
        number = self.some()
        os.ftruncate(number, self.chance.choice(PLACES))
        return os.fstat(number).st_size

    def op_fallocate(self) -> object:
        number = self.some()
        os.posix_fallocate(number, self.chance.choice(PLACES), self.chance.choice(SIZES))
        return os.fstat(number).st_size

    def op_fchmod(self) -> None:
        os.fchmod(self.some(), self.chance.choice(MODES))

    def op_dup(self) -> object:
        return kept(os.fstat(self.keep(os.dup(self.some()))))

    def op_dup2(self) -> object:
        return os.dup2(self.some(), self.some()) in self.open

    def op_close(self) -> None:
        number = self.some()
        self.open.remove(number)
        os.close(number)

    def op_sync(self) -> object:
        return self.chance.choice((os.fsync, os.fdatasync))(self.some())

    def op_status(self) -> object:
        number = self.some()
        return fcntl.fcntl(number, fcntl.F_GETFL) & ~0o100000, os.get_inheritable(number), kept(os.fstat(number))

    def op_setfl(self) -> object:
        return fcntl.fcntl(self.some(), fcntl.F_SETFL, self.chance.choice((0, os.O_APPEND)))

    def op_again(self) -> object:
        """By the descriptor's own path."""
        number = self.some()
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ValueError("not a file")
        return kept(os.fstat(self.keep(os.open(f"/proc/self/fd/{number}", self.chance.choice(ACCESS)))))

    # ---- mappings and locks

    def op_map(self) -> object:
        number, length = self.some(), self.chance.choice((1, 4096, 70_000))
        size = os.fstat(number).st_size
        if size < length or not stat.S_ISREG(os.fstat(number).st_mode):
            raise ValueError("too short")
        shared = self.chance.random() < 0.6
        kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
        protection = self.chance.choice((mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE))
        with mmap.mmap(number, length, kind, protection) as mapped:
            before = digest(mapped[:])
            if protection & mmap.PROT_WRITE:
                mapped[length // 2] = self.chance.randrange(256)
                if shared and self.chance.random() < 0.5:
                    mapped.flush()
            after = (
                digest(os.pread(number, length, 0)) if fcntl.fcntl(number, fcntl.F_GETFL) & 3 != os.O_WRONLY else "-"
            )
            os.ftruncate(number, size) if self.chance.random() < 0.1 else None
            return before, after, digest(mapped[:])

    def op_lock(self) -> object:
        kind = self.chance.choice((fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN))
        return fcntl.lockf(self.some(), kind | fcntl.LOCK_NB, self.chance.choice(SIZES), self.chance.choice(PLACES))

    def op_flock(self) -> None:
        kind = self.chance.choice((fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN))
        fcntl.flock(self.some(), kind | fcntl.LOCK_NB)

    # ---- processes

    def op_child(self) -> object:
        """A few steps of a child, with what it inherited: offsets and flags are shared, locks are not."""
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            words = [self.step() for _ in range(self.chance.randrange(1, 6))]
            os.write(writing, repr(words).encode()[:60_000])
            os.kill(os.getpid(), signal.SIGKILL) if self.chance.random() < 0.1 else os._exit(0)
        os.close(writing)
        said = b""
        while piece := os.read(reading, 65_536):
            said += piece
        os.close(reading)
        self.chance.random()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said

    def step(self) -> str:
        name, self.said = self.chance.choice(OPERATIONS), ""
        operation: Callable[[], object] = getattr(self, name)
        try:
            return f"{name} {operation()}{self.said}"
        except OSError as error:
            return f"{name} {errno.errorcode[error.errno or 0]}{self.said}"
        except ValueError as error:
            return f"{name} - {str(error)[:20]}"


OPERATIONS = [name for name in dir(Work) if name.startswith("op_")]
OPERATIONS += ["op_open"] * 5 + ["op_write", "op_pwrite", "op_read", "op_rename", "op_openat"] * 2


def say_tree(directory: str, root: str) -> None:
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        status = os.lstat(path)
        print(path[len(root) :], kept(status))
        if stat.S_ISDIR(status.st_mode):
            say_tree(path, root)
        elif stat.S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                print(digest(file.read()))


def main(root: str, seed: int, steps: int) -> None:
    """As nobody for every third seed: then permissions count."""
    os.umask(0o22)
    os.chmod(root, 0o755)
    work = Work(root, seed)
    if seed % 3 == 0:
        os.chown(root, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    for number in range(steps):
        print(number, work.step())
    with contextlib.suppress(OSError):
        os.seteuid(0)
    os.chdir(root)
    say_tree(root, root)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
