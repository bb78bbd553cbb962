"""Attacks on what owners agreed to: forged and reused approvals, and updates that weaken without a word."""

from dataclasses import replace
from typing import Any

import pytest
from tests.forge.sessions import (
    MEASUREMENT,
    OTHER,
    document,
    public_pem,
    session,
    text,
)

from cloister.broker.session.approval import Approval, agreement, approval_json, parse_approval, sign_approval
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.difference import differences
from cloister.broker.session.read import parse_session
from cloister.broker.session.session import Session
from cloister.errors import BindingInvalid, ParseError, PolicyError, SignatureInvalid
from cloister.result.algorithms import Algorithm
from cloister.result.signing import SigningKey

ALICE, BOB, MALLORY = (SigningKey.generate(Algorithm.EDDSA) for _ in range(3))


def refusal(data: bytes) -> str:
    with pytest.raises(PolicyError) as caught:
        parse_session(data, "s.yaml")
    return str(caught.value)


def owned(threshold: int = 2, *keys: SigningKey, **changes: Any) -> Session:
    people = [{"name": f"owner{n}", "key": public_pem(key)} for n, key in enumerate(keys or (ALICE, BOB))]
    return session(approvals={"threshold": threshold, "owners": people}, **changes)


# ------------------------------------------------------------------------------------------------- forged consent


def test_the_control_these_approvals_do_count() -> None:
    made = owned()
    assert agreement(made, None, [sign_approval(made, ALICE), sign_approval(made, BOB)]).reached


def test_an_approval_of_another_session() -> None:
    made, other = owned(), owned(name="team/other")
    with pytest.raises(BindingInvalid, match="of another session"):
        agreement(made, None, [sign_approval(other, ALICE)])


def test_an_approval_of_another_version() -> None:
    made, other = owned(), owned(access_policy={"read": ["ANY"]})
    with pytest.raises(BindingInvalid, match="another version"):
        agreement(made, None, [sign_approval(other, ALICE)])


def test_an_approval_cannot_be_used_again_later_in_the_history() -> None:
    """v1 -> v2 -> back to v1's content: what the owners signed for v1 brings it back for nobody."""
    first = owned(1)
    second = owned(1, predecessor=session_hash(first), access_policy={"read": ["ANY"]})
    third = owned(1, predecessor=session_hash(second))
    for old in (sign_approval(first, ALICE), sign_approval(second, ALICE)):
        with pytest.raises(BindingInvalid):
            agreement(third, second, [old])
    with pytest.raises(PolicyError, match="the current session is"):
        agreement(first, second, [sign_approval(first, ALICE)])


def test_an_approval_relabelled_for_this_session() -> None:
    made, other = owned(), owned(name="team/other")
    stolen = sign_approval(other, ALICE)
    relabelled = replace(stolen, session=made.name, hash=session_hash(made), predecessor="")
    with pytest.raises(SignatureInvalid):
        agreement(made, None, [relabelled])
    with pytest.raises(BindingInvalid, match="another place in its history"):
        agreement(made, None, [replace(sign_approval(made, ALICE), predecessor="00" * 32)])


def test_an_approval_in_somebody_else_s_name() -> None:
    made = owned()
    own, victim = sign_approval(made, MALLORY), sign_approval(made, ALICE)
    with pytest.raises(BindingInvalid, match="has no say"):
        agreement(made, None, [own])
    with pytest.raises(SignatureInvalid):
        agreement(made, None, [replace(own, owner=victim.owner)])
    bob = sign_approval(made, BOB)
    with pytest.raises(SignatureInvalid):
        agreement(made, None, [replace(victim, owner=bob.owner)])


@pytest.mark.parametrize("key", [ALICE, SigningKey.generate(Algorithm.ES256), SigningKey.generate(Algorithm.PS256)])
def test_no_approval_with_one_bit_changed_counts(key: SigningKey) -> None:
    made = owned(1, key)
    good = sign_approval(made, key)
    assert agreement(made, None, [good]).reached
    for bit in range(0, len(good.signature) * 8, 13):
        changed = bytearray(good.signature)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureInvalid):
            agreement(made, None, [replace(good, signature=bytes(changed))])


def test_no_changed_character_of_an_approval_s_file_counts() -> None:
    made = owned(1)
    data = approval_json(sign_approval(made, ALICE)).encode()
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises((ParseError, BindingInvalid, SignatureInvalid)):
            agreement(made, None, [parse_approval(changed, "a.json")])


