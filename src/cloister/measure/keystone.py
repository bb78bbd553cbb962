"""The hash that Keystone's security monitor computes of an enclave when it finalises it (sm/src/attest.c)."""

import hashlib
from typing import Final

from cloister.model import Digest

__all__ = ["enclave_hash"]

PAGE: Final = 4096
WORD: Final = 8


def enclave_hash(*, loader: bytes, runtime: bytes, application: bytes) -> Digest:
    """The enclave hash of three images that the host lays one after the other, each padded to whole pages of 4 KiB.

    SHA3-512 over the sizes of the three as 64-bit little-endian words, then over every page. Free memory behind them
    and the untrusted buffer are not hashed: the host chooses their sizes freely.
    """
    images = [image.ljust(-(-len(image) // PAGE) * PAGE, b"\0") for image in (loader, runtime, application)]
    measured = hashlib.sha3_512()
    for image in images:
        measured.update(len(image).to_bytes(WORD, "little"))
    for image in images:
        measured.update(image)
    return Digest("sha3_512", measured.digest())
