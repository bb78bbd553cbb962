"""The numbers of Keystone's SBI extension: functions, results, states, and the record that CREATE takes.

Keystone, sm/src/sm-sbi-opensbi.h, sm_err.h, enclave.h and sdk/include/shared/sm_call.h.
"""

from enum import IntEnum
from typing import Final

from cloister._wire import Record, u64
from cloister.errors import CloisterError

__all__ = ["ENCLAVES", "EXTENSION", "Code", "CreateArguments", "Function", "SbiError", "State", "StopReason"]

EXTENSION: Final = 0x08424B45
ENCLAVES: Final = 16
"""ENCL_MAX."""


class Function(IntEnum):
    """2001 to 2999 are for the host, 3001 to 3999 for enclaves, from 4000 for both."""

    CREATE = 2001
    DESTROY = 2002
    RUN = 2003
    RESUME = 2005
    RANDOM = 3001
    ATTEST = 3002
    GET_SEALING_KEY = 3003
    STOP = 3004
    EXIT = 3006
    CALL_PLUGIN = 4000


DEPRECATED, OF_HOST, OF_ENCLAVE = 1999, 2999, 3999
"""The last number of each range."""


class Code(IntEnum):
    """What a call returns in a0."""

    SUCCESS = 0
    UNKNOWN_ERROR = 100000
    INVALID_ID = 100001
    INTERRUPTED = 100002
    PMP_FAILURE = 100003
    NOT_RUNNABLE = 100004
    NOT_DESTROYABLE = 100005
    REGION_OVERLAPS = 100006
    NOT_ACCESSIBLE = 100007
    ILLEGAL_ARGUMENT = 100008
    NOT_RUNNING = 100009
    NOT_RESUMABLE = 100010
    EDGE_CALL_HOST = 100011
    NOT_INITIALIZED = 100012
    NO_FREE_RESOURCE = 100013
    SBI_PROHIBITED = 100014
    ILLEGAL_PTE = 100015
    NOT_FRESH = 100016
    PMP_REGION_SIZE_INVALID = 100020
    PMP_REGION_NOT_PAGE_GRANULARITY = 100021
    PMP_REGION_NOT_ALIGNED = 100022
    PMP_REGION_MAX_REACHED = 100023
    PMP_REGION_INVALID = 100024
    PMP_REGION_OVERLAP = 100025
    PMP_REGION_IMPOSSIBLE_TOR = 100026
    DEPRECATED = 100099
    NOT_IMPLEMENTED = 100100


class StopReason(IntEnum):
    """Why an enclave stops."""

    TIMER_INTERRUPT = 0
    EDGE_CALL_HOST = 1
    EXIT_ENCLAVE = 2


class State(IntEnum):
    """Where an enclave stands."""

    INVALID = -1
    DESTROYING = 0
    ALLOCATED = 1
    FRESH = 2
    STOPPED = 3
    RUNNING = 4


class CreateArguments(Record, size=64):
    """`struct keystone_sbi_create`: physical addresses and sizes in bytes, as the host wishes them."""

    epm_start: int = u64()
    epm_size: int = u64()
    utm_start: int = u64()
    utm_size: int = u64()
    runtime: int = u64()
    user: int = u64()
    free: int = u64()
    free_requested: int = u64()

    @property
    def in_order(self) -> bool:
        """is_create_args_valid (sm/src/enclave.c): no overflow, and start <= runtime <= user <= free <= end."""
        end = self.epm_start + self.epm_size
        return (
            self.epm_size > 0
            and self.utm_size > 0
            and max(end, self.utm_start + self.utm_size) < 1 << 64
            and self.epm_start <= self.runtime <= self.user <= self.free <= end
            and max(self.runtime, self.user) < end
        )


class SbiError(CloisterError):
    """The security monitor refused a call: `function` and `code`."""

    def __init__(self, function: Function, code: Code) -> None:
        super().__init__(f"{function.name}: the security monitor answers {code.name} ({code.value})")
        self.function, self.code = function, code
