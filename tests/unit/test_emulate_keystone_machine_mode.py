"""A security monitor in machine mode, in instructions: what Keystone's does with PMP and registers, run on the engine.

The engine executes the CSR writes, `mret` and every access under its own PMP; only the entry into the trap handler,
which hardware does (Privileged Architecture, 3.1.7 and following), is done here.
"""

from pathlib import Path
from typing import Any

import pytest
from tests.machines.build import assembled

from cloister.measure.image import PAGE, Architecture, read_image

unicorn = pytest.importorskip("unicorn", reason="the emulated machines' extra is not installed")
from unicorn import riscv_const  # noqa: E402 - only after it is known to be there

MONITOR = r"""
.option norvc
.option norelax
.option nopic
.globl _start
.equ OUTSIDE, 0x1f00000000001818        # pmpcfg0: monitor and enclave closed, the rest open
.equ INSIDE, 0x1800000000001f18         # the enclave open, all else closed
.macro others op                        # x1 to x31 but x5, at t0
.irp n, 1,2,3,4,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op x\n, 8*\n(t0)
.endr
.endm
.macro napot page, register
    la t0, \page
    srli t0, t0, 2
    ori t0, t0, 0x1ff
    csrw \register, t0
.endm

.balign 4096
_start:
    la t0, trap
    csrw mtvec, t0
    napot _start, pmpaddr0
    napot enclave, pmpaddr1
    li t0, -1
    csrw pmpaddr7, t0
    li t0, OUTSIDE
    csrw pmpcfg0, t0
    sfence.vma
    la t0, kept
    la t1, begin
    sd t1, 0(t0)
    li t0, 0x1000
    csrc mstatus, t0
    li t0, 0x800                        # MPP: supervisor
    csrs mstatus, t0
    la t0, host
    csrw mepc, t0
    mret
trap:
    csrw mscratch, t0
    la t0, frame
    others sd
    csrr t1, mscratch
    sd t1, 40(t0)
    csrr t1, mepc
    addi t1, t1, 4
    sd t1, 0(t0)
    csrr t1, mcause
    li t2, 9                            # a call from supervisor mode
    beq t1, t2, call
    sd t1, 80(t0)                       # an access fault: a0 gets its cause
    j restore
call:
    ld t1, 136(t0)
    li t6, 0
    li t3, INSIDE
    li t2, 2003
    beq t1, t2, swap
    li t2, 2005
    beq t1, t2, swap
    li t6, 100011
    li t3, OUTSIDE
    li t2, 3004
    beq t1, t2, swap
    j halt
swap:
    csrw pmpcfg0, t3
    la t2, kept
    li t3, 32
1:  ld t4, 0(t0)
    ld t5, 0(t2)
    sd t4, 0(t2)
    sd t5, 0(t0)
    addi t0, t0, 8
    addi t2, t2, 8
    addi t3, t3, -1
    bnez t3, 1b
    la t0, frame
    beqz t6, restore
    sd t6, 80(t0)
restore:
    sfence.vma
    la t0, frame
    ld t1, 0(t0)
    csrw mepc, t1
    others ld
    ld t0, 40(t0)
    mret
.balign 8
frame: .zero 256
kept: .zero 256
.balign 2048
halt: j halt

.balign 4096
host:
    li s0, 0x1111
    li s1, 0x2222
    la t1, results
    la t0, enclave
    ld a0, 0(t0)
    sd a0, 0(t1)
    sd zero, 0(t0)
    sd a0, 8(t1)
    la t0, _start
    ld a0, 0(t0)
    sd a0, 16(t1)
    li a7, 2003
    ecall
    la t0, results + 256
    others sd
    la t1, results
    sd a0, 24(t1)
    la t0, enclave
    ld a0, 0(t0)
    sd a0, 32(t1)
    li a7, 2005
    ecall
    li a7, 9999
    ecall

.balign 4096
results: .zero 4096

.balign 4096
enclave: .dword 0x5ec2e75ec2e75ec2
    .zero 56
begin:
    la s2, enclave
    ld s3, 0(s2)
.irp n, 1,2,3,4,6,7,8,9,11,12,13,14,15,16,17,20,21,22,23,24,25,26,27,28,29,30,31
    mv x\n, s3
.endr
    la t0, results
    ld a0, 0(t0)
    sd a0, 8(s2)
    la t0, frame
    ld a0, 0(t0)
    sd a0, 16(s2)
    li a7, 3004
    ecall
    addi s3, s3, 1
    sd s3, 24(s2)
    li a7, 3004
    ecall
.balign 4096
"""
SECRET = 0x5EC2E75EC2E75EC2
TRAPS = 100
"""More than there are."""


