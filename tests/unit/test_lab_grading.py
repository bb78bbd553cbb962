"""What the exercises' graders make of a record: only what happened, in an order in which it can have worked."""

from typing import Any

import pytest

from cloister.app.lab.exercises.catalogue import EXERCISES, exercise_of
from cloister.app.lab.exercises.grading import GRADERS, Demand
from cloister.app.lab.exercises.record import Belief, Record
from cloister.app.lab.exercises.secret import Secret, forms_of, is_right, new_secret
from cloister.errors import UsageError

STARTED = [{"who": "program", "text": "ready"}, {"who": "program", "text": "kept"}]
Events = list[dict[str, Any]]


def admin(line: str, *, refused: bool = False, secret: bool = False) -> dict[str, Any]:
    words = line.split()
    return {"who": "administrator", "words": words, "places": words[1:], "refused": refused, "secret": secret}


def says(letter: str, answer: str | None = None) -> Events:
    told = [] if answer is None else [{"who": "program", "text": answer}]
    return [{"who": "owner", "text": letter}, *told]


def stopped(why: str) -> dict[str, Any]:
    return {"who": "machine", "ended": why, "stopped": True}


def faults(*names: str) -> dict[str, Any]:
    return {"who": "host", "faults": list(names)}


def graded(number: int, **machines: Events) -> list[Demand]:
    names = EXERCISES[number].machines
    records = {name: Record(name, STARTED + machines.get(name.replace("-", "_"), [])) for name in names}
    return list(GRADERS[number](records))


def done(number: int, **machines: Events) -> list[bool]:
    return [one.met for one in graded(number, **machines)]


def test_every_exercise_has_a_grader_a_text_and_hints() -> None:
    assert GRADERS.keys() == EXERCISES.keys()
    for number, exercise in EXERCISES.items():
        text = exercise.text("the-folder")
        assert text.startswith(f"# Exercise {number}: ")
        for part in ("Goal: ", "Attack: ", "Defence: ", "Stands for: "):
            assert part in text, (number, part)
        hints = exercise.hints("the-folder")
        assert len(hints) >= 2
        assert "the-folder/" in "".join([text, *hints])
        assert "{folder}" not in "".join([text, *hints])
        assert not any(hint in text for hint in hints), "hints are given on request"


@pytest.mark.parametrize("number", EXERCISES)
def test_nothing_is_done_at_the_start(number: int) -> None:
    assert not any(done(number))


def test_no_such_exercise() -> None:
    for word in ("0", "8", "x", "", "-1", "²", "99999999999"):
        with pytest.raises(UsageError, match="there is no exercise"):
            exercise_of(word)


REPLAYED = [admin("keep balance n"), *says("w", "taken"), admin("put balance n"), *says("b")]
INTEGRITY = stopped("integrity: physical page 0x1: the tag does not fit")


def test_replay() -> None:
    assert done(3, sev=[*says("w", "taken"), *says("b", "1000")], sgx=[*REPLAYED, INTEGRITY]) == [True] * 4


@pytest.mark.parametrize(
    "sgx",
    [
        REPLAYED,
        [*says("w", "taken"), admin("keep balance n"), admin("put balance n"), *says("b"), INTEGRITY],
        [admin("keep balance n"), admin("put balance n"), *says("w", "taken"), INTEGRITY],
        [admin("keep riches n"), *says("w", "taken"), admin("put riches n"), *says("b"), INTEGRITY],
        [*REPLAYED, {"who": "machine", "ended": "it ended by itself with status 0", "stopped": False}],
        [*REPLAYED, stopped("out of memory")],
        [admin("flip balance 3"), *says("b"), INTEGRITY],
    ],
)
def test_what_is_no_defence_against_replay(sgx: Events) -> None:
    assert not all(done(3, sgx=sgx)[2:])


@pytest.mark.parametrize(
    "sev",
    [
        says("b", "1000"),
        [*says("w", "taken"), *says("b", "100")],
        [*says("w", "taken"), *says("d", "put back"), *says("b", "1000")],
        [*says("w", "taken"), *says("d", "put back"), *says("w", "taken"), *says("b", "100")],
        [*says("w", "taken"), *says("b", "5918623")],
    ],
)
def test_what_is_no_replay(sev: Events) -> None:
    assert not all(done(3, sev=sev)[:2])


def test_beliefs_follow_the_owners_words() -> None:
    record = Record(
        "sev", [*STARTED, *says("w", "taken"), *says("w", "taken"), *says("d", "put back"), *says("b", "7")]
    )
    assert record.beliefs() == [Belief(7, 1000)], "with 100 left, the second payment is not made"


