"""SGX data structures (Intel SDM volume 3D, chapter 38). Little-endian; offsets and sizes are the manual's.

TARGETINFO and REPORT are in `vendors.intel_reports`, SIGSTRUCT in `evidence.sigstruct`, TCS in `measure.enclave`.
"""

from enum import IntEnum, IntFlag

from cloister._wire import Record, nested, raw, reserved, u8, u16, u32, u64
from cloister.measure.sgx import SecinfoFlags

__all__ = [
    "Attribute",
    "Attributes",
    "EinitToken",
    "GprArea",
    "KeyDependencies",
    "KeyName",
    "KeyPolicy",
    "KeyRequest",
    "MacHeader",
    "PageInfo",
    "PageType",
    "Pcmd",
    "SecInfo",
    "Secs",
]

TYPE_SHIFT = 8


class Attribute(IntFlag):
    """ATTRIBUTES.FLAGS (SDM 38.7.1)."""

    INIT = 0x1
    DEBUG = 0x2
    MODE64BIT = 0x4
    PROVISIONKEY = 0x10
    EINITTOKENKEY = 0x20
    KSS = 0x80
    AEXNOTIFY = 0x400


class Attributes(Record, size=16):
    """ATTRIBUTES: flags, and XFRM, the processor state components that the enclave may use (SDM 38.7.1, 38.7.2)."""

    flags: int = u64()
    xfrm: int = u64()


class Secs(Record, size=4096):
    """SGX enclave control structure (SDM 38.7). The manual leaves the last three fields' places to the processor."""

    size: int = u64()
    base: int = u64()
    ssaframesize: int = u32()
    miscselect: int = u32()
    reserved_24: bytes = reserved(24)
    attributes: Attributes = nested(Attributes)
    mrenclave: bytes = raw(32)
    reserved_96: bytes = reserved(32)
    mrsigner: bytes = raw(32)
    reserved_160: bytes = reserved(32)
    configid: bytes = raw(64)
    isvprodid: int = u16()
    isvsvn: int = u16()
    configsvn: int = u16()
    reserved_262: bytes = reserved(3794)
    isvfamilyid: bytes = raw(16)
    isvextprodid: bytes = raw(16)
    eid: int = u64()

    def changed(self, **changes: object) -> "Secs":
        """The same with other values in some fields."""
        values = {name: value for name, value in self.fields() if not name.startswith("reserved")}
        return Secs(**values | changes)


class GprArea(Record, size=184):
    """The GPR area, the last 184 bytes of an SSA frame (SDM 38.9.2)."""

    rax: int = u64()
    rcx: int = u64()
    rdx: int = u64()
    rbx: int = u64()
    rsp: int = u64()
    rbp: int = u64()
    rsi: int = u64()
    rdi: int = u64()
    r8: int = u64()
    r9: int = u64()
    r10: int = u64()
    r11: int = u64()
    r12: int = u64()
    r13: int = u64()
    r14: int = u64()
    r15: int = u64()
    rflags: int = u64()
    rip: int = u64()
    ursp: int = u64()
    urbp: int = u64()
    exitinfo: int = u32()
    reserved_164: bytes = reserved(3)
    aexnotify: int = u8()
    fsbase: int = u64()
    gsbase: int = u64()


class PageType(IntEnum):
    """SECINFO.FLAGS.PAGE_TYPE (SDM 38.11.2)."""

    SECS = 0
    TCS = 1
    REG = 2
    VA = 3
    TRIM = 4


class SecInfo(Record, size=64):
    """SECINFO (SDM 38.11). Must be aligned to 64 bytes."""

    flags: int = u64()
    reserved_8: bytes = reserved(56)

    @property
    def permission(self) -> int:
        """R 1, W 2, X 4."""
        return self.flags & 7

    @property
    def type(self) -> int:
        """The page's type, a PageType if it is valid."""
        return self.flags >> TYPE_SHIFT & 0xFF

    @property
    def state(self) -> SecinfoFlags:
        """The bits PENDING, MODIFIED and PR."""
        return SecinfoFlags(self.flags & 0x38)


