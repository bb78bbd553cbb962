"""The emulated TrustZone machine: a program as trusted application at S-EL0, over a small OS, in secure memory.

    EL0   secure: the program           |  normal: nothing
    EL1   secure: BL32 (secure_os)      |  normal: the host (Python; `normal` runs code of it)
    EL3   BL31, the monitor (worlds)

DRAM is one quarter the normal world's, from address 0, and the rest secure; the TZC-400 divides it. Nothing is
encrypted. The key id of the memory controller is the NS bit of the bus: caches keep it with each line, so a line of one
world is never a hit for the other.
"""

import functools
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from cloister.emulate.flat import FlatMachine
from cloister.emulate.host import Cause, PhysicalMemory
from cloister.emulate.machine import Shape
from cloister.emulate.paging import HOST_KEY, Access, MemoryFault, Refused, Stage, Translation
from cloister.emulate.terminal import Terminal
from cloister.emulate.trustzone.boot import BootStep, Flash, Fuses, application_bytes, boot, firmware_images
from cloister.emulate.trustzone.certificates import APPLICATION, FirmwareSigner
from cloister.emulate.trustzone.normal import NormalWorld
from cloister.emulate.trustzone.ports import TrustZonePorts
from cloister.emulate.trustzone.secure_os import (
    GATE,
    GATE_CODE,
    SHARED,
    STACK_PAGES,
    STACK_TOP,
    THREAD,
    SecureOs,
    ThreadContext,
)
from cloister.emulate.trustzone.smc import NOT_SUPPORTED, Result
from cloister.emulate.trustzone.tzasc import SECURE_KEY, Action, Attribute, FilteredMemory, Master, Register, Tzc400
from cloister.emulate.trustzone.tzpc import Tzpc
from cloister.emulate.trustzone.worlds import Monitor, Scr
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import CannotEnclave, UsageError
from cloister.measure.image import PAGE, Architecture, Image, Permission
from cloister.model import Digest

__all__ = ["TrustZoneMachine"]

PROCESSOR: Final = Master(secure=False, nsaid=9)
DEVICE: Final = Master(secure=False, nsaid=8)
SECURE_PROCESSOR: Final = Master(secure=True, nsaid=9)
SECURE_DEVICE: Final = Master(secure=True, nsaid=8)
"""NSAIDs as on Arm's FVP (fvp_def.h): 9 the application processor, 8 a device that masters the bus."""
SHARE: Final = 4
"""The normal world has the first quarter of DRAM."""
SMALLEST: Final = 256
OWN_PAGES: Final = STACK_PAGES + 2
"""What BL32 takes of secure memory: its thread, the gate and the stack of services."""
ZEROS: Final = bytes(PAGE)
BOTH: Final = Permission.READ | Permission.WRITE


