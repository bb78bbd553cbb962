"""Injected files exist only inside. Root sees placeholders of zeros, and cannot make a program read those instead."""

import contextlib
import fcntl
import os
import re
import resource
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.injected import started
from tests.security import attacks_unsafe as attacks
from tests.security.victims import read_until

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]

PYTHON = os.path.realpath("/usr/bin/python3")
PATH = "/run/secrets/token"
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
CHUNK = 1 << 20
PROGRAM = """
import mmap, os, sys, threading
path = sys.argv[1]
want = open(path, "rb").read()
number = os.open(path, os.O_RDONLY)
os.dup2(number, 30)  # from now on all reads are seen
mapped = mmap.mmap(number, 0, access=mmap.ACCESS_READ)
others = []

def look(file):
    try: data = os.pread(file, 100_000, 0)
    except OSError as error: return f"error {error.errno}"
    return "right" if data == want else "empty" if not data else "zeros" if not data.strip(b"\\0") else "something else"

def look_again(name, flags=0):
    try: file = os.open(name, os.O_RDONLY | flags)
    except OSError as error: return f"error {error.errno}"
    try: return look(file)
    finally: os.close(file)

def go_on():
    while True:
        if (found := look_again(path)) != "right": others.append(found)

threading.Thread(target=go_on, daemon=True).start()
print(number, "ready", sep="\\n", flush=True)
for line in sys.stdin:
    if line.startswith("open"): print(look_again(line.split()[1]))
    elif line.startswith("sync"): print(look_again(line.split()[1], os.O_SYNC))
    elif line.startswith("keep"): print(os.open(line.split()[1], os.O_RDONLY))
    elif line.startswith("look"): print(look(int(line.split()[1])))
    elif line.startswith("all"): print(look(number), look(30), look_again(path), mapped[:] == want, len(others))
    print("done", flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A program that reads the file all the time."""

    process: subprocess.Popen[bytes]
    content: bytes
    number: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, command: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return " ".join(read_until(self.process, "done"))

    def descriptor(self, number: int) -> int:
        """The program's own open file, taken by root."""
        pidfd = os.pidfd_open(self.pid)
        try:
            return attacks.checked(attacks.take_descriptor(pidfd, number), "pidfd_getfd")
        finally:
            os.close(pidfd)


ALL_RIGHT = "right right right True 0"


@contextlib.contextmanager
def reader(
    content: bytes, native: Path | None = None, *, more: dict[str, bytes] | None = None, wrapper: tuple[str, ...] = ()
) -> Iterator[Reader]:
    words = [PYTHON, "-c", PROGRAM, str(native or PATH)]
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        if native:
            native.write_bytes(content)
            process = subprocess.Popen(words, stdin=pipe, stdout=pipe, bufsize=0)
            stack.callback(process.wait)
            stack.callback(process.kill)
            for stream in (process.stdin, process.stdout):
                stack.callback(stream.close)  # type: ignore[union-attr]  # both are pipes
        else:
            process = stack.enter_context(
                started(words, {PATH: content} | (more or {}), wrapper=wrapper, stdin=pipe, stdout=pipe, bufsize=0)
            )
        number = int(read_until(process, "ready")[0])
        yield Reader(process=process, content=content, number=number)


@pytest.fixture
def token() -> bytes:
    return b"-".join(secrets.token_hex(16).encode() for _ in range(200))


@pytest.fixture
def running(token: bytes) -> Iterator[Reader]:
    with reader(token) as target:
        yield target


def read_everything(path: Path) -> bytes:
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        return file.read(CHUNK) or b""
    return b""


def memory_of(pid: int) -> Iterator[bytes]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
        if not found:
            continue
        start, end = int(found[1], 16), int(found[2], 16)
        for at in range(start, min(end, start + (16 << 20)), CHUNK):
            for read in (attacks.mem_read, attacks.vm_read):
                with contextlib.suppress(OSError, OverflowError):
                    yield read(pid, at, min(CHUNK, end - at))


