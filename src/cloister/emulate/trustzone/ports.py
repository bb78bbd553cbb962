"""What the normal world, its devices, and a debugger can do to a TrustZone machine."""

from typing import ClassVar, Final

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.paging import Refused
from cloister.emulate.ports import AdministratorPorts
from cloister.emulate.trustzone.tzasc import Master, Tzc400
from cloister.measure.image import PAGE

__all__ = ["TrustZonePorts"]

ZEROS: Final = bytes(PAGE)


class TrustZonePorts(AdministratorPorts):
    """Each access is one on the bus: the TZC-400 lets it through, or it reads zeros and writes nothing."""

    master: ClassVar[Master]
    device: ClassVar[Master]
    secure_device: ClassVar[Master]
    tzasc: Tzc400
    cache: FrameCache

    def host_read(self, page: int) -> bytes:
        """The normal world's processor reads. Refused (an abort) where ACTION says DECERR."""
        return self._bus_read(page, self.master)

    def host_write(self, page: int, data: bytes) -> None:
        """The normal world's processor writes. Refused as `host_read`."""
        self._bus_write(page, data, self.master)

    def device_read(self, page: int, *, secure: bool = False) -> bytes:
        """A device reads by DMA. `secure`: a master that the SoC's designer made secure, such as a crypto engine."""
        return self._bus_read(page, self.secure_device if secure else self.device)

    def device_write(self, page: int, data: bytes, *, secure: bool = False) -> None:
        """A device writes by DMA."""
        self._bus_write(page, data, self.secure_device if secure else self.device)

    def _bus_read(self, page: int, master: Master) -> bytes:
        if not self.tzasc.access(page, master, write=False):
            return ZEROS
        return bytes(self.cache.frames[self.cache.frame(page, master.key_id, write=False, fetch=False)])

    def _bus_write(self, page: int, data: bytes, master: Master) -> None:
        if self.tzasc.access(page, master, write=True):
            self.cache.put(page, master.key_id, data)

    # ---- the secure world's translation tables are in secure memory

    def remap(self, host_address: int, page: int) -> None:
        """Refused."""
        raise Refused(f"{host_address:#x} to page {page:#x}: {OWNS}")

    def withhold(self, host_address: int) -> None:
        """Refused."""
        raise Refused(f"{host_address:#x}: {OWNS}")

    def give_back(self, host_address: int) -> None:
        """Refused."""
        raise Refused(f"{host_address:#x}: {OWNS}")


OWNS: Final = "the secure OS owns the tables of its applications, in secure memory; the normal world has none for them"
