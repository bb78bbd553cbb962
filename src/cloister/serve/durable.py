"""Answers that wait for the disk, without a thread for each: all requests that wait at one time share one wait.

One request, in order:

    trail = Trail(audit)                              the broker's way to the log, for one request
    outcome.of(lambda: broker.release(...))           works, and enters what happened; nobody knows it yet
    await log.reached(trail.settled)                  the entries are on the disk; LogUnusable if not
    outcome.reveal()                                  only now
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from cloister.broker.audit import AuditLog, Event
from cloister.errors import CloisterError, Undecided
from cloister.serve.workers import Pace

__all__ = ["Durable", "Outcome", "Trail"]

T = TypeVar("T")
LONG: Final = 0.01
"""Seconds: how long the event loop may stand still for the disk, in the mean. A disk that takes that long does other
requests' work more good by a thread; one that takes half a millisecond does not."""


class Trail:
    """What one request enters in the audit log."""

    def __init__(self, log: AuditLog) -> None:
        self._log, self._last = log, 0

    def append(self, event: Event) -> None:
        """In line, not on the disk yet."""
        self._last = self._log.enter(event)

    def settled(self) -> bool:
        """Whether all of it is on the disk; LogUnusable if it will not be."""
        return self._log.settled(self._last)


class Outcome(Generic[T]):
    """What work came to, shut until it may be known."""

    __slots__ = ("_error", "_value")

    def __init__(self) -> None:
        self._value: T | None = None
        self._error: CloisterError = Undecided("the work was not done")

    def of(self, work: Callable[[], T]) -> None:
        """Do the work. Whatever else goes wrong than what is foreseen is raised here."""
        try:
            self._value = work()
        except CloisterError as error:
            self._error = error

    def reveal(self) -> T:
        """What it returned or raised."""
        if self._value is None:
            raise self._error
        return self._value


class Durable:
    """Something that is written out for all who wait. While the disk is quick, here and now; else by a thread.

    Changing threads costs more than a quick disk does: every statement of a thread that writes asks the event loop for
    the interpreter.
    """

    def __init__(self, write_out: Callable[[], None], *, at_once: Callable[[], bool]) -> None:
        """`at_once` is `write_out` without waiting for others: false if that cannot be."""
        self._write_out, self._at_once = write_out, at_once
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cloister-disk")
        self._waiting: list[asyncio.Future[None]] = []
        self._running = False
        self._pace = Pace(LONG)

    async def reached(self, settled: Callable[[], bool]) -> None:
        """Return when `settled`, which may raise. What was entered during a round waits for the next one."""
        loop = asyncio.get_running_loop()
        while not settled():
            self._waiting.append(loop.create_future())
            if not self._running:
                self._running = True
                loop.call_soon(self._round, loop)  # behind all that may still enter something
            await self._waiting[-1]

    def close(self) -> None:
        """Finish what is being written."""
        self._thread.shutdown()

    def _round(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, []
        if self._pace.is_quick():
            done = True
            # Whatever goes wrong, those who wait must look: it is for them that the log and the database remember it.
            with self._pace.measured(), contextlib.suppress(Exception):
                done = self._at_once()
            if done:
                self._over(waiting, loop)
                return
        running = loop.run_in_executor(self._thread, self._write_out)
        running.add_done_callback(lambda done: self._over(waiting, loop, done))

    def _over(
        self,
        waiting: list[asyncio.Future[None]],
        loop: asyncio.AbstractEventLoop,
        done: asyncio.Future[None] | None = None,
    ) -> None:
        """Wake those who waited: they look for themselves what came of it."""
        if done is not None and not done.cancelled():
            done.exception()  # as above
        for one in waiting:
            if not one.done():
                one.set_result(None)
        self._running = bool(self._waiting)
        if self._running:
            loop.call_soon(self._round, loop)
