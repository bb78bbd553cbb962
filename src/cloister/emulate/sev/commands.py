"""What the host and the SEV firmware say to each other: commands, status codes, states, guest policy.

AMD 55766 (SEV API): chapter 2 (states, policy), tables of chapters 5 and 6 (commands); include/linux/psp-sev.h has the
same numbers.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from cloister.errors import CloisterError

__all__ = [
    "Command",
    "CommandFailed",
    "GuestState",
    "GuestStatus",
    "PlatformState",
    "PlatformStatus",
    "Policy",
    "Status",
]


class Command(IntEnum):
    """The commands of the firmware's mailbox that are emulated."""

    INIT = 0x01
    SHUTDOWN = 0x02
    PLATFORM_STATUS = 0x04
    PEK_GEN = 0x05
    PDH_CERT_EXPORT = 0x08
    PDH_GEN = 0x09
    DF_FLUSH = 0x0A
    GET_ID = 0x0C
    DECOMMISSION = 0x20
    ACTIVATE = 0x21
    DEACTIVATE = 0x22
    GUEST_STATUS = 0x23
    LAUNCH_START = 0x30
    LAUNCH_UPDATE_DATA = 0x31
    LAUNCH_UPDATE_VMSA = 0x32
    LAUNCH_MEASURE = 0x33
    LAUNCH_SECRET = 0x34
    LAUNCH_FINISH = 0x35
    ATTESTATION = 0x36
    DBG_DECRYPT = 0x60
    DBG_ENCRYPT = 0x61


class Status(IntEnum):
    """How a command ended (psp-sev.h, sev_ret_code); those that the emulated firmware gives."""

    INVALID_PLATFORM_STATE = 0x01
    INVALID_GUEST_STATE = 0x02
    INVALID_LENGTH = 0x04
    INVALID_CERTIFICATE = 0x06
    POLICY_FAILURE = 0x07
    INACTIVE = 0x08
    INVALID_ADDRESS = 0x09
    BAD_MEASUREMENT = 0x0B
    ASID_OWNED = 0x0C
    INVALID_ASID = 0x0D
    WBINVD_REQUIRED = 0x0E
    DFFLUSH_REQUIRED = 0x0F
    INVALID_GUEST = 0x10
    ACTIVE = 0x12
    INVALID_PARAM = 0x16


class PlatformState(IntEnum):
    """PLATFORM_STATUS, STATE."""

    UNINIT = 0
    INIT = 1
    WORKING = 2  # there are guests


class GuestState(IntEnum):
    """GUEST_STATUS, STATE. A guest that the firmware does not know is UNINIT: it has no context to say so of."""

    LAUNCHING = 1  # LUPDATE: plaintext is taken in, encrypted, measured
    SECRET = 2  # LSECRET: measured; the owner's secrets are taken in
    RUNNING = 3


class Policy(IntFlag):
    """What the guest's owner demands (AMD 55766, chapter 3). Bits 16 to 31 are the least API version, major first."""

    NODBG = 1  # the host may not decrypt or change memory through the firmware
    NOKS = 2  # no other guest may have the same memory key
    ES = 4  # registers must be encrypted too
    NOSEND = 8  # the guest may not be sent to another platform
    DOMAIN = 16  # ... not to one of another owner
    SEV = 32  # ... not to one without SEV

    @property
    def api(self) -> tuple[int, int]:
        """The least API version that the owner accepts."""
        return self >> 16 & 0xFF, self >> 24 & 0xFF


@dataclass(frozen=True, slots=True)
class PlatformStatus:
    """What anybody on the host may know of the platform."""

    state: PlatformState
    api: tuple[int, int]
    build: int
    encrypted_state: bool
    guests: int


@dataclass(frozen=True, slots=True)
class GuestStatus:
    """What anybody on the host may know of a guest. `asid` is 0 if it has none."""

    state: GuestState
    policy: int
    asid: int


class CommandFailed(CloisterError):
    """The firmware refused a command: `command`, `status`, and the reason in words for people.

    Real firmware gives nothing but the status.
    """

    def __init__(self, command: Command, status: Status, reason: str) -> None:
        super().__init__(f"{command.name}: {status.name} ({status:#x}): {reason}")
        self.command, self.status, self.reason = command, status, reason
