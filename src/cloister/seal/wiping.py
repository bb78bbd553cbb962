"""Overwriting what must not stay in memory, as far as Python lets us.

A `bytearray` is one place that can be overwritten. Not so: `bytes` and `str`, which are immutable and copied by many
operations, what the crypto library keeps inside its cipher contexts (OpenSSL clears those when they are freed), and
pages that the kernel has swapped out.
"""

import contextlib
from collections.abc import Iterator

__all__ = ["wipe", "wiped"]


def wipe(secret: bytearray) -> None:
    """Overwrite with zeros, in place."""
    secret[:] = bytes(len(secret))


@contextlib.contextmanager
def wiped(*secrets: bytearray) -> Iterator[None]:
    """Wipe these at the end of the block, however it ends."""
    try:
        yield
    finally:
        for secret in secrets:
            wipe(secret)
