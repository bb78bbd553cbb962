"""Files that exist inside the TEE alone: every system call on them, and what the host hears of it (nothing)."""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.emulate_linux_space import SCRATCH, Bench, bench

from cloister.emulate.linux.console import PlainConsole
from cloister.emulate.linux.host import LinuxHost
from cloister.emulate.linux.outcome import Failed
from cloister.measure.image import PAGE, Architecture

HERE = -100
SECRET = b"the secret that the host must not learn"
MOUNT = "/run/secrets"
ARM_DIRECTORY = 0o40000
O_DIRECTORY = 0o200000


@dataclass
class Inside:
    """A bench whose shim has files of its own; `requests` and `answers` are all that crossed to the host and back."""

    bench: Bench
    requests: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    saved: list[bytes] = field(default_factory=list)

    def call(self, name: str, *arguments: int | bytes) -> int:
        return self.bench.call(name, *arguments)

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        return self.call("openat", HERE, path.encode(), flags, 0o644)

    def names(self, path: str) -> list[str]:
        """A directory's entries, as getdents64 gives them."""
        directory = ARM_DIRECTORY if self.bench.space.architecture is Architecture.ARM64 else O_DIRECTORY
        descriptor = self.open(path, directory)
        assert descriptor >= 0, errno.errorcode[-descriptor]
        found: list[str] = []
        while size := self.call("getdents64", descriptor, SCRATCH, PAGE):
            listed, at = self.bench.memory(size), 0
            while at < size:
                (length,) = struct.unpack_from("<H", listed, at + 16)
                found.append(listed[at + 19 : at + length].split(b"\0")[0].decode())
                at += length
        self.call("close", descriptor)
        return found


@pytest.fixture(params=list(Architecture))
def inside(request: pytest.FixtureRequest) -> Iterator[Inside]:
    host = LinuxHost(PlainConsole(lambda _: b"", lambda _: None))
    found: list[Inside] = []

    def gate(message: bytes) -> bytes:
        answer = host.serve(message)
        if found:
            found[0].requests.append(message)
            found[0].answers.append(answer)
        return answer

    made = bench(gate, architecture=request.param)
    found.append(Inside(made))
    one = found[0]
    one.requests.clear()
    made.shim.provide(f"{MOUNT}/key", SECRET)
    made.shim.provide(f"{MOUNT}/deep/er/key", b"another")
    made.shim.provide("/dev/attestation/quote", lambda: b"quote %d" % len(one.saved), mount="/dev/attestation")
    made.shim.provide(
        "/dev/attestation/data", lambda: one.saved[-1] if one.saved else b"", save=one.saved.append,
        mount="/dev/attestation",
    )  # fmt: skip
    with host:
        yield one


def test_a_secret_is_read_and_the_host_is_not_asked(inside: Inside) -> None:
    descriptor = inside.open(f"{MOUNT}/key")
    assert inside.call("read", descriptor, SCRATCH, 1000) == len(SECRET)
    assert inside.bench.memory(len(SECRET)) == SECRET
    assert inside.call("read", descriptor, SCRATCH, 1000) == 0
    assert inside.call("pread64", descriptor, SCRATCH, 6, 4) == 6
    assert inside.bench.memory(6) == SECRET[4:10]
    assert inside.call("pread64", descriptor, SCRATCH, 6, 1000) == 0
    assert inside.call("pread64", descriptor, SCRATCH, 6, -1) == -errno.EINVAL
    assert inside.call("lseek", descriptor, -6, os.SEEK_END) == len(SECRET) - 6
    assert inside.call("lseek", descriptor, -1, os.SEEK_SET) == -errno.EINVAL
    assert inside.call("lseek", descriptor, 0, 7) == -errno.EINVAL
    assert inside.call("close", descriptor) == 0
    assert not inside.requests


