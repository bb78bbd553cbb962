"""Several worker processes behind one socket: started, watched, started again, and ended together.

Workers are forked from a process that has no threads, no database and no log open; each opens its own. A worker that
ends, however it ends, is started again: at once if it lived for a while, else after a pause that doubles. SIGTERM and
SIGINT end all of them in order; SIGHUP goes on to each, if what it asks for succeeds here: so workers that are started
later begin with the same. If this process is gone, workers see it and end.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloister.errors import CloisterError
from cloister.serve.server import STOPPING_SECONDS

__all__ = ["supervise"]

SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})
STEADY: Final = 10.0
"""Seconds of life after which an end counts as an accident, not as a worker that cannot work."""
SHORTEST, LONGEST = 0.1, 10.0
"""Seconds of a pause."""
PATIENCE: Final = STOPPING_SECONDS + 5.0
"""Seconds that workers have to end in order."""
UNFORESEEN: Final = 70
"""Exit code of a worker that failed in a way that nobody foresaw (EX_SOFTWARE of sysexits.h)."""

Work = Callable[[int], None]
Tell = Callable[..., None]


@dataclass(slots=True)
class Post:
    """A worker's place. `pid` is 0 while nobody is there; `due` is when somebody should be."""

    number: int
    pid: int = 0
    started: float = 0.0
    due: float = 0.0
    pause: float = SHORTEST


def supervise(count: int, work: Work, tell: Tell, reload: Callable[[], bool] = lambda: True) -> None:
    """Run `work(0)` to `work(count - 1)` in processes until SIGTERM; KeyboardInterrupt if it was SIGINT.

    `work` begins with SIGTERM, SIGINT and SIGHUP blocked and lets them in once it can follow them. `reload` does what
    SIGHUP asks for, and says whether that succeeded. `tell` takes an event's name and its members.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    crew = Crew(count, work, tell, reload)
    try:
        ended_by = crew.run()
    finally:
        crew.stop()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if ended_by == signal.SIGINT:
        raise KeyboardInterrupt


class Crew:
    """The workers. Its process has SIGNALS blocked, and waits for them."""

    def __init__(self, count: int, work: Work, tell: Tell, reload: Callable[[], bool]) -> None:
        self._posts, self._work, self._tell = [Post(number) for number in range(count)], work, tell
        self._reload = reload

    def run(self) -> int:
        """Keep every post filled until a signal says stop; which one."""
        while True:
            now = time.monotonic()
            for post in self._posts:
                if not post.pid and post.due <= now:
                    self._fill(post)
            vacant = [post.due - now for post in self._posts if not post.pid]
            came = signal.sigtimedwait(SIGNALS, max(0.0, min(vacant, default=STEADY)))
            if came is not None and came.si_signo == signal.SIGHUP:
                if self._reload():
                    self._signal(signal.SIGHUP)
            elif came is not None and came.si_signo != signal.SIGCHLD:
                return came.si_signo
            self._look()

    def stop(self) -> None:
        """SIGTERM, time to end in order, SIGKILL for whoever does not."""
        self._signal(signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while any(post.pid for post in self._posts) and time.monotonic() < until:
            signal.sigtimedwait({signal.SIGCHLD}, 0.5)
            self._look()
        self._signal(signal.SIGKILL)
        for post in self._posts:
            if post.pid:
                os.waitpid(post.pid, 0)

    def _signal(self, number: signal.Signals) -> None:
        for post in self._posts:
            if post.pid:
                os.kill(post.pid, number)  # it is ours and not waited for yet, so no other has its identifier

    def _look(self) -> None:
        """Whose post is empty now. Several ends may come as one SIGCHLD."""
        for post in self._posts:
            found, status = os.waitpid(post.pid, os.WNOHANG) if post.pid else (0, 0)
            if found:
                now, code = time.monotonic(), os.waitstatus_to_exitcode(status)
                post.pause = SHORTEST if now - post.started >= STEADY else min(2 * post.pause, LONGEST)
                seconds = round(now - post.started, 1)
                self._tell("worker-ended", worker=post.number, process=post.pid, code=code, seconds=seconds)
                post.pid, post.due = 0, now + (0 if post.pause == SHORTEST else post.pause)

    def _fill(self, post: Post) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        post.started, pid = time.monotonic(), os.fork()
        if pid == 0:
            self._live(post.number)
        post.pid = pid
        self._tell("worker-started", worker=post.number, process=pid)

    def _live(self, number: int) -> None:
        """A worker's life, in its process."""
        code = UNFORESEEN
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            self._work(number)
            code = 0
        except KeyboardInterrupt:
            code = 0
        except CloisterError as error:
            sys.stderr.write(f"cloister serve: worker {number}: {error}\n")
            code = error.exit_code
        finally:
            if code == UNFORESEEN:
                self._tell("worker-failed", worker=number, kind=type(sys.exc_info()[1]).__name__)
            sys.stderr.flush()
            os._exit(code)
