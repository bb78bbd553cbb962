"""tracefs without a mount point: a detached mount that only this process can name, gone when it is closed.

Source: fsopen(2), fsconfig(2), fsmount(2), Linux 5.2 or later. Nothing is attached to any directory, so
nothing needs to be unmounted and no other process sees a change.
"""

import ctypes
import os

__all__ = ["detached_tracefs"]

SYS_FSOPEN = 430
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432
FSOPEN_CLOEXEC = 1
FSCONFIG_CMD_CREATE = 6
FSMOUNT_CLOEXEC = 1

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def detached_tracefs() -> int:
    """A descriptor of the root directory of tracefs; raises `OSError` (EPERM without CAP_SYS_ADMIN)."""
    context = call(SYS_FSOPEN, ctypes.c_char_p(b"tracefs"), ctypes.c_ulong(FSOPEN_CLOEXEC))
    try:
        none = ctypes.c_void_p(None)
        call(SYS_FSCONFIG, ctypes.c_long(context), ctypes.c_ulong(FSCONFIG_CMD_CREATE), none, none, ctypes.c_long(0))
        return call(SYS_FSMOUNT, ctypes.c_long(context), ctypes.c_ulong(FSMOUNT_CLOEXEC), ctypes.c_ulong(0))
    finally:
        os.close(context)


def call(number: int, *arguments: "ctypes.c_long | ctypes.c_ulong | ctypes.c_char_p | ctypes.c_void_p") -> int:
    """One system call; raises `OSError`."""
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result
