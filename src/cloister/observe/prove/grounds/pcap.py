"""A capture file as tcpdump and Wireshark read it: pcap with nanoseconds, link type LINUX_SLL.

Source: draft-ietf-opsawg-pcap; https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html.
"""

import os
import struct
from pathlib import Path

from cloister.errors import UsageError

__all__ = ["CaptureFile"]

MAGIC_NANOSECONDS = 0xA1B23C4D
LINKTYPE_LINUX_SLL = 113
LONGEST = 1 << 20
HEAD = struct.pack("<IHHiIII", MAGIC_NANOSECONDS, 2, 4, 0, 0, LONGEST, LINKTYPE_LINUX_SLL)
RECORD = struct.Struct("<IIII")
COOKED = struct.Struct(">HHH8sH")
SECOND = 10**9


class CaptureFile:
    """Written for whoever asked, and nobody else (mode 0600): it holds what was on the wire, secrets included."""

    def __init__(self, path: Path) -> None:
        """Create the file. UsageError if it exists or cannot be written."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"cannot create {path}: {error.strerror}; name a file that does not exist") from error
        self.file = os.fdopen(descriptor, "wb")
        self.file.write(HEAD)

    def write(self, moment: int, origin: tuple[int, int, bytes, int], packet: bytes) -> None:
        """One packet. `moment`: nanoseconds of the epoch; `origin`: direction, hardware type, address, protocol."""
        direction, hardware, address, protocol = origin
        head = COOKED.pack(direction, hardware, min(len(address), 8), address[:8], protocol)
        size = len(head) + len(packet)
        self.file.write(RECORD.pack(*divmod(moment, SECOND), size, size) + head + packet)

    def close(self) -> None:
        """No more packets."""
        self.file.close()
