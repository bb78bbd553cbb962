"""areas.c against a map from page number to what is there."""

import itertools
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from tests.property.runtime_pieces.pieces_unsafe import pieces

PAGE = 4096
PAGES = 48
BASE = 0x7000_0000_0000
KINDS = range(1, 7)

SECRET = 1
Model = dict[int, tuple[int, int, bool]]  # page number -> (kind, protection, untouched)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call; `kind` and `protection` matter to those that take them."""

    call: str
    first: int
    count: int
    kind: int
    protection: int


steps = st.lists(
    st.builds(
        Step,
        call=st.sampled_from(["put", "put", "reserve", "drop", "protect"]),
        first=st.integers(0, PAGES - 1),
        count=st.integers(
            1, 12
        ),  # no caller passes an empty range: mmap(2), munmap(2) refuse one, mprotect(2) does nothing
        kind=st.sampled_from(KINDS),
        protection=st.sampled_from([0, 1, 3, 5]),
    ),
    max_size=25,
)


def address(page: int) -> int:
    return BASE + page * PAGE


def reset() -> None:
    pieces().areas_drop(0, 2**64 - 1)
    assert pieces().areas_count() == 0


def table() -> list[tuple[int, int, int, int, bool]]:
    """The areas as (start, end, kind, protection, untouched), with the tables's own promises checked."""
    records = [pieces().areas_get(i).contents for i in range(pieces().areas_count())]
    areas = [(r.start, r.end, r.kind, r.protection, bool(r.untouched)) for r in records]
    assert all(start < end for start, end, *_ in areas), "an empty area"
    for left, right in itertools.pairwise(areas):
        assert left[1] <= right[0], "unsorted or overlapping"
        assert left[1] < right[0] or left[2:] != right[2:], "two neighbours that are alike"
    return areas


def apply(step: Step, model: Model) -> None:
    start, end = address(step.first), address(step.first + step.count)
    pages = set(range(step.first, step.first + step.count))
    match step.call:
        case "put":
            pieces().areas_put(start, end, step.kind, step.protection)
            model.update(dict.fromkeys(pages, (step.kind, step.protection, False)))
        case "reserve":
            pieces().areas_reserve(start, end)
            model.update(dict.fromkeys(pages, (SECRET, 0, True)))
        case "drop":
            pieces().areas_drop(start, end)
            for page in pages:
                model.pop(page, None)
        case "protect":
            pieces().areas_protect(start, end, step.protection)
            for page in pages & model.keys():
                kind, _, untouched = model[page]
                model[page] = (kind, step.protection, untouched and not step.protection)


def runs(model: Model) -> list[tuple[int, int, int, int, bool]]:
    """The model as the table should hold it: longest runs of equal pages."""
    merged: list[tuple[int, int, int, int, bool]] = []
    for page in sorted(model):
        if merged and merged[-1][1:] == (address(page), *model[page]):
            merged[-1] = (merged[-1][0], address(page + 1), *model[page])
        else:
            merged.append((address(page), address(page + 1), *model[page]))
    return merged


@given(steps)
def test_the_table_is_the_page_map(script: list[Step]) -> None:
    reset()
    model: Model = {}
    for step in script:
        apply(step, model)
        assert table() == runs(model)


@given(steps, st.integers(0, PAGES * PAGE), st.integers(0, 14 * PAGE))
def test_questions_are_answered_from_the_page_map(script: list[Step], offset: int, length: int) -> None:
    reset()
    model: Model = {}
    for step in script:
        apply(step, model)
    start, end = BASE + offset, BASE + offset + length
    touched = range(offset // PAGE, -(-(offset + length) // PAGE))
    if length:
        assert pieces().areas_cover(start, end) == all(page in model for page in touched)
        assert pieces().areas_any(start, end) == any(page in model for page in touched)
        assert pieces().areas_hold(start, end) == any(page in model and not model[page][2] for page in touched)
    found = pieces().areas_find(start)
    assert bool(found) == (offset // PAGE in model)
    if found:
        area = found.contents
        assert (area.kind, area.protection, bool(area.untouched)) == model[offset // PAGE]
        assert found.contents.start <= start < found.contents.end
    after = pieces().areas_first_ending_after(start)
    assert after == sum(1 for area in table() if area[1] <= start)


def test_room_runs_out_exactly_at_the_limit() -> None:
    reset()
    limit = 65536  # AREAS_MAX
    assert pieces().areas_have_room(limit)
    assert not pieces().areas_have_room(limit + 1)
    for i in range(64):
        pieces().areas_put(address(2 * i), address(2 * i + 1), 1, 3)
    assert pieces().areas_have_room(limit - 64)
    assert not pieces().areas_have_room(limit - 63)
    reset()
