"""elf_file.c under the sanitizers: no file, however damaged, crashes it or gets an answer that is not documented."""

import errno
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.runtime_pieces.pieces_unsafe import elf_reader

LOAD, INTERP, NOTE = 1, 3, 4
EXEC, DYN = 2, 3
DOCUMENTED = {-errno.ENOEXEC, -errno.ELIBBAD}  # elf_file.h
LIMIT = 1 << 47
PAGE = 4096


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Elf64_Phdr."""

    kind: int = LOAD
    flags: int = 5
    offset: int = 0
    address: int = 0
    file_size: int = 0
    memory_size: int = 0
    alignment: int = PAGE

    def bytes(self) -> bytes:
        return struct.pack(
            "<IIQQQQQQ",
            self.kind,
            self.flags,
            self.offset,
            self.address,
            self.address,
            self.file_size,
            self.memory_size,
            self.alignment,
        )


@dataclass(frozen=True, kw_only=True)
class Elf:
    """Elf64_Ehdr and its program headers."""

    segments: tuple[Segment, ...] = ()
    ident: bytes = b"\x7fELF\x02\x01\x01"
    kind: int = DYN
    machine: int = 62
    header_offset: int = 64
    header_size: int = 56
    count: int | None = None
    tail: bytes = field(default=b"")

    def bytes(self) -> bytes:
        count = len(self.segments) if self.count is None else self.count
        header = struct.pack(
            "<16sHHIQQQIHHHHHH",
            self.ident.ljust(16, b"\0"), self.kind, self.machine, 1, 0x1000, self.header_offset, 0, 0, 64,
            self.header_size, count, 64, 0, 0,
        )  # fmt: skip
        return header + b"".join(segment.bytes() for segment in self.segments) + self.tail


@dataclass(frozen=True)
class Reader:
    """The reading program, kept running: one file in, one line out."""

    process: subprocess.Popen[bytes]

    def answer(self, data: bytes) -> tuple[int, list[str]]:
        """The result, and what follows it (span and interpreter) if it is 0."""
        stdin, stdout = pipes(self.process)
        stdin.write(struct.pack("<I", len(data)) + data)
        stdin.flush()
        line = stdout.readline().decode(errors="replace").split(" ")
        if line == [""]:
            self.process.wait()
            raise AssertionError(self.process.stderr.read().decode() if self.process.stderr else "died")
        return int(line[0]), line[1:]


def pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin
    assert process.stdout
    return process.stdin, process.stdout


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    pipe = subprocess.PIPE
    with subprocess.Popen([elf_reader()], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield Reader(process)
        pipes(process)[0].close()


GOOD = Elf(
    segments=(
        Segment(kind=INTERP, offset=0x200, file_size=4),
        Segment(offset=0, address=0, file_size=0x300, memory_size=0x300),
        Segment(offset=0x1010, address=0x2010, file_size=0x10, memory_size=0x2000, flags=6),
    ),
    tail=b"\0" * (0x200 - 64 - 3 * 56) + b"/ld\0" + b"\0" * 0x1000,
)


def changed(**how: object) -> bytes:
    return Elf(**{**GOOD.__dict__, **how}).bytes()


def with_segment(index: int, **how: object) -> bytes:
    segments = list(GOOD.segments)
    segments[index] = Segment(**{**segments[index].__dict__, **how})
    return changed(segments=tuple(segments))


def test_a_good_file(reader: Reader) -> None:
    result, rest = reader.answer(GOOD.bytes())
    assert (result, int(rest[0], 0), int(rest[1], 0)) == (0, 0, 0x5000)
    assert rest[2].strip() == "/ld"


def test_real_programs(reader: Reader) -> None:
    with open("/bin/sh", "rb") as file:  # noqa: PTH123
        assert reader.answer(file.read())[0] == 0


NOT_EXECUTABLE = [
    ("empty", b""),
    ("a script", b"#!/bin/sh\n"),
    ("cut in the header", GOOD.bytes()[:63]),
    ("cut in the program headers", GOOD.bytes()[:100]),
    ("not ELF", changed(ident=b"\x7fELG\x02\x01\x01")),
    ("32-bit", changed(ident=b"\x7fELF\x01\x01\x01")),
    ("another machine", changed(machine=183)),
    ("i386", changed(machine=3)),
    ("an object file", changed(kind=1)),
    ("a core file", changed(kind=4)),
    ("program headers past the end", changed(header_offset=1 << 40)),
]
CONTRADICTING = [
    ("no segments", changed(count=0)),
    ("too many segments", changed(count=65)),
    ("a foreign header size", changed(header_size=32)),
    ("more file than memory", with_segment(1, file_size=0x301)),
    ("wraps around", with_segment(2, memory_size=2**64 - 0x1000)),
    ("beyond user space", with_segment(2, address=LIMIT - PAGE + 0x10, memory_size=0x2000)),
    ("at the end of user space", with_segment(2, address=LIMIT + 0x10)),
    ("address and offset differ within the page", with_segment(2, offset=0x1018)),
    ("overlapping", with_segment(2, address=0x10, offset=0x1010)),
    ("nothing to load", changed(segments=(Segment(kind=NOTE),))),
    ("an interpreter without an end", changed(tail=GOOD.tail.replace(b"/ld\0", b"/ldx"))),
    ("an interpreter name too long", with_segment(0, file_size=257)),
    ("an interpreter name too short", with_segment(0, file_size=1)),
]


@pytest.mark.parametrize(("what", "data"), NOT_EXECUTABLE, ids=[case[0] for case in NOT_EXECUTABLE])
def test_what_is_no_program(reader: Reader, what: str, data: bytes) -> None:
    assert reader.answer(data)[0] == -errno.ENOEXEC, what


@pytest.mark.parametrize(("what", "data"), CONTRADICTING, ids=[case[0] for case in CONTRADICTING])
def test_what_contradicts_itself(reader: Reader, what: str, data: bytes) -> None:
    assert reader.answer(data)[0] == -errno.ELIBBAD, what


numbers = st.one_of(
    st.integers(0, 2**64 - 1),
    st.integers(0, 8 * PAGE),
    st.sampled_from([LIMIT, LIMIT - 1, LIMIT - PAGE, 2**63, 2**63 - 1, 2**64 - 1, 2**64 - PAGE, 2**32]),
)
segments = st.builds(
    Segment,
    kind=st.sampled_from([LOAD, LOAD, INTERP, 6, 0x6474E551]),
    flags=st.integers(0, 7),
    offset=numbers,
    address=numbers,
    file_size=numbers,
    memory_size=numbers,
    alignment=numbers,
)
files = st.builds(
    Elf,
    segments=st.lists(segments, max_size=6).map(tuple[Segment, ...]),
    kind=st.sampled_from([EXEC, DYN]),
    header_offset=st.one_of(st.just(64), numbers),
    count=st.one_of(st.none(), st.integers(0, 70)),
    tail=st.binary(max_size=300),
).map(Elf.bytes)


@given(st.one_of(files, st.binary(max_size=300), st.binary(max_size=300).map(b"\x7fELF\x02\x01\x01".__add__)))
def test_no_file_crashes_it(reader: Reader, data: bytes) -> None:
    check(reader, data)


@given(st.lists(st.tuples(st.integers(0, 64 + 3 * 56 - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_damage_crashes_it(reader: Reader, damage: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD.bytes())
    for at, byte in damage:
        data[at] = byte
    check(reader, bytes(data))


@pytest.mark.parametrize(
    "data", [changed(header_offset=2**63), with_segment(0, offset=2**63)], ids=["headers", "interpreter"]
)
def test_offsets_that_no_file_has(reader: Reader, data: bytes) -> None:
    """pread(2) refuses a negative offset with EINVAL; to whoever runs the file it is a damaged program all the same."""
    check(reader, data)


def check(reader: Reader, data: bytes) -> None:
    result, rest = reader.answer(data)
    if result == 0:
        low, high = (int(word, 0) for word in rest[:2])
        assert low % PAGE == high % PAGE == 0
        assert low < high <= LIMIT
    else:
        assert result in DOCUMENTED, f"{errno.errorcode.get(-result, result)} is not documented in elf_file.h"
