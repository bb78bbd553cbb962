"""The GHCB: a page that guest and hypervisor share, where the guest shows what it wants to show at an exit.

AMD 56421, SEV-ES Guest-Hypervisor Communication Block Standardization, version 2: layout, exit codes, MSR protocol.
Fields that the guest did not mark in the bitmap hold nothing; the hypervisor must not look at them.
"""

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from cloister.measure.image import PAGE

__all__ = ["ExitCode", "Ghcb", "page_state_request"]

OFFSETS: Final = {
    "rax": 0x1F8, "sw_exit_code": 0x390, "sw_exit_info_1": 0x398, "sw_exit_info_2": 0x3A0, "sw_scratch": 0x3A8,
}  # fmt: skip
BITMAP: Final = 0x3F0
BITMAP_SIZE: Final = 16
PROTOCOL: Final = 0xFFA
VERSION: Final = 2
EMPTY: Final = bytes(PROTOCOL) + VERSION.to_bytes(2, "little") + bytes(PAGE - PROTOCOL - 2)
WORD: Final = struct.Struct("<Q")

PAGE_STATE_CHANGE: Final = 0x014
"""GHCB MSR protocol: request, in the low 12 bits; the answer is 0x015, with an error in the high 32."""

PRIVATE: Final = 1
"""Operation, in bits 55:52: make a page private."""


class ExitCode(IntEnum):
    """SW_EXITCODE: what the guest wants."""

    MMIO_WRITE = 0x8000_0002  # here: rings the doorbell of the bounce buffer
    GUEST_REQUEST = 0x8000_0011


class Ghcb:
    """One such page; `page` is its 4,096 bytes in ordinary memory."""

    def __init__(self, page: memoryview) -> None:
        self._page = page

    def post(self, fields: Mapping[str, int]) -> None:
        """Write an exit: only these fields are there, and valid; all other bytes are zero."""
        page, bitmap = self._page, 0
        page[:] = EMPTY
        for name, value in fields.items():
            WORD.pack_into(page, OFFSETS[name], value)
            bitmap |= 1 << OFFSETS[name] // 8
        page[BITMAP : BITMAP + BITMAP_SIZE] = bitmap.to_bytes(BITMAP_SIZE, "little")

    def valid(self) -> dict[str, int]:
        """The fields that are marked, by name: what the hypervisor may use."""
        bitmap = int.from_bytes(self._page[BITMAP : BITMAP + BITMAP_SIZE], "little")
        marked = (name for name, offset in OFFSETS.items() if bitmap >> offset // 8 & 1)
        return {name: WORD.unpack_from(self._page, OFFSETS[name])[0] for name in marked}


def page_state_request(guest_page: int) -> int:
    """The value of the GHCB MSR that asks for one guest page to be private."""
    return PRIVATE << 52 | guest_page << 12 | PAGE_STATE_CHANGE
