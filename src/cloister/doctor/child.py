"""Probes that could disturb this process run in a forked child, which answers over a pipe.

A probe that installs a seccomp filter, drops privileges or executes a hand-made instruction must not do so here.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cloister.errors import ObservationError

__all__ = ["Held", "ProbeFailed", "ask", "hold"]

Answer = dict[str, Any]

SECONDS = 5.0
"""How long a probe may take; all of them take milliseconds."""


class ProbeFailed(ObservationError):
    """A probe did not answer: a system call failed in it (`errno`), or it died or hung (`errno` 0)."""

    def __init__(self, message: str, *, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A child that has answered and is kept as it is until its `hold` block ends."""

    pid: int
    answer: Answer


def ask(probe: Callable[[], Answer]) -> Answer:
    """Run `probe` in a child and return its answer. Raises ProbeFailed."""
    with hold(probe) as held:
        return held.answer


@contextmanager
def hold(probe: Callable[[], Answer]) -> Iterator[Held]:
    """Run `probe` in a child that stays alive, with whatever it mapped, while the block runs. Raises ProbeFailed."""
    sys.stdout.flush()
    sys.stderr.flush()
    answers, answering = os.pipe()
    waiting, release = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(answers)
        os.close(release)
        _child(probe, answering, waiting)
    os.close(answering)
    os.close(waiting)
    try:
        yield Held(pid=pid, answer=_decode(_read_line(answers, pid)))
    finally:
        os.close(release)
        os.close(answers)
        _end(pid)


def _child(probe: Callable[[], Answer], answering: int, waiting: int) -> None:
    """Answer, then wait until the parent closes its end. Never returns."""
    try:
        os.write(answering, _run(probe).encode() + b"\n")
        os.read(waiting, 1)
    finally:
        os._exit(0)


def _run(probe: Callable[[], Answer]) -> str:
    try:
        return json.dumps({"answer": probe()})
    except OSError as error:
        return json.dumps({"errno": error.errno or 0, "message": error.strerror or str(error)})


def _read_line(answers: int, pid: int) -> bytes:
    """What the child wrote, up to the newline. Raises ProbeFailed if it dies or hangs first."""
    line = b""
    deadline = time.monotonic() + SECONDS
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([answers], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise ProbeFailed(f"the probe did not answer within {SECONDS:.0f} s")
        part = os.read(answers, 65536)
        if not part:
            raise ProbeFailed(f"the probe ended without an answer: {_death(pid)}")
        line += part
    return line


def _decode(line: bytes) -> Answer:
    said: dict[str, Any] = json.loads(line)
    if "answer" not in said:
        raise ProbeFailed(said["message"], errno=said["errno"])
    answer: Answer = said["answer"]
    return answer


def _death(pid: int) -> str:
    """How the child ended, without reaping it: `_end` does that."""
    info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if info is None or info.si_code == os.CLD_EXITED:
        return "it exited"
    return f"killed by {signal.Signals(info.si_status).name}"


def _end(pid: int) -> None:
    """The child only waits by now, or hangs: either way it has nothing left to do."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