def test_remapping() -> None:
    remap = admin("remap balance riches")
    snp = [remap, *says("b"), stopped("tee: #NPF with the RMP bit")]
    assert done(4, sev=[remap, *says("b", "1000000")], sev_snp=snp) == [True] * 3
    assert done(4, sev=says("b", "1000000"), sev_snp=snp)[0] is False, "without a remap"
    refused = [admin("remap balance riches", refused=True), *says("b", "1000000")]
    assert done(4, sev=refused)[0] is False
    assert done(4, sev_snp=[*says("b"), stopped("tee: #NPF"), remap])[2] is True
    assert done(4, sev_snp=[remap, *says("b", "1000000"), stopped("tee: #NPF")])[2] is False, "it was misled first"
    assert done(4, sev_snp=[*says("b"), stopped("tee: #NPF")])[1:] == [False, False]


TRACE = admin("trace walk bit_set bit_clear")
LEAK = [TRACE, *says("c"), faults("walk", "bit_set"), {"who": "program", "text": "walked"}]
RIGHT = {"who": "grader", "right": True}


def test_page_faults() -> None:
    quiet = [TRACE, *says("o", "walked"), faults("walk"), admin("faults")]
    assert done(5, sgx=[*LEAK, RIGHT, *quiet]) == [True] * 3
    assert done(5, sgx=[*LEAK, *quiet]) == [True, False, True]
    assert done(5, sgx=[RIGHT, *quiet]) == [False, True, False], "a defence against what was never tried"
    assert done(5, sgx=[*LEAK, RIGHT, *quiet[:-1]])[2] is False, "nobody looked"
    assert done(5, sgx=[*LEAK, RIGHT, admin("trace walk"), *quiet[1:]])[2] is False, "the pages were not traced"
    assert done(5, sgx=[*LEAK, RIGHT, TRACE, *says("o"), faults("bit_set"), admin("faults")])[2] is False
    assert done(5, sgx=[*says("c"), faults("bit_set"), TRACE])[0] is False, "traced afterwards"


def test_reading_and_registers_need_to_have_shown_it() -> None:
    looks = [admin("read secret"), admin("dma-read secret"), RIGHT]
    assert done(2, native=looks)[:3] == [False, False, True]
    shown = [admin("read secret", secret=True), admin("dma-read secret", secret=True), RIGHT]
    assert done(2, native=shown, sgx=looks[:2]) == [True] * 5
    assert done(2, sgx=shown[:2])[3:] == [False, False], "on this machine it must not be shown"
    assert done(2, sgx=[admin("read balance"), admin("dma-read riches")])[3:] == [False, False]
    tries = [admin("interrupt 500"), *says("r", "computed"), admin("registers")]
    assert done(6, sev=[admin("registers", secret=True), RIGHT], sev_es=tries) == [True] * 3
    assert done(6, sev_es=[tries[-1], *tries[:-1]])[2] is False, "looked at before"


def test_a_lie_must_have_been_told_and_believed() -> None:
    shield = stopped("the untrusted host answered CONSOLE_READ with what cannot be true")
    forge = admin("forge 1048576")
    assert done(7, native=[forge, *says("i", "1048576")], sgx=[forge, *says("b", "1000"), shield]) == [True] * 3
    assert done(7, native=[forge, *says("i", "1")], sgx=[*says("b"), shield]) == [False] * 3
    assert done(7, native=says("i", "1048576"))[0] is False
    assert done(7, sgx=[forge, stopped("out of memory")])[2] is False


def test_cold_boot_needs_the_answer_and_a_look() -> None:
    assert done(1, trustzone=[{"who": "grader", "right": False}]) == [False, False]
    assert done(1, trustzone=[RIGHT], sev=[admin("dram secret")]) == [True, True]
    assert done(1, sev=[admin("dram balance")]) == [False, False]
    assert done(1, sev=[admin("search PIN-", secret=True)]) == [False, False]


@pytest.mark.parametrize("kind", Secret)
def test_secrets(kind: Secret) -> None:
    secrets = {new_secret(kind) for _ in range(50)}
    assert len(secrets) == 50
    one, other = sorted(secrets)[:2]
    assert b"\n" not in one
    for form in forms_of(kind, one):
        assert is_right(kind, one, form)
        assert is_right(kind, one, f" {form}\n")
        assert not is_right(kind, other, form)
        assert not is_right(kind, one, form[:-1])
    for wrong in ("", " ", "é", "0" * 10_000):
        assert not is_right(kind, one, wrong)
