"""The emulated Keystone machine: a security monitor, PMP, an enclave with its own runtime and page tables.

    machine = KeystoneMachine(Shape(), terminal, keystore)
    machine.launch(image)              # the host loads, the monitor closes the memory, measures, runs the runtime
    machine.start(["program"], {})
    machine.run()
    machine.evidence(nonce)            # the runtime asks the monitor for a report

What keeps the host out is PMP alone. DRAM is plaintext, and without an IOPMP a device reads and writes it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final

from cloister.emulate.host import Cause, PhysicalMemory
from cloister.emulate.keystone.boot import MONITOR_PAGES, measured_boot
from cloister.emulate.keystone.bus import Bus, address_of
from cloister.emulate.keystone.driver import UTM_PAGES, Driver
from cloister.emulate.keystone.eyrie import Runtime
from cloister.emulate.keystone.monitor import LONGEST_DATA, SecurityMonitor
from cloister.emulate.keystone.pmp import Pmp
from cloister.emulate.keystone.program_calls import CALLS
from cloister.emulate.keystone.sbi import Function, StopReason
from cloister.emulate.keystone.software_ports import KeystonePorts
from cloister.emulate.machine import Ending, Shape, Vouching
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.paging import HOST_KEY, NEEDED, Access, MemoryFault, Stage, Translation
from cloister.emulate.shared import BounceBuffer
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystone import KeystoneManufacturer
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import CannotEnclave, UsageError
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Architecture, Image, Permission
from cloister.model import Digest, Tee
from cloister.quantities import human_size

__all__ = ["DEFAULT_MONITOR", "KeystoneMachine"]

DEFAULT_MONITOR: Final = b"Cloister's emulated security monitor, version 1\n"
"""What the boot ROM measures, where a device has the monitor's code. The emulator acts for it."""

ZEROS: Final = bytes(PAGE)
FEWEST: Final = MONITOR_PAGES + 4 * UTM_PAGES
BOTH: Final = Permission.READ | Permission.WRITE


