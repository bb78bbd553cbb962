"""SIGSTRUCT under arbitrary and mutated bytes."""

from hypothesis import example, given
from hypothesis import strategies as st
from tests.forge.sigstruct import image_with, sigstruct

from cloister.errors import ParseError
from cloister.evidence.sigstruct import looks_like, of_image, parse

GOOD = sigstruct().serialize()
IMAGE = image_with(GOOD)


@given(st.binary(max_size=2000))
@example(GOOD[:-1])
def test_any_bytes(data: bytes) -> None:
    looks_like(data)
    for read in (parse, of_image):
        try:
            made = read(data)
        except ParseError:
            continue
        assert read is of_image or made.serialize() == data


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_mutations_round_trip_or_are_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    try:
        made = parse(bytes(data))
    except ParseError:
        return
    assert made.serialize() == data


@given(st.integers(0, len(IMAGE) - 1), st.integers(0, 255), st.integers(0, len(IMAGE)))
def test_mutated_images(position: int, value: int, length: int) -> None:
    data = bytearray(IMAGE)
    data[position] = value
    for image in (bytes(data), bytes(data[:length])):
        try:
            of_image(image)
        except ParseError:
            continue
