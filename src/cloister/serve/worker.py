"""What one of several workers of `cloister serve` does."""

import os
import socket
from collections.abc import Callable
from dataclasses import replace

from cloister.serve.journal import Journal
from cloister.serve.server import Listening, run_until_stopped, server_for
from cloister.serve.service import Service, Settings

__all__ = ["worker_of"]


def worker_of(settings: Settings, how: Listening, listener: socket.socket) -> Callable[[int], None]:
    """What a worker does, given its number: open everything, serve until SIGTERM or until its parent is gone."""
    parent = os.getpid()

    def work(number: int) -> None:
        service = Service(replace(settings, worker=number), Journal())
        try:
            run_until_stopped(server_for(service.application, how, parent=parent), listener)
        finally:
            service.close()

    return work
