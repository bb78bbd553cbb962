"""text.c against Python's bytes, and program.c's cutting of `#!` lines against fs/binfmt_script.c."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.runtime_pieces.pieces_unsafe import pieces, script_line

words = st.binary(max_size=40).map(lambda text: text.replace(b"\0", b"x"))
NOT_EXECUTABLE = -8  # -ENOEXEC


@given(words, words)
def test_comparisons(a: bytes, b: bytes) -> None:
    assert pieces().strlen(a) == len(a)
    assert pieces().same_string(a, b) == (a == b)
    assert pieces().same_string(a, a)
    assert pieces().starts_with(a, b) == a.startswith(b)
    assert pieces().starts_with(a + b, a)


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_memory_routines(a: bytes, b: bytes) -> None:
    size = min(len(a), len(b))
    order = pieces().memcmp(a, b, size)
    assert (order > 0) - (order < 0) == (a[:size] > b[:size]) - (a[:size] < b[:size])
    room = ctypes.create_string_buffer(b"\xa5" * 64, 64)
    assert pieces().memcpy(room, a, len(a)) == ctypes.addressof(room)
    assert room.raw == a + b"\xa5" * (64 - len(a))
    pieces().memset(room, 0x17F, len(b))
    assert room.raw == b"\x7f" * len(b) + (a + b"\xa5" * (64 - len(a)))[len(b) :]


@given(st.lists(words, max_size=4), st.integers(1, 60))
def test_append_never_passes_the_end(parts: list[bytes], size: int) -> None:
    room = ctypes.create_string_buffer(b"\xa5" * 64, 64)
    at = pieces().append(room, 0, size, b"")
    for part in parts:
        at = pieces().append(room, at, size, part)
    expected = b"".join(parts)[: size - 1]
    assert at == len(expected)
    assert room.raw[: at + 1] == expected + b"\0"
    assert room.raw[size:] == b"\xa5" * (64 - size)


@given(st.integers(0, 2**64 - 1), st.integers(1, 24))
def test_numbers_are_decimal_and_cut_at_the_end(value: int, size: int) -> None:
    room = ctypes.create_string_buffer(b"\xa5" * 32, 32)
    at = pieces().append_number(room, 0, size, value)
    assert room.raw[:at] == str(value).encode()[: size - 1]
    assert room.raw[at] == 0
    assert room.raw[size:] == b"\xa5" * (32 - size)


def kernel_cut(line: bytes) -> tuple[bytes, bytes | None] | None:
    """What load_script makes of a line (without `#!` and newline): interpreter and argument, or None for ENOEXEC."""
    line = line.split(b"\0")[0].strip(b" \t")
    if not line:
        return None
    ends = [i for i, byte in enumerate(line) if byte in b" \t"]
    if not ends:
        return line, None
    return line[: ends[0]], line[ends[0] :].lstrip(b" \t") or None


def cut(line: bytes) -> tuple[bytes, bytes | None] | None:
    result, interpreter, argument = script_line(b"#!" + line + b"\nrest of the file\n")
    assert result in (1, NOT_EXECUTABLE)
    return (interpreter, argument) if result == 1 else None


blanks = st.text("  \t", max_size=3).map(str.encode)
path = st.text("/abc.-", min_size=1, max_size=20).map(str.encode)


@given(blanks, path, blanks, st.lists(path, max_size=3), blanks)
def test_script_lines(lead: bytes, interpreter: bytes, gap: bytes, rest: list[bytes], tail: bytes) -> None:
    line = lead + interpreter + (b" " + gap + b" ".join(rest) if rest else b"") + tail
    assert cut(line) == kernel_cut(line)
    assert cut(line) == (interpreter, b" ".join(rest) or None)


@given(st.binary(max_size=252).filter(lambda line: b"\n" not in line))
def test_any_bytes_in_a_script_line(line: bytes) -> None:
    assert cut(line) == kernel_cut(line)


@pytest.mark.parametrize("size", range(248, 262))
def test_a_name_that_the_buffer_cuts_off_is_refused(size: int) -> None:
    """The kernel reads BINPRM_BUF_SIZE = 256 bytes, and runs no name of which it has not seen the end."""
    result, interpreter, _ = script_line(b"#!/".ljust(size, b"n") + b"\n")
    assert (result, len(interpreter)) == ((1, size - 2) if size < 256 else (NOT_EXECUTABLE, 0))
    result, interpreter, argument = script_line(b"#!/n ".ljust(size, b"a") + b"\n")
    assert (result, interpreter) == (1, b"/n")
    assert argument == b"a" * (min(size, 255) - 5)


@pytest.mark.parametrize("content", [b"", b"#", b"# !/bin/sh\n", b"\n#!/bin/sh\n", b"\x7fELF"])
def test_what_is_no_script(content: bytes) -> None:
    assert script_line(content)[0] == 0
