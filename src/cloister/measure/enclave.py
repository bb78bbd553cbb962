"""A program as an SGX enclave: which pages are added, where, with which permissions; and the MRENCLAVE they make.

ELRANGE is [0, 2^47), the half of a 48-bit address space that programs have. Programs linked to a fixed address stand at
0x400000, and the base must be a multiple of the size (SDM volume 3D, ECREATE), so a range that is large enough can only
begin at 0. It must hold all that the program will ever have: its stack ends at 2^47, and stack, heap and anonymous
memory are added after EINIT (EAUG by the host, EACCEPT by the enclave); they are not measured. What is not the
enclave's (the host's code, the address to exit to) stands at or above `ELRANGE_END`: the processor has 57-bit addresses
(five levels of page tables), and announces enclaves of 2^47 bytes or more (CPUID 12H.0:EDX[15:8]).

The pages, ascending, all measured completely:

    the image         REG, with the permissions of its segments
    2^38              TCS: one thread; FS and GS begin at the thread page, OENTRY is the program's first instruction
    2^38 + 0x1000     three SSA frames of one page, REG R W: an AEX may come while an earlier one is being handled
    2^38 + 0x4000     the thread page, REG R W, zeros: where FS and GS point until the program sets them
    2^38 + 0x5000     the start page, REG R: a StartRecord (cloister.measure.guest), so that what the program learns
                      of itself (headers, end) is measured and not the host's choice
"""

from dataclasses import dataclass
from typing import Final

from cloister._wire import Record, reserved, u32, u64
from cloister.errors import CannotEnclave
from cloister.measure.guest import StartRecord
from cloister.measure.image import HIGHEST, PAGE, Architecture, Image, Permission
from cloister.measure.sgx import EnclaveMeasurement, SecinfoFlags
from cloister.model import Digest

__all__ = ["ELRANGE_END", "EnclaveLayout", "EnclavePage", "Tcs", "mrenclave"]

BASE: Final = 0
SIZE: Final = 1 << 47
ELRANGE_END: Final = BASE + SIZE
SSA_FRAME_PAGES: Final = 1
SSA_FRAMES: Final = 3
SEGMENT_LIMIT: Final = 0xFFF
"""FSLIMIT and GSLIMIT: without meaning in 64-bit mode, but their low 12 bits are ones in every TCS."""

DATA: Final = SecinfoFlags.REG | SecinfoFlags.READ | SecinfoFlags.WRITE


class Tcs(Record, size=4096):
    """Thread control structure (SDM volume 3D, section 38.8). Addresses are offsets from the enclave's base."""

    state: int = u64()
    flags: int = u64()
    ossa: int = u64()
    cssa: int = u32()
    nssa: int = u32()
    oentry: int = u64()
    aep: int = u64()
    ofsbase: int = u64()
    ogsbase: int = u64()
    fslimit: int = u32()
    gslimit: int = u32()
    reserved_72: bytes = reserved(4024)


@dataclass(frozen=True, slots=True)
class EnclavePage:
    """One page to EADD and EEXTEND: its offset from the base, its SECINFO flags, its 4,096 bytes."""

    offset: int
    flags: SecinfoFlags
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveLayout:
    """An enclave before EINIT. `tcs`, `ssa`, `thread` and `start` are linear addresses; sizes are in bytes.

    `pages` ascend: the machine adds exactly these, in this order.
    """

    base: int
    size: int
    ssa_frame_pages: int
    ssa_frames: int
    tcs: int
    ssa: int
    thread: int
    start: int
    pages: tuple[EnclavePage, ...]

    @classmethod
    def of(cls, image: Image) -> "EnclaveLayout":
        """The layout of an x86-64 image. CannotEnclave if it is for another processor or reaches too far."""
        if image.architecture is not Architecture.X86_64:
            raise CannotEnclave(f"SGX enclaves run x86-64 programs; this one is for {image.architecture}")
        if image.pages[-1].address >= HIGHEST:
            raise CannotEnclave(f"the image reaches {image.pages[-1].address:#x}; enclaves hold it below {HIGHEST:#x}")
        tcs = HIGHEST
        ssa = tcs + PAGE
        thread = ssa + SSA_FRAMES * SSA_FRAME_PAGES * PAGE
        start = thread + PAGE
        frames = (EnclavePage(place - BASE, DATA, bytes(PAGE)) for place in range(ssa, thread, PAGE))
        pages = (
            *(EnclavePage(page.address - BASE, _flags(page.permission), page.content) for page in image.pages),
            EnclavePage(tcs - BASE, SecinfoFlags.TCS, _tcs(image.entry, ssa, thread).serialize()),
            *frames,
            EnclavePage(thread - BASE, DATA, bytes(PAGE)),
            EnclavePage(
                start - BASE,
                SecinfoFlags.REG | SecinfoFlags.READ,
                StartRecord.of(image).serialize().ljust(PAGE, b"\0"),
            ),
        )
        return cls(
            base=BASE,
            size=SIZE,
            ssa_frame_pages=SSA_FRAME_PAGES,
            ssa_frames=SSA_FRAMES,
            tcs=tcs,
            ssa=ssa,
            thread=thread,
            start=start,
            pages=pages,
        )

    def measure(self) -> Digest:
        """MRENCLAVE after EADD and 16 EEXTEND of every page, in order."""
        running = EnclaveMeasurement.ecreate(self.ssa_frame_pages, self.size)
        for page in self.pages:
            running.add_page(page.offset, page.flags, page.content)
        return running.digest()


def mrenclave(image: Image) -> Digest:
    """MRENCLAVE of the program as an enclave. CannotEnclave as `EnclaveLayout.of`."""
    return EnclaveLayout.of(image).measure()


def _flags(permission: Permission) -> SecinfoFlags:
    """A REG page's flags: the permission bits of SECINFO are those of `Permission`."""
    if permission & Permission.WRITE and not permission & Permission.READ:
        raise ValueError("EADD refuses a page that may be written and not read")
    return SecinfoFlags.REG | SecinfoFlags(int(permission))


def _tcs(entry: int, ssa: int, thread: int) -> Tcs:
    return Tcs(
        state=0,
        flags=0,
        ossa=ssa - BASE,
        cssa=0,
        nssa=SSA_FRAMES,
        oentry=entry - BASE,
        aep=0,
        ofsbase=thread - BASE,
        ogsbase=thread - BASE,
        fslimit=SEGMENT_LIMIT,
        gslimit=SEGMENT_LIMIT,
    )
