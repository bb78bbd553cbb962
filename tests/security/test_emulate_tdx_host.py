"""Whatever a host asks of the emulated TDX module, a TD finds in its memory what it put there, or nothing."""

import contextlib
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.forge.emulated_tdx import SPARE, Platform, platform

from cloister.emulate.paging import HOST_KEY, IntegrityFault
from cloister.emulate.tdx.calls import CallFailed
from cloister.emulate.tdx.pamt import PageType
from cloister.emulate.tdx.sept import EptViolation, SeptState
from cloister.emulate.tdx.tdcall import GuestCalls
from cloister.emulate.tdx.tdvps import NAMES, Exit, ExitReason
from cloister.measure.image import PAGE

PLACES: Final = 4
"""Guest-physical pages that both sides play with."""

LAST: Final = SPARE + 6
"""The host's pages that it plays with begin at SPARE: few, so that they meet again."""

Step = tuple[str, int, int]


class Game:
    """A TD that remembers what it wrote, against a host that calls what it likes."""

    def __init__(self) -> None:
        self.tdx: Platform = platform()
        self.tdx.running()
        self.calls = GuestCalls(self.tdx.module, self.tdx.td, self.tdx.td.vcpus[0])
        self.written: dict[int, int] = {}
        self.spoilt: set[int] = set()
        self.checked = 0
        self.host: dict[str, Callable[[int, int], object]] = {
            "block": lambda place, _: self.tdx.module.mem_range_block(self.tdx.vmm.tdr, place * PAGE),
            "track": lambda _place, _: self.tdx.module.mem_track(self.tdx.vmm.tdr),
            "unblock": lambda place, _: self.tdx.module.mem_range_unblock(self.tdx.vmm.tdr, place * PAGE),
            "remove": lambda place, _: self.tdx.module.mem_page_remove(self.tdx.vmm.tdr, place * PAGE),
            "add": lambda place, page: self.tdx.module.mem_page_aug(self.tdx.vmm.tdr, place * PAGE, page),
            "relocate": lambda place, page: self.tdx.module.mem_page_relocate(self.tdx.vmm.tdr, place * PAGE, page),
            "overwrite": self.overwrite,
            "interrupt": self.interrupt,
        }
        self.td: dict[str, Callable[[int, int], object]] = {
            "accept": self.accept,
            "write": self.write,
            "read": lambda place, _: self.read(place),
        }

    def play(self, step: Step) -> None:
        name, place, page = step
        try:
            with contextlib.suppress(CallFailed, EptViolation):
                (self.host | self.td)[name](place, page)
        except IntegrityFault as poison:
            assert poison.page in self.spoilt  # noqa: PT017 - the module itself met what the host wrote
        self.check_tables()

    # ---- the host

    def overwrite(self, _place: int, page: int) -> None:
        self.tdx.cache.put(page, HOST_KEY, bytes([page % 256]) * PAGE)
        self.spoilt.add(page)

    def interrupt(self, _place: int, _page: int) -> None:
        registers, _ = self.tdx.module.vp_enter(self.tdx.vmm.tdvpr)
        assert len(registers) == len(NAMES)
        self.tdx.module.td_exit(self.tdx.td.vcpus[0], registers, Exit(ExitReason.EXTERNAL_INTERRUPT))

    # ---- the TD

    def accept(self, place: int, _page: int) -> None:
        self.calls.mem_page_accept(place * PAGE)
        self.spoilt.discard(self.tdx.td.sept.leaves[place].page)  # written anew, by the TD's own module
        self.written[place] = 0

    def write(self, place: int, value: int) -> None:
        violation = self.tdx.td.sept.violation(place * PAGE)
        if violation is None and self.read(place):
            self.tdx.memory.write(self.tdx.td.sept.leaves[place].page, self.tdx.td.hkid, 0, value.to_bytes(8, "little"))
            self.written[place] = value

    def read(self, place: int) -> bool:
        """Whether the TD got what it wrote. It must not get anything else."""
        if self.tdx.td.sept.violation(place * PAGE) is not None:
            return False
        page = self.tdx.td.sept.leaves[place].page
        try:
            found = int.from_bytes(self.tdx.memory.read(page, self.tdx.td.hkid, 0, 8), "little")
        except IntegrityFault:
            assert page in self.spoilt, "a machine check without anybody's fault"
            return False
        assert found == self.written[place], f"the TD finds {found:#x} at page {place}"
        self.checked += 1
        return True

    # ---- what always holds

    def check_tables(self) -> None:
        leaves = self.tdx.td.sept.leaves
        pages = [entry.page for entry in leaves.values()]
        assert len(pages) == len(set(pages)), "two addresses lead to one page"
        for entry in leaves.values():
            found = self.tdx.module.pamt.entry(entry.page)
            assert (found.kind, found.owner) == (PageType.REG, self.tdx.vmm.tdr)


def started() -> Game:
    """The TD has a page of its own at each place, and something written in it."""
    game = Game()
    game.written[0] = int.from_bytes(bytes(range(8)), "little")
    for place in range(1, PLACES):
        game.tdx.vmm.augment(place * PAGE)
        game.accept(place, 0)
        game.write(place, 1000 + place)
    return game


STEPS = st.tuples(
    st.sampled_from(
        ["block", "track", "unblock", "remove", "add", "relocate", "overwrite", "interrupt", "accept", "write", "read"]
    ),
    st.integers(0, PLACES - 1),
    st.integers(SPARE, LAST - 1),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_a_td_finds_what_it_wrote_or_nothing(steps: list[Step]) -> None:
    game = started()
    for step in steps:
        game.play(step)
    for place in range(PLACES):
        game.read(place)
    game.tdx.dram.close()


def test_the_game_reaches_what_it_is_about() -> None:
    """The same, by hand: it would be worthless if steps never succeeded."""
    game = started()
    for step in (("block", 1, 0), ("track", 0, 0), ("relocate", 1, SPARE), ("read", 1, 0)):
        game.play(step)
    assert game.tdx.td.sept.leaves[1].page == SPARE
    for step in (("block", 1, 0), ("track", 0, 0), ("remove", 1, 0), ("overwrite", 0, SPARE), ("add", 1, SPARE)):
        game.play(step)
    assert game.tdx.td.sept.leaves[1].state is SeptState.PENDING
    assert not game.read(1)
    game.play(("accept", 1, 0))
    assert game.written[1] == 0
    assert game.read(1)
    game.play(("overwrite", 0, SPARE))
    assert not game.read(1)
    game.written[2] = 77
    with pytest.raises(AssertionError, match="the TD finds"):
        game.read(2)
    game.tdx.dram.close()
