"""`cloister log` has words for every event that there is."""

import pytest
from tests.forge.audit import KEY, START, every_event

from cloister.broker.audit import Event, LogStarted, TornTail
from cloister.broker.audit.entry import sign_entry
from cloister.cli._log_text import entry_lines

OWN = (LogStarted(key=KEY.spki, log=bytes(16)), TornTail(size=7, sha256=bytes(32)))


@pytest.mark.parametrize("event", [*every_event(), *OWN], ids=lambda event: event.kind)
def test_every_event_has_its_words(event: Event) -> None:
    first, *more = entry_lines(sign_entry(event, sequence=2, time=START, previous=bytes(32), key=KEY))
    assert first.startswith(f"     2  2026-01-31 12:00:00 UTC  {event.kind}")
    assert more or event.kind == "torn-tail"
    assert all(line.isprintable() for line in (first, *more))
