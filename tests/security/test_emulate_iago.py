"""Iago attacks: a hostile host answers system calls with lies, and the program must never see one.

Checkoway and Shacham, ASPLOS 2013. Each attack first runs against the honest host, so that what is refused is the lie.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.unit.emulate_linux_space import SCRATCH, Bench, bench, join

from cloister.emulate.linux.checks import HostLied
from cloister.emulate.linux.console import PlainConsole, SealedConsole
from cloister.emulate.linux.host import LinuxHost
from cloister.emulate.linux.messages import FileStatus, HostCall, HostReply, Operation, split
from cloister.emulate.linux.process import ShimOptions
from cloister.measure.image import PAGE

HERE = -100
CANARY = b"nothing of the lie may get here!" * 128


@dataclass(frozen=True)
class Answer:
    """An answer as the host may change it."""

    operation: int
    sequence: int
    error: int
    value: int
    data: bytes

    def message(self) -> bytes:
        header = HostReply(
            operation=self.operation,
            length=len(self.data),
            sequence=self.sequence,
            error=self.error,
            value=self.value,
        )
        return join(header, self.data)


class Host:
    """An honest host until `lie` is set: then every answer to `about` is changed by it."""

    def __init__(self) -> None:
        self.real = LinuxHost(PlainConsole(lambda _size: b"typed\n", len))
        self.about: Operation | None = None
        self.lie: Callable[[Answer], Answer] = lambda answer: answer
        self.told = 0

    def serve(self, request: bytes) -> bytes:
        header, data = split(HostReply, self.real.serve(request))
        if header.operation != self.about:
            return join(header, data)
        self.told += 1
        honest = Answer(header.operation, header.sequence, header.error, header.value, data)
        return self.lie(honest).message()


@dataclass
class Scene:
    host: Host
    program: Bench
    path: bytes
    descriptor: int

    def attack(self, about: Operation, lie: Callable[[Answer], Answer], name: str, *arguments: int | bytes) -> None:
        """The call works, then meets the lie: it is refused, and the program's memory is as it was."""
        assert self.program.call(name, *arguments) >= 0
        self.program.space.write(SCRATCH, CANARY)
        self.host.about, self.host.lie = about, lie
        with pytest.raises(HostLied) as refused:
            self.program.call(name, *arguments)
        assert self.host.told == 1
        assert refused.value.call in {about.name, "CLOCK"}
        assert self.program.memory(len(CANARY)) == CANARY


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 10)
    host = Host()
    program = bench(host.serve)
    descriptor = program.call("openat", HERE, os.fsencode(path), os.O_RDWR, 0)
    return Scene(host, program, os.fsencode(path), descriptor)


def status(**changes: int) -> Callable[[Answer], Answer]:
    """A file's status with other numbers in it."""

    def lie(answer: Answer) -> Answer:
        found = FileStatus.parse(answer.data)
        changed = FileStatus(**{name: changes.get(name, getattr(found, name)) for name in FileStatus.OFFSETS})
        return replace(answer, data=changed.serialize())

    return lie


def replace_value(value: int) -> Callable[[Answer], Answer]:
    """The same answer with another number."""
    return lambda answer: replace(answer, value=value)


NEGATIVE = (1 << 64) - 1


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda one: replace(one, value=101, data=one.data + b"x"), id="more than asked"),
        pytest.param(lambda one: replace(one, value=NEGATIVE), id="negative count"),
        pytest.param(lambda one: replace(one, value=99), id="fewer announced than delivered"),
        pytest.param(lambda one: replace(one, data=one.data[:-1]), id="fewer delivered than announced"),
        pytest.param(lambda one: replace(one, error=4096, value=0, data=b""), id="errno too large"),
        pytest.param(lambda one: replace(one, error=5), id="errno with data"),
        pytest.param(lambda one: replace(one, sequence=one.sequence - 1), id="an earlier answer"),
        pytest.param(lambda one: replace(one, sequence=one.sequence + 1), id="a later answer"),
        pytest.param(lambda one: replace(one, operation=Operation.READ), id="the answer to another question"),
    ],
)
def test_reading(scene: Scene, lie: Callable[[Answer], Answer]) -> None:
    scene.attack(Operation.READ_AT, lie, "pread64", scene.descriptor, SCRATCH, 100, 0)


