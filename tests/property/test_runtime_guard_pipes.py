"""guard_pipes.c: what honest processes write is read, whoever is killed; what an attacker does to a pipe is noticed."""

import errno
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.property.runtime_pieces.pieces_unsafe import PipeClaim, PipeNumbers, Word, pieces

IDS = itertools.count(2, 2)
SIZE = 10  # of a record's text, here
PIPES_MOST = 1024
NUMBERS_MOST = 16


@dataclass(frozen=True, kw_only=True)
class Record:
    """As it stands in the kernel's pipe."""

    number: int
    least: int
    text: bytes


@dataclass
class Pipe:
    """The kernel's side, and a reader who does as pipe_read.c does."""

    identity: int = field(default_factory=lambda: next(IDS))
    records: list[Record] = field(default_factory=list)
    text: bytes = b""  # that was read
    start: int = 0  # the reader's guess

    def __post_init__(self) -> None:
        assert pieces().guard_pipes_new(self.identity) == 0

    def numbers(self, thread: int, count: int) -> PipeNumbers:
        numbers = PipeNumbers(count=count)
        assert pieces().guard_pipes_send(self.identity, thread, numbers) == 0
        assert 1 <= numbers.count <= min(count, NUMBERS_MOST)
        assert numbers.least <= numbers.first
        return numbers

    def put(self, numbers: PipeNumbers, thread: int, end: int | None = None) -> list[Record]:
        """Writes them, or only those before `end`."""
        numbered = range(numbers.first, numbers.first + numbers.count)[:end]
        fresh = [
            Record(number=n, least=numbers.least, text=b"%04d%06d" % (thread % 10000, n % 1000000)) for n in numbered
        ]
        self.records += fresh
        return fresh

    def write(self, thread: int = 1, count: int = 1) -> list[Record]:
        return self.put(self.numbers(thread, count), thread)

    def run(self, most: int) -> list[Record]:
        """The first ones, as far as they follow one another."""
        first = self.records[0].number
        return [
            record for at, record in enumerate(self.records[: min(most, NUMBERS_MOST)]) if record.number == first + at
        ]

    def claim(self, wanted: int) -> tuple[int, PipeClaim, int]:
        """What the guard answers, of what claim, and how many records are then read."""
        run = self.run(1 + (self.start + wanted) // SIZE)
        run = [*itertools.takewhile(lambda record: record in run, self.records)][: len(run)]
        end = min(self.start + wanted, len(run) * SIZE)
        whole, rest = divmod(end, SIZE)
        least = max(min(record.least, run[0].number) for record in run)
        count = whole + (rest > 0)
        claim = PipeClaim(first=run[0].number, count=count, least=least, start=self.start, end=rest)
        return pieces().guard_pipes_take(self.identity, claim), claim, whole

    def read(self, wanted: int) -> int:
        """0, or what the guard said."""
        answer, claim, whole = self.claim(wanted)
        if answer == -errno.EAGAIN:
            self.start = claim.start
            answer, claim, whole = self.claim(wanted)
        if answer == 0:
            data = b"".join(record.text for record in self.records[: claim.count])
            self.text += data[self.start : whole * SIZE + claim.end]
            del self.records[:whole]
            self.start = claim.end
        return int(answer)

    def end(self) -> int:
        return int(pieces().guard_pipes_end(self.identity))

    def read_all(self) -> None:
        while self.records:
            assert self.read(SIZE * 4) == 0


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    one = Pipe()
    yield one
    pieces().guard_pipes_ended(1, False)  # noqa: FBT003 - C's


@dataclass
class Writers:
    """Threads that take numbers, write in any order, write only some, and are killed or end."""

    draw: random.Random
    pipe: Pipe = field(default_factory=Pipe)
    waiting: dict[int, PipeNumbers] = field(default_factory=dict)
    written: bytes = b""
    threads: Iterator[int] = field(default_factory=lambda: itertools.count(10))
    alive: list[int] = field(default_factory=list)

    def begin(self, thread: int) -> None:
        numbers = PipeNumbers(count=self.draw.randrange(1, 20))
        if thread in self.waiting:
            return
        answer = pieces().guard_pipes_send(self.pipe.identity, thread, numbers)
        if answer == -errno.EAGAIN:
            return
        assert answer == 0
        self.waiting[thread] = numbers

    def write(self, thread: int) -> None:
        if thread not in self.waiting:
            return
        numbers = self.waiting.pop(thread)
        end = self.draw.choice([numbers.count, numbers.count, self.draw.randrange(numbers.count + 1)])
        self.note(self.pipe.put(numbers, thread, end))
        rest = PipeNumbers(first=numbers.first + end, count=numbers.count - end)
        if rest.count:
            sure = self.draw.random() < 0.7
            assert pieces().guard_pipes_unsent(self.pipe.identity, thread, rest, sure) == 0
        elif numbers.crowded:
            assert pieces().guard_pipes_sent(self.pipe.identity, thread) == 0

    def end(self, thread: int) -> None:
        numbers = self.waiting.pop(thread, None)
        if numbers:
            self.note(self.pipe.put(numbers, thread, self.draw.randrange(numbers.count + 1)))
        pieces().guard_pipes_ended(thread, numbers is not None)
        self.alive[self.alive.index(thread)] = next(self.threads)

    def note(self, records: list[Record]) -> None:
        self.written += b"".join(record.text for record in records)


@pytest.mark.parametrize("seed", range(80))
def test_honest_writers_and_readers_are_never_refused(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - which events
    writers = Writers(draw)
    writers.alive = [next(writers.threads) for _ in range(draw.randrange(1, 30))]
    for _ in range(600):
        thread, event = draw.choice(writers.alive), draw.random()
        if event < 0.35:
            writers.begin(thread)
        elif event < 0.65:
            writers.write(thread)
        elif event < 0.7:
            writers.end(thread)
        elif writers.pipe.records:
            assert writers.pipe.read(draw.randrange(1, 60)) == 0
    for thread in list(writers.waiting):
        writers.write(thread)
    writers.pipe.read_all()
    assert writers.pipe.text == writers.written
    assert writers.pipe.end() == 0


def test_one_writer_is_read_in_order_and_to_the_end(pipe: Pipe) -> None:
    records = [*pipe.write(count=5), *pipe.write(count=16), *pipe.write()]
    assert [record.number for record in records] == list(range(22))
    pipe.read_all()
    assert pipe.text == b"".join(record.text for record in records)
    assert pipe.end() == 0


def test_bytes_are_read_one_by_one_by_readers_who_do_not_know_of_each_other(pipe: Pipe) -> None:
    pipe.write(count=2)
    for at in range(2 * SIZE):
        pipe.start = at % 3  # a guess
        assert pipe.read(1) == 0
    assert len(pipe.text) == 2 * SIZE
    assert not pipe.records


def test_a_record_that_was_kept_back_is_missed_at_once(pipe: Pipe) -> None:
    pipe.write()
    pipe.write()
    del pipe.records[0]
    assert pipe.read(SIZE) == -errno.EBADMSG


def test_the_last_record_is_missed_at_the_end(pipe: Pipe) -> None:
    pipe.write(count=3)
    pipe.records.pop()
    pipe.read_all()
    assert pipe.end() == -errno.EBADMSG


@pytest.mark.parametrize("killed", [False, True])
def test_only_who_was_killed_may_leave_numbers_unused(pipe: Pipe, *, killed: bool) -> None:
    pipe.numbers(77, 1)
    pieces().guard_pipes_ended(77, killed)
    pipe.write()
    assert pipe.read(SIZE) == (0 if killed else -errno.EBADMSG)
    assert pipe.end() == (0 if killed else -errno.EBADMSG)


def test_records_of_one_writer_that_were_exchanged_are_noticed(pipe: Pipe) -> None:
    pipe.write()
    pipe.write()
    pipe.records.reverse()
    assert pipe.read(SIZE) == -errno.EBADMSG


def test_records_of_two_threads_one_after_the_other_that_were_exchanged_are_noticed(pipe: Pipe) -> None:
    """The first thread has come again, so what it wrote before was there before the second one's."""
    pipe.write(1)
    pipe.write(1)
    pipe.write(2)
    pipe.records[0], pipe.records[2] = pipe.records[2], pipe.records[0]
    assert pipe.read(SIZE) == -errno.EBADMSG


def test_a_record_that_is_put_in_again_is_known(pipe: Pipe) -> None:
    again = pipe.write()
    pipe.read_all()
    pipe.records += again
    assert pipe.read(SIZE) == -errno.EALREADY
    assert pipe.end() == 0


def test_a_part_that_is_put_in_again_is_known(pipe: Pipe) -> None:
    pipe.write(count=2)
    assert pipe.read(4) == 0
    pipe.records.reverse()
    pipe.start = 0
    assert pipe.read(4) == -errno.EBADMSG


def test_a_half_read_record_is_missed_at_the_end(pipe: Pipe) -> None:
    pipe.write()
    assert pipe.read(4) == 0
    pipe.records.clear()
    assert pipe.end() == -errno.EBADMSG


def test_numbers_that_were_never_given_are_refused(pipe: Pipe) -> None:
    pipe.records.append(Record(number=0, least=0, text=bytes(SIZE)))
    assert pipe.read(SIZE) == -errno.EBADMSG


def test_how_much_waits(pipe: Pipe) -> None:
    count, start = Word(), Word()
    pipe.write(count=3)
    assert pipe.read(SIZE + 4) == 0
    assert pieces().guard_pipes_look(pipe.identity, count, start) == 0
    assert (count.value, start.value) == (2, 4)


def test_who_comes_back_to_a_pipe_that_was_forgotten_is_refused() -> None:
    old = Pipe()
    old.write()
    for _ in range(PIPES_MOST):
        Pipe()
    assert old.read(SIZE) == -errno.ESTALE
    assert old.end() == -errno.ESTALE
    assert pieces().guard_pipes_send(old.identity, 1, PipeNumbers(count=1)) == -errno.ESTALE
