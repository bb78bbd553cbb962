"""Challenges: what is ours is recognised, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.broker.nonces import Challenges, Purpose
from cloister.errors import NotAttested

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY = bytes(range(32))


def challenges(key: bytes = KEY, at: datetime = NOW) -> Challenges:
    return Challenges(key, lambda: at, lifetime=timedelta(minutes=5))


@given(st.sampled_from(list(Purpose)), st.text(max_size=20), st.binary(min_size=8, max_size=64).filter(any))
def test_what_was_issued_is_read_again(purpose: Purpose, tee: str, nonce: bytes) -> None:
    ticket = challenges().issue(purpose, tee=tee, nonce=nonce)
    assert challenges().read(ticket.text, purpose) == ticket
    assert (ticket.tee, ticket.nonce, ticket.expires) == (tee, nonce, NOW + timedelta(minutes=5))


def test_two_challenges_differ_even_with_one_nonce() -> None:
    made = challenges()
    first, second = (made.issue(Purpose.VERAISON, nonce=b"the same nonce") for _ in range(2))
    assert first.digest != second.digest
    assert made.issue(Purpose.KBS).nonce != made.issue(Purpose.KBS).nonce


@given(st.data())
def test_a_changed_text_is_not_ours(data: st.DataObject) -> None:
    text = challenges().issue(Purpose.KBS, tee="snp").text
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda one: one != text[at]))
    with pytest.raises(NotAttested):
        challenges().read(text[:at] + letter + text[at + 1 :], Purpose.KBS)


@given(st.text(max_size=500))
def test_foreign_texts_are_not_ours(text: str) -> None:
    with pytest.raises(NotAttested):
        challenges().read(text, Purpose.KBS)


def test_another_key_time_or_purpose_is_refused() -> None:
    ticket = challenges().issue(Purpose.KBS)
    with pytest.raises(NotAttested, match="not known"):
        challenges(bytes(32)).read(ticket.text, Purpose.KBS)
    with pytest.raises(NotAttested, match="expired"):
        challenges(at=ticket.expires).read(ticket.text, Purpose.KBS)
    with pytest.raises(NotAttested, match="another protocol"):
        challenges().read(ticket.text, Purpose.VERAISON)
    assert ticket.text not in repr(ticket)


@pytest.mark.parametrize("nonce", [b"", b"1234567", b"x" * 65, bytes(32)])
def test_nonces_of_no_use_are_refused(nonce: bytes) -> None:
    with pytest.raises(ValueError, match="nonce"):
        challenges().issue(Purpose.VERAISON, nonce=nonce)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        challenges(b"short")
