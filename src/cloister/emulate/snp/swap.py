"""Pages of a guest on the host's disk: sealed by the firmware, and taken back at most once.

AMD 56860, SNP_PAGE_SWAP_OUT and SNP_PAGE_SWAP_IN. The sealed page goes where the host wants it; what is needed to check
it stands in a metadata entry on a page that the host cannot write. An entry is used up by swapping in, so that an older
copy of the page is never taken. The layout of entries is ours.
"""

import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloister._wire import Record, raw, reserved, u8, u64
from cloister.emulate.snp.rmp import RmpEntry
from cloister.measure.image import PAGE

__all__ = ["MetadataEntry", "entry_at", "open_page", "seal_page", "with_entry"]

TAG: Final = 16
IV: Final = 12


class MetadataEntry(Record, size=64):
    """One swapped page: the nonce and tag of its ciphertext, and what the RMP said of it."""

    used: int = u8()
    validated: int = u8()
    vmsa: int = u8()
    reserved_3: bytes = reserved(1)
    permissions: bytes = raw(4)
    number: int = u64()
    gpa: int = u64()
    tag: bytes = raw(TAG)
    reserved_28: bytes = reserved(24)


ENTRIES: Final = PAGE // MetadataEntry.SIZE


def seal_page(key: bytes, number: int, page: RmpEntry, content: bytes) -> tuple[bytes, MetadataEntry]:
    """Ciphertext of 4,096 bytes and its metadata. `number` is never used twice under one key."""
    blank = MetadataEntry(
        used=1, validated=int(page.validated), vmsa=int(page.vmsa), permissions=bytes(page.permissions), number=number,
        gpa=page.gpa, tag=bytes(TAG),
    )  # fmt: skip
    sealed = AESGCM(key).encrypt(_iv(number), content, blank.serialize())
    named = {name: value for name, value in blank.fields() if not name.startswith("reserved")}
    return sealed[:-TAG], MetadataEntry(**(named | {"tag": sealed[-TAG:]}))


def open_page(key: bytes, entry: MetadataEntry, sealed: bytes) -> bytes | None:
    """The content; None if this is not the page that the entry is about."""
    named = {name: value for name, value in entry.fields() if not name.startswith("reserved")}
    blank = MetadataEntry(**(named | {"tag": bytes(TAG)}))
    try:
        return AESGCM(key).decrypt(_iv(entry.number), sealed + entry.tag, blank.serialize())
    except InvalidTag:
        return None


def entry_at(metadata: bytes, index: int) -> MetadataEntry:
    """One entry of a metadata page. ValueError for an index that it has not; ParseError."""
    if not 0 <= index < ENTRIES:
        raise ValueError(f"entry {index}: a metadata page has {ENTRIES}")
    start = index * MetadataEntry.SIZE
    return MetadataEntry.parse(metadata[start : start + MetadataEntry.SIZE], base=start)


def with_entry(metadata: bytes, index: int, entry: MetadataEntry | None) -> bytes:
    """The metadata page with one entry set, or cleared."""
    start = index * MetadataEntry.SIZE
    new = bytes(MetadataEntry.SIZE) if entry is None else entry.serialize()
    return metadata[:start] + new + metadata[start + MetadataEntry.SIZE :]


def _iv(number: int) -> bytes:
    return struct.pack("<Q", number).ljust(IV, b"\0")
