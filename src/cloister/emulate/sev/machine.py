"""The emulated SEV and SEV-ES machine: one memory key for each guest, a security processor, an untrusted hypervisor.

    machine = SevMachine(Shape(), terminal, keystore, es=True)
    machine.launch(image)              # the firmware's commands, in order; with `owner`, its dialogue too
    machine.start(["program"], {})
    machine.run()

What SEV protects is the content of memory. It has no integrity: the nested page table is the hypervisor's, old
ciphertext can be put back, what is written over a page is decrypted to something. Without SEV-ES the hypervisor also
sees and changes all registers at every exit.
"""

import hmac
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final

from cloister.emulate.host import Cause
from cloister.emulate.machine import Shape, Vouching
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.paging import HOST_KEY, Access, IntegrityFault, MemoryFault, Stage
from cloister.emulate.sev.commands import Policy
from cloister.emulate.sev.firmware import Firmware, check_value
from cloister.emulate.sev.generations import Generation, GenerationName, generation_of
from cloister.emulate.sev.hypervisor import Hypervisor
from cloister.emulate.sev.memory_port import CoherentMemory
from cloister.emulate.sev.owner import PRODUCTION, GuestOwner
from cloister.emulate.sev.platform import CHECK_SIZE, TRUSTED_KEY
from cloister.emulate.sev.save_area import VMMCALL, load_registers, post, store_registers, take
from cloister.emulate.sev.secret_area import SECRETS_ADDRESS, SECRETS_VARIABLE, secrets_in
from cloister.emulate.sev.software_ports import SevPorts
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.amd_sev_platform import SevPlatform
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.x509 import armoured
from cloister.errors import UsageError
from cloister.evidence.sev import LaunchMeasurement, SevAttestation, SevLaunch
from cloister.measure.guest import BootParameters, GuestLayout, parameter_pages
from cloister.measure.image import PAGE, Architecture, Image, Permission
from cloister.model import Digest, Tee

__all__ = ["SevMachine"]

MNONCE: Final = 16
SERVE: Final = 1
"""The only call that the guest makes to its hypervisor: there is a request in the bounce buffer."""


