"""Names, links, directories: where files are."""

import errno
import os
import stat

from tests.system.programs.files.checking import check, fails, get, in_child, put


@check
def open_exclusively() -> None:
    os.close(os.open("a", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    with fails(errno.EEXIST):
        os.open("a", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.symlink("nowhere", "l")
    with fails(errno.EEXIST):
        os.open("l", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


@check
def open_errors() -> None:
    put("a")
    os.mkdir("d")
    os.symlink("a", "l")
    for path, flags, number in (
        ("none", os.O_RDONLY, errno.ENOENT),
        ("none/x", os.O_CREAT | os.O_WRONLY, errno.ENOENT),
        ("a/x", os.O_RDONLY, errno.ENOTDIR),
        ("a/", os.O_RDONLY, errno.ENOTDIR),
        ("d", os.O_WRONLY, errno.EISDIR),
        ("d", os.O_RDWR | os.O_CREAT, errno.EISDIR),
        ("a", os.O_RDONLY | os.O_DIRECTORY, errno.ENOTDIR),
        ("l", os.O_RDONLY | os.O_NOFOLLOW, errno.ELOOP),
        ("n" * 256, os.O_RDONLY | os.O_CREAT, errno.ENAMETOOLONG),
    ):
        with fails(number):
            os.close(os.open(path, flags))


@check
def names_up_to_255_bytes_of_any_kind() -> None:
    for name in (b"n" * 255, b"\xff\xfe", b"a b\n\tc", "ü€𝄞".encode(), b"-", b"..."):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        assert name in os.listdir(b".")
        os.unlink(name)
    assert os.listdir(b".") == []


@check
def paths_up_to_4095_bytes() -> None:
    os.mkdir("d" * 200)
    put("d" * 200 + "/x", b"far")
    assert get("./" * 1900 + "d" * 200 + "/x") == b"far"
    here = os.getcwd()
    for _ in range(15):
        os.mkdir("e" * 250)
        os.chdir("e" * 250)
    put("x", b"deep")
    os.chdir(here)
    assert get(("e" * 250 + "/") * 15 + "x") == b"deep"


@check
def paths_too_long() -> None:
    with fails(errno.ENAMETOOLONG):
        os.stat("d/" * 2048 + "x")


@check
def hard_links() -> None:
    put("a", b"one")
    os.link("a", "b")
    assert os.stat("a").st_ino == os.stat("b").st_ino
    assert os.stat("a").st_nlink == 2
    put("b", b"two!")
    assert get("a") == b"two!"
    os.unlink("a")
    assert os.stat("b").st_nlink == 1
    os.mkdir("d")
    with fails(errno.EPERM):
        os.link("d", "e")
    with fails(errno.EEXIST):
        os.link("b", "b")
    with fails(errno.ENOENT):
        os.link("none", "c")


@check
def links_to_links() -> None:
    put("a")
    os.symlink("a", "l")
    os.link("l", "m", follow_symlinks=False)
    assert os.readlink("m") == "a"
    assert os.lstat("l").st_nlink == 2


@check
def symbolic_links() -> None:
    os.mkdir("d")
    put("d/x", b"inside")
    os.symlink("d", "l")
    assert os.readlink("l") == "d"
    assert stat.S_ISLNK(os.lstat("l").st_mode)
    assert os.lstat("l").st_size == 1
    assert get("l/x") == b"inside"
    os.symlink("x", "d/rel")
    assert get("l/rel") == b"inside"
    os.symlink(os.path.abspath("d/x"), "absolute")
    assert get("absolute") == b"inside"
    os.symlink("../" + os.path.basename(os.getcwd()) + "/d/x", "up")
    assert get("up") == b"inside"
    with fails(errno.EINVAL):
        os.readlink("d/x")
    with fails(errno.EEXIST):
        os.symlink("z", "l")
    os.symlink("gone", "dangling")
    with fails(errno.ENOENT):
        os.stat("dangling")
    put("dangling", b"made through the link")
    assert get("gone") == b"made through the link"


@check
def symbolic_links_in_a_ring() -> None:
    os.symlink("b", "a")
    os.symlink("a", "b")
    with fails(errno.ELOOP):
        os.stat("a")
    os.symlink(".", "0")
    for number in range(39):
        os.symlink(str(number), str(number + 1))
    assert stat.S_ISDIR(os.stat("39").st_mode), "forty links may be followed"
    os.symlink("39", "40")
    with fails(errno.ELOOP):
        os.stat("40")


@check
def long_targets() -> None:
    for size in (1, 59, 60, 255, 1000, 4095):
        os.symlink("t" * size, f"l{size}")
        assert os.readlink(f"l{size}") == "t" * size
    with fails(errno.ENAMETOOLONG):
        os.symlink("t" * 4096, "too-long")


@check
def renaming_files() -> None:
    put("a", b"a")
    put("b", b"b")
    number = os.stat("a").st_ino
    os.rename("a", "b")
    assert get("b") == b"a"
    assert os.stat("b").st_ino == number
    assert not os.path.lexists("a")
    os.link("b", "c")
    os.rename("b", "c")
    assert os.path.lexists("b"), "two names of one file: nothing happens"
    os.rename("c", "c")
    with fails(errno.ENOENT):
        os.rename("none", "x")
    fd = os.open("c", os.O_RDONLY)
    os.rename("c", "moved")
    assert os.read(fd, 9) == b"a"


@check
def renaming_directories() -> None:
    os.makedirs("d/e")
    put("d/e/x")
    os.mkdir("f")
    os.rename("d", "f")
    assert get("f/e/x") == b"data"
    os.mkdir("g")
    put("g/y")
    for source, target, number in (
        ("f", "g", (errno.ENOTEMPTY, errno.EEXIST)),
        ("f", "f/e/inside", (errno.EINVAL,)),
        ("f", "g/y", (errno.ENOTDIR,)),
        ("g/y", "f", (errno.EISDIR,)),
        ("f", "g/y/z", (errno.ENOTDIR,)),
        ("f/..", "x", (errno.EBUSY, errno.EINVAL, errno.ENOTEMPTY)),
    ):
        with fails(*number):
            os.rename(source, target)
    os.mkdir("h")
    os.rename("f/e", "h/e")
    assert os.stat("h").st_nlink >= 1
    assert os.path.samefile("h/e/..", "h")


@check
def removing() -> None:
    put("a")
    os.mkdir("d")
    put("d/x")
    for act, path, numbers in (
        (os.unlink, "none", (errno.ENOENT,)),
        (os.unlink, "d", (errno.EISDIR, errno.EPERM)),
        (os.rmdir, "a", (errno.ENOTDIR,)),
        (os.rmdir, "d", (errno.ENOTEMPTY, errno.EEXIST)),
        (os.rmdir, "d/.", (errno.EINVAL,)),
        (os.rmdir, "none", (errno.ENOENT,)),
        (os.mkdir, "a", (errno.EEXIST,)),
        (os.mkdir, "none/x", (errno.ENOENT,)),
        (os.mkdir, "a/x", (errno.ENOTDIR,)),
    ):
        with fails(*numbers):
            act(path)
    os.unlink("d/x")
    os.rmdir("d")
    assert os.listdir() == ["a"]


@check
def a_removed_file_lives_while_it_is_open() -> None:
    fd = os.open(put("a", b"still"), os.O_RDWR)
    os.unlink("a")
    put("a", b"another")
    assert os.read(fd, 9) == b"still"
    os.pwrite(fd, b"x" * 100_000, 0)
    assert os.fstat(fd).st_nlink == 0
    assert len(os.pread(fd, 200_000, 0)) == 100_000
    in_child(lambda: None if os.pread(fd, 5, 0) == b"xxxxx" else os._exit(1))


@check
def listing_directories() -> None:
    names = {f"name-{number}" for number in range(500)}
    for name in names:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    os.mkdir("d")
    os.symlink("x", "l")
    with os.scandir() as found:
        kinds = {entry.name: (entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in found}
    assert kinds.keys() == names | {"d", "l"}
    assert kinds["d"] == (True, False)
    assert kinds["l"] == (False, True)
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    assert len(os.listdir(fd)) == 502
    assert len(os.listdir(fd)) == 502, "again from the beginning"
    for name in names:
        os.unlink(name)
    assert sorted(os.listdir()) == ["d", "l"]


@check
def removing_while_listing_shows_each_once() -> None:
    for number in range(300):
        put(f"f{number}", b"")
    seen = []
    with os.scandir() as found:
        for entry in found:
            seen.append(entry.name)
            os.unlink(entry.name)
    assert len(seen) == len(set(seen)) == 300
    assert os.listdir() == []


@check
def links_of_directories_are_counted() -> None:
    base = os.stat(".").st_nlink
    os.mkdir("d")
    assert os.stat("d").st_nlink in (1, 2)
    assert os.stat(".").st_nlink in (base, base + 1)


@check
def relative_to_a_descriptor() -> None:
    os.mkdir("d")
    fd = os.open("d", os.O_RDONLY)
    os.mkdir("e", dir_fd=fd)
    os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.rename("d", "moved")
    os.symlink("x", "l", dir_fd=fd)
    os.rename("x", "y", src_dir_fd=fd, dst_dir_fd=fd)
    assert sorted(os.listdir("moved")) == ["e", "l", "y"]
    os.unlink("y", dir_fd=fd)
    os.rmdir("e", dir_fd=fd)
    assert os.readlink("l", dir_fd=fd) == "x"
    plain = os.open(put("plain"), os.O_RDONLY)
    with fails(errno.ENOTDIR):
        os.stat("x", dir_fd=plain)


@check
def the_working_directory() -> None:
    here = os.getcwd()
    os.makedirs("d/e")
    os.chdir("d/e")
    assert os.getcwd() == here + "/d/e"
    put("x")
    os.chdir("..")
    assert get("e/x") == b"data"
    fd = os.open(here, os.O_RDONLY)
    os.fchdir(fd)
    os.rename("d", "moved")
    os.chdir("moved/e")
    assert os.getcwd() == here + "/moved/e"
    assert sorted(os.listdir("../..")) == ["moved"]
    os.chdir(here)


@check
def deep_directories() -> None:
    here = os.getcwd()
    for _ in range(60):
        os.mkdir("deeper")
        os.chdir("deeper")
    put("x", b"deep")
    os.chdir(here)
    assert get("deeper/" * 60 + "x") == b"deep"
