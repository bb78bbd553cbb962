"""The picture of a memory map: nothing is lost by merging, hits stand out, bars do not overlap."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cloister.observe.report.memory_map import Block, blocks_of, draw
from cloister.observe.report.record import Access, HitRecord, Region

PAGE = 4096


def regions_from(parts: list[tuple[int, int, int, Access]]) -> list[Region]:
    """Regions one after another: each part is (pages of gap before, pages, name number, access)."""
    regions, address = [], 1 << 20
    for gap, pages, name, access in parts:
        start = address + gap * PAGE
        address = start + pages * PAGE
        regions.append(
            Region(start=start, end=address, permissions="rw-p", name=f"file{name}", access=access, read_bytes=0)
        )
    return regions


def hit_at(address: int) -> HitRecord:
    """A hit of six bytes."""
    return HitRecord(pid=1, where="", address=address, length=6, encoding="raw", context_start=address, context_hex="")


PARTS = st.lists(
    st.tuples(st.integers(0, 1 << 22), st.integers(1, 4000), st.integers(0, 3), st.sampled_from(Access)),
    max_size=90,
)


@given(parts=PARTS, data=st.data())
def test_merging_loses_nothing(parts: list[tuple[int, int, int, Access]], data: st.DataObject) -> None:
    regions = regions_from(parts)
    held = data.draw(st.lists(st.sampled_from(regions), max_size=3)) if regions else []
    hits = [hit_at(region.start) for region in held]
    blocks = blocks_of(regions, hits, limit=10)
    assert sum(block.size for block in blocks) == sum(region.size for region in regions)
    assert sum(block.mappings for block in blocks) == len(regions)
    assert sorted(hit.address for block in blocks for hit in block.hits) == sorted(hit.address for hit in hits)
    assert {name for block in blocks for name in block.names} == {region.name for region in regions}
    for region in regions:
        assert [block.access for block in blocks if block.start <= region.start < block.end] == [region.access]


@given(parts=PARTS)
def test_bars_and_gaps_stand_below_each_other(parts: list[tuple[int, int, int, Access]]) -> None:
    picture = draw(regions_from(parts), [])
    spans = sorted(
        [(bar.y, bar.y + bar.height) for bar in picture.bars] + [(gap.y, gap.y + gap.height) for gap in picture.gaps]
    )
    assert all(above[1] <= below[0] for above, below in itertools.pairwise(spans))
    assert not spans or spans[-1][1] <= picture.height


def block_sizes(blocks: list[Block]) -> list[int]:
    """Pages per block."""
    return [block.size // PAGE for block in blocks]


def test_the_segments_of_one_file_become_one_bar() -> None:
    blocks = blocks_of(
        regions_from([(0, 1, 1, Access.READABLE), (0, 2, 1, Access.READABLE), (0, 4, 2, Access.READABLE)]), []
    )
    assert block_sizes(blocks) == [3, 4]


def test_a_long_map_becomes_short_but_keeps_its_hits_apart() -> None:
    regions = regions_from([(0, 1 + index, index, Access.READABLE) for index in range(200)])
    blocks = blocks_of(regions, [hit_at(regions[100].start + 16)])
    assert len(blocks) <= 26
    (held,) = [block for block in blocks if block.hits]
    assert held.names == ("file100",)


def test_a_wide_gap_is_drawn_and_a_narrow_one_is_not() -> None:
    picture = draw(
        regions_from([(0, 1, 1, Access.READABLE), (1, 1, 2, Access.READABLE), (1 << 20, 1, 3, Access.READABLE)]), []
    )
    assert [gap.label for gap in picture.gaps] == ["4 GiB with nothing mapped"]
