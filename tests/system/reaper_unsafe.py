"""Orphans come to the test process instead of init, so that a test can tell exactly which processes it left behind."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h; prctl(2)


@contextlib.contextmanager
def adopting_orphans() -> Iterator[None]:
    """Be the reaper of every descendant that loses its parent: daemons, and the guards of enclaves."""
    become_reaper(wanted=True)
    try:
        yield
    finally:
        become_reaper(wanted=False)


def become_reaper(*, wanted: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(ctypes.get_errno())}")
