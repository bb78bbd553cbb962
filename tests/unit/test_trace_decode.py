"""Decoders against memory that the test lays out itself."""

import struct
from dataclasses import dataclass, field

import pytest

from cloister.observe.needles import Needles
from cloister.observe.trace.decode import at_entry, at_return, result_text, signature_of
from cloister.observe.trace.decode import look as look_module
from cloister.observe.trace.decode.look import Eyes, Look
from cloister.observe.trace.decode.network import address_text, destination
from cloister.observe.trace.descriptors import Descriptors
from cloister.observe.trace.record import NameKind, Unreadable, UnsearchedKind
from cloister.observe.trace.recorder import passed_unseen
from cloister.observe.trace.redact import Redactor
from cloister.observe.trace.siginfo import siginfo_text
from cloister.observe.trace.sockets import hex_endpoint

BASE = 0x10000
SECRET_MEMORY = 0x900000


@dataclass
class FakeMemory:
    """Bytes at BASE; everything at SECRET_MEMORY refuses."""

    data: bytes = b""
    forgotten: list[int] = field(default_factory=list)

    def read(self, pid: int, address: int, size: int) -> bytes | Unreadable:
        assert pid > 0
        if address >= SECRET_MEMORY:
            return Unreadable(reason="secret memory")
        if not BASE <= address < BASE + len(self.data):
            return Unreadable(reason="not mapped or not readable")
        return self.data[address - BASE : address - BASE + size]

    def forget(self, pid: int) -> None:
        self.forgotten.append(pid)


def look(name: str, raws: tuple[int, ...], data: bytes = b"", result: int = 0) -> Look:
    redactor = Redactor(Needles.of({"password": b"FUNFOO"}))
    # Process 1 << 30 does not exist: descriptors have no names.
    eyes = Eyes(memory=FakeMemory(data), descriptors=Descriptors(redactor), redactor=redactor, limit=32)
    return Look(eyes=eyes, pid=1 << 30, signature=signature_of(name), raws=raws + (0,) * (6 - len(raws)), result=result)


def line(call: Look) -> str:
    arguments = at_return(call, at_entry(call))
    return f"{call.signature.name}({', '.join(item.text for item in arguments)}) = {result_text(call)}"


def address4(port: int) -> bytes:
    return struct.pack("<H", 2) + struct.pack(">H", port) + bytes([127, 0, 0, 1]) + bytes(8)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (look("read", (0, BASE, 1024), b"hello\n" + bytes(20), 6), 'read(0, "hello\\n", 1024) = 6'),
        (
            look("read", (0, BASE, 1024), b"x", -11),
            f"read(0, {BASE:#x}, 1024) = -1 EAGAIN (Resource temporarily unavailable)",
        ),
        (look("write", (1, BASE, 6), b"FUNFOO", 6), 'write(1, "<secret:password 6 bytes>", 6) = 6'),
        (look("openat", (0xFFFFFF9C, BASE, 0), b"/etc/x\0", 3), 'openat(AT_FDCWD, "/etc/x", O_RDONLY) = 3'),
        (look("open", (BASE, 0o101, 0o644), b"f\0", 3), 'open("f", O_WRONLY|O_CREAT, 0644) = 3'),
        (
            look("mmap", (0, 4096, 3, 0x22, 0xFFFFFFFF, 0), b"", 0x7F0000000000),
            "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000",
        ),
        (look("kill", (42, 15)), "kill(42, SIGTERM) = 0"),
        (look("nanosleep", (BASE, 0), struct.pack("<qq", 1, 5)), "nanosleep({tv_sec=1, tv_nsec=5}, NULL) = 0"),
        (look("read", (0, SECRET_MEMORY, 64), b"", 7), "read(0, 0x900000 /* unreadable: secret memory */, 64) = 7"),
        (look("read", (0, 0, 1), b"", -512), "read(0, NULL, 1) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)"),
        (look("fcntl", (3, 1)), "fcntl(3, F_GETFD) = 0"),
        (
            look("accept", (3, SECRET_MEMORY, SECRET_MEMORY + 128), b"", 4),
            "accept(3, 0x900000 /* unreadable: secret memory */, 0x900080 /* unreadable: secret memory */) = 4",
        ),
        (look("accept", (3, 0, 0), b"", 4), "accept(3, NULL, NULL) = 4"),
        (
            look("wait4", (0xFFFFFFFF, BASE, 0, 0), struct.pack("<i", 7 << 8), 99),
            "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 7}], 0, NULL) = 99",
        ),
        (look("syscall_9999", (1, 2)), "syscall_9999(0x1, 0x2, 0, 0, 0, 0) = 0"),
    ],
)
def test_a_call_reads_like_strace(call: Look, text: str) -> None:
    assert line(call) == text


