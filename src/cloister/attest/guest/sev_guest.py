"""Asking for a report by /dev/sev-guest, as kernels before 6.7 offer it (include/uapi/linux/sev-guest.h)."""

import errno
import os
from pathlib import Path
from typing import Final, Protocol

from cloister._wire import Record, raw, reserved, u32
from cloister.attest.guest.device import open_device
from cloister.attest.guest.report import GuestReport
from cloister.attest.guest.sev_guest_unsafe import Exchange, device_call
from cloister.errors import CannotProtect

__all__ = ["DEVICE", "ask_sev_guest"]

DEVICE: Final = Path("/dev/sev-guest")
REPORT_SIZE: Final = 1184
CERTIFICATES_ROOM: Final = 1 << 16
INVALID_LENGTH: Final = 1
BUSY: Final = 2
"""What the hypervisor says in the upper half of exitinfo2 (GHCB specification, table of SNP guest requests)."""


class ResponseStart(Record, size=32):
    """MSG_REPORT_RSP (SEV-SNP firmware ABI, table "MSG_REPORT_RSP"); the report follows."""

    status: int = u32()
    report_size: int = u32()
    reserved_8: bytes = reserved(24)


class Question(Record, size=96):
    """struct snp_report_req."""

    user_data: bytes = raw(64)
    vmpl: int = u32()
    reserved_68: bytes = reserved(28)


class Device(Protocol):
    """What makes the ioctl: the kernel, or whoever stands in its place in a test."""

    def __call__(self, descriptor: int, question: bytes, room: int) -> Exchange:
        """Ask; `room` bytes are there for certificates."""


def ask_sev_guest(
    report_data: bytes, *, device: Path = DEVICE, privilege_level: int = 0, call: Device = device_call
) -> GuestReport:
    """An SNP report with `report_data`, 64 bytes, in it, and the host's certificates. CannotProtect, UsageError."""
    question = Question(user_data=report_data, vmpl=privilege_level).serialize()
    descriptor = open_device(device)
    try:
        answer = _answer(descriptor, question, device, call)
    finally:
        os.close(descriptor)
    return GuestReport("sev_guest", _report_of(answer.response, device), answer.certificates)


def _answer(descriptor: int, question: bytes, device: Path, call: Device) -> Exchange:
    """The host says how much room its certificates need if there was too little."""
    answer = call(descriptor, question, CERTIFICATES_ROOM)
    if answer.error and answer.host_error == INVALID_LENGTH:
        answer = call(descriptor, question, answer.room_needed)
    if answer.error and answer.host_error == BUSY:
        raise CannotProtect(f"{device}: the host answers too many reports at the moment; ask again later")
    if answer.error:
        reason = os.strerror(answer.error)
        if answer.error == errno.ENOTTY:
            reason = "it is no device of an SNP guest"
        raise CannotProtect(
            f"{device}: no report: {reason} (firmware {answer.firmware_error:#x}, host {answer.host_error:#x})"
        )
    return answer


def _report_of(response: bytes, device: Path) -> bytes:
    start = ResponseStart.parse(response[: ResponseStart.SIZE])
    if start.status:
        raise CannotProtect(f"{device}: the security processor refuses a report: status {start.status:#x}")
    if start.report_size != REPORT_SIZE:
        raise CannotProtect(f"{device}: a report of {start.report_size} bytes; {REPORT_SIZE} are expected")
    return response[ResponseStart.SIZE : ResponseStart.SIZE + REPORT_SIZE]