@pytest.mark.parametrize("count", [101, 1 << 31, 1 << 63, NEGATIVE])
def test_writing_more_than_was_given(scene: Scene, count: int) -> None:
    """The classic: a count above the buffer's size makes a program send what lies behind it."""
    lie = replace_value(count)
    scene.attack(Operation.WRITE_AT, lie, "pwrite64", scene.descriptor, b"x" * 100, 100, 0)


def test_writing_at_the_end(scene: Scene) -> None:
    log = scene.program.call("openat", HERE, scene.path, os.O_WRONLY | os.O_APPEND, 0)
    scene.attack(Operation.WRITE, lambda one: replace(one, value=5), "write", log, b"four", 4)


def test_a_descriptor_of_another_open_file(scene: Scene) -> None:
    """Else a program that opens its log could be made to write it into its database."""
    first = scene.program.call("openat", HERE, scene.path, 0, 0)
    used = next(iter(scene.host.real._files._descriptors))
    assert first > 2
    scene.attack(Operation.OPEN, lambda one: replace(one, value=used), "openat", HERE, scene.path, 0, 0)


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(status(size=1 << 63), id="negative size"),
        pytest.param(status(blocks=NEGATIVE), id="negative blocks"),
        pytest.param(status(modified=NEGATIVE), id="negative time"),
        pytest.param(status(mode=0o777), id="no kind of file"),
        pytest.param(status(mode=0o100644 | 1 << 32), id="mode too wide"),
        pytest.param(status(block_size=0), id="block size that is divided by"),
        pytest.param(status(user=1 << 40), id="owner too wide"),
        pytest.param(status(inode=1), id="another file"),
        pytest.param(status(device=99), id="another device"),
        pytest.param(status(mode=0o020666), id="another kind of file"),
        pytest.param(lambda one: replace(one, data=one.data[:-8]), id="too short"),
        pytest.param(lambda one: replace(one, data=one.data + bytes(8)), id="too long"),
        pytest.param(lambda one: replace(one, value=1), id="a value where none belongs"),
    ],
)
def test_the_status_of_an_open_file(scene: Scene, lie: Callable[[Answer], Answer]) -> None:
    scene.attack(Operation.HANDLE_STATUS, lie, "fstat", scene.descriptor, SCRATCH)


def test_a_link_where_links_are_followed(scene: Scene) -> None:
    scene.attack(Operation.STATUS, status(mode=0o120777), "newfstatat", HERE, scene.path, SCRATCH, 0)


def test_seeking_to_a_negative_end(scene: Scene) -> None:
    """Other positions are the shim's own: the host has no say in them."""
    asked = scene.program.shim.host_calls
    assert scene.program.call("lseek", scene.descriptor, 5, os.SEEK_SET) == 5
    assert scene.program.shim.host_calls == asked
    scene.attack(Operation.HANDLE_STATUS, status(size=1 << 63), "lseek", scene.descriptor, 0, os.SEEK_END)


def test_a_mapped_file_shorter_than_its_stated_size(scene: Scene) -> None:
    def shorter(answer: Answer) -> Answer:
        return replace(answer, value=50, data=answer.data[:50])

    scene.attack(Operation.READ_AT, shorter, "mmap", 0, PAGE, 1, 2, scene.descriptor, 0)


def test_addresses_never_come_from_the_host(scene: Scene) -> None:
    """The original Iago attack: mmap answered with the address of the stack. There is no such question."""
    program = scene.program
    asked = program.shim.host_calls
    place = program.call("mmap", 0, PAGE, 3, 0x22, (1 << 64) - 1, 0)
    heap = program.call("brk", 0)
    program.call("brk", heap + PAGE)
    assert program.shim.host_calls == asked
    assert place + PAGE <= program.stack & -PAGE


@pytest.mark.parametrize("back", [1, 10**9, 1 << 62])
def test_a_monotonic_clock_that_goes_back(scene: Scene, back: int) -> None:
    scene.attack(Operation.CLOCK, lambda one: replace(one, value=max(one.value - back - 10**12, 0)), *CLOCK)


CLOCK = ("clock_gettime", 1, SCRATCH)


def test_a_negative_time(scene: Scene) -> None:
    scene.attack(Operation.CLOCK, lambda one: replace(one, value=1 << 63), "clock_gettime", 0, SCRATCH)


