"""Pages that the firmware fills or checks for a guest at launch: the secrets page and the CPUID page.

AMD 56860, sections on SNP_LAUNCH_UPDATE; Linux, arch/x86/include/asm/sev.h (`struct snp_secrets_page`, `struct
snp_cpuid_table`).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from cloister._wire import Record, raw, reserved, u8, u32, u64
from cloister.errors import ParseError
from cloister.measure.image import PAGE

__all__ = ["SEQUENCES", "CpuidEntry", "SecretsPage", "cpuid_page", "parse_cpuid_page"]

VERSION: Final = 3
"""Of the secrets page."""

MOST_FUNCTIONS: Final = 64


class SecretsPage(Record, size=PAGE):
    """What a guest gets from the firmware: its four communication keys, and room to count the messages under each."""

    version: int = u32(equals=VERSION)
    imi: int = u32()
    fms: int = u32()
    reserved_c: bytes = reserved(4)
    gosvw: bytes = raw(16)
    vmpck0: bytes = raw(32)
    vmpck1: bytes = raw(32)
    vmpck2: bytes = raw(32)
    vmpck3: bytes = raw(32)
    sequence0: int = u32()  # from here to 0x100: the guest's own area
    sequence1: int = u32()
    sequence2: int = u32()
    sequence3: int = u32()
    jump_table: int = u64()
    reserved_b8: bytes = reserved(40)
    guest_usage: bytes = raw(32)
    tweak_bitmap: bytes = raw(64)  # which 8 bytes of the VMSA are masked by the register protection nonce
    svsm_base: int = u64()
    svsm_size: int = u64()
    svsm_caa: int = u64()
    svsm_max_version: int = u32()
    svsm_guest_vmpl: int = u8()
    reserved_15d: bytes = reserved(3)
    tsc_factor: int = u32()
    reserved_164: bytes = reserved(PAGE - 0x164)

    @classmethod
    def of(cls, keys: Sequence[bytes], *, fms: int, gosvw: bytes, imi: bool) -> "SecretsPage":
        """The page as the firmware writes it: `keys` are the four VMPCKs, `fms` CPUID's family, model and stepping."""
        first, second, third, fourth = keys
        return cls(
            version=VERSION,
            imi=int(imi), fms=fms, gosvw=gosvw, vmpck0=first, vmpck1=second, vmpck2=third, vmpck3=fourth, sequence0=0,
            sequence1=0, sequence2=0, sequence3=0, jump_table=0, guest_usage=bytes(32), tweak_bitmap=bytes(64),
            svsm_base=0, svsm_size=0, svsm_caa=0, svsm_max_version=0, svsm_guest_vmpl=0, tsc_factor=0,
        )  # fmt: skip

    def key(self, number: int) -> bytes:
        """VMPCK `number`, 0 to 3."""
        return (self.vmpck0, self.vmpck1, self.vmpck2, self.vmpck3)[number]


SEQUENCES: Final = SecretsPage.OFFSETS["sequence0"]


class CpuidEntry(NamedTuple):
    """What CPUID shall answer for one function and sub-function."""

    function: int
    subfunction: int
    eax: int
    ebx: int
    ecx: int
    edx: int


class _CpuidHead(Record, size=16):
    count: int = u32()
    reserved_4: bytes = reserved(12)


class _CpuidRecord(Record, size=48):
    function: int = u32()
    subfunction: int = u32()
    xcr0: int = u64()
    xss: int = u64()
    eax: int = u32()
    ebx: int = u32()
    ecx: int = u32()
    edx: int = u32()
    reserved_28: bytes = reserved(8)


def cpuid_page(entries: Sequence[CpuidEntry]) -> bytes:
    """The page that a hypervisor hands in. ValueError for more than 64 entries."""
    if len(entries) > MOST_FUNCTIONS:
        raise ValueError(f"{len(entries)} CPUID functions: a page has room for {MOST_FUNCTIONS}")
    records = b"".join(_CpuidRecord(xcr0=0, xss=0, **one._asdict()).serialize() for one in entries)
    return (_CpuidHead(count=len(entries)).serialize() + records).ljust(PAGE, b"\0")


def parse_cpuid_page(page: bytes) -> list[CpuidEntry]:
    """The entries of a CPUID page. ParseError."""
    count = _CpuidHead.parse(page[: _CpuidHead.SIZE]).count
    if count > MOST_FUNCTIONS:
        raise ParseError("CPUID page", "count", 0, f"is {count}; a page has room for {MOST_FUNCTIONS}")
    places = range(_CpuidHead.SIZE, _CpuidHead.SIZE + count * _CpuidRecord.SIZE, _CpuidRecord.SIZE)
    records = [_CpuidRecord.parse(page[place : place + _CpuidRecord.SIZE], base=place) for place in places]
    return [CpuidEntry(one.function, one.subfunction, one.eax, one.ebx, one.ecx, one.edx) for one in records]
