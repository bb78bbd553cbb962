"""The CPU of an emulated machine: runs x86-64, arm64 or riscv64 instructions until something leaves the program.

The only file that imports `unicorn`, which is under the GPL-2.0 and comes with the extra `cloister[emulate]`. Every
memory access whose translation the engine does not know asks `fill`: there an emulated machine's own page walk stands,
and its TEE's check.
"""

import ctypes
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from cloister.emulate.frames_unsafe import FramePool
from cloister.emulate.paging import Access, IntegrityFault, MemoryFault
from cloister.errors import UsageError
from cloister.measure.image import PAGE, Architecture

try:
    import unicorn
    from unicorn import arm64_const, riscv_const, x86_const
except ImportError as error:
    raise UsageError("emulated machines need the extra `emulate`: pip install 'cloister[emulate]'") from error

__all__ = ["Engine", "EngineError", "Event", "Fill", "Stop"]

ACCESSES: Final = {int(access): access for access in Access}  # asking the enumeration takes ten times as long
POOL: Final = 0x1_0000_0000
"""Where the frames stand in the engine's own physical address space."""

WORD: Final = (1 << 64) - 1

Fill = Callable[[int, Access], tuple[int, int] | None]
"""(virtual address, access) -> (frame index, permission bits), or None: code has changed, forget what was translated.
Raises MemoryFault or IntegrityFault."""


class EngineError(Exception):
    """The engine stopped for a reason that no machine understands: a bug of it or of this file."""


class Stop(Enum):
    """Why the CPU left the program."""

    SYSTEM_CALL = auto()
    FAULT = auto()  # a translation failed; `fault` says which
    INSTRUCTION = auto()  # not part of the program's instruction set: the TEE's own instructions, or illegal
    EXCEPTION = auto()  # `number` is the architecture's: divide error, breakpoint, SMC, ...
    STEPS = auto()  # as many instructions as were asked for
    INTEGRITY = auto()  # DRAM was changed; `fault` says where


class Event(NamedTuple):
    """Why `run` returned."""

    stop: Stop
    number: int = 0
    fault: MemoryFault | IntegrityFault | None = None


class Registers(NamedTuple):
    """What one architecture calls its registers, as (name, engine's number)."""

    general: tuple[tuple[str, int], ...]
    program_counter: int
    stack_pointer: int
    thread_pointer: int
    call_number: int
    call_result: int
    call_arguments: tuple[int, ...]


def _named(constants: Any, prefix: str, names: str) -> tuple[tuple[str, int], ...]:  # noqa: ANN401 - a module
    return tuple((name.lower(), getattr(constants, f"{prefix}{name}")) for name in names.split())


X86_NAMES: Final = "RAX RBX RCX RDX RSI RDI RBP RSP R8 R9 R10 R11 R12 R13 R14 R15 RIP RFLAGS FS_BASE GS_BASE"
ARM_NAMES: Final = " ".join(f"X{n}" for n in range(31)) + " SP PC NZCV TPIDR_EL0"
RISCV_NAMES: Final = " ".join(f"X{n}" for n in range(1, 32)) + " PC"

REGISTERS: Final[Mapping[Architecture, Registers]] = {
    Architecture.X86_64: Registers(
        general=_named(x86_const, "UC_X86_REG_", X86_NAMES),
        program_counter=x86_const.UC_X86_REG_RIP,
        stack_pointer=x86_const.UC_X86_REG_RSP,
        thread_pointer=x86_const.UC_X86_REG_FS_BASE,
        call_number=x86_const.UC_X86_REG_RAX,
        call_result=x86_const.UC_X86_REG_RAX,
        call_arguments=tuple(number for _, number in _named(x86_const, "UC_X86_REG_", "RDI RSI RDX R10 R8 R9")),
    ),
    Architecture.ARM64: Registers(
        general=_named(arm64_const, "UC_ARM64_REG_", ARM_NAMES),
        program_counter=arm64_const.UC_ARM64_REG_PC,
        stack_pointer=arm64_const.UC_ARM64_REG_SP,
        thread_pointer=arm64_const.UC_ARM64_REG_TPIDR_EL0,
        call_number=arm64_const.UC_ARM64_REG_X8,
        call_result=arm64_const.UC_ARM64_REG_X0,
        call_arguments=tuple(arm64_const.UC_ARM64_REG_X0 + n for n in range(6)),
    ),
    Architecture.RISCV64: Registers(
        general=_named(riscv_const, "UC_RISCV_REG_", RISCV_NAMES),
        program_counter=riscv_const.UC_RISCV_REG_PC,
        stack_pointer=riscv_const.UC_RISCV_REG_X2,
        thread_pointer=riscv_const.UC_RISCV_REG_X4,
        call_number=riscv_const.UC_RISCV_REG_X17,
        call_result=riscv_const.UC_RISCV_REG_X10,
        call_arguments=tuple(riscv_const.UC_RISCV_REG_X10 + n for n in range(6)),
    ),
}

