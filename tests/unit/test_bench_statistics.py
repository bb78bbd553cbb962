"""The benchmarks' arithmetic, their table, and the order of their runs. Nothing here is timed."""

import itertools
import json
from pathlib import Path

import pytest
from benchmarks import record, table
from benchmarks.benchmark import Arm, Benchmark, Better, Group, Need, NotMeasured, Quantity, Run
from benchmarks.machine import Machine
from benchmarks.needs import find
from benchmarks.pairs import Effort, Outcome, alternate
from benchmarks.processes import last_words, run
from benchmarks.ratios import Pair, speed_ratio, summarise
from hypothesis import given
from hypothesis import strategies as st

from cloister.quantities import figure, ratio

POSITIVE = st.floats(min_value=1e-6, max_value=1e9)
PAIRS = st.lists(st.builds(Pair, baseline=POSITIVE, candidate=POSITIVE), min_size=1, max_size=30)
FIRST = Arm(name="native", start=list)
SECOND = Arm(name="enclaved", start=list)
RATE = Quantity(key="rate", what="answers", unit="req/s", better=Better.MORE, group=Group.SERVERS)
TIME = Quantity(key="time", what="waiting", unit="ms", better=Better.LESS, group=Group.STARTING)


def pair(baseline: float, candidate: float) -> Pair:
    return Pair(baseline=baseline, candidate=candidate)


