"""No core file of a process that holds keys and plaintext, and nothing for a debugger of the same user (prctl(2))."""

import ctypes
import os
from typing import Final

from cloister.errors import UsageError

__all__ = ["forbid_core_dumps"]

PR_SET_DUMPABLE: Final = 4
_libc = ctypes.CDLL(None, use_errno=True)


def forbid_core_dumps() -> None:
    """Make this process not dumpable: no core, also where the kernel sends cores to a program; no ptrace(2) but root's.

    A limit would not do: it is not asked where cores go into a pipe (core(5)). UsageError if the kernel refuses.
    """
    if _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise UsageError(f"cannot forbid core files: {os.strerror(ctypes.get_errno())}")
