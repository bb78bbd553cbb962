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
from typing import ClassVar, Final

from cloister.emulate.guest import GuestMachine
from cloister.emulate.host import Cause
from cloister.emulate.machine import Shape
from cloister.emulate.paging import HOST_KEY, Access, IntegrityFault, MemoryFault, Stage
from cloister.emulate.sev.commands import Policy
from cloister.emulate.sev.firmware import Firmware, check_value
from cloister.emulate.sev.generations import GenerationName, generation_of
from cloister.emulate.sev.hypervisor import Hypervisor
from cloister.emulate.sev.memory_port import CoherentMemory
from cloister.emulate.sev.owner import PRODUCTION, GuestOwner
from cloister.emulate.sev.platform import CHECK_SIZE, TRUSTED_KEY
from cloister.emulate.sev.save_area import OFFSETS, VMMCALL, load_registers, post, store_registers, take
from cloister.emulate.sev.secret_area import secrets_in
from cloister.emulate.sev.software_ports import SevPorts
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.amd_sev_platform import SevPlatform
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import UsageError
from cloister.evidence.sev import LaunchMeasurement, SevAttestation, SevLaunch
from cloister.measure.guest import BootParameters, GuestLayout, parameter_pages
from cloister.measure.image import PAGE, Architecture, Image
from cloister.model import Digest, Tee

__all__ = ["SevMachine"]

MNONCE: Final = 16
SERVE: Final = 1
"""The number of the only call that the guest makes to its hypervisor: there is a request in the bounce buffer."""


class SevMachine(SevPorts, GuestMachine):
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
        self.controller.slots = self.generation.asids + 1  # and the firmware's own
        memory = CoherentMemory(self.generation, self.controller, self.cache)
        amd = AmdManufacturer(keystore, self.generation.product)
        chip = amd.chip_id(f"{self.generation.name}-chip")
        self.firmware = Firmware(self.generation, SevPlatform.of(amd, chip), memory)
        self.trusted_pages = range(0)
        self.firmware.init(trusted_region=self._trusted_region() if es else None)
        self.hypervisor = Hypervisor(self.firmware, memory, self.pages)
        self._key = HOST_KEY
