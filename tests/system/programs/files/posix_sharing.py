"""Mappings, locks, descriptors and programs: files that several hold at once."""

import errno
import fcntl
import mmap
import os
import socket
import stat
import struct
import sys
import time

from tests.system.programs.files.checking import PAGE, check, fails, get, in_child, put

LOCK = struct.Struct("hhqqi4x")


@check
def append_by_two_processes_loses_nothing() -> None:
    put("a", b"")

    def add(letter: bytes) -> None:
        fd = os.open("a", os.O_WRONLY | os.O_APPEND)
        for _ in range(200):
            os.write(fd, letter * 10 + b"\n")

    pid = os.fork()
    if pid == 0:
        add(b"a")
        os._exit(0)
    add(b"b")
    assert os.waitpid(pid, 0)[1] == 0
    lines = get("a").splitlines()
    assert sorted(lines) == [b"a" * 10] * 200 + [b"b" * 10] * 200


@check
def copies_of_a_descriptor_share_the_offset() -> None:
    fd = os.open(put("a", b"123456789"), os.O_RDONLY)
    copy, other = os.dup(fd), os.open("a", os.O_RDONLY)
    os.read(fd, 3)
    assert os.read(copy, 2) == b"45"
    assert os.read(other, 2) == b"12"
    in_child(lambda: print(os.lseek(fd, 7, os.SEEK_SET), file=sys.stderr))
    assert os.read(fd, 9) == b"89", "a child moves its parent's offset too"


@check
def mapped_shared_changes_the_file() -> None:
    fd = os.open(put("a", b"\0" * 10000), os.O_RDWR)
    with mmap.mmap(fd, 10000) as memory:
        memory[5000:5005] = b"hello"
        memory.flush()
        assert os.pread(fd, 5, 5000) == b"hello"
        os.pwrite(fd, b"HELLO", 5000)
        assert memory[5000:5005] == b"HELLO"
    assert get("a")[5000:5005] == b"HELLO"


@check
def mapped_shared_is_kept_without_being_told() -> None:
    fd = os.open(put("a", b"\0" * 10000), os.O_RDWR)
    memory = mmap.mmap(fd, 10000)
    memory[9990:9995] = b"there"
    memory.close()
    os.close(fd)
    assert get("a")[9990:9995] == b"there"


@check
def mapped_privately_changes_nothing() -> None:
    fd = os.open(put("a", b"data" * 2000), os.O_RDONLY)
    with mmap.mmap(fd, 8000, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as memory:
        memory[:4] = b"mine"
        assert memory[:8] == b"minedata"
    assert get("a")[:4] == b"data"


@check
def mapped_by_two_processes() -> None:
    fd = os.open(put("a", b"\0" * PAGE), os.O_RDWR)
    memory = mmap.mmap(fd, PAGE)
    in_child(lambda: memory.__setitem__(slice(0, 5), b"child"))
    assert memory[:5] == b"child"
    assert get("a")[:5] == b"child"


@check
def mapping_needs_the_right_descriptor() -> None:
    fd = os.open(put("a", b"\0" * PAGE), os.O_RDONLY)
    with fails(errno.EACCES):
        mmap.mmap(fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    os.mkdir("d")
    directory = os.open("d", os.O_RDONLY)
    with fails(errno.ENODEV):
        mmap.mmap(directory, PAGE, mmap.MAP_PRIVATE, mmap.PROT_READ)


@check
def a_mapping_outlives_descriptor_and_name() -> None:
    fd = os.open(put("a", b"kept" * 1024), os.O_RDWR)
    memory = mmap.mmap(fd, PAGE)
    os.close(fd)
    os.unlink("a")
    assert memory[:4] == b"kept"
    memory[:4] = b"gone"
    memory.close()


@check
def record_locks_keep_other_processes_out() -> None:
    fd = os.open(put("a"), os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)

    def other() -> None:
        mine = os.open("a", os.O_RDWR)
        with fails(errno.EACCES, errno.EAGAIN):
            fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 9)
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 10)
        held = LOCK.unpack(fcntl.fcntl(mine, fcntl.F_GETLK, LOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0)))
        assert held[0] == fcntl.F_WRLCK
        assert held[2:4] == (0, 10)
        assert held[4] == os.getppid()

    in_child(other)
    os.close(os.open("a", os.O_RDONLY))  # closing any descriptor of the file gives up the process's locks
    again = os.open("a", os.O_RDWR)
    os.close(again)

    def free() -> None:
        mine = os.open("a", os.O_RDWR)
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)

    in_child(free)


@check
def a_waiting_lock_is_given_when_the_holder_ends() -> None:
    reading, writing = os.pipe()
    put("a")
    pid = os.fork()
    if pid == 0:
        fcntl.lockf(os.open("a", os.O_RDWR), fcntl.LOCK_EX)
        os.write(writing, b"held")
        time.sleep(0.2)
        os._exit(0)
    os.read(reading, 4)
    begun = time.monotonic()
    fcntl.lockf(os.open("a", os.O_RDWR), fcntl.LOCK_EX)
    assert time.monotonic() - begun > 0.05
    os.waitpid(pid, 0)


@check
def whole_file_locks_belong_to_the_open_file() -> None:
    one, two = os.open(put("a"), os.O_RDWR), os.open("a", os.O_RDWR)
    fcntl.flock(one, fcntl.LOCK_EX)
    with fails(errno.EWOULDBLOCK):
        fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    copy = os.dup(one)
    os.close(one)
    with fails(errno.EWOULDBLOCK):
        fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(copy)
    fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)


@check
def open_file_locks() -> None:
    one, two = os.open(put("a"), os.O_RDWR), os.open("a", os.O_RDWR)
    set_lock, write = 37, LOCK.pack(fcntl.F_WRLCK, 0, 0, 100, 0)  # F_OFD_SETLK
    fcntl.fcntl(one, set_lock, write)
    with fails(errno.EACCES, errno.EAGAIN):
        fcntl.fcntl(two, set_lock, write)
    os.close(one)
    fcntl.fcntl(two, set_lock, write)


@check
def a_program_in_the_directory_runs() -> None:
    put("tell", b"#!/bin/sh\necho here > told\n", 0o755)
    os.chmod("tell", 0o755)
    in_child(lambda: os.execv("./tell", ["./tell"]))
    assert get("told") == b"here\n"


@check
def descriptors_go_through_exec() -> None:
    fd = os.dup2(os.open(put("a", b"123456789"), os.O_RDWR), 8)
    os.read(fd, 4)
    in_child(lambda: os.execv("/bin/sh", ["sh", "-c", "head -c 2 <&8 > got; echo more >> a"]))
    assert get("got")[:2] == b"56"
    assert get("a") == b"123456789more\n"


@check
def a_pipe_by_name() -> None:
    os.mkfifo("p")
    assert stat.S_ISFIFO(os.stat("p").st_mode)
    pid = os.fork()
    if pid == 0:
        put("p", b"through")
        os._exit(0)
    assert get("p") == b"through"
    os.waitpid(pid, 0)


@check
def a_socket_by_name() -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        listener.bind("s")
        listener.listen()
        assert stat.S_ISSOCK(os.stat("s").st_mode)
        caller.connect("s")
        other, _ = listener.accept()
        caller.send(b"hello")
        assert other.recv(9) == b"hello"
        other.close()
