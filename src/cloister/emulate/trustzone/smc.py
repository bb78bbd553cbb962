"""The secure monitor call: what stands in the registers when one world calls the other.

SMC Calling Convention (Arm DEN0028), sections 2 and 6; TF-A, include/lib/smccc.h. The trusted OS uses OP-TEE's numbers
(optee_smc.h) for coming back from the secure world with a request.
"""

from enum import IntEnum
from typing import Final, NamedTuple

__all__ = [
    "CALLS_UID",
    "INVOKE",
    "NOT_SUPPORTED",
    "PSCI_VERSION",
    "SMCCC_VERSION",
    "FunctionId",
    "Owner",
    "Result",
]


class Owner(IntEnum):
    """Bits 29:24. Trusted applications have 48 and 49, trusted operating systems 50 to 63."""

    ARM = 0
    CPU = 1
    SIP = 2
    OEM = 3
    STANDARD = 4
    TRUSTED_APPLICATION = 48
    TRUSTED_OS = 50
    TRUSTED_OS_END = 63


class FunctionId(NamedTuple):
    """A function identifier, 32 bits in W0. A fast call is not interrupted; a yielding one may come back half done."""

    fast: bool
    smc64: bool
    owner: int
    number: int

    @classmethod
    def of(cls, value: int) -> "FunctionId":
        """Bit 31 fast, bit 30 SMC64, bits 29:24 the owner, bits 15:0 the number."""
        return cls(bool(value >> 31 & 1), bool(value >> 30 & 1), value >> 24 & 0x3F, value & 0xFFFF)

    def __int__(self) -> int:
        return self.fast << 31 | self.smc64 << 30 | self.owner << 24 | self.number


SMCCC_VERSION: Final = 0x8000_0000
PSCI_VERSION: Final = 0x8400_0000
CALLS_UID: Final = 0xBF00_FF01
"""Trusted OS: the UUID of the interface that it has, in W0 to W3."""
INVOKE: Final = int(FunctionId(fast=False, smc64=True, owner=Owner.TRUSTED_OS, number=0x0100))
"""Ours: X1 is a command of the trusted application, X2 to X5 its arguments; back come X0 a Result, X1 the value.

OP-TEE passes the same in a message in shared memory (OPTEE_SMC_CALL_WITH_ARG).
"""
NOT_SUPPORTED: Final = (1 << 64) - 1
"""SMCCC: -1, unknown function identifier."""


class Result(IntEnum):
    """What the trusted OS says in X0."""

    OK = 0
    THREAD_LIMIT = 1  # OPTEE_SMC_RETURN_ETHREAD_LIMIT: no thread is free
    TARGET_DEAD = 0xFFFF_3024  # TEE_ERROR_TARGET_DEAD: the trusted application crashed (GlobalPlatform)
    ITEM_NOT_FOUND = 0xFFFF_0008  # TEE_ERROR_ITEM_NOT_FOUND: no such command
    FOREIGN_INTERRUPT = 0xFFFF_0004  # OPTEE_SMC_RETURN_RPC_FOREIGN_INTR: an interrupt of the normal world's
    REQUEST = 0xFFFF_0005  # OPTEE_SMC_RETURN_RPC_CMD: a request, in the shared memory that X1 and X2 name