FPU_CONTROL: Final = 0x37F
SSE_CONTROL: Final = 0x1F80
"""What an x86-64 program begins with: exceptions masked, 64 bits of mantissa (System V ABI, 3.4.1). The engine begins
with zeros: 24 bits, so that a long double, and musl's printf, which uses them, is wrong from the eighth digit on."""

PSTATE_EL1H: Final = 0b0101
SCTLR_EL1: Final = (1, 0, 3, 0, 0)
"""Its coordinates CRn, CRm, op0, op1, op2."""
SCTLR_PROGRAMS: Final = 1 << 26 | 1 << 18 | 1 << 16 | 1 << 15 | 1 << 14
"""UCI, nTWE, nTWI, UCT, DZE: what Linux lets programs at EL0 do (arch/arm64/include/asm/sysreg.h)."""

CNTKCTL_EL1, EL0VCTEN = (14, 1, 3, 0, 0), 1 << 1
"""Programs may read the virtual counter, as under Linux."""

SYSTEM_CALL_EXCEPTION: Final = {Architecture.ARM64: 2, Architecture.RISCV64: 8}
"""QEMU's EXCP_SWI of Arm, and RISC-V's cause 8: ecall from U-mode (Privileged Architecture, table 3.6)."""

UNDEFINED: Final = Event(Stop.EXCEPTION, 1)
SMC_MASK, SMC_CODE = 0xFFE0_001F, 0xD400_0003
"""QEMU's EXCP_UDEF of Arm; SMC with any immediate (Arm ARM, DDI 0487, C6.2)."""

SYSRET, GATE = bytes.fromhex("480f07"), 0x1000
EFER, STAR, SYSTEM_CALLS, SELECTORS = 0xC000_0080, 0xC000_0081, 1, 0x0010_0008 << 32
"""Two MSRs, EFER.SCE, and where SYSRET takes the selectors of ring 3 from."""

RISCV_FLOATING, RISCV_COUNTERS = 0x6000, 0b111
"""mstatus.FS; cycle, time and instret, which Linux lets programs read."""


class RegisterBlock:
    """Some registers read and written in one call, through memory that is allocated once (0.7 us instead of 25)."""

    def __init__(self, uc: unicorn.Uc, numbers: tuple[int, ...]) -> None:
        self._uc, self._count = uc, len(numbers)
        self._numbers = (ctypes.c_int * len(numbers))(*numbers)
        self._values = (ctypes.c_uint64 * len(numbers))()
        base, size = ctypes.addressof(self._values), ctypes.sizeof(ctypes.c_uint64)
        self._places = (ctypes.c_void_p * len(numbers))(*(base + index * size for index in range(len(numbers))))

    def read(self) -> list[int]:
        """The registers as unsigned 64-bit numbers."""
        self._uc._do_reg_read_batch(self._numbers, self._places, self._count)  # noqa: SLF001 - the public one allocates
        return self._values[:]

    def write(self, values: list[int]) -> None:
        """Set all of them."""
        self._values[:] = values  # type: ignore[assignment]  # ctypes takes int
        self._uc._do_reg_write_batch(self._numbers, self._places, self._count)  # noqa: SLF001


