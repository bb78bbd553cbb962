"""Configurations of frameworks: what is written is read again, and no conversion drops anything in silence."""

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.forge.framework_strategies import configurations
from tests.forge.frameworks import FULL

from cloister.errors import PolicyError, UsageError
from cloister.frameworks.conversion import Outcome, convert, name_of
from cloister.frameworks.danger import findings
from cloister.frameworks.formats import FORMATS, Format, detect, read_configuration
from cloister.frameworks.model import Configuration

PAIRS = list(itertools.permutations(FORMATS, 2))


def again(configuration: Configuration, form: Format) -> Configuration:
    """The configuration after it was written in that format and read."""
    service = configuration.service if form.read_service is not None else None
    return read_configuration(form.write(configuration), "made", form.name, service)


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@settings(max_examples=40)
@given(made=configurations())
def test_what_a_format_can_say_is_read_as_it_was_written(form: Format, made: Configuration) -> None:
    once = again(made, form)
    twice = again(once, form)
    assert dict(twice.items()) == dict(once.items())
    assert [(one.path, one.value) for one in twice.kept] == [(one.path, one.value) for one in once.kept]
    assert not [one for one in once.kept if not one.known], "the writer wrote a key that its own table does not have"


@settings(max_examples=120)
@given(made=configurations(), pair=st.sampled_from(PAIRS))
def test_there_and_back_keeps_what_both_sides_share(made: Configuration, pair: tuple[str, str]) -> None:
    here, there = (FORMATS[name] for name in pair)
    before = again(made, here)
    between = again(before, there)
    after = dict(again(between, here).items())
    shared = {item for item, value in before.items() if dict(between.items()).get(item, between) == value}
    assert {item: value for item, value in before.items() if item in shared and after.get(item) != value} == {}


@settings(max_examples=120)
@given(made=configurations(), to=st.sampled_from(list(FORMATS)))
def test_everything_that_is_not_kept_is_named(made: Configuration, to: str) -> None:
    found = convert(made, to)
    kept = dict(again(made, FORMATS[to]).items())
    named = {one.item for one in found.differences if one.outcome in {Outcome.LOST, Outcome.CHANGED}}
    assert named == {name_of(item) for item, value in made.items() if item not in kept or kept[item] != value}
    assert all(one.reason for one in found.differences)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_of_a_full_file_everything_is_kept_or_named(source: str, target: str) -> None:
    before = read_configuration(FULL[source], "full", source, "web" if FORMATS[source].read_service else None)
    found = convert(before, target)
    named = {one.item for one in found.losses}
    kept = dict(again(before, FORMATS[target]).items())
    assert {name_of(item) for item, value in before.items() if kept.get(item) != value} <= named
    assert all(one.place.startswith("full:") for one in found.losses), "a loss without its line"
    for one in before.kept:
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in one.path).removeprefix(".")
        assert any(text.startswith(item) for item in named), text


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_file_survives_its_own_format(form: str) -> None:
    before = read_configuration(FULL[form], "full", form, "web" if FORMATS[form].read_service else None)
    after = again(before, FORMATS[form])
    assert dict(after.items()) == dict(before.items())
    assert {(str(one.path[-1]), str(one.value)) for one in after.kept} == {
        (str(one.path[-1]), str(one.value)) for one in before.kept
    }
    assert not convert(before, form).losses


@settings(max_examples=200)
@given(text=st.text(max_size=200), form=st.sampled_from(list(FORMATS)))
def test_any_text_is_read_or_refused(text: str, form: str) -> None:
    with contextlib.suppress(PolicyError, UsageError):
        findings(read_configuration(text, "any", form))


@settings(max_examples=200)
@given(data=st.data(), form=st.sampled_from(list(FORMATS)))
def test_a_damaged_file_is_read_or_refused(data: st.DataObject, form: str) -> None:
    """A line less, a line twice, or a value that is another one."""
    lines = FULL[form].splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    other = data.draw(st.sampled_from(["", lines[at] * 2, lines[at].replace('"', ""), lines[at].replace("1", "x")]))
    text = "".join([*lines[:at], other, *lines[at + 1 :]])
    service = "web" if FORMATS[form].read_service else None
    with contextlib.suppress(PolicyError, UsageError):
        convert(read_configuration(text, "damaged", form, service), form)


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_is_recognised(form: str) -> None:
    assert detect(FULL[form], "a file") == form


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=20)
@given(made=configurations())
def test_everything_that_is_written_can_be_seen(form: str, made: Configuration) -> None:
    """No character that changes the direction of text, hides, or moves a terminal's cursor."""
    assert all(one.isprintable() or one == "\n" for one in FORMATS[form].write(made))
