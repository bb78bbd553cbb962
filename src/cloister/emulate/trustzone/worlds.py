"""Two worlds on one processor, and the monitor that switches between them.

Arm ARM (DDI 0487), chapter D1: exception levels EL0 to EL2 exist in the world that SCR_EL3.NS names, EL3 above both.
SMC traps to EL3. Most registers are not banked: the same X0 to X30 serve both worlds, so the monitor must save one
world's and load the other's at each switch (TF-A, docs/components/context-management-library.rst). One that forgets
hands the program's registers to the normal world: `scrubs=False`.

Contexts stand in trusted SRAM on the chip, where TF-A's BL31 runs, not in DRAM.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum, IntFlag, StrEnum
from typing import Final

from cloister.emulate.engine_unsafe import Engine
from cloister.emulate.trustzone.smc import NOT_SUPPORTED, PSCI_VERSION, SMCCC_VERSION, FunctionId, Owner

__all__ = ["RESULTS", "ExceptionLevel", "Monitor", "Scr", "World"]

RESULTS: Final = 4
"""Registers that carry results of a call: X0 to X3 (SMCCC 1.0; the normal world's others come back as they were)."""


OWN_CALLS: Final = {SMCCC_VERSION: 0x1_0002, PSCI_VERSION: 0x1_0001}
"""Versions 1.2 and 1.1."""


class World(StrEnum):
    """The security state below EL3."""

    SECURE = "secure"
    NORMAL = "normal"


class ExceptionLevel(IntEnum):
    """Who runs where: applications, operating systems, hypervisors, the monitor."""

    EL0 = 0
    EL1 = 1
    EL2 = 2
    EL3 = 3


class Scr(IntFlag):
    """SCR_EL3 (Arm ARM, D19.2): the bits that concern worlds."""

    NS = 1  # the level below is in the normal world
    IRQ = 1 << 1  # interrupts are taken to EL3
    FIQ = 1 << 2
    EA = 1 << 3  # external aborts
    SMD = 1 << 7  # SMC disabled
    HCE = 1 << 8
    SIF = 1 << 9  # the secure world may not execute from memory of the normal world
    RW = 1 << 10  # the level below is AArch64


class Monitor:
    """BL31. `scr` is SCR_EL3; `switches` counts changes of world. The secure world runs first, as after a cold boot."""

    def __init__(self, engine: Engine, *, scrubs: bool = True) -> None:
        self.scr = Scr.RW | Scr.SIF | Scr.FIQ | Scr.EA
        self.scrubs = scrubs
        self.switches = 0
        self._engine = engine
        self._names = tuple(engine.names)
        self._normal = dict.fromkeys(self._names, 0)
        engine.load()
        engine.set_exception_level(ExceptionLevel.EL1)
        self._whole = engine.context()
        engine.load()

    @property
    def world(self) -> World:
        """The world that runs below EL3."""
        return World.NORMAL if self.scr & Scr.NS else World.SECURE

    def to_normal(self, secure: Sequence[int] | None, results: Sequence[int]) -> Mapping[str, int]:
        """SMC from the secure OS: the normal world's registers return, with X0 to X3 set. What it then finds in them.

        `secure` are the registers as the secure world leaves them, which a monitor that does not scrub hands over; None
        if the monitor answered without entering it.
        """
        self._switch(World.NORMAL)
        if secure is not None and not self.scrubs:
            # Program counter and stack are loaded in any case: without them the normal world could not go on.
            kept = {name: self._normal[name] for name in ("pc", "sp")}
            self._normal = dict(zip(self._names, secure, strict=True)) | kept
        self.answer(results)
        return dict(self._normal)

    def to_secure(self) -> None:
        """SMC from the normal world. Its registers are kept, so that it finds them again."""
        self._switch(World.SECURE)

    def own_call(self, arguments: Sequence[int]) -> Sequence[int] | None:
        """Answer an SMC that is BL31's own, by the owner in its identifier. None: it is for the trusted OS."""
        number = arguments[0] & 0xFFFF_FFFF
        if Owner.TRUSTED_OS <= FunctionId.of(number).owner <= Owner.TRUSTED_OS_END:
            return None
        return (OWN_CALLS.get(number, NOT_SUPPORTED),)

    def answer(self, results: Sequence[int]) -> None:
        """Put a call's results where the normal world finds them."""
        self._normal.update((f"x{number}", value) for number, value in enumerate(results[:RESULTS]))

    def _switch(self, world: World) -> None:
        self.scr = self.scr | Scr.NS if world is World.NORMAL else self.scr & ~Scr.NS
        self.switches += 1

    # ---- the normal world's own code on the processor

    def load_normal(self) -> None:
        """The processor gets the normal world's registers, general and floating point."""
        self._engine.load(self._whole)
        self._engine.set_registers([self._normal[name] for name in self._names])

    def store_normal(self) -> None:
        """The monitor's copy of the normal world's registers is what the processor holds."""
        self._engine.store(self._whole)
        self._normal = dict(zip(self._names, self._engine.registers(), strict=True))

    def set_normal(self, **registers: int) -> None:
        """What the operating system itself loads before it goes on."""
        self._normal |= registers

    @property
    def normal(self) -> Mapping[str, int]:
        """The normal world's registers, as it left them or will find them."""
        return dict(self._normal)

    def wipe(self) -> None:
        """Forget both worlds' registers."""
        self._engine.load()
        self._engine.store(self._whole)
        self._normal = dict.fromkeys(self._names, 0)