class Script:
    """A measuring function that writes down which way ran, and fails at a chosen call."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.ran: list[str] = []
        self.fails_at = fails_at

    def __call__(self, this: Run) -> dict[str, float]:
        self.ran.append(this.arm.name)
        if len(self.ran) == self.fails_at:
            raise NotMeasured("it broke")
        return {"rate": 100.0 if this.arm is FIRST else 50.0, "time": 2.0 if this.arm is FIRST else 8.0}


def benchmark(script: Script, *needs: Need) -> Benchmark:
    return Benchmark(
        name="play", quantities=(RATE, TIME), needs=needs, measure=script, baseline=FIRST, candidate=SECOND
    )


def outcome(script: Script, *needs: Need, pairs: int = 3) -> Outcome:
    return alternate(benchmark(script, *needs), Effort(pairs=pairs, seconds=60, load_seconds=0), Path())


# ---------------------------------------------------------------- statistics
def test_a_higher_rate_is_faster() -> None:
    assert speed_ratio(pair(100, 50), Better.MORE) == 0.5


def test_a_longer_time_is_slower() -> None:
    assert speed_ratio(pair(2, 8), Better.LESS) == 0.25


@pytest.mark.parametrize("measured", [pair(0, 1), pair(1, 0), pair(-1, 1), pair(float("nan"), 1)])
def test_what_no_clock_can_say_is_refused(measured: Pair) -> None:
    with pytest.raises(ValueError, match="above zero"):
        speed_ratio(measured, Better.MORE)


def test_a_summary_by_hand() -> None:
    measured = [pair(10, 10), pair(10, 5), pair(20, 16), pair(10, 20), pair(10, 9)]
    summary = summarise(measured, Better.MORE)  # ratios in order: 0.5 0.8 0.9 1.0 2.0
    assert (summary.baseline, summary.candidate, summary.pairs) == (10, 10, 5)
    assert (summary.lowest, summary.lower_quartile, summary.ratio) == (0.5, 0.8, 0.9)
    assert (summary.upper_quartile, summary.highest) == (1.0, 2.0)


def test_a_slow_moment_that_hits_both_halves_of_a_pair_cancels() -> None:
    summary = summarise([pair(100, 90), pair(10, 9), pair(55, 49.5)], Better.MORE)
    assert summary.lowest == pytest.approx(summary.highest) == pytest.approx(0.9)


def test_no_pairs_have_no_summary() -> None:
    with pytest.raises(ValueError, match="no pair"):
        summarise([], Better.LESS)


@given(PAIRS, st.sampled_from(Better))
def test_the_five_ratios_are_in_order(pairs: list[Pair], better: Better) -> None:
    got = summarise(pairs, better)
    five = [got.lowest, got.lower_quartile, got.ratio, got.upper_quartile, got.highest]
    assert all(low <= high * (1 + 1e-12) for low, high in itertools.pairwise(five))


@given(PAIRS)
def test_swapping_the_direction_inverts_the_extremes(pairs: list[Pair]) -> None:
    more, less = summarise(pairs, Better.MORE), summarise(pairs, Better.LESS)
    assert more.lowest == pytest.approx(1 / less.highest)


# ---------------------------------------------------------------- alternating runs
def test_the_first_of_a_pair_alternates_after_one_pair_to_warm_up() -> None:
    script = Script()
    got = outcome(script)
    warm_up = ["native", "enclaved"]
    assert script.ran == [*warm_up, "native", "enclaved", "enclaved", "native", "native", "enclaved"]
    assert len(got.pairs) == 3


def test_numbers_stay_with_their_way_whichever_ran_first() -> None:
    assert set(outcome(Script()).of("rate")) == {pair(100, 50)}


def test_no_new_pair_starts_when_time_is_up_but_one_is_always_measured() -> None:
    effort = Effort(pairs=1000, seconds=0, load_seconds=0)
    assert len(alternate(benchmark(Script()), effort, Path()).pairs) == 1


def test_a_failure_keeps_the_pairs_before_it() -> None:
    got = outcome(Script(fails_at=5))  # two runs to warm up, a pair, and then the enclaved run goes first
    assert (len(got.pairs), got.failed, got.trouble) == (1, True, "enclaved: it broke")


def test_a_missing_package_is_named_and_is_no_failure() -> None:
    script = Script()
    got = outcome(script, Need(program="no-such-program-here", package="nosuch"))
    assert (got.trouble, got.failed, script.ran) == ("package nosuch missing", False, [])


# ---------------------------------------------------------------- table and document
def test_the_table_of_measured_rows() -> None:
    lines = table.as_text([outcome(Script())]).splitlines()
    assert lines[0].split("  ")[-1] == "pairs"
    assert lines[1].split() == ["answers", "req/s", "100", "50.0", "0.50", "0.50-0.50", "0.50-0.50", "3"]
    assert lines[2].split() == ["waiting", "ms", "2.00", "8.00", "0.25", "0.25-0.25", "0.25-0.25", "3"]
    assert len({len(line) for line in lines}) == 1


def test_one_pair_shows_no_spread() -> None:
    line = table.as_text([outcome(Script(), pairs=1)]).splitlines()[1]
    assert line.split() == ["answers", "req/s", "100", "50.0", "0.50", "-", "-", "1"]


def test_every_row_of_what_is_missing_says_so() -> None:
    text = table.as_text([outcome(Script(), Need(program="no-such-program-here", package="nosuch"))])
    assert text.count("not measured: package nosuch missing") == 2


@pytest.mark.parametrize(("fails_at", "rows_without", "pairs"), [(1, 2, 0), (5, 0, 1)])
def test_a_failure_is_told_once_below_the_table(fails_at: int, rows_without: int, pairs: int) -> None:
    text = table.as_text([outcome(Script(fails_at=fails_at))])
    way = "native" if fails_at == 1 else "enclaved"
    assert text.count("not measured: see below") == rows_without
    assert text.splitlines()[-1] == f"play failed after {pairs} measured pairs: {way}: it broke"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(98123.4, "98,123"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123")],
)
def test_numbers(value: float, shown: str) -> None:
    assert figure(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(2.564, "2.56"), (0.984, "0.98"), (0.076, "0.076"), (0.0026, "0.0026")])
def test_ratios(value: float, shown: str) -> None:
    assert ratio(value) == shown


def test_the_document_holds_every_pair() -> None:
    machine = Machine(
        kernel="6.1", architecture="x86_64", processor="P", cores=2, memory_gib=4, virtual=True,
        huge_pages="madvise", date="2026-01-01 00:00 UTC", load=(0.5, 0.25, 0.125),
    )  # fmt: skip
    document = json.loads(json.dumps(record.as_document(machine, machine, "quick", [outcome(Script())])))
    assert document["rows"][0]["pairs"] == [[100, 50]] * 3
    assert document["rows"][1]["summary"]["ratio"] == 0.25
    assert document["machine"]["load"] == [0.5, 0.25, 0.125]


# ---------------------------------------------------------------- programs that do wrong
def test_a_program_that_fails_says_its_last_words() -> None:
    with pytest.raises(NotMeasured, match=r"sh ended with 3: what; how"):
        run([find("sh"), "-c", "echo ignored >&2; echo what >&2; echo '  how' >&2; exit 3"])


def test_silence_is_said_too() -> None:
    assert last_words("\n") == "no message"
