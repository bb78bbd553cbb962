"""Asking for a TDX quote by /dev/tdx_guest, as kernels before 6.7 offer it.

The device gives the TD's report, which only its own processor can check. The host's quoting service makes a quote of
it; it listens at a vsock port (4050, or what /etc/tdx-attest.conf says, as Intel's libtdx_attest has it). A message of
it is preceded by its length, big-endian (qgs_msg_lib.h, little-endian):

    header 16: major 1, minor 1, type, size, error | request (type 0): report size, size of a list of keys | report
                                                   | answer (type 1): size of the chosen key, quote size | key | quote
"""

import errno
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cloister._wire import Record, u16, u32
from cloister.attest.guest.device import open_device
from cloister.attest.guest.report import GuestReport
from cloister.attest.guest.tdx_guest_unsafe import TD_REPORT_SIZE, td_report_call
from cloister.errors import CannotProtect, ParseError

__all__ = ["DEVICE", "SETTINGS", "ask_tdx_guest", "host_service"]

DEVICE: Final = Path("/dev/tdx_guest")
SETTINGS: Final = Path("/etc/tdx-attest.conf")
PORT: Final = 4050
PORT_LINE: Final = re.compile(r"^\s*port\s*=\s*(\d{1,10})\s*$", re.MULTILINE)
SECONDS: Final = 30
REPORT_DATA: Final = slice(128, 192)
"""Where a TDREPORT holds it (REPORTMACSTRUCT, Intel TDX module ABI)."""

REQUEST: Final = 0
ANSWER: Final = 1
LONGEST: Final = 1 << 20
SIZE_BYTES: Final = 4


class Header(Record, size=16):
    """qgs_msg_header_t."""

    major: int = u16(equals=1)
    minor: int = u16()
    type: int = u32()
    message_size: int = u32()
    error: int = u32()


class Sizes(Record, size=8):
    """What follows the header: of a request report and list, of an answer key and quote."""

    first: int = u32()
    second: int = u32()


def ask_tdx_guest(
    report_data: bytes,
    *,
    device: Path = DEVICE,
    call: Callable[[int, bytes], bytes] = td_report_call,
    connect: Callable[[], socket.socket] | None = None,
) -> GuestReport:
    """A TDX quote with `report_data`, 64 bytes, in it. CannotProtect, UsageError."""
    report = _report(report_data, device, call)
    try:
        with (connect or host_service)() as service:
            service.settimeout(SECONDS)
            service.sendall(_framed(report))
            answer = _received(service)
    except OSError as error:
        raise CannotProtect(
            f"the TD's report is there, but no quoting service of the host answers: {error.strerror or error}; "
            f"Linux 6.7 asks it by itself (configfs), before that {SETTINGS} names its vsock port"
        ) from error
    return GuestReport("tdx_guest", _quote(answer))


def host_service(settings: Path = SETTINGS) -> socket.socket:
    """A connection to the host's quoting service. OSError."""
    try:
        found = PORT_LINE.search(settings.read_text(errors="replace"))
    except OSError:
        found = None
    service = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        service.settimeout(SECONDS)
        service.connect((socket.VMADDR_CID_HOST, int(found[1]) if found else PORT))
    except BaseException:
        service.close()
        raise
    return service


def _report(report_data: bytes, device: Path, call: Callable[[int, bytes], bytes]) -> bytes:
    descriptor = open_device(device)
    try:
        report = call(descriptor, report_data)
    except OSError as error:
        reason = "it is no device of a TDX guest" if error.errno == errno.ENOTTY else error.strerror
        raise CannotProtect(f"{device}: no report: {reason}") from error
    finally:
        os.close(descriptor)
    if len(report) != TD_REPORT_SIZE or report[REPORT_DATA] != report_data:
        raise CannotProtect(f"{device}: what it answers is no report over the data that was asked for")
    return report


def _framed(report: bytes) -> bytes:
    size = Header.SIZE + Sizes.SIZE + len(report)
    header = Header(major=1, minor=1, type=REQUEST, message_size=size, error=0)
    return size.to_bytes(SIZE_BYTES) + header.serialize() + Sizes(first=len(report), second=0).serialize() + report


def _received(service: socket.socket) -> bytes:
    size = int.from_bytes(_exactly(service, SIZE_BYTES))
    if not Header.SIZE <= size <= LONGEST:
        raise CannotProtect(f"the host's quoting service announces a message of {size} bytes")
    return _exactly(service, size)


def _exactly(service: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = service.recv(size - len(found))
        if not more:
            raise CannotProtect("the host's quoting service ends the connection, and there is no quote")
        found += more
    return found


def _quote(message: bytes) -> bytes:
    try:
        header = Header.parse(message[: Header.SIZE])
        if header.error:
            raise CannotProtect(f"the host's quoting service refuses a quote: error {header.error:#x}")
        start = Header.SIZE + Sizes.SIZE
        sizes = Sizes.parse(message[Header.SIZE : start])
    except ParseError as error:
        raise CannotProtect(f"the host's quoting service speaks another language: {error}") from error
    quote = message[start + sizes.first :]
    if header.type != ANSWER or header.message_size != len(message) or len(quote) != sizes.second or not quote:
        raise CannotProtect("the host's quoting service answers with something else than a quote")
    return quote
