"""patch.c: patched sites lead through a stub to the runtime and back; every other byte stays as it was."""

import ctypes
import re
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.runtime_pieces.pieces_unsafe import PatchTarget, address_of, pieces

PAGE = 4096
STUB, SITE = 40, 7
PATCHED = {9, 10, 11, 12, 25, 28, 13, 14, 59, 60, 33, 292, 436, 89, 267}
"""mmap mprotect munmap brk mremap madvise rt_sigaction rt_sigprocmask execve exit dup2 dup3 close_range readlink
readlinkat"""
FUTEX = 202
TEXT_AT, STUBS_AT = 0x21000, 0x90000


def site(number: int) -> bytes:
    return b"\xb8" + struct.pack("<I", number) + b"\x0f\x05"


filler = st.binary(max_size=24).map(lambda code: code.replace(b"\x0f\x05", b"\x90\x90"))
numbers = st.one_of(st.sampled_from(sorted(PATCHED)), st.integers(0, 470).filter(lambda number: number != FUTEX))
OTHER_FORMS = re.compile(
    rb"\xb8\xca\0\0\0\x0f\x05|\x31\xff\x89\xd0\x0f\x05\xeb\xf8|\xb8.{4}\x48\x8d.{5}\x0f\x05", re.DOTALL
)
"""Forms that have tests of their own."""
codes = (
    st.lists(st.one_of(filler, numbers.map(site), st.just(b"\x31\xc0\x0f\x05"), st.just(b"\x0f\x05")), max_size=30)
    .map(b"".join)
    .filter(lambda text: not OTHER_FORMS.search(text))
)


def patch(text: bytes, used: int = 0, *, after: bytes = b"\x90" * 8) -> tuple[bytes, bytes, int]:
    """The text and the stubs after patching, and how many stubs are used.

    Something stands `after` it: text is searched in words of 8 bytes, and a site in the last one may be left alone.
    """
    room = ctypes.create_string_buffer(text + after, len(text + after) or 1)
    stubs = ctypes.create_string_buffer(PAGE)
    target = PatchTarget(
        text=ctypes.addressof(room),
        length=len(text + after),
        stubs=ctypes.addressof(stubs),
        text_from_base=TEXT_AT,
        stubs_from_base=STUBS_AT,
        used=used,
    )
    pieces().patch_sites(ctypes.byref(target))
    return room.raw[: len(text)], stubs.raw, target.used


def sites_in(text: bytes) -> list[int]:
    return [i for i in range(len(text) - SITE + 1) if any(text.startswith(site(number), i) for number in PATCHED)]


def relative(code: bytes, at: int, base: int) -> int:
    """Where a rel32 that ends at offset at + 4 leads, relative to the image."""
    (distance,) = struct.unpack_from("<i", code, at)
    return base + at + 4 + int(distance)


@given(codes)
def test_each_site_goes_through_its_stub_and_back(text: bytes) -> None:
    patched, stubs, used = patch(text)
    sites = sites_in(text)
    assert used == len(sites)
    assert struct.unpack_from("<Q", stubs)[0] == address_of("rt_direct_entry")
    for at in sites:
        assert patched[at] == 0xE9
        stub_at = relative(patched, at + 1, TEXT_AT) - STUBS_AT
        stub = stubs[stub_at : stub_at + STUB]
        assert stub_at % STUB == 0
        assert 0 < stub_at < PAGE
        assert stub[:5] == bytes.fromhex("488d642480")  # lea -128(%rsp),%rsp: the red zone is the caller's
        assert stub[5:10] == b"\xb8" + text[at + 1 : at + 5]  # mov $number,%eax
        assert stub[10:12] == b"\xff\x15"  # call *entry(%rip)
        assert relative(stub, 12, STUBS_AT + stub_at) == STUBS_AT
        assert stub[16:24] == bytes.fromhex("488da42480000000")  # lea 128(%rsp),%rsp
        assert stub[24] == 0xE9
        assert relative(stub, 25, STUBS_AT + stub_at) == TEXT_AT + at + SITE


