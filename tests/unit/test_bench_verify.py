"""The verifier's benchmark: its arithmetic, its order, and that every row runs and refuses. Nothing here is timed."""

import itertools
import json
from dataclasses import replace

import pytest
from benchmarks.benchmark import NotMeasured
from benchmarks.machine import examine
from benchmarks.ratios import Pair
from benchmarks.verify import samples
from benchmarks.verify.contenders import CLOISTER, FACADE, LIMIT, contenders, fresh
from benchmarks.verify.forged import FORGED
from benchmarks.verify.many import ManyOutcome, measure_many
from benchmarks.verify.record import as_document
from benchmarks.verify.rounds import FULL, QUICK, Effort, Outcome, measure, order
from benchmarks.verify.subject import Item, absentee
from benchmarks.verify.table import as_text
from cryptography.exceptions import InvalidSignature

from cloister.errors import CloisterError

TINY = Effort(evidence=3, batch=2, rounds=2, records=2, passes=1)
SUBJECTS = {name: make(TINY.evidence) for name, make in FORGED.items()}
OURS = {LIMIT, CLOISTER, FACADE}


def ticking() -> "itertools.count[int]":
    """A clock that is one second later each time it is looked at."""
    return itertools.count()


def outcome(**rates: list[float]) -> Outcome:
    return Outcome(
        subject="play", limit="1 check", goal=0.5, baseline="limit", rates=rates, missing={"other": "absent"}
    )


# ---------------------------------------------------------------- arithmetic
def test_ratios_are_those_of_single_rounds() -> None:
    summary = outcome(limit=[100.0, 200.0, 400.0], ours=[50.0, 180.0, 100.0]).compared("ours")
    assert (summary.lowest, summary.ratio, summary.highest) == (0.25, 0.5, 0.9)
    assert (summary.baseline, summary.candidate, summary.pairs) == (200.0, 100.0, 3)


def test_rates_are_evidence_per_second_and_getting_ready_takes_no_time() -> None:
    clock = ticking()
    found = measure(SUBJECTS["software"], TINY, clock=lambda: float(next(clock)))
    assert found.rates == {name: [2.0, 2.0] for name in (LIMIT, CLOISTER, FACADE)}


def test_order_turns_around() -> None:
    both = [absentee("a", "-"), absentee("b", "-")]
    assert [one.name for number in range(3) for one in order(both, number)] == ["a", "b", "b", "a", "a", "b"]


def test_a_full_run_has_enough_different_evidence() -> None:
    assert all(effort.evidence >= 200 for effort in (QUICK, FULL))


# ---------------------------------------------------------------- every row
@pytest.mark.parametrize("name", FORGED)
def test_evidence_is_all_different_and_bytes_are_fresh(name: str) -> None:
    items = SUBJECTS[name].items
    assert len({one.data for one in items}) == TINY.evidence
    assert all(data == one.data and data is not one.data for (data, _), one in zip(fresh(items), items, strict=True))


@pytest.mark.parametrize("name", FORGED)
def test_every_subject_is_measured_by_everybody_who_is_here(name: str) -> None:
    found = measure(SUBJECTS[name], TINY)
    assert set(found.rates) >= (OURS - {FACADE} if SUBJECTS[name].no_format else OURS)
    assert all(len(rates) == TINY.rounds and min(rates) > 0 for rates in found.rates.values())
    assert set(found.rates) | set(found.missing) == {one.name for one in contenders(SUBJECTS[name])}


@pytest.mark.parametrize("name", FORGED)
def test_whoever_verifies_refuses_what_was_altered(name: str) -> None:
    """A benchmark of something that accepts anything would be worthless."""
    subject = SUBJECTS[name]
    measured, wrong = measure(subject, TINY).rates, altered(*subject.items[:2])
    for one in contenders(subject):
        if one.name in measured and one.name != LIMIT:
            with pytest.raises((CloisterError, InvalidSignature, ValueError)):
                one.start([wrong])()


def altered(item: Item, other: Item) -> Item:
    """One byte, the first that is another in other evidence: in the report data or in a signature."""
    at = next(index for index, (one, two) in enumerate(zip(item.data, other.data, strict=False)) if one != two)
    return replace(item, data=item.data[:at] + other.data[at : at + 1] + item.data[at + 1 :])


@pytest.mark.parametrize("name", FORGED)
def test_the_limit_is_made_of_checks_that_can_fail(name: str) -> None:
    first, second = SUBJECTS[name].items[:2]
    for (verify, arguments), (_, others) in zip(first.checks, second.checks, strict=True):
        verify(*arguments)
        if len(arguments) > 1:
            with pytest.raises(InvalidSignature):
                verify(others[0], b"another message", *arguments[2:])


def test_only_what_has_no_format_is_kept_from_the_facade() -> None:
    assert [name for name, one in SUBJECTS.items() if one.no_format] == ["tpm-parts"]
    subject = SUBJECTS["tpm-parts"]
    with pytest.raises(CloisterError, match="no known evidence or container"):
        next(one for one in contenders(subject) if one.name == FACADE).start(subject.items[:1])()


# ---------------------------------------------------------------- many records
def test_many_records_are_verified_in_one_process_and_in_several() -> None:
    found = measure_many(SUBJECTS["software"], records=3, passes=1)
    assert found.summary.pairs == 1
    assert found.records == 3


def test_a_refused_record_ends_the_measurement() -> None:
    subject = SUBJECTS["software"]
    broken = replace(subject, items=tuple(replace(one, challenge=subject.items[0].challenge) for one in subject.items))
    with pytest.raises(NotMeasured, match="refused"):
        measure_many(broken, records=3, passes=1)


# ---------------------------------------------------------------- what comes out
def test_the_table_and_the_document_say_the_same() -> None:
    pairs = [Pair(baseline=10.0, candidate=19.0)]
    many = [ManyOutcome(subject="play", records=5, cores=2, pairs=pairs)]
    rates = {"limit": [100.0, 100.0], CLOISTER: [80.0, 90.0]}
    found = replace(outcome(limit=[1.0]), rates=rates)
    text = as_text([found], many)
    assert "0.85" in text
    assert "0.50" in text
    assert "not measured: absent" in text
    assert "1.90" in text
    document = json.loads(json.dumps(as_document(examine(), examine(), [found], many)))
    assert document["subjects"][0]["of_the_limit"][CLOISTER]["ratio"] == pytest.approx(0.85)
    assert document["many"][0]["per_second"] == [[10.0, 19.0]]


@pytest.mark.skipif(not samples.EVIDENCE.is_dir(), reason=f"no evidence samples at {samples.EVIDENCE}")
def test_real_evidence_is_measured() -> None:
    found = [measure(subject, TINY) for subject in samples.subjects()]
    assert len(found) == 6
    assert all(set(one.rates) >= OURS for one in found)
