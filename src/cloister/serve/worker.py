"""What one of several workers of `cloister serve` does."""

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from cloister.serve.journal import Journal
from cloister.serve.server import Listening, run_until_stopped, server_for
from cloister.serve.service import Service, Settings

__all__ = ["worker_of"]


def worker_of(
    settings: Settings, how: Listening, listener: socket.socket,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Callable[[int], None]:  # fmt: skip
    """What a worker does, given its number: open everything, serve until SIGTERM or until its parent is gone.

    `around` is around serving: it may have signals do something.
    """
    parent = os.getpid()

    def work(number: int) -> None:
        service = Service(replace(settings, worker=number), Journal())
        try:
            with around():
                run_until_stopped(server_for(service.application, how, parent=parent), listener)
        finally:
            service.close()

    return work
