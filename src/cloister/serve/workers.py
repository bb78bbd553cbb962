"""Where what takes time is done: threads, so that the event loop only waits for the network."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

__all__ = ["Pace", "Workers"]

T = TypeVar("T")
THREADS: Final = 8
"""More than cores: most of them wait for the disk, and share its fsync."""
LONG: Final = 0.005
CAUTIOUS: Final = 5.0
"""Seconds."""
WEIGHT: Final = 0.2
"""Of the newest measurement in the mean."""


class Pace:
    """Whether something has been quick enough lately to be done in the event loop. Used there only."""

    def __init__(self, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest, self._clock = longest, clock
        self._mean, self._cautious_until = 0.0, 0.0

    def is_quick(self) -> bool:
        """False for some seconds after the mean became too long; then it is tried again."""
        return time.monotonic() >= self._cautious_until

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Around what is done in the event loop."""
        start = self._clock()
        try:
            yield
        finally:
            self._mean += WEIGHT * (self._clock() - start - self._mean)
            if self._mean > self._longest:
                self._mean, self._cautious_until = 0.0, time.monotonic() + CAUTIOUS


class Workers:
    """A pool of threads."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cloister")
        self._pace = Pace(LONG, time.thread_time)  # not for other processes' load

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def soon(self, work: Callable[[], T], *, quick: bool) -> T:
        """The same. If it is `quick`, here and now: changing threads costs more than most work does.

        If such work takes long after all, threads do all of it for a while.
        """
        if not quick or not self._pace.is_quick():
            return await self.run(work)
        with self._pace.measured():
            return work()

    def close(self) -> None:
        """Wait for what is being done; begin nothing more."""
        self._pool.shutdown(cancel_futures=True)
