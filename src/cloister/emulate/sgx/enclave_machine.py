"""The running enclave: translation with the EPCM's check, faults, exits, entries, and ENCLU in the program."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

from cloister.emulate.endings import KILLED, SEGMENTATION_FAULT, Ending
from cloister.emulate.engine_unsafe import Event, Stop
from cloister.emulate.host import Cause, HostView
from cloister.emulate.machine import Machine
from cloister.emulate.paging import NEEDED, Access, IntegrityFault, MemoryFault, Stage, Translation
from cloister.emulate.sgx.driver import Driver
from cloister.emulate.sgx.enclu import EEXIT, ENCLU, execute
from cloister.emulate.sgx.enter import NAMES, Registers, aex, eenter, eexit, eresume, pack_registers, unpack_registers
from cloister.emulate.sgx.memory import EPC_KEY
from cloister.emulate.sgx.outcomes import EnclaveLost, Fault
from cloister.emulate.sgx.processor import Processor
from cloister.emulate.sgx.swap import Refusal
from cloister.measure.enclave import ELRANGE_END, EnclaveLayout
from cloister.measure.image import PAGE, Permission

__all__ = ["EnclaveMachine"]

AEP: Final = ELRANGE_END + 0x1000
"""Where asynchronous exits arrive: the host's code, of which nothing but the address is modelled."""

HOST_STACK: Final = ELRANGE_END + 0x10_0000
HOST_THREAD: Final = ELRANGE_END + 0x20_0000
HOST_FLAGS: Final = 0x202
OUTSIDE: Final = {
    **dict.fromkeys(NAMES, 0),
    "rsp": HOST_STACK,
    "rbp": HOST_STACK,
    "rflags": HOST_FLAGS,
    "fs_base": HOST_THREAD,
}
"""The host's registers when it enters: nothing of them concerns the enclave but RSP and RBP, which the frame keeps."""


PERMISSIONS: Final = tuple(Permission(bits) for bits in range(8))

AHEAD: Final = 16
"""Pages that the driver adds at once. The enclave accepts each at its own first touch."""


