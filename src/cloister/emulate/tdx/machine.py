"""The emulated TDX machine: the module between an untrusted hypervisor and one trust domain.

    machine = TdxMachine(Shape(), terminal, keystore)
    machine.launch(image)              # the module's functions in KVM's order, measured into MRTD
    machine.start(["program"], {})
    machine.run()
    quote = machine.evidence(report_data)

Memory is encrypted under the TD's ephemeral key and marked as a TD's; registers lie in encrypted memory while the host
runs; private pages are mapped by the module alone. The host still sees which pages it takes away are touched, and
whoever holds the memory chips can put old contents back.
"""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import ClassVar, Final

from cloister.emulate.engine_unsafe import Event, Stop
from cloister.emulate.host import Cause, HostView
from cloister.emulate.machine import Ending, Shape, Vouching
from cloister.emulate.paging import HOST_KEY, Access, IntegrityFault, MemoryFault, Stage
from cloister.emulate.tdx.calls import CallFailed
from cloister.emulate.tdx.instruction import TdcallInstruction
from cloister.emulate.tdx.keyed_memory import Integrity, KeyedMemory
from cloister.emulate.tdx.module import TdxModule
from cloister.emulate.tdx.params import Attribute, TdParams, default_params
from cloister.emulate.tdx.sept import SHARED_BIT, EptViolation, SeptEntry, SeptState
from cloister.emulate.tdx.td import Td, VcpuState
from cloister.emulate.tdx.tdcall import RTMRS, GuestCalls
from cloister.emulate.tdx.tdvps import Exit, ExitReason, host_registers, selected
from cloister.emulate.tdx.vmm import Vmm
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.intel import IntelManufacturer
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import CannotEnclave, UsageError
from cloister.measure.guest import BootParameters, GuestLayout, parameter_pages
from cloister.measure.image import PAGE, Architecture, Image
from cloister.model import Digest, Tee

__all__ = ["TdxMachine"]

REPORT_DATA: Final = 64
SUM: Final = 48
BUS_ERROR: Final = 128 + 7
SERVE: Final = 1
"""R10 of the guest kernel's VMCALL, not 0 as in Intel's interface: there is a request in the bounce buffer."""

SERVE_MASK: Final = 1 << 10 | 1 << 11
"""It passes R10 and R11, the shared guest-physical address of the buffer."""

HALT: Final = 12
"""R11 of TDG.VP.VMCALL<Instruction.HLT> (Guest-Hypervisor Communication Interface for TDX, section 3.8)."""

NO_ENTRY: Final = SeptEntry(SeptState.FREE, -1)


