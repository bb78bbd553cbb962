"""Answers that wait for the disk: nothing comes out before it, one wait serves all, a slow disk gets a thread."""

import asyncio
import base64
import json
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.forge.audit import KEY, release, ticking
from tests.services.key_broker import NOW, Attester, Clock, desk, snp_attester, software_attester

from cloister.broker.audit import AuditLog, LogUnusable
from cloister.broker.audit.active import ActiveSegment
from cloister.broker.known_results import KnownResults
from cloister.broker.store import Store, open_database
from cloister.broker.store_database import DatabaseUnavailable
from cloister.errors import Denied, Undecided
from cloister.model import Unchecked
from cloister.result.jwk import thumbprint
from cloister.result.keys import VerificationKey
from cloister.result.verify import verify_result
from cloister.serve.durable import Durable, Outcome
from cloister.serve.kbs_messages import parse_attestation
from cloister.serve.workers import Pace, Workers

LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("name", "status"), [("app/keys/db", 200), ("app/keys/none", 404)])
def test_no_answer_before_the_disk_has_the_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    written, append = threading.Event(), ActiveSegment.append

    def slow(segment: ActiveSegment, data: bytes) -> None:
        assert written.wait(20)
        append(segment, data)

    with desk(tmp_path) as one:
        one.store_secret()
        assert one.attest().status_code == 200
        monkeypatch.setattr(ActiveSegment, "append", slow)
        found: list[int] = []
        asking = threading.Thread(target=lambda: found.append(one.resource(name).status_code))
        asking.start()
        asking.join(0.5)
        assert not found
        written.set()
        asking.join()
        assert found == [status]


def test_an_outcome_says_nothing_before_the_work_and_then_what_came_of_it() -> None:
    with pytest.raises(Undecided):
        Outcome[int]().reveal()
    good, bad = Outcome[int](), Outcome[int]()
    good.of(lambda: 7)
    bad.of(refuse)
    assert good.reveal() == 7
    with pytest.raises(Denied):
        bad.reveal()


def refuse() -> int:
    raise Denied("no")


def reached(log: AuditLog, at_once: Callable[[], bool], count: int) -> list[object]:
    """So many requests at one time, each with an entry; what each of them got."""

    async def request(disk: Durable, number: int) -> bool:
        entered = log.enter(release(number))
        await disk.reached(lambda: log.settled(entered))
        return log.settled(entered)

    async def run() -> list[object]:
        disk = Durable(log.write_out, at_once=at_once)
        try:
            return list(await asyncio.gather(*(request(disk, n) for n in range(count)), return_exceptions=True))
        finally:
            disk.close()

    return asyncio.run(run())


@pytest.mark.parametrize("quick", [True, False])
def test_requests_of_one_time_share_one_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, quick: bool) -> None:
    with AuditLog.open(tmp_path / "audit.log", KEY, ticking()) as log:
        written: list[bytes] = []
        append = ActiveSegment.append

        def counted(segment: ActiveSegment, data: bytes) -> None:
            written.append(data)
            append(segment, data)

        monkeypatch.setattr(ActiveSegment, "append", counted)
        assert reached(log, log.write_out_at_once if quick else lambda: False, 10) == [True] * 10
        assert len(written) == 1
        assert log.checkpoint().seal.sequence == 11


@pytest.mark.parametrize("quick", [True, False])
def test_all_of_them_learn_that_the_disk_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, quick: bool
) -> None:
    with AuditLog.open(tmp_path / "audit.log", KEY, ticking()) as log:

        def fails(_: ActiveSegment, __: bytes) -> None:
            raise LogUnusable("the disk is full")

        monkeypatch.setattr(ActiveSegment, "append", fails)
        found = reached(log, log.write_out_at_once if quick else lambda: False, 3)
        assert [type(one) for one in found] == [LogUnusable] * 3