class EnclaveMachine(Machine):
    """What the processor and the shim do while the program runs. `layout` is set by `launch`."""

    cpu: Processor
    driver: Driver
    layout: EnclaveLayout
    _lost = "the program has left its enclave"
    _stopped: Ending | None = None

    # ---- translation: the host's page tables, then the EPCM

    def translate(self, address: int, access: Access) -> Translation:
        """Walk the host's tables and check the EPCM. MemoryFault."""
        entry = self.driver.table.entries.get(address >> 12)
        if entry is None:
            raise self._missing(address, access)
        if not int.__and__(entry.permission, NEEDED[access]):
            reason = f"the program's own mapping has no {NEEDED[access].name} permission"
            raise MemoryFault(address, access, Stage.PROGRAM, reason)
        permission = self.cpu.epcm.check(entry.target, address, access, self.driver.enclave)
        return Translation(entry.target, PERMISSIONS[int.__and__(entry.permission, permission)], EPC_KEY)

    def _translated(self, address: int, access: Access) -> Translation:
        """`translate`; a page that was promised, and that the host has added since, is accepted first."""
        number = address >> 12
        promised = self.reserved.get(number)
        if promised is not None and promised & NEEDED[access] and number in self.driver.table.entries:
            self.commit(number * PAGE, promised)
            del self.reserved[number]
        return self.translate(address, access)

    def _missing(self, address: int, access: Access) -> MemoryFault:
        """Nothing is mapped there: the host's business if the enclave should have a page there, else the program's."""
        number = address >> 12
        promised = self.reserved.get(number)
        if self.driver.knows(number) or (promised is not None and promised & NEEDED[access]):
            return MemoryFault(address, access, Stage.HOST, "not present in the host's page tables")
        return MemoryFault(address, access, Stage.PROGRAM, "not mapped")

    def walk(self, address: int) -> int:
        """Where the host's tables lead, after it repaired them if it had to. MemoryFault."""
        while True:
            entry = self.driver.table.entries.get(address >> 12)
            if entry is not None:
                return entry.target
            fault = self._missing(address, Access.READ)
            if not self._repaired(fault):
                raise fault

    def _repaired(self, fault: MemoryFault) -> bool:
        """An asynchronous exit, the host's handler, and ERESUME. Whether the host says that it mapped the page."""
        if fault.stage is not Stage.HOST:
            return False
        number = fault.address >> 12
        self.leave(Cause.PAGE_FAULT, number * PAGE)
        try:
            return self._served(number)
        except Refusal as refusal:
            raise MemoryFault(fault.address, fault.access, Stage.TEE, str(refusal)) from refusal
        finally:
            self.enter(Cause.PAGE_FAULT)

    def _served(self, number: int) -> bool:
        """The host's page-fault handler: its driver, or whoever took the page away."""
        if number in self.driver.withheld:
            return self.host.on_fault(number * PAGE)
        if self.driver.knows(number):
            self.driver.repair(number)
        else:
            self._augment_from(number)
        return True

    def _augment_from(self, number: int) -> None:
        """EAUG the page, and those that were promised behind it, as far as there is room: one exit for all of them."""
        permission = self.reserved[number]
        self.driver.augment(number, permission)
        for other in range(number + 1, number + AHEAD):
            if self.reserved.get(other) != permission or self.driver.knows(other) or not self.driver.has_room(AHEAD):
                return
            self.driver.augment(other, permission)

    # ---- out and in

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """EENTER; the shim lays out the program's stack and stands before its first instruction."""
        inside = self._eenter()
        for name in ("fs_base", "gs_base"):
            self.engine.write(name, inside[name])
        super().start(arguments, environment)

    def run(self, steps: int = 0) -> Ending:
        """Run to the end; then the shim leaves the enclave."""
        try:
            ending = super().run(steps)
        except EnclaveLost as lost:
            ending = self._stopped or Ending(KILLED, f"host: {lost}")
        if self.cpu.thread is not None:
            self._eexit()
            self.inside = False
        return ending

    def stopped(self, fault: MemoryFault) -> Ending:
        """As every machine; kept, because the shim may not be able to say so to its owner any more."""
        self._stopped = super().stopped(fault)
        return self._stopped

    def integrity_stop(self, fault: IntegrityFault) -> Ending:
        """As every machine, and kept."""
        self._stopped = super().integrity_stop(fault)
        return self._stopped

    def save(self, cause: Cause) -> Mapping[str, int]:
        """A system call: the shim puts the registers aside in its own page and leaves by EEXIT. Else: AEX."""
        if self.cpu.thread is None:
            raise EnclaveLost(self._lost)
        if cause is not Cause.SYSTEM_CALL:
            return aex(self.cpu, self._registers())
        page = self.frame_of(self.layout.thread, Access.WRITE)
        pack_registers(page, self._registers())
        return self._eexit()

    def resume(self, cause: Cause) -> None:
        """ERESUME takes the SSA frame's registers. After a system call, EENTER, and the shim takes its own."""
        try:
            if cause is Cause.SYSTEM_CALL:
                self._eenter()
                found = unpack_registers(self.frame_of(self.layout.thread, Access.READ))
            else:
                found = eresume(self.cpu, self._walk_of_host, self.layout.tcs, AEP, OUTSIDE)
        except Fault as fault:
            self._lost = str(fault)
            raise EnclaveLost(self._lost) from fault
        self._set(found)

    def _react(self, event: Event) -> Ending | None:
        """An exception of the program itself is an asynchronous exit from which the host does not come back."""
        ending = super()._react(event)
        if event.stop is Stop.EXCEPTION:
            seen = aex(self.cpu, self._registers(), vector=event.number)
            self.engine.save()
            self.inside = False
            self.host.sees(HostView(Cause.INTERRUPT, seen))
        return ending

    def _eenter(self) -> Registers:
        return eenter(self.cpu, self._walk_of_host, self.layout.tcs, AEP, OUTSIDE)

    def _eexit(self) -> Registers:
        """EEXIT as a careful enclave does it: no register holds anything of the program."""
        cleared = {**OUTSIDE, "rax": EEXIT, "rbx": AEP}
        return eexit(self.cpu, cleared)

    def _walk_of_host(self, address: int) -> int:
        return self.driver.table.entries[address >> 12].target

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(self.engine.names)

    def _registers(self) -> Registers:
        return dict(zip(self._names, self.engine.registers(), strict=True))

    def _set(self, registers: Registers) -> None:
        self.engine.set_registers([registers[name] for name in self._names])

    # ---- ENCLU

    def instruction(self, event: Event) -> Ending | None:
        """ENCLU, or an illegal instruction."""
        registers = self._registers()
        if self.read(registers["rip"], len(ENCLU)) != ENCLU:
            return super().instruction(event)
        try:
            if registers["rax"] & 0xFFFFFFFF == EEXIT:
                return self._left(registers)
            self._set(execute(self.cpu, self, registers))
        except Fault as fault:
            return Ending(SEGMENTATION_FAULT, str(fault))
        return None

    def _left(self, registers: Registers) -> Ending:
        """The program's own EEXIT: the host sees every register that it did not clear."""
        target = registers["rbx"]
        if self.driver.enclave.holds(target):
            raise Fault("EEXIT", f"the target {target:#x} is inside the enclave")
        seen = eexit(self.cpu, registers)
        self.engine.save()
        self.inside = False
        self.host.sees(HostView(Cause.SYSTEM_CALL, seen))
        return Ending(
            0, f"EEXIT to {target:#x}: the program gave the processor to the host, which does not call it again"
        )
