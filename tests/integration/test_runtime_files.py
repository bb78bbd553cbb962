"""Injected files, which exist only inside: programs read, map, copy and inherit them as files that lie there."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from tests.integration.injected import run
from tests.integration.runtime_programs import arms
from tests.integration.runtime_programs.arms import HERE, build

from cloister.errors import UsageError
from cloister.launch import _abi
from cloister.launch.command import start_block
from cloister.launch.runtime_file import runtime_path

pytestmark = pytest.mark.needs_runtime

RECORDS = b"".join(b"%09d\n" % number for number in range(999))
BIG = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(100_000))
PYTHON = os.path.realpath("/usr/bin/python3")
WAYS = """
import hashlib, mmap, os, sys
path, want = sys.argv[1:]
def said(data): assert hashlib.sha256(data).hexdigest() == want, len(data)
with open(path, "rb") as file: said(file.read())
with open(path, "rb", buffering=0) as file:
    room = bytearray(os.stat(path).st_size)
    view, at = memoryview(room), 0
    while n := file.readinto(view[at : at + 100_001]): at += n
    said(room)
    for access in (mmap.ACCESS_READ, mmap.ACCESS_COPY):
        with mmap.mmap(file.fileno(), 0, access=access) as mapped: said(mapped[:])
    parts = [os.pread(file.fileno(), 4096, offset) for offset in range(0, len(room), 4096)]
    said(b"".join(parts))
print("all ways")
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def names() -> list[str]:
    text = (HERE / "file_scenarios.c").read_text()
    return [part.split(")")[0] for part in text[text.index("struct scenario all[]") :].split("SCENARIO(")[1:]]


@pytest.mark.parametrize("name", names())
def test_same_as_a_file_that_lies_there(programs: Path, tmp_path: Path, name: str) -> None:
    program = build(programs, "file_scenarios")
    native, inside = tmp_path / "native", tmp_path / "inside"
    for directory in (native, inside):
        directory.mkdir()
    (native / "file").write_bytes(RECORDS)
    (native / "file").chmod(0o400)
    environment = {"PATH": os.environ["PATH"], "FILE": str(native / "file"), "DIRECTORY": str(native)}
    expected = arms.run([str(program), name], environment=environment)
    environment |= {"FILE": str(inside / "file"), "DIRECTORY": str(inside)}
    done = run([str(program), name], {str(inside / "file"): RECORDS}, environment=environment)
    assert expected.output, "the scenario prints nothing"
    assert done.stdout.decode() == expected.output, done.stderr
    assert done.returncode == expected.status
    assert not list(inside.iterdir())


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 5000, BIG], ids=["empty", "a byte", "zeros", "3 MB"])
def test_every_way_to_read(content: bytes) -> None:
    """The empty file cannot be mapped, here as elsewhere."""
    program = WAYS if content else WAYS.replace("(mmap.ACCESS_READ, mmap.ACCESS_COPY)", "()")
    words = [PYTHON, "-c", program, "/nowhere/file", hashlib.sha256(content).hexdigest()]
    done = run(words, {"/nowhere/file": content})
    assert (done.stdout, done.stderr) == (b"all ways\n", b"")


def test_a_thousand_files() -> None:
    files = {f"/run/secrets/{number}": b"content of %d" % number for number in range(1000)}
    program = "import sys; print(all(open(f'/run/secrets/{n}').read() == f'content of {n}' for n in range(1000)))"
    assert run([PYTHON, "-c", program], files).stdout == b"True\n"


def shell(script: str, content: bytes = b"first\nsecond\nthird\n", **files: bytes) -> str:
    injected = {"file": content} | files
    done = run(["bash", "-c", script], {f"/run/secrets/{name}": data for name, data in injected.items()})
    assert not done.stderr, done.stderr
    return done.stdout.decode()


def test_a_shell_reads_it() -> None:
    loop = 'while read -r line; do echo "got $line"; done < /run/secrets/file'
    assert shell(loop) == "got first\ngot second\ngot third\n"
    assert shell("mapfile -t lines < /run/secrets/file; echo ${lines[2]}") == "third\n"
    assert shell("echo $(< /run/secrets/file)") == "first second third\n"
    assert shell("exec 5< /run/secrets/file; read -ru 5 a; (read -ru 5 b; echo $b); read -ru 5 c; echo $a $c") == (
        "second\nfirst third\n"
    )
    assert shell("source /run/secrets/code; greet you", code=b"greet() {\n  echo hello $1\n}\n") == "hello you\n"
    assert shell("f=/run/secrets/file; [[ -f $f && -r $f && -s $f && ! -L $f ]]; echo $?") == "0\n"