@given(codes)
def test_nothing_else_changes(text: bytes) -> None:
    patched, _, _ = patch(text)
    inside = {at + i for at in sites_in(text) for i in range(SITE)}
    assert all(patched[i] == text[i] for i in range(len(text)) if i not in inside)
    assert len(patched) == len(text)


@given(st.integers(0, 140), st.integers(0, 140))
def test_stubs_run_out_without_harm(before: int, sites: int) -> None:
    most = PAGE // STUB - 1
    used_before = min(before, most)
    patched, _, used = patch(site(9) * sites, used_before)
    expected = min(sites, most - used_before)
    assert used == used_before + expected
    assert patched[expected * SITE :] == site(9) * (sites - expected)


def test_a_site_cut_by_the_end_is_left_alone() -> None:
    for missing in range(1, SITE):
        text = b"\x90" * 5 + site(9)[:-missing]
        assert patch(text, after=b"")[0] == text


def test_nothing_is_read_past_the_end() -> None:
    """What follows the text completes a site; it is not the text's."""
    for missing in range(1, SITE):
        text = b"\x90" * 9 + site(9)
        room = ctypes.create_string_buffer(text, len(text))
        stubs = ctypes.create_string_buffer(PAGE)
        target = PatchTarget(text=ctypes.addressof(room), length=len(text) - missing, stubs=ctypes.addressof(stubs))
        pieces().patch_sites(ctypes.byref(target))
        assert room.raw == text


def test_other_calls_are_left_alone() -> None:
    for number in (0, 1, 61, 231, 9 + 256, 0x0900):
        assert patch(site(number))[0] == site(number)


LOOP = bytes.fromhex("31ff 89d0 0f05 ebf8")  # xor %edi,%edi; mov %edx,%eax; syscall; jmp to the first
NUMBER = b"\xba\x3c\0\0\0"  # mov $60,%edx
PADDINGS = [
    "",
    "90",
    "6690",
    "0f1f00",
    "0f1f4000",
    "0f1f440000",
    "660f1f440000",
    "0f1f8000000000",
    "0f1f840000000000",
    "660f1f840000000000",
]


@pytest.mark.parametrize("padding", PADDINGS)
def test_the_loop_that_ends_a_thread_goes_through_its_stub(padding: str) -> None:
    for before in (0, 1, 26, 31, 64):
        text = b"\x90" * before + NUMBER + bytes.fromhex(padding) + LOOP
        patched, stubs, used = patch(text)
        at = len(text) - len(LOOP)
        assert used == 1
        assert patched[:at] == text[:at]
        assert patched[at] == 0xE9
        assert patched[at + 5 :] == b"\x90" * 3
        assert relative(patched, at + 1, TEXT_AT) == STUBS_AT + STUB
        stub = stubs[STUB : 2 * STUB]
        assert stub[:12] == bytes.fromhex(
            "31ff 488d642480 b83c000000"
        )  # xor %edi,%edi; lea -128(%rsp),%rsp; mov $60,%eax
        assert stub[12:14] == b"\xff\x15"  # call *entry(%rip)
        assert relative(stub, 14, STUBS_AT + STUB) == STUBS_AT


@pytest.mark.parametrize(
    "text",
    [
        LOOP,
        b"\xba\x3d\0\0\0" + LOOP,
        NUMBER + b"\xc3" + LOOP,
        NUMBER + b"\x90" * 10 + LOOP,
        NUMBER + LOOP[:-1] + b"\xf6",
        NUMBER + b"\x48" + LOOP,
    ],
    ids=["no-number", "another-number", "a-return-between", "far", "another-target", "something-between"],
)
def test_other_loops_are_left_alone(text: bytes) -> None:
    assert patch(text)[0] == text


def test_a_loop_cut_by_the_end_is_left_alone() -> None:
    text = NUMBER + LOOP
    for missing in range(1, len(LOOP)):
        assert patch(text[:-missing], after=b"")[0] == text[:-missing]


