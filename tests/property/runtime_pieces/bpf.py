"""Classic BPF as seccomp(2) runs it: the few instructions that the filter uses, checked as the kernel checks them."""

import struct
from dataclasses import dataclass, field

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant (linux/filter.h)

ALLOW, TRAP, ERRNO, TRACE, KILL_PROCESS = 0x7FFF0000, 0x00030000, 0x00050000, 0x7FF00000, 0x80000000
X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7

LOAD_WORD, RETURN, JUMP = 0x20, 0x06, 0x05
JUMPS = {0x15: "equal", 0x25: "greater", 0x35: "at least", 0x45: "any bit"}


@dataclass(frozen=True, kw_only=True)
class Call:
    """struct seccomp_data (linux/seccomp.h)."""

    number: int
    arch: int = X86_64
    pointer: int = 0
    arguments: tuple[int, ...] = field(default=(0, 0, 0, 0, 0, 0))

    def bytes(self) -> bytes:
        """The record as the filter sees it."""
        return struct.pack("<IIQ6Q", self.number, self.arch, self.pointer, *self.arguments)


def jumps(kind: str, accumulator: int, constant: int) -> bool:
    match kind:
        case "equal":
            return accumulator == constant
        case "greater":
            return accumulator > constant
        case "at least":
            return accumulator >= constant
        case _:
            return bool(accumulator & constant)


def run(program: list[Instruction], call: Call) -> int:
    """The verdict; KeyError or IndexError for what the kernel would not have accepted."""
    data, accumulator, at = call.bytes(), 0, 0
    while True:
        code, jt, jf, k = program[at]
        at += 1
        if code == RETURN:
            return k
        if code == LOAD_WORD:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == JUMP:
            at += k
        else:
            at += jt if jumps(JUMPS[code], accumulator, k) else jf


def check(program: list[Instruction]) -> None:
    """What seccomp_check_filter and bpf_check_classic require of what is used here."""
    for at, (code, jt, jf, k) in enumerate(program):
        always = {RETURN: set(), JUMP: {at + 1 + k}}.get(code, {at + 1})
        following = {at + 1 + jt, at + 1 + jf} if code in JUMPS else always
        assert code in JUMPS or code in (LOAD_WORD, RETURN, JUMP), f"{at}: code {code:#x}"
        assert code != LOAD_WORD or (k % 4 == 0 and k < 64), f"{at}: loads from {k}"
        assert all(target < len(program) for target in following), f"{at}: leaves the program"
    assert program[-1][0] == RETURN
