"""Programs that try to leave their machine: privileged instructions, changed code, bytes that are no program.

Each program runs without privilege. In the engine that matters for more than manners: page walks of privileged
instructions read physical memory, past the TEE's check.
"""

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.machines.build import assembled
from tests.machines.running import SMALL, Run, machine_for

from cloister.emulate.catalogue import native_kind
from cloister.emulate.linux.messages import HostCall, HostReply
from cloister.emulate.machine import Ending, Shape
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE, Architecture, Image, ImagePage, Permission, read_image

BEGIN = ".globl _start\n_start:\n"
EXIT = {
    Architecture.X86_64: "mov $60, %eax; syscall",
    Architecture.ARM64: "mov x8, 93; svc 0",
    Architecture.RISCV64: "li a7, 93; ecall",
}
REACHED = {
    Architecture.X86_64: "mov $5, %edi; ",
    Architecture.ARM64: "mov x0, 5; ",
    Architecture.RISCV64: "li a0, 5; ",
}
PRIVILEGED = {
    Architecture.X86_64: (
        "hlt",
        "mov %cr3, %rax",
        "mov %rax, %cr0",
        "mov $0xC0000080, %ecx; rdmsr",
        "mov $0xC0000080, %ecx; wrmsr",
        "invlpg (%rsp)",
        "lidt (%rsp)",
        "lldt %ax",
        "swapgs",
        "cli",
        "sysretq",
        "invd",
        "mov %rax, %dr7",
    ),
    Architecture.ARM64: (
        "at s1e1r, x1",
        "msr ttbr0_el1, x0",
        "msr sctlr_el1, x0",
        "msr vbar_el1, x0",
        "mrs x0, CurrentEL",
        "msr daifset, 15",
        "tlbi vmalle1",
        "eret",
        "hvc 0",
        "smc 0",
    ),
    Architecture.RISCV64: (
        "csrr t0, mstatus",
        "csrw satp, x0",
        "csrw mtvec, x0",
        "csrw pmpcfg0, x0",
        "mret",
        "sret",
        "wfi",
        "sfence.vma",
    ),
}
CASES = [(architecture, text) for architecture, texts in PRIVILEGED.items() for text in texts]
FETCH_AND_RUN = """
    mov $9, %eax; xor %edi, %edi; mov $4096, %esi; mov $7, %edx; mov $0x22, %r10d; mov $-1, %r8; xor %r9d, %r9d
    syscall
    mov %rax, %rbx
    movl $0x000001b8, (%rbx); movw $0xc300, 4(%rbx)     # mov $1, %eax; ret
    call *%rbx
    mov %eax, %r12d
    xor %eax, %eax; xor %edi, %edi; mov %rbx, %rsi; mov $6, %edx; syscall
    call *%rbx
    shl $4, %r12d; or %eax, %r12d
    movb $3, 1(%rbx)
    call *%rbx
    shl $4, %r12d; or %eax, %r12d
    mov %r12d, %edi; shr $4, %edi; cmp $3, %eax; je 1f; xor %edi, %edi
1:  mov $60, %eax; syscall
"""
"""Runs a function, lets the operating system write another over it, runs that, changes it, and runs it once more."""

CHANGES_ITSELF = """
    mov $9, %eax; xor %edi, %edi; mov $8192, %esi; mov $7, %edx; mov $0x22, %r10d; mov $-1, %r8; xor %r9d, %r9d
    syscall
    lea 4096-{before}(%rax), %rbx
    lea 5f(%rip), %rsi; mov %rbx, %rdi; mov $64, %ecx; rep movsb
    xor %r8d, %r8d; mov $5, %r9d
    call *%rbx
    mov %r8d, %edi; mov $60, %eax; syscall
5:
6:  mov $1, %eax
    add %eax, %r8d
    incb 6b+1(%rip)
    dec %r9d
    jnz 6b
    ret
"""
FUZZED = 40
"""Programs of random bytes for each architecture."""
LIMIT = 60.0
"""Seconds for all of them."""
INTERRUPTS = 200
STEPS = 100


def run(
    directory: Path, name: str, text: str, architecture: Architecture = Architecture.X86_64, *typed: bytes
) -> Ending:
    image = read_image(assembled(directory, BEGIN + text + "\n", architecture))
    told = Run(typed)
    machine = machine_for(name, told, directory, image, shape=SMALL)
    try:
        return told.of(machine, image)
    finally:
        machine.close()