def changed_bytes(text: bytes, first: int, last: int) -> Iterator[bytes]:
    """The text with one bit of one byte of a range changed."""
    for at in range(first, last):
        yield text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]


def test_the_loop_is_checked_like_other_sites() -> None:
    text = NUMBER + LOOP
    patched, stubs, _ = patch(text)
    assert is_right(text, patched, stubs)
    assert not any(is_right(text, changed, stubs) for changed in changed_bytes(patched, len(NUMBER), len(text)))
    assert not any(is_right(text, patched, changed) for changed in changed_bytes(stubs, STUB, 2 * STUB))


MASK = b"\xb8\x0e\0\0\0"  # mov $rt_sigprocmask,%eax
CALL = b"\x0f\x05"
LEAS = ["488db3f0080000", "488d35dd781100", "488d3d00000000", "488d9530ffffff"]
"""lea 0x8f0(%rbx),%rsi; lea ...(%rip),%rsi; lea 0(%rip),%rdi; lea -0xd0(%rbp),%rdx"""


@pytest.mark.parametrize("lea", LEAS)
def test_a_number_apart_from_its_call(lea: str) -> None:
    """The instruction between the two goes first, and still means what it meant."""
    between = bytes.fromhex(lea)
    for before in (0, 1, 20, 31):
        text = b"\x90" * before + MASK + between + CALL
        patched, stubs, used = patch(text)
        assert used == 1
        assert patched[:before] == text[:before]
        moved, rest = patched[before : before + 7], patched[before + 7 :]
        assert moved[:3] == between[:3]
        (distance,), (moved_distance,) = struct.unpack("<i", between[3:]), struct.unpack("<i", moved[3:])
        assert moved_distance == distance + (5 if lea.startswith(("488d35", "488d3d")) else 0)
        assert rest[0] == 0xE9
        assert rest[5:] == b"\x90\x90"
        assert relative(patched, before + 8, TEXT_AT) == STUBS_AT + STUB
        stub = stubs[STUB : 2 * STUB]
        assert stub[5:10] == MASK
        assert relative(stub, 25, STUBS_AT + STUB) == TEXT_AT + len(text), "and back behind the call"
        assert is_right(text, patched, stubs)
        assert not any(is_right(text, changed, stubs) for changed in changed_bytes(patched, before, len(text)))


@pytest.mark.parametrize(
    "text",
    [
        b"\xb8\x15\x01\0\0" + bytes.fromhex(LEAS[0]) + CALL,
        MASK + bytes.fromhex("488d80f0080000") + CALL,
        MASK + bytes.fromhex("488da3f0080000") + CALL,
        MASK + bytes.fromhex("488d74241000 90") + CALL,
        MASK + bytes.fromhex("488b35dd781100") + CALL,
        MASK + bytes.fromhex("4c8d35dd781100") + CALL,
    ],
    ids=["another-call", "of-the-number", "of-the-stack", "with-an-index", "a-load", "of-another-register"],
)
def test_other_instructions_between_are_left_alone(text: bytes) -> None:
    assert patch(text)[0] == text


def test_shared_futexes_go_through_their_stub_and_private_ones_to_the_kernel() -> None:
    """The call itself stays where it is: the program's own tables say how to unwind a thread that waits in it."""
    for before in (0, 1, 27, 31):
        text = b"\x90" * before + site(FUTEX)
        patched, stubs, used = patch(text)
        assert used == 1
        assert patched[:before] + patched[before + 5 :] == text[:before] + CALL
        assert patched[before] == 0xE9
        assert relative(patched, before + 1, TEXT_AT) == STUBS_AT + STUB
        stub, at = stubs[STUB : 2 * STUB], STUBS_AT + STUB
        assert stub[:8] == bytes.fromhex("4084f6 b8ca000000")  # test %sil,%sil; mov $futex,%eax
        assert stub[8:10] == b"\x0f\x88"  # js: FUTEX_PRIVATE_FLAG
        assert relative(stub, 10, at) == TEXT_AT + before + 5
        assert stub[14:21] == bytes.fromhex("488d642480 ff15")  # lea -128(%rsp),%rsp; call *entry(%rip)
        assert relative(stub, 21, at) == STUBS_AT
        assert stub[25:34] == bytes.fromhex("488da42480000000 e9")  # lea 128(%rsp),%rsp; jmp
        assert relative(stub, 34, at) == TEXT_AT + before + SITE
        assert is_right(text, patched, stubs)
        assert not any(is_right(text, changed, stubs) for changed in changed_bytes(patched, before, len(text)))
        assert not any(is_right(text, patched, changed) for changed in changed_bytes(stubs, STUB, 2 * STUB))