def test_what_was_entered_and_not_waited_for_is_written_at_the_end(tmp_path: Path) -> None:
    with AuditLog.open(tmp_path / "audit.log", KEY, ticking()) as log:
        number = log.enter(release(1))
        assert not log.settled(number)
    assert log.settled(number)
    assert sum(1 for _ in log.entries()) == 2


def test_what_takes_long_in_the_mean_is_left_to_threads_for_a_while() -> None:
    time = [0.0]
    pace = Pace(0.01, lambda: time[0])
    for took in (0.04, 0.001, 0.001):  # one that is slow is none
        with pace.measured():
            time[0] += took
    assert pace.is_quick()
    for _ in range(5):
        with pace.measured():
            time[0] += 0.04
    assert not pace.is_quick()


def test_slow_work_leaves_the_event_loop() -> None:
    async def run() -> list[bool]:
        workers, here = Workers(), threading.get_ident()

        def work() -> bool:
            total = sum(range(1_000_000))
            return total > 0 and threading.get_ident() == here

        try:
            assert await workers.soon(lambda: threading.get_ident() == here, quick=True)
            assert not await workers.soon(lambda: threading.get_ident() == here, quick=False)
            return [await workers.soon(work, quick=True) for _ in range(30)]
        finally:
            workers.close()

    found = asyncio.run(run())
    assert found[0]
    assert not found[-1]


def test_an_answer_in_line_is_none_before_it_is_written(tmp_path: Path) -> None:
    store = Store(open_database(str(tmp_path / "broker.db")), Clock())
    first, second = (store.enter_answer(b"t" * 32, text, LATER) for text in (b"first", b"second"))
    assert first is not None
    assert second is not None
    with pytest.raises(DatabaseUnavailable, match="not answered yet"):
        first.outcome()
    assert store.write_out_at_once()
    assert (first.outcome(), second.outcome()) == (1, 0)
    assert store.answer_of(b"t" * 32) == b"first"
    store.close()


def test_another_process_that_writes_is_not_waited_for_in_the_event_loop(tmp_path: Path) -> None:
    store = Store(open_database(str(tmp_path / "broker.db")), Clock())
    other = sqlite3.connect(tmp_path / "broker.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    entered = store.enter_answer(b"t" * 32, b"result", LATER)
    assert entered is not None
    assert not store.write_out_at_once()
    assert not entered.done
    other.execute("COMMIT")
    other.close()
    assert store.write_out_at_once()
    assert entered.outcome() == 1
    store.close()


@pytest.mark.parametrize("make", [software_attester, snp_attester])
def test_what_is_remembered_of_a_token_is_what_reading_it_gives(tmp_path: Path, make: Callable[[], Attester]) -> None:
    attester = make()
    with desk(tmp_path, attester) as one:
        key = one.service.shared.signing
        nonce = bytes(range(1, 33))
        message = parse_attestation(answer(attester, nonce), attester.tee)
        made = one.service.settings.appraiser(key).of_attestation(message, nonce)
        keys = [VerificationKey(spki=key.spki, kid=thumbprint(key.spki))]
        assert verify_result(made.token, keys, at=NOW, nonce=Unchecked("not asked")) == made.result
        known = KnownResults(most=1)
        known.add(made.token, made.result)
        assert known.find(made.token) is made.result
        assert known.find(made.token[:-1] + b"A") is None or made.token.endswith(b"A")
        known.add(b"another", made.result)
        assert known.find(made.token) is None
        known.add(bytes(9000), made.result)
        assert known.find(bytes(9000)) is None


def answer(attester: Attester, nonce: bytes) -> bytes:
    return json.dumps(attester.answer(base64.b64encode(nonce).decode())).encode()


def test_a_remembered_result_expires_like_any_other(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        one.store_secret()
        token = one.attest().json()["token"]
        passport = {"authorization": f"Bearer {token}"}
        assert one.resource(**passport).status_code == 200
        one.clock.forward(minutes=6)
        assert one.resource(**passport).status_code == 401
