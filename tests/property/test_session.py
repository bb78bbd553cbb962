"""What must hold of every session: one identity, no weakening that nobody is told of, no release that nothing names."""

import copy
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.forge.results import NOW
from tests.forge.session_strategies import advisories, documents, rules
from tests.forge.sessions import (
    MEASUREMENT,
    OTHER,
    SIGNER,
    accepted,
    attested,
    document,
    session,
    trusting,
)

from cloister._yaml import Place
from cloister.broker.release import ReleaseOutcome, ReleasePolicy
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.difference import differences
from cloister.broker.session.grammar import Word
from cloister.broker.session.provision import provision
from cloister.broker.session.references import template_of
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Rule
from cloister.broker.session.strictness import at_least_as_strict
from cloister.errors import PolicyError
from cloister.verification.recipe import Tcb

# ------------------------------------------------------------------------------------------------- identity


@given(documents(), st.randoms())
def test_order_is_no_part_of_the_identity(made: dict[str, Any], random: Any) -> None:
    shuffled = copy.deepcopy(made)
    for members in (shuffled["services"], shuffled["secrets"], *(one["attestation"] for one in shuffled["services"])):
        random.shuffle(members)
    assert session_hash(session(made)) == session_hash(session(shuffled))
    assert session_hash(session(dict(reversed(made.items())))) == session_hash(session(made))


@given(documents())
def test_a_session_does_not_differ_from_itself(made: dict[str, Any]) -> None:
    assert differences(session(made), session(copy.deepcopy(made))) == ()


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