@pytest.mark.parametrize(("architecture", "text"), CASES)
def test_a_program_has_no_privilege(tmp_path: Path, architecture: Architecture, text: str) -> None:
    ending = run(tmp_path, "native", f"{text}; {REACHED[architecture]}{EXIT[architecture]}", architecture)
    assert ending.status not in {0, 5}


def test_a_program_runs_in_ring_3(tmp_path: Path) -> None:
    assert run(tmp_path, "native", f"mov %cs, %edi; and $3, %edi; {EXIT[Architecture.X86_64]}").status == 3


def test_what_linux_leaves_to_programs_stays_theirs(tmp_path: Path) -> None:
    arm = "mrs x1, cntvct_el0; mrs x1, ctr_el0; mrs x1, tpidr_el0; mrs x1, fpcr; dc zva, x9; mov x0, 5; "
    assert run(tmp_path, "native", f"sub x9, sp, 512; {arm}{EXIT[Architecture.ARM64]}", Architecture.ARM64).status == 5
    riscv = "rdcycle t0; frcsr t0; fcvt.d.w fa0, t0; li a0, 5; "
    assert run(tmp_path, "native", riscv + EXIT[Architecture.RISCV64], Architecture.RISCV64).status == 5
    x86 = "rdtsc; rdfsbase %rax; pushf; popf; fninit; cpuid; mov $5, %edi; "
    assert run(tmp_path, "native", x86 + EXIT[Architecture.X86_64]).status == 5


@pytest.mark.parametrize("name", ["native", "sgx", "sev", "sev-snp", "tdx"])
def test_code_that_the_operating_system_wrote_over_runs_as_it_is_now(tmp_path: Path, name: str) -> None:
    typed = bytes.fromhex("b802000000c3")  # mov $2, %eax; ret
    assert run(tmp_path, name, FETCH_AND_RUN, Architecture.X86_64, typed).status == 0x12


@pytest.mark.parametrize("before", [4096, 9, 3])
def test_code_that_changes_itself_runs_as_it_is_now(tmp_path: Path, before: int) -> None:
    assert run(tmp_path, "native", CHANGES_ITSELF.format(before=before)).status == 1 + 2 + 3 + 4 + 5


def unreachable(request: bytes) -> bytes:
    """A host that grants nothing."""
    call = HostCall.parse(request[: HostCall.SIZE])
    return HostReply.message(call.operation, call.sequence, errno.EACCES)


def fuzzed(architecture: Architecture, seed: int) -> Ending | None:
    """Run random bytes; None if they did not end within the limit."""
    source = random.Random(seed)  # noqa: S311 - to be repeated
    both = Permission.READ | Permission.EXECUTE
    pages = tuple(
        ImagePage(0x400000 + number * PAGE, both | (number & 1) * Permission.WRITE, source.randbytes(PAGE))
        for number in range(4)
    )
    image = Image(
        architecture=architecture, entry=0x400000, headers=0, header_count=0, end=0x404000, pages=pages
    )  # fmt: skip
    terminal = Run().terminal()
    machine = native_kind(architecture).make(Shape(memory=1024, frames=32), terminal, Keystore(Path("/none")))
    machine.host.serve = unreachable  # what random bytes ask of the system must not reach this one's files
    left = iter(range(INTERRUPTS))

    def look(_view: object) -> None:
        if next(left, None) is None:
            raise TimeoutError

    machine.host.on_exit = look
    try:
        machine.launch(image)
        machine.start(["program"], {})
        for name in machine.engine.names:
            if name not in {"rip", "pc", "rflags", "nzcv"}:
                places = (0x400000 + source.randrange(4 * PAGE), source.getrandbits(64), 0x7FFF_FFFF_E000)
                machine.engine.write(name, source.choice(places))
        return machine.run(STEPS)
    except TimeoutError:
        return None
    finally:
        machine.close()


@pytest.mark.parametrize("architecture", list(Architecture))
def test_random_bytes_end_the_program_and_not_the_emulator(architecture: Architecture) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import *; many({architecture.value!r})"],
        capture_output=True,
        timeout=LIMIT,
        check=False,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    endings = done.stdout.decode().split()
    assert len(endings) == FUZZED
    assert "0" not in endings


def many(architecture: str) -> None:
    """In a process of its own: print how each random program ended."""
    for seed in range(FUZZED):
        ending = fuzzed(Architecture(architecture), seed)
        print("still" if ending is None else ending.status)  # noqa: T201
