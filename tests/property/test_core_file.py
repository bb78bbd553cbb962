"""A core that is written, then read back: by pyelftools, which knows nothing of ours, and by our own reader."""

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import ObservationError
from cloister.observe.corenotes import Identity, build_notes
from cloister.observe.coreread import Core, read_core
from cloister.observe.corewrite import LONGEST_ZEROS, CoreWriter
from cloister.observe.elflayout import NoteType
from cloister.observe.findings import Reason
from cloister.observe.maps import Mapping
from cloister.observe.memory import Chunk, Hole, Piece, Untouched
from cloister.observe.needles import Needles
from cloister.observe.registers_unsafe import Thread
from cloister.observe.scan import scan_file

PAGE = os.sysconf("SC_PAGE_SIZE")
KINDS = st.sampled_from(["bytes", "zeros", "untouched", "hole", "reserved"])
PERMISSIONS = st.sampled_from(["r--p", "rw-p", "r-xp", "---p"])
SHAPE = st.lists(
    st.tuples(PERMISSIONS, st.lists(st.tuples(KINDS, st.integers(1, 3)), min_size=1, max_size=4)), max_size=6
)
IDENTITY = Identity(
    pid=321, parent=1, group=321, session=321, user=0, user_group=0, state="S", nice=-5, flags=0,
    name=b"prog (x)", arguments=b"prog --flag", auxv=bytes(range(32)),
)  # fmt: skip


