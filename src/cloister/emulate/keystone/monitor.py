"""Keystone's security monitor: it keeps enclaves apart with PMP, swaps contexts, measures and attests.

Keystone, sm/src/enclave.c, attest.c, sm.c. One hart runs enclaves; every other sees what the monitor sets on all. The
registers of whoever does not run are in the monitor's memory, in DRAM, where it reads them back from.

    monitor.ecall(Function.CREATE, address_of_arguments)      # from the host
    monitor.ecall(Function.RUN, number)                       # the host's registers go, the enclave's come
    monitor.ecall(Function.STOP, StopReason.TIMER_INTERRUPT)  # from the enclave: the reverse
"""

import hashlib
import itertools
import secrets
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.emulate.keystone import sbi
from cloister.emulate.keystone.boot import CONTEXTS, MONITOR_PAGES
from cloister.emulate.keystone.bus import BASE, Bus, page_of
from cloister.emulate.keystone.pmp import Pmp
from cloister.emulate.keystone.regions import (
    ALL_MEMORY,
    ALL_PERMISSIONS,
    NO_PERMISSION,
    Priority,
    Region,
    RegionRefused,
    Regions,
)
from cloister.emulate.keystone.sbi import Code, CreateArguments, Function, SbiError, State, StopReason
from cloister.emulate.paging import Access
from cloister.emulate.tables import pages_of
from cloister.emulate.vendors.keystone import BootedMonitor
from cloister.measure.image import PAGE

__all__ = ["A0", "A1", "LONGEST_DATA", "NUMBERS", "PC", "Enclave", "SecurityMonitor"]

NUMBERS: Final = 32
"""Registers of a context: x1 to x31, and the program counter."""
A0: Final = 9
A1: Final = 10
PC: Final = 31
"""Where they stand in it."""
CONTEXT: Final = struct.Struct(f"<{NUMBERS}Q")
CONTEXT_SIZE: Final = 512
LONGEST_DATA: Final = 1024
"""ATTEST_DATA_MAXLEN."""
WORD: Final = 8
STOPPED: Final[dict[int, Code]] = {
    StopReason.TIMER_INTERRUPT: Code.INTERRUPTED,
    StopReason.EDGE_CALL_HOST: Code.EDGE_CALL_HOST,
}
"""What the host is told."""


@dataclass(slots=True)
class Enclave:
    """What the monitor keeps of one enclave."""

    state: State
    arguments: CreateArguments
    private: Region
    shared: Region
    hash: bytes = b""


