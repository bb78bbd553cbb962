"""What hosts and trust domains say to the TDX module: interface functions, status codes, operands.

Intel TDX Module 1.5 ABI specification, interface functions; intel/tdx-module has the same numbers, in
include/auto_gen_1_5/tdx_error_codes_defs.h and include/tdx_api_defs.h.
"""

from enum import IntEnum

from cloister.errors import CloisterError

__all__ = ["CallFailed", "Operand", "Seamcall", "Status", "Tdcall"]


class Seamcall(IntEnum):
    """The functions of SEAMCALL that are emulated, by leaf number. The host calls them."""

    VP_ENTER = 0
    MNG_ADDCX = 1
    MEM_PAGE_ADD = 2
    MEM_SEPT_ADD = 3
    VP_ADDCX = 4
    MEM_PAGE_RELOCATE = 5
    MEM_PAGE_AUG = 6
    MEM_RANGE_BLOCK = 7
    MNG_KEY_CONFIG = 8
    MNG_CREATE = 9
    VP_CREATE = 10
    MNG_RD = 11
    MEM_RD = 12
    MEM_WR = 14
    MR_EXTEND = 16
    MR_FINALIZE = 17
    VP_FLUSH = 18
    MNG_VPFLUSHDONE = 19
    MNG_KEY_FREEID = 20
    MNG_INIT = 21
    VP_INIT = 22
    VP_RD = 26
    PHYMEM_PAGE_RECLAIM = 28
    MEM_PAGE_REMOVE = 29
    MEM_TRACK = 38
    MEM_RANGE_UNBLOCK = 39
    PHYMEM_CACHE_WB = 40
    VP_WR = 43

    @property
    def title(self) -> str:
        """As Intel writes it: TDH.MEM.PAGE.ADD."""
        return f"TDH.{self.name.replace('_', '.')}"


class Tdcall(IntEnum):
    """The functions of TDCALL that are emulated, by leaf number. Trust domains call them."""

    VP_VMCALL = 0
    VP_INFO = 1
    MR_RTMR_EXTEND = 2
    MR_REPORT = 4
    MEM_PAGE_ACCEPT = 6
    MR_VERIFYREPORT = 22

    @property
    def title(self) -> str:
        """As Intel writes it: TDG.MR.REPORT."""
        return f"TDG.{self.name.replace('_', '.')}"


class Status(IntEnum):
    """How a function ended, those that the emulated module gives. Bits 31 to 0 are for the operand."""

    SUCCESS = 0
    NON_RECOVERABLE_TD = 0x6000000200000000
    OPERAND_INVALID = 0xC000010000000000
    OPERAND_ADDR_RANGE_ERROR = 0xC000010100000000
    PREVIOUS_TLB_EPOCH_BUSY = 0x8000020100000000
    PAGE_METADATA_INCORRECT = 0xC000030000000000
    TD_ASSOCIATED_PAGES_EXIST = 0xC000040000000000
    TD_FATAL = 0xE000060400000000
    TD_NON_DEBUG = 0xC000060500000000
    TDCS_NOT_ALLOCATED = 0xC000060600000000
    LIFECYCLE_STATE_INCORRECT = 0xC000060700000000
    OP_STATE_INCORRECT = 0xC000060800000000
    NO_VCPUS = 0xC000060900000000
    TDCX_NUM_INCORRECT = 0xC000061000000000
    VCPU_STATE_INCORRECT = 0xC000070000000000
    MAX_VCPUS_EXCEEDED = 0xC000070500000000
    TD_KEYS_NOT_CONFIGURED = 0x8000081000000000
    KEY_CONFIGURED = 0x0000081500000000
    WBCACHE_NOT_COMPLETE = 0x8000081700000000
    HKID_NOT_FREE = 0xC000082000000000
    FLUSHVP_NOT_DONE = 0x8000082400000000
    EPT_WALK_FAILED = 0xC0000B0000000000
    EPT_ENTRY_NOT_FREE = 0xC0000B0200000000
    TLB_TRACKING_NOT_DONE = 0xC0000B0800000000
    PAGE_ALREADY_ACCEPTED = 0x00000B0A00000000
    EPT_ENTRY_STATE_INCORRECT = 0xC0000B0D00000000
    METADATA_FIELD_NOT_READABLE = 0xC0000C0200000000
    INVALID_REPORTMACSTRUCT = 0xC000100100000000


class Operand(IntEnum):
    """Which operand a status is about."""

    RAX = 0
    RCX = 1
    RDX = 2
    R8 = 8
    R9 = 9
    ATTRIBUTES = 64
    XFAM = 65
    EPTP_CONTROLS = 67
    MAX_VCPUS = 68
    TSC_FREQUENCY = 70
    CONFIG_FLAGS = 66
    TDR = 128
    TDVPR = 130


class CallFailed(CloisterError):
    """The module refused a function: `call`, `status`, `operand`, and the reason in words for people.

    The real module gives nothing but `code`, status and operand in one number.
    """

    def __init__(self, call: Seamcall | Tdcall, status: Status, reason: str, operand: Operand | None = None) -> None:
        self.call, self.status, self.operand, self.reason = call, status, operand, reason
        self.code = status | (operand or 0)
        super().__init__(f"{call.title}: TDX_{status.name} ({self.code:#018x}): {reason}")
