"""The hash that Keystone's security monitor computes of an enclave when it finalises it (sm/src/attest.c)."""

import hashlib
from typing import Final

from cloister.measure.guest import GuestLayout
from cloister.measure.image import Architecture
from cloister.model import Digest

__all__ = ["enclave_hash", "guest_digest"]

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


def guest_digest(guest: GuestLayout, *, runtime: bytes = b"") -> Digest:
    """The enclave hash of a program as an enclave. CannotEnclave if it is not for riscv64.

    The boot parameters stand where Keystone's loader stands, and do its work: they say what is mapped where. Then
    `runtime`, if there is one, then the pages of the image.
    """
    guest.require(Architecture.RISCV64, "a Keystone machine")
    return enclave_hash(loader=guest.parameters.serialize(), runtime=runtime, application=b"".join(guest.contents))