def test_it_can_be_mapped(inside: Inside) -> None:
    descriptor = inside.open(f"{MOUNT}/key")
    address = inside.call("mmap", 0, PAGE, 1, 2, descriptor, 0)
    assert address > 0
    assert inside.bench.memory(len(SECRET), address) == SECRET
    assert not inside.requests


def status(inside: Inside, path: str) -> tuple[int, int]:
    """Mode and size, from statx, whose layout is the same everywhere."""
    assert inside.call("statx", HERE, path.encode(), 0, 0x7FF, SCRATCH) == 0
    found = inside.bench.memory(256)
    return struct.unpack_from("<H", found, 28)[0], struct.unpack_from("<Q", found, 40)[0]


def test_status(inside: Inside) -> None:
    mode, size = status(inside, f"{MOUNT}/key")
    assert stat.S_ISREG(mode)
    assert (stat.S_IMODE(mode), size) == (0o444, len(SECRET))
    assert stat.S_ISDIR(status(inside, MOUNT)[0])
    assert stat.S_ISDIR(status(inside, f"{MOUNT}/deep")[0])
    assert stat.S_IMODE(status(inside, "/dev/attestation/data")[0]) == 0o644
    assert status(inside, "/dev/attestation/quote")[1] == 0  # made when it is opened
    assert inside.call("fstat", inside.open("/dev/attestation/quote"), SCRATCH) == 0
    assert inside.call("newfstatat", HERE, f"{MOUNT}/none".encode(), SCRATCH, 0) == -errno.ENOENT
    assert not inside.requests


@pytest.mark.parametrize(
    ("path", "mode", "expected"),
    [
        (f"{MOUNT}/key", os.R_OK, 0),
        (f"{MOUNT}/key", os.W_OK, -errno.EROFS),
        (f"{MOUNT}/key", os.X_OK, -errno.EACCES),
        (f"{MOUNT}/none", os.F_OK, -errno.ENOENT),
        (f"{MOUNT}/key/below", os.F_OK, -errno.ENOTDIR),
        (f"{MOUNT}/key/", os.F_OK, -errno.ENOTDIR),
        (MOUNT, os.R_OK | os.X_OK, 0),
        (MOUNT, os.W_OK, -errno.EROFS),
        ("/dev/attestation/data", os.W_OK, 0),
    ],
)
def test_access(inside: Inside, path: str, mode: int, expected: int) -> None:
    assert inside.call("faccessat", HERE, path.encode(), mode) == expected
    assert not inside.requests


@pytest.mark.parametrize(
    ("path", "flags", "expected"),
    [
        (f"{MOUNT}/key", os.O_WRONLY, errno.EROFS),
        (f"{MOUNT}/key", os.O_RDWR, errno.EROFS),
        (f"{MOUNT}/key", os.O_RDONLY | os.O_TRUNC, errno.EROFS),
        (f"{MOUNT}/key", os.O_RDONLY | os.O_CREAT | os.O_EXCL, errno.EEXIST),
        (f"{MOUNT}/new", os.O_WRONLY | os.O_CREAT, errno.EROFS),
        (f"{MOUNT}/no/new", os.O_WRONLY | os.O_CREAT, errno.ENOENT),
        (f"{MOUNT}/key/new", os.O_WRONLY | os.O_CREAT, errno.ENOTDIR),
        (f"{MOUNT}/new", os.O_RDONLY, errno.ENOENT),
        (MOUNT, os.O_WRONLY, errno.EISDIR),
    ],
)
def test_opening_otherwise_is_refused(inside: Inside, path: str, flags: int, expected: int) -> None:
    assert inside.open(path, flags) == -expected
    assert not inside.requests


