"""What must hold of every session: one reading, one identity, no weakening that nobody is told of."""

import copy
import itertools
import re
from typing import Any

import jsonschema
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.forge.results import NOW
from tests.forge.sessions import (
    MEASUREMENT,
    OTHER,
    SALT,
    SIGNER,
    accepted,
    attested,
    document,
    public_pem,
    session,
    text,
    trusting,
)

from cloister.broker.release import ReleaseOutcome, ReleasePolicy
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.difference import differences
from cloister.broker.session.grammar import Word
from cloister.broker.session.provision import provision
from cloister.broker.session.read import parse_session
from cloister.broker.session.references import template_of
from cloister.broker.session.schema import json_schema
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Rule
from cloister.broker.session.strictness import at_least_as_strict
from cloister.broker.session.yaml_nodes import Place, Scalar, Table, read_yaml
from cloister.errors import PolicyError
from cloister.result.signing import SigningKey
from cloister.verification.recipe import Tcb

SCHEMA = jsonschema.Draft202012Validator(json_schema())
KEYS = [SigningKey.generate() for _ in range(3)]
PLANTED = "plantedsecretvalue"

# ------------------------------------------------------------------------------------------------- strategies

measurements = st.sampled_from([MEASUREMENT, OTHER, [MEASUREMENT, OTHER], MEASUREMENT.upper()])
statuses = st.sampled_from([[], ["OutOfDate"], ["OutOfDate", "SWHardeningNeeded"]])
advisories = st.sampled_from([[], ["INTEL-SA-00001"], ["INTEL-SA-00001", "INTEL-SA-00002"]])


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """One alternative for SGX, from few values so that two of them often meet."""
    made: dict[str, Any] = {"tee": "sgx"}
    by = draw(st.sampled_from(["measurement", "signer", "both"]))
    if by != "signer":
        made["measurement"] = draw(measurements)
    if by != "measurement":
        made |= {
            "signer": SIGNER,
            "product": draw(st.integers(6, 8)),
            "minimum_security_version": draw(st.integers(2, 4)),
        }
    if by == "measurement" and draw(st.booleans()):
        made["minimum_security_version"] = draw(st.integers(2, 4))
    tolerated = draw(statuses)
    if tolerated:
        made["tolerate"] = tolerated
        if ignored := draw(advisories):
            made["ignore_advisories"] = ignored
    if draw(st.booleans()):
        made["claims"] = {"configid": draw(st.sampled_from(["00", "01"]))}
    made["anchors"] = draw(st.sampled_from([["hardware"], ["hardware", "owner"], ["owner"]]))
    for key in ("unsafe_allow_debug", "unsafe_accept_testing"):
        if draw(st.integers(0, 3)) == 0:
            made[key] = True
    return made


