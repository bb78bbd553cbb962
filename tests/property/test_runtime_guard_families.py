"""guard_families.c against a dictionary: never fewer families than there are, and as many once all is reported."""

import itertools
import random
from dataclasses import dataclass, field

import pytest
from tests.property.runtime_pieces.pieces_unsafe import pieces

MANY = 9000  # more threads than the guard has places for
NUMBERS = itertools.count(
    50_000
)  # never the same thread id twice: what one test leaves in the table, another must not find


@dataclass
class Tree:
    """Threads with their families, as they are; and those whose creator has not reported them yet."""

    draw: random.Random
    family: dict[int, int] = field(default_factory=dict)
    unreported: dict[int, int] = field(default_factory=dict)  # thread: creator
    executing: set[int] = field(default_factory=set)
    families: int = 0

    def begin(self) -> int:
        first = next(NUMBERS)
        self.family[first] = self.families
        pieces().guard_table_announced(first)
        pieces().guard_families_began(first)
        return first

    def clone(self) -> None:
        creator = self.draw.choice(list(self.family))
        new = next(NUMBERS)
        self.family[new] = self.family[creator]
        pieces().guard_table_seen(new)
        self.unreported[new] = creator
        if self.draw.random() < 0.8:
            self.report(new)

    def report(self, new: int) -> None:
        pieces().guard_table_announced(new)
        pieces().guard_families_joined(new, self.unreported.pop(new))

    def execute(self) -> None:
        """What it created is reported before, for a creator is stopped until its report is read."""
        former = self.draw.choice([one for one in self.family if one not in self.unreported])
        self.report_all_of(former)
        pieces().guard_families_executing(former, 1)
        self.executing.add(former)
        assert pieces().guard_families_alive() >= self.alive()
        if self.draw.random() < 0.3:
            pieces().guard_families_executing(former, 0)
            self.executing.discard(former)
            return
        pieces().guard_table_seen(former)
        pieces().guard_families_executed(former, former)
        self.executing.discard(former)
        self.families += 1
        self.family[former] = self.families

    def end(self) -> None:
        leaver = self.draw.choice(list(self.family))
        self.report_all_of(leaver)
        self.executing.discard(leaver)
        del self.family[leaver]
        pieces().guard_table_ended(leaver)
        pieces().guard_families_ended(leaver)

    def report_all_of(self, creator: int) -> None:
        for new in [new for new, by in self.unreported.items() if by == creator]:
            self.report(new)

    def alive(self) -> int:
        return len(set(self.family.values())) + len(self.executing)

    def settle(self) -> None:
        for new in self.draw.sample(sorted(self.unreported), len(self.unreported)):
            self.report(new)

    def finish(self) -> None:
        self.settle()
        while self.family:
            self.end()


@pytest.mark.parametrize("seed", range(20))
def test_never_too_few_and_right_in_the_end(seed: int) -> None:
    tree = Tree(random.Random(seed))  # noqa: S311 - which events
    tree.begin()
    for _ in range(400):
        tree.draw.choice([tree.clone, tree.clone, tree.execute, tree.end])()
        assert pieces().guard_families_alive() >= tree.alive()
        if not tree.unreported:
            assert pieces().guard_families_alive() == tree.alive()
        if not tree.family:
            tree.begin()
    tree.settle()
    assert pieces().guard_families_alive() == tree.alive()
    tree.finish()
    assert pieces().guard_families_alive() == 0


def test_a_thread_other_than_the_first_executes() -> None:
    tree = Tree(random.Random(1))  # noqa: S311
    first, second, third = tree.begin(), next(NUMBERS), next(NUMBERS)
    for new in (second, third):
        pieces().guard_table_announced(new)
        pieces().guard_families_joined(new, first)
    pieces().guard_families_executing(third, 1)
    assert pieces().guard_families_alive() == 2
    pieces().guard_table_ended(second)
    pieces().guard_families_ended(second)
    pieces().guard_table_ended(third)
    pieces().guard_families_executed(first, third)
    assert pieces().guard_families_alive() == 1
    tree.finish()
    assert pieces().guard_families_alive() == 0


def test_more_threads_than_places_are_never_alone() -> None:
    tree = Tree(random.Random(1))  # noqa: S311
    first = tree.begin()
    new = [next(NUMBERS) for _ in range(MANY)]
    for one in new:
        pieces().guard_table_announced(one)
        pieces().guard_families_joined(one, first)
    assert pieces().guard_families_alive() > 1
    for one in new:
        pieces().guard_table_ended(one)
        pieces().guard_families_ended(one)
    assert pieces().guard_families_alive() == 1
    tree.finish()
