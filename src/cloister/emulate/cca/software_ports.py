"""What the administrator of a CCA machine can try: each port does what the hardware and the monitor do.

Every access, of a processor or a device, passes a granule protection check (Arm DEN0129: "GPC applies to all
requesters"; devices stand behind an SMMU that does the same). A realm's tables are changed by the monitor's calls
alone, with their checks.
"""

from typing import Final

from cloister.emulate.cca.gpt import Pas, World
from cloister.emulate.cca.hypervisor import Hypervisor
from cloister.emulate.cca.memory import SECURE_KEY, PasMemory
from cloister.emulate.cca.rmi import CallFailed
from cloister.emulate.cca.rmm import Rmm
from cloister.emulate.guest import GuestMachine
from cloister.emulate.paging import HOST_KEY, Refused
from cloister.measure.image import PAGE

__all__ = ["CcaPorts"]

KEYS: Final = {Pas.NON_SECURE: HOST_KEY, Pas.SECURE: SECURE_KEY}


class CcaPorts(GuestMachine):
    """The ports of a machine whose host is `hypervisor`. The host's addresses are the realm's IPAs, in bytes."""

    hypervisor: Hypervisor
    rmm: Rmm
    memory: PasMemory
    debug: bool

    def host_read(self, page: int) -> bytes:
        """The non-secure world reads. Refused: a granule protection fault, which Linux makes an oops or SIGBUS."""
        return self._read(page, World.NON_SECURE, Pas.NON_SECURE)

    def host_write(self, page: int, data: bytes) -> None:
        """The non-secure world writes. Refused."""
        self._write(page, data, World.NON_SECURE, Pas.NON_SECURE)

    def device_read(self, page: int) -> bytes:
        """A device of the non-secure world reads through the SMMU. Refused."""
        return self._read(page, World.NON_SECURE, Pas.NON_SECURE)

    def device_write(self, page: int, data: bytes) -> None:
        """A device of the non-secure world writes through the SMMU. Refused."""
        self._write(page, data, World.NON_SECURE, Pas.NON_SECURE)

    def secure_read(self, page: int, pas: Pas = Pas.SECURE) -> bytes:
        """The Secure world (TrustZone's trusted OS, which is another supplier's) reads. Refused."""
        return self._read(page, World.SECURE, pas)

    def secure_write(self, page: int, data: bytes, pas: Pas = Pas.SECURE) -> None:
        """The Secure world writes. Refused."""
        self._write(page, data, World.SECURE, pas)

    def _read(self, page: int, world: World, pas: Pas) -> bytes:
        self.rmm.gpt.check(page, world, pas)
        return self.memory.read(page, KEYS[pas])

    def _write(self, page: int, data: bytes, world: World, pas: Pas) -> None:
        self.rmm.gpt.check(page, world, pas)
        self.memory.put(page, KEYS[pas], data)

    def debug_read(self, host_address: int) -> bytes:
        """An external debugger halts the processor in Root, from where all is open. Refused in lifecycle `secured`."""
        if not self.debug:
            raise Refused("external debug of Root and Realm is disabled: the platform's lifecycle state is secured")
        key = self.rmm.realm_at(self.hypervisor.rd // PAGE).descriptor.key
        return self.memory.read(self.physical_page(host_address), key)

    def physical_page(self, host_address: int) -> int:
        """From the hypervisor's mirror of the realm's tables."""
        return self.hypervisor.table[host_address // PAGE]

    def remap(self, host_address: int, page: int) -> None:
        """RMI_DATA_CREATE_UNKNOWN with a granule that is in use, at an address that is in use: both are refused."""
        try:
            self.rmm.data_create_unknown(self.hypervisor.rd, page * PAGE, host_address)
        except CallFailed as failed:
            raise Refused(str(failed)) from failed
        self.hypervisor.table[host_address // PAGE] = page

    def withhold(self, host_address: int) -> None:
        """RMI_DATA_DESTROY: there is no other way to take a page. Its content is lost, and the realm will know."""
        try:
            page = self.hypervisor.destroy(host_address)
        except CallFailed as failed:
            raise Refused(str(failed)) from failed
        self.hypervisor.take_back(page * PAGE)

    def give_back(self, host_address: int) -> None:
        """RMI_DATA_CREATE_UNKNOWN: another granule, without content. The address stays DESTROYED until accepted."""
        try:
            self.hypervisor.populate(host_address)
        except CallFailed as failed:
            raise Refused(str(failed)) from failed