secrets = st.one_of(
    st.fixed_dictionaries({"kind": st.just("ascii"), "generate": st.sampled_from([{}, {"size": 16}, {"size": 32}])}),
    st.fixed_dictionaries({"kind": st.just("aes-key"), "generate": st.sampled_from([{}, {"algorithm": "AES-128"}])}),
    st.fixed_dictionaries({"kind": st.just("ascii"), "value": st.sampled_from(["first value", "second value"])}),
    st.fixed_dictionaries({"kind": st.just("binary"), "value": st.just("hex:00ff00ff")}),
    st.fixed_dictionaries(
        {"kind": st.just("ascii"), "import": st.fixed_dictionaries({"session": st.just("b"), "secret": st.just("s")})}
    ),
    st.fixed_dictionaries({"kind": st.just("x509"), "generate": st.just({"common_name": "web", "dns": ["a.example"]})}),
)
exports = st.sampled_from([[], ["other"], [{"session": "other", "session_hash": "00" * 32}], ["other", "third"]])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A whole session that is right."""
    made: dict[str, Any] = {"name": draw(st.sampled_from(["team/app", "app"])), "version": "1", "salt": SALT}
    names = ["one", "two", "three"][: draw(st.integers(1, 3))]
    made["secrets"] = [{"name": name, **draw(secrets)} for name in names]
    for secret in made["secrets"]:
        wanted = draw(exports)
        if wanted and "import" not in secret:
            secret["export"] = wanted
    made["services"] = [
        {
            "name": name,
            "attestation": draw(st.lists(rules(), min_size=1, max_size=3)),
            "secrets": draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)),
            "environment": {"MODE": draw(st.sampled_from(["a", "b", "yes", "1", "", "é"]))},
        }
        for name in ["web", "job"][: draw(st.integers(1, 2))]
    ]
    if draw(st.booleans()):
        keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique_by=id))
        people = [{"name": f"owner{KEYS.index(key)}", "key": public_pem(key)} for key in keys]
        made["approvals"] = {"threshold": draw(st.integers(1, len(keys))), "owners": people}
    if draw(st.booleans()):
        made["access_policy"] = {
            "read": draw(st.sampled_from([["CREATOR"], ["ANY"], ["NONE"], ["ab" * 32, "CREATOR"]]))
        }
    return made


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
                holder[key] = draw(junk)
        elif holder:
            holder[draw(st.integers(0, len(holder) - 1))] = draw(junk)
    return made


def containers(value: Any) -> Any:
    if isinstance(value, dict | list):
        yield value
        for one in value.values() if isinstance(value, dict) else value:
            yield from containers(one)


# ------------------------------------------------------------------------------------------------- reading


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


# ------------------------------------------------------------------------------------------------- identity


@given(documents(), st.randoms())
def test_order_is_no_part_of_the_identity(made: dict[str, Any], random: Any) -> None:
    shuffled = copy.deepcopy(made)
    for members in (shuffled["services"], shuffled["secrets"], *(one["attestation"] for one in shuffled["services"])):
        random.shuffle(members)
    assert session_hash(session(made)) == session_hash(session(shuffled))
    assert session_hash(session(dict(reversed(made.items())))) == session_hash(session(made))


@given(documents(), documents())
def test_sessions_differ_where_their_identities_do(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = session(one), session(other)
    assert (session_hash(first) == session_hash(second)) is (not differences(first, second))


# ------------------------------------------------------------------------------------------------- weakening


def read_rule(made: dict[str, Any]) -> Rule:
    data = document()
    data["services"][0]["attestation"] = [made]
    return session(data).services[0].attestation[0]


@given(rules(), rules(), rules())
def test_strictness_is_an_order(first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]) -> None:
    one, two, three = map(read_rule, (first, second, third))
    assert at_least_as_strict(one, one)
    if at_least_as_strict(one, two) and at_least_as_strict(two, three):
        assert at_least_as_strict(one, three)


@st.composite
def results(draw: st.DrawFn) -> Any:
    """What a program may attest: near the values that `rules` demands."""
    return attested(
        claims={
            "mrenclave": draw(st.sampled_from([MEASUREMENT, OTHER])),
            "mrsigner": SIGNER,
            "isvprodid": draw(st.integers(6, 8)),
            "isvsvn": draw(st.integers(1, 4)),
            "configid": draw(st.sampled_from(["00", "01"])),
            "debug": draw(st.sampled_from([False, False, True])),
        },
        basis={
            "anchor_kind": draw(st.sampled_from(["hardware", "hardware", "owner", "testing"])),
            "tcb": Tcb(
                status=draw(st.sampled_from(["UpToDate", "OutOfDate", "SWHardeningNeeded"])),
                advisories=tuple(draw(advisories)),
            ),
        },
    )


def gets(made: dict[str, Any], result: Any) -> set[str]:
    policy = ReleasePolicy(session(made), trusting())
    return set(policy.decide(accepted(policy, result), at=NOW).secrets)


@settings(max_examples=300)
@given(documents(), documents(), st.lists(results(), min_size=1, max_size=4))
def test_no_update_lets_somebody_in_without_saying_that_it_weakens(
    old: dict[str, Any], new: dict[str, Any], tried: list[Any]
) -> None:
    new["name"] = old["name"]
    new["secrets"] = copy.deepcopy(old["secrets"])
    known = {one["name"] for one in old["secrets"]}
    for service in new["services"]:
        service["secrets"] = sorted(known & set(service["secrets"]) or known)
    if any(one.weakens for one in differences(session(old), session(new))):
        return
    for result in tried:
        assert gets(new, result) <= gets(old, result)


@given(rules(), rules(), st.lists(results(), min_size=1, max_size=4))
def test_whoever_a_stricter_rule_lets_in_the_other_would_too(
    one: dict[str, Any], other: dict[str, Any], tried: list[Any]
) -> None:
    if not at_least_as_strict(read_rule(one), read_rule(other)):
        return
    data = document()
    for result in tried:
        answers = []
        for rule in (one, other):
            data["services"][0]["attestation"] = [rule]
            answers.append(gets(data, result))
        assert answers[0] <= answers[1]


# ------------------------------------------------------------------------------------------------- releasing


@given(st.lists(rules(), min_size=1, max_size=3), results())
def test_nothing_is_released_that_no_rule_names(made: list[dict[str, Any]], result: Any) -> None:
    data = document()
    data["services"][0]["attestation"] = made
    policy = ReleasePolicy(session(data), trusting())
    decision = policy.decide(accepted(policy, result), at=NOW)
    if decision.outcome is not ReleaseOutcome.RELEASE:
        assert (decision.secrets, decision.recipient, decision.services) == ((), b"", ())
        return
    claims: Any = result.submodules["cpu0"].evidence["sgx"]
    assert any(
        ("measurement" not in rule or claims["mrenclave"] in str(rule["measurement"]).lower())
        and rule.get("product", claims["isvprodid"]) == claims["isvprodid"]
        and rule.get("minimum_security_version", 0) <= claims["isvsvn"]
        and (claims["debug"] is False or rule.get("unsafe_allow_debug"))
        for rule in made
    )


# ------------------------------------------------------------------------------------------------- references


@given(
    st.lists(st.sampled_from(["$$SCONE::pin$$", "$$CLOISTER::pin:hex$$", "$", "$$", "a", ":", "pin", " "]), max_size=8)
)
def test_a_text_is_cut_without_losing_anything(pieces: list[str]) -> None:
    word = Word("".join(pieces), Place("s"))
    try:
        made = template_of(word)
    except PolicyError:
        return
    whole = "".join(part if isinstance(part, str) else "?" for part in made.parts)
    assert whole == re.sub(r"\$\$(SCONE|CLOISTER)::pin(:hex)?\$\$", "?", word.text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.encode))
def test_values_are_put_in_as_they_are(value: bytes) -> None:
    read = session(document())
    for hostile in (value, b"$$SCONE::pin$$" + value):
        got = provision(read, read.services[0], {"token": SecretValue(hostile)})
        assert got.command[2].reveal() == hostile
