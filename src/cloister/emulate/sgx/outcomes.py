"""How an SGX instruction ends: with an error code in RAX, or with a fault (Intel SDM volume 3D, chapter 41)."""

from enum import IntEnum

__all__ = ["Code", "EnclaveLost", "Fault"]


class Code(IntEnum):
    """Error codes in RAX (SDM volume 3D, chapter 41)."""

    SUCCESS = 0
    INVALID_SIG_STRUCT = 1
    INVALID_ATTRIBUTE = 2
    BLKSTATE = 3
    INVALID_MEASUREMENT = 4
    NOTBLOCKABLE = 5
    PG_INVLD = 6
    INVALID_SIGNATURE = 8
    MAC_COMPARE_FAIL = 9
    PAGE_NOT_BLOCKED = 10
    NOT_TRACKED = 11
    VA_SLOT_OCCUPIED = 12
    CHILD_PRESENT = 13
    ENCLAVE_ACT = 14
    INVALID_EINITTOKEN = 16
    PREV_TRK_INCMPL = 17
    PG_IS_SECS = 18
    PAGE_ATTRIBUTES_MISMATCH = 19
    PAGE_NOT_MODIFIABLE = 20
    PAGE_NOT_DEBUGGABLE = 21
    INVALID_CPUSVN = 32
    INVALID_ISVSVN = 64
    INVALID_KEYNAME = 256

    def __str__(self) -> str:
        """The code as the manual writes it, with its number."""
        return f"SGX_{self.name} ({self.value})"


class Fault(Exception):
    """An instruction raised an exception instead of finishing: nothing was changed. `vector` is `#GP(0)` or `#PF`."""

    def __init__(self, instruction: str, reason: str, *, vector: str = "#GP(0)") -> None:
        super().__init__(f"{instruction}: {vector}: {reason}")
        self.instruction, self.reason, self.vector = instruction, reason, vector


class EnclaveLost(Exception):
    """The program cannot go on: the host does not let it in again, or did not do what the enclave asked for."""
