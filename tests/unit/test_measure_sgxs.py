"""SGXS streams: written while an enclave is measured, read as strictly as the format says."""

import struct
from collections.abc import Callable

import pytest

from cloister.errors import ParseError
from cloister.measure.sgx import EnclaveMeasurement, SecinfoFlags
from cloister.measure.sgxs import looks_like, parse_sgxs

PAGE = 4096
CREATE = struct.pack("<8sIQ44x", b"ECREATE", 1, 0x8000)
DATA = bytes(range(256))
RW = SecinfoFlags.REG | SecinfoFlags.READ | SecinfoFlags.WRITE


def add(offset: int, flags: int = RW) -> bytes:
    return struct.pack("<8sQQ40x", b"EADD", offset, flags)


def extend(offset: int, tag: bytes = b"EEXTEND") -> bytes:
    return struct.pack("<8sQ48x", tag, offset) + DATA


STREAM = CREATE + add(0) + extend(0x100) + extend(0) + add(0x2000, SecinfoFlags.TCS) + extend(0x2F00)


def test_the_published_vectors() -> None:
    """Of a sheet of vectors: ECREATE alone; with a page; with all of that page measured."""
    create = struct.pack("<8sIQ44x", b"ECREATE", 1, 0x2000)
    page = add(0, 0x203)
    chunks = b"".join(struct.pack("<8sQ48x", b"EEXTEND", at) + bytes(256) for at in range(0, PAGE, 256))
    streams = (create, create + page, create + page + chunks)
    assert [parse_sgxs(stream).mrenclave.value.hex()[:16] for stream in streams] == [
        "9e197c8837c6d656", "995c454650d39811", "1f2cf80bd03ffd8b",
    ]  # fmt: skip


def test_what_a_stream_describes() -> None:
    found = parse_sgxs(STREAM)
    assert (found.size, found.ssa_frame_pages, found.pages, found.threads, found.chunks) == (0x8000, 1, 2, 1, 3)
    assert found.canonical
    assert not found.unmeasured
    assert looks_like(STREAM)


def test_what_is_written_is_read_with_the_same_measurement() -> None:
    written: list[bytes] = []
    running = EnclaveMeasurement.ecreate(1, 0x8000, write=written.append)
    running.add_page(0, RW, bytes(range(256)) * 16)
    running.eadd_range(0x1000, 0x3000, RW)
    found = parse_sgxs(b"".join(written))
    assert found.mrenclave == running.digest()
    assert (found.pages, found.chunks) == (4, 16)


def test_a_range_of_pages_is_these_pages() -> None:
    one, other = (EnclaveMeasurement.ecreate(1, 1 << 30) for _ in range(2))
    one.eadd_range(0x1000, 5000 * PAGE, RW)
    for page in range(1, 5001):
        other.eadd(page * PAGE, RW)
    assert one.digest() == other.digest()
    one.eadd_range(0, 0, RW)
    assert one.digest() == other.digest()


@pytest.mark.parametrize(("offset", "size"), [(1, PAGE), (0, PAGE + 1), (0, -PAGE), (0x7000, 2 * PAGE)])
def test_a_range_outside_the_enclave(offset: int, size: int) -> None:
    with pytest.raises(ValueError, match=r"pages|multiple"):
        EnclaveMeasurement.ecreate(1, 0x8000).eadd_range(offset, size, RW)


def test_unmeasured_data_are_counted_and_change_nothing() -> None:
    with_data = CREATE + add(0) + extend(0) + extend(0x100, b"UNMEASRD")
    assert parse_sgxs(with_data).unmeasured == 1
    assert parse_sgxs(with_data).mrenclave == parse_sgxs(CREATE + add(0) + extend(0)).mrenclave


@pytest.mark.parametrize(
    "stream", [CREATE + add(0x2000) + add(0), CREATE + add(0) + add(0x1000) + extend(0)], ids=["pages", "chunks"]
)
def test_another_order_is_taken_only_when_it_is_asked_for(stream: bytes) -> None:
    with pytest.raises(ParseError, match="do not ascend"):
        parse_sgxs(stream)
    assert not parse_sgxs(stream, canonical=False).canonical


BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "length"),
    "no ECREATE": (add(0), "name"),
    "size is no power of two": (struct.pack("<8sIQ44x", b"ECREATE", 1, 0x3000), "power of two"),
    "no SSA page": (struct.pack("<8sIQ44x", b"ECREATE", 0, 0x4000), "SSA"),
    "second ECREATE": (CREATE + CREATE, "tag"),
    "unsized": (b"UNSIZED\0" + CREATE[8:], "not decided"),
    "reserved byte": (CREATE[:-1] + b"\1", "reserved"),
    "page between pages": (CREATE + add(0x800), "multiple of 4096"),
    "page behind the end": (CREATE + add(0x8000), "offset"),
    "page twice": (CREATE + add(0) + add(0), "added before"),
    "TCS that may be read": (CREATE + add(0, SecinfoFlags.TCS | SecinfoFlags.READ), "no TCS"),
    "page of no type": (CREATE + add(0, 7), "no TCS"),
    "page of two types": (CREATE + add(0, 0x303), "no TCS"),
    "pending page": (CREATE + add(0, RW | SecinfoFlags.PENDING), "no TCS"),
    "write only": (CREATE + add(0, SecinfoFlags.REG | SecinfoFlags.WRITE), "not read"),
    "chunk without page": (CREATE + extend(0), "no page"),
    "chunk between chunks": (CREATE + add(0) + extend(0x80), "between chunks"),
    "chunk twice": (CREATE + add(0) + extend(0) + extend(0), "twice"),
    "measured and not": (CREATE + add(0) + extend(0) + extend(0, b"UNMEASRD"), "twice"),
    "cut off in a chunk": ((CREATE + add(0) + extend(0))[:-1], "255 bytes of 256"),
    "cut off in a block": ((CREATE + add(0))[:-1], "EADD|length|AddBlock"),
    "other tag": (CREATE + b"EREMOVE\0" + bytes(56), "tag"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_is_refused_with_the_place(name: str) -> None:
    stream, reason = BROKEN[name]
    with pytest.raises(ParseError, match=reason) as refusal:
        parse_sgxs(stream, canonical=False)
    assert "at byte" in str(refusal.value)


@pytest.mark.parametrize(
    "change", [lambda data: data[:64] + data[65:], lambda data: data + b"\0"], ids=["less", "more"]
)
def test_every_byte_belongs_to_a_record(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ParseError):
        parse_sgxs(change(STREAM))
