"""The emulated Arm CCA machine: a realm between an untrusted hypervisor and a monitor that keeps its books.

    machine = CcaMachine(Shape(), terminal, keystore)
    machine.launch(image)              # the monitor's calls in KVM's order, measured into RIM
    machine.start(["program"], {})
    machine.run()
    token = machine.evidence(challenge)

Neither the non-secure nor the Secure world reaches a realm's granules; the realm's tables are the monitor's; registers
lie in encrypted memory while the host runs. Memory has no integrity: whoever holds the chips can put old contents back.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import ClassVar, Final

from cloister.emulate.cca.gpt import L1_PAGES, GranuleProtectionFault, GranuleProtectionTable, Pas, regions_of
from cloister.emulate.cca.hypervisor import Hypervisor
from cloister.emulate.cca.memory import PasMemory
from cloister.emulate.cca.platform import FIRMWARE, platform_state
from cloister.emulate.cca.realm import RealmDescriptor
from cloister.emulate.cca.rec import Exit, ExitReason, abort_syndrome, hpfar
from cloister.emulate.cca.rmi import CallFailed, MonitorPanic
from cloister.emulate.cca.rmm import Rmm
from cloister.emulate.cca.rsi import CHALLENGE, RealmCalls
from cloister.emulate.cca.rtt import Ripas, TableWalk
from cloister.emulate.cca.smc_instruction import SmcInstruction
from cloister.emulate.host import Cause, HostView, PhysicalMemory
from cloister.emulate.linux.checks import HostLied
from cloister.emulate.machine import Shape, Vouching
from cloister.emulate.paging import HOST_KEY, Access, MemoryFault, Stage
from cloister.emulate.shared import BounceBuffer
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.arm import ArmPlatform, BootedPlatform
from cloister.emulate.vendors.arm_claims import TokenForm
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import LaunchError, UsageError
from cloister.measure.cca import BLOCK, PROGRAM_MEMORY, PROGRAM_REALM, RealmParameters
from cloister.measure.guest import BootParameters, GuestLayout, parameter_pages
from cloister.measure.image import PAGE, Architecture, Image
from cloister.model import Digest, Tee

__all__ = ["CcaMachine"]

SERVE: Final = 1
"""Number of the host call by which the realm's kernel says that there is a request in the bounce buffer."""

PER_TABLE, TABLE_LEVELS = 512, 3
"""Granules under a table of level 3, and levels of tables below the root."""

MONITOR_PAGES: Final = 8
"""Where the monitor itself is loaded, in Realm memory."""

SECURE_PAGES: Final = 8
"""What the Secure world has."""


