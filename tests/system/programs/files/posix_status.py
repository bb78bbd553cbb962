"""Modes, owners, times and flags: what is known of a file."""

import errno
import fcntl
import os
import stat
import time

from tests.system.programs.files.checking import check, fails, get, in_child, put


@check
def status_of_a_file() -> None:
    put("a", b"x" * 5000)
    seen = os.stat("a")
    assert stat.S_ISREG(seen.st_mode)
    assert (seen.st_size, seen.st_nlink, seen.st_uid, seen.st_gid) == (5000, 1, os.geteuid(), os.getegid())
    assert seen.st_blocks > 0
    assert seen.st_blksize > 0
    fd = os.open("a", os.O_RDONLY)
    same = os.fstat(fd)
    assert (same.st_dev, same.st_ino) == (seen.st_dev, seen.st_ino)
    assert abs(seen.st_mtime - time.time()) < 60


@check
def times_move_with_what_is_done() -> None:
    put("a")
    os.mkdir("d")
    old = 1_000_000_000
    os.utime("a", (old, old))
    assert os.stat("a").st_mtime == old
    assert os.stat("a").st_atime in (old, os.stat("a").st_mtime)
    fd = os.open("a", os.O_RDWR)
    os.write(fd, b"x")
    os.fsync(fd)
    assert os.stat("a").st_mtime > old
    os.utime("d", (old, old))
    put("d/x")
    assert os.stat("d").st_mtime > old, "a new entry changes its directory"
    os.utime("d", (old, old))
    os.rename("d/x", "d/y")
    assert os.stat("d").st_mtime > old
    os.utime("d", (old, old))
    os.unlink("d/y")
    assert os.stat("d").st_mtime > old


@check
def times_to_the_nanosecond() -> None:
    put("a")
    os.utime("a", ns=(1_234_567_890_123_456_789, 987_654_321_012_345_678))
    assert os.stat("a").st_mtime_ns == 987_654_321_012_345_678
    os.symlink("a", "l")
    os.utime("l", ns=(5, 6), follow_symlinks=False)
    assert os.lstat("l").st_mtime_ns == 6
    assert os.stat("a").st_mtime_ns == 987_654_321_012_345_678


@check
def change_of_mode() -> None:
    put("a")
    os.mkdir("d")
    for mode in (0o000, 0o644, 0o4755, 0o1777, 0o7777):
        os.chmod("a", mode)
        assert stat.S_IMODE(os.stat("a").st_mode) == mode
    fd = os.open("a", os.O_RDONLY)
    os.fchmod(fd, 0o600)
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
    os.chmod("d", 0o1770)
    assert stat.S_IMODE(os.stat("d").st_mode) == 0o1770
    with fails(errno.ENOENT):
        os.chmod("none", 0o600)


@check
def change_of_owner() -> None:
    put("a", mode=0o4755)
    os.chmod("a", 0o6755)
    os.chown("a", 1234, 5678)
    seen = os.stat("a")
    assert (seen.st_uid, seen.st_gid) == (1234, 5678)
    assert stat.S_IMODE(seen.st_mode) == 0o755, "setuid and setgid go with the owner"
    os.chown("a", -1, 99)
    assert (os.stat("a").st_uid, os.stat("a").st_gid) == (1234, 99)
    os.symlink("a", "l")
    os.lchown("l", 7, 8)
    assert os.lstat("l").st_uid == 7
    assert os.stat("a").st_uid == 1234


@check
def permissions_count_for_others() -> None:
    put("a", mode=0o600)
    os.mkdir("shut", 0o700)
    put("shut/x", mode=0o666)
    os.mkdir("open", 0o777)
    os.chmod("open", 0o777)

    def as_nobody() -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        with fails(errno.EACCES):
            os.open("a", os.O_RDONLY)
        with fails(errno.EACCES):
            os.stat("shut/x")
        with fails(errno.EACCES):
            os.open("new", os.O_CREAT | os.O_WRONLY)
        with fails(errno.EPERM):
            os.chmod("a", 0o666)
        assert not os.access("a", os.R_OK)
        put("open/mine")
        assert os.stat("open/mine").st_uid == 65534

    os.chmod(".", 0o755)
    in_child(as_nobody)


@check
def the_sticky_bit_keeps_others_from_removing() -> None:
    os.mkdir("d")
    os.chmod("d", 0o1777)
    put("d/roots")
    os.chmod(".", 0o755)

    def as_nobody() -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        with fails(errno.EPERM, errno.EACCES):
            os.unlink("d/roots")
        put("d/mine")
        os.unlink("d/mine")

    in_child(as_nobody)


@check
def flags_of_a_descriptor() -> None:
    fd = os.open(put("a"), os.O_RDWR | os.O_APPEND)
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_APPEND | os.O_ACCMODE) == os.O_APPEND | os.O_RDWR
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    os.pwrite(fd, b"X", 0)
    assert get("a") == b"Xata"
    assert fcntl.fcntl(fd, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD, 700)
    assert copy >= 700
    assert os.pread(copy, 1, 0) == b"X"
    assert os.readlink(f"/proc/self/fd/{fd}") == os.path.abspath("a")


@check
def a_path_descriptor_names_and_reads_nothing() -> None:
    fd = os.open(put("a"), os.O_PATH)
    assert os.fstat(fd).st_size == 4
    with fails(errno.EBADF):
        os.read(fd, 1)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    assert os.read(again, 9) == b"data"


@check
def the_file_systems_numbers() -> None:
    seen = os.statvfs(".")
    assert seen.f_bsize > 0
    assert seen.f_blocks >= seen.f_bfree >= 0
    assert seen.f_namemax == 255


@check
def attributes_of_a_user() -> None:
    put("a")
    os.setxattr("a", "user.note", b"kept")
    assert os.getxattr("a", "user.note") == b"kept"
    assert "user.note" in os.listxattr("a")
    os.removexattr("a", "user.note")
    with fails(errno.ENODATA):
        os.getxattr("a", "user.note")