def test_names_cannot_be_changed(inside: Inside, tmp_path: Path) -> None:
    key, new, outside = f"{MOUNT}/key".encode(), f"{MOUNT}/new".encode(), os.fsencode(tmp_path / "outside")
    assert inside.call("unlinkat", HERE, key, 0) == -errno.EROFS
    assert inside.call("unlinkat", HERE, new, 0) == -errno.ENOENT
    assert inside.call("mkdirat", HERE, new, 0o700) == -errno.EROFS
    assert inside.call("mkdirat", HERE, key, 0o700) == -errno.EEXIST
    assert inside.call("fchmodat", HERE, key, 0o777) == -errno.EROFS
    assert inside.call("utimensat", HERE, key, 0, 0) == -errno.EROFS
    assert inside.call("renameat2", HERE, key, HERE, new, 0) == -errno.EROFS
    assert inside.call("renameat2", HERE, key, HERE, outside, 0) == -errno.EXDEV
    assert inside.call("renameat2", HERE, outside, HERE, new, 0) == -errno.EXDEV
    descriptor = inside.open(f"{MOUNT}/key")
    assert inside.call("fchmod", descriptor, 0o777) == -errno.EROFS
    assert inside.call("write", descriptor, b"x", 1) == -errno.EBADF
    assert inside.call("ftruncate", descriptor, 0) == -errno.EINVAL
    assert inside.call("readlinkat", HERE, key, SCRATCH, 100) == -errno.EINVAL
    assert not inside.requests
    assert not (tmp_path / "outside").exists()


def test_listings(inside: Inside) -> None:
    assert inside.names(MOUNT) == [".", "..", "deep", "key"]
    assert inside.names(f"{MOUNT}/deep") == [".", "..", "er"]
    assert inside.names("/dev/attestation") == [".", "..", "data", "quote"]
    assert not inside.requests
    directory = ARM_DIRECTORY if inside.bench.space.architecture is Architecture.ARM64 else O_DIRECTORY
    assert inside.open(f"{MOUNT}/key", directory) == -errno.ENOTDIR
    assert inside.call("read", inside.open(MOUNT, directory), SCRATCH, 10) == -errno.EISDIR


def test_a_mount_stands_in_the_listing_of_the_hosts_directory(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "forged").touch()
    inside.bench.shim.provide(f"{tmp_path}/own/real", b"x")
    assert sorted(inside.names(str(tmp_path))) == [".", "..", "file", "own"]
    assert inside.names(f"{tmp_path}/own") == [".", "..", "real"]


def test_the_host_cannot_put_files_of_its_own_there(inside: Inside, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "real").write_bytes(b"forged")
    (own / "more").write_bytes(b"forged")
    inside.bench.shim.provide(f"{own}/real", b"true")
    assert inside.open(f"{own}/more") == -errno.ENOENT
    for name in (f"{own}/real", f"{tmp_path}//own/./real", f"{tmp_path}/other/../own/real"):
        assert inside.call("read", inside.open(name), SCRATCH, 100) == 4, name
        assert inside.bench.memory(4) == b"true"
    directory = inside.open(str(tmp_path))
    descriptor = inside.call("openat", directory, b"own/real", 0, 0)
    assert inside.call("read", descriptor, SCRATCH, 100) == 4
    assert inside.bench.memory(4) == b"true"


def test_the_other_name_of_run_is_no_way_around(inside: Inside) -> None:
    descriptor = inside.open("/var/run/secrets/key")
    assert inside.call("read", descriptor, SCRATCH, 1000) == len(SECRET)
    assert inside.open("/var/run/secrets/forged") == -errno.ENOENT
    assert not inside.requests


def test_working_directory(inside: Inside) -> None:
    assert inside.call("chdir", f"{MOUNT}/key".encode()) == -errno.ENOTDIR
    assert inside.call("chdir", f"{MOUNT}/none".encode()) == -errno.ENOENT
    assert inside.call("chdir", MOUNT.encode()) == 0
    assert inside.call("read", inside.open("key"), SCRATCH, 1000) == len(SECRET)
    assert inside.open("../secrets/none") == -errno.ENOENT
    assert not inside.requests


