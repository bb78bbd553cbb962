"""Open files and working directories: without a name, renamed, removed."""

import ctypes
import errno
import os

from tests.system.programs.files.checking import check, fails, get, put

AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000


@check
def a_file_without_a_name() -> None:
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"nameless")
    assert os.listdir() == []
    os.link(str(fd), "named", src_dir_fd=os.open("/proc/self/fd", os.O_RDONLY), follow_symlinks=True)
    assert get("named") == b"nameless"


@check
def a_nameless_file_gets_a_name_where_it_may() -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def link(fd: int, name: str) -> None:
        if libc.linkat(fd, b"", AT_FDCWD, name.encode(), AT_EMPTY_PATH):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    assert "/#" in os.readlink(f"/proc/self/fd/{fd}")
    link(fd, "one")
    link(fd, "two")
    assert os.stat("two").st_nlink == 2
    exclusive = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    with fails(errno.ENOENT):
        link(exclusive, "three")
    removed = os.open(put("four"), os.O_RDWR)
    os.unlink("four")
    with fails(errno.ENOENT):
        link(removed, "four")
    with fails(errno.EINVAL):
        os.open(".", os.O_TMPFILE | os.O_RDONLY)
    with fails(errno.ENOTDIR):
        os.open("one", os.O_TMPFILE | os.O_RDWR)
    assert sorted(os.listdir()) == ["one", "two"]


@check
def the_link_of_a_descriptor_follows_the_file() -> None:
    here = os.getcwd()
    os.mkdir("d")
    fd, directory = os.open(put("a"), os.O_RDONLY), os.open("d", os.O_RDONLY)
    os.rename("a", "b")
    os.rename("d", "e")
    assert os.readlink(f"/proc/self/fd/{fd}") == f"{here}/b"
    assert os.readlink(f"/proc/{os.getpid()}/fd/{directory}") == f"{here}/e"
    os.unlink("b")
    assert os.readlink(f"/proc/self/fd/{fd}").endswith(" (deleted)")


@check
def many_directories_are_open_at_once() -> None:
    opened = []
    for number in range(200):
        os.mkdir(str(number))
        opened.append(os.open(str(number), os.O_RDONLY | os.O_DIRECTORY))
    for number, fd in enumerate(opened):
        os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    assert all(os.listdir(str(number)) == [str(number)] for number in range(200))


@check
def a_removed_working_directory() -> None:
    here = os.getcwd()
    os.mkdir("d")
    os.chdir("d")
    try:
        os.rmdir(here + "/d")
        with fails(errno.ENOENT):
            os.getcwd()
        with fails(errno.ENOENT):
            put("x")
    finally:
        os.chdir(here)


@check
def a_renamed_working_directory() -> None:
    here = os.getcwd()
    os.makedirs("d/below")
    os.chdir("d/below")
    try:
        os.rename("../../d", "../../e")
        assert os.getcwd() == f"{here}/e/below"
        put("x")
    finally:
        os.chdir(here)
    assert os.listdir("e/below") == ["x"]


@check
def another_directory_is_not_the_removed_one() -> None:
    here = os.getcwd()
    os.mkdir("d")
    os.chdir("d")
    try:
        os.rmdir(here + "/d")
        for name in "efgh":
            os.mkdir(f"{here}/{name}")
        with fails(errno.ENOENT):
            put("x")
        with fails(errno.ENOENT):
            os.getcwd()
    finally:
        os.chdir(here)