def test_programs_that_a_shell_executes_read_it() -> None:
    assert shell("cat /run/secrets/file") == "first\nsecond\nthird\n"
    assert shell("cat < /run/secrets/file") == "first\nsecond\nthird\n"
    assert shell("exec 7< /run/secrets/file; read -ru 7 line; (cat <&7)") == "second\nthird\n"
    assert shell("exec 7< /run/secrets/file; head -c 6 <&7; bash -c 'read -ru 7 line; echo $line; cat /dev/fd/7'") == (
        "first\nsecond\nfirst\nsecond\nthird\n"
    )
    assert shell("sort -r /run/secrets/file | head -n 1") == "third\n"
    assert shell("dd if=/run/secrets/file bs=7 skip=1 status=none") == "econd\nthird\n"


def test_a_descriptor_is_inherited_by_its_number() -> None:
    program = """
import os, subprocess, sys
file = open("/run/secrets/file", "rb", buffering=0)
file.read(6)
for how in ({"stdin": file}, {"pass_fds": (file.fileno(),)}):
    fd = 0 if "stdin" in how else file.fileno()
    sys.stdout.write(subprocess.run(["head", "-c", "7", f"/dev/fd/{fd}"], capture_output=True, text=True, **how).stdout)
print(subprocess.run(["cat"], stdin=file, capture_output=True).stdout, file.read())
print(subprocess.run(["ls", f"/proc/self/fd/{file.fileno()}"], capture_output=True).returncode)
"""
    done = run([PYTHON, "-c", program], {"/run/secrets/file": b"first\nsecond\n"})
    assert (done.stdout, done.stderr) == (b"first\nsfirst\nsb'second\\n' b''\n2\n", b"")


def test_copies_have_the_content(tmp_path: Path) -> None:
    """cp(1) looks for holes, compares what stat and fstat say, and tries the fast ways first."""
    for flags in ([], ["--sparse=always"], ["--preserve=all"]):
        target = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        done = run(["cp", *flags, "/run/secrets/big", str(target)], {"/run/secrets/big": BIG})
        assert (done.returncode, done.stderr) == (0, b"")
        assert target.read_bytes() == BIG


@pytest.mark.needs_program("openssl")
def test_openssl_reads_a_key(tmp_path: Path) -> None:
    key = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True).stdout
    (tmp_path / "key").write_bytes(key)
    public = ["openssl", "pkey", "-pubout", "-in"]
    expected = subprocess.run([*public, tmp_path / "key"], capture_output=True, check=True).stdout
    assert run([*public, "/etc/service/key.pem"], {"/etc/service/key.pem": key}).stdout == expected


@pytest.mark.needs_program("sqlite3")
def test_a_database_is_queried(tmp_path: Path) -> None:
    subprocess.run(
        ["sqlite3", tmp_path / "db"], input=b"create table t(a); insert into t values (7), (35);", check=True
    )
    files = {"/data/db": (tmp_path / "db").read_bytes()}
    done = run(["sqlite3", "file:/data/db?immutable=1", "select sum(a) from t"], files)
    assert done.stdout == b"42\n", done.stderr


def test_it_cannot_be_written() -> None:
    program = """
import os
for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREAT | os.O_APPEND):
    try: os.open("/run/secrets/file", flags)
    except PermissionError as error: print(error.errno)
print([os.access("/run/secrets/file", mode) for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)])
file = os.open("/run/secrets/file", os.O_RDONLY)
for call in (lambda: os.write(file, b"x"), lambda: os.ftruncate(file, 0), lambda: os.unlink("/run/secrets/file")):
    try: call()
    except OSError as error: print(error.errno)
print(os.read(file, 100))
"""
    done = run([PYTHON, "-c", program], {"/run/secrets/file": b"as it was"})
    assert done.stdout.split(b"\n")[:-1] == [b"13"] * 4 + [
        b"[True, True, False, False]",
        b"9",
        b"22",
        b"2",
        b"b'as it was'",
    ]


