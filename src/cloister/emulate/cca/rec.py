"""A realm execution context (REC): where a virtual processor's registers lie while it does not run.

RMM specification 1.0, "RmiRecParams", "RmiRecRun", "REC exits"; TF-RMM 1.0, runtime/core/exit.c. The REC is a granule
of the realm's, encrypted under the realm's key; its layout is the monitor's own business, here this project's. Model:
vector registers stay on die, where auxiliary granules of the REC would hold them.

At an exit the host finds in a page of its own (`rec_run`) what the kind of exit calls for; all else is zero.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cloister._wire import Record, raw, reserved, u16, u64
from cloister.emulate.cca.memory import PasMemory
from cloister.emulate.cca.rmi import MonitorPanic
from cloister.emulate.cca.rtt import Ripas
from cloister.emulate.paging import HOST_KEY, Access
from cloister.measure.image import PAGE

__all__ = ["AUX_COUNT", "Exit", "ExitReason", "RecContext", "RecParamsPage", "RecRunExit", "abort_syndrome"]

AUX_COUNT: Final = 2
"""Auxiliary granules that this monitor wants for each REC."""

MOST_AUX: Final = 16
FIRST_REGISTERS: Final = 8
RUNNABLE: Final = 1


class RecParamsPage(Record, size=4096):
    """`struct rmi_rec_params`, which the host puts into a page of its own. Words are little-endian."""

    flags: int = u64()
    reserved_8: bytes = reserved(0x100 - 8)
    mpidr: int = u64()
    reserved_108: bytes = reserved(0x200 - 0x108)
    pc: int = u64()
    reserved_208: bytes = reserved(0x300 - 0x208)
    gprs: bytes = raw(8 * FIRST_REGISTERS)
    reserved_340: bytes = reserved(0x800 - 0x340)
    num_aux: int = u64()
    aux: bytes = raw(8 * MOST_AUX)
    reserved_888: bytes = reserved(0x1000 - 0x888)

    @classmethod
    def of(cls, *, pc: int, aux: Sequence[int], mpidr: int = 0, flags: int = RUNNABLE) -> "RecParamsPage":
        """A processor that starts at `pc`, with registers of zero. `aux`: addresses of granules."""
        addresses = struct.pack(f"<{len(aux)}Q", *aux).ljust(8 * MOST_AUX, b"\0")
        return cls(flags=flags, mpidr=mpidr, pc=pc, gprs=bytes(8 * FIRST_REGISTERS), num_aux=len(aux), aux=addresses)

    @property
    def registers(self) -> tuple[int, ...]:
        """X0 to X7."""
        return struct.unpack(f"<{FIRST_REGISTERS}Q", self.gprs)

    @property
    def aux_addresses(self) -> tuple[int, ...]:
        """The auxiliary granules, as many as `num_aux` says."""
        return struct.unpack(f"<{MOST_AUX}Q", self.aux)[: self.num_aux]


class ExitReason(IntEnum):
    """Why a REC was left (`RmiRecExitReason`)."""

    SYNC = 0
    IRQ = 1
    RIPAS_CHANGE = 4
    HOST_CALL = 5


@dataclass(frozen=True, slots=True)
class Exit:
    """One exit. `esr`, `far`, `hpfar` for aborts; `ripas_*` for a change of RIPAS; `imm`, `gprs` for host calls."""

    reason: ExitReason
    esr: int = 0
    far: int = 0
    hpfar: int = 0
    ripas_base: int = 0
    ripas_top: int = 0
    ripas_value: int = 0
    imm: int = 0
    gprs: tuple[int, ...] = field(default=())

    def shown(self) -> dict[str, int]:
        """What the host finds, by name. Everything that is not named is zero."""
        return {
            "exit_reason": self.reason, "esr": self.esr, "far": self.far, "hpfar": self.hpfar,
            "ripas_base": self.ripas_base, "ripas_top": self.ripas_top, "ripas_value": self.ripas_value,
            "imm": self.imm,
        } | {f"gprs[{number}]": value for number, value in enumerate(self.gprs)}  # fmt: skip


class RecRunExit(Record, size=2048):
    """The exit half of `struct rmi_rec_run`, at 0x800 of the host's page. Interrupt controller and timers are zero."""

    exit_reason: int = u64()
    reserved_8: bytes = reserved(0x100 - 8)
    esr: int = u64()
    far: int = u64()
    hpfar: int = u64()
    reserved_118: bytes = reserved(0x200 - 0x118)
    gprs: bytes = raw(8 * 31)
    reserved_2f8: bytes = reserved(0x500 - 0x2F8)
    ripas_base: int = u64()
    ripas_top: int = u64()
    ripas_value: int = u64()
    reserved_518: bytes = reserved(0x600 - 0x518)
    imm: int = u16()
    reserved_602: bytes = reserved(0x800 - 0x602)

    @classmethod
    def of(cls, left: Exit) -> "RecRunExit":
        """As the monitor writes it: zeroed, then filled."""
        gprs = struct.pack(f"<{len(left.gprs)}Q", *left.gprs).ljust(8 * 31, b"\0")
        return cls(
            exit_reason=left.reason, esr=left.esr, far=left.far, hpfar=left.hpfar, gprs=gprs, imm=left.imm,
            ripas_base=left.ripas_base, ripas_top=left.ripas_top, ripas_value=left.ripas_value,
        )  # fmt: skip


