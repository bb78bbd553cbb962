"""What a miss, an exit, a call to the host and a fault cost in one machine, in microseconds."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.emulate.attacks.victims import victim
from cloister.emulate.catalogue import kind_of
from cloister.emulate.host import Cause
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.paging import Access
from cloister.emulate.terminal import sealed_terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE, Permission

__all__ = ["Costs", "costs_of"]

REPEATS: Final = 400
PAGES: Final = 600
FRAMES: Final = 128
AREA: Final = 0x20_0000_0000


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Microseconds: `exit` out and in again, `miss` of a clean page, `dirty_miss` with a page written back for it."""

    exit: float
    miss: float
    dirty_miss: float
    launch_page: float


def costs_of(name: str, keys: Path) -> Costs:
    """Measure one machine, with the victim of the attacks in it."""
    kind = kind_of(name)
    program = victim(kind.architecture)
    terminal = sealed_terminal(lambda _: b"", lambda _: None)
    machine = kind.make(Shape(memory=8192, frames=FRAMES), terminal, Keystore(keys))
    try:
        launch = seconds(lambda: machine.launch(program.image)) / len(program.image.pages)
        machine.start(["victim"], {})
        exits = seconds(lambda: leave_and_enter(machine)) / REPEATS
        machine.map(AREA, PAGES * PAGE, Permission.READ | Permission.WRITE)
        touch(machine, Access.WRITE)
        dirty = seconds(lambda: touch(machine, Access.WRITE)) / PAGES
        machine.settle()
        clean = seconds(lambda: touch(machine, Access.READ)) / PAGES
    finally:
        machine.close()
    return Costs(exit=exits * 1e6, miss=clean * 1e6, dirty_miss=dirty * 1e6, launch_page=launch * 1e6)


def leave_and_enter(machine: Machine) -> None:
    """What every system call that the host serves begins and ends with."""
    for _ in range(REPEATS):
        machine.leave(Cause.SYSTEM_CALL)
        machine.enter(Cause.SYSTEM_CALL)


def touch(machine: Machine, access: Access) -> None:
    """Every page in turn, of which the frames hold a fifth."""
    for page in range(PAGES):
        machine.frame_of(AREA + page * PAGE, access)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
