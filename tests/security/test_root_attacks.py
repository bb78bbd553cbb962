"""A host that wants an older volume to pass for the newest: what it can do with reports of roots, and what comes of it.

It carries every message between the program and the broker, keeps them, and starts the program as often as it likes. It
has no volume's key.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.services.hostile import Hostile
from tests.services.key_broker import Desk, X25519Key, desk, software_attester
from tests.services.root_desk import NAME, begin, digest_of, put_session, root_desk, send

from cloister.attest.broker_client import Provider, Server
from cloister.broker.audit import RootRefused, RootTaken
from cloister.broker.root_report import StartName
from cloister.errors import Denied, NotAttested, Undecided
from cloister.shield_policy.policy import Root


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Desk]:
    with root_desk(tmp_path) as made:
        yield made


def acknowledged(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["acknowledged"])


def refused(answer: httpx.Response, status: int, said: str) -> None:
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]


def refusals(at: Desk) -> list[str]:
    return [entry.event.code for entry in at.service.audit.entries() if isinstance(entry.event, RootRefused)]


def test_the_newest_root_is_what_the_next_start_is_told(at: Desk) -> None:
    """The control: an honest host."""
    first = begin(at)
    assert (first.volume.generation, first.volume.create) == (0, True)
    for generation in (3, 4, 9):
        report = first.report(generation)
        assert acknowledged(send(at, report)) == report.acknowledgement(first.volume.key)
    second = begin(at)
    assert (second.volume.generation, second.volume.digest) == (9, digest_of(9))
    assert not second.volume.create, "an emptied file would pass for a new volume"
    assert second.volume.name != first.volume.name
    assert (first.volume.writer, second.volume.writer) == (bytes(16), StartName.parse(first.volume.name).writer)
    acknowledged(second.send(10))
    taken = [entry.event for entry in at.service.audit.entries() if isinstance(entry.event, RootTaken)]
    assert [(one.volume, one.generation, one.session.name) for one in taken] == [
        ("/data", 3, NAME),
        ("/data", 10, NAME),
    ]
    assert not refusals(at)


def test_a_forged_report_is_refused(at: Desk) -> None:
    start = begin(at)
    good = start.report(5)
    for forged in (
        replace(good, mac=bytes(32)), replace(good, root=Root(6, good.root.digest)),
        replace(good, root=Root(5, bytes(32))), replace(good, name=good.name.replace("/data", "/else")),
        start.report(5, key=bytes(31) + b"1"), replace(good, mac=good.acknowledgement(start.volume.key)),
    ):  # fmt: skip
        refused(send(at, forged), 401, "not made with the key of a volume of this session")
    assert begin(at).volume.generation == 0
    assert refusals(at) == ["not-attested"] * 6


def test_an_older_state_does_not_come_back(at: Desk) -> None:
    """Reports that were made are sent again, later, by whoever kept them."""
    first = begin(at)
    old = [first.report(generation) for generation in (1, 2, 3)]
    for report in old:
        acknowledged(send(at, report))
    second = begin(at)
    acknowledged(second.send(4))
    for report in old:
        refused(send(at, report), 403, "a later start of the program has this volume now")
    found = begin(at).volume
    assert (found.generation, found.digest) == (4, digest_of(4))
    assert refusals(at) == ["policy-deny"] * 3


def test_a_replayed_report_of_the_same_start_changes_nothing(at: Desk) -> None:
    start = begin(at)
    reports = [start.report(generation) for generation in (1, 2, 3)]
    answers = [acknowledged(send(at, report)) for report in reports]
    assert [acknowledged(send(at, report)) for report in reports] == answers
    assert begin(at).volume.generation == 3


def test_another_history_of_the_same_generation_is_refused(at: Desk) -> None:
    start = begin(at)
    acknowledged(start.send(3, "one"))
    refused(start.send(3, "another"), 403, "reported already, with another digest")
    found = begin(at).volume
    assert found.digest == digest_of(3, "one")
    assert refusals(at) == ["policy-deny"]


def test_two_starts_from_one_state_do_not_hide_each_other_s_work(at: Desk) -> None:
    """The host runs the program twice on copies of a volume, and lets the copy run ahead."""
    acknowledged(begin(at).send(6))
    honest, copied = begin(at), begin(at)
    acknowledged(honest.send(7, "honest"))
    refused(copied.send(7, "copied"), 403, "it works on an old state")
    refused(copied.send(8, "copied"), 403, "it works on an old state")
    acknowledged(honest.send(8, "honest"))
    assert begin(at).volume.digest == digest_of(8, "honest")


def test_a_start_that_was_overtaken_learns_it(at: Desk) -> None:
    """And the other way round: the later start reports first, from the same state."""
    earlier, later = begin(at), begin(at)
    acknowledged(later.send(2, "later"))
    refused(earlier.send(3, "earlier"), 403, "a later start of the program has this volume now")
    acknowledged(later.send(3, "later"))


def test_a_suppressed_report_is_acknowledged_by_nobody(at: Desk) -> None:
    """The host swallows a report. What it can answer instead are acknowledgements that it kept."""
    start = begin(at)
    kept = [acknowledged(start.send(generation)) for generation in (1, 2)]
    swallowed = start.report(3)
    assert swallowed.acknowledgement(start.volume.key) not in kept
    assert swallowed.mac != swallowed.acknowledgement(start.volume.key), "the report itself is no acknowledgement"
    assert begin(at).volume.generation == 2


def test_an_acknowledgement_of_another_start_is_none(at: Desk) -> None:
    first = begin(at)
    old = acknowledged(first.send(1))
    second = begin(at)
    assert second.report(1).acknowledgement(second.volume.key) != old


def test_another_session_s_root_is_not_this_one_s(at: Desk) -> None:
    """Two sessions share a volume's key, by export: reports still belong to one of them."""
    imported = "  - { name: disk, kind: aes-key, import: { session: team/shop, secret: disk } }\n"
    put_session(at, "team/other", secrets=imported)
    mine, other = begin(at), begin(at, "team/other")
    assert mine.volume.key == other.volume.key
    acknowledged(other.send(9))
    refused(send(at, other.report(9), NAME), 401, "not made with the key of a volume of this session")
    renamed = replace(other.report(9), name=mine.volume.name)
    refused(send(at, renamed, NAME), 401, "not made with")
    assert begin(at).volume.generation == 0
    assert begin(at, "team/other").volume.generation == 9