def test_an_empty_signature() -> None:
    made = owned()
    good = sign_approval(made, ALICE)
    for signature in (b"", b"\0" * 64, good.signature + b"\0", good.signature[:-1]):
        with pytest.raises(SignatureInvalid):
            agreement(made, None, [replace(good, signature=signature)])


def test_one_owner_does_not_count_as_two() -> None:
    made = owned()
    approvals: list[Approval] = [sign_approval(made, ALICE) for _ in range(5)]
    assert not agreement(made, None, approvals).reached
    twice = document(approvals={"threshold": 2, "owners": [{"name": n, "key": public_pem(ALICE)} for n in ("a", "b")]})
    assert "count as two" in refusal(text(twice))


def test_an_update_cannot_choose_who_approves_it() -> None:
    old = owned(2)
    for update in (
        owned(1, MALLORY, predecessor=session_hash(old)),
        session(predecessor=session_hash(old)),
    ):
        assert agreement(update, old, []).needed == 2
        with pytest.raises(BindingInvalid, match="has no say"):
            agreement(update, old, [sign_approval(update, MALLORY)])


# ------------------------------------------------------------------------------------------------- quiet weakening


def weakens(new: dict[str, Any], old: dict[str, Any] | None = None) -> bool:
    return any(one.weakens for one in differences(session(old or document()), session(new)))


def quiet(name: str) -> dict[str, Any]:
    """Updates that give the attacker's program a secret without touching the entry of the service that had it."""
    made = document()
    spy = {"name": "spy", "attestation": [{"tee": "sgx", "measurement": OTHER}]}
    if name == "a new service":
        made["services"].append(spy | {"secrets": ["pin"]})
    elif name == "inside another secret":
        made["secrets"].append({"name": "wrapped", "kind": "ascii", "value": "x$$SCONE::token$$"})
        made["services"].append(spy | {"environment": {"A": "$$SCONE::wrapped:base64$$"}})
    elif name == "inside another secret, exported":
        made["secrets"].append({"name": "w", "kind": "ascii", "value": "x$$SCONE::token$$", "export": ["spy"]})
    elif name == "inside two others, exported":
        made["secrets"].append({"name": "w", "kind": "ascii", "value": "x$$SCONE::token$$"})
        made["secrets"].append({"name": "v", "kind": "ascii", "value": "x$$SCONE::w$$", "export": ["spy"]})
    elif name == "under a new name":
        made["secrets"].append({"name": "copy", "kind": "ascii", "value": "correct horse"})
        made["services"].append(spy | {"secrets": ["copy"]})
    elif name == "under a new name, the old one gone":
        made["secrets"][1] = {"name": "copy", "kind": "ascii", "value": "correct horse", "export": ["spy"]}
        made["services"][0]["secrets"] = ["copy"]
    elif name == "a value that the attacker knows":
        made["secrets"][0] = {"name": "token", "kind": "ascii", "value": "known to mallory"}
    else:
        made["secrets"][0] = {"name": "token", "kind": "ascii", "import": {"session": "spy", "secret": "token"}}
    return made


@pytest.mark.parametrize(
    "name",
    [
        "a new service",
        "inside another secret",
        "inside another secret, exported",
        "inside two others, exported",
        "under a new name",
        "under a new name, the old one gone",
        "a value that the attacker knows",
        "a value that the attacker makes",
    ],
)
def test_a_secret_cannot_get_out_quietly(name: str) -> None:
    assert weakens(quiet(name))


def test_two_strict_alternatives_do_not_allow_a_mixture() -> None:
    """Either this measurement with an old platform, or that one with a new: not that one with an old."""
    strict, old_platform = {"tee": "sgx", "measurement": MEASUREMENT, "tolerate": ["OutOfDate"]}, document()
    old_platform["services"][0]["attestation"] = [strict, {"tee": "sgx", "measurement": OTHER}]
    mixed = document()
    mixed["services"][0]["attestation"] = [strict, strict | {"measurement": OTHER}]
    assert weakens(mixed, old_platform)


def test_measurements_that_look_alike_where_they_are_shortened() -> None:
    """Whoever finds a program whose measurement begins with the same 16 digits is not let in unnoticed."""
    other = document()
    other["services"][0]["attestation"][0]["measurement"] = MEASUREMENT[:32] + OTHER[32:]
    assert [one.text for one in differences(session(), session(other)) if one.weakens and "`pin`" in one.text]
