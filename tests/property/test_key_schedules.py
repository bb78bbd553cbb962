from hypothesis import given
from hypothesis import strategies as st

from cloister.observe.keyschedule import KeyFinder, expand

KEYS = st.sampled_from([16, 24, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size))


@given(
    key=KEYS, before=st.binary(max_size=600), zeros=st.integers(0, 600), sizes=st.lists(st.integers(1, 500), min_size=1)
)
def test_found_in_pieces_of_any_size(key: bytes, before: bytes, zeros: int, sizes: list[int]) -> None:
    data = memoryview(bytes(zeros) + before + expand(key) + before + bytes(zeros))
    finder = KeyFinder()
    hits, position, turn = [], 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        hits += list(finder.feed(position, data[position : position + size]))
        position, turn = position + size, turn + 1
    assert [(hit.key_bits, hit.address) for hit in hits] == [(8 * len(key), zeros + len(before))]


@given(key=KEYS, bit=st.integers(0, 175 * 8))
def test_a_wrong_bit_is_noticed(key: bytes, bit: int) -> None:
    schedule = bytearray(expand(key))
    schedule[bit // 8] ^= 1 << bit % 8
    assert not list(KeyFinder().feed(0, memoryview(schedule)))
