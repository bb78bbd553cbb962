"""Reading the memory of a real process piece by piece: every byte is accounted for, whatever happens meanwhile."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.observe import memory as memory_module
from cloister.observe.findings import Reason
from cloister.observe.maps import Mapping, read_maps
from cloister.observe.memory import MAXIMUM_PROBES, PAGE, Chunk, Hole, Piece, Untouched, open_memory, read_mappings

PROGRAM = """
import ctypes, mmap, os, sys
area = mmap.mmap(-1, 64 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area[9 * mmap.PAGESIZE] = 7
with open(sys.argv[1], "w+b") as file:
    os.truncate(file.fileno(), 3 * mmap.PAGESIZE)
    beyond = mmap.mmap(file.fileno(), 3 * mmap.PAGESIZE)
    os.truncate(file.fileno(), mmap.PAGESIZE)
print(ctypes.addressof(ctypes.c_char.from_buffer(area)), flush=True)
if sys.stdin.readline() == "exec\\n":
    os.execv("/bin/sh", ["sh", "-c", "echo other; read line"])
"""


@contextmanager
def running(file: object, program: str = PROGRAM) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The program, and the address that it prints: of its 64 pages, of which it wrote to the tenth."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def check_complete(pieces: list[tuple[int, int]], mappings: list[Mapping]) -> None:
    """The pieces tile the mappings exactly."""
    joined: list[tuple[int, int]] = []
    for start, end in pieces:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    assert all(before[1] < after[0] for before, after in pairwise(joined))
    assert sum(end - start for start, end in joined) == sum(one.size for one in mappings)
    assert (joined[0][0], joined[-1][1]) == (mappings[0].start, mappings[-1].end)


def span(piece: Piece) -> tuple[int, int]:
    return piece.address, piece.end


@pytest.mark.parametrize("chunk_bytes", [1000, PAGE, 1 << 20])
def test_pieces_tile_the_mappings(tmp_path: object, chunk_bytes: int) -> None:
    with running(f"{tmp_path}/file") as (process, area), open_memory(process.pid) as memory:
        mappings = [one for one in read_maps(process.pid) if one.size < 1 << 22]
        pieces = [
            (type(piece), *span(piece), piece.mapping.start if piece.mapping else 0)
            for piece in read_mappings(memory, mappings, chunk_bytes)
        ]
    check_complete([(start, end) for _, start, end, _ in pieces], mappings)
    kinds = [kind for page in range(64) for kind, start, end, _ in pieces if start <= area + page * PAGE < end]
    assert kinds == [Untouched] * 9 + [Chunk] + [Untouched] * 54
    (file,) = [one for one in mappings if one.path.endswith("/file")]
    beyond = [(start, end) for kind, start, end, mapping in pieces if kind is Hole and mapping == file.start]
    assert beyond == [(file.start + PAGE, file.end)]


@pytest.mark.parametrize(("what", "reason"), [("end", Reason.GONE), ("exec", Reason.REPLACED)])
def test_address_space_that_goes_away(tmp_path: object, what: str, reason: Reason) -> None:
    with running(f"{tmp_path}/file") as (process, area), open_memory(process.pid) as memory:
        assert area
        mappings = read_maps(process.pid)
        stream = read_mappings(memory, mappings)
        first = next(stream)
        assert isinstance(first, Chunk)
        spans = [span(first)]
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{what}\n")
        process.stdin.flush()
        assert process.stdout.readline() == ("other\n" if what == "exec" else "")
        if what == "end":
            process.wait()
        reasons = set()
        for piece in stream:
            spans.append(span(piece))
            assert isinstance(piece, Hole)
            reasons.add(piece.reason)
    assert reasons == {reason}
    check_complete(spans, mappings)


@given(readable=st.sets(st.integers(1, 50)), start=st.integers(0, 50))
def test_next_readable_is_exact(readable: set[int], start: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_module, "page_readable", lambda _mem, address: address // PAGE in readable)
        found = memory_module.next_readable(0, start * PAGE, 60 * PAGE)
    assert found == min((page for page in readable if page > start), default=60) * PAGE


@given(first=st.integers(1, 1 << 30))
def test_next_readable_asks_a_bounded_number_of_times(first: int) -> None:
    """In a terabyte of refused pages, a readable stretch is found if it is as long as the distance between probes."""
    pages, asked = 1 << 30, 0
    stretch = pages // MAXIMUM_PROBES

    def readable(_mem: int, address: int) -> bool:
        nonlocal asked
        asked += 1
        return first <= address // PAGE < first + stretch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_module, "page_readable", readable)
        found = memory_module.next_readable(0, 0, pages * PAGE)
    assert asked <= 3 * MAXIMUM_PROBES + stretch
    assert found == min(first, pages) * PAGE or first + stretch > pages


def test_memory_of_a_missing_process() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        open_memory(process.pid)


GUARDED = """
import ctypes, mmap, sys
area = mmap.mmap(-1, 8 * mmap.PAGESIZE)
area[:] = b"x" * len(area)
try:
    area.madvise(102, 3 * mmap.PAGESIZE, mmap.PAGESIZE)
except OSError:
    print(0, flush=True)
else:
    print(ctypes.addressof(ctypes.c_char.from_buffer(area)), flush=True)
sys.stdin.readline()
"""


def test_reading_goes_on_after_a_hole() -> None:
    """A guard page refuses, the next does not (madvise(2), MADV_GUARD_INSTALL; on shared memory from Linux 6.15)."""
    with running("", GUARDED) as (process, area), open_memory(process.pid) as memory:
        if not area:
            pytest.skip("this kernel has no guard pages in shared memory")
        (mapping,) = [one for one in read_maps(process.pid) if one.start <= area < one.end]
        pieces = [(type(piece), *span(piece)) for piece in read_mappings(memory, [mapping])]
    around = [(kind, start, end) for kind, start, end in pieces if end > area and start < area + 8 * PAGE]
    assert (Hole, area + 3 * PAGE, area + 4 * PAGE) in around
    assert [kind for kind, _, _ in around] == [Chunk, Hole, Chunk]
