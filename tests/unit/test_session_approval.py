"""Approvals: who counts, when enough have signed, and which file is read."""

import json
from typing import Any

import pytest
from tests.forge.sessions import document, public_pem, session, text

from cloister.broker.session.approval import (
    agreement,
    approval_json,
    check_successor,
    parse_approval,
    sign_approval,
)
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.read import parse_session
from cloister.broker.session.session import Session
from cloister.errors import BindingInvalid, ParseError, PolicyError
from cloister.result.algorithms import Algorithm
from cloister.result.signing import SigningKey

ALICE, BOB, CAROL = (SigningKey.generate(one) for one in (Algorithm.EDDSA, Algorithm.ES256, Algorithm.EDDSA))


def owned(threshold: int = 2, *keys: SigningKey, **changes: Any) -> Session:
    people = [{"name": f"owner{n}", "key": public_pem(key)} for n, key in enumerate(keys or (ALICE, BOB, CAROL))]
    return session(approvals={"threshold": threshold, "owners": people}, **changes)


def update(of: Session, threshold: int = 2, *keys: SigningKey, **changes: Any) -> Session:
    return owned(threshold, *keys, predecessor=session_hash(of), **changes)


def test_enough_owners_sign_a_first_session() -> None:
    made = owned()
    one = agreement(made, None, [sign_approval(made, ALICE)])
    assert (one.needed, [holder.name for holder in one.signed], one.reached) == (2, ["owner0"], False)
    assert [holder.name for holder in one.missing] == ["owner1", "owner2"]
    assert agreement(made, None, [sign_approval(made, ALICE), sign_approval(made, BOB)]).reached


def test_an_owner_counts_once() -> None:
    made = owned()
    approvals = [sign_approval(made, BOB) for _ in range(3)]  # ECDSA: three different signatures
    assert len({one.signature for one in approvals}) == 3
    assert not agreement(made, None, approvals).reached


def test_where_nobody_must_agree() -> None:
    made = agreement(session(), None, [])
    assert (made.needed, made.reached) == (0, True)


def test_the_owners_of_what_is_replaced_decide() -> None:
    old = owned(1, ALICE)
    new = update(old, 1, BOB)
    assert agreement(new, old, [sign_approval(new, ALICE)]).reached
    with pytest.raises(BindingInvalid, match="has no say"):
        agreement(new, old, [sign_approval(new, BOB)])


def test_approvals_cannot_be_dropped_by_an_update() -> None:
    old = owned(1, ALICE)
    new = session(predecessor=session_hash(old))
    assert not agreement(new, old, []).reached
    assert agreement(new, old, [sign_approval(new, ALICE)]).reached


def test_an_update_names_what_it_replaces() -> None:
    old = owned()
    check_successor(old, update(old))
    for other in (owned(), owned(predecessor="00" * 32)):
        with pytest.raises(PolicyError, match=f'predecessor: "{session_hash(old)}"'):
            check_successor(old, other)
    with pytest.raises(PolicyError, match="keeps the name"):
        check_successor(old, update(old, name="team/other"))


def test_without_the_predecessor_nobody_can_say_who_decides() -> None:
    made = owned(predecessor="00" * 32)
    with pytest.raises(PolicyError, match="give that session too"):
        agreement(made, None, [])


def test_a_file_and_back() -> None:
    for made in (owned(), owned(predecessor="ab" * 32)):
        approval = sign_approval(made, ALICE)
        assert parse_approval(approval_json(approval).encode(), "a.json") == approval


@pytest.mark.parametrize(
    "change",
    [
        {"format": "cloister-approval-2"},
        {"more": 1},
        {"session": 1},
        {"hash": "AB" * 32},
        {"hash": "ab"},
        {"owner": None},
        {"predecessor": ""},
        {"signature": "a="},
        {"signature": 1},
    ],
    ids=str,
)
def test_a_file_that_is_none(change: dict[str, Any]) -> None:
    good = json.loads(approval_json(sign_approval(owned(), ALICE)))
    with pytest.raises(ParseError):
        parse_approval(json.dumps(good | change).encode(), "a.json")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"x" * 9000, b'{"format": 1, "format": 1}', b"\xff"])
def test_bytes_that_are_no_approval(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_approval(data, "a.json")


def test_what_is_signed_is_the_meaning() -> None:
    """A comment more in the owner's copy is no other session."""
    made = owned()
    people = [{"name": f"owner{n}", "key": public_pem(key)} for n, key in enumerate((ALICE, BOB, CAROL))]
    copy = parse_session(
        b"# Bob's copy\n" + text(document(approvals={"owners": people[::-1], "threshold": 2})), "copy.yaml"
    )
    approval = sign_approval(copy, BOB)
    assert [one.name for one in agreement(made, None, [approval]).signed] == ["owner1"]
