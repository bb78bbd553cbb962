"""The ports of a machine's administrator: what host and devices can do to a program in its TEE.

Each machine says for each what its hardware says. An attack uses these, DRAM, and what the host sees; nothing else.
"""

from abc import ABC, abstractmethod

from cloister.emulate.paging import Refused

__all__ = ["AdministratorPorts", "require_memory"]


def require_memory(page: int, pages: int) -> None:
    """Refused where a machine of so many pages has no memory: nothing answers on the bus."""
    if not 0 <= page < pages:
        raise Refused(f"there is no page {page:#x}: this machine has {pages:#x}")


class AdministratorPorts(ABC):
    """`page` is a physical page number, an address is in bytes, a page's content has 4,096."""

    @abstractmethod
    def host_read(self, page: int) -> bytes:
        """What the host's CPU reads at a physical page. Refused."""

    @abstractmethod
    def host_write(self, page: int, data: bytes) -> None:
        """What the host's CPU writes to a physical page. Refused."""

    @abstractmethod
    def device_read(self, page: int) -> bytes:
        """What a device reads by DMA. Refused."""

    @abstractmethod
    def device_write(self, page: int, data: bytes) -> None:
        """What a device writes by DMA. Refused."""

    @abstractmethod
    def debug_read(self, host_address: int) -> bytes:
        """One page of the program in plaintext, through the debug interface. Refused in production."""

    @abstractmethod
    def physical_page(self, host_address: int) -> int:
        """The physical page behind an address of the program, as the host's own tables say. KeyError if none."""

    @abstractmethod
    def remap(self, host_address: int, page: int) -> None:
        """The host's tables lead an address of the program to another physical page. Refused."""

    @abstractmethod
    def withhold(self, host_address: int) -> None:
        """The host takes a page out of its tables, so as to be told of the next access. Refused."""

    @abstractmethod
    def give_back(self, host_address: int) -> None:
        """The host puts a withheld page back."""