class TrustZoneMachine(TrustZonePorts, FlatMachine):
    """A platform with TrustZone. `debug` is SPIDEN: secure invasive debug through the chip's debug port.

    `monitor_scrubs=False` is a monitor that leaves the secure world's registers to the normal world. `action` is what
    the TZC-400 does on a denied access besides zeros.
    """

    tee = None
    architecture = Architecture.ARM64
    table_stage = Stage.PROGRAM
    master = PROCESSOR
    device = DEVICE
    secure_device = SECURE_DEVICE

    def __init__(
        self,
        shape: Shape,
        console: Terminal,
        keystore: Keystore,
        *,
        debug: bool = False,
        monitor_scrubs: bool = True,
        action: Action = Action.INTERRUPT,
    ) -> None:
        if shape.memory < SMALLEST:
            raise UsageError(f"DRAM of {shape.memory} pages; a TrustZone machine needs {SMALLEST} for its two worlds")
        super().__init__(shape, console)
        self.spiden = debug
        self.keystore = keystore
        first = shape.memory // SHARE
        self.pages = PhysicalMemory(0, first)
        self.secure_pages = PhysicalMemory(first, shape.memory - first)
        self.tzasc = Tzc400(shape.memory)
        self._action = action
        for master in (PROCESSOR, SECURE_PROCESSOR):
            self.controller.install(master.key_id, FilteredMemory(self.dram, self.tzasc, master))
        self.tzpc = Tzpc({
            "hardware unique key": lambda: keystore.secret("trustzone-huk", 16),
            "entropy source": lambda: secrets.token_bytes(32),
            "secure console": lambda: b"",
            "console": lambda: b"",
        })  # fmt: skip
        self.monitor = Monitor(self.engine, scrubs=monitor_scrubs)
        self.fuses = Fuses(FirmwareSigner(keystore).root_hash)
        self.flash = Flash()
        self.normal = NormalWorld(self)
        self.boot_steps: list[BootStep] = []
        self._shared: set[int] = set()
        self._normal_tables = False
        self._known_elsewhere: dict[int, Translation] = {}

    # ---- trusted boot

    def sign(self, image: Image, services: Mapping[int, int] | None = None, *, version: int = 0) -> None:
        """The owner's part: certificates for this program go to flash, with which the normal world boots the machine.

        `services` maps commands to addresses in the program that INVOKE enters; `version` is the counter against old
        software.
        """
        self.flash.services = dict(services or {})
        self.flash.images = firmware_images()
        application = application_bytes(image, self.flash.services)
        images = {**self.flash.images, APPLICATION: application}
        self.flash.certificates = FirmwareSigner(self.keystore).sign(images, version)

    def launch(self, image: Image) -> None:
        """Boot with this program. If nothing has been signed yet, whoever launches is the owner, and signs it.

        BootRefused if something is not as it was signed; CannotEnclave for another processor's program.
        """
        if image.architecture is not self.architecture:
            raise CannotEnclave(f"TrustZone machines run arm64 programs; this one is for {image.architecture}")
        self._unload()
        needed = len(image.pages) + OWN_PAGES
        if needed > self.secure_pages.left:
            raise UsageError(
                f"the program needs {needed} pages, the secure world has {self.secure_pages.left}: "
                f"give the machine more memory, it has {self.shape.memory} pages"
            )
        if not self.flash.certificates:
            self.sign(image)
        self._configure()
        try:
            self.boot_steps = boot(self.fuses, self.flash, lambda: self._load(image))
        except BaseException:
            self._unload()
            raise
        self.image = image
        for one in image.pages:
            self.table.allow(one.address, one.permission)
        self._prepare()

    def _configure(self) -> None:
        """BL2 divides memory (TF-A, arm_tzc400_setup): nothing by default, then one region for each world."""
        border, end = self.secure_pages.first * PAGE, self.shape.memory * PAGE
        tzasc, secure = self.tzasc, Attribute.SECURE_READ | Attribute.SECURE_WRITE
        tzasc.write(Register.GATE_KEEPER, 0, secure=True)
        tzasc.configure(0, 0, end - 1, Attribute(0))
        tzasc.configure(1, border, end - 1, Attribute.FILTER_0 | secure)
        readers = 1 << PROCESSOR.nsaid | 1 << DEVICE.nsaid
        tzasc.configure(2, 0, border - 1, Attribute.FILTER_0, readers << 16 | readers)
        tzasc.write(Register.ACTION, int(self._action), secure=True)
        tzasc.write(Register.GATE_KEEPER, 1, secure=True)
        self.tzpc.open_to_normal("console")
        self.forget_translations()

    def _load(self, image: Image) -> bytes:
        """Copy the program into secure memory, and give what then stands there."""
        pages = []
        for one in image.pages:
            page = self.take_page()
            self.table.set(one.address, page, BOTH)
            self.cache.put(page, SECURE_KEY, one.content)
            pages.append(replace(one, content=bytes(self._secure_frame(page, write=False))))
        return application_bytes(replace(image, pages=tuple(pages)), self.flash.services)

    def _unload(self) -> None:
        """Reset: nothing is booted, secure memory that was used is wiped."""
        self.boot_steps = []
        for number in list(self.table.entries):
            self.release(number * PAGE)
        self._shared.clear()
        self.forget_translations()

    def _prepare(self) -> None:
        """BL32 starts: a page for its thread, the gate and the stack of services."""
        self.commit(THREAD, BOTH)
        page = self.thread_page = self.physical_page(THREAD)
        self.table.allow(THREAD, Permission.NONE)  # BL32's own, not for EL0
        self.thread = ThreadContext(self.engine.names, functools.partial(self._secure_frame, page))
        self.secure_os = SecureOs(self.engine, self.thread, self.flash.services)
        self.commit(GATE, BOTH)
        self.put_page(GATE, GATE_CODE.ljust(PAGE, b"\0"))
        self.table.allow(GATE, Permission.READ | Permission.EXECUTE)
        for place in range(STACK_TOP - STACK_PAGES * PAGE, STACK_TOP, PAGE):
            self.commit(place, BOTH)

    @property
    def measurement(self) -> Digest:
        """SHA-256 of the program as BL2 hashed it and found it in the signed certificate. UsageError before launch."""
        if not self.boot_steps:
            raise UsageError("nothing has been booted: launch a program first")
        return Digest("sha256", hashlib.sha256(application_bytes(self.image, self.flash.services)).digest())

    def evidence(self, report_data: bytes) -> bytes:
        """There is none."""
        del report_data
        raise UsageError(
            "TrustZone's base architecture has no attestation: trusted boot refuses what is not signed, and nobody "
            "elsewhere can be shown what booted; for evidence on Arm, take cca"
        )

    def storage_key(self, application: uuid.UUID) -> bytes:
        """The key under which an application seals its files, 32 bytes: OP-TEE's TSK (tee_fs_key_manager.c).

        From the hardware unique key, which only the secure world can read, and the application's UUID. Not from its
        measurement: a new version, or another program signed under this UUID, opens what the old one sealed.
        """
        unique = self.tzpc.read("hardware unique key", secure=True)
        chip = hashlib.sha256(self.fuses.root_hash).digest()
        storage = hmac.digest(unique, chip + b"ONLY_FOR_tee_fs_ssk\0", "sha256")
        return hmac.digest(storage, application.bytes, "sha256")

    def debug_read(self, host_address: int) -> bytes:
        """External debug of the secure world (Arm ARM, part H; CoreSight). Refused if SPIDEN is low."""
        if not self.spiden:
            raise Refused("SPIDEN is low: the debug port neither stops nor reads the secure world")
        return bytes(self.frame_of(host_address, Access.READ))

    # ---- memory

    def key_of(self, page: int, address: int, access: Access) -> int:
        """The NS bit by the table's NS attribute, then the bus's answer. MemoryFault."""
        if address >> 12 not in self._shared:
            self._ask_bus(page, address, access, SECURE_PROCESSOR)
            return SECURE_KEY
        if access is Access.FETCH and self.monitor.scr & Scr.SIF:
            raise MemoryFault(address, access, Stage.TEE, "SCR_EL3.SIF: no code from memory of the normal world")
        self._ask_bus(page, address, access, PROCESSOR)
        return HOST_KEY

    def translate(self, address: int, access: Access) -> Translation:
        """By the tables of the world that the processor runs in."""
        if not self._normal_tables:
            return super().translate(address, access)
        entry = self.normal.table.walk(address, access)
        self._ask_bus(entry.target, address, access, PROCESSOR)
        return Translation(entry.target, entry.permission, HOST_KEY)

    def _ask_bus(self, page: int, address: int, access: Access, master: Master) -> None:
        """Where ACTION is to answer DECERR, the access aborts here; else the memory controller gives zeros."""
        if self.tzasc.action & Action.ERROR:
            try:
                self.tzasc.access(page, master, write=access is Access.WRITE)
            except Refused as refused:
                raise MemoryFault(address, access, Stage.TEE, f"synchronous external abort, {refused}") from refused

    def use_tables(self, *, normal: bool) -> None:
        """The processor goes on in one world: its own tables, and its own entries in the TLB."""
        if normal is not self._normal_tables:
            self._normal_tables = normal
            self._known, self._known_elsewhere = self._known_elsewhere, self._known
            self.engine.flush_translations()

    def share(self, page: int) -> int:
        """Map a page for the program with the NS attribute; its address. The bus treats it as the normal world's."""
        address = SHARED + len(self._shared) * PAGE
        self._shared.add(address >> 12)
        self.table.set(address, page, BOTH)
        return address

    def take_page(self) -> int:
        """A free page of secure memory."""
        return self.secure_pages.allocate()

    def drop_page(self, page: int) -> None:
        """Wiped before anybody else gets it."""
        if page >= self.secure_pages.first:
            self.cache.put(page, SECURE_KEY, ZEROS)
            self.secure_pages.free(page)

    def free_memory(self) -> int:
        """Bytes of secure memory that are free."""
        return self.secure_pages.left * PAGE

    def _secure_frame(self, page: int, *, write: bool) -> memoryview:
        return self.frames.views[self.cache.frame(page, SECURE_KEY, write=write, fetch=False)]

    def forget_translations(self) -> None:
        """In both worlds."""
        self._known_elsewhere.clear()
        super().forget_translations()

    # ---- from world to world

    def save(self, cause: Cause) -> Mapping[str, int]:
        """BL32 keeps the program's registers in secure memory and calls the monitor, which loads the normal world's."""
        registers = self.engine.registers()
        self.thread.save(registers)
        if cause is Cause.INTERRUPT:
            return self.monitor.to_normal(registers, (Result.FOREIGN_INTERRUPT,))
        message = self.bounce.pages[0] * PAGE
        return self.monitor.to_normal(registers, (Result.REQUEST, message >> 32, message & 0xFFFF_FFFF))

    def resume(self, cause: Cause) -> None:
        """The monitor loads BL32's registers, and BL32 the program's from where they were kept."""
        del cause
        self._to_secure()
        self.engine.set_registers(self.thread.load())

    def _to_secure(self) -> None:
        """On the way in, BL32 takes the interrupts that wait for it. On a chip they come at once (FIQ)."""
        self.monitor.to_secure()
        if self.tzasc.interrupt:
            self.secure_os.take_alarm(self.tzasc)

    def smc(self, arguments: Sequence[int]) -> None:
        """The normal world's code called: its answer stands in the registers that the monitor gives it back."""
        own = self.monitor.own_call(arguments)
        if own is None and not self.boot_steps:
            own = (NOT_SUPPORTED,)  # a boot was refused: there is no trusted OS
        if own is not None:
            self.monitor.answer(own)
            return
        self._to_secure()
        results = self.secure_os.call(arguments)
        self.monitor.to_normal(self.secure_os.left, results)

    def close(self) -> None:
        """Wipe what is on the chip."""
        self.monitor.wipe()
        super().close()
