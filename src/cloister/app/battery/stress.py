"""Attacks that disturb: signals at every moment, limits, want of memory; and whether anything opens meanwhile."""

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.cores import cores_in, open_limits
from cloister.app.battery.memory import holds_secret
from cloister.app.battery.target import Arena, Target, wait_for
from cloister.app.battery.tracing import attached, nothing

__all__ = ["STRESS"]

GROW_SECONDS = 3.0
CGROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
ROOM = 64 << 20
TIGHT = {
    resource.RLIMIT_NOFILE: 8,
    resource.RLIMIT_AS: 1 << 24,
    resource.RLIMIT_DATA: 1 << 20,
    resource.RLIMIT_STACK: 1 << 16,
    resource.RLIMIT_FSIZE: 1 << 16,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_NPROC: 1,
    resource.RLIMIT_SIGPENDING: 1,
}
"""Limits of a process of which the program, its runtime or its guards might need more."""


def opened(target: Target) -> Attempt:
    """Whether the program can be read or traced now, or left a core with the secret."""
    if any(target.secret in core for core in cores_in(target.directory)):
        return succeeded("the secret is in a core file")
    if not target.alive():
        return failed("the program ended, and left nothing")
    if holds_secret(target):
        return succeeded("the secret could be read")
    outcome = attached(target.threads(), nothing)
    return succeeded("attached") if outcome.worked else failed("the program runs on, unread and untraced")


def every_signal(arena: Arena) -> Attempt:
    """Each signal to the program and its guards, looking after each whether anything has opened."""
    ended = 0
    for number in sorted(signal.valid_signals() - {signal.SIGKILL}):
        if number > signal.SIGSYS and number % 8:
            continue  # real-time signals are alike: a few of them
        with arena.target() as target:
            open_limits(target)
            for pid in target.family():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(0.03)
            outcome = opened(target)
            if outcome.worked:
                return succeeded(f"{signal.Signals(number).name}: {outcome.detail}")
            ended += not target.alive()
    return failed(f"nothing opened; {ended} signals ended the program")


def limits(arena: Arena) -> Attempt:
    """Take away by prlimit(2) what it may need, let it ask for memory, look."""
    for kind, value in TIGHT.items():
        with arena.target(built_in=True) as target:
            open_limits(target)
            for pid in target.family():
                with contextlib.suppress(OSError, ValueError):
                    resource.prlimit(pid, kind, (value, value))
            target.tell("grow")
            wait_for(lambda target=target: target.said(b"grown") or not target.alive(), GROW_SECONDS)  # type: ignore[misc]
            outcome = opened(target)
            if outcome.worked:
                return outcome
    return failed(f"{len(TIGHT)} limits: nothing opened")


def want_of_memory(arena: Arena) -> Attempt:
    """Put it into a memory cgroup of the battery's own, and tell it to take more and more; look until it is killed."""
    with arena.target(built_in=True) as target, cgroup(target):
        open_limits(target)
        outcome = opened(target)
        target.tell("fill")
        limit = time.monotonic() + GROW_SECONDS
        while time.monotonic() < limit and target.alive() and not outcome.worked:
            outcome = opened(target)
        if outcome.worked:
            return outcome
        return failed(f"{'still there' if target.alive() else 'killed'}; nothing opened before")


class cgroup:  # noqa: N801  used as a statement
    """A memory cgroup of 64 MiB with the family in it, removed at the end."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.place: Path | None = None

    def __enter__(self) -> bool:
        """Make it and move everybody. NotTried where cgroups are not to be had."""
        for top in CGROUPS:
            limit = next((name for name in ("memory.limit_in_bytes", "memory.max") if (top / name).exists()), "")
            if not limit and (top / "cgroup.controllers").exists():
                limit = "memory.max" if "memory" in (top / "cgroup.controllers").read_text().split() else ""
            if limit:
                return self.make(top, limit)
        raise NotTried("no memory cgroup can be made here")

    def make(self, top: Path, limit: str) -> bool:
        """The directory, its limit, its members."""
        self.place = top / f"cloister-battery-{os.getpid()}-{self.target.pid}"
        try:
            self.place.mkdir()
            (self.place / limit).write_text(str(ROOM))
            for pid in self.target.family():
                (self.place / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            self.__exit__()
            raise NotTried(f"no memory cgroup can be made here: {error.strerror}") from error
        return True

    def __exit__(self, *_error: object) -> None:
        """Kill the family, which alone is in it, and remove it."""
        for pid in self.target.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        place = self.place
        if place is not None:
            self.target.process.wait()
            wait_for(lambda: gone(place), 3.0, 0.05)


def gone(place: Path) -> bool:
    """Whether the cgroup could be removed: it can once its last process has ended."""
    with contextlib.suppress(FileNotFoundError):
        try:
            place.rmdir()
        except OSError:
            return not place.exists()
    return True


STRESS = (
    Attack(name="signals", what="every signal to all of its processes", source="signal(7)", run=every_signal),
    Attack(name="limits", what="lower its limits while it runs", source="prlimit(2)", run=limits),
    Attack(name="want-of-memory", what="memory pressure and the OOM killer", source="cgroups(7)", run=want_of_memory),
)