class TdxMachine(TdcallInstruction):
    """A machine with TDX. `debug` gives the TD its DEBUG attribute.

    `integrity`: "ci", cryptographic, or "li", logical. `quote_version`: 4 as of TDX 1.0, 5 as of 1.5. `params` are
    TD_PARAMS other than the default ones. UsageError for other choices.
    """

    tee: ClassVar[Tee | None] = Tee.TDX
    architecture: ClassVar[Architecture] = Architecture.X86_64

    cycles_per_instruction: int = 1
    """By the time stamp counter. The host sets the processor's frequency: it may make this large (TDXdown)."""

    def __init__(
        self,
        shape: Shape,
        console: Terminal,
        keystore: Keystore,
        *,
        debug: bool = False,
        integrity: Integrity = "ci",
        quote_version: int = 4,
        params: TdParams | None = None,
    ) -> None:
        if integrity not in {"ci", "li"} or quote_version not in {4, 5}:
            raise UsageError(f"a TDX machine has integrity ci or li, and quotes of version 4 or 5: {quote_version}")
        super().__init__(shape, console)
        self.module = TdxModule(KeyedMemory(self.controller, self.cache, integrity), shape.memory)
        self.vmm = Vmm(self.module, self.pages, self._put_host_page, self._get_quote)
        self._keystore, self._quote_version = keystore, quote_version
        self._params = params or default_params(debug=debug)
        self._leaves: dict[int, SeptEntry] = {}
        self._hkid = HOST_KEY
        self._left = Exit(ExitReason.EXTERNAL_INTERRUPT)

    # ---- launch

    def launch(self, image: Image) -> None:
        """The hypervisor builds the TD; what runs is what the TD then finds in its own memory. CannotEnclave."""
        layout = GuestLayout.of(image)
        layout.require(self.architecture, "a trust domain")
        try:
            self._build(layout)
        except MemoryError as error:
            raise CannotEnclave(
                f"this program has {len(layout.pages):,} pages and does not fit: {error}; give the machine more memory"
            ) from error
        self._boot()

    def _build(self, layout: GuestLayout) -> None:
        """The module's functions in KVM's order. MemoryError."""
        self.vmm.create(self._params)
        self.vmm.load(layout.pages)
        self.vmm.add_vcpu()
        self.vmm.finalize()
        td = self.module.tds[self.vmm.tdr]
        self.calls = GuestCalls(self.module, td, td.vcpus[0])
        self._leaves, self._hkid = td.sept.leaves, td.hkid

    def _boot(self) -> None:
        """The guest reads its boot parameters in private memory, which is measured, and maps the image as they say."""
        count = parameter_pages(self._private_page(0))
        parameters = BootParameters.parse(b"".join(self._private_page(number) for number in range(count)))
        contents = tuple(self._private_page(gpa // PAGE) for _, _, gpa in parameters.placed())
        self.image = parameters.image(contents)
        self.adopt(self.image, GuestLayout(parameters, contents))

    def _private_page(self, guest_page: int) -> bytes:
        page, key = self.nested(guest_page, guest_page * PAGE, Access.READ)
        return self.module.memory.read(page, key)

    def _put_host_page(self, page: int, content: bytes) -> None:
        self.cache.put(page, HOST_KEY, content)

    @property
    def td(self) -> Td:
        """The TD. UsageError before `launch`."""
        return self._running_calls.td

    @property
    def _running_calls(self) -> GuestCalls:
        if not hasattr(self, "calls"):
            raise UsageError("there is no trust domain yet: launch a program first")
        return self.calls

    # ---- evidence

    @property
    def measurement(self) -> Digest:
        """MRTD, as TDCS has it."""
        return Digest("sha384", self.td.info(self.module.memory).mrtd)

    @cached_property
    def manufacturer(self) -> IntelManufacturer:
        """Who certifies this machine's quoting enclave: an emulated Intel."""
        return IntelManufacturer(self._keystore)

    def report(self, report_data: bytes) -> bytes:
        """TDG.MR.REPORT: a TDREPORT, which counts on this machine only.

        `report_data` of at most 64 bytes; zeros follow it. UsageError for more.
        """
        if len(report_data) > REPORT_DATA:
            raise UsageError(f"{len(report_data)} bytes of report data; a TDREPORT has {REPORT_DATA}")
        return self._running_calls.report(report_data.ljust(REPORT_DATA, b"\0")).serialize()

    def evidence(self, report_data: bytes) -> bytes:
        """A quote: the host carries the report to the quoting enclave, and brings back what that made of it.

        The TD asks by TDG.VP.VMCALL<GetQuote> (Guest-Hypervisor Communication Interface for TDX, section 3.3). Whatever
        the host brings is what the TD gets: a verifier will see.
        """
        return self.vmm.get_quote(self.report(report_data))

    def _get_quote(self, report: bytes) -> bytes:
        """The honest host's way: to this platform's quoting enclave, which checks the MAC."""
        enclave = self.manufacturer.td_quoting_enclave(verified=self.module.report_key.verifies)
        return enclave.quote(report, version=self._quote_version)

    def vouching(self, at: datetime) -> Vouching:
        """The emulated Intel's root, and its statements about this platform and its quoting enclave."""
        collateral = {"intel-collateral.json": self.manufacturer.collateral(at)}
        return Vouching(roots=self.manufacturer.root_pem, collateral=collateral)

    def extend_rtmr(self, index: int, value: bytes) -> None:
        """TDG.MR.RTMR.EXTEND of a runtime register, 0 to 3, with 48 bytes. UsageError."""
        if not 0 <= index < RTMRS or len(value) != SUM:
            raise UsageError(
                f"RTMRs 0 to {RTMRS - 1} are extended with {SUM} bytes: not RTMR {index} with {len(value)}"
            )
        self._running_calls.extend(index, value)

    # ---- private memory

    def nested(self, guest_page: int, address: int, access: Access) -> tuple[int, int]:
        """The secure EPT: a MAPPED leaf, or an exit to the host."""
        entry = self._leaves.get(guest_page, NO_ENTRY)
        if entry.state is SeptState.MAPPED:
            return entry.page, self._hkid
        raise self._violation(guest_page, entry.state, address, access)

    def _violation(self, guest_page: int, state: SeptState, address: int, access: Access) -> MemoryFault:
        """A PENDING page is the guest's business if it wants a #VE, else the host's, as all others are."""
        told = f"EPT violation at {guest_page * PAGE:#x}: the secure EPT entry is {state.name}"
        if state is SeptState.PENDING:
            told += ", and the TD has not accepted it"
            if not self.td.attributes & Attribute.SEPT_VE_DISABLE:
                return MemoryFault(address, access, Stage.TEE, f"#VE: {told}")
        return MemoryFault(address, access, Stage.HOST, told)

    def accept(self, guest_page: int) -> None:
        """TDG.MEM.PAGE.ACCEPT; where the host has added nothing yet, that exits, and the host adds a page.

        Model: on this exit nothing but the address is handed over; registers are not moved.
        """
        gpa = guest_page * PAGE
        try:
            self.calls.mem_page_accept(gpa)
        except EptViolation:
            self.host.sees(HostView(Cause.PAGE_FAULT, host_registers(Exit(ExitReason.EPT_VIOLATION, gpa=gpa)), gpa))
            self.vmm.augment(gpa)
            self.calls.mem_page_accept(gpa)

    # ---- leaving and entering

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """TDH.VP.ENTER for the first time: the guest's kernel boots, and starts the program."""
        self.module.vp_enter(self.vmm.tdvpr)
        super().start(arguments, environment)

    def run(self, steps: int = 0) -> Ending:
        """To the program's end; then the guest's kernel halts the processor, which is an exit too."""
        ending = super().run(steps)
        self.vmcall = SERVE_MASK, {"r10": 0, "r11": HALT}
        with contextlib.suppress(MemoryFault, IntegrityFault):
            self.leave(Cause.SYSTEM_CALL)
        self.vmcall = None
        return ending

    def _react(self, event: Event) -> Ending | None:
        """An interrupt that looks like a step is held back, so that the host does not learn where the TD stands."""
        if event.stop is Stop.STEPS:
            guard, cycles = self.calls.vcpu.guard, self.interval * self.cycles_per_instruction
            if guard.suspects(self.engine.program_counter, self.interval, cycles):
                event = self.engine.run(guard.distance())
        return super()._react(event)

    def leave(self, cause: Cause, address: int | None = None) -> None:
        """A TD exit."""
        if cause is Cause.PAGE_FAULT:
            self._left = Exit(ExitReason.EPT_VIOLATION, gpa=address or 0)
        elif cause is Cause.INTERRUPT:
            self._left = Exit(ExitReason.EXTERNAL_INTERRUPT)
        else:
            shared = SHARED_BIT | self.bounce.pages[0] * PAGE
            mask, passed = self.vmcall or (SERVE_MASK, {"r10": SERVE, "r11": shared})
            self._left = Exit(ExitReason.TDCALL, mask=mask, passed=passed)
        super().leave(cause, address)

    def save(self, cause: Cause) -> Mapping[str, int]:
        """Registers go into TDVPS; the host sees a reason, or what a VMCALL passes. MemoryFault if the TD has ended."""
        del cause
        if self.calls.vcpu.state is not VcpuState.ACTIVE:
            raise MemoryFault(self.engine.program_counter, Access.FETCH, Stage.TEE, "the TD does not run any more")
        self.calls.vcpu.exposed = tuple(selected(self.vmcall[0])) if self.vmcall else ()
        return self.module.td_exit(self.calls.vcpu, self.engine.registers(), self._left)

    def resume(self, cause: Cause) -> None:
        """TDH.VP.ENTER. MemoryFault if the module refuses; IntegrityFault if TDVPS was changed."""
        del cause
        answers, self.answers, self.vmcall = self.answers, {}, None
        try:
            registers, flush = self.module.vp_enter(self.vmm.tdvpr, answers)
        except (CallFailed, EptViolation) as failed:
            reason = f"TDH.VP.ENTER does not enter: {failed}"
            raise MemoryFault(self.engine.program_counter, Access.FETCH, Stage.HOST, reason) from failed
        if flush:
            self.forget_translations()
        self.engine.set_registers(registers)

    def integrity_stop(self, fault: IntegrityFault) -> Ending:
        """A machine check in the TD: it is fatal, and no processor of it is entered again."""
        self.module.machine_check(self.td)
        return Ending(BUS_ERROR, f"integrity: {fault}")

    def close(self) -> None:
        """Reset: keys, reports' among them, are gone."""
        self.module.report_key.wipe()
        super().close()