class Engine:
    """One CPU. `frames` is its on-die memory, `fill` answers every translation that it does not hold."""

    def __init__(self, architecture: Architecture, frames: FramePool, fill: Fill) -> None:
        self.architecture = architecture
        self._registers = REGISTERS[architecture]
        self._by_name = dict(self._registers.general)
        self._frames, self._fill = frames, fill
        self._event: Event | None = None
        self._failure: Exception | None = None
        self._forget = False
        self._uc = _engine_of(architecture)
        self._uc.mem_map_ptr(POOL, frames.count * PAGE, unicorn.UC_PROT_ALL, frames.address)
        self._hook()
        self._all = RegisterBlock(self._uc, tuple(number for _, number in self._registers.general))
        self._call = RegisterBlock(self._uc, (self._registers.call_number, *self._registers.call_arguments))
        self._clean = self._uc.context_save()
        self._saved = self._uc.context_save()

    def _hook(self) -> None:
        self._uc.hook_add(unicorn.UC_HOOK_TLB_FILL, self._on_fill)
        self._uc.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)
        self._uc.hook_add(unicorn.UC_HOOK_INSN_INVALID, self._on_invalid)
        if self.architecture is Architecture.X86_64:
            self._uc.hook_add(unicorn.UC_HOOK_INSN, self._on_syscall, None, 1, 0, x86_const.UC_X86_INS_SYSCALL)

    # ---- running

    def run(self, steps: int = 0) -> Event:
        """Run from the program counter until something leaves the program, or `steps` instructions (0: no limit)."""
        while True:
            self._event = None
            try:
                self._uc.emu_start(self.program_counter, 0, count=steps)
            except unicorn.UcError as error:
                if self._forget:
                    self.forget_code()
                    if self._event is None:
                        continue
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure from None
                if self._event is None:
                    raise EngineError(f"{error} at {self.program_counter:#x}") from error
            event: Event | None = self._event
            return event if event is not None else Event(Stop.STEPS)

    def passed_monitor_call(self, event: Event) -> bool:
        """Arm: whether an undefined instruction was an SMC, which is undefined at EL0. If so, stand behind it.

        For machines whose kernel carries it out. MemoryFault, IntegrityFault if the page is gone meanwhile.
        """
        if event != UNDEFINED or self.architecture is not Architecture.ARM64:
            return False
        place = self.program_counter
        while (found := self._fill(place, Access.FETCH)) is None:
            self.forget_code()
        start = place & (PAGE - 1)
        if int.from_bytes(self._frames.views[found[0]][start : start + 4], "little") & SMC_MASK != SMC_CODE:
            return False
        self.program_counter = place + 4
        return True

    def _on_fill(self, _uc: object, address: int, access: int, entry: Any, _data: object) -> bool:  # noqa: ANN401
        try:
            found = self._fill(address, ACCESSES[access])
        except MemoryFault as fault:
            self._event = Event(Stop.FAULT, 0, fault)
            return False
        except IntegrityFault as fault:
            self._event = Event(Stop.INTEGRITY, 0, fault)
            return False
        except Exception as failure:  # noqa: BLE001 - raised again by `run`: it must not pass through the engine's C code
            self._failure = failure
            return False
        if found is None:
            # When it stops counting steps, the engine looks up what it has translated: what it is told then is no end.
            self._forget, self._event = True, None
            return False
        entry.paddr = POOL + found[0] * PAGE + (address & (PAGE - 1))
        entry.perms = found[1]
        return True

    def _on_syscall(self, _uc: object, _data: object) -> None:
        self._event = Event(Stop.SYSTEM_CALL)
        self._uc.emu_stop()

    def _on_exception(self, _uc: object, number: int, _data: object) -> None:
        called = SYSTEM_CALL_EXCEPTION.get(self.architecture) == number
        self._event = Event(Stop.SYSTEM_CALL if called else Stop.EXCEPTION, number)
        self._uc.emu_stop()

    def _on_invalid(self, _uc: object, _data: object) -> bool:
        self._event = Event(Stop.INSTRUCTION)
        return False

    def flush_translations(self) -> None:
        """Forget every translation: the next access to each page asks `fill` again. Allowed inside `fill`."""
        self._uc.ctl(unicorn.unicorn_const.UC_CTL_TLB_FLUSH, unicorn.unicorn_const.UC_CTL_IO_WRITE)

    def forget_code(self) -> None:
        """Forget every translated block: memory that was executed has changed. Never inside `fill`."""
        self._forget = False
        self._uc.ctl_flush_tb()

    # ---- registers

    @property
    def program_counter(self) -> int:
        """The address of the next instruction."""
        return int(self._uc.reg_read(self._registers.program_counter))

    @program_counter.setter
    def program_counter(self, address: int) -> None:
        self._uc.reg_write(self._registers.program_counter, address)

    def read(self, name: str) -> int:
        """One register by its lower-case name in `names`."""
        return int(self._uc.reg_read(self._by_name[name]))

    def write(self, name: str, value: int) -> None:
        """Set one register by its lower-case name in `names`."""
        self._uc.reg_write(self._by_name[name], value & WORD)

    @property
    def names(self) -> list[str]:
        """The registers that `registers` returns, in its order."""
        return list(self._by_name)

    def registers(self) -> list[int]:
        """All registers of an integer program, as 64-bit numbers, in the order of `names`."""
        return self._all.read()

    def set_registers(self, values: list[int]) -> None:
        """Set all registers of `names`."""
        self._all.write(values)

    def system_call(self) -> tuple[int, list[int]]:
        """The number and the six arguments of the system call at which the program stands."""
        number, *arguments = self._call.read()
        return number, arguments

    def set_result(self, value: int) -> None:
        """What the system call returns; negative for an errno."""
        self._uc.reg_write(self._registers.call_result, value & WORD)

    def set_thread_pointer(self, value: int) -> None:
        """The register by which a program finds its thread-local memory."""
        self._uc.reg_write(self._registers.thread_pointer, value)

    def begin(self, entry: int, stack_pointer: int) -> None:
        """Stand before the first instruction of a program, without any privilege."""
        if self.architecture is Architecture.ARM64:
            self.set_exception_level(0)
        self._uc.reg_write(self._registers.program_counter, entry)
        self._uc.reg_write(self._registers.stack_pointer, stack_pointer)

    def save(self) -> None:
        """Put the whole processor state aside, and load a clean one: what the host runs with holds nothing of it."""
        self._uc.context_update(self._saved)
        self._uc.context_restore(self._clean)

    def restore(self) -> None:
        """Take the processor state back that `save` put aside."""
        self._uc.context_restore(self._saved)

    def context(self) -> object:
        """A place for one more whole processor state, floating point included, for machines with several contexts."""
        return self._uc.context_save()

    def store(self, context: object) -> None:
        """Put the processor state into such a place."""
        self._uc.context_update(context)

    def load(self, context: object | None = None) -> None:
        """Take the processor state from such a place; without one, a clean state."""
        self._uc.context_restore(self._clean if context is None else context)

    def set_exception_level(self, level: int) -> None:
        """Arm: run at EL0 or EL1, which is what an engine begins with. NZCV and interrupt masks are cleared."""
        self._uc.reg_write(arm64_const.UC_ARM64_REG_PSTATE, 0 if level == 0 else PSTATE_EL1H)
        # Writing a system register is what makes the engine take notice of the level.
        self._uc.reg_write(arm64_const.UC_ARM64_REG_CP_REG, (*SCTLR_EL1, SCTLR_PROGRAMS))

    def forbid_address_translation(self) -> None:
        """Arm at EL1: AT instructions are undefined from now on. Their page walks would pass `fill` by."""
        self._uc.hook_add(unicorn.UC_HOOK_INSN, self._on_system, None, 1, 0, arm64_const.UC_ARM64_INS_SYS)

    def _on_system(self, _uc: object, _register: int, place: Any, _data: object) -> bool:  # noqa: ANN401
        """SYS with CRn 7 and CRm 8 or 9 is AT (Arm ARM, C5.1.2); True leaves the instruction out."""
        if forbidden := place.crn == 7 and place.crm in {8, 9}:
            self._event = Event(Stop.INSTRUCTION)
            self._uc.emu_stop()
        return bool(forbidden)

    def close(self) -> None:
        """Wipe the processor state and what was put aside."""
        self._uc.context_restore(self._clean)
        self._uc.context_update(self._saved)


