"""The table of secrets that a guest's owner has injected, as firmware and Linux find it in guest memory.

Linux, drivers/virt/coco/efi_secret/efi_secret.c and Documentation/security/secrets/coco.rst: a GUID and a length, then
entries of a GUID, a length and data; each length counts its own header. Linux shows every entry as a file,
/sys/kernel/security/secrets/coco/GUID.
"""

import uuid
from collections.abc import Mapping
from typing import Final

from cloister._wire import Reader
from cloister.errors import ParseError, UsageError
from cloister.measure.image import PAGE

__all__ = ["DISK_KEY", "SECRETS_ADDRESS", "SECRETS_VARIABLE", "secret_area", "secrets_in"]

TABLE: Final = uuid.UUID("1e74f542-71dd-4d66-963e-ef4287ff173b")
DISK_KEY: Final = uuid.UUID("736869e5-84f0-4973-92ec-06879ce3da0b")
"""The key of a guest's disk, as boot loaders for SEV look for it."""

SECRETS_ADDRESS: Final = 0x7FFF_FFFF_F000
"""Where the guest maps the table for its program to read: the last page of 47 bits, which is nobody else's."""

SECRETS_VARIABLE: Final = "CLOISTER_LAUNCH_SECRETS"
"""The environment variable that holds this address, where there are secrets."""

HEADER: Final = 20
BLOCK: Final = 16


def secret_area(entries: Mapping[uuid.UUID, bytes]) -> bytes:
    """The table, zeros behind it up to a multiple of 16 bytes. UsageError if it does not fit into one page."""
    body = b"".join(_with_header(guid, data) for guid, data in entries.items())
    table = _with_header(TABLE, body)
    if len(table) > PAGE:
        raise UsageError(f"the owner's secrets take {len(table)} bytes; the guest has a page of {PAGE} for them")
    return table + bytes(-len(table) % BLOCK)


def _with_header(guid: uuid.UUID, data: bytes) -> bytes:
    return guid.bytes_le + (HEADER + len(data)).to_bytes(4, "little") + data


def secrets_in(page: bytes) -> dict[uuid.UUID, bytes]:
    """The entries of a table at the beginning of these bytes; none if no table stands there. ParseError."""
    if page[:16] != TABLE.bytes_le:
        return {}
    size = int.from_bytes(page[16:HEADER], "little")
    if not HEADER <= size <= len(page):
        raise ParseError("secret area", "length", 16, f"is {size}; {HEADER} to {len(page)} bytes fit")
    reader, found = Reader(page[HEADER:size], "secret area", base=HEADER), dict[uuid.UUID, bytes]()
    while reader.left:
        start = reader.offset
        guid, length = uuid.UUID(bytes_le=reader.take(16, "guid")), int.from_bytes(reader.take(4, "length"), "little")
        if length < HEADER or guid in found:
            raise ParseError("secret area", "entry", start, f"{guid} has {length} bytes, or stands twice")
        found[guid] = reader.take(length - HEADER, "data")
    return found
