"""The counter tree of the SGX memory encryption engine: versions of pages in DRAM, their root on die.

Gueron, "A Memory Encryption Engine Suitable for General Purpose Processors" (IACR eprint 2016/204): eight counters of
56 bits and one tag of 56 bits make a node of 64 bytes; each node is bound to one counter of the node above it; four
levels lie in DRAM, the counters above them stay in the processor. Whatever is put back into DRAM, all of it together
included, then disagrees with a counter that was not in DRAM.

Node of 64 bytes: counter i at byte 7 * i, little-endian; tag at byte 56; byte 63 zero. Level 0 has the versions of
pages 8k to 8k+7 in node k; the levels stand one after the other.

As in the engine, checked nodes are kept on die and written back late. When there is no more room all are written back,
level by level from below, and forgotten. A counter of 0 says that what is under it was never written: its content is
then known to be zeros and DRAM is not looked at, so no tree has to be built when the machine starts.
"""

import hmac
from collections.abc import Callable
from typing import Final

__all__ = ["LEVELS", "NODE", "TAG", "CounterTree", "Mismatch", "nodes_of"]

NODE: Final = 64
ARITY_BITS: Final = 3
LEVELS: Final = 4
COUNTER: Final = 7
TAG: Final = 7
COUNTERS: Final = 8 * COUNTER
HIGHEST: Final = (1 << 56) - 1

Tagger = Callable[[int, int, int, bytes | memoryview], bytes]
"""level (1 to 4 for nodes, 0 for pages), index in the level, counter, content -> tag of 7 bytes."""


class Mismatch(Exception):
    """A node in DRAM is not what was written there, or a counter has no higher value left."""


def nodes_of(pages: int) -> int:
    """How many nodes the tree over so many pages has in DRAM."""
    return sum(_sizes(pages))


def _sizes(pages: int) -> list[int]:
    """Nodes of each level, lowest first."""
    return [-(-pages >> ARITY_BITS * (level + 1)) for level in range(LEVELS)]


class CounterTree:
    """Versions of `pages` pages, 0 at first. `nodes`: their room in DRAM; `on_die`: how many nodes are kept checked."""

    def __init__(self, nodes: memoryview, pages: int, tag: Tagger, *, on_die: int = 1024) -> None:
        sizes = _sizes(pages)
        self._nodes = nodes
        self._tag = tag
        self._room = on_die
        self._first = [sum(sizes[:level]) for level in range(LEVELS)]
        self._root = [0] * sizes[-1]
        self._checked: list[dict[int, list[int]]] = [{} for _ in range(LEVELS)]
        self._versions = self._checked[0]
        self._dirty: list[set[int]] = [set() for _ in range(LEVELS)]

    def version(self, page: int) -> int:
        """How often the page was written. Raises Mismatch."""
        counters = self._versions.get(page >> ARITY_BITS)
        if counters is None:
            counters = self._bring(page >> ARITY_BITS)
        return counters[page & 7]

    def advance(self, page: int) -> int:
        """The next version of a page, which is its version from now on. Raises Mismatch."""
        index = page >> ARITY_BITS
        counters = self._versions.get(index)
        if counters is None:
            counters = self._bring(index)
        self._dirty[0].add(index)
        return _count(counters, page & 7)

    def settle(self) -> None:
        """Write all changed nodes to DRAM and forget the checked ones, as before power is cut to the cache."""
        for level, dirty in enumerate(self._dirty):
            for index in dirty:
                self._write(level, index)
            dirty.clear()
        for checked in self._checked:
            checked.clear()

    def _bring(self, index: int) -> list[int]:
        if sum(map(len, self._checked)) >= self._room:
            self.settle()
        return self._fetch(0, index)

    def _fetch(self, level: int, index: int) -> list[int]:
        """The counters of one node, checked up to the first node that already was."""
        checked = self._checked[level]
        if (known := checked.get(index)) is not None:
            return known
        above, place = self._above(level, index)
        bound = above[place]
        counters = self._read(level, index, bound) if bound else [0] * 8
        checked[index] = counters
        return counters

    def _read(self, level: int, index: int, bound: int) -> list[int]:
        start = (self._first[level] + index) * NODE
        node = bytes(self._nodes[start : start + NODE])  # a copy: what is checked is what is used
        content = node[:COUNTERS]
        if not hmac.compare_digest(self._tag(level + 1, index, bound, content), node[COUNTERS : COUNTERS + TAG]):
            raise Mismatch(f"counter tree, level {level}, node {index}: the tag does not fit the counter above it")
        return [int.from_bytes(content[at : at + COUNTER], "little") for at in range(0, COUNTERS, COUNTER)]

    def _write(self, level: int, index: int) -> None:
        above, place = self._above(level, index)
        bound = _count(above, place)
        if level + 1 < LEVELS:
            self._dirty[level + 1].add(index >> ARITY_BITS)
        content = b"".join(counter.to_bytes(COUNTER, "little") for counter in self._checked[level][index])
        start = (self._first[level] + index) * NODE
        self._nodes[start : start + NODE] = content + self._tag(level + 1, index, bound, content) + b"\0"

    def _above(self, level: int, index: int) -> tuple[list[int], int]:
        """The counters that bind a node, and which of them does."""
        if level + 1 == LEVELS:
            return self._root, index
        return self._fetch(level + 1, index >> ARITY_BITS), index & 7


def _count(counters: list[int], place: int) -> int:
    """Add one; a counter that wrapped would bring old nonces back (the engine needs new keys then, section 4)."""
    if counters[place] >= HIGHEST:
        raise Mismatch("a counter of 56 bits is used up: the machine must be started again, with new keys")
    counters[place] += 1
    return counters[place]