def test_what_is_written_is_taken_and_content_is_made_at_opening(inside: Inside) -> None:
    before = inside.open("/dev/attestation/quote")
    descriptor = inside.open("/dev/attestation/data", os.O_WRONLY | os.O_TRUNC)
    assert inside.call("write", descriptor, b"one", 3) == 3
    assert inside.call("write", descriptor, b"two", 3) == 3
    assert inside.saved == [b"one", b"onetwo"]
    assert inside.call("read", descriptor, SCRATCH, 1) == -errno.EBADF
    assert inside.call("pwrite64", descriptor, b"x", 1, 100) == -errno.EINVAL
    after = inside.open("/dev/attestation/quote")
    for opened, expected in ((before, b"quote 0"), (after, b"quote 2")):
        assert inside.call("read", opened, SCRATCH, 100) == 7
        assert inside.bench.memory(7) == expected
    again = inside.open("/dev/attestation/data", os.O_RDWR)
    assert inside.call("read", again, SCRATCH, 100) == 6
    assert not inside.requests


def test_what_cannot_be_taken_or_made_is_an_errno(inside: Inside) -> None:
    def cannot_make() -> bytes:
        raise Failed(errno.EINVAL)

    def cannot_take(data: bytes) -> None:
        raise Failed(errno.ENOSPC if data else errno.EINVAL)

    inside.bench.shim.provide("/dev/attestation/no", cannot_make, save=cannot_take)
    assert inside.open("/dev/attestation/no") == -errno.EINVAL
    descriptor = inside.open("/dev/attestation/no", os.O_WRONLY)
    assert inside.call("write", descriptor, b"x", 1) == -errno.ENOSPC


@pytest.mark.parametrize("path", ["relative/name", "/run/../x/y", "/run/secrets/", "/name", "//run/x/y"])
def test_paths_that_cannot_be(path: str) -> None:
    shim = bench(lambda _: b"").shim
    with pytest.raises(ValueError, match="absolute, normal path"):
        shim.provide(path, b"")


def test_a_file_is_no_directory() -> None:
    shim = bench(lambda _: b"").shim
    shim.provide("/run/secrets/key", b"")
    with pytest.raises(ValueError, match="a file and a directory"):
        shim.provide("/run/secrets/key/below", b"")
    with pytest.raises(ValueError, match="a file and a directory"):
        shim.provide("/run/secrets", b"", mount="/run")


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A path into the mount, written in a roundabout way."""
    detours = st.sampled_from(["", "/.", "//", "/etc/..", "/secrets/..", "/../run", "/./"])
    parts = draw(st.sampled_from([["run"], ["var", "run"], ["..", "run"]]))
    start = "".join(f"/{part}" for part in parts)
    detour = draw(detours)
    middle = "" if detour == "/../run" and "var" in parts else detour
    rest = draw(st.sampled_from(["key", "none", "deep/er/key", "deep/../key", "", "."]))
    return f"{start}{middle}/secrets{draw(st.sampled_from(['/', '//', '/./', '/deep/../']))}{rest}"


@given(spellings(), st.sampled_from([os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT]))
def test_no_spelling_of_the_path_reaches_the_host(path: str, flags: int) -> None:
    asked: list[bytes] = []

    def gate(message: bytes) -> bytes:
        asked.append(message)
        raise AssertionError(f"the host was asked: {message!r}")

    made = bench(gate)
    made.shim.provide(f"{MOUNT}/key", SECRET)
    made.shim.provide(f"{MOUNT}/deep/er/key", b"another")
    for name, arguments in (
        ("openat", (HERE, path.encode(), flags, 0o600)),
        ("newfstatat", (HERE, path.encode(), SCRATCH, 0)),
        ("faccessat", (HERE, path.encode(), 0)),
        ("unlinkat", (HERE, path.encode(), 0)),
        ("chdir", (path.encode(),)),
    ):
        made.call(name, *arguments)
    assert not asked
