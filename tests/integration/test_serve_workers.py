"""`cloister serve --workers`: several processes are one service, also while one of them is killed."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.services.crew import Crew, Visitor, alive, crew, wait_for
from tests.services.serve_process import command, serving

from cloister.broker.audit import Grade, Released, parse_checkpoint, read_entries, verify_log
from cloister.result.keys import read_signing_key

WORKERS = 2


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Crew]:
    with crew(tmp_path, WORKERS) as one:
        yield one


def logs(made: Crew) -> list[Path]:
    """The audit log of each worker."""
    return [made.state / "audit.log", *(made.state / f"worker-{n}" / "audit.log" for n in range(1, WORKERS))]


def releases(made: Crew) -> Counter[str]:
    """How often each request stands in the logs as one that got a secret."""
    return Counter(
        entry.event.request for log in logs(made) for entry in read_entries(log) if isinstance(entry.event, Released)
    )


def life(response: httpx.Response) -> str:
    """Of the process that answered."""
    return response.headers["x-request-id"].partition("-")[0]


def visitors(made: Crew, wanted: int = WORKERS) -> list[Visitor]:
    """One for each worker: the kernel hands connections out, so more are opened until every worker has one."""
    found: dict[str, Visitor] = {}

    def one_more() -> bool:
        some = [Visitor(made) for _ in range(8)]  # at once, so that one worker alone does not take all
        with ThreadPoolExecutor(8) as pool:
            lives = list(pool.map(lambda one: life(one.client.get("/healthz")), some))
        found.update(zip(lives, some, strict=True))
        return len(found) >= wanted

    wait_for(one_more)
    return list(found.values())


def test_workers_that_race_for_one_nonce(made: Crew) -> None:
    two, winners, losers = visitors(made), set(), set()
    with ThreadPoolExecutor(2 * len(two)) as pool:
        for _ in range(20):
            cookie, message = two[0].challenge()
            answers = list(pool.map(lambda one, c=cookie, m=message: one.attest(c, m), two))
            assert sorted(one.status_code for one in answers) == [200, 401]
            winners |= {life(one) for one in answers if one.status_code == 200}
            losers |= {life(one) for one in answers if one.status_code == 401}
            assert [one.resource(cookie).status_code for one in two] == [200, 200]
    assert len(winners | losers) == WORKERS


def started(made: Crew, count: int) -> None:
    wait_for(lambda: len(made.told("worker-started")) == count)


def more_than(some: list[tuple[str, float]], count: int) -> None:
    wait_for(lambda: len(some) > count)


def test_a_worker_that_is_killed_is_replaced_and_no_entry_is_lost(made: Crew) -> None:
    got: list[tuple[str, float]] = []
    failed: list[httpx.TransportError] = []
    stop = threading.Event()

    def visit() -> None:
        visitor = Visitor(made)
        while not stop.is_set():
            try:
                got.append((visitor.flow(), time.monotonic()))
            except httpx.TransportError as error:  # the connection to the one that was killed
                failed.append(error)

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    last = 0.0
    try:
        for starts, number in enumerate((0, 1, 0), WORKERS + 1):
            more_than(got, len(got) + 5)
            os.kill(made.workers()[number], signal.SIGKILL)
            last = time.monotonic()
            started(made, starts)
        wait_for(lambda: sum(when > last for _, when in got) > 10)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    made.await_workers(WORKERS)
    assert [one["code"] for one in made.told("worker-ended")] == [-signal.SIGKILL] * 3
    assert made.stop() == 0
    entries = releases(made)
    assert not {request for request, _ in got} - set(entries), "released, and not in a log"
    assert max(entries.values()) == 1
    assert len(failed) <= 3 * 4
    for log in logs(made):
        key = read_signing_key(log.with_name("audit.pem")).spki
        assert verify_log(log, key=key).grade in {Grade.UNDECIDED, Grade.TORN}  # for want of a checkpoint


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_them(made: Crew, number: int) -> None:
    Visitor(made).flow()
    pids = made.workers().values()
    assert made.stop(number) == (130 if number == signal.SIGINT else 0)
    assert not [pid for pid in pids if alive(pid)]
    assert [one["code"] for one in made.told("worker-ended")] == [0] * WORKERS
    with pytest.raises(httpx.ConnectError):
        Visitor(made).client.get("/healthz")


def test_workers_whose_parent_is_killed_end_too(made: Crew) -> None:
    pids = made.workers().values()
    Visitor(made).flow()
    assert made.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: not any(map(alive, pids)))


@pytest.mark.slow
def test_a_worker_that_hangs_does_not_outlive_the_service(made: Crew) -> None:
    victim = made.workers()[0]
    os.kill(victim, signal.SIGSTOP)
    start = time.monotonic()
    assert made.stop() == 0
    assert not alive(victim)
    assert time.monotonic() - start < 30


def test_counters_are_those_of_all_workers_and_stay(made: Crew) -> None:
    for visitor in visitors(made):
        for _ in range(3):
            visitor.flow()
    wanted = f'cloister_requests_total{{status="200",step="kbs-resource"}} {3.0 * WORKERS}'
    for visitor in visitors(made):
        assert wanted in visitor.client.get("/metrics").text
    os.kill(made.workers()[0], signal.SIGKILL)
    started(made, WORKERS + 1)
    for visitor in visitors(made):
        assert wanted in visitor.client.get("/metrics").text


def test_any_worker_gives_checkpoints_of_every_log(made: Crew) -> None:
    both = visitors(made)
    for visitor in both:
        visitor.flow()
    for number, log in enumerate(logs(made)):
        key = read_signing_key(log.with_name("audit.pem")).spki
        for visitor in both:
            checkpoint = parse_checkpoint(visitor.admin(f"log/checkpoint?worker={number}").content)
            assert checkpoint.key == key
            assert verify_log(log, key=key, checkpoints=[checkpoint]).grade is Grade.INTACT
    assert both[0].admin("log/checkpoint").content == both[0].admin("log/checkpoint?worker=0").content
    assert both[0].admin(f"log/checkpoint?worker={WORKERS}").status_code == 404
    assert both[0].admin("log/checkpoint?worker=-1").status_code == 400


def test_the_command_starts_and_ends_them(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2", "--unsafe-plain-http") as server:
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        assert server.token
        assert server.said().count("The administrator's token, shown this once") == 1
        assert (server.state / "worker-1").stat().st_mode & 0o777 == 0o700
        server.process.terminate()
        assert server.process.wait(30) == 0
    with serving(tmp_path, "--workers", "3", "--unsafe-plain-http") as server:
        assert not server.token
        wait_for(lambda: server.said().count("worker-started") == 3)
        server.kill()
        wait_for((server.state / "worker-2" / "audit.log").exists)


@pytest.mark.parametrize("number", ["0", "65", "x", "-1"])
def test_numbers_of_workers_that_cannot_be(tmp_path: Path, number: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = command(tmp_path, [f"--workers={number}"])
    assert os.spawnv(os.P_WAIT, words[0], words) == 2
    assert "from 1 to 64" in capfd.readouterr().err
