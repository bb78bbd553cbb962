"""The parent of workers: pauses between starts, and ends that nobody foresaw. Each in a process of its own."""

import json
import os
import signal
import time
from collections.abc import Callable

from cloister.errors import UsageError
from cloister.serve.supervisor import supervise


def supervised(count: int, work: Callable[[int], None], seconds: float) -> tuple[int, list[dict[str, object]]]:
    """Supervise for so long; the exit code, and what was told."""
    reading, writing = os.pipe()

    def tell(event: str, **more: object) -> None:
        os.write(writing, json.dumps({"is": event, **more}).encode() + b"\n")

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            supervise(count, work, tell)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    time.sleep(seconds)
    os.kill(pid, signal.SIGTERM)
    with os.fdopen(reading) as pipe:
        said = [json.loads(line) for line in pipe]
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def codes(said: list[dict[str, object]]) -> list[object]:
    return [one["code"] for one in said if one["is"] == "worker-ended"]


def test_what_ends_at_once_is_started_again_ever_more_slowly() -> None:
    code, said = supervised(1, lambda _: None, 1.5)
    starts = sum(one["is"] == "worker-started" for one in said)
    assert code == 0
    assert 2 <= starts <= 5  # after 0, 0.2, 0.6, 1.4 s


def test_a_refusal_has_its_exit_code_and_a_crash_its_own() -> None:
    def refuses(number: int) -> None:
        raise UsageError("no") if number else ZeroDivisionError

    code, said = supervised(2, refuses, 0.1)
    assert code == 0
    assert {one["worker"]: one["code"] for one in said if one["is"] == "worker-ended"} == {0: 70, 1: 2}
    assert {one["kind"] for one in said if one["is"] == "worker-failed"} == {"ZeroDivisionError"}


def test_signals_wait_until_a_worker_can_follow_them() -> None:
    def slow_to_start(_: int) -> None:
        time.sleep(0.6)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        time.sleep(30)

    code, said = supervised(2, slow_to_start, 0.2)
    assert code == 0
    assert codes(said) == [7, 7]
