"""Event logs: any bytes give ParseError, or a log that comes out as it went in and can be replayed."""

import contextlib
import hashlib

from hypothesis import given
from hypothesis import strategies as st
from tests.forge.tpm import Measured, event_log, extended
from tests.property.test_tpm import mutated

from cloister.errors import BindingInvalid, ParseError
from cloister.evidence import eventlog, eventlog_dstack
from cloister.verification import eventlog_dstack as dstack
from cloister.verification.eventlog import explained, replay

SEEDS = [event_log(), event_log(legacy=True), event_log(filling=b"\xff" * 40), event_log(filling=bytes(40)), b""]
DSTACK = [
    b'[{"imr":3,"event_type":134217729,"digest":"","event":"app-id","event_payload":"00"}]',
    b'[{"imr":0,"event_type":4,"digest":"' + b"ab" * 48 + b'","event":"","event_payload":""}]',
]


@given(data=st.one_of(st.binary(max_size=300), mutated(SEEDS)))
def test_any_bytes_are_a_log_or_refused(data: bytes) -> None:
    assert eventlog.looks_like(data) in {True, False}
    try:
        log = eventlog.parse(data)
    except ParseError:
        return
    assert log.serialize() == data
    for bank in log.banks:
        try:
            assert all(len(value) == hashlib.new(bank).digest_size for value in replay(log, bank).values())
        except BindingInvalid:
            continue
        assert all(explained(event, bank) in {None, event.data} or event.data for event in log.events)


EVENTS = st.lists(
    st.builds(
        Measured, st.integers(0, 23), st.integers(4, 20), st.binary(max_size=40), st.none() | st.binary(max_size=40)
    ),
    max_size=12,
)


@given(events=EVENTS, bank=st.sampled_from(["sha1", "sha256", "sha384", "sha512"]), filling=st.integers(0, 50))
def test_a_log_of_any_events_gives_the_registers_that_they_extended(
    events: list[Measured], bank: str, filling: int
) -> None:
    data = event_log(events, banks=(bank,), filling=b"\xff" * filling)
    log = eventlog.parse(data)
    assert log.serialize() == data
    registers = replay(log, bank)
    assert set(registers) == {one.register for one in events}
    assert registers == {index: extended(events, bank=bank)[index] for index in registers}


@given(data=st.one_of(st.binary(max_size=200), mutated(DSTACK)))
def test_any_bytes_are_a_dstack_log_or_refused(data: bytes) -> None:
    assert eventlog_dstack.looks_like(data) in {True, False}
    try:
        log = eventlog_dstack.parse(data)
    except ParseError:
        return
    assert eventlog_dstack.parse(log.serialize()) == log
    with contextlib.suppress(BindingInvalid):
        assert all(len(value) == 48 for value in dstack.replay(log).values())
