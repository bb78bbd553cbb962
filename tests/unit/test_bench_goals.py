"""Goals and how they are judged; the record, and the pages that are made from it. Nothing here is timed."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import publish, record
from benchmarks.__main__ import arguments
from benchmarks.benchmark import Better, Group
from benchmarks.goals import Aim, Goal, at_most, extra, speed, times
from benchmarks.judgement import judge
from benchmarks.publish import PAGES, SHORT, current, with_figures
from benchmarks.ratios import Pair, summarise
from benchmarks.subjects import ALL

from cloister.app.lab.costs import costs

ROWS = current()["rows"]


def judged(goal: Goal, native: float, enclaved: float, *, unit: str = "ms", better: Better = Better.LESS) -> str:
    return judge(goal, summarise([Pair(baseline=native, candidate=enclaved)], better), unit).text


# ---------------------------------------------------------------- judging
@pytest.mark.parametrize(
    ("goal", "native", "enclaved", "said"),
    [
        (speed(0.95), 95, 100, "0.95 reached"),
        (speed(0.95), 31, 100, "0.95 not: 0.31"),
        (speed(0.95), 94.9, 100, "0.95 not: 0.949"),
        (at_most(20), 1, 20, "20 ms reached"),
        (at_most(20), 1, 449, "20 ms not: 449 ms"),
        (at_most(1.5), 1, 1.6, "1.50 ms not: 1.60 ms"),
        (extra(1), 0.75, 1.7, "+1 ms reached"),
        (extra(1), 0.75, 2.4, "+1 ms not: +1.65 ms"),
        (extra(1), 0.75, 0.5, "+1 ms reached"),
        (times(1.1), 10, 10.9, "1.10x reached"),
        (times(1.1), 8, 213, "1.10x not: 26.62x"),
    ],
)
def test_a_goal_is_compared_with_what_was_measured(goal: Goal, native: float, enclaved: float, said: str) -> None:
    assert judged(goal, native, enclaved) == said


def test_a_rate_that_is_nearly_there_is_not_there() -> None:
    assert judged(speed(0.98), 1000, 979.9, unit="req/s", better=Better.MORE) == "0.98 not: 0.9799"


def test_the_extra_is_the_median_of_the_pairs_differences() -> None:
    pairs = [Pair(baseline=1, candidate=2), Pair(baseline=10, candidate=13), Pair(baseline=5, candidate=25)]
    found = judge(extra(3), summarise(pairs, Better.LESS), "ms")
    assert (found.measured, found.reached) == (3, True)


# ---------------------------------------------------------------- subjects
def test_every_row_has_a_name_of_its_own() -> None:
    names = [(benchmark.candidate.name, one.what) for benchmark in ALL for one in benchmark.quantities]
    assert len(names) == len(set(names))


def test_the_control_has_no_goals() -> None:
    control = [one for benchmark in ALL for one in benchmark.quantities if one.group is Group.NOISE]
    assert control
    assert not [one for one in control if one.goal]


# ---------------------------------------------------------------- the record and its pages
def test_the_record_has_the_rows_that_there_are() -> None:
    rows = {(row["ways"]["candidate"], row["what"]) for row in ROWS}
    assert rows == {(benchmark.candidate.name, one.what) for benchmark in ALL for one in benchmark.quantities}


def test_the_record_is_true_to_its_own_pairs() -> None:
    measured = [row for row in ROWS if row["pairs"]]
    assert measured
    for row in measured:
        pairs = [Pair(baseline=base, candidate=candidate) for base, candidate in row["pairs"]]
        found = summarise(pairs, Better(row["faster_is"]))
        assert found.ratio == pytest.approx(row["summary"]["ratio"], rel=1e-3)
        if row["goal"]:
            goal = Goal(aim=Aim(row["goal"]["aim"]), limit=row["goal"]["limit"])
            assert judge(goal, found, row["unit"]).measured == pytest.approx(
                row["goal"]["measured"], rel=1e-2, abs=0.02
            )


def test_the_record_was_written_as_it_is_written() -> None:
    assert record.as_text(current()) == publish.RECORD.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_shows_other_figures_than_the_record(page: Path) -> None:
    text = page.read_text()
    assert with_figures(text, PAGES[page](current())) == text, "run `python -m benchmarks --pages`"


def test_what_the_readme_shows_are_rows() -> None:
    assert set(SHORT) <= {row["what"] for row in ROWS}


def test_a_figure_that_changes_changes_the_pages() -> None:
    changed: dict[str, Any] = json.loads(json.dumps(current()))
    row = next(row for row in changed["rows"] if row["what"] == SHORT[0])
    row["summary"] = dict.fromkeys(row["summary"] or ("ratio",), 0.1234)
    for page, make in PAGES.items():
        assert with_figures(page.read_text(), make(changed)) != page.read_text()


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the page needs the lines"):
        with_figures("# A page\n", "figures\n")


def test_half_a_run_cannot_be_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--record", "--only", "redis"])
    assert "leave --only out" in capsys.readouterr().err


def test_the_report_has_every_row_of_native_against_enclaved() -> None:
    found = costs()
    measured = {row["what"] for row in ROWS if row["ways"] == {"baseline": "native", "candidate": "enclaved"}}
    assert {row.what for row in found.rows} == {
        row["what"] for row in ROWS if row["what"] in measured and row["summary"] and row["group"] != "control"
    }
    assert found.machine.startswith(current()["machine"]["processor"])
