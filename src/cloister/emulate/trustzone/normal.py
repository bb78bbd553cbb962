"""The normal world's operating system as real arm64 code at EL1, with a translation table of its own.

The machine's host is Python and needs no code on the emulated processor. This is for what only code can show: a load
from secure memory, an SMC, and what is left in registers.

    machine.normal.load(0x10000, code)                 # in pages of the normal world
    machine.normal.map(0x20000, secure_page, READ)     # its table may name any physical page; the bus decides
    ending = machine.normal.run(0x10000)               # until `brk`
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from cloister.emulate.engine_unsafe import Engine, Event, Stop
from cloister.emulate.host import PhysicalMemory
from cloister.emulate.paging import Stage
from cloister.emulate.tables import PageTable
from cloister.emulate.trustzone.worlds import Monitor
from cloister.errors import UsageError
from cloister.measure.image import PAGE, Permission

__all__ = ["NormalEnding", "NormalWorld", "Why"]

SMC, BREAKPOINT = 13, 7
"""The engine's numbers of Arm exceptions: EXCP_SMC and EXCP_BKPT of QEMU, target/arm/cpu.h."""
LIMIT: Final = 10_000_000
"""Instructions that normal-world code may run between two calls."""
ARGUMENTS: Final = 8
EVERYTHING: Final = Permission.READ | Permission.WRITE | Permission.EXECUTE


class Why(StrEnum):
    """How code of the normal world ended."""

    FINISHED = "brk"
    ABORT = "abort"
    UNDEFINED = "undefined"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class NormalEnding:
    """Why it ended, the registers then, and what the abort was."""

    why: Why
    registers: Mapping[str, int]
    abort: str = ""


class Processor(Protocol):
    """What the code runs on: a machine."""

    engine: Engine
    monitor: Monitor
    pages: PhysicalMemory
    inside: bool

    def host_write(self, page: int, data: bytes) -> None: ...

    def forget_translations(self) -> None: ...

    def use_tables(self, *, normal: bool) -> None: ...

    def smc(self, arguments: Sequence[int]) -> None: ...


class NormalWorld:
    """EL1 of the normal world. `table` is its own: nothing that it says gives a right on the bus."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self.table = PageTable(Stage.HOST)
        processor.engine.forbid_address_translation()

    def load(self, address: int, code: bytes) -> None:
        """Put code or data into fresh pages of the normal world, from a page-aligned address. MemoryError."""
        for start in range(0, len(code), PAGE):
            page = self._processor.pages.allocate()
            self._processor.host_write(page, code[start : start + PAGE].ljust(PAGE, b"\0"))
            self.map(address + start, page, EVERYTHING)

    def map(self, address: int, page: int, permission: Permission) -> None:
        """Map any physical page."""
        self.table.set(address, page, permission)
        self._processor.forget_translations()

    def run(self, entry: int, *arguments: int) -> NormalEnding:
        """Run from an address with X0 to X7 as given. UsageError while the secure world runs."""
        processor = self._processor
        if processor.inside:
            raise UsageError("the secure world has the processor; normal-world code runs while the program waits")
        if len(arguments) > ARGUMENTS:
            raise UsageError(f"{len(arguments)} arguments; X0 to X7 hold {ARGUMENTS}")
        given = {f"x{number}": value for number, value in enumerate(arguments)}
        processor.monitor.set_normal(pc=entry, **given)
        try:
            while True:
                event = self._step()
                if not (event.stop is Stop.EXCEPTION and event.number == SMC):
                    return self._ending(event)
                registers = processor.monitor.normal
                processor.smc([registers[f"x{number}"] for number in range(ARGUMENTS)])
        finally:
            processor.engine.load()

    def _step(self) -> Event:
        """Run on from the monitor's copy of the registers until something happens."""
        processor = self._processor
        processor.monitor.load_normal()
        processor.use_tables(normal=True)
        try:
            return processor.engine.run(LIMIT)
        finally:
            processor.monitor.store_normal()
            processor.use_tables(normal=False)

    def _ending(self, event: Event) -> NormalEnding:
        registers = self._processor.monitor.normal
        if event.fault is not None:
            return NormalEnding(Why.ABORT, registers, str(event.fault))
        if event.stop is Stop.STEPS:
            return NormalEnding(Why.LIMIT, registers)
        finished = event.stop is Stop.EXCEPTION and event.number == BREAKPOINT
        return NormalEnding(Why.FINISHED if finished else Why.UNDEFINED, registers)
