"""SNP_GET_EXT_REPORT of /dev/sev-guest: structures with addresses in them (include/uapi/linux/sev-guest.h)."""

import ctypes
import fcntl
from dataclasses import dataclass
from typing import Final

__all__ = ["Exchange", "device_call"]

RESPONSE_SIZE: Final = 4000
PAGE: Final = 4096


class Request(ctypes.Structure):
    """struct snp_guest_request_ioctl. exitinfo2: the firmware's error below, the hypervisor's above."""

    _fields_ = (
        ("msg_version", ctypes.c_uint8),
        ("req_data", ctypes.c_uint64),
        ("resp_data", ctypes.c_uint64),
        ("exitinfo2", ctypes.c_uint64),
    )


class ExtendedReport(ctypes.Structure):
    """struct snp_ext_report_req."""

    _fields_ = (
        ("data", ctypes.c_uint8 * 96),
        ("certs_address", ctypes.c_uint64),
        ("certs_len", ctypes.c_uint32),
    )


GET_EXTENDED_REPORT: Final = 3 << 30 | ctypes.sizeof(Request) << 16 | ord("S") << 8 | 2
"""_IOWR('S', 2, struct snp_guest_request_ioctl)"""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer. `error` is an errno, or 0; sizes in bytes."""

    response: bytes
    certificates: bytes
    error: int = 0
    firmware_error: int = 0
    host_error: int = 0
    room_needed: int = 0


def device_call(descriptor: int, question: bytes, room: int) -> Exchange:
    """Ask the device; `question` is a struct snp_report_req, `room` is rounded up to pages."""
    room = -(-room // PAGE) * PAGE
    certificates = ctypes.create_string_buffer(room + PAGE)
    aligned = -(-ctypes.addressof(certificates) // PAGE) * PAGE
    extended = ExtendedReport(certs_address=aligned if room else 0, certs_len=room)
    ctypes.memmove(extended.data, question, len(question))
    response = ctypes.create_string_buffer(RESPONSE_SIZE)
    request = Request(
        msg_version=1, req_data=ctypes.addressof(extended), resp_data=ctypes.addressof(response), exitinfo2=0
    )
    error = 0
    try:
        fcntl.ioctl(descriptor, GET_EXTENDED_REPORT, request)
    except OSError as refused:
        error = refused.errno or -1
    table = ctypes.string_at(aligned, room) if room and not error else b""
    return Exchange(
        response=response.raw,
        certificates=table if any(table) else b"",
        error=error,
        firmware_error=request.exitinfo2 & 0xFFFFFFFF,
        host_error=request.exitinfo2 >> 32,
        room_needed=extended.certs_len,
    )
