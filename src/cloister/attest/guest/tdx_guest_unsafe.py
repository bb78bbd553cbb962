"""TDX_CMD_GET_REPORT0 of /dev/tdx_guest: an ioctl (include/uapi/linux/tdx-guest.h)."""

import fcntl
from typing import Final

__all__ = ["GET_REPORT", "TD_REPORT_SIZE", "td_report_call"]

TD_REPORT_SIZE: Final = 1024
REPORT_DATA_SIZE: Final = 64
GET_REPORT: Final = 3 << 30 | (REPORT_DATA_SIZE + TD_REPORT_SIZE) << 16 | ord("T") << 8 | 1
"""_IOWR('T', 1, struct tdx_report_req): 64 bytes of report data, then room for the report."""


def td_report_call(descriptor: int, report_data: bytes) -> bytes:
    """The TD's report over `report_data`. OSError as the kernel answers."""
    request = bytearray(report_data.ljust(REPORT_DATA_SIZE, b"\0") + bytes(TD_REPORT_SIZE))
    fcntl.ioctl(descriptor, GET_REPORT, request)
    return bytes(request[REPORT_DATA_SIZE:])
