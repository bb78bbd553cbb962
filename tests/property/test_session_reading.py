"""Reading sessions: one reading, errors that say where and quote no value, and a schema that agrees."""

import copy
import itertools
import re
from typing import Any

import jsonschema
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.forge.session_strategies import documents
from tests.forge.sessions import (
    session,
    text,
)

from cloister._yaml import Scalar, Table, read_yaml
from cloister.broker.session.read import parse_session
from cloister.broker.session.schema import json_schema
from cloister.errors import PolicyError

SCHEMA = jsonschema.Draft202012Validator(json_schema())
PLANTED = "plantedsecretvalue"

junk: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        "",
        "x",
        "no",
        "1",
        PLANTED,
        "$$SCONE::nowhere$$",
        [],
        {},
        [[]],
        {"a": "b"},
        "\0",
        "\u202e",
    ]
)


@st.composite
def broken(draw: st.DrawFn) -> dict[str, Any]:
    """A session in which something was replaced, removed or added."""
    made = copy.deepcopy(draw(documents()))
    for _ in range(draw(st.integers(0, 3))):
        holders = list(containers(made))
        holder = draw(st.sampled_from(holders))
        if isinstance(holder, dict):
            key = draw(st.sampled_from([*holder, "more", "tee", "value"]))
            if draw(st.booleans()):
                holder.pop(key, None)
            else:
                holder[key] = copy.deepcopy(draw(junk))
        elif holder:
            holder[draw(st.integers(0, len(holder) - 1))] = copy.deepcopy(draw(junk))
    return made


def containers(value: Any) -> Any:
    if isinstance(value, dict | list):
        yield value
        for one in value.values() if isinstance(value, dict) else value:
            yield from containers(one)


@given(documents())
def test_what_is_right_is_read_and_fits_the_schema(made: dict[str, Any]) -> None:
    session(made)
    assert not list(SCHEMA.iter_errors(made))


@settings(max_examples=400)
@given(broken())
def test_what_the_parser_accepts_the_schema_accepts(made: dict[str, Any]) -> None:
    said = refusal(text(made))
    if said:
        assert re.match(r"s\.yaml:\d+:\d+: \S", said)
        assert PLANTED not in said
    else:
        assert not list(SCHEMA.iter_errors(made))


def refusal(data: bytes) -> str:
    """What the parser says against it; empty if it is a session."""
    try:
        parse_session(data, "s.yaml")
    except PolicyError as error:
        return str(error)
    return ""


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert list(SCHEMA.iter_errors({"name": "a"}))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert re.match(r"s\.yaml:\d+:\d+: ", refusal(data)), "no session is that short"


yaml_pieces = st.sampled_from(
    [
        "a",
        "b: c",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "'",
        '"',
        "|\n",
        ">\n",
        "\n",
        "  ",
        "#",
        "&a",
        "*a",
        "!t",
        "?",
        "%",
        "\\",
    ]
)


@given(st.lists(yaml_pieces, max_size=30).map("".join))
def test_what_is_read_is_what_another_reader_reads(data: str) -> None:
    """Where ours reads anything, PyYAML reads the same shape and the same words."""
    try:
        mine = read_yaml(data.encode(), "s")
    except PolicyError:
        return
    other = yaml.compose(data, Loader=yaml.SafeLoader)
    assert words(mine) == [token.value for token in scalars(other)]


def words(node: Any) -> list[str]:
    if isinstance(node, Scalar):
        return [node.text]
    inner = itertools.chain(*node.entries) if isinstance(node, Table) else node.items
    return [word for one in inner for word in words(one)]


def scalars(node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        yield node
    else:
        for one in node.value:
            yield from itertools.chain.from_iterable(map(scalars, one)) if isinstance(one, tuple) else scalars(one)


@given(
    st.text("0123456789abcdefxobyesnoNull~.:_-+TZ", min_size=1, max_size=12)
    | st.sampled_from(
        ["yes", "No", "ON", "off", "y", "N", "true", "Null", "~", ".inf", "-.INF", ".NaN", "0x1f", "0o17"]
    )
    | st.sampled_from(["010", "0b1", "1_000", "1e3", "1.", ".5", "+1", "1:20", "1:20:30.5", "2026-01-31", "=", "<<"])
    | st.datetimes().map(str)
)
def test_plain_words_are_text_only_where_every_reader_agrees(word: str) -> None:
    try:
        read = read_yaml(f"- {word}\n".encode(), "s")
    except PolicyError:
        return
    node = read.items[0]  # type: ignore[union-attr]
    if not isinstance(node, Scalar) or not node.plain:
        return
    try:
        mine = node.as_text()
    except PolicyError:
        return
    assert yaml.safe_load(f"- {word}\n") == [mine]
    assert not re.fullmatch(
        r"[-+]?(0o[0-7]+|[0-9]+([eE][-+]?[0-9]+)?)|[yYnN]", word
    )  # YAML 1.2, and YAML 1.1's letters