def open_files_of(pid: int) -> Iterator[bytes]:
    for place in ("fd", "map_files"):
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/{place}").iterdir():
                with contextlib.suppress(OSError):
                    if link.is_file():
                        yield read_everything(link)
    for entry in ("environ", "cmdline", "auxv"):
        yield read_everything(Path(f"/proc/{pid}/{entry}"))


def taken_descriptors_of(pid: int) -> Iterator[bytes]:
    pidfd = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            taken = attacks.take_descriptor(pidfd, int(name))
            if taken >= 0:
                with contextlib.suppress(OSError), os.fdopen(taken, "rb", buffering=0) as file:
                    yield os.pread(file.fileno(), CHUNK, 0)
    finally:
        os.close(pidfd)


def holds(data: bytes, token: bytes) -> bool:
    """Any 24 bytes of it: each part is random."""
    return any(part[:24] in data for part in token.split(b"-"))


WAYS: dict[str, Callable[[int], Iterator[bytes]]] = {
    "memory": memory_of,
    "open files": open_files_of,
    "descriptors taken": taken_descriptors_of,
}


def looked_at(pid: int, token: bytes, rounds: int) -> tuple[dict[str, int], set[str]]:
    """Bytes that each way gave, and the ways that gave the token."""
    sizes, found = dict.fromkeys(WAYS, 0), set()
    for _ in range(rounds):
        for name, way in WAYS.items():
            for data in way(pid):
                sizes[name] += len(data)
                if holds(data, token):
                    found.add(name)
    return sizes, found


def test_a_native_reader_is_found_out(token: bytes, tmp_path: Path) -> None:
    """The control: the same searches find the token in every way."""
    with reader(token, native=tmp_path / "token") as target:
        _, found = looked_at(target.pid, token, rounds=1)
        assert found == set(WAYS)


def test_root_never_sees_the_content(running: Reader) -> None:
    sizes, found = looked_at(running.pid, running.content, rounds=3)
    assert not found
    assert all(sizes.values()), "it looked at something"
    assert running.ask("all") == ALL_RIGHT


def test_nothing_lies_in_the_file_system(running: Reader) -> None:
    assert not Path(PATH).exists()
    placeholder = Path(f"/proc/{running.pid}/fd/{running.number}")
    assert placeholder.read_bytes() == bytes(len(running.content))
    assert placeholder.stat().st_nlink == 0


def test_the_placeholder_cannot_be_changed(running: Reader) -> None:
    """A refused write still changes the time of modification; until that is put right the file is not to be had."""
    path = f"/proc/{running.pid}/fd/{running.number}"
    inscription = Path(path).stat().st_mtime_ns
    for change in (os.open(path, os.O_RDWR), running.descriptor(running.number)):
        for attempt in (
            lambda fd: os.write(fd, b"chosen by the host"),
            lambda fd: os.ftruncate(fd, 3),
            lambda fd: os.ftruncate(fd, 1 << 20),
            lambda fd: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0),
        ):
            with pytest.raises(OSError, match=r"not permitted|Bad file|Invalid"):
                attempt(change)
        os.close(change)
    os.chmod(path, 0)  # noqa: PTH101  a link in /proc
    os.chown(path, 65534, 65534)
    assert running.ask("all") in {ALL_RIGHT, "error 116 error 116 right True 0"}
    os.utime(path, ns=(0, inscription))
    assert running.ask("all") == ALL_RIGHT


def imitation(of: str) -> int:
    """A memfd that looks from outside as that placeholder does."""
    genuine = Path(of).stat()
    fd = os.memfd_create(os.readlink(of).removeprefix("/memfd:").removesuffix(" (deleted)"), os.MFD_ALLOW_SEALING)
    os.write(fd, b"chosen by the host".ljust(genuine.st_size, b"!"))
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    os.fchmod(fd, 0o400)
    os.utime(fd, ns=(genuine.st_atime_ns, genuine.st_mtime_ns))
    assert os.readlink(f"/proc/self/fd/{fd}") == os.readlink(of)
    assert os.fstat(fd).st_mtime_ns == genuine.st_mtime_ns
    return fd


