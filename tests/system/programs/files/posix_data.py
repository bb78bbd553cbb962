"""Reading, writing, seeking, truncating: what stands in a file."""

import ctypes
import errno
import mmap
import os
import stat

from tests.system.programs.files.checking import PAGE, check, fails, get, in_child, put


@check
def open_creates_with_the_mode_less_the_umask() -> None:
    before = os.umask(0o027)
    try:
        put("a", mode=0o666)
        os.mkdir("d", 0o777)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat("a").st_mode) == 0o640
    assert stat.S_IMODE(os.stat("d").st_mode) == 0o750


@check
def open_truncates() -> None:
    put("a", b"x" * 10000)
    os.close(os.open("a", os.O_WRONLY | os.O_TRUNC))
    assert os.stat("a").st_size == 0


@check
def append_writes_at_the_end_whatever_the_offset() -> None:
    put("a", b"12345")
    one, two = (os.open("a", os.O_WRONLY | os.O_APPEND) for _ in range(2))
    os.lseek(one, 0, os.SEEK_SET)
    os.write(one, b"A")
    os.write(two, b"B")
    os.write(one, b"C")
    assert get("a") == b"12345ABC"
    assert os.lseek(one, 0, os.SEEK_CUR) == 8


@check
def reading_ends_at_the_end() -> None:
    fd = os.open(put("a", b"12345"), os.O_RDONLY)
    assert os.read(fd, 100) == b"12345"
    assert os.read(fd, 100) == b""
    assert os.pread(fd, 100, 3) == b"45"
    assert os.pread(fd, 100, 5) == b""
    assert os.pread(fd, 100, 1 << 40) == b""
    assert os.lseek(fd, 0, os.SEEK_CUR) == 5, "pread moves nothing"


@check
def descriptors_must_be_open_for_it() -> None:
    reading, writing = os.open(put("a"), os.O_RDONLY), os.open("a", os.O_WRONLY)
    with fails(errno.EBADF):
        os.write(reading, b"x")
    with fails(errno.EBADF):
        os.read(writing, 1)
    with fails(errno.EINVAL, errno.EBADF):
        os.ftruncate(reading, 0)
    os.close(reading)
    with fails(errno.EBADF):
        os.read(reading, 1)


@check
def writing_beyond_the_end_leaves_zeros() -> None:
    fd = os.open("a", os.O_RDWR | os.O_CREAT)
    assert os.pwrite(fd, b"x", 100_000) == 1
    assert os.fstat(fd).st_size == 100_001
    assert os.pread(fd, 100_001, 0) == bytes(100_000) + b"x"
    assert os.fstat(fd).st_blocks * 512 <= 65536, "a hole takes no room"


@check
def truncating_cuts_and_leaves_zeros() -> None:
    fd = os.open(put("a", b"y" * 9000), os.O_RDWR)
    os.ftruncate(fd, 4100)
    os.ftruncate(fd, 9000)
    assert os.pread(fd, 9000, 0) == b"y" * 4100 + bytes(4900)
    os.truncate("a", 3)
    assert get("a") == b"yyy"
    with fails(errno.EINVAL):
        os.ftruncate(fd, -1)


@check
def seeking() -> None:
    fd = os.open(put("a", b"12345"), os.O_RDONLY)
    assert os.lseek(fd, 2, os.SEEK_SET) == 2
    assert os.lseek(fd, 2, os.SEEK_CUR) == 4
    assert os.lseek(fd, -1, os.SEEK_END) == 4
    assert os.lseek(fd, 100, os.SEEK_SET) == 100
    with fails(errno.EINVAL):
        os.lseek(fd, -1, os.SEEK_SET)
    with fails(errno.ENXIO):
        os.lseek(fd, 5, os.SEEK_DATA)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 0
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 5


@check
def reading_and_writing_in_pieces() -> None:
    fd = os.open("a", os.O_RDWR | os.O_CREAT)
    assert os.writev(fd, [b"ab", b"", b"cdef"]) == 6
    pieces = [bytearray(1), bytearray(3), bytearray(9)]
    assert os.preadv(fd, pieces, 1) == 5
    assert bytes(pieces[0]) + bytes(pieces[1]) + bytes(pieces[2][:1]) == b"bcdef"
    assert os.pwritev(fd, [b"X", b"Y"], 2) == 2
    assert get("a") == b"abXYef"


@check
def room_is_made_beforehand() -> None:
    fd = os.open("a", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, 100_000)
    assert os.fstat(fd).st_size == 100_000
    os.pwrite(fd, b"x", 50_000)
    assert os.pread(fd, 3, 49_999) == b"\0x\0"


