"""What the host says to the realm management monitor (RMM), and what it answers: RMI, version 1.0.

Realm Management Monitor specification 1.0 (Arm DEN0137), "Realm Management Interface"; TF-RMM 1.0, lib/smc/include/
smc-rmi.h. Addresses are physical, in bytes, as in the real calls.
"""

from enum import IntEnum

from cloister.errors import CloisterError

__all__ = ["CallFailed", "MonitorPanic", "Rmi", "RmiStatus"]


class Rmi(IntEnum):
    """Function identifiers of the calls that are emulated (SMC64, owner 4: standard services)."""

    VERSION = 0xC4000150
    GRANULE_DELEGATE = 0xC4000151
    GRANULE_UNDELEGATE = 0xC4000152
    DATA_CREATE = 0xC4000153
    DATA_CREATE_UNKNOWN = 0xC4000154
    DATA_DESTROY = 0xC4000155
    REALM_ACTIVATE = 0xC4000157
    REALM_CREATE = 0xC4000158
    REALM_DESTROY = 0xC4000159
    REC_CREATE = 0xC400015A
    REC_DESTROY = 0xC400015B
    REC_ENTER = 0xC400015C
    RTT_CREATE = 0xC400015D
    RTT_DESTROY = 0xC400015E
    RTT_MAP_UNPROTECTED = 0xC400015F
    RTT_READ_ENTRY = 0xC4000161
    RTT_UNMAP_UNPROTECTED = 0xC4000162
    FEATURES = 0xC4000165
    REC_AUX_COUNT = 0xC4000167
    RTT_INIT_RIPAS = 0xC4000168
    RTT_SET_RIPAS = 0xC4000169

    @property
    def title(self) -> str:
        """As Arm writes it: RMI_DATA_CREATE."""
        return f"RMI_{self.name}"


class RmiStatus(IntEnum):
    """How a call ended; `index` of ERROR_RTT is the level at which the table walk ended."""

    SUCCESS = 0
    ERROR_INPUT = 1
    ERROR_REALM = 2
    ERROR_REC = 3
    ERROR_RTT = 4


class CallFailed(CloisterError):
    """The monitor refused a call: `call`, `status`, `index`, and the reason in words for people.

    The real monitor gives nothing but `code`: status, and the index in bits 15 to 8.
    """

    def __init__(self, call: Rmi, status: RmiStatus, reason: str, index: int = 0) -> None:
        self.call, self.status, self.index, self.reason = call, status, index, reason
        self.code = status | index << 8
        super().__init__(f"{call.title}: RMI_{status.name} ({self.code:#x}): {reason}")


class MonitorPanic(CloisterError):
    """The monitor found its own memory in a state that it cannot be in: it asserts, and the platform stops.

    Memory has no integrity: who changes DRAM under a structure of the monitor may get here, or anywhere.
    """
