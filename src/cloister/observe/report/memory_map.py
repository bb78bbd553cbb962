"""From mappings to a picture: neighbours merged until the map is legible, then laid out top to bottom.

The picture is ordered by address, low addresses on top as in /proc/PID/maps. Heights grow with the logarithm
of the size, because a stack of 132 KiB and a library of 2 MiB must both be visible. All lengths are SVG user units.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cloister.observe.report.record import Access, HitRecord, Region
from cloister.quantities import human_size

__all__ = ["Bar", "Block", "Gap", "Picture", "blocks_of", "draw"]

MAX_BLOCKS = 26
PAGE = 4096
GAP_WORTH_SHOWING = 1 << 30
KERNEL_HALF = 1 << 63
MIN_HEIGHT, MAX_HEIGHT, HIT_HEIGHT, GAP_HEIGHT, SPACE = 19.0, 58.0, 34.0, 20.0, 2.0
MARGIN = 4.0
NAME_ROOM = 31


@dataclass(frozen=True, kw_only=True)
class Block:
    """Neighbouring mappings with the same access, drawn as one bar. `size` counts mapped bytes only."""

    start: int
    end: int
    size: int
    names: tuple[str, ...]
    access: Access
    mappings: int
    hits: tuple[HitRecord, ...]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A block with its place in the picture, and its texts."""

    block: Block
    y: float
    height: float
    address: str
    label: str
    size: str
    tip: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Address space between two bars in which nothing is mapped."""

    y: float
    height: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Everything the SVG template needs: the bars and gaps, top to bottom, and the total height."""

    bars: tuple[Bar, ...]
    gaps: tuple[Gap, ...]
    height: float


def draw(regions: Sequence[Region], hits: Sequence[HitRecord]) -> Picture:
    """Lay out the map of one process."""
    bars: list[Bar] = []
    gaps: list[Gap] = []
    y, previous = MARGIN, None
    for block in blocks_of(regions, hits):
        if previous is not None and block.start - previous > GAP_WORTH_SHOWING:
            gaps.append(Gap(y=y, height=GAP_HEIGHT, label=_gap_label(previous, block.start)))
            y += GAP_HEIGHT + SPACE
        bars.append(_bar(block, y))
        y += bars[-1].height + SPACE
        previous = block.end
    return Picture(bars=tuple(bars), gaps=tuple(gaps), height=y + MARGIN)


def blocks_of(regions: Sequence[Region], hits: Sequence[HitRecord], limit: int = MAX_BLOCKS) -> list[Block]:
    """Merge mappings into at most about `limit` blocks; those that hold a hit are never merged by size."""
    blocks: list[Block] = []
    for region in sorted(regions, key=lambda region: region.start):
        block = _block(region, hits)
        if blocks and _continues(blocks[-1], block):
            blocks[-1] = _joined(blocks[-1], block)
        else:
            blocks.append(block)
    while len(blocks) > limit:
        pair = _smallest_pair(blocks)
        if pair is None:
            break
        blocks[pair : pair + 2] = [_joined(blocks[pair], blocks[pair + 1])]
    return blocks


def _block(region: Region, hits: Sequence[HitRecord]) -> Block:
    inside = tuple(hit for hit in hits if region.start <= hit.address < region.end)
    return Block(
        start=region.start,
        end=region.end,
        size=region.size,
        names=(region.name,),
        access=region.access,
        mappings=1,
        hits=inside,
    )


def _continues(left: Block, right: Block) -> bool:
    """The segments of one file, as the loader maps them one after another, are one thing to a reader."""
    return left.names == right.names and left.access is right.access and not left.hits and not right.hits


def _joined(left: Block, right: Block) -> Block:
    names = left.names + tuple(name for name in right.names if name not in left.names)
    return replace(
        left, end=right.end, size=left.size + right.size, names=names, mappings=left.mappings + right.mappings
    )


def _smallest_pair(blocks: Sequence[Block]) -> int | None:
    """Index of the neighbours that lose least by merging: same access, no hit, not far apart, smallest."""
    candidates = [
        (left.size + right.size, index)
        for index, (left, right) in enumerate(itertools.pairwise(blocks))
        if left.access is right.access
        and not left.hits
        and not right.hits
        and right.start - left.end <= GAP_WORTH_SHOWING
    ]
    return min(candidates)[1] if candidates else None


def _bar(block: Block, y: float) -> Bar:
    height = min(MAX_HEIGHT, MIN_HEIGHT + 3.2 * math.log2(max(1.0, block.size / (4 * PAGE))))
    count = f" in {block.mappings} mappings" if block.mappings > 1 else ""
    return Bar(
        block=block,
        y=y,
        height=max(height, HIT_HEIGHT) if block.hits else height,
        address=f"{block.start:x}",
        label=_shortened(", ".join(block.names)),
        size=human_size(block.size),
        tip=f"{block.start:x}-{block.end:x}: {human_size(block.size)}{count}, {block.access}: {', '.join(block.names)}",
        note=f"in {block.mappings}" if block.mappings > 1 else "",
    )


def _gap_label(start: int, end: int) -> str:
    return "the kernel's half" if end >= KERNEL_HALF else f"{human_size(end - start)} with nothing mapped"


def _shortened(label: str) -> str:
    return label if len(label) <= NAME_ROOM else label[: NAME_ROOM - 1] + "…"
