"""Where registers are kept while the hypervisor runs, and what a SEV-ES guest shows of them.

The save area has AMD's layout (APM volume 2, tables B-2 and B-4): with SEV it is the VMCB's, in the hypervisor's
memory, with SEV-ES a page of its own (VMSA) under the guest's key. Model: SEV's VMCB holds only some registers, and the
hypervisor saves the others itself; here all stand in one page. Floating-point registers stay on die.

The GHCB (AMD 56421, SEV-ES Guest-Hypervisor Communication Block Standardization, table 3) is a page that the guest
shares: before VMGEXIT it puts there what the hypervisor is to know, and a bit for each register that it gives.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["OFFSETS", "VMMCALL", "load_registers", "post", "store_registers", "take"]

OFFSETS: Final[Mapping[str, int]] = {
    "rax": 0x1F8, "rbx": 0x318, "rcx": 0x308, "rdx": 0x310, "rsi": 0x330, "rdi": 0x338, "rbp": 0x328, "rsp": 0x1D8,
    "r8": 0x340, "r9": 0x348, "r10": 0x350, "r11": 0x358, "r12": 0x360, "r13": 0x368, "r14": 0x370, "r15": 0x378,
    "rip": 0x178, "rflags": 0x170, "fs_base": 0x48, "gs_base": 0x58,
}  # fmt: skip
"""Where each register of a program stands, in the order in which the engine names them."""

WORDS: Final = tuple(offset // 8 for offset in OFFSETS.values())

VMMCALL: Final = 0x81
"""The exit code of a call to the hypervisor (APM volume 2, appendix C)."""

EXIT_CODE: Final = 0x390
EXIT_INFO_1: Final = 0x398
EXIT_INFO_2: Final = 0x3A0
VALID: Final = 0x3F0
"""Bitmap of 128 bits: one for each 8 bytes of the GHCB's first 1,024."""

PROTOCOL: Final = 0xFFA
USAGE: Final = 0xFFC
VERSION: Final = 2


def store_registers(page: memoryview, values: Sequence[int]) -> None:
    """Put all registers, in the order of OFFSETS, where they belong. What else stands in the page stays."""
    words = page.cast("Q")
    for word, value in zip(WORDS, values, strict=True):
        words[word] = value


def load_registers(page: memoryview) -> list[int]:
    """All registers in the order of OFFSETS."""
    words = page.cast("Q")
    return [words[word] for word in WORDS]


def post(page: memoryview, *, exit_code: int, registers: Mapping[str, int], info: tuple[int, int] = (0, 0)) -> None:
    """The guest's #VC code before VMGEXIT: nothing is in the page but what it gives."""
    page[:] = bytes(len(page))
    words, valid = page.cast("Q"), 0
    given = {OFFSETS[name]: value for name, value in registers.items()}
    given |= {EXIT_CODE: exit_code, EXIT_INFO_1: info[0], EXIT_INFO_2: info[1]}
    for offset, value in given.items():
        words[offset // 8] = value
        valid |= 1 << offset // 8
    page[VALID : VALID + 16] = valid.to_bytes(16, "little")
    struct.pack_into("<HI", page, PROTOCOL, VERSION, 0)


def take(page: memoryview) -> dict[str, int]:
    """The hypervisor's view: the registers that the guest has marked as given, `exit_code` and `info` among them."""
    words, valid = page.cast("Q"), int.from_bytes(page[VALID : VALID + 16], "little")
    fields = {**OFFSETS, "exit_code": EXIT_CODE, "exit_info_1": EXIT_INFO_1, "exit_info_2": EXIT_INFO_2}
    return {name: words[offset // 8] for name, offset in fields.items() if valid >> offset // 8 & 1}