class SevMachine(SevPorts):
    """A machine with SEV; with `es` its hypervisor has switched on SEV-ES, and guests use it.

    `debug` leaves NODBG out of the guest's policy. `owner` is the guest's owner, whose policy then holds; without one
    the firmware keeps the transport keys to itself. `generation` decides about keys, ASIDs and the memory cipher.
    """

    tee: ClassVar[Tee | None] = Tee.SEV
    architecture: ClassVar[Architecture] = Architecture.X86_64

    launch_measurement: LaunchMeasurement
    """LAUNCH_MEASURE's answer; set by `launch`."""

    def __init__(
        self,
        shape: Shape,
        console: Terminal,
        keystore: Keystore,
        *,
        es: bool = False,
        debug: bool = False,
        generation: GenerationName | str = "milan",
        owner: GuestOwner | None = None,
    ) -> None:
        self.generation = generation_of(generation)
        super().__init__(shape, console)
        self.owner = owner
        self.policy = owner.policy if owner else default_policy(es=es, debug=debug)
        self.controller.install(HOST_KEY, PlainCipher(self.dram))
        self.controller.slots = self.generation.asids + 1  # the last one is the firmware's own
        memory = CoherentMemory(self.generation, self.controller, self.cache)
        self._keystore = keystore
        self.firmware = Firmware(self.generation, platform_of(keystore, self.generation), memory)
        self.trusted_pages = range(0)
        self.firmware.init(trusted_region=self._trusted_region() if es else None)
        self.hypervisor = Hypervisor(self.firmware, memory, self.pages)

    def _trusted_region(self) -> int:
        """Memory that the hypervisor gives up for the firmware at INIT: its address. No page is in use yet."""
        count = -(-self.firmware.trusted_size // PAGE)
        taken = [self.pages.allocate() for _ in range(count)]
        self.trusted_pages = range(taken[0], taken[0] + count)
        return taken[0] * PAGE

    # ---- launch

    def launch(self, image: Image) -> None:
        """The whole launch. CommandFailed if the firmware refuses, BindingInvalid and others if the owner does.

        What does not come to its end leaves nothing behind.
        """
        layout = GuestLayout.of(image)
        layout.require(self.architecture, "an SEV machine")
        try:
            self._launch(layout)
        except BaseException:
            self.hypervisor.end()
            raise

    def _launch(self, layout: GuestLayout) -> None:
        hypervisor, owner = self.hypervisor, self.owner
        session = owner.begin(self.firmware.pdh_cert_export()) if owner else None
        hypervisor.load(layout)
        hypervisor.start(self.policy, session)
        hypervisor.encrypt()
        self.launch_measurement = hypervisor.measure()
        if owner:
            hypervisor.inject(owner.release(self.launch_measurement))
        hypervisor.finish()
        self.boot()

    def boot(self) -> None:
        """The guest reads its boot parameters from its own memory and makes its page tables. ParseError if it cannot.

        What the hypervisor has put there instead is what runs; the measurement says so.
        """
        count = parameter_pages(self.guest_page(0))
        parameters = BootParameters.parse(b"".join(self.guest_page(number) for number in range(count)))
        contents = []
        for address, permission, place in parameters.placed():
            self.guest.set(address, place // PAGE, permission)
            contents.append(self.guest_page(place // PAGE))
        self.image = parameters.image(contents)
        self._secret_page = parameters.first // PAGE + len(contents)
        self._next_guest_page = self._secret_page + 1

    def guest_page(self, number: int) -> bytes:
        """A guest-physical page as the guest reads it. MemoryFault if the hypervisor has none behind it."""
        page, key = self.nested(number, number * PAGE, Access.READ)
        return bytes(self.frames.views[self.cache.frame(page, key, write=False, fetch=False)])

    def secrets(self) -> dict[uuid.UUID, bytes]:
        """What the owner has injected, as the guest finds it in its memory behind the image. ParseError."""
        return secrets_in(self.guest_page(self._secret_page))

    # ---- measurement and evidence

    @property
    def measurement(self) -> Digest:
        """The launch digest."""
        return Digest("sha256", self.firmware.guests[self.hypervisor.handle].launch_digest)

    def evidence(self, report_data: bytes) -> bytes:
        """ATTESTATION's report with the platform's certificates. There is room for a nonce of 16 bytes only.

        The hypervisor asks for it, not the guest: it cannot speak of a key that the guest made.
        """
        nonce = report_data.rstrip(b"\0")
        if len(nonce) > MNONCE:
            raise UsageError(
                f"a SEV report has a nonce of {MNONCE} bytes and nothing of the guest's own, not {len(nonce)} bytes;"
                " SEV-SNP attests a key"
            )
        report = self.firmware.attestation(self.hypervisor.handle, nonce.ljust(MNONCE, b"\0"))
        return SevAttestation(report=report, chain=self.firmware.pdh_cert_export()).serialize()

    def vouching(self, at: datetime) -> Vouching:
        """The emulated AMD's root. The chain comes with the evidence, and for it there is no revocation list."""
        del at
        manufacturer = AmdManufacturer(self._keystore, self.generation.product)
        return Vouching(roots=armoured(manufacturer.ark.certificate.encoded), collateral={})

    def launch_evidence(self) -> bytes:
        """The launch measurement with the platform's certificates: only the guest's owner can verify it."""
        return SevLaunch(measurement=self.launch_measurement, chain=self.firmware.pdh_cert_export()).serialize()

    # ---- translation and memory

    def nested(self, guest_page: int, address: int, access: Access) -> tuple[int, int]:
        """The hypervisor's table, and the guest's key: the guest sets the C-bit on all pages of the program."""
        page = self.hypervisor.table.get(guest_page)
        if page is None:
            raise MemoryFault(address, access, Stage.HOST, f"nested page fault: {guest_page:#x} is not present")
        if page in self.trusted_pages:
            raise MemoryFault(address, access, Stage.TEE, f"page {page:#x} is the firmware's trusted memory region")
        return page, self.hypervisor.asid

    def accept(self, guest_page: int) -> None:
        """Nothing to accept: the hypervisor backs the page, and the guest uses it."""
        self.hypervisor.back(guest_page)

    # ---- exits

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """As any program; with SEV-ES, at the instruction that the measured save area names.

        If the owner has injected secrets, the program finds their table by the variable CLOISTER_LAUNCH_SECRETS.
        """
        settings = dict(environment)
        if self.secrets():
            self.guest.set(SECRETS_ADDRESS, self._secret_page, Permission.READ)
            settings[SECRETS_VARIABLE] = f"{SECRETS_ADDRESS:#x}"
        super().start(arguments, settings)
        if self.hypervisor.encrypted_state:
            self.engine.program_counter = self._entered()[self.engine.names.index("rip")]

    def save(self, cause: Cause) -> Mapping[str, int]:
        """The registers go into the hypervisor's VMCB, or into the VMSA with a check value out of everybody's reach."""
        values, hypervisor = self.engine.registers(), self.hypervisor
        if not hypervisor.encrypted_state:
            store_registers(self.host_frame(hypervisor.state_page, write=True), values)
            return dict(zip(self.engine.names, values, strict=True))
        state = self._state(write=True)
        store_registers(state, values)
        self._check_place(write=True)[:] = check_value(state)
        if cause is not Cause.SYSTEM_CALL:
            return {}  # an automatic exit: nothing is shown
        shared = self.host_frame(hypervisor.shared_page, write=True)
        post(shared, exit_code=VMMCALL, registers={"rax": SERVE})
        return take(shared)

    def resume(self, cause: Cause) -> None:
        """What the hypervisor's VMCB says, or what the VMSA says if its check value fits. IntegrityFault."""
        del cause
        if self.hypervisor.encrypted_state:
            self.engine.set_registers(self._entered())
        else:
            self.engine.set_registers(load_registers(self.host_frame(self.hypervisor.state_page, write=False)))

    def _entered(self) -> list[int]:
        """VMRUN of a SEV-ES guest."""
        state = self._state(write=False)
        if not hmac.compare_digest(check_value(state), self._check_place(write=False)):
            raise IntegrityFault(self.hypervisor.state_page, "VMRUN: the VMSA does not fit its check value")
        return load_registers(state)

    def _state(self, *, write: bool) -> memoryview:
        """The VMSA, under the guest's key."""
        page, asid = self.hypervisor.state_page, self.hypervisor.asid
        return self.frames.views[self.cache.frame(page, asid, write=write, fetch=False)]

    def _check_place(self, *, write: bool) -> memoryview:
        """Where the check value of this guest's VMSA stands."""
        page, offset = divmod(self.trusted_pages.start * PAGE + self.hypervisor.asid * CHECK_SIZE, PAGE)
        frame = self.cache.frame(page, TRUSTED_KEY, write=write, fetch=False)
        return self.frames.views[frame][offset : offset + CHECK_SIZE]

    def close(self) -> None:
        """The guest is taken down, the platform shut down, all keys wiped."""
        self.hypervisor.end()
        self.firmware.shutdown()
        super().close()


def default_policy(*, es: bool, debug: bool) -> int:
    """The policy of a guest whose owner says nothing: production, unless debugging is asked for."""
    policy = PRODUCTION | (Policy.ES if es else Policy(0))
    return int(policy & ~Policy.NODBG if debug else policy)


def platform_of(keystore: Keystore, generation: Generation) -> SevPlatform:
    """The security processor's keys: one chip of each generation, from the emulated AMD's factory."""
    amd = AmdManufacturer(keystore, generation.product)
    return SevPlatform.of(amd, amd.chip_id(f"{generation.name}-chip"))
