"""What a trust domain measures: MRTD at its launch, RTMRs while it runs, and the hashes that its report carries.

Intel TDX module base architecture specification 1.5, chapter "Measurement and attestation", and the module's source
(TDH.MNG.INIT, TDH.MEM.PAGE.ADD, TDH.MR.EXTEND, TDH.MR.FINALIZE, TDG.MR.RTMR.EXTEND, TDG.MR.REPORT). Everything is
SHA-384. MRTD does not cover the processors' first registers, nor memory that is accepted later.

    running = TdMeasurement()
    running.page_add(0)
    running.extend(0, chunk)
    running.digest()
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from cloister._wire import Record, raw, reserved, u64
from cloister.measure.guest import GuestLayout
from cloister.measure.image import Architecture
from cloister.model import Digest

__all__ = [
    "CHUNK",
    "TdInfo",
    "TdMeasurement",
    "TeeTcbInfo",
    "extend_rtmr",
    "guest_digest",
    "mrtd",
    "tee_info_hash",
    "tee_tcb_info_hash",
]

PAGE: Final = 4096
CHUNK: Final = 256
"""Bytes that one TDH.MR.EXTEND measures."""

SIZE: Final = 48
ADDRESS_LIMIT: Final = 1 << 51
"""Private guest-physical addresses are below the shared bit, which is bit 51 at most (GPAW 52)."""


class _Block(Record, size=128):
    """What TDH.MEM.PAGE.ADD measures, and TDH.MR.EXTEND before the data: the function's name and the address."""

    name: bytes = raw(16)
    gpa: int = u64()
    reserved_24: bytes = reserved(104)


class TeeTcbInfo(Record, size=239):
    """TEE_TCB_INFO: the TDX module that runs the TD (TDX module ABI specification 1.5, table TEE_TCB_INFO).

    `valid` has a bit for every part that is filled; `tee_tcb_svn2` is zero in TDX 1.0.
    """

    valid: int = u64()
    tee_tcb_svn: bytes = raw(16)
    mrseam: bytes = raw(48)
    mrsignerseam: bytes = raw(48)
    attributes: bytes = raw(8)
    tee_tcb_svn2: bytes = raw(16)
    reserved_144: bytes = reserved(95)


class TdInfo(Record, size=512):
    """TDINFO: the trust domain as its report states it (TDX module ABI specification 1.5, table TDINFO_STRUCT)."""

    attributes: bytes = raw(8)
    xfam: bytes = raw(8)
    mrtd: bytes = raw(48)
    mrconfigid: bytes = raw(48)
    mrowner: bytes = raw(48)
    mrownerconfig: bytes = raw(48)
    rtmr0: bytes = raw(48)
    rtmr1: bytes = raw(48)
    rtmr2: bytes = raw(48)
    rtmr3: bytes = raw(48)
    servtd_hash: bytes = raw(48)
    reserved_448: bytes = reserved(64)


class TdMeasurement:
    """MRTD while the TD is being built, from TDH.MNG.INIT on."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = hashlib.sha384()

    def page_add(self, gpa: int) -> None:
        """TDH.MEM.PAGE.ADD at this guest-physical address. The content is not measured by it."""
        _check(gpa, PAGE)
        self._hash.update(_Block(name=b"MEM.PAGE.ADD".ljust(16, b"\0"), gpa=gpa).serialize())

    def extend(self, gpa: int, chunk: bytes) -> None:
        """TDH.MR.EXTEND of 256 bytes at this guest-physical address."""
        if len(chunk) != CHUNK:
            raise ValueError(f"TDH.MR.EXTEND measures {CHUNK} bytes, not {len(chunk)}")
        _check(gpa, CHUNK)
        self._hash.update(_Block(name=b"MR.EXTEND".ljust(16, b"\0"), gpa=gpa).serialize() + chunk)

    def add(self, gpa: int, content: bytes) -> None:
        """A page, then all of its content, as KVM_TDX_INIT_MEM_REGION does with its measuring flag."""
        if len(content) != PAGE:
            raise ValueError(f"a page has {PAGE} bytes, this one {len(content)}")
        self.page_add(gpa)
        for place in range(0, PAGE, CHUNK):
            self.extend(gpa + place, content[place : place + CHUNK])

    def digest(self) -> Digest:
        """MRTD if TDH.MR.FINALIZE came now."""
        return Digest("sha384", self._hash.digest())


def mrtd(pages: Iterable[tuple[int, bytes]]) -> Digest:
    """MRTD of a TD with these pages, (guest-physical address, content), every page measured when it is added."""
    running = TdMeasurement()
    for gpa, content in pages:
        running.add(gpa, content)
    return running.digest()


def guest_digest(guest: GuestLayout) -> Digest:
    """MRTD of a program as a guest. CannotEnclave if it is not for x86-64."""
    guest.require(Architecture.X86_64, "a trust domain")
    return mrtd(guest.pages)


def extend_rtmr(register: Digest, value: bytes) -> Digest:
    """An RTMR after TDG.MR.RTMR.EXTEND with 48 bytes. Registers begin as 48 zeros."""
    if register.algorithm != "sha384" or len(register.value) != SIZE or len(value) != SIZE:
        raise ValueError(f"RTMRs have {SIZE} bytes of SHA-384 and are extended with {SIZE}, not {len(value)}")
    return Digest("sha384", hashlib.sha384(register.value + value).digest())


def tee_info_hash(info: TdInfo) -> bytes:
    """TEE_INFO_HASH of the report: SHA-384 of TDINFO, 512 bytes."""
    return hashlib.sha384(info.serialize()).digest()


def tee_tcb_info_hash(info: TeeTcbInfo) -> bytes:
    """TEE_TCB_INFO_HASH of the report: SHA-384 of TEE_TCB_INFO, 239 bytes."""
    return hashlib.sha384(info.serialize()).digest()


def _check(gpa: int, unit: int) -> None:
    if gpa % unit or not 0 <= gpa < ADDRESS_LIMIT:
        raise ValueError(f"guest-physical address {gpa:#x}: must be a multiple of {unit}, below {ADDRESS_LIMIT:#x}")
