"""A BPF program without tools: at each sample of a process it copies the user's stack into a map (bpf(2)).

The kernel reads user memory for it by bpf_probe_read_user, which secret memory does not refuse: it goes by the page
tables of the process that runs.
"""

import ctypes
import fcntl
import os
import struct
import time
from typing import Final

from cloister.app.battery import calls_unsafe as calls

__all__ = ["stack_samples"]

SYS_BPF = 321
MAP_CREATE, MAP_LOOKUP, PROG_LOAD = 0, 1, 5
ARRAY, PERF_EVENT = 2, 7
LOOKUP, PROBE_READ_USER = 1, 112
"""Numbers of helper functions, enum bpf_func_id."""
SOFTWARE, CPU_CLOCK, EXCLUDE_KERNEL = 1, 0, 1 << 5
SET_BPF: Final = 0x40042408
"""PERF_EVENT_IOC_SET_BPF."""
STACK_POINTER: Final = 152
"""Of struct pt_regs, x86-64."""
PERIOD = 1_000_000
PIECE, PIECES = 512, 80
"""Of a piece that reaches past the end of the stack nothing comes."""
LOG = 1 << 16

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def bpf(command: int, attributes: bytes) -> int:
    """Call the kernel. OSError where it refuses."""
    room = ctypes.create_string_buffer(attributes.ljust(128, b"\0"))
    result = libc.syscall(ctypes.c_long(SYS_BPF), ctypes.c_long(command), room, ctypes.c_long(128))
    return calls.checked(result, "bpf")


def instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """An instruction, as struct bpf_insn."""
    return struct.pack("<BBhi", code, source << 4 | to, offset, value)


def copied_piece(number: int) -> bytes:
    """Copy the piece of this number into the map's value, from that many pieces above the stack pointer."""
    return b"".join((
        instruction(0xBF, 1, 8), instruction(0x07, 1, value=number * PIECE),
        instruction(0xB7, 2, value=PIECE),
        instruction(0xBF, 3, 7), instruction(0x07, 3, value=number * PIECE),
        instruction(0x85, value=PROBE_READ_USER),
    ))  # fmt: skip


def instructions_for(kept: int) -> bytes:
    """The instructions: find the map's value, copy piece after piece from the stack pointer on."""
    begin = (
        instruction(0x79, 7, 1, STACK_POINTER),  # r7 = the user's stack pointer
        instruction(0x62, 10, offset=-4, value=0),
        instruction(0xBF, 2, 10), instruction(0x07, 2, value=-4),
        instruction(0x18, 1, 1, value=kept), instruction(0),  # r1 = the map
        instruction(0x85, value=LOOKUP),
        instruction(0x55, 0, offset=2),  # over the return, if there is a value
        instruction(0xB7, 0, value=0), instruction(0x95),
        instruction(0xBF, 8, 0),
    )  # fmt: skip
    end = (instruction(0xB7, 0, value=0), instruction(0x95))
    return b"".join((*begin, *map(copied_piece, range(PIECES)), *end))


def loaded(kept: int) -> int:
    """The program's descriptor. Helpers that read memory are for GPL programs only, by the kernel's rule."""
    code = instructions_for(kept)
    room, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(LOG)
    attributes = struct.pack(
        "<IIQQIIQ", PERF_EVENT, len(code) // 8, ctypes.addressof(room), ctypes.addressof(licence), 1, LOG,
        ctypes.addressof(log),
    )  # fmt: skip
    return bpf(PROG_LOAD, attributes)


def stack_samples(pid: int, seconds: float, wanted: bytes) -> bool:
    """Whether these bytes came by in the stack of the process, from its stack pointer upwards."""
    kept = bpf(MAP_CREATE, struct.pack("<IIII", ARRAY, 4, PIECE * PIECES, 1))
    descriptors = [kept]
    try:
        descriptors.append(loaded(kept))
        descriptors.append(calls.perf_event(pid, SOFTWARE, CPU_CLOCK, (PERIOD, EXCLUDE_KERNEL, 0, 0, 0)))
        fcntl.ioctl(descriptors[2], SET_BPF, descriptors[1])
        key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(PIECE * PIECES)
        attributes = struct.pack("<IIQQQ", kept, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            bpf(MAP_LOOKUP, attributes)
            if wanted in value.raw:
                return True
            time.sleep(0.005)
        return False
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
