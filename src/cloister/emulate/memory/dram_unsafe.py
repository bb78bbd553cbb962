"""DRAM of an emulated machine: an ordinary file, mapped shared, so that everybody who may read the file sees the chips.

Layout of the file, for a machine of N pages:

    page n                  byte n * 4096                what the memory controller wrote: ciphertext, for most TEEs
    metadata of page n      byte N * 4096 + n * 64       byte 0 to 7 tag, little-endian; byte 8 owner bit; the rest zero
    counter-tree nodes      after the metadata           64 bytes each, see counters.py
    description             the last 4096 bytes          this layout with the file's own numbers, as text

So `dd if=FILE bs=4096 skip=n count=1` is page n, and `tail -c 4096 FILE` says where everything is. Real parts keep tags
and owner bits in the chips' spare ECC bits or in stolen memory: whoever holds the chips can change them too.
"""

import mmap
import os
import tempfile
from pathlib import Path
from typing import Final, Self

from cloister.emulate.memory.counters import nodes_of
from cloister.errors import UsageError
from cloister.measure.image import PAGE

__all__ = ["METADATA", "OWNER", "Dram"]

METADATA: Final = 64
"""Bytes of metadata for each page."""

OWNER: Final = 8
"""The byte of a page's metadata whose bit 0 is the owner bit."""

LARGEST: Final = 1 << 24
"""Pages that a machine may have: 64 GiB, so that a mistyped number does not become a file of petabytes."""


class Dram:
    """`pages` pages of 4,096 bytes with their metadata, zero at first. Raises UsageError when the file cannot be made.

    The file is made anew with mode 0600, sparse and of fixed size; without `path` it has no name and goes with the
    object. Pages are backed when they are first written: a full file system then ends the process with SIGBUS.
    """

    def __init__(self, pages: int, path: Path | None = None) -> None:
        if not 0 < pages <= LARGEST:
            raise UsageError(f"DRAM of {pages} pages: a machine has 1 to {LARGEST} pages of {PAGE} bytes")
        self.pages = pages
        self.path = path
        self._metadata = pages * PAGE
        self._nodes = self._metadata + _round_up(pages * METADATA)
        self._description = self._nodes + _round_up(nodes_of(pages) * METADATA)
        descriptor = _create(path)
        try:
            os.ftruncate(descriptor, self._description + PAGE)
            self._map = mmap.mmap(descriptor, self._description + PAGE, mmap.MAP_SHARED)
        finally:
            os.close(descriptor)
        self._view = memoryview(self._map)
        text = self.describe().encode()
        self._view[self._description : self._description + len(text)] = text

    def page(self, number: int) -> memoryview:
        """The 4,096 bytes of one page, writable. Raises IndexError where there is no memory."""
        if 0 <= number < self.pages:
            start = number * PAGE
            return self._view[start : start + PAGE]
        raise self._beyond(number)

    def metadata(self, number: int) -> memoryview:
        """The 64 bytes of metadata of one page, writable. Raises IndexError where there is no memory."""
        if 0 <= number < self.pages:
            start = self._metadata + number * METADATA
            return self._view[start : start + METADATA]
        raise self._beyond(number)

    @property
    def nodes(self) -> memoryview:
        """The room for counter-tree nodes, writable."""
        return self._view[self._nodes : self._description]

    def describe(self) -> str:
        """The layout of this file, for people; also the text on its last page."""
        return (
            f"Cloister emulated DRAM: {self.pages} pages of {PAGE} bytes\n"
            f"page n: byte n * {PAGE}\n"
            f"metadata of page n: byte {self._metadata} + n * {METADATA}; tag bytes 0 to 7, owner bit byte {OWNER}\n"
            f"counter-tree nodes: byte {self._nodes} to {self._description}, {METADATA} bytes each\n"
        )

    def close(self) -> None:
        """Give the mapping up. Views that were handed out stay usable and keep it alive until they go."""
        self._view.release()
        try:
            self._map.close()
        except BufferError:
            return  # the views that are still out own it now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _beyond(self, number: int) -> IndexError:
        return IndexError(f"physical page {number:#x}: this machine has {self.pages:#x} pages")


def _create(path: Path | None) -> int:
    if path is None:
        with tempfile.TemporaryFile() as file:  # made with mode 0600, without a name
            return os.dup(file.fileno())
    try:
        # O_EXCL: never somebody else's file, and never through a link that somebody put there.
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"cannot make DRAM in {path}: {error.strerror}; name a file that does not exist yet"
        ) from error


def _round_up(size: int) -> int:
    return -(-size // PAGE) * PAGE