RUN_EXIT: Final = 0x800
RUN_FLAGS: Final = 0
EMULATED_MMIO, INJECT_SEA, TRAP_WFI, TRAP_WFE, RIPAS_REJECTED = 1, 2, 4, 8, 16
"""Flags of the entry half, at 0 of the host's page."""


def show(memory: PasMemory, run: int, left: Exit) -> None:
    """Write an exit into the host's page `run`."""
    memory.write(run, HOST_KEY, RUN_EXIT, RecRunExit.of(left).serialize())


def entry_flags(memory: PasMemory, run: int) -> int:
    """The flags that the host gives at entry."""
    return memory.word(run, HOST_KEY, RUN_FLAGS)


DATA_ABORT, INSTRUCTION_ABORT = 0x24, 0x20
TRANSLATION_FAULT: Final = 0x04


def abort_syndrome(access: Access, level: int) -> int:
    """ESR_EL2 of a stage-2 abort on a protected address, as the monitor lets the host see it: class and fault status.

    Whether it was a read or a write is masked out (TF-RMM, runtime/core/exit.c, ESR_NONEMULATED_ABORT_MASK).
    """
    kind = INSTRUCTION_ABORT if access is Access.FETCH else DATA_ABORT
    return kind << 26 | TRANSLATION_FAULT + level


def hpfar(ipa: int) -> int:
    """HPFAR_EL2 of an address: its page in bits 43 to 4."""
    return ipa // PAGE << 4


# ---- the granule

OWNER, FLAGS, MPIDR, BASE, TOP, NEXT, VALUE, PENDING = range(8)
"""Words at the front: the realm's RD, whether it may run, its number, and a change of RIPAS that is under way."""

STATE: Final = 0x100
HEAD: Final = struct.Struct("<8Q")


@dataclass(slots=True)
class RecContext:
    """The granule `page` of a REC, under the realm's `key`. `names` are the registers, in the order of the engine."""

    memory: PasMemory
    page: int
    key: int
    names: tuple[str, ...]

    def begin(self, owner: int, params: RecParamsPage) -> None:
        """As RMI_REC_CREATE makes it."""
        self.memory.put(self.page, self.key)
        self.memory.write(self.page, self.key, 0, HEAD.pack(owner, params.flags, params.mpidr, 0, 0, 0, 0, 0))
        first = {f"x{number}": value for number, value in enumerate(params.registers)} | {"pc": params.pc}
        self.save([first.get(name, 0) for name in self.names])

    def save(self, values: Sequence[int]) -> None:
        """All registers go into the granule."""
        self.memory.write(self.page, self.key, STATE, struct.pack(f"<{len(values)}Q", *values))

    def load(self) -> list[int]:
        """All registers as the granule has them now."""
        size = 8 * len(self.names)
        return list(struct.unpack(f"<{len(self.names)}Q", self.memory.read(self.page, self.key, STATE, size)))

    def register(self, name: str) -> int:
        """One register by name."""
        return dict(zip(self.names, self.load(), strict=True))[name]

    def word(self, number: int) -> int:
        """One of the words at the front."""
        return self.memory.word(self.page, self.key, number)

    def set_words(self, values: Mapping[int, int]) -> None:
        """Change words at the front."""
        for number, value in values.items():
            self.memory.set_word(self.page, self.key, number, value)

    def begin_ripas(self, base: int, top: int, value: Ripas, *, destroyed: bool) -> None:
        """The realm asks for a change of RIPAS: noted here, so that the host can do no more than that."""
        self.set_words({BASE: base, TOP: top, NEXT: base, VALUE: value | destroyed << 8, PENDING: 1})

    @property
    def ripas_change(self) -> tuple[int, int, Ripas, bool] | None:
        """Next address, top, value, and whether DESTROYED may change: what is left to do. None if nothing is asked."""
        if not self.word(PENDING):
            return None
        value = self.word(VALUE)
        if value & 0xFF > Ripas.RAM:
            raise MonitorPanic(f"the REC in granule {self.page:#x} asks for no RIPAS that there is: DRAM was changed")
        return self.word(NEXT), self.word(TOP), Ripas(value & 0xFF), bool(value >> 8)

    def ripas_done(self, upto: int) -> None:
        """The host has carried out a change as far as this address."""
        self.set_words({NEXT: upto})

    @property
    def ripas_reached(self) -> int:
        """How far the host came with the last change."""
        return self.word(NEXT)