class PageInfo(Record, size=32):
    """PAGEINFO (SDM 38.10): addresses. `secinfo` is PCMD's for EWB and ELDU. Must be aligned to 32 bytes."""

    linaddr: int = u64()
    srcpge: int = u64()
    secinfo: int = u64()
    secs: int = u64()


class Pcmd(Record, size=128):
    """PCMD, paging crypto metadata (SDM 38.12)."""

    secinfo: SecInfo = nested(SecInfo)
    enclaveid: int = u64()
    reserved_72: bytes = reserved(40)
    mac: bytes = raw(16)


class MacHeader(Record, size=128):
    """What EWB authenticates besides the page (SDM 41.3, EWB, "MAC_HEADER")."""

    eid: int = u64()
    linaddr: int = u64()
    secinfo: SecInfo = nested(SecInfo)
    reserved_80: bytes = reserved(48)


class EinitToken(Record, size=304):
    """EINITTOKEN (SDM 38.14): a launch enclave allows an enclave to start. The MAC covers the first 192 bytes."""

    valid: int = u32()
    reserved_4: bytes = reserved(44)
    attributes: Attributes = nested(Attributes)
    mrenclave: bytes = raw(32)
    reserved_96: bytes = reserved(32)
    mrsigner: bytes = raw(32)
    reserved_160: bytes = reserved(32)
    cpusvnle: bytes = raw(16)
    isvprodidle: int = u16()
    isvsvnle: int = u16()
    reserved_212: bytes = reserved(24)
    maskedmiscselectle: int = u32()
    maskedattributesle: Attributes = nested(Attributes)
    keyid: bytes = raw(32)
    mac: bytes = raw(16)


class KeyName(IntEnum):
    """KEYREQUEST.KEYNAME (SDM 38.17.1)."""

    EINITTOKEN = 0
    PROVISION = 1
    PROVISION_SEAL = 2
    REPORT = 3
    SEAL = 4


class KeyPolicy(IntFlag):
    """KEYREQUEST.KEYPOLICY (SDM 38.17.2)."""

    MRENCLAVE = 0x1
    MRSIGNER = 0x2
    NOISVPRODID = 0x4
    CONFIGID = 0x8
    ISVFAMILYID = 0x10
    ISVEXTPRODID = 0x20


class KeyRequest(Record, size=512):
    """KEYREQUEST (SDM 38.17). Must be aligned to 512 bytes."""

    keyname: int = u16()
    keypolicy: int = u16()
    isvsvn: int = u16()
    reserved_6: bytes = reserved(2)
    cpusvn: bytes = raw(16)
    attributemask: Attributes = nested(Attributes)
    keyid: bytes = raw(32)
    miscmask: int = u32()
    configsvn: int = u16()
    reserved_78: bytes = reserved(434)


class KeyDependencies(Record, size=384):
    """What a key is derived from (SDM 41.4, EGETKEY, "TMP_KEYDEPENDENCIES"). The order is this project's own.

    Real processors keep their layout to themselves; Intel's own software model hashes such a structure too.
    """

    keyname: int = u16()
    isvprodid: int = u16()
    isvsvn: int = u16()
    configsvn: int = u16()
    keypolicy: int = u16()
    reserved_10: bytes = reserved(6)
    owner_epoch: bytes = raw(16)
    attributes: Attributes = nested(Attributes)
    attribute_mask: Attributes = nested(Attributes)
    mrenclave: bytes = raw(32)
    mrsigner: bytes = raw(32)
    keyid: bytes = raw(32)
    seal_fuses: bytes = raw(16)
    cpusvn: bytes = raw(16)
    miscselect: int = u32()
    miscmask: int = u32()
    isvextprodid: bytes = raw(16)
    isvfamilyid: bytes = raw(16)
    configid: bytes = raw(64)
    reserved_296: bytes = reserved(88)