def test_a_sleep_that_ends_early(scene: Scene) -> None:
    """Waiting is how a program limits guesses of a password."""
    scene.program.space.write(SCRATCH + PAGE, struct.pack("<QQ", 0, 20_000_000))
    early = SCRATCH + PAGE
    scene.attack(Operation.SLEEP, lambda one: replace(one, value=one.value - 20_000_000), "nanosleep", early, 0)


@pytest.mark.parametrize("target", [b"", b"a\0b", b"x" * 4096])
def test_a_link_to_no_path(scene: Scene, tmp_path: Path, target: bytes) -> None:
    (tmp_path / "link").symlink_to("file")
    link = os.fsencode(tmp_path / "link")
    scene.attack(Operation.READ_LINK, lambda one: replace(one, data=target), "readlinkat", HERE, link, SCRATCH, 100)


def entry(name: bytes, length: int | None = None) -> bytes:
    return struct.pack("<QBH", 1, 8, len(name) if length is None else length) + name


@pytest.mark.parametrize(
    ("count", "data", "reason"),
    [
        pytest.param(1, entry(b"../../etc/passwd"), "not a file name", id="a path for a name"),
        pytest.param(1, entry(b""), "not a file name", id="no name"),
        pytest.param(1, entry(b"a\0b"), "not a file name", id="a zero in a name"),
        pytest.param(1, entry(b"x" * 256), "not a file name", id="a name too long"),
        pytest.param(2, entry(b"one"), "2 entries announced, 1 found", id="fewer than announced"),
        pytest.param(1, entry(b"one") + b"rest", "1 entries announced, 1 found in 18", id="something left over"),
        pytest.param(1, entry(b"one", 200), "1 entries announced", id="a length beyond the message"),
        pytest.param(1 << 63, b"", "entries announced, 0 found", id="very many"),
    ],
)
def test_directory_entries(scene: Scene, tmp_path: Path, count: int, data: bytes, reason: str) -> None:
    directory = scene.program.call("openat", HERE, os.fsencode(tmp_path), 0, 0)
    assert scene.program.call("getdents64", directory, SCRATCH, 1000) > 0
    scene.host.about, scene.host.lie = Operation.LIST, lambda one: replace(one, value=count, data=data)
    scene.program.call("lseek", directory, 0, 0)
    with pytest.raises(HostLied, match=reason):
        scene.program.call("getdents64", directory, SCRATCH, 1000)


def test_an_endless_directory(scene: Scene, tmp_path: Path) -> None:
    directory = scene.program.call("openat", HERE, os.fsencode(tmp_path), 0, 0)
    many = entry(b"x" * 8) * 3000
    scene.host.about, scene.host.lie = Operation.LIST, lambda one: replace(one, value=3000, data=many)
    with pytest.raises(HostLied):
        scene.program.call("getdents64", directory, SCRATCH, 1000)


def test_a_result_where_none_belongs(scene: Scene, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "new")
    scene.host.about, scene.host.lie = Operation.MAKE_DIRECTORY, lambda one: replace(one, data=b"surprise")
    with pytest.raises(HostLied):
        scene.program.call("mkdirat", HERE, path, 0o700)


def test_randomness_is_not_the_hosts(scene: Scene) -> None:
    """A host that chooses a program's random numbers has its keys."""
    program, asked = scene.program, scene.program.shim.host_calls
    assert program.call("getrandom", SCRATCH, 32, 0) == 32
    random = program.call("openat", HERE, b"/dev/../dev/random", 0, 0)
    assert program.call("read", random, SCRATCH + 32, 32) == 32
    assert program.memory(32) != program.memory(32, SCRATCH + 32)
    assert program.shim.host_calls == asked


