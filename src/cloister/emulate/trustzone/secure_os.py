"""BL32, the small operating system of the secure world: the application's registers, and its services.

Structure as OP-TEE's (core/arch/arm/kernel/thread.c, thread_optee_smc.c): a thread's registers are kept in secure
memory while the normal world runs; a service of the application is entered at EL0 on a stack of its own and returns
through a system call. System calls of the application are answered by `cloister.emulate.linux`, also a part of BL32.
"""

import struct
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from cloister.emulate.engine_unsafe import Engine, Stop
from cloister.emulate.trustzone.smc import CALLS_UID, INVOKE, NOT_SUPPORTED, Result
from cloister.emulate.trustzone.tzasc import Failure, Register, Tzc400
from cloister.measure.image import PAGE

__all__ = ["GATE", "GATE_CODE", "SHARED", "STACK_PAGES", "STACK_TOP", "THREAD", "UID", "SecureOs", "ThreadContext"]

GATE: Final = 0x80_0000_0000
"""Where a service returns to: one page behind all that the application's own memory calls can reach."""
GATE_CODE: Final = struct.pack("<II", 0xD400_0001, 0xD420_0000)
"""svc #0; brk #0 if that comes back."""
THREAD: Final = GATE + PAGE
"""Where the application's registers are kept; not mapped for EL0."""
STACK_TOP: Final = GATE + 0x10_0000
STACK_PAGES: Final = 4
SHARED: Final = GATE + 0x1000_0000
"""Where pages of the normal world are mapped for the application, one after the other."""

UID: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:cloister:emulated-trusted-os")
"""What CALLS_UID answers: this is not OP-TEE, whose messages are others."""

SLICE: Final = 1_000_000
SLICES: Final = 100
"""A service that runs longer than so many instructions is ended."""

ENOSYS: Final = 38
REMEMBERED: Final = 4096
WORD_32: Final = 0xFFFF_FFFF


class Frame(Protocol):
    """The cached page of 4,096 bytes, to read or to write."""

    def __call__(self, *, write: bool) -> memoryview: ...


class ThreadContext:
    """The registers of the application's thread, in one page of secure DRAM: register n is 8 bytes at 8 * n.

    `frame` gives the cached page. Who changes DRAM changes what the thread goes on with.
    """

    def __init__(self, names: Sequence[str], frame: Frame) -> None:
        self.names = tuple(names)
        self._frame = frame
        self._layout = struct.Struct(f"<{len(names)}Q")

    def save(self, registers: Sequence[int]) -> None:
        """Keep them."""
        self._layout.pack_into(self._frame(write=True), 0, *registers)

    def load(self) -> list[int]:
        """What stands there now."""
        return list(self._layout.unpack_from(self._frame(write=False), 0))

    def offset(self, name: str) -> int:
        """Where in the page a register is kept."""
        return 8 * self.names.index(name)


class SecureOs:
    """Answers calls of the normal world. `services` says where each command of the application is in its code.

    `alarms` are the last denied accesses of which the address space controller told it.
    """

    def __init__(self, engine: Engine, thread: ThreadContext, services: Mapping[int, int]) -> None:
        self._engine, self._thread, self._services = engine, thread, dict(services)
        self.alarms: deque[Failure] = deque(maxlen=REMEMBERED)
        self.left: list[int] | None = None
        """The registers as an application's service left them, what a careless monitor shows; None if none ran."""

    def call(self, arguments: Sequence[int]) -> Sequence[int]:
        """One SMC: X0 to X7 in, X0 to X3 out."""
        self.left = None
        function = arguments[0] & WORD_32
        if function == INVOKE:
            return self._invoke(arguments[1], arguments[2:6])
        return struct.unpack("<4I", UID.bytes) if function == CALLS_UID else (NOT_SUPPORTED,)

    def take_alarm(self, tzasc: Tzc400) -> None:
        """The address space controller's interrupt: note what was tried, and clear it."""
        self.alarms.extend(one for one in tzasc.failures if one is not None)
        tzasc.write(Register.INT_CLEAR, tzasc.read(Register.INT_STATUS, secure=True) & 0xF, secure=True)

    def _invoke(self, command: int, arguments: Sequence[int]) -> Sequence[int]:
        entry = self._services.get(command)
        if entry is None:
            return (Result.ITEM_NOT_FOUND, 0)
        engine = self._engine
        engine.load()
        engine.begin(entry, STACK_TOP)
        engine.set_thread_pointer(self._thread.load()[self._thread.names.index("tpidr_el0")])
        engine.write("x30", GATE)
        for number, value in enumerate(arguments):
            engine.write(f"x{number}", value)
        done = self._run()
        self.left = engine.registers()
        value = engine.read("x0")
        engine.load()
        return (Result.OK, value) if done else (Result.TARGET_DEAD, 0)

    def _run(self) -> bool:
        """Run a service to its return: whether it got there. It computes; system calls are not for services."""
        engine = self._engine
        for _ in range(SLICES):
            event = engine.run(SLICE)
            if event.stop is Stop.STEPS:
                continue
            if event.stop is not Stop.SYSTEM_CALL:
                return False
            if engine.program_counter & ~(PAGE - 1) == GATE:
                return True
            engine.set_result(-ENOSYS)
        return False