def test_scattered_buffers_are_one_flow() -> None:
    vectors = struct.pack("<QQQQ", BASE + 32, 3, BASE + 35, 3)
    call = look("writev", (1, BASE, 2), vectors + b"FUNFOO", 6)
    text = line(call)
    assert [item.pieces for item in call.clues.carried] == [True]
    assert "FOO" not in text


def test_a_short_read_into_scattered_buffers_shows_only_what_came() -> None:
    vectors = struct.pack("<QQQQ", BASE + 32, 3, BASE + 35, 3)
    assert '{iov_base="ab", iov_len=3}, {iov_base="", iov_len=3}' in line(
        look("readv", (0, BASE, 2), vectors + b"abcdef", 2)
    )


def test_arguments_and_environment_of_a_program_are_searched() -> None:
    strings = b"/bin/x\0-pFUNFOO\0KEY=FUNFOO\0"
    pointers = struct.pack("<QQQQQ", BASE + 40, BASE + 47, 0, BASE + 56, 0)
    call = look("execve", (BASE + 40, BASE, BASE + 24), pointers + strings)
    text = line(call)
    assert '"-p<secret:password 6 bytes>"' in text
    assert "/* 1 vars */" in text
    assert [item.argument for item in call.clues.carried] == ["argv", "envp"]
    assert [(name.kind, name.text) for name in call.clues.names] == [(NameKind.PROGRAM, "/bin/x")]


def test_addresses() -> None:
    assert address_text(address4(80)) == '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}'
    assert destination(address4(80)) == "127.0.0.1:80"
    six = struct.pack("<H", 10) + struct.pack(">HI", 443, 0) + bytes(15) + b"\1" + bytes(4)
    assert destination(six) == "[::1]:443"
    assert destination(b"\1\0/run/x\0") == "unix:/run/x"
    assert destination(b"\1\0\0abstract") == "unix:@abstract"
    assert destination(b"\2\0") == ""
    assert hex_endpoint("0100007F:1F90") == "127.0.0.1:8080"
    assert hex_endpoint("00000000000000000000000001000000:0050") == "[::1]:80"


def test_a_connection_names_its_destination() -> None:
    call = look("connect", (3, BASE, 16), address4(6379))
    assert "htons(6379)" in line(call)
    assert [name.text for name in call.clues.names] == ["127.0.0.1:6379"]


def test_siginfo() -> None:
    info = struct.pack("<iii4xII", 2, 0, 0, 77, 1000).ljust(128, b"\0")
    assert siginfo_text(info) == "{si_signo=SIGINT, si_code=SI_USER, si_pid=77, si_uid=1000}"
    fault = struct.pack("<iii4xQ", 11, 0, 1, 0xDEAD).ljust(128, b"\0")
    assert siginfo_text(fault) == "{si_signo=SIGSEGV, si_code=1, si_addr=0xdead}"


@pytest.mark.parametrize(
    ("name", "raws", "result", "kinds"),
    [
        ("copy_file_range", (3, 0, 4, 0, 64), 13, {UnsearchedKind.IN_KERNEL: 13}),
        ("sendfile", (3, 4, 0, 64), 0, {}),
        ("splice", (3, 0, 4, 0, 64), -11, {}),
        ("io_uring_enter", (3, 2, 1), 2, {UnsearchedKind.QUEUED: 2}),
        ("io_uring_setup", (8, BASE), 3, {UnsearchedKind.QUEUES: 1}),
        ("ioctl", (4, 0x40049409, 3), 0, {UnsearchedKind.REFLINK: 1}),
        ("ioctl", (4, 0x40049409, 3), -95, {}),
        ("ioctl", (1, 0x5401, BASE), 0, {}),
        ("msgsnd", (1, BASE, 8), 0, {UnsearchedKind.UNDECODED: 1}),
        ("getpid", (), 7, {}),
    ],
)
def test_what_passes_unseen_is_noted(
    name: str, raws: tuple[int, ...], result: int, kinds: dict[UnsearchedKind, int]
) -> None:
    call = look(name, raws, result=result)
    passed_unseen(call)
    assert {item.kind: item.amount for item in call.clues.unsearched} == kinds


def test_the_end_of_a_very_long_buffer_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_module, "SEARCH_LIMIT", 4)
    call = look("write", (1, BASE, 10), b"0123FUNFOO", 10)
    line(call)
    assert [(item.kind, item.amount) for item in call.clues.unsearched] == [(UnsearchedKind.LONG_BUFFER, 6)]
    assert not call.clues.carried


def test_a_length_below_zero_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read after the call, when something else may stand there."""
    monkeypatch.setattr(look_module, "SEARCH_LIMIT", 4)
    call = look("getsockopt", (3, 1, 4, BASE + 4, BASE), b"\xff\xff\xff\xba01234567")
    line(call)
    assert not call.clues.unsearched
