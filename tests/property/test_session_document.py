"""A session read from its canonical form means what the session means, and knows no value that was not at hand."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.forge.session_strategies import documents
from tests.forge.sessions import document as as_data
from tests.forge.sessions import session, text

from cloister.broker.session.canonical import document, session_hash
from cloister.broker.session.difference import differences
from cloister.broker.session.read import parse_session
from cloister.broker.session.read_document import session_of_document
from cloister.errors import ParseError


@given(documents())
def test_a_session_does_not_differ_from_its_canonical_form(data: dict[str, Any]) -> None:
    made = parse_session(text(data), "x.yaml")
    again = session_of_document(document(made), "in effect", made)
    assert not differences(again, made)
    assert not differences(made, again)
    assert document(replace(again, salt=made.salt)) == document(made)


@given(documents(), documents())
def test_differences_are_those_of_the_files(before: dict[str, Any], after: dict[str, Any]) -> None:
    old, new = parse_session(text(before), "x.yaml"), parse_session(text(after), "x.yaml")
    shown = session_of_document(document(old), "x.yaml", new)
    wanted, found = ([(one.text, one.weakens) for one in differences(each, new)] for each in (old, shown))
    assert sorted(found) == sorted(wanted)


def test_without_the_salt_no_value_is_known() -> None:
    made = session()
    stranger = parse_session(text(as_data(salt="ff" * 16)), "x.yaml")
    for known in (None, stranger):
        shown = session_of_document(document(made), "in effect", known)
        assert [one.text for one in differences(shown, made)] == ["the value of `pin` changed"]
        assert made.values["pin"] not in list(shown.values.values())


def test_a_renamed_value_is_recognised() -> None:
    """Else an update could hand a secret to somebody else under another name without being marked."""
    data = as_data()
    data["secrets"][1]["name"] = "moved"
    data["services"][0]["secrets"] = ["moved"]
    new = session(data)
    shown = session_of_document(document(session()), "in effect", new)
    assert any("`moved` is what `pin` was" in one.text for one in differences(shown, new))
    assert session_hash(new) != session_hash(session())


JUNK: st.SearchStrategy[Any] = st.sampled_from([None, 1, "x", [], {}, [None], [{}], {"x": 1}, True])


@given(st.data())
def test_what_is_no_canonical_form_is_refused(data: st.DataObject) -> None:
    """Whatever a broker answers, it is a session or ParseError."""
    value: Any = document(session())
    at = value
    for _ in range(data.draw(st.integers(0, 4))):
        if isinstance(at, list) and at:
            at = at[data.draw(st.integers(0, len(at) - 1))]
        elif isinstance(at, dict) and at:
            below = at[data.draw(st.sampled_from(sorted(at)))]
            if not isinstance(below, list | dict):
                break
            at = below
    if isinstance(at, dict) and at:
        key = data.draw(st.sampled_from(sorted(at)))
        if data.draw(st.booleans()):
            del at[key]
        else:
            at[key] = data.draw(JUNK)
    with contextlib.suppress(ParseError):
        session_of_document(value, "in effect")


@pytest.mark.parametrize("value", [None, [], "x", {}, {"name": "x"}])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(ParseError):
        session_of_document(value, "in effect")
