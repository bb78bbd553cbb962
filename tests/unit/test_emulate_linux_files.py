"""System calls on files, through an honest host, on real files; what is compared is what Python says of them."""

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.emulate_linux_space import SCRATCH, Bench, honest

from cloister.emulate.linux.messages import LARGEST_DATA
from cloister.emulate.linux.outcome import Ended
from cloister.measure.image import PAGE, Architecture

HERE = -100
SIGPIPE = 13
BIG = 2 * LARGEST_DATA + 777


@pytest.fixture(params=list(Architecture))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made, host = honest(b"typed\n", architecture=request.param)
    with host:
        yield made


def area(bench: Bench) -> int:
    return bench.call("mmap", 0, BIG, 3, 0x22, (1 << 64) - 1, 0)


def opened(bench: Bench, path: Path, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
    return bench.call("openat", HERE, os.fsencode(path), flags, mode)


def test_console_input_is_kept_until_it_is_read(bench: Bench) -> None:
    assert bench.call("read", 0, SCRATCH, 2) == 2
    assert bench.call("read", 0, SCRATCH + 2, 100) == 4
    assert bench.memory(6) == b"typed\n"
    assert bench.call("read", 0, SCRATCH, 100) == 0
    assert bench.call("read", 1, SCRATCH, 1) == -errno.EBADF
    assert bench.call("write", 0, b"x", 1) == -errno.EBADF


def test_console_output_of_any_length(bench: Bench) -> None:
    place, content = area(bench), os.urandom(BIG)
    bench.space.write(place, content)
    assert bench.call("write", 1, place, BIG) == BIG
    assert bytes(bench.output) == content


def test_vectors(bench: Bench) -> None:
    vector = struct.pack("<QQQQ", SCRATCH + 100, 3, SCRATCH + 200, 2)
    bench.space.write(SCRATCH + 100, b"abc")
    bench.space.write(SCRATCH + 200, b"de")
    bench.space.write(SCRATCH, vector)
    assert bench.call("writev", 2, SCRATCH, 2) == 5
    assert bytes(bench.output) == b"abcde"


def test_long_files_are_read_and_written_in_parts(bench: Bench, tmp_path: Path) -> None:
    place, content, path = area(bench), os.urandom(BIG), tmp_path / "file"
    bench.space.write(place, content)
    descriptor = opened(bench, path, os.O_RDWR | os.O_CREAT)
    assert bench.call("write", descriptor, place, BIG) == BIG
    assert path.read_bytes() == content
    assert bench.call("lseek", descriptor, -100, os.SEEK_END) == BIG - 100
    assert bench.call("read", descriptor, place, BIG) == 100
    assert bench.call("pread64", descriptor, place, BIG, 5) == BIG - 5
    assert bench.memory(BIG - 5, place) == content[5:]
    assert bench.call("lseek", descriptor, 0, os.SEEK_CUR) == BIG
    assert bench.call("pwrite64", descriptor, b"xyz", 3, 1) == 3
    assert path.read_bytes() == content[:1] + b"xyz" + content[4:]
    assert bench.call("lseek", descriptor, -1, os.SEEK_SET) == -errno.EINVAL
    assert bench.call("pread64", descriptor, place, 1, -1) == -errno.EINVAL
    assert bench.call("lseek", 0, 0, 0) == -errno.ESPIPE


def test_appending_goes_to_the_end_whatever_the_position(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one")
    descriptor = opened(bench, path, os.O_WRONLY | os.O_APPEND)
    assert bench.call("write", descriptor, b"two", 3) == 3
    assert bench.call("lseek", descriptor, 0, os.SEEK_CUR) == 6
    assert path.read_bytes() == b"onetwo"


def test_flags_of_each_architecture_mean_the_same(bench: Bench, tmp_path: Path) -> None:
    arm = bench.space.architecture == Architecture.ARM64
    directory, nofollow = (0o40000, 0o100000) if arm else (0o200000, 0o400000)
    path = tmp_path / "file"
    path.write_bytes(b"")
    (tmp_path / "link").symlink_to(path)
    assert opened(bench, path, directory) == -errno.ENOTDIR
    assert opened(bench, tmp_path, directory) > 2
    assert opened(bench, tmp_path / "link", nofollow) == -errno.ELOOP
    assert opened(bench, path, os.O_CREAT | os.O_EXCL) == -errno.EEXIST


def test_status_in_each_architectures_layout(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"twelve bytes")
    path.chmod(0o640)
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    assert bench.call("newfstatat", HERE, os.fsencode(path), SCRATCH, 0) == 0
    raw, real = bench.memory(144), path.stat()
    if bench.space.architecture == Architecture.X86_64:
        device, inode, links, mode = struct.unpack_from("<QQQI", raw)
        size, times = struct.unpack_from("<q", raw, 48)[0], struct.unpack_from("<4q", raw, 72)
    else:
        device, inode, mode, links = struct.unpack_from("<QQII", raw)
        size, times = struct.unpack_from("<q", raw, 48)[0], struct.unpack_from("<4q", raw, 72)
    assert (device, inode, links, mode) == (real.st_dev, real.st_ino, real.st_nlink, real.st_mode)
    assert (size, times) == (12, (1, 1, 2, 2))
    assert bench.call("statx", HERE, os.fsencode(path), 0, 0x7FF, SCRATCH) == 0
    statx = bench.memory(256)
    assert struct.unpack_from("<HxxQQ", statx, 28) == (real.st_mode, real.st_ino, 12)
    assert struct.unpack_from("<qI", statx, 112) == (2, 2)
    assert struct.unpack_from("<II", statx, 136) == (os.major(real.st_dev), os.minor(real.st_dev))


def test_directories_are_listed_in_parts(bench: Bench, tmp_path: Path) -> None:
    names = {f"file-{number:04}-{'x' * (number % 90)}" for number in range(1200)}
    for name in names:
        (tmp_path / name).touch()
    descriptor = opened(bench, tmp_path)
    found: set[str] = set()
    while size := bench.call("getdents64", descriptor, SCRATCH, 1000):
        assert size > 0
        raw, at = bench.memory(size), 0
        while at < size:
            length = int.from_bytes(raw[at + 16 : at + 18], "little")
            found.add(raw[at + 19 : at + length].split(b"\0")[0].decode())
            at += length
    assert found == names | {".", ".."}
    assert bench.call("lseek", descriptor, 0, 0) == 0
    assert bench.call("getdents64", descriptor, SCRATCH, 10) == -errno.EINVAL
    assert bench.call("read", descriptor, SCRATCH, 1) == -errno.EISDIR


def test_names_change_on_the_host(bench: Bench, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path)
    assert bench.call("mkdirat", HERE, path + b"/d", 0o777) == 0
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o755
    assert bench.call("chdir", path + b"/d") == 0
    assert bench.call("getcwd", SCRATCH, 4096) == len(path) + 3
    descriptor = bench.call("openat", HERE, b"f", os.O_CREAT | os.O_RDWR, 0o666)
    assert bench.call("write", descriptor, b"12345", 5) == 5
    assert bench.call("ftruncate", descriptor, 2) == 0
    assert bench.call("fsync", descriptor) == 0
    assert bench.call("fchmod", descriptor, 0o600) == 0
    assert bench.call("renameat2", HERE, b"f", HERE, b"../g", 0) == 0
    assert (tmp_path / "g").read_bytes() == b"12"
    assert (tmp_path / "g").stat().st_mode & 0o777 == 0o600
    assert bench.call("faccessat", HERE, path + b"/g", os.R_OK) == 0
    assert bench.call("faccessat", HERE, path + b"/h", os.R_OK) == -errno.ENOENT
    bench.space.write(SCRATCH, struct.pack("<4Q", 5, 6, 0, (1 << 30) - 2))
    before = (tmp_path / "g").stat().st_mtime_ns
    assert bench.call("utimensat", HERE, b"../g", SCRATCH, 0) == 0
    assert ((tmp_path / "g").stat().st_atime_ns, (tmp_path / "g").stat().st_mtime_ns) == (5_000_000_006, before)
    assert bench.call("unlinkat", HERE, path + b"/g", 0) == 0
    assert bench.call("unlinkat", HERE, path + b"/d", 0x200) == 0
    assert not list(tmp_path.iterdir())


def test_descriptors_share_a_file_and_close_it_once(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    descriptor = opened(bench, path)
    copy = bench.call("dup", descriptor)
    assert bench.call("read", descriptor, SCRATCH, 4) == 4
    assert bench.call("close", descriptor) == 0
    assert bench.call("read", copy, SCRATCH, 4) == 4
    assert bench.memory(4) == b"4567"
    assert bench.call("dup3", copy, 9, 0o2000000) == 9
    assert bench.call("fcntl", 9, 1, 0) == 1
    assert bench.call("fcntl", copy, 0, 20) == 20
    assert [bench.call("close", one) for one in (copy, 9, 20)] == [0, 0, 0]
    assert bench.call("close", 9) == -errno.EBADF
    assert opened(bench, path) == descriptor


def test_locks_are_asked_of_the_host(bench: Bench, tmp_path: Path) -> None:
    descriptor = opened(bench, tmp_path / "db", os.O_RDWR | os.O_CREAT)
    lock = struct.pack("<hh4xqqi4x", 1, 0, 100, 10, 0)
    bench.space.write(SCRATCH, lock)
    assert bench.call("fcntl", descriptor, 6, SCRATCH) == 0
    assert bench.call("fcntl", descriptor, 5, SCRATCH) == 0
    assert struct.unpack_from("<h", bench.memory(2))[0] == 2
    bench.space.write(SCRATCH, struct.pack("<hh4xqqi4x", 7, 0, 0, 0, 0))
    assert bench.call("fcntl", descriptor, 6, SCRATCH) == -errno.EINVAL


def test_devices_never_ask_the_host(bench: Bench) -> None:
    asked = bench.shim.host_calls
    random = bench.call("openat", HERE, b"//dev/./urandom", 0, 0)
    assert bench.call("read", random, SCRATCH, 4000) == 4000
    assert len(set(bench.memory(4000))) > 200
    full = bench.call("openat", HERE, b"/dev/full", 1, 0)
    assert bench.call("write", full, b"x", 1) == -errno.ENOSPC
    zero = bench.call("openat", HERE, b"/dev/zero", 0, 0)
    assert bench.call("read", zero, SCRATCH, 9) == 9
    assert bench.memory(9) == bytes(9)
    null = bench.call("openat", HERE, b"/dev/null", 0, 0)
    assert bench.call("read", null, SCRATCH, 9) == 0
    assert bench.shim.host_calls == asked


def test_the_hosts_processes_are_not_the_programs(bench: Bench) -> None:
    for path in (b"/proc/self/maps", b"/proc/1/mem", b"/proc/./self/environ", b"/proc/thread-self/status"):
        assert bench.call("openat", HERE, path, 0, 0) == -errno.ENOENT
    assert bench.call("readlinkat", HERE, b"/proc/self/exe", SCRATCH, 100) == 12
    assert bench.memory(12) == b"/bin/program"


def test_a_pipe_stays_inside(bench: Bench) -> None:
    asked, place = bench.shim.host_calls, area(bench)
    assert bench.call("pipe2", 0x10, 0) == -errno.EFAULT
    assert bench.call("pipe2", SCRATCH, 0o2000000) == 0
    reader, writer = struct.unpack("<II", bench.memory(8))
    assert bench.call("read", reader, SCRATCH, 10) == -errno.EAGAIN
    assert bench.call("write", writer, b"through", 7) == 7
    assert bench.call("read", reader, SCRATCH, 4) == 4
    assert bench.memory(4) == b"thro"
    assert bench.call("write", writer, place, BIG) == 65533
    assert bench.call("write", writer, place, 1) == -errno.EAGAIN
    assert bench.call("read", writer, SCRATCH, 1) == bench.call("write", reader, b"x", 1) == -errno.EBADF
    assert bench.call("lseek", reader, 0, 0) == -errno.ESPIPE
    assert bench.call("close", writer) == 0
    assert bench.call("read", reader, place, LARGEST_DATA) == LARGEST_DATA
    assert bench.call("read", reader, place, LARGEST_DATA) == 65536 - LARGEST_DATA
    assert bench.call("read", reader, place, 1) == 0
    assert bench.call("pipe2", SCRATCH, 0) == 0
    reader, writer = struct.unpack("<II", bench.memory(8))
    assert bench.call("close", reader) == 0
    assert bench.call("rt_sigaction", SIGPIPE, b"\x01" + bytes(31), 0, 8) == 0  # SIG_IGN
    assert bench.call("write", writer, b"x", 1) == -errno.EPIPE
    assert bench.shim.host_calls == asked
    assert bench.call("rt_sigaction", SIGPIPE, bytes(32), 0, 8) == 0  # SIG_DFL
    assert bench.outcome("write", writer, b"x", 1) == Ended(128 + SIGPIPE, SIGPIPE)


def test_empty_parts_may_have_any_address(bench: Bench, tmp_path: Path) -> None:
    """As in musl's standard output writes {buffer, n}, {NULL, 0}; its input reads {x, 0}, {buffer, n}."""
    file = opened(bench, tmp_path / "file", os.O_RDWR | os.O_CREAT)
    vectors = struct.pack("<6Q", 0, 0, SCRATCH + 64, 5, 0, 0)
    bench.space.write(SCRATCH, vectors + b"x" * 16 + b"hello")
    assert bench.call("writev", file, SCRATCH, 3) == 5
    assert (tmp_path / "file").read_bytes() == b"hello"
    assert bench.call("lseek", file, 0, os.SEEK_SET) == 0
    assert bench.call("readv", file, SCRATCH, 3) == 5
    assert bench.call("pipe2", SCRATCH + 128, 0) == 0
    reader, writer = struct.unpack("<II", bench.memory(8, SCRATCH + 128))
    assert bench.call("writev", writer, SCRATCH, 3) == 5
    assert bench.call("readv", reader, SCRATCH, 3) == 5
    assert bench.call("write", reader, 0, 0) == bench.call("read", writer, 0, 0) == -errno.EBADF
    assert bench.call("write", writer, 0, 0) == bench.call("read", file, 0, 0) == 0


def test_paths_have_an_end(bench: Bench) -> None:
    assert bench.call("openat", HERE, b"", 0, 0) == -errno.ENOENT
    bench.space.write(SCRATCH, b"x" * 2 * PAGE)
    assert bench.call("openat", HERE, SCRATCH, 0, 0) == -errno.ENAMETOOLONG


def test_polling_says_ready_and_names_what_is_not_open(bench: Bench) -> None:
    bench.space.write(SCRATCH, struct.pack("<ihhihhihh", 0, 1, 0, 77, 1, 0, -1, 1, 0))
    assert bench.call("ppoll", SCRATCH, 3, 0, 0) == 2
    assert struct.unpack("<ihhihhihh", bench.memory(24))[2::3] == (1, 0x20, 0)
    bench.space.write(SCRATCH, (0b11).to_bytes(8, "little"))
    assert bench.call("pselect6", 2, SCRATCH, 0, 0, 0) == 2
