"""The nouns of address translation: what is accessed, what a page is translated to, and how that can fail."""

from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

from cloister.measure.image import Permission

__all__ = ["HOST_KEY", "NEEDED", "Access", "IntegrityFault", "MemoryFault", "Refused", "Stage", "Translation", "allows"]

HOST_KEY: Final = 0
"""The key id of memory that is not a TEE's: the host's own, plaintext unless the machine encrypts all of memory."""


class Access(IntEnum):
    """What an instruction wants of a page."""

    READ = 16
    WRITE = 17
    FETCH = 18


NEEDED: Final = {Access.READ: Permission.READ, Access.WRITE: Permission.WRITE, Access.FETCH: Permission.EXECUTE}


def allows(permission: Permission, access: Access) -> bool:
    """Whether a page with this permission may be accessed so. By numbers: flags cost ten times as much here."""
    return int.__and__(permission, NEEDED_BITS[access]) != 0


NEEDED_BITS: Final = {access: permission.value for access, permission in NEEDED.items()}


class Translation(NamedTuple):
    """Where a virtual page is: physical page number, what it may be used for, and the memory controller's key id."""

    page: int
    permission: Permission
    key: int


class Stage(StrEnum):
    """Whose table or check an access failed at: this decides who is told, and what."""

    PROGRAM = "program"  # the program's own mappings: a segmentation fault, nobody else's business
    HOST = "host"  # the host's page tables: the host is told and may repair it
    TEE = "tee"  # the TEE's check (EPCM, RMP, secure EPT, TZASC, GPT, PMP): refused whatever the host does


class MemoryFault(Exception):
    """An access that cannot be translated: `address` in bytes, `stage`, and the reason in the architecture's words."""

    def __init__(self, address: int, access: Access, stage: Stage, reason: str) -> None:
        super().__init__(f"{access.name.lower()} at {address:#x}: {reason}")
        self.address, self.access, self.stage, self.reason = address, access, stage, reason


class Refused(Exception):
    """An access to physical memory, by an administrator or a device, that the machine refuses."""


class IntegrityFault(Exception):
    """The memory controller found that DRAM was changed: `page` is the physical page number."""

    def __init__(self, page: int, reason: str) -> None:
        super().__init__(f"physical page {page:#x}: {reason}")
        self.page, self.reason = page, reason