def _engine_of(architecture: Architecture) -> unicorn.Uc:
    """An engine with floating point switched on, translating by callback only.

    x86-64 and RISC-V without privilege; Arm at EL1 until `set_exception_level` or `begin`. Privilege is no matter of
    style: page walks of Arm's AT instructions read physical memory, past `fill`.
    """
    if architecture is Architecture.X86_64:
        uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        uc.reg_write(x86_const.UC_X86_REG_FPCW, FPU_CONTROL)
        uc.reg_write(x86_const.UC_X86_REG_MXCSR, SSE_CONTROL)
        _to_ring_3(uc)
    elif architecture is Architecture.ARM64:
        uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        uc.ctl_set_page_size(PAGE)  # the default, 1 KiB, silently runs wrong code
    else:
        uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
    uc.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
    if architecture is Architecture.ARM64:
        uc.reg_write(arm64_const.UC_ARM64_REG_CPACR_EL1, 3 << 20)
        uc.reg_write(arm64_const.UC_ARM64_REG_CP_REG, (*CNTKCTL_EL1, EL0VCTEN))
    elif architecture is Architecture.RISCV64:
        uc.reg_write(riscv_const.UC_RISCV_REG_MSTATUS, RISCV_FLOATING)
        for counters in (riscv_const.UC_RISCV_REG_MCOUNTEREN, riscv_const.UC_RISCV_REG_SCOUNTEREN):
            uc.reg_write(counters, RISCV_COUNTERS)
        uc.reg_write(riscv_const.UC_RISCV_REG_PRIV, 0)
    return uc


def _to_ring_3(uc: unicorn.Uc) -> None:
    """The engine begins in ring 0, and only an instruction leads out of it: run SYSRET in a page of its own."""
    uc.mem_map(GATE, PAGE)
    uc.mem_write(GATE, SYSRET)
    uc.msr_write(EFER, uc.msr_read(EFER) | SYSTEM_CALLS)
    uc.msr_write(STAR, SELECTORS)
    uc.reg_write(x86_const.UC_X86_REG_RCX, GATE + len(SYSRET))
    uc.emu_start(GATE, GATE + len(SYSRET))
    uc.mem_unmap(GATE, PAGE)
    for register in (x86_const.UC_X86_REG_RCX, x86_const.UC_X86_REG_R11, x86_const.UC_X86_REG_RIP):
        uc.reg_write(register, 0)
