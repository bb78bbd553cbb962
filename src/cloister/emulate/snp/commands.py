"""The names and numbers of the SEV-SNP firmware interface: commands, status codes, guest states, policy bits.

AMD 56860, SEV Secure Nested Paging Firmware ABI; numbers as in Linux, include/uapi/linux/psp-sev.h and
include/linux/psp-sev.h.
"""

from enum import IntEnum, IntFlag
from typing import NamedTuple

__all__ = ["Command", "CommandFailed", "Done", "GuestState", "PageType", "PlatformInfo", "Policy", "Status"]


class Command(IntEnum):
    """The firmware commands that are emulated."""

    SNP_INIT = 0x81
    SNP_SHUTDOWN = 0x82
    SNP_DF_FLUSH = 0x84
    SNP_DECOMMISSION = 0x90
    SNP_ACTIVATE = 0x91
    SNP_GUEST_STATUS = 0x92
    SNP_GCTX_CREATE = 0x93
    SNP_GUEST_REQUEST = 0x94
    SNP_LAUNCH_START = 0xA0
    SNP_LAUNCH_UPDATE = 0xA1
    SNP_LAUNCH_FINISH = 0xA2
    SNP_DBG_DECRYPT = 0xB0
    SNP_PAGE_SWAP_OUT = 0xC0
    SNP_PAGE_SWAP_IN = 0xC1
    SNP_MD_INIT = 0xC3
    SNP_PAGE_RECLAIM = 0xC7
    SNP_CONFIG = 0xC9
    SNP_VLEK_LOAD = 0xCD


class Status(IntEnum):
    """What a command returns."""

    SUCCESS = 0x00
    INVALID_PLATFORM_STATE = 0x01
    INVALID_GUEST_STATE = 0x02
    POLICY_FAILURE = 0x07
    INVALID_ADDRESS = 0x09
    BAD_SIGNATURE = 0x0A
    BAD_MEASUREMENT = 0x0B
    ASID_OWNED = 0x0C
    INVALID_ASID = 0x0D
    DFFLUSH_REQUIRED = 0x0F
    INVALID_GUEST = 0x10
    ACTIVE = 0x12
    INVALID_PARAM = 0x16
    INVALID_PAGE_SIZE = 0x19
    INVALID_PAGE_STATE = 0x1A
    INVALID_MDATA_ENTRY = 0x1B
    INVALID_PAGE_OWNER = 0x1C


class CommandFailed(Exception):
    """The firmware refused a command: `command`, `status`, and why, in words."""

    def __init__(self, command: Command, status: Status, reason: str) -> None:
        super().__init__(f"{command.name}: {status.name} ({int(status):#04x}): {reason}")
        self.command, self.status, self.reason = command, status, reason


class Done(NamedTuple):
    """One command of a platform's history, with what it was about and how it ended."""

    command: Command
    about: str
    status: Status


class GuestState(IntEnum):
    """The states of a guest (56860, GSTATE)."""

    INIT = 0
    LAUNCH = 1
    RUNNING = 2


class PageType(IntEnum):
    """Kinds of pages in SNP_LAUNCH_UPDATE (56860, PAGE_TYPE)."""

    NORMAL = 1
    VMSA = 2
    ZERO = 3
    UNMEASURED = 4
    SECRETS = 5
    CPUID = 6


class Policy(IntFlag):
    """Bits of a guest's policy (56860, table of guest policy); the two lowest bytes are the least ABI version."""

    SMT = 1 << 16
    ONE = 1 << 17  # always 1
    MIGRATE_MA = 1 << 18
    DEBUG = 1 << 19
    SINGLE_SOCKET = 1 << 20
    CXL_ALLOW = 1 << 21
    MEM_AES_256_XTS = 1 << 22
    RAPL_DIS = 1 << 23
    CIPHERTEXT_HIDING_DRAM = 1 << 24
    PAGE_SWAP_DISABLE = 1 << 25


class PlatformInfo(IntFlag):
    """Bits of PLATFORM_INFO in a report (56860, section 7.3)."""

    SMT_EN = 1 << 0
    TSME_EN = 1 << 1
    ECC_EN = 1 << 2
    RAPL_DIS = 1 << 3
    CIPHERTEXT_HIDING_DRAM_EN = 1 << 4
    ALIAS_CHECK_COMPLETE = 1 << 5
