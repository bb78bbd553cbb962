"""The emulated SEV-SNP machine: encrypted memory and registers, and a table of who owns each page.

    machine = SnpMachine(Shape(), terminal, keystore)
    machine.launch(image)                     # the firmware's commands, in order
    machine.start(["program"], {})
    machine.run()
    machine.evidence(report_data)             # an attestation report, which the guest asks the firmware for

What SEV-SNP adds to SEV-ES is the RMP: the hypervisor cannot write a guest's pages, and cannot put others in their
place. DRAM itself has no integrity: who holds the chips can replay.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final

from cloister.emulate.host import Cause, HostView, PhysicalMemory
from cloister.emulate.machine import Shape, Vouching
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.paging import HOST_KEY, NEEDED, Access, MemoryFault, Stage, Translation
from cloister.emulate.snp.chip import Chip
from cloister.emulate.snp.commands import CommandFailed, Policy
from cloister.emulate.snp.firmware import Firmware
from cloister.emulate.snp.ghcb import ExitCode, Ghcb, page_state_request
from cloister.emulate.snp.guest_kernel import GuestKernel
from cloister.emulate.snp.hypervisor import NONE, GuestOptions, Hypervisor
from cloister.emulate.snp.keys import FieldSelect
from cloister.emulate.snp.launch import VMSA_GPA
from cloister.emulate.snp.rmp import ALL, CHECKED, Allow, ReverseMap, expected_save_area, expected_word
from cloister.emulate.snp.rmp_instructions import Caller
from cloister.emulate.snp.software_ports import SnpPorts
from cloister.emulate.snp.vmsa import load_registers, places_of, save_registers
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import LaunchError, UsageError
from cloister.evidence.snp import Product
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Architecture, Image, Permission
from cloister.model import Digest, Tee

__all__ = ["SnpMachine"]

REPORT_DATA: Final = 64
PRODUCTION: Final = Policy.ONE | Policy.SMT
SECRETS_AND_CPUID: Final = 2
VMPL_PLACE: Final = 0xCA
"""Where a save area says which VMPL it is for."""

ALLOWED: Final = tuple(
    (Permission.READ if bits & Allow.READ else Permission.NONE)
    | (Permission.WRITE if bits & Allow.WRITE else Permission.NONE)
    | (Permission.EXECUTE if bits & Allow.USER else Permission.NONE)
    for bits in range(ALL + 1)
)
"""Permissions of a VMPL, for a program at privilege level 3."""


class SnpMachine(SnpPorts):
    """A machine with SEV-SNP.

    `debug` asks for the DEBUG bit in the guest's policy. `vmpl`: the privilege level of the program, 0 to 3; above 0 an
    SVSM at level 0 manages its memory. `product`: Milan, Genoa or Turin. With `ciphertext_hiding` the host reads all
    ones where it would read a guest's ciphertext. `options` say how the guest is launched.
    """

    tee: ClassVar[Tee | None] = Tee.SNP
    architecture: ClassVar[Architecture] = Architecture.X86_64

    microcode_fixed = True
    """Whether this processor has the microcode against CacheWarp (CVE-2023-20592, up to Milan)."""

    def __init__(
        self,
        shape: Shape,
        console: Terminal,
        keystore: Keystore,
        *,
        debug: bool = False,
        vmpl: int = 0,
        product: Product | str = Product.MILAN,
        ciphertext_hiding: bool = False,
        options: GuestOptions | None = None,
    ) -> None:
        if not 0 <= vmpl <= 3:
            raise UsageError(f"VMPL {vmpl}: there are 0 to 3")
        self.chip = Chip(AmdManufacturer(keystore, product), hiding=ciphertext_hiding)
        super().__init__(shape, console)
        self.options = options or GuestOptions()
        self.hiding = ciphertext_hiding
        self.policy = self._policy(debug=debug)
        self.controller.install(HOST_KEY, PlainCipher(self.dram))
        self.rmp = ReverseMap(self.dram)
        self.pages = PhysicalMemory(self.rmp.size, max(0, shape.memory - self.rmp.size))
        self.firmware = Firmware(self.chip, self.rmp, self.cache, self.controller)
        self.firmware.snp_init()
        self.hypervisor = Hypervisor(
            self.chip, self.firmware, self.rmp, self.cache, self.pages, self.forget_translations
        )  # fmt: skip
        self.vmpl = vmpl
        self._shift = 8 * vmpl
        self._places = places_of(self.engine.names)
        self._table = self.hypervisor.table
        self._expected = expected_word(0, self.hypervisor.asid)
        self._vmsa_guest_page = VMSA_GPA // PAGE
        self.kernel = self._new_kernel()

    def _policy(self, *, debug: bool) -> int:
        wanted = self.options.policy
        return (PRODUCTION if wanted is None else wanted) | (Policy.DEBUG if debug else 0)

    def _new_kernel(self) -> GuestKernel:
        caller = Caller(self.hypervisor.asid, self.vmpl)
        return GuestKernel(self, self.rmp, self.forget_translations, caller)

    # ---- launch and evidence

    def launch(self, image: Image) -> None:
        """Launch through the firmware's commands, in place of a guest that was there. CannotEnclave, LaunchError."""
        layout = GuestLayout.of(image)
        layout.require(self.architecture, "an SEV-SNP machine")
        self.hypervisor.end()
        try:
            self.hypervisor.launch(layout, self.options, self.policy)
        except (CommandFailed, MemoryError) as error:
            self.hypervisor.end()
            what = "the firmware refuses" if isinstance(error, CommandFailed) else "the machine has too little memory"
            raise LaunchError(f"the guest is not launched, {what}: {error}") from error
        self.kernel = self._new_kernel()
        self._boot(image, len(layout.pages) + SECRETS_AND_CPUID)

    def _boot(self, image: Image, launched: int) -> None:
        """The guest maps its program as the boot parameters in its own measured memory say."""
        parameters = self.kernel.boot(launched)
        self.image = parameters.image(page.content for page in image.pages)
        self.guest.entries.clear()
        for address, permission, place in parameters.placed():
            self.guest.set(address, place // PAGE, permission)
        self._free_guest_pages.clear()
        self._next_guest_page = launched
        self._vmsa_guest_page = VMSA_GPA // PAGE
        if self.vmpl:
            self._make_save_area()
        self.forget_translations()

    def _make_save_area(self) -> None:
        """What an SVSM does for its guest: a save area for its VMPL, from the one that was measured."""
        guest_page = self._guest_page()
        page = self.nested_page(guest_page)
        content = bytearray(self._save_area())
        content[VMPL_PLACE] = self.vmpl
        self.cache.put(page, self.hypervisor.asid, content)
        self.kernel.make_save_area(guest_page)
        self.hypervisor.vmsa, self._vmsa_guest_page = page, guest_page

    @property
    def measurement(self) -> Digest:
        """MEASUREMENT. UsageError before `launch`."""
        self._require_launch()
        return Digest("sha384", self.firmware.launch_digest(self.hypervisor.context))

    def evidence(self, report_data: bytes) -> bytes:
        """An attestation report (1184 bytes), which the guest asks the firmware for, over the host.

        `report_data` of at most 64 bytes; zeros follow it. UsageError; VerificationError if the host forged the answer.
        """
        if len(report_data) > REPORT_DATA:
            raise UsageError(f"{len(report_data)} bytes of report data; an SNP report has {REPORT_DATA}")
        self._require_launch()
        return self.kernel.report(report_data.ljust(REPORT_DATA, b"\0"))

    def derived_key(self, fields: FieldSelect = FieldSelect.MEASUREMENT) -> bytes:
        """A sealing key of 32 bytes: the same for the same chip and the same values of the selected fields."""
        self._require_launch()
        return self.kernel.derived_key(fields)

    def _require_launch(self) -> None:
        if self.hypervisor.context == NONE:
            raise UsageError("nothing was launched yet: `launch` comes first")

    def vouching(self, at: datetime) -> Vouching:
        """The emulated AMD's root, and what its key service has for this machine's reports."""
        return self.chip.vouching(at)

    # ---- translation

    def translate(self, address: int, access: Access) -> Translation:
        """Both stages, and the RMP (APM volume 2, section 15.36.10)."""
        entry = self.guest.walk(address, access)
        page, bits = self._checked(entry.target, address, access)
        if bits == ALL:
            return Translation(page, entry.permission, self.hypervisor.asid)
        return Translation(page, entry.permission & ALLOWED[bits], self.hypervisor.asid)

    def nested(self, guest_page: int, address: int, access: Access) -> tuple[int, int]:
        """The nested table and the RMP."""
        return self._checked(guest_page, address, access)[0], self.hypervisor.asid

    def _checked(self, guest_page: int, address: int, access: Access) -> tuple[int, int]:
        """Physical page, and the permissions that it gives the guest's VMPL: the hot path."""
        page = self._table.get(guest_page)
        if page is None:
            raise MemoryFault(address, access, Stage.HOST, "#NPF: not present in the nested page table")
        low, high = self.rmp.words(page)
        if low & CHECKED != self._expected | guest_page << 12:
            raise self._mismatch(page, guest_page, address, access)
        bits = high >> self._shift & ALL
        if bits != ALL and not ALLOWED[bits] & NEEDED[access]:
            reason = f"#NPF with the VMPL bit: VMPL {self.vmpl} may not {access.name.lower()} page {page:#x}"
            raise MemoryFault(address, access, Stage.TEE, reason)
        return page, bits

    def _mismatch(self, page: int, guest_page: int, address: int, access: Access) -> MemoryFault:
        """Who is told: the guest if only its own validation is missing (#VC), the host in all other cases (#NPF)."""
        entry = self.rmp[page]
        own = entry.assigned and not entry.large and (entry.asid, entry.gpa) == (self.hypervisor.asid, guest_page)
        if own:
            known = "; the guest had validated it and ends itself" if guest_page in self.kernel.validated else ""
            reason = f"#VC PAGE_NOT_VALIDATED: guest page {guest_page:#x} on page {page:#x}{known}"
        else:
            owner = f"ASID {entry.asid}, guest page {entry.gpa:#x}" if entry.assigned else "not assigned"
            reason = f"#NPF with the RMP bit: guest page {guest_page:#x} leads to page {page:#x}, which is {owner}"
        return MemoryFault(address, access, Stage.TEE, reason)

    def nested_page(self, guest_page: int) -> int:
        """Where the nested table leads, for instructions that change the RMP. MemoryFault."""
        page = self._table.get(guest_page)
        if page is None:
            reason = f"guest page {guest_page:#x} is not in the nested page table"
            raise MemoryFault(guest_page * PAGE, Access.WRITE, Stage.TEE, reason)
        return page

    def guest_frame(self, guest_page: int, access: Access) -> memoryview:
        """A page of the guest's own memory, as its kernel reaches it. MemoryFault."""
        page, _ = self._checked(guest_page, guest_page * PAGE, access)
        frame = self.cache.frame(page, self.hypervisor.asid, write=access is Access.WRITE, fetch=False)
        return self.frames.views[frame]

    def invd(self) -> None:
        """The hypervisor's INVD: the guest's dirty lines are lost, and memory is what it was when last written back.

        With the microcode fix they are written back instead. Only lines of the guest: an attacker keeps its own.
        """
        if self.microcode_fixed:
            self.cache.write_back()
        else:
            self.cache.drop_key(self.hypervisor.asid)

    def accept(self, guest_page: int) -> None:
        """A page state request, then PVALIDATE."""
        self.kernel.accept(guest_page)

    # ---- exits

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Lay out the program's stack; the first instruction is the one that the save area names."""
        super().start(arguments, environment)
        (self.engine.program_counter,) = load_registers(self._save_area(), places_of(["rip"]))

    def save(self, cause: Cause) -> Mapping[str, int]:
        """All registers go to the encrypted save area. The host sees the GHCB, if the exit was the guest's own wish."""
        save_registers(self._save_area(), self._places, self.engine.registers())
        if cause is not Cause.SYSTEM_CALL:
            return {}
        return self._post({"sw_exit_code": ExitCode.MMIO_WRITE, "sw_exit_info_1": self.bounce.pages[0] * PAGE})

    def resume(self, cause: Cause) -> None:
        """VMRUN: the registers are what the save area holds now."""
        del cause
        self.engine.set_registers(load_registers(self._save_area(), self._places))

    def _save_area(self) -> memoryview:
        """The save area, decrypted. MemoryFault if the RMP does not say that it is one of this guest."""
        page, asid = self.hypervisor.vmsa, self.hypervisor.asid
        if self.rmp.words(page)[0] != expected_save_area(self._vmsa_guest_page, asid):
            reason = f"VMRUN fails: the RMP has no save area of ASID {asid} at page {page:#x}"
            raise MemoryFault(self._vmsa_guest_page * PAGE, Access.WRITE, Stage.TEE, reason)
        return self.frames.views[self.cache.frame(page, asid, write=True, fetch=False)]

    def _post(self, fields: Mapping[str, int]) -> dict[str, int]:
        """Show the host some words in the GHCB; returns what it may look at."""
        ghcb = Ghcb(self.host_frame(self.hypervisor.ghcb, write=True))
        ghcb.post(fields)
        return ghcb.valid()

    def request_private(self, guest_page: int) -> None:
        """VMGEXIT with a page state request, by the GHCB's MSR."""
        seen = {"ghcb_msr": page_state_request(guest_page)}
        self.host.sees(HostView(Cause.SYSTEM_CALL, seen, guest_page * PAGE))
        self.hypervisor.make_private(guest_page)

    def request_firmware(self, message: bytes) -> bytes:
        """VMGEXIT with a guest request: the host carries a sealed page to the firmware, and its answer back."""
        request = self.pages.allocate()
        try:
            self.hypervisor.write(request, message.ljust(PAGE, b"\0"))
            fields = {"sw_exit_code": ExitCode.GUEST_REQUEST, "sw_exit_info_1": request * PAGE}
            self.host.sees(HostView(Cause.SYSTEM_CALL, self._post(fields)))
            return self.hypervisor.guest_request(request)
        finally:
            self.pages.free(request)