class Wire:
    """Between a sealed console's two ends: what went over it, and what the administrator puts there instead."""

    def __init__(self, *typed: bytes) -> None:
        self.key, self.shown, rest = os.urandom(32), bytearray(), list(typed)
        self.console = SealedConsole(self.key, lambda _size: rest.pop(0) if rest else b"", self.shown.extend)
        self.host = LinuxHost(self.console)
        self.inward: list[bytes] = []
        self.outward: list[bytes] = []
        self.forge_inward: Callable[[bytes], bytes] = lambda record: record
        self.forge_outward: Callable[[bytes], bytes] = lambda record: record
        self.drops_output = False
        self.program = bench(self.serve, ShimOptions(console_key=self.key))

    def serve(self, request: bytes) -> bytes:
        call, data = split(HostCall, request)
        if call.operation == Operation.CONSOLE_WRITE:
            self.outward.append(data)
            if self.drops_output:
                return Answer(call.operation, call.sequence, 0, 0, b"").message()
            data = self.forge_outward(data)
            fields = dict(call.fields()) | {"length": len(data)}
            fields.pop("reserved_2")
            call = HostCall(**fields)
        header, answer = split(HostReply, self.host.serve(join(call, data)))
        if call.operation == Operation.CONSOLE_READ:
            self.inward.append(answer)
            answer = self.forge_inward(answer)
            header = HostReply(
                operation=header.operation,
                length=len(answer),
                sequence=header.sequence,
                error=0,
                value=len(answer),
            )
        return join(header, answer)


def flipped(record: bytes, at: int) -> bytes:
    return record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]


@pytest.mark.parametrize("at", [0, 1, 4, 8, 16, 20, -1])
def test_a_changed_bit_of_sealed_input(at: int) -> None:
    wire = Wire(b"transfer 100\n", b"transfer 200\n")
    assert wire.program.call("read", 0, SCRATCH, 100) == 13
    wire.forge_inward = lambda record: flipped(record, at)
    with pytest.raises(HostLied):
        wire.program.call("read", 0, SCRATCH, 100)
    assert wire.program.memory(13) == b"transfer 100\n"


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda wire, _record: wire.inward[0], id="replayed"),
        pytest.param(lambda wire, _record: wire.outward[0], id="reflected"),
        pytest.param(lambda _wire, _record: b"", id="ended by the host"),
        pytest.param(lambda _wire, record: record[:-1], id="cut"),
        pytest.param(lambda _wire, record: record + b"x", id="longer"),
        pytest.param(lambda _wire, _record: b"transfer 900\n" * 3, id="plaintext"),
    ],
)
def test_other_input_than_the_owners_next(forge: Callable[[Wire, bytes], bytes]) -> None:
    wire = Wire(b"transfer 100\n", b"transfer 200\n")
    wire.program.call("write", 1, b"prompt", 6)
    assert wire.program.call("read", 0, SCRATCH, 100) == 13
    wire.forge_inward = lambda record: forge(wire, record)
    with pytest.raises(HostLied):
        wire.program.call("read", 0, SCRATCH, 100)


def test_a_record_left_out_of_the_input() -> None:
    wire = Wire(b"do not\n", b"transfer\n")
    wire.console.receive(100)
    with pytest.raises(HostLied, match="record 1 where 0 is due"):
        wire.program.call("read", 0, SCRATCH, 100)


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda wire, _record: wire.outward[0], id="replayed"),
        pytest.param(lambda wire, _record: wire.inward[0], id="reflected"),
        pytest.param(lambda _wire, record: flipped(record, 0), id="moved to another stream"),
        pytest.param(lambda _wire, record: flipped(record, 20), id="changed"),
        pytest.param(lambda _wire, _record: b"\x01type your password:", id="plaintext"),
    ],
)
def test_the_owner_sees_only_what_the_program_wrote(forge: Callable[[Wire, bytes], bytes]) -> None:
    wire = Wire(b"go\n")
    wire.program.call("read", 0, SCRATCH, 100)
    wire.program.call("write", 1, b"first", 5)
    wire.forge_outward = lambda record: forge(wire, record)
    with pytest.raises(HostLied):
        wire.program.call("write", 1, b"second", 6)
    assert bytes(wire.shown) == b"first"


@pytest.mark.parametrize("drops", [False, True])
def test_output_cut_short_is_visible(*, drops: bool) -> None:
    """The host drops the last records: the owner has no word of the program's end, and can tell."""
    wire = Wire()
    wire.program.call("write", 1, b"balance: 5", 10)
    wire.drops_output = drops
    wire.program.call("write", 1, b"0000", 4)
    wire.program.outcome("exit_group", 0)
    assert (wire.console.ended, bytes(wire.shown)) == ((None, b"balance: 5") if drops else (0, b"balance: 50000"))


def test_nothing_comes_after_the_end() -> None:
    wire = Wire()
    wire.program.outcome("exit_group", 0)
    with pytest.raises(HostLied, match="after the program's end"):
        wire.console.send(wire.outward[0])