def test_a_link_does_not_make_the_program_give_it_away(running: Reader, tmp_path: Path) -> None:
    """A server reads what the host puts into its directories: a link there must not lead to an injected file."""
    genuine = f"/proc/{running.pid}/fd/{running.number}"
    forged = imitation(genuine)
    targets = {"genuine": genuine, "forged": f"/proc/{os.getpid()}/fd/{forged}", "path": PATH}
    expected = {"genuine": "zeros", "forged": "something else", "path": "error 2"}
    for name, target in targets.items():
        (tmp_path / name).symlink_to(target)
        assert running.ask(f"open {tmp_path / name}") == expected[name]
        assert running.ask(f"sync {tmp_path / name}") == expected[name], "opened with the flag that marks placeholders"
    os.close(forged)
    assert running.ask(f"open {genuine}") == "right", "the program's own name for it"
    assert running.ask("all") == ALL_RIGHT


def test_the_mark_cannot_be_put_or_taken_away(running: Reader, tmp_path: Path) -> None:
    """By who takes the descriptor out of the program and sets what can be set."""
    genuine = f"/proc/{running.pid}/fd/{running.number}"
    (tmp_path / "link").symlink_to(genuine)
    other = int(running.ask(f"keep {tmp_path / 'link'}"))
    for number, flags in ((running.number, 0), (other, os.O_SYNC), (other, os.O_SYNC | os.O_NONBLOCK)):
        taken = running.descriptor(number)
        before = fcntl.fcntl(taken, fcntl.F_GETFL)
        fcntl.fcntl(taken, fcntl.F_SETFL, flags)
        assert fcntl.fcntl(taken, fcntl.F_GETFL) & os.O_SYNC == before & os.O_SYNC
        os.close(taken)
    assert running.ask(f"look {other}") == "zeros"
    assert running.ask("all") == ALL_RIGHT


def test_another_inscription_makes_reads_fail_rather_than_lie(token: bytes) -> None:
    """Zeros, or another file, taken for a key: the host would know the key."""
    with reader(token, more={"/run/secrets/known": b"known to the host".ljust(len(token))}) as target:
        path = f"/proc/{target.pid}/fd/{target.number}"
        right = Path(path).stat().st_mtime_ns
        other = Path(f"/proc/{target.pid}/fd/{target.ask('keep /run/secrets/known')}").stat().st_mtime_ns
        assert other != right
        for wrong in (other, right ^ 1, right + (1 << 44) * 10**9, 0, 10**18, -(10**9)):
            os.utime(path, ns=(0, wrong))
            assert target.ask("all").startswith("error 116 error 116 right True"), wrong
        os.utime(path, ns=(0, right))
        assert target.ask("all") == ALL_RIGHT


def mounted_in(pid: int, *words: str) -> None:
    subprocess.run(["nsenter", "-t", str(pid), "-m", "mount", *words], check=True)


@pytest.mark.needs_program("nsenter", "unshare")
@pytest.mark.parametrize("what", ["nothing", "another process's descriptors"])
def test_another_proc_does_not_lead_it_astray(token: bytes, tmp_path: Path, what: str) -> None:
    """The runtime opens its placeholders anew through /proc, where root may mount what it likes."""
    (tmp_path / "lie").write_bytes(b"chosen by the host".ljust(len(token)))
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(reader(token, wrapper=("unshare", "--mount", "--propagation", "private")))
        for _ in range(60):
            stack.callback(os.close, os.open(tmp_path / "lie", os.O_RDONLY))
        if what == "nothing":
            mounted_in(target.pid, "-t", "tmpfs", "none", "/proc")
        else:
            mounted_in(target.pid, "--bind", f"/proc/{os.getpid()}/fd", f"/proc/{target.pid}/fd")
        assert target.ask(f"open {PATH}") == "error 5"
        assert target.ask("all").startswith("right right error 5 True")