class SecurityMonitor:
    """`harts` are the PMPs of all harts, the first is the one that runs enclaves; `others` have no hart (an IOPMP).

    `frame` is the trap frame: the registers of who called, and after the call of who goes on. `flush` is SFENCE.VMA.
    """

    def __init__(
        self,
        bus: Bus,
        harts: Sequence[Pmp],
        booted: BootedMonitor,
        flush: Callable[[], None],
        others: Sequence[Pmp] = (),
    ) -> None:
        self.bus, self.hart, self.booted, self._flush = bus, harts[0], booted, flush
        self.enclaves: list[Enclave | None] = [None] * sbi.ENCLAVES
        self.running: int | None = None
        self.frame = [0] * NUMBERS
        self.regions = Regions([*harts, *others])
        own = self.regions.define(BASE, MONITOR_PAGES * PAGE, Priority.TOP)
        self._rest = self.regions.define(0, ALL_MEMORY, Priority.BOTTOM, overlapped=True)
        self.regions.set_everywhere(own, NO_PERMISSION)
        self.regions.set_everywhere(self._rest, ALL_PERMISSIONS)

    # ---- the interface

    def ecall(self, function: int, *arguments: int) -> int:
        """One call of the extension: its value, 0 if it has none. SbiError with the code that a0 gets."""
        inside = self.running is not None
        name = _named(function)
        if function <= sbi.DEPRECATED:
            raise SbiError(name, Code.DEPRECATED)
        if (function <= sbi.OF_HOST and inside) or (sbi.OF_HOST < function <= sbi.OF_ENCLAVE and not inside):
            raise SbiError(name, Code.SBI_PROHIBITED)
        handlers: dict[Function, Callable[..., int]] = {
            Function.CREATE: self._create,
            Function.DESTROY: self._destroy,
            Function.RUN: self._run,
            Function.RESUME: self._resume,
            Function.RANDOM: self._random,
            Function.ATTEST: self._attest,
            Function.GET_SEALING_KEY: self._get_sealing_key,
            Function.STOP: self._stop,
            Function.EXIT: self._exit,
        }
        if function not in handlers:
            raise SbiError(name, Code.NOT_IMPLEMENTED)
        try:
            return handlers[name](*arguments)
        except Refusal as refusal:
            raise SbiError(name, refusal.code) from None

    def enclave(self, number: int) -> Enclave | None:
        """The enclave of a number, if there is one."""
        return self.enclaves[number] if 0 <= number < sbi.ENCLAVES else None

    # ---- for the host

    def _create(self, place: int) -> int:
        """CREATE: check, close, measure. The arguments are read with the host's own rights."""
        if not self._readable(place, CreateArguments.SIZE):
            raise Refusal(Code.REGION_OVERLAPS)
        arguments = CreateArguments.parse(self.bus.read(place, CreateArguments.SIZE))
        if not arguments.in_order:
            raise Refusal(Code.ILLEGAL_ARGUMENT)
        number = next((number for number, one in enumerate(self.enclaves) if one is None), None)
        if number is None:
            raise Refusal(Code.NO_FREE_RESOURCE)
        private, shared = self._reserve(arguments)
        self.close_memory(private)
        self.bus.zero(arguments.utm_start, arguments.utm_size)
        made = Enclave(State.ALLOCATED, arguments, private, shared, self.measure(arguments))
        self._store(number, [0] * NUMBERS)
        made.state = State.FRESH
        self.enclaves[number] = made
        return number

    def _reserve(self, arguments: CreateArguments) -> tuple[Region, Region]:
        """Regions for the enclave's private memory (EPM), and for the buffer that it shares (UTM)."""
        try:
            private = self.regions.define(arguments.epm_start, arguments.epm_size, Priority.ANY)
        except RegionRefused:
            raise Refusal(Code.PMP_FAILURE) from None
        try:
            return private, self.regions.define(arguments.utm_start, arguments.utm_size, Priority.BOTTOM)
        except RegionRefused:
            self.regions.free(private)
            raise Refusal(Code.PMP_FAILURE) from None

    def close_memory(self, private: Region) -> None:
        """From here on no hart reaches an enclave's private memory, but one that runs it."""
        self.regions.set_everywhere(private, NO_PERMISSION)
        self._flush()

    def measure(self, arguments: CreateArguments) -> bytes:
        """validate_and_hash_enclave (sm/src/attest.c): three sizes, then every page up to the free memory."""
        places = (arguments.epm_start, arguments.runtime, arguments.user, arguments.free)
        found = hashlib.sha3_512()
        for start, end in itertools.pairwise(places):
            found.update((end - start).to_bytes(WORD, "little"))
        for place in pages_of(arguments.epm_start, arguments.free - arguments.epm_start):
            found.update(self.bus.page(page_of(place), write=False))
        return found.digest()

    def _destroy(self, number: int) -> int:
        """DESTROY: private memory is zeroed before anybody else may have it."""
        found = self.enclave(number)
        if found is None or found.state > State.STOPPED:
            raise Refusal(Code.NOT_DESTROYABLE)
        found.state = State.DESTROYING
        self.bus.zero(found.private.start, found.private.size)
        self.regions.unset_everywhere(found.private)
        self.regions.free(found.private)
        self.regions.free(found.shared)
        self._store(number, [0] * NUMBERS)
        self.enclaves[number] = None
        self._flush()
        return 0

    def _run(self, number: int) -> int:
        """RUN: to the first instruction of the loader, in supervisor mode, without address translation."""
        found = self.enclave(number)
        if found is None or found.state is not State.FRESH:
            raise Refusal(Code.NOT_FRESH)
        self._enter(number, found)
        given = found.arguments
        self.frame[A1:A1 + 7] = [
            given.epm_start, given.epm_size, given.runtime, given.user, given.free, given.utm_start, given.utm_size,
        ]  # fmt: skip
        self.frame[PC] = given.epm_start
        return 0

    def _resume(self, number: int) -> int:
        """RESUME: to where it stopped."""
        found = self.enclave(number)
        if found is None or found.state is not State.STOPPED:
            raise Refusal(Code.NOT_RESUMABLE)
        self._enter(number, found)
        return 0

    # ---- for the enclave

    def _random(self) -> int:
        """RANDOM: one word."""
        return secrets.randbits(64)

    def _attest(self, report: int, data: int, size: int) -> int:
        """ATTEST: a report over the enclave's data, written into the enclave."""
        if size > LONGEST_DATA:
            raise Refusal(Code.ILLEGAL_ARGUMENT)
        if size and not self._readable(data, size):
            raise Refusal(Code.NOT_ACCESSIBLE)
        made = self.booted.report(self._current().hash, self.bus.read(data, size))
        return self._hand_over(report, made)

    def _get_sealing_key(self, place: int, identifier: int, size: int) -> int:
        """GET_SEALING_KEY: bound to this monitor, this enclave and the identifier."""
        if size and not self._readable(identifier, size):
            raise Refusal(Code.NOT_ACCESSIBLE)
        return self._hand_over(place, self.booted.sealing_key(self._current().hash, self.bus.read(identifier, size)))

    def _stop(self, reason: int) -> int:
        """STOP: the host goes on, and is told why."""
        self._leave()
        self.frame[A0] = STOPPED.get(reason, Code.UNKNOWN_ERROR)
        return 0

    def _exit(self, status: int) -> int:
        """EXIT: the enclave is over; it can be resumed, says the monitor, and the runtime has nothing more to do."""
        self._leave()
        self.frame[A0], self.frame[A1] = Code.SUCCESS, status
        return 0

    # ---- context switch

    def _enter(self, number: int, found: Enclave) -> None:
        """context_switch_to_enclave: all of memory is closed, then this enclave's is opened, on this hart."""
        found.state, self.running = State.RUNNING, number
        self._swap(number)
        self.regions.set(self.hart, self._rest, NO_PERMISSION)
        self.regions.set(self.hart, found.private, ALL_PERMISSIONS)
        self.regions.set(self.hart, found.shared, ALL_PERMISSIONS)
        self._flush()

    def _leave(self) -> None:
        """context_switch_to_host: the reverse."""
        number, found = self.running, self._current()
        if number is None or found.state is not State.RUNNING:
            raise Refusal(Code.NOT_RUNNING)
        self.regions.set(self.hart, found.private, NO_PERMISSION)
        self.regions.set(self.hart, found.shared, NO_PERMISSION)
        self.regions.set(self.hart, self._rest, ALL_PERMISSIONS)
        self._swap(number)
        found.state, self.running = State.STOPPED, None
        self._flush()

    def _swap(self, number: int) -> None:
        """swap_prev_state: the frame goes into the monitor's memory, and what was there into the frame."""
        kept = list(CONTEXT.unpack(self.bus.read(CONTEXTS + number * CONTEXT_SIZE, CONTEXT.size)))
        self._store(number, self.frame)
        self.frame = kept

    def _store(self, number: int, context: Sequence[int]) -> None:
        self.bus.write(CONTEXTS + number * CONTEXT_SIZE, CONTEXT.pack(*context))

    def _current(self) -> Enclave:
        found = None if self.running is None else self.enclaves[self.running]
        if found is None:
            raise Refusal(Code.NOT_RUNNING)
        return found

    # ---- memory of whoever called, with its rights

    def _readable(self, start: int, size: int) -> bool:
        return self.hart.check(start, size, Access.READ).allowed

    def _hand_over(self, place: int, data: bytes) -> int:
        """Write into the caller's memory, where the caller itself may write."""
        if not self.hart.check(place, len(data), Access.WRITE).allowed:
            raise Refusal(Code.ILLEGAL_ARGUMENT)
        self.bus.write(place, data)
        return 0


class Refusal(Exception):
    """A call is refused with this code."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


def _named(function: int) -> Function:
    """The function of a number; a plug-in's stands for those that are not known."""
    return Function(function) if function in set(Function) else Function.CALL_PLUGIN
