"""What the shim sees of the machine it runs in: the program's memory and thread pointer, and how much is left."""

from typing import Protocol

from cloister.measure.image import Architecture, Permission

__all__ = ["Space"]


class Space(Protocol):
    """One program's address space inside a TEE. Addresses and sizes in bytes.

    The shim keeps the books of what is mapped: `map` gets pages that are free, `unmap` and `protect` get pages that are
    mapped, and all three get whole pages of 4,096 bytes. `read` and `write` may get anything that a program can say.
    """

    @property
    def architecture(self) -> Architecture:
        """Decides system-call numbers and the layout of structures."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes that the program may read. MemoryFault otherwise: see `write`."""

    def write(self, address: int, data: bytes) -> None:
        """Put bytes where the program may write. MemoryFault otherwise, with the address at fault.

        If by the shim's books the program has no business there, it is told EFAULT; else the fault ends it.
        """

    def map(self, address: int, size: int, permission: Permission) -> None:
        """Fresh private pages of zeros. MemoryError if there are not so many: the program is told ENOMEM."""

    def unmap(self, address: int, size: int) -> None:
        """Give pages back; what they held must be gone."""

    def protect(self, address: int, size: int, permission: Permission) -> None:
        """Change permissions. PermissionError if this TEE cannot: the program is told EACCES."""

    def set_thread_pointer(self, value: int) -> None:
        """FS base on x86-64. The other architectures set theirs without a system call."""

    def free_memory(self) -> int:
        """Bytes that `map` could still give."""
