"""Attacks by core files: signals that leave one, gcore, and a pattern that hands it to a program."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.target import Arena, Target, open_core_limit, wait_for
from cloister.app.battery.tracing import last_line, program, run_tool

__all__ = ["CORES", "cores_in", "die", "kept_setting", "open_limits", "plain_pattern"]

PATTERN, LONGEST_PATTERN = Path("/proc/sys/kernel/core_pattern"), 127
DUMPABLE = Path("/proc/sys/fs/suid_dumpable")
CORE_SECONDS = 5.0
GCORE_SECONDS = 20.0
FATAL = (signal.SIGQUIT, signal.SIGSEGV, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS)
MOMENTS = 12
MOMENT = 0.004
EVERYTHING = "0x1ff"
"""core(5), coredump_filter: private, shared, files, huge pages, DAX."""


def plain_pattern() -> None:
    """NotTried where core files would not land in the target's directory."""
    pattern = PATTERN.read_text().strip()
    if pattern.startswith("|") or "/" in pattern:
        raise NotTried(f"core files go elsewhere on this machine: core_pattern is {pattern}")


def open_limits(target: Target) -> None:
    """Core files of any size, of all kinds of memory, for every process."""
    for pid in target.family():
        with contextlib.suppress(OSError):
            open_core_limit(pid)
            Path(f"/proc/{pid}/coredump_filter").write_text(EVERYTHING)


def die(target: Target, number: int) -> None:
    """A fatal signal to everybody but the guards, and wait for the end."""
    guards = target.guards()
    for pid in reversed(target.family()):
        if pid not in guards:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    wait_for(lambda: target.process.poll() is not None, CORE_SECONDS)


def judged(target: Target, cores: list[bytes]) -> Attempt:
    """Whether the secret is in a core."""
    if any(target.secret in core for core in cores):
        return succeeded("the secret is in the core file")
    return failed(f"{len(cores)} core files, the secret is in none" if cores else "no core file")


def cores_in(directory: Path) -> list[bytes]:
    """The core files of a directory."""
    return [path.read_bytes() for path in directory.glob("core*")]


def dying(number: int) -> Callable[[Arena], Attempt]:
    """Raise the limit from outside, then send a fatal signal."""

    def run(arena: Arena) -> Attempt:
        plain_pattern()
        with arena.target() as target:
            open_limits(target)
            die(target, number)
            return judged(target, cores_in(target.directory))

    return run


def at_every_moment(arena: Arena) -> Attempt:
    """Fatal signals at moments from the start to the time when it holds the secret."""
    plain_pattern()
    number = 0
    for moment in range(MOMENTS):
        for fatal in FATAL[:2]:
            secret = os.urandom(14).hex().encode()
            with arena.started(arena.victim(), secret) as target:
                with contextlib.suppress(ProcessLookupError):
                    open_core_limit(target.pid)
                target.tell(secret.decode())
                time.sleep(moment * MOMENT)
                open_limits(target)
                die(target, fatal)
                cores = cores_in(target.directory)
                number += len(cores)
                if judged(target, cores).worked:
                    return succeeded(f"the secret is in a core file, {moment * MOMENT * 1000:.0f} ms after the start")
    return failed(f"{MOMENTS * 2} starts, {number} core files, the secret is in none")


def gcore(arena: Arena) -> Attempt:
    """Gdb's gcore."""
    tool = program("gcore")
    with arena.target() as target:
        said = run_tool([tool, "-o", str(target.directory / "core"), str(target.pid)], target.directory, GCORE_SECONDS)
        outcome = judged(target, cores_in(target.directory))
        return outcome if outcome.worked else failed(f"{outcome.detail}: {last_line(said)}")


def piped(dumpable: str = "") -> Callable[[Arena], Attempt]:
    """A core_pattern that hands cores to dd(1), which writes them, to a bound, to the target's directory.

    `dumpable`: also a value of fs.suid_dumpable, by which programs leave cores that otherwise may not.
    """

    def run(arena: Arena) -> Attempt:
        if not arena.setting.may_change_machine:
            raise NotTried(
                "it changes core_pattern of the whole machine: --unsafe-change-machine allows that, and undoes it"
            )
        tool = program("dd")
        with contextlib.ExitStack() as settings:
            if dumpable:
                settings.enter_context(kept_setting(DUMPABLE, dumpable))
            target = settings.enter_context(arena.target())
            pattern = f"|{tool} iflag=fullblock bs=1M count=99 of={target.directory}/core.%p"
            if len(pattern) > LONGEST_PATTERN:
                raise NotTried("the pattern would be too long: set TMPDIR to a shorter path")
            ours = [target.directory / f"core.{pid}" for pid in target.family()]  # others may crash meanwhile, too
            settings.enter_context(kept_setting(PATTERN, pattern))
            open_limits(target)
            die(target, signal.SIGSEGV)
            wait_for(lambda: any(path.exists() for path in ours), 1.0)
            return judged(target, [path.read_bytes() for path in ours if path.exists()])

    return run


@contextlib.contextmanager
def kept_setting(path: Path, value: str) -> Iterator[None]:
    """Another value of a setting of the machine, and the old one afterwards whatever happens."""
    try:
        before = path.read_text()
        path.write_text(value)
    except OSError as error:
        raise NotTried(f"{path} cannot be changed: {error.strerror}") from error
    try:
        yield
    finally:
        path.write_text(before)


CORE = "core(5)"
CORES = (
    Attack(name="gcore", what="gcore", source="gcore(1)", run=gcore),
    Attack(name="core-segv", what="core file by SIGSEGV, limit raised", source=CORE, run=dying(signal.SIGSEGV)),
    Attack(name="core-abrt", what="core file by SIGABRT, limit raised", source=CORE, run=dying(signal.SIGABRT)),
    Attack(name="core-quit", what="core file by SIGQUIT, limit raised", source=CORE, run=dying(signal.SIGQUIT)),
    Attack(name="core-pipe", what="core_pattern that is a program", source=CORE, run=piped()),
    Attack(name="core-dumpable", what="the same with fs.suid_dumpable", source="proc_sys_fs(5)", run=piped("2")),
    Attack(name="core-moments", what="core files at every moment of the start", source=CORE, run=at_every_moment),
)
