"""The CPUID instruction, from Python: through the kernel's device where it is offered, else executed here.

CPUID is unprivileged on x86 (Intel SDM volume 2A, "CPUID"); the kernel's `cpuid` module also offers it as a file in
which the position is the leaf (low half) and the subleaf (high half), see cpuid(4).
"""

import ctypes
import mmap
import os
import struct

from cloister.doctor.child import ProbeFailed, ask
from cloister.doctor.processor import Leaf, NoProcessor, Processor, Registers

__all__ = ["read_processor"]

DEVICE = "/dev/cpu/0/cpuid"

CODE = bytes.fromhex(
    "53"  # push %rbx (CPUID overwrites it, the ABI keeps it)
    "89f8"  # mov %edi,%eax: leaf
    "89f1"  # mov %esi,%ecx: subleaf
    "4989d0"  # mov %rdx,%r8: where the four registers go
    "0fa2"  # cpuid
    "418900"  # mov %eax,(%r8)
    "41895804"  # mov %ebx,4(%r8)
    "41894808"  # mov %ecx,8(%r8)
    "4189500c"  # mov %edx,12(%r8)
    "5b"  # pop %rbx
    "c3"  # ret
)


def read_processor(leaves: tuple[Leaf, ...]) -> Processor | NoProcessor:
    """The registers of each leaf, and where they came from. x86-64 only."""
    if os.uname().machine != "x86_64":
        return NoProcessor(reason=f"CPUID exists on x86 only; this machine is {os.uname().machine}")
    try:
        return Processor(source=DEVICE, registers={leaf: _from_device(leaf) for leaf in leaves})
    except OSError:
        pass  # the module is not loaded, or not for this user: the instruction says the same
    try:
        answer = ask(lambda: {"registers": [_execute(leaf) for leaf in leaves]})
    except ProbeFailed as error:
        return NoProcessor(reason=f"{DEVICE} cannot be read and executing CPUID failed: {error}")
    found = {leaf: Registers(*words) for leaf, words in zip(leaves, answer["registers"], strict=True)}
    return Processor(source="the CPUID instruction", registers=found)


def _from_device(leaf: Leaf) -> Registers:
    device = os.open(DEVICE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return Registers(*struct.unpack("<4I", os.pread(device, 16, leaf.number | leaf.sub << 32)))
    finally:
        os.close(device)


def _execute(leaf: Leaf) -> tuple[int, ...]:
    """Run CODE from a private page. Only in a child: a kernel that refuses such pages, or CPUID, kills it."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page[: len(CODE)] = CODE
        start = ctypes.c_char.from_buffer(page)
        registers = (ctypes.c_uint32 * 4)()
        call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)
        call(ctypes.addressof(start))(leaf.number, leaf.sub, ctypes.addressof(registers))
        del start  # it pins the mapping
        return tuple(registers)