class CcaMachine(SmcInstruction):
    """A machine with Arm CCA. `debug`: the platform's lifecycle state lets somebody debug Root and Realm.

    `firmware`: the images that the platform measured when it booted, by name. `parameters`: a realm other than the
    default one. UsageError where DRAM is too small for the tables.
    """

    tee: ClassVar[Tee | None] = Tee.CCA
    architecture: ClassVar[Architecture] = Architecture.ARM64

    def __init__(
        self,
        shape: Shape,
        console: Terminal,
        keystore: Keystore,
        *,
        debug: bool = False,
        firmware: Mapping[str, bytes] = FIRMWARE,
        parameters: RealmParameters = PROGRAM_REALM,
    ) -> None:
        tables = L1_PAGES * regions_of(shape.memory)
        carved = (shape.memory - MONITOR_PAGES - SECURE_PAGES - 1 - tables) // L1_PAGES * L1_PAGES
        if carved <= 0:
            raise UsageError(f"DRAM of {shape.memory} pages is too small: a CCA machine has its tables in it")
        super().__init__(shape, console)
        self._stage2: dict[int, tuple[int, int]] = {}
        self._of_host: dict[int, set[int]] = {}
        self.debug, self._parameters, self._keystore = debug, parameters, keystore
        self._state = platform_state(firmware, debug=debug)
        self.memory = PasMemory(self.controller, self.cache)
        self.pages = PhysicalMemory(0, carved)
        self.rmm = Rmm(
            self.memory, self._boot_tables(carved, tables), carved, tuple(self.engine.names),
            shootdown=self.forget_translations, withdrawn=self._forget_shared,
        )  # fmt: skip
        self.hypervisor = Hypervisor(self.rmm, self.pages, self._put_host_page)
        self._left = Exit(ExitReason.IRQ)
        self._ram_end = PROGRAM_MEMORY
        self._kernel_page: int | None = None

    def _boot_tables(self, carved: int, tables: int) -> GranuleProtectionTable:
        """What EL3 does at boot: the end of DRAM is not the non-secure world's. First the tables, in Root memory."""
        l0 = carved + tables
        gpt = GranuleProtectionTable(self.memory, self.shape.memory, l0, carved)
        gpt.fill(0, carved, Pas.NON_SECURE)
        gpt.fill(carved, l0 + 1, Pas.ROOT)
        gpt.fill(l0 + 1, l0 + 1 + MONITOR_PAGES, Pas.REALM)
        gpt.fill(l0 + 1 + MONITOR_PAGES, self.shape.memory, Pas.SECURE)
        self.secure_pages = range(l0 + 1 + MONITOR_PAGES, self.shape.memory)
        return gpt

    def _put_host_page(self, page: int, content: bytes) -> None:
        self.memory.put(page, HOST_KEY, content)

    # ---- launch

    def launch(self, image: Image) -> None:
        """The hypervisor builds the realm; what runs is what the realm then finds in its own memory."""
        layout = GuestLayout.of(image)
        layout.require(self.architecture, "a CCA machine")
        self._end_realm()
        try:
            self._build(layout)
        except (CallFailed, MemoryError) as error:
            self.hypervisor.end()
            what = "the monitor refuses" if isinstance(error, CallFailed) else "the machine has too little memory"
            raise LaunchError(f"the realm is not launched, {what}: {error}") from error
        host = self.hypervisor
        self.calls = RealmCalls(self.rmm, host.rd, host.rec, self._reach, lambda: self.booted, self._visit_host)
        self._boot()

    def _build(self, layout: GuestLayout) -> None:
        """In the order that the measurement has."""
        host = self.hypervisor
        host.create(self._parameters)
        host.load(layout.pages)
        host.set_ram(layout.end, PROGRAM_MEMORY)
        host.add_processor(layout.parameters.start.entry)
        self.rmm.realm_activate(host.rd)

    def _end_realm(self) -> None:
        """A realm that was there before goes."""
        host = self.hypervisor
        if self.rmm.granules.references[host.rec // PAGE]:
            self.rmm.rec_exit(host.rec, host.run, None, Exit(ExitReason.IRQ))
        host.end()
        self.guest.entries.clear()
        self._free_guest_pages.clear()
        self._kernel_page = None
        self.forget_translations()

    def _boot(self) -> None:
        """The realm reads its boot parameters in its own memory, which is measured, and maps the image as they say."""
        self._realm: RealmDescriptor = self.rmm.realm_at(self.hypervisor.rd // PAGE).descriptor
        count = parameter_pages(self._own_page(0))
        parameters = BootParameters.parse(b"".join(self._own_page(number) for number in range(count)))
        contents = tuple(self._own_page(ipa // PAGE) for _, _, ipa in parameters.placed())
        self.image = parameters.image(contents)
        layout = GuestLayout(parameters, contents)
        self.adopt(self.image, layout)
        self._ram_end = max(PROGRAM_MEMORY, layout.end)

    def _own_page(self, guest_page: int) -> bytes:
        return self.memory.read(*self.nested(guest_page, guest_page * PAGE, Access.READ))

    # ---- evidence

    @property
    def measurement(self) -> Digest:
        """RIM, as the realm descriptor has it."""
        self._require_realm()
        return self.rmm.realm_at(self.hypervisor.rd // PAGE).descriptor.rim.digest

    def _require_realm(self) -> None:
        if not self.hypervisor.has_realm:
            raise UsageError("there is no realm yet: launch a program first")

    @cached_property
    def platform(self) -> ArmPlatform:
        """The platform's own identity: an emulated one."""
        return ArmPlatform(self._keystore)

    @cached_property
    def booted(self) -> BootedPlatform:
        """The platform since it was switched on: a realm attestation key, and the platform token about it."""
        return self.platform.boot(self._state, form=TokenForm.EAT)

    def evidence(self, report_data: bytes) -> bytes:
        """A CCA token, which the realm's kernel fetches from the monitor. UsageError for more than 64 bytes."""
        self._require_realm()
        if len(report_data) > CHALLENGE:
            raise UsageError(f"a realm's challenge has {CHALLENGE} bytes at most, not {len(report_data)}")
        if self._kernel_page is None:
            self._kernel_page = self._guest_page()
        return self.calls.token(report_data.ljust(CHALLENGE, b"\0"), self._kernel_page * PAGE)

    def vouching(self, at: datetime) -> Vouching:
        """The platform's public key, which a verifier pins. There is no other collateral, and it has no date."""
        del at
        return Vouching(roots=self.platform.publish_key().read_bytes(), collateral={})

    # ---- translation

    def nested(self, guest_page: int, address: int, access: Access) -> tuple[int, int]:
        """The realm's tables, then the granule protection check. What was found is kept until the next shootdown."""
        found = self._stage2.get(guest_page)
        if found is None:
            found = self._stage2[guest_page] = self._walked(guest_page, address, access)
            if found[1] == HOST_KEY:
                self._of_host.setdefault(found[0], set()).add(guest_page)
        return found

    def _walked(self, guest_page: int, address: int, access: Access) -> tuple[int, int]:
        try:
            walk = self.rmm.stage2(self._realm, guest_page * PAGE)
            if not walk.entry.valid:
                raise self._abort(walk, guest_page * PAGE, address, access)
            self.rmm.check_granule(walk.entry)
        except (GranuleProtectionFault, MonitorPanic) as fault:
            raise MemoryFault(address, access, Stage.TEE, str(fault)) from fault
        return walk.entry.page, HOST_KEY if walk.entry.unprotected else self._realm.key

    def _abort(self, walk: TableWalk, ipa: int, address: int, access: Access) -> MemoryFault:
        """A stage-2 abort, which the monitor takes: the realm's own mistake comes back to it, others go to the host."""
        ripas, unprotected = walk.entry.ripas, walk.entry.unprotected
        if ripas is Ripas.EMPTY and not unprotected:
            reason = f"synchronous external abort: {ipa:#x} is no memory (RIPAS EMPTY)"
            return MemoryFault(address, access, Stage.TEE, reason)
        self._left = Exit(ExitReason.SYNC, esr=abort_syndrome(access, walk.level), hpfar=hpfar(ipa))
        told = "the host took it, and its content is lost" if ripas is Ripas.DESTROYED else "no granule stands there"
        side = "unprotected" if unprotected else f"RIPAS {ripas.name}"
        return MemoryFault(address, access, Stage.HOST, f"stage-2 abort at {ipa:#x} ({side}): {told}")

    def accept(self, guest_page: int) -> None:
        """Memory is RAM since the launch, up to a limit; beyond it the realm asks for more, 2 MiB at a time.

        The first touch of an address exits to the host, which puts a granule there.
        """
        ipa = guest_page * PAGE
        if ipa >= self._ram_end:
            self._ram_end = self.calls.ipa_state_set(ipa, (ipa // BLOCK + 1) * BLOCK, Ripas.RAM)
        try:
            self.nested(guest_page, ipa, Access.WRITE)
        except MemoryFault as fault:
            if fault.stage is not Stage.HOST:
                raise
            self._visit_host(self._left)

    def free_memory(self) -> int:
        """Bytes that the host can still give: a table takes a granule for each 2 MiB, and others stand over it."""
        left = self.pages.left * PER_TABLE // (PER_TABLE + 1) - TABLE_LEVELS
        return (max(0, left) + len(self._free_guest_pages)) * PAGE

    def _reach(self, ipa: int) -> memoryview:
        """A page of the realm's memory for its kernel and for the monitor."""
        page, key = self.nested(ipa // PAGE, ipa, Access.WRITE)
        return self.memory.frame(page, key, write=True)

    # ---- leaving and entering

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """RMI_REC_ENTER for the first time: the kernel boots, and starts the program where the REC says."""
        with self._as_faults():
            registers = self.rmm.rec_enter(self.hypervisor.rec, self.hypervisor.run)
        super().start(arguments, environment)
        for number, page in enumerate(self.bounce.pages):
            self.hypervisor.share(self._realm.half + number * PAGE, page)
        self.bounce = BounceBuffer(self.bounce.pages, self._shared_frame)
        self.engine.program_counter = registers[self.engine.names.index("pc")]

    def _shared_frame(self, page: int, *, write: bool) -> memoryview:
        """A page of the bounce buffer as the realm reaches it, at an unprotected address. HostLied if it is gone."""
        ipa = self._realm.half + self.bounce.pages.index(page) * PAGE
        try:
            found, key = self.nested(ipa // PAGE, ipa, Access.WRITE if write else Access.READ)
        except MemoryFault as fault:
            raise HostLied("a host call", f"the buffer that it shared is gone: {fault.reason}") from fault
        return self.memory.frame(found, key, write=write)

    def forget_translations(self) -> None:
        """A TLB shootdown."""
        self._stage2.clear()
        self._of_host.clear()
        super().forget_translations()

    def _forget_shared(self, page: int) -> None:
        """A page is no longer the host's: TLBI PALOS by EL3. A program has no translations to such pages."""
        for guest_page in self._of_host.pop(page, ()):
            self._stage2.pop(guest_page, None)

    def leave(self, cause: Cause, address: int | None = None) -> None:
        """A REC exit. For a page fault, `nested` has said what the host is told."""
        if cause is Cause.INTERRUPT:
            self._left = Exit(ExitReason.IRQ)
        elif cause is Cause.SYSTEM_CALL:
            self._left = Exit(ExitReason.HOST_CALL, imm=SERVE, gprs=(self._realm.half,))
        super().leave(cause, address)

    def save(self, cause: Cause) -> Mapping[str, int]:
        """Registers go into the REC; the host sees what the kind of exit calls for."""
        del cause
        with self._as_faults():
            return self.rmm.rec_exit(self.hypervisor.rec, self.hypervisor.run, self.engine.registers(), self._left)

    def resume(self, cause: Cause) -> None:
        """RMI_REC_ENTER: registers are what the REC holds now. MemoryFault if the monitor refuses."""
        del cause
        with self._as_faults():
            self.engine.set_registers(self.rmm.rec_enter(self.hypervisor.rec, self.hypervisor.run))

    @contextmanager
    def _as_faults(self) -> Iterator[None]:
        """Where the realm cannot run on, the program meets a fault that nobody repairs."""
        try:
            yield
        except (CallFailed, MonitorPanic) as failed:
            raise MemoryFault(self.engine.program_counter, Access.FETCH, Stage.TEE, str(failed)) from failed

    def _visit_host(self, left: Exit) -> tuple[int, ...]:
        """An exit that the realm's kernel makes on its own. Model: registers are not moved, they stay as they are."""
        host = self.hypervisor
        running = bool(self.rmm.granules.references[host.rec // PAGE])
        with self._as_faults():
            seen = self.rmm.rec_exit(host.rec, host.run, None, left)
            ipa = left.hpfar >> 4 << 12 if left.reason is ExitReason.SYNC else None
            cause = Cause.PAGE_FAULT if left.reason is ExitReason.SYNC else Cause.SYSTEM_CALL
            self.host.sees(HostView(cause, seen, ipa))
            answer = host.handle(left)
            if ipa is not None:
                host.populate(ipa)
            if running:
                self.rmm.rec_enter(host.rec, host.run)
        return answer