class Board:
    """The engine in machine mode with the program in its memory."""

    def __init__(self, code: bytes) -> None:
        image = read_image(code)
        self.first = image.entry
        self.uc: Any = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
        self.uc.mem_map(image.pages[0].address, len(image.pages) * PAGE)
        for page in image.pages:
            self.uc.mem_write(page.address, page.content)
        self.cause: int | None = None
        self.causes: list[int] = []
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._trap)

    def _trap(self, uc: Any, cause: int, _data: object) -> None:
        self.cause = cause
        uc.emu_stop()

    def get(self, name: str) -> int:
        """A register."""
        return int(self.uc.reg_read(getattr(riscv_const, f"UC_RISCV_REG_{name}")))

    def put(self, name: str, value: int) -> None:
        """Set a register."""
        self.uc.reg_write(getattr(riscv_const, f"UC_RISCV_REG_{name}"), value)

    def words(self, page: int, count: int, offset: int = 0) -> list[int]:
        """Words of one of the program's pages."""
        data = self.uc.mem_read(self.first + page * PAGE + offset, 8 * count)
        return [int.from_bytes(data[at : at + 8], "little") for at in range(0, 8 * count, 8)]

    def run(self) -> None:
        """From reset to the monitor's halt."""
        self.put("PRIV", 3)
        place, halt = self.first, self.first + 2048
        for _ in range(TRAPS):
            cause = self.until_trap(place, halt)
            if cause is None:
                assert self.get("PC") == halt
                return
            place = self.vectored(cause)
        pytest.fail(f"no end: {self.causes}")

    def until_trap(self, place: int, halt: int) -> int | None:
        """Run from a place; the cause of the trap, or None if it came to the halt."""
        self.cause = None
        self.uc.emu_start(place, halt, count=5000)
        return self.cause

    def vectored(self, cause: int) -> int:
        """Into the trap handler. The engine's program counter is one instruction too far in its hook."""
        mode = self.get("PRIV")
        cause = 8 + mode if cause == 8 else cause  # the engine says 8 of every call; the cause names who called
        self.causes.append(cause)
        self.put("PRIV", 3)  # machine mode's registers are there for machine mode only
        self.put("MEPC", self.get("PC") - 4)
        self.put("MCAUSE", cause)
        self.put("MSTATUS", self.get("MSTATUS") & ~0x1800 | mode << 11)
        return self.get("MTVEC")


def test_a_monitor_in_instructions_keeps_host_and_enclave_apart(tmp_path: Path) -> None:
    board = Board(assembled(tmp_path, MONITOR, Architecture.RISCV64))
    board.run()
    read, wrote, monitor, stopped, read_again = board.words(2, 5)
    assert (read, wrote, monitor, read_again) == (5, 7, 5, 5)
    assert stopped == 100011
    host_registers = board.words(2, 32, 256)
    assert SECRET not in host_registers
    assert host_registers[8:10] == [0x1111, 0x2222]
    secret, from_host, from_monitor, after_resuming = board.words(3, 4)
    assert secret == SECRET
    assert (from_host, from_monitor) == (5, 5)
    assert after_resuming == SECRET + 1
    assert board.causes == [5, 7, 5, 9, 5, 5, 9, 5, 9, 9, 9]