@pytest.mark.parametrize("limit", [0, 3, 40, 700])
def test_a_limit_on_descriptors_does_not_let_zeros_through(running: Reader, limit: int) -> None:
    """The runtime's high numbers are not to be had then."""
    _, most = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (limit, most))
    answers = {running.ask(f"open {PATH}") for _ in range(20)}
    assert answers <= {"right", "error 24", "error 12"}
    if limit >= 40:
        assert answers == {"right"}
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (most, most))
    assert running.ask("all").startswith("right right right True")


def test_the_host_cannot_hand_it_over_at_the_start(token: bytes) -> None:
    """Another enclave with the same file does not take this one's placeholder for its own, nor an imitation of it."""
    with reader(token) as first:
        taken = first.descriptor(first.number)
        program = f"import os; os.dup2(os.open({PATH!r}, 0), 30); print(os.read(0, 100))"
        pipe = subprocess.PIPE
        with started([PYTHON, "-c", program], {PATH: token}, stdin=taken, stdout=pipe, stderr=pipe) as second:
            output, errors = second.communicate(timeout=30)
        os.close(taken)
    assert not holds(output, token)
    assert b"Stale file handle" in errors


def test_what_a_foreign_process_receives_is_zeros(token: bytes) -> None:
    """SCM_RIGHTS: the descriptor itself may leave, its content does not."""
    program = f"""
import array, os, socket
fd = os.open({PATH!r}, 0)
socket.socket(fileno=0).sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
"""
    ours, theirs = socket.socketpair()
    with started([PYTHON, "-c", program], {PATH: token}, stdin=theirs) as sender:
        assert sender.wait(timeout=30) == 0
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    assert os.pread(descriptors[0], 1 << 20, 0) == bytes(len(token))
    for one in (ours, theirs):
        one.close()
    os.close(descriptors[0])


WITHIN = """
import array, os, socket, sys
path = sys.argv[1]
want = open(path, "rb").read()
fd = os.open(path, os.O_RDONLY)

def judge(data): return "right" if data == want else "zeros" if data and not data.strip(b"\\0") else "something else"

def look(name):
    try: return judge(os.pread(os.open(name, os.O_RDONLY), 100_000, 0))
    except OSError as error: return f"error {error.errno}"

def received():
    ours, theirs = socket.socketpair()
    socket.send_fds(theirs, [b"x"], [fd])
    return judge(os.pread(socket.recv_fds(ours, 1, 1)[1][0], 100_000, 0))

if sys.argv[2] == "received": print(received())
elif sys.argv[2] == "child":
    child = os.fork()
    if child: os.waitpid(child, 0)
    else: print(look(f"/proc/{os.getppid()}/fd/{fd}"), flush=True)
else: print(look(sys.argv[2].format(fd=fd, pid=os.getpid())))
"""


@pytest.mark.parametrize(
    "way",
    [
        "received",
        "/proc/thread-self/fd/{fd}",
        "/proc/self/task/{pid}/fd/{fd}",
        "/proc/{pid}/task/{pid}/fd/{fd}",
        "child",
    ],
)
def test_no_way_within_the_tree_gives_zeros(token: bytes, tmp_path: Path, way: str) -> None:
    """In a program that has no reason yet to have all its reads seen."""
    native = tmp_path / "token"
    native.write_bytes(token)
    words = [PYTHON, "-c", WITHIN, str(native), way]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "right\n", "the control: all ways lead there natively"
    pipe = subprocess.PIPE
    with started([PYTHON, "-c", WITHIN, PATH, way], {PATH: token}, stdout=pipe, stdin=subprocess.DEVNULL) as process:
        output, _ = process.communicate(timeout=30)
    assert output.decode() in ({"right\n", "error 13\n"} if way == "child" else {"right\n"})