def test_only_the_exact_path_is_injected(tmp_path: Path) -> None:
    """Links are not followed, and what lies beside is the file system's."""
    (tmp_path / "beside").write_bytes(b"the file system's")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file2").write_bytes(b"another")
    program = """
import os, sys
os.chdir(sys.argv[1])
for name in ("file", "./file", "x/../file", "beside", "link", "file2", "fil", "file/"):
    try: print(name, open(name).read())
    except OSError as error: print(name, error.errno)
print(sorted(os.listdir(".")))
"""
    done = run([PYTHON, "-c", program, str(tmp_path)], {str(tmp_path / "file"): b"injected"})
    assert done.stdout.decode().splitlines() == [
        "file injected",
        "./file injected",
        "x/../file injected",
        "beside the file system's",
        "link 2",
        "file2 another",
        "fil 2",
        "file/ injected",
        "['beside', 'file2', 'link']",
    ], done.stderr


def test_an_injected_file_hides_one_of_the_file_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"what the host put there")
    path = str(tmp_path / "file")
    assert run(["cat", path], {path: b"true"}).stdout == b"true"


def test_the_working_directory_is_entered(tmp_path: Path) -> None:
    done = run(["cat", "file"], {str(tmp_path / "file"): b"relative"}, directory=str(tmp_path))
    assert done.stdout == b"relative"


def test_asynchronous_reads_are_refused() -> None:
    """They would read the zeros that stand in for the content, and their queues are memory that others can write."""
    program = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for number in (206, 425):  # io_setup, io_uring_setup
    libc.syscall(number, 8, 0)
    print(errno.errorcode[ctypes.get_errno()])
"""
    for files in ({"/f": b""}, {}):
        assert run([PYTHON, "-c", program], files).stdout == b"ENOSYS\nENOSYS\n"


def test_a_damaged_part_with_files_runs_nothing() -> None:
    plain = start_block(["echo", "ran"], {})
    block = start_block(["echo", "ran"], {}, directory="/", files={"/a": b"content", "/b": b""})
    cuts = [block[:size] for size in range(len(plain) + 1, len(block))]
    counts = [block.replace(b"\x02\0\0\0\x02\0\0\0/a", count + b"\x02\0\0\0/a") for count in (b"\1\0\0\0", b"\xff" * 4)]
    assert block not in counts
    for damaged in (*cuts, block + b"\0", *counts):
        done = run_block(damaged, "/bin/echo")
        assert (done.returncode, done.stdout) == (_abi.EXIT_INTERNAL, b""), damaged
        assert b"start block" in done.stderr
    assert run_block(block, "/bin/echo").stdout == b"ran\n"


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    done = run_block(start_block(["true"], {}, directory=str(tmp_path / "missing")))
    assert done.returncode == _abi.EXIT_NOT_PROVISIONED
    assert b"missing" in done.stderr


@pytest.mark.needs_root
def test_a_program_that_gives_up_root_keeps_its_files() -> None:
    program = """
import os
before = os.open("/run/secrets/file", os.O_RDONLY)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(os.read(before, 100), open("/run/secrets/file").read(), os.stat("/run/secrets/file").st_uid)
"""
    assert run([PYTHON, "-c", program], {"/run/secrets/file": b"kept"}).stdout == b"b'kept' kept 65534\n"


@pytest.mark.parametrize("path", ["relative", "/a//b", "/a/../b", "/a/", "/", "//a", ""])
def test_a_path_that_could_never_be_met_is_refused(path: str) -> None:
    """By the runtime too, which gets its block from somebody else."""
    known = b"\x04\0\0\0/xxx"
    block = start_block(["true"], {}, files={"/xxx": b"content"})
    assert block.count(known) == 1
    done = run_block(block.replace(known, len(path).to_bytes(4, "little") + path.encode()))
    assert (done.returncode, done.stdout) == (_abi.EXIT_INTERNAL, b"")
    assert b"paths" in done.stderr
    assert run_block(block).returncode == 0
    with pytest.raises(UsageError, match="absolute"):
        start_block(["true"], {}, files={path: b"content"})


def run_block(block: bytes, program: str = "/bin/true") -> subprocess.CompletedProcess[bytes]:
    reader, writer = os.pipe()
    os.write(writer, block)
    os.close(writer)
    try:
        command = [str(runtime_path()), f"--start-fd={reader}", "--", program, "x"]
        return subprocess.run(command, capture_output=True, check=False, pass_fds=(reader,), timeout=30)
    finally:
        os.close(reader)