@contextmanager
def written(notes: bytes, pieces: list[Piece]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "core"
        with path.open("w+b") as file:
            writer = CoreWriter(file.fileno(), notes)
            for piece in pieces:
                writer.feed(piece)
            writer.finish()
        yield path


def content(address: int, size: int) -> bytes:
    """Bytes that tell where they belong."""
    return (address.to_bytes(8, "little") * (size // 8 + 1))[:size]


def pieces_of(shape: list[tuple[str, list[tuple[str, int]]]]) -> Iterator[Piece]:
    address = 0x10000
    for number, (permissions, parts) in enumerate(shape):
        size = sum(LONGEST_ZEROS + PAGE if kind == "reserved" else pages * PAGE for kind, pages in parts)
        path = f"/lib/file {number}" if number % 2 else ""
        mapping = Mapping(start=address, end=address + size, permissions=permissions, path=path, offset=PAGE * number)
        for kind, pages in parts:
            yield piece_of(kind, address, pages * PAGE, mapping)
            address += LONGEST_ZEROS + PAGE if kind == "reserved" else pages * PAGE
        address += PAGE * (number % 3)


def piece_of(kind: str, address: int, size: int, mapping: Mapping) -> Piece:
    if kind == "hole":
        return Hole(address=address, size=size, mapping=mapping, reason=Reason.SECRET)
    if kind == "untouched":
        return Untouched(address=address, size=size, mapping=mapping)
    if kind == "reserved":
        return Untouched(address=address, size=LONGEST_ZEROS + PAGE, mapping=mapping)
    data = bytes(size) if kind == "zeros" else content(address, size)
    return Chunk(address=address, data=memoryview(data), mapping=mapping)


def mappings_of(pieces: list[Piece]) -> list[Mapping]:
    return list(dict.fromkeys(piece.mapping for piece in pieces if piece.mapping))


def expected(pieces: list[Piece]) -> dict[int, bytes | None]:
    """What each page holds; None where the core must not claim to know."""
    pages: dict[int, bytes | None] = {}
    for piece in pieces:
        for address in range(piece.address, min(piece.end, piece.address + 4 * PAGE), PAGE):
            if isinstance(piece, Chunk):
                offset = address - piece.address
                pages[address] = bytes(piece.data[offset : offset + PAGE])
            else:
                known = isinstance(piece, Untouched) and piece.size <= LONGEST_ZEROS
                pages[address] = bytes(PAGE) if known else None
    return pages


@given(shape=SHAPE)
def test_elftools_reads_what_was_written(shape: list[tuple[str, list[tuple[str, int]]]]) -> None:
    pieces = list(pieces_of(shape))
    with written(build_notes(IDENTITY, [], mappings_of(pieces)), pieces) as path, path.open("rb") as file:
        core = ELFFile(file)
        loads = [segment for segment in core.iter_segments() if segment["p_type"] == "PT_LOAD"]
        assert core["e_type"] == "ET_CORE"
        assert [load["p_vaddr"] for load in loads] == sorted(load["p_vaddr"] for load in loads)
        for address, data in expected(pieces).items():
            (load,) = [one for one in loads if one["p_vaddr"] <= address < one["p_vaddr"] + one["p_memsz"]]
            file.seek(load["p_offset"] + address - load["p_vaddr"])
            assert (file.read(PAGE) if load["p_filesz"] else None) == data


@given(shape=SHAPE)
def test_our_reader_agrees(shape: list[tuple[str, list[tuple[str, int]]]]) -> None:
    pieces = list(pieces_of(shape))
    mappings = mappings_of(pieces)
    with written(build_notes(IDENTITY, [], mappings), pieces) as path:
        core = opened(path)
        assert (core.pid, core.program) == (321, "prog (x)")
        assert sum(segment.mapping.size for segment in core.segments) == sum(one.size for one in mappings)
        for segment in core.segments:
            (whole,) = [one for one in mappings if one.start <= segment.mapping.start < one.end]
            assert segment.mapping.path == whole.path
            assert segment.mapping.permissions == whole.permissions
            if whole.path:
                assert segment.mapping.offset - whole.offset == segment.mapping.start - whole.start
        inside = sum(segment.stored for segment in core.segments)
        outside = sum(end - start for start, end in core.outside(path.stat().st_size))
        assert inside + outside == path.stat().st_size


def opened(path: Path) -> Core:
    with path.open("rb") as file:
        core = read_core(file.fileno(), path)
    assert core is not None
    return core


def test_notes_as_elftools_reads_them() -> None:
    thread = Thread(tid=322, signal=0, registers={NoteType.PRSTATUS: bytes(range(216)), NoteType.FPREGSET: bytes(512)})
    mapping = Mapping(start=0x1000, end=0x3000, permissions="r--p", path="/lib/x", offset=0x5000)
    with written(build_notes(IDENTITY, [thread], [mapping]), []) as path, path.open("rb") as file:
        (segment,) = ELFFile(file).iter_segments("PT_NOTE")
        assert isinstance(segment, NoteSegment)
        notes = list(segment.iter_notes())
    assert [note["n_type"] for note in notes] == ["NT_PRSTATUS", "NT_FPREGSET", "NT_PRPSINFO", "NT_AUXV", "NT_FILE"]
    assert notes[0]["n_descdata"][112 : 112 + 216] == bytes(range(216))
    assert int.from_bytes(notes[0]["n_descdata"][32:36], "little") == 322
    assert notes[2]["n_desc"]["pr_fname"].rstrip(b"\0") == b"prog (x)"
    assert notes[2]["n_desc"]["pr_pid"] == 321
    assert notes[4]["n_desc"]["filename"] == [b"/lib/x"]
    entry = notes[4]["n_desc"]["Elf_Nt_File_Entry"][0]
    assert (entry["vm_start"], entry["vm_end"], entry["page_offset"] * PAGE) == (0x1000, 0x3000, 0x5000)


def test_more_segments_than_the_header_can_count() -> None:
    """elf(5), PN_XNUM: the number then stands in section header 0."""
    mappings = [Mapping(start=at * 2 * PAGE, end=(at * 2 + 1) * PAGE, permissions="---p") for at in range(1, 70001)]
    holes: list[Piece] = [Hole(address=m.start, size=PAGE, mapping=m, reason=Reason.SECRET) for m in mappings]
    with written(build_notes(IDENTITY, [], []), holes) as path, path.open("rb") as file:
        assert ELFFile(file).num_segments() == 70001
        assert len(opened(path).segments) == 70000


def test_scan_of_a_core_covers_memory_and_notes_once() -> None:
    secret = b"in the middle of it"
    data = bytes(100) + secret + bytes(PAGE - 100 - len(secret))
    mapping = Mapping(start=0x7000, end=0x7000 + PAGE, permissions="rw-p", path="/lib/data")
    thread = Thread(tid=321, signal=0, registers={NoteType.PRSTATUS: secret.ljust(216, b"\0")})
    chunk = Chunk(address=0x7000, data=memoryview(data), mapping=mapping)
    with written(build_notes(IDENTITY, [thread], [mapping]), [chunk]) as path:
        scan = scan_file(path, Needles.of({"s": secret}))
        assert scan.coverage.read_bytes + scan.coverage.untouched_bytes == path.stat().st_size
    in_memory = [(one.address, one.mapping.path) for one in scan.findings if one.mapping]
    assert in_memory == [(0x7064, "/lib/data")]
    assert [one.mapping for one in scan.findings if one.address != 0x7064] == [None]


def test_what_a_core_does_not_store_is_absent_and_cuts_secrets_off() -> None:
    secret = b"0123456789abcdef"
    mapping = Mapping(start=0x7000, end=0x7000 + 2 * PAGE, permissions="rw-p")
    chunk = Chunk(address=0x7000, data=memoryview(secret[:10].rjust(PAGE, b".")), mapping=mapping)
    hole = Hole(address=0x7000 + PAGE, size=PAGE, mapping=mapping, reason=Reason.SECRET)
    with written(build_notes(IDENTITY, [], [mapping]), [chunk, hole]) as path:
        scan = scan_file(path, Needles.of({"s": secret}))
    assert scan.unreadable_by_reason() == {Reason.NOT_DUMPED: PAGE}
    assert [(one.encoding, one.matched, one.length) for one in scan.findings] == [("raw", 10, 16)]


@pytest.mark.parametrize("size", [100, 64 + 40])
def test_damaged_core_is_refused(tmp_path: Path, size: int) -> None:
    with written(build_notes(IDENTITY, [], []), []) as path:
        data = bytearray(path.read_bytes())
    cut = tmp_path / "cut"
    cut.write_bytes(data[:size])
    with pytest.raises(ObservationError, match="damaged"):
        scan_file(cut, Needles.of({"s": b"secret"}))


@given(data=st.binary(max_size=300))
def test_other_files_are_not_taken_for_cores(data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        assert read_core(file.fileno(), Path("file")) is None


def test_program_is_not_a_core() -> None:
    with Path("/proc/self/exe").open("rb") as file:
        assert ELFFile(io.BytesIO(file.read(64)))["e_type"] != "ET_CORE"
        assert read_core(file.fileno(), Path("exe")) is None
