"""Taking over another process's io_uring: orders put into it are carried out with that process's memory.

io_uring(7): with IORING_SETUP_SQPOLL a thread of the kernel in the process that made the ring takes what is queued. The
queues are memory that whoever has the descriptor may map.
"""

import ctypes
import mmap
import os
import struct
from typing import Final

from cloister.app.battery import calls_unsafe as calls

__all__ = ["ENTRIES", "order_write"]

SYS_SETUP, SYS_ENTER = 425, 426
ENTRIES = 8
POLLED = 2
"""IORING_SETUP_SQPOLL."""
WRITE, ENTRY_SIZE, ANY_OFFSET = 23, 64, (1 << 64) - 1
AT_ENTRIES: Final = 0x10000000
"""IORING_OFF_SQES."""
NEED_WAKEUP, WAKEUP = 1, 2
PARAMETERS, QUEUE = 120, "<10I"

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def layout() -> tuple[int, ...]:
    """Where things are in a ring of `ENTRIES`: struct io_sqring_offsets, from a ring of one's own."""
    room = ctypes.create_string_buffer(struct.pack("<III", 0, 0, 0), PARAMETERS)
    own = calls.checked(
        libc.syscall(ctypes.c_long(SYS_SETUP), ctypes.c_long(ENTRIES), room), "io_uring_setup"
    )  # fmt: skip
    os.close(own)
    return struct.unpack_from(QUEUE, room.raw, 40)


def order_write(ring: int, to: int, address: int, size: int) -> None:
    """Queue: write this memory of the ring's owner to this descriptor of his; wake his thread."""
    head, tail, mask, _, flags, _, array, *_ = layout()
    del head
    length = array + 4 * ENTRIES
    with mmap.mmap(ring, length) as queue, mmap.mmap(ring, ENTRIES * ENTRY_SIZE, offset=AT_ENTRIES) as entries:
        last = struct.unpack_from("<I", queue, tail)[0]
        slot = last & struct.unpack_from("<I", queue, mask)[0]
        order = struct.pack("<BBHiQQIIQ", WRITE, 0, 0, to, ANY_OFFSET, address, size, 0, 0).ljust(ENTRY_SIZE, b"\0")
        entries[slot * ENTRY_SIZE : (slot + 1) * ENTRY_SIZE] = order
        struct.pack_into("<I", queue, array + 4 * slot, slot)
        struct.pack_into("<I", queue, tail, last + 1)
        if struct.unpack_from("<I", queue, flags)[0] & NEED_WAKEUP:
            numbers = (ring, 0, 0, WAKEUP, 0, 0)
            calls.checked(libc.syscall(ctypes.c_long(SYS_ENTER), *map(ctypes.c_long, numbers)), "io_uring_enter")