def test_a_rotated_key_begins_anew_and_the_old_one_is_nobody_s(at: Desk) -> None:
    """With a key goes its volume; reports under the old key say nothing of the new one."""
    first = begin(at)
    acknowledged(first.send(5))
    assert at.admin("POST", f"sessions/{NAME}", json={"rotate": ["disk"]}).status_code == 200
    refused(first.send(6), 401, "not made with")
    second = begin(at)
    assert second.volume.key != first.volume.key
    assert (second.volume.generation, second.volume.create) == (0, True)
    acknowledged(second.send(1))


def test_an_update_of_the_session_keeps_what_is_known(at: Desk) -> None:
    first = begin(at)
    acknowledged(first.send(5))
    held = at.service.shelf.current(NAME)
    put_session(at, predecessor=held.sha256, key="disk")
    second = begin(at)
    assert (second.volume.key, second.volume.generation) == (first.volume.key, 5)
    acknowledged(first.send(6))


def test_roots_outlive_the_broker(tmp_path: Path) -> None:
    attester = software_attester(X25519Key())
    with desk(tmp_path, attester) as at:
        put_session(at)
        acknowledged(begin(at).send(7))
    with desk(tmp_path, attester) as at:
        assert begin(at).volume.generation == 7


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{}", 400), (b'{"report": 1}', 400), (b'{"report": "***"}', 400), (b'{"report": ""}', 400),
        (b'{"report": "", "more": 1}', 400), (b"x" * 9000, 413),
    ],
)  # fmt: skip
def test_what_is_no_report(at: Desk, body: bytes, status: int) -> None:
    assert at.client.post(f"/cloister/v1/roots/{NAME}", content=body).status_code == status


def test_sessions_that_are_none(at: Desk) -> None:
    start = begin(at)
    assert send(at, start.report(1), "team/none").status_code == 404
    assert at.admin("DELETE", f"sessions/{NAME}").status_code == 200
    refused(start.send(1), 403, "revoked")


def test_strangers_do_not_fill_the_log(at: Desk) -> None:
    start = begin(at)
    for number in range(1, 100):
        assert send(at, replace(start.report(number), mac=bytes(32))).status_code == 401
    assert len(refusals(at)) == 60


# ---- through the carrier's client


def provider(at: Desk) -> Provider:
    return Provider(broker=Server(role="broker", url=f"http://127.0.0.1:{at.address[1]}"), session=NAME, service="web")


def test_the_carrier_brings_the_broker_s_answer(at: Desk) -> None:
    start = begin(at)
    report, carrier = start.report(3), provider(at)
    assert carrier.report_root(report.serialize()) == report.acknowledgement(start.volume.key)
    with pytest.raises(Denied, match="another digest"):
        carrier.report_root(start.report(3, "another").serialize())
    with pytest.raises(NotAttested, match="not made with"):
        carrier.report_root(replace(report, mac=bytes(32)).serialize())
    for one in carrier.broker._idle:
        one.close()


@pytest.mark.parametrize("answer", [{}, {"acknowledged": ""}, {"acknowledged": "AAAA"}, {"acknowledged": "*" * 43}])
def test_a_broker_that_answers_something_else_acknowledges_nothing(answer: dict[str, str]) -> None:
    body = json.dumps(answer).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with Hostile(lambda connection: connection.sendall(head + body)) as server:
        given = Provider(broker=Server(role="broker", url=server.url), session=NAME)
        with pytest.raises(Undecided, match="acknowledges nothing"):
            given.report_root(bytes(100))
        for one in given.broker._idle:
            one.close()


def test_reports_go_over_a_connection_that_is_kept_and_made_anew_when_it_is_gone(at: Desk) -> None:
    start, carrier = begin(at), provider(at)
    for generation in (1, 2):
        report = start.report(generation)
        assert carrier.report_root(report.serialize()) == report.acknowledgement(start.volume.key)
    (kept,) = carrier.broker._idle
    assert kept.sock is not None
    kept.sock.close()  # as a server does that has waited long enough
    report = start.report(3)
    assert carrier.report_root(report.serialize()) == report.acknowledgement(start.volume.key)
    assert carrier.broker._idle != [kept]
    with pytest.raises(Denied):
        carrier.report_root(start.report(3, "another").serialize())
    assert len(carrier.broker._idle) == 1
    for one in carrier.broker._idle:
        one.close()