@check
def copying_inside_the_kernel() -> None:
    put("a", bytes(range(256)) * 100)
    source, target = os.open("a", os.O_RDONLY), os.open("b", os.O_RDWR | os.O_CREAT)
    left = 25_600
    while left:
        count = os.copy_file_range(source, target, left)
        assert count > 0
        left -= count
    assert get("b") == get("a")
    third = os.open("c", os.O_RDWR | os.O_CREAT)
    assert os.sendfile(third, source, 1000, 100) == 100
    assert get("c") == (bytes(range(256)) * 100)[1000:1100]


@check
def copying_inside_the_kernel_needs_room_and_the_right_descriptors() -> None:
    put("a", b"x" * 10_000)
    both, writing = os.open("a", os.O_RDWR), os.open("b", os.O_WRONLY | os.O_CREAT)
    appending = os.open("b", os.O_APPEND | os.O_WRONLY)
    assert os.copy_file_range(both, both, 4000, offset_src=0, offset_dst=6000) == 4000
    assert os.copy_file_range(both, writing, 9999, offset_src=10_000) == 0
    with fails(errno.EINVAL):
        os.copy_file_range(both, both, 4000, offset_src=0, offset_dst=2000)
    for source, target in ((writing, both), (both, appending), (both, os.open("a", os.O_RDONLY))):
        with fails(errno.EBADF):
            os.copy_file_range(source, target, 10)
    with fails(errno.EISDIR):
        os.copy_file_range(os.open(".", os.O_RDONLY), writing, 10)
    assert os.copy_file_range(both, writing, 10_000, offset_src=5000, offset_dst=1000) == 5000
    assert get("b") == bytes(1000) + b"x" * 5000


@check
def truncating_by_open_moves_times_and_takes_rights_away() -> None:
    os.close(os.open("a", os.O_CREAT | os.O_WRONLY, 0o666))
    os.chmod(".", 0o777)
    os.chown("a", 65534, 65534)
    os.chmod("a", 0o6777)
    os.utime("a", (5, 5))

    def as_nobody() -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        os.close(os.open("a", os.O_WRONLY | os.O_TRUNC))

    in_child(as_nobody)
    assert os.stat("a").st_mtime > 5
    assert os.stat("a").st_mode & 0o7777 == 0o777


@check
def what_is_synced_may_be_synced_again() -> None:
    fd = os.open(put("a"), os.O_RDWR)
    os.fsync(fd)
    os.fdatasync(fd)
    directory = os.open(".", os.O_RDONLY)
    os.fsync(directory)
    os.sync()
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    assert get("a") == b"data"


@check
def past_the_cache() -> None:
    put("a", b"z" * 8192)
    fd = os.open("a", os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, PAGE) as buffer:
        assert os.preadv(fd, [buffer], PAGE) == PAGE
        assert buffer[:] == b"z" * PAGE
        buffer[:] = b"y" * PAGE
        assert os.pwritev(fd, [buffer], 0) == PAGE
    assert get("a") == b"y" * PAGE + b"z" * PAGE


@check
def holes_are_found_and_made() -> None:
    far, size = 1 << 20, 300 * PAGE
    fd = os.open("a", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"x" * size, far)
    os.ftruncate(fd, far + 2 * size)
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
    assert os.lseek(fd, 0, os.SEEK_DATA) == far
    assert os.lseek(fd, far, os.SEEK_HOLE) == far + size
    with fails(errno.ENXIO):
        os.lseek(fd, far + size, os.SEEK_DATA)
    assert size <= os.fstat(fd).st_blocks * 512 <= size + 100 * PAGE
    punch_and_keep_size = 3
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.fallocate(fd, punch_and_keep_size, ctypes.c_long(far), ctypes.c_long(200 * PAGE + 7)) == 0
    assert os.lseek(fd, 0, os.SEEK_DATA) == far + 200 * PAGE
    assert os.pread(fd, 9, far + 200 * PAGE) == b"\0" * 7 + b"xx"
    assert os.fstat(fd).st_blocks * 512 <= 200 * PAGE
    assert os.fstat(fd).st_size == far + 2 * size


@check
def large_offsets() -> None:
    fd = os.open("a", os.O_RDWR | os.O_CREAT)
    place = (5 << 30) + 123
    os.pwrite(fd, b"far", place)
    assert os.pread(fd, 3, place) == b"far"
    assert os.fstat(fd).st_size == place + 3
    os.ftruncate(fd, 1 << 32)
    assert os.pread(fd, 3, place) == b""
    assert os.lseek(fd, 0, os.SEEK_END) == 1 << 32
