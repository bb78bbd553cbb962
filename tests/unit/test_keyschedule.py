"""Keys and schedules of FIPS 197, appendix A."""

import pytest

from cloister.observe.keyschedule import SBOX, KeyFinder, KeyHit, expand

VECTORS = {
    "2b7e151628aed2a6abf7158809cf4f3c": (176, "d014f9a8c9ee2589e13f0cc8b6630ca6"),
    "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b": (208, "e98ba06f448c773c8ecc720401002202"),
    "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4": (240, "fe4890d1e6188d0b046df344706c631e"),
}


@pytest.mark.parametrize("key", VECTORS)
def test_expansion(key: str) -> None:
    schedule = expand(bytes.fromhex(key))
    length, last_round_key = VECTORS[key]
    assert len(schedule) == length
    assert schedule[-16:].hex() == last_round_key


def test_substitution_box() -> None:
    assert SBOX[:4].hex() == "637c777b"
    assert SBOX[0x53] == 0xED
    assert sorted(SBOX) == list(range(256))


@pytest.mark.parametrize("key", VECTORS)
@pytest.mark.parametrize("layout", ["fips", "swapped"])
def test_found_at_any_byte(key: str, layout: str) -> None:
    schedule = expand(bytes.fromhex(key))
    if layout == "swapped":
        schedule = b"".join(schedule[at : at + 4][::-1] for at in range(0, len(schedule), 4))
    data = bytes(range(1, 78)) + schedule + bytes(300)
    hits = list(KeyFinder().feed(0x1000, memoryview(data)))
    assert hits == [KeyHit(key_bits=len(key) * 4, layout=layout, address=0x1000 + 77)]


def test_one_wrong_bit_is_no_schedule() -> None:
    schedule = bytearray(expand(bytes.fromhex(next(iter(VECTORS)))))
    schedule[-1] ^= 1
    assert not list(KeyFinder().feed(0, memoryview(bytes(100) + bytes(schedule) + bytes(100))))


def test_empty_memory_holds_no_key() -> None:
    assert not list(KeyFinder().feed(0, memoryview(bytes(1 << 18))))
