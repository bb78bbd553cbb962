"""Where what takes time is done: threads, so that the event loop only waits for the network."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

__all__ = ["Workers"]

T = TypeVar("T")
THREADS: Final = 8
"""More than cores: most of them wait for the disk, and share its fsync."""


class Workers:
    """A pool of threads."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cloister")

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Wait for what is being done; begin nothing more."""
        self._pool.shutdown(cancel_futures=True)