class KeystoneMachine(KeystonePorts):
    """`security_monitor` is the monitor's image, which the boot ROM measures; another one gives another hash.

    With `iopmp` the monitor also sets an IOPMP, which checks what devices do. `upstream_lengths` gives the boot ROM
    upstream's bug (see `emulate.vendors.keystone`). UsageError if there is too little memory.
    """

    tee: ClassVar[Tee | None] = Tee.KEYSTONE
    architecture: ClassVar[Architecture] = Architecture.RISCV64

    monitor_class: ClassVar[type[SecurityMonitor]] = SecurityMonitor
    """The monitor's behaviour. A device that runs another has another image in `security_monitor` too."""

    runtime: Runtime
    """Set by `launch`."""

    def __init__(
        self,
        shape: Shape,
        console: Terminal,
        keystore: Keystore,
        *,
        security_monitor: bytes = DEFAULT_MONITOR,
        iopmp: bool = False,
        upstream_lengths: bool = False,
    ) -> None:
        if shape.memory < FEWEST:
            raise UsageError(f"{shape.memory} pages of DRAM; a Keystone machine needs {FEWEST}, the monitor has 512")
        super().__init__(shape, console)
        self.controller.install(HOST_KEY, PlainCipher(self.dram))
        self.device = KeystoneManufacturer(keystore, upstream_lengths=upstream_lengths)
        self.bus = Bus(self.dram, self.cache)
        self.hart, self.host_hart = Pmp(), Pmp()
        self.iopmp = Pmp() if iopmp else None
        self.monitor = self.monitor_class(
            self.bus,
            (self.hart, self.host_hart),
            measured_boot(self.bus, self.device, security_monitor),
            self.forget_translations,
            (self.iopmp,) if self.iopmp else (),
        )
        first = MONITOR_PAGES + max(3 * UTM_PAGES, shape.memory // 8)
        self.pages = PhysicalMemory(MONITOR_PAGES, first - MONITOR_PAGES)
        self.driver = Driver(self.monitor, self.host_write, self.pages, first, shape.memory)

    # ---- launch

    def launch(self, image: Image) -> None:
        """Load, CREATE, RUN, and the runtime's start. SbiError; CannotEnclave, if only because memory is too small.

        After it the enclave runs, and stands before the program's first instruction.
        """
        layout = GuestLayout.of(image)
        layout.require(self.architecture, "a Keystone machine")
        try:
            self.driver.load(layout)
            self.monitor.ecall(Function.RUN, self.driver.create(layout))
            self.runtime = Runtime(self.monitor, self.bus)
        except MemoryError as error:
            raise CannotEnclave(
                f"{error}; this machine has {human_size(self.shape.memory * PAGE)}, give it more"
            ) from error
        self.image = self.runtime.image

    def destroy(self) -> None:
        """The host ends the enclave: its memory is zeroed, and the host's again. SbiError while it runs."""
        self.monitor.ecall(Function.DESTROY, self.driver.number)

    @property
    def measurement(self) -> Digest:
        """The enclave hash. UsageError before the launch."""
        found = self.monitor.enclave(self.driver.number)
        if found is None:
            raise UsageError("there is no enclave: launch a program first")
        return Digest("sha3_512", found.hash)

    def evidence(self, report_data: bytes) -> bytes:
        """A report over at most 1,024 bytes, which the runtime asks the monitor for. UsageError if there are more."""
        if len(report_data) > LONGEST_DATA:
            raise UsageError(f"{len(report_data):,} bytes; a Keystone report holds {LONGEST_DATA:,}")
        if self.monitor.running is not None:
            return self.runtime.attest(report_data)
        self.monitor.ecall(Function.RESUME, self.driver.number)
        try:
            return self.runtime.attest(report_data)
        finally:
            self.monitor.ecall(Function.STOP, StopReason.TIMER_INTERRUPT)

    def vouching(self, at: datetime) -> Vouching:
        """The device's public key: it has no certificate, and no dates."""
        del at
        return Vouching(roots=self.device.device_pem, collateral={})

    # ---- translation and memory

    def translate(self, address: int, access: Access) -> Translation:
        """The runtime's page tables, then PMP."""
        page, permission = self.runtime.tables.walk(address, access)
        allowed = self.hart.allowed(page_start := address_of(page), PAGE)
        if not allowed & NEEDED[access]:
            reason = self.hart.check(page_start, PAGE, access).fault(access)
            raise MemoryFault(address, access, Stage.TEE, f"physical address {page_start:#x}: {reason}")
        return Translation(page, permission & allowed, HOST_KEY)

    def commit(self, address: int, permission: Permission) -> None:
        """The runtime maps a page of its free memory, and zeroes it."""
        page = self.runtime.map(address, BOTH)
        self.put_page(address, ZEROS)
        self.runtime.tables.set(address, page, permission)

    def release(self, address: int) -> None:
        """The runtime takes it back."""
        self.runtime.unmap(address)

    def change(self, address: int, permission: Permission) -> None:
        """The runtime's own tables: nobody is asked."""
        self.runtime.protect(address, permission)

    def free_memory(self) -> int:
        """What the enclave has left; the host cannot add to it."""
        return self.runtime.free.left * PAGE

    # ---- life of a program

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """As any program, with the bounce buffer in the untrusted buffer of the enclave (UTM)."""
        super().start(arguments, environment)
        for page in self.bounce.pages:
            self.pages.free(page)
        self.bounce = BounceBuffer(self.driver.shared, self._shared_frame)

    def _shared_frame(self, page: int, *, write: bool) -> memoryview:
        """The untrusted buffer, as this hart reaches it now: enclave or host. MemoryFault."""
        access = Access.WRITE if write else Access.READ
        verdict = self.hart.check(address_of(page), PAGE, access)
        if not verdict.allowed:
            raise MemoryFault(address_of(page), access, Stage.TEE, verdict.fault(access))
        return self.host_frame(page, write=write)

    def run(self, steps: int = 0) -> Ending:
        """As any program; then the runtime tells the monitor that the enclave is over."""
        ending = super().run(steps)
        if self.monitor.running is not None:
            self.monitor.frame = self.engine.registers()
            self.monitor.ecall(Function.EXIT, ending.status)
            self.inside = False
        return ending

    def save(self, cause: Cause) -> Mapping[str, int]:
        """STOP: the registers go to the monitor's memory, and the host gets its own with the monitor's answer in a0."""
        self.monitor.frame = self.engine.registers()
        called = cause is Cause.SYSTEM_CALL
        self.monitor.ecall(Function.STOP, StopReason.EDGE_CALL_HOST if called else StopReason.TIMER_INTERRUPT)
        return dict(zip(self.engine.names, self.monitor.frame, strict=True))

    def resume(self, cause: Cause) -> None:
        """RESUME: what stands in the monitor's memory."""
        del cause
        self.monitor.ecall(Function.RESUME, self.driver.number)
        self.engine.set_registers(self.monitor.frame)

    def _system_call(self) -> Ending | None:
        """Calls of the runtime's own, beside Linux's."""
        number, arguments = self.engine.system_call()
        known = CALLS.get(number)
        if known is None:
            return super()._system_call()
        return known(self, arguments)