@pytest.mark.parametrize("operation", [0x80, 0x81, 0x189])
def test_futexes_that_are_always_private_are_left_alone(operation: int) -> None:
    text = b"\xbe" + operation.to_bytes(4, "little") + site(FUTEX)
    assert patch(text)[0] == text


def test_futexes_that_are_never_private_are_patched() -> None:
    assert patch(b"\xbe\0\0\0\0" + site(FUTEX))[2] == 1


@pytest.mark.parametrize("place", [5, 12], ids=["lea", "syscall"])
@pytest.mark.parametrize("jump", ["eb", "75", "e9", "0f84"])
def test_what_others_jump_to_is_not_moved(jump: str, place: int) -> None:
    site_bytes = MASK + bytes.fromhex(LEAS[0]) + CALL
    code = bytes.fromhex(jump)
    width = 1 if len(code) == 1 and jump != "e9" else 4
    back = place - len(site_bytes) - len(code) - width
    behind = site_bytes + code + back.to_bytes(width, "little", signed=True)
    assert patch(behind)[0] == behind
    other = site_bytes + code + (back + 1).to_bytes(width, "little", signed=True)
    assert patch(other)[2] == 1, "a jump to where no instruction begins is none"


def test_opens_are_patched_where_they_are_watched() -> None:
    opens = [2, 257]
    for number in opens:
        assert patch(site(number))[0] == site(number)
    pieces().pieces_watch_opens(1)
    try:
        for number in opens:
            patched, stubs, used = patch(site(number))
            assert (patched[0], used) == (0xE9, 1)
            assert stubs[STUB + 5 : STUB + 10] == b"\xb8" + struct.pack("<I", number)
    finally:
        pieces().pieces_watch_opens(0)


def is_right(text: bytes, patched: bytes, stubs: bytes) -> bool:
    """What image_check.c finds of a patched text: every difference is a site that leads where it must."""
    source, copy = ctypes.create_string_buffer(text + b"\x90" * 8), ctypes.create_string_buffer(patched + b"\x90" * 8)
    page = ctypes.create_string_buffer(stubs, PAGE)
    target = PatchTarget(
        text=ctypes.addressof(copy),
        length=len(text),
        stubs=ctypes.addressof(page),
        text_from_base=TEXT_AT,
        stubs_from_base=STUBS_AT,
    )
    offset = 0
    while (offset := next((i for i in range(offset, len(text)) if text[i] != patched[i]), len(text))) < len(text):
        at = ctypes.c_uint64(offset)
        if not pieces().patch_is_right(ctypes.byref(target), source, ctypes.byref(at)):
            return False
        offset = at.value
    return bool(pieces().patch_stubs_are_right(page, target.used))


@given(codes)
def test_what_was_patched_is_right(text: bytes) -> None:
    patched, stubs, _ = patch(text)
    assert is_right(text, patched, stubs)


@given(codes, st.data())
def test_another_byte_is_not_right(text: bytes, data: st.DataObject) -> None:
    """In the text, in a site, in a stub, behind the stubs: wherever an administrator wrote while it was not sealed."""
    patched, stubs, _ = patch(text)
    both = bytearray(patched + stubs)
    at = data.draw(st.integers(0, len(both) - 1))
    both[at] ^= data.draw(st.integers(1, 255))
    assert not is_right(text, bytes(both[: len(text)]), bytes(both[len(text) :]))
