"""What an update changes, in words, and which of it weakens."""

from typing import Any

import pytest
from tests.forge.sessions import MEASUREMENT, OTHER, SIGNER, document, public_pem, session

from cloister.broker.session.difference import Change, differences
from cloister.result.signing import SigningKey

ALICE, BOB, CAROL = (SigningKey.generate() for _ in range(3))
RULE = {"tee": "sgx", "measurement": MEASUREMENT}
SIGNED = {"tee": "sgx", "signer": SIGNER, "product": 7, "minimum_security_version": 3}


def between(old: dict[str, Any], new: dict[str, Any]) -> tuple[Change, ...]:
    return differences(session(old), session(new))


def with_rules(*rules: dict[str, Any]) -> dict[str, Any]:
    made = document()
    made["services"][0]["attestation"] = list(rules)
    return made


def with_secret(index: int = 0, **changes: Any) -> dict[str, Any]:
    made = document()
    entry = made["secrets"][index] | changes
    made["secrets"][index] = {key: value for key, value in entry.items() if value is not None}
    return made


def weakens(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return any(one.weakens for one in between(old, new))


def owners(threshold: int, **people: SigningKey) -> dict[str, Any]:
    listed = [{"name": name, "key": public_pem(key)} for name, key in people.items()]
    return {"threshold": threshold, "owners": listed}


def test_nothing_changed() -> None:
    assert between(document(), document()) == ()
    assert between(document(), document(predecessor="00" * 32, salt="ff" * 16)) == ()


def test_two_names_for_one_value_are_no_change() -> None:
    shared = document()
    given = {"kind": "ascii", "value": "one value"}
    shared["secrets"] = [{"name": "one", **given}, {"name": "two", **given}]
    shared["services"][0]["secrets"] = ["two"]
    shared["services"][0]["environment"] = {}
    shared["services"][0].pop("command", None)
    shared["services"][0].pop("injection_files", None)
    assert between(shared, shared) == ()


def test_who_may_get_a_secret_in_the_words_of_a_person() -> None:
    changes = between(with_rules(RULE), with_rules(RULE | {"measurement": OTHER}))
    texts = [one.text for one in changes]
    assert (
        "who may get `token` changed from service web (sgx, measurement abababababababab...) to "
        "service web (sgx, measurement cdcdcdcdcdcdcdcd...)"
    ) in texts
    assert f"`web` may now also be: sgx, measurement {OTHER}" in texts
    assert f"`web` can no longer be: sgx, measurement {MEASUREMENT}" in texts
    assert all(one.place.startswith("session.yaml:") for one in changes)


@pytest.mark.parametrize(
    ("old", "new", "weaker"),
    [
        ([RULE], [RULE, RULE | {"measurement": OTHER}], True),
        ([RULE, RULE | {"measurement": OTHER}], [RULE], False),
        ([RULE | {"measurement": [MEASUREMENT, OTHER]}], [RULE], False),
        ([RULE], [RULE | {"measurement": [MEASUREMENT, OTHER]}], True),
        ([RULE], [RULE | {"signer": SIGNER, "product": 7, "minimum_security_version": 3}], False),
        ([RULE | {"signer": SIGNER, "product": 7, "minimum_security_version": 3}], [RULE], True),
        ([SIGNED], [SIGNED | {"minimum_security_version": 4}], False),
        ([SIGNED], [SIGNED | {"minimum_security_version": 2}], True),
        ([SIGNED], [SIGNED | {"product": 8}], True),
        ([SIGNED], [RULE], True),
        ([RULE | {"anchors": ["owner"]}], [{"tee": "cca", "measurement": MEASUREMENT, "anchors": ["owner"]}], True),
        ([RULE], [RULE | {"tolerate": ["OutOfDate"]}], True),
        ([RULE | {"tolerate": ["OutOfDate"]}], [RULE], False),
        (
            [RULE | {"tolerate": ["OutOfDate"]}],
            [RULE | {"tolerate": ["OutOfDate"], "ignore_advisories": ["INTEL-SA-1"]}],
            True,
        ),
        ([RULE], [RULE | {"claims": {"configid": "00"}}], False),
        ([RULE | {"claims": {"configid": "00"}}], [RULE], True),
        ([RULE | {"claims": {"configid": "00"}}], [RULE | {"claims": {"configid": "01"}}], True),
        ([RULE | {"claims": {"quote_version": 1}}], [RULE | {"claims": {"quote_version": True}}], True),
        ([RULE], [RULE | {"anchors": ["hardware", "owner"]}], True),
        ([RULE | {"anchors": ["hardware", "owner"]}], [RULE], False),
        ([RULE], [RULE | {"unsafe_allow_debug": True}], True),
        ([RULE], [RULE | {"unsafe_accept_testing": True}], True),
        ([RULE | {"unsafe_allow_debug": True, "unsafe_accept_testing": True}], [RULE], False),
    ],
)
def test_alternatives(old: list[dict[str, Any]], new: list[dict[str, Any]], weaker: bool) -> None:  # noqa: FBT001 - a table
    assert between(with_rules(*old), with_rules(*new)) != ()
    assert weakens(with_rules(*old), with_rules(*new)) is weaker


@pytest.mark.parametrize(
    ("old", "new", "weaker"),
    [
        ({}, {"export": ["other"]}, True),
        ({"export": ["other"]}, {}, False),
        ({"export": [{"session": "other", "session_hash": "00" * 32}]}, {"export": ["other"]}, True),
        ({"export": ["other"]}, {"export": [{"session": "other", "session_hash": "00" * 32}]}, False),
        ({"generate": {"size": 32}}, {"generate": {"size": 16}}, True),
        ({"generate": {"size": 16}}, {"generate": {"size": 32}}, False),
        ({}, {"generate": None, "value": "a value"}, True),
        ({"generate": None, "value": "a value"}, {}, False),
        ({"generate": None, "value": "a value"}, {"generate": None, "value": "another"}, False),
    ],
)
def test_secrets(old: dict[str, Any], new: dict[str, Any], weaker: bool) -> None:  # noqa: FBT001 - a table
    assert between(with_secret(**old), with_secret(**new)) != ()
    assert weakens(with_secret(**old), with_secret(**new)) is weaker


def test_a_weaker_cipher_weakens() -> None:
    old, new = (with_secret(2, kind="aes-key", generate={"algorithm": one}) for one in ("AES-256", "AES-128"))
    assert weakens(old, new)
    assert not weakens(new, old)


def test_no_value_is_ever_shown() -> None:
    changes = between(document(), with_secret(1, value="battery staple"))
    assert [one.text for one in changes] == ["the value of `pin` changed"]


def test_a_new_service_that_gets_a_secret_weakens() -> None:
    made = document()
    made["services"].append({"name": "spy", "attestation": [RULE | {"measurement": OTHER}], "secrets": ["pin"]})
    found = {one.text.split("`")[1]: one.weakens for one in between(document(), made)}
    assert found == {"pin": True, "spy": False}
    made["services"][1]["attestation"] = [RULE]  # the same program under another name
    assert not weakens(document(), made)


def test_a_value_under_a_new_name_is_still_the_same_secret() -> None:
    made = document()
    made["secrets"][1] = {"name": "renamed", "kind": "ascii", "value": "correct horse", "export": ["other"]}
    made["services"][0]["secrets"] = ["renamed"]
    found = [one for one in between(document(), made) if one.weakens]
    assert [one.text.split(";")[0] for one in found] == ["`renamed` is what `pin` was"]


def test_a_secret_inside_another_goes_where_that_goes() -> None:
    made = document()
    made["secrets"].append({"name": "url", "kind": "ascii", "value": "db:$$SCONE::pin$$", "export": ["other"]})
    found = {one.text.split("`")[1] for one in between(document(), made) if one.weakens}
    assert found == {"pin"}


def test_what_a_service_runs() -> None:
    made = document()
    made["services"][0] |= {"command": ["server"], "environment": {"MODE": "test"}, "pwd": "/x"}
    made["services"][0]["injection_files"] = [{"path": "/etc/a", "content": "hello"}]
    assert {one.text for one in between(document(), made)} >= {
        "the command of `web` changed from 'server' '--token' '$$SCONE::token$$' to 'server'",
        "the variable MODE of `web` changed from 'production' to 'test'",
        "the working directory of `web` changed from nothing to /x",
        "the file /etc/a of `web` changed from nothing to 'hello'",
    }
    assert not weakens(document(), made)


@pytest.mark.parametrize(
    ("old", "new", "weaker"),
    [
        (None, owners(1, alice=ALICE), False),
        (owners(1, alice=ALICE), None, True),
        (owners(2, alice=ALICE, bob=BOB), owners(1, alice=ALICE, bob=BOB), True),
        (owners(1, alice=ALICE, bob=BOB), owners(2, alice=ALICE, bob=BOB), False),
        (owners(1, alice=ALICE), owners(1, alice=ALICE, bob=BOB), True),
        (owners(1, alice=ALICE, bob=BOB), owners(1, alice=ALICE), False),
        (owners(1, alice=ALICE), owners(1, alice=CAROL), True),
        (owners(1, alice=ALICE), owners(1, ally=ALICE), False),
    ],
)
def test_approvals(old: Any, new: Any, weaker: bool) -> None:  # noqa: FBT001 - a table
    before, after = ({"approvals": one} if one else {} for one in (old, new))
    assert between(document(**before), document(**after)) != ()
    assert weakens(document(**before), document(**after)) is weaker


@pytest.mark.parametrize(
    ("old", "new", "weaker"),
    [
        (["CREATOR"], ["NONE"], False),
        (["NONE"], ["CREATOR"], True),
        (["CREATOR"], ["ANY"], True),
        (["ANY"], ["CREATOR"], False),
        (["CREATOR"], ["CREATOR", "ab" * 32], True),
    ],
)
def test_access(old: list[str], new: list[str], weaker: bool) -> None:  # noqa: FBT001 - a table
    before, after = (document(access_policy={"read": one}) for one in (old, new))
    assert weakens(before, after) is weaker


@pytest.mark.parametrize(
    ("old", "new", "weaker"),
    [([], [ALICE], False), ([ALICE], [], True), ([ALICE], [ALICE, BOB], True), ([ALICE, BOB], [ALICE], False)],
)
def test_verifiers(old: list[SigningKey], new: list[SigningKey], weaker: bool) -> None:  # noqa: FBT001 - a table
    before, after = (
        document(verifiers=[{"name": f"v{n}", "key": public_pem(key)} for n, key in enumerate(one)])
        if one
        else document()
        for one in (old, new)
    )
    assert between(before, after) != ()
    assert weakens(before, after) is weaker


def test_another_name_is_another_session() -> None:
    assert weakens(document(), document(name="team/other"))


def test_what_is_gone() -> None:
    made = document()
    made["secrets"].pop()
    assert [one.text for one in between(document(), made)] == ["secret `unshared` is gone"]
    assert [one.text for one in between(made, document())] == [
        "new secret `unshared` (binary, made by the broker (32 bytes)) for nobody"
    ]
