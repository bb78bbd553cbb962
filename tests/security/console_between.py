"""Who stands between a person and a program's console: sees every frame, and passes on what it likes."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cloister.attest.console_link import Frames, LinkFrame, packed

__all__ = ["Between", "Pass", "between"]

Pass = Callable[[LinkFrame], Iterable[LinkFrame]]


def honest(frame: LinkFrame) -> Iterable[LinkFrame]:
    return [frame]


class Between:
    """Frames as they came, in both directions."""

    def __init__(self) -> None:
        self.to_host: list[LinkFrame] = []
        self.to_person: list[LinkFrame] = []


@contextlib.contextmanager
def between(path: Path, console: Path, *, to_host: Pass = honest, to_person: Pass = honest) -> Iterator[Between]:
    """Listens at `path` for one person; speaks to the host's `console`."""
    seen = Between()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as host:
        listener.bind(str(path))
        listener.listen()
        host.connect(str(console))
        started = threading.Thread(target=_carry, args=(listener, host, seen, to_host, to_person), daemon=True)
        started.start()
        yield seen


def _carry(listener: socket.socket, host: socket.socket, seen: Between, to_host: Pass, to_person: Pass) -> None:
    person, _ = listener.accept()
    ways = ((person, host, seen.to_host, to_host), (host, person, seen.to_person, to_person))
    threads = [threading.Thread(target=_one_way, args=way, daemon=True) for way in ways]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    person.close()


def _one_way(source: socket.socket, target: socket.socket, seen: list[LinkFrame], choose: Pass) -> None:
    frames = Frames()
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            for frame in frames.feed(data):
                seen.append(frame)
                for one in choose(frame):
                    target.sendall(packed(one.kind, one.body))
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
