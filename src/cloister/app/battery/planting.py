"""A debugger that comes and goes: before the guards hold, it leaves a process in the program's memory, and goes away.

The guards then hold the program, and find nothing amiss; the planted process stays the debugger's, and writes out what
he tells it, whenever he likes.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, failed, succeeded
from cloister.app.battery.memory import holds_secret, maps_of, mem_read
from cloister.app.battery.target import VICTIM, Arena, Target, wait_for
from cloister.app.battery.tracing import ORIG_RAX, RAX, RDI, RDX, RIP, RSI, SYS_WRITE, SYSCALL
from cloister.observe.prove.secret import Secret

__all__ = ["PLANTING"]

ATTEMPTS, MOMENT, START_SECONDS = 20, 0.0003, 3.0
SYS_CLONE, SAME_MEMORY, TRACE_CLONE, CLONED, TRAP = 56, 0x100, 8, 3, 5
NO_CALL = (1 << 64) - 1
R8, R10 = 9, 7
STEPS = 4
PIECE, LARGEST = 1 << 16, 1 << 22


def planted(pid: int) -> tuple[int, int]:
    """Seize it, have it clone(2) a process that shares its memory, let it go. That process, and a place of SYSCALL."""
    calls.seize(pid, TRACE_CLONE)
    try:
        calls.interrupt(pid)
        calls.wait_stopped(pid)
        place = call_site(pid)
        before = calls.get_registers(pid)
        calls.set_registers(pid, changed(before, place, (SYS_CLONE, SAME_MEMORY, 0, 0)))
        child = 0
        for _ in range(STEPS):
            status = calls.step(pid)
            if status >> 16 == CLONED:
                child = calls.event_message(pid)
            elif status >> 8 == TRAP:
                break
        calls.set_registers(pid, before)
    finally:
        calls.detach(pid)
    if not child:
        raise OSError(0, "nothing could be planted")
    calls.wait_stopped(child)
    return child, place


def call_site(pid: int) -> int:
    """A system-call instruction in what can be read of its code."""
    for mapping in maps_of(pid):
        if "x" in mapping.permissions and mapping.path != "[vsyscall]":
            with contextlib.suppress(OSError):
                found = mem_read(pid, mapping.start, mapping.size).find(SYSCALL)
                if found >= 0:
                    return mapping.start + found
    raise OSError(0, "no system-call instruction was found")


def changed(registers: list[int], place: int, call: tuple[int, int, int, int]) -> list[int]:
    """Registers that make this call there."""
    now = list(registers)
    now[RIP], now[ORIG_RAX], now[R8], now[R10] = place, NO_CALL, 0, 0
    now[RAX], now[RDI], now[RSI], now[RDX] = call
    return now


def has_it_written(target: Target, child: int, place: int) -> bool:
    """Have the planted process write the program's memory to the output that both have."""
    known = holds_secret(target)
    for address, size in [(known, 64)] if known else list(pieces_of(child)):
        calls.set_registers(child, changed(calls.get_registers(child), place, (SYS_WRITE, 1, address, size)))
        calls.step(child)
        if target.said(target.secret):
            return True
    return False


def pieces_of(pid: int) -> Iterator[tuple[int, int]]:
    """Address and size of what may hold data."""
    for mapping in maps_of(pid):
        if mapping.permissions.startswith("rw"):
            yield from ((mapping.start + at, PIECE) for at in range(0, min(mapping.size, LARGEST), PIECE))


def plant(arena: Arena) -> Attempt:
    """At several moments of the start."""
    left = 0
    for attempt in range(ATTEMPTS):
        secret = Secret.fresh("battery").value
        with arena.started(VICTIM, secret) as target:
            target.tell(secret.decode())
            time.sleep(attempt * MOMENT)
            try:
                child, place = planted(target.pid)
            except OSError:
                continue
            left += 1
            try:
                wait_for(lambda target=target: target.is_ready() or not target.alive(), START_SECONDS)  # type: ignore[misc]
                if target.is_ready() and has_it_written(target, child, place):
                    return succeeded("what was planted at the start wrote the secret out")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
    return failed(f"{ATTEMPTS} starts: planted {left} times, after which nothing ran; else refused")


PLANTING = (
    Attack(
        name="race-plant",
        what="plant a process in its memory, before its guards",
        source="ptrace(2), clone(2) CLONE_VM",
        run=plant,
    ),
)
