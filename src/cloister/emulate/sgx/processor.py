"""The part of the processor that SGX adds: what its instructions share. One logical processor.

Instructions are functions over a `Processor`, in `build`, `enter`, `paging`, `grow` and `keys`, named as in the manual.
Their operands are addresses, as in RBX, RCX and RDX: of the host's ordinary memory for what the host provides, and of
EPC pages. The host's addresses are physical here: its own page tables are not modelled for its own memory.
"""

from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloister.emulate.sgx.epcm import Enclave, Epcm, EpcPage
from cloister.emulate.sgx.outcomes import Fault
from cloister.emulate.sgx.structures import PageType, Secs
from cloister.measure.image import PAGE

__all__ = ["Fuses", "Processor", "ProcessorMemory", "Thread"]

ZEROS: Final = bytes(PAGE)


class ProcessorMemory(Protocol):
    """Physical memory as microcode reaches it: EPC pages in plaintext on die, ordinary pages as the host has them."""

    def epc(self, page: int, *, write: bool) -> memoryview:
        """The 4,096 bytes of an EPC page, decrypted. IntegrityFault."""

    def fill(self, page: int, content: bytes | memoryview) -> None:
        """Set all of an EPC page, whatever DRAM holds there."""

    def forget(self, page: int) -> None:
        """An EPC page's content is no longer anybody's."""

    def ordinary(self, page: int, *, write: bool) -> memoryview:
        """The 4,096 bytes of a page outside the EPC."""


@dataclass(frozen=True, slots=True)
class Fuses:
    """What makes this processor's keys its own: two secrets of 16 bytes, the owner's epoch, and CPUSVN."""

    root: bytes = field(repr=False)
    seal: bytes = field(repr=False)
    owner_epoch: bytes = field(repr=False)
    cpusvn: bytes


@dataclass(slots=True)
class Thread:
    """The thread that is inside an enclave: what EENTER keeps in registers that software does not see.

    `gpr` is the GPR area of the current SSA frame, which EENTER resolved: its EPC page; it ends with the page.
    """

    enclave: Enclave
    tcs: int
    tcs_address: int
    gpr: int
    aep: int
    outside_fs: int
    outside_gs: int


class Processor:
    """SGX state of one processor. `first` and `count` are the EPC's pages. `launch_key_hash` is IA32_SGXLEPUBKEYHASH.

    `paging` is the cipher of EWB and ELDU, under a key that is made when the processor starts and never leaves it.
    `thread` is who is inside an enclave, if anybody is.
    """

    def __init__(self, memory: ProcessorMemory, first: int, count: int, fuses: Fuses) -> None:
        self.memory, self.fuses = memory, fuses
        self.epcm = Epcm(first, count)
        self.enclaves: dict[int, Enclave] = {}
        self.thread: Thread | None = None
        self.paging = AESGCM(AESGCM.generate_key(128))
        self.launch_key_hash = bytes(32)
        self.next_eid = 1
        self.next_version = 1

    # ---- operands in ordinary memory

    def read(self, instruction: str, address: int, size: int, *, aligned: int = 1) -> bytes:
        """Bytes that the host provides. Fault if they are misaligned or in the EPC."""
        self._check_ordinary(instruction, address, size, aligned)
        offset = address % PAGE
        return bytes(self.memory.ordinary(address // PAGE, write=False)[offset : offset + size])

    def write(self, instruction: str, address: int, data: bytes, *, aligned: int = 1) -> None:
        """Bytes for the host. Fault if the place is misaligned or in the EPC."""
        self._check_ordinary(instruction, address, len(data), aligned)
        offset = address % PAGE
        self.memory.ordinary(address // PAGE, write=True)[offset : offset + len(data)] = data

    def _check_ordinary(self, instruction: str, address: int, size: int, aligned: int) -> None:
        if address % aligned:
            raise Fault(instruction, f"an operand at {address:#x} must be aligned to {aligned} bytes")
        if address % PAGE + size > PAGE:
            raise Fault(instruction, f"an operand of {size} bytes at {address:#x} crosses a page's end")
        if address // PAGE in self.epcm:
            raise Fault(instruction, f"an operand at {address:#x} is in the EPC", vector="#PF")

    # ---- operands in the EPC

    def epc_page(self, instruction: str, address: int) -> int:
        """The number of the EPC page at a page-aligned address. Fault."""
        page, offset = divmod(address, PAGE)
        if offset:
            raise Fault(instruction, f"{address:#x} is not aligned to a page")
        if page not in self.epcm:
            raise Fault(instruction, f"{address:#x} is not in the EPC", vector="#PF")
        return page

    def free_page(self, instruction: str, address: int) -> int:
        """An EPC page that is not valid yet. Fault."""
        page = self.epc_page(instruction, address)
        if self.epcm[page] is not None:
            raise Fault(instruction, f"EPC page {page:#x} is in use", vector="#PF")
        return page

    def valid_page(self, instruction: str, address: int, *types: PageType) -> tuple[int, EpcPage]:
        """An EPC page and its entry, of one of these types (none: any). Fault."""
        page = self.epc_page(instruction, address)
        entry = self.epcm[page]
        if entry is None:
            raise Fault(instruction, f"EPC page {page:#x} is not valid", vector="#PF")
        if types and entry.type not in types:
            wanted = " or ".join(one.name for one in types)
            raise Fault(instruction, f"EPC page {page:#x} is {entry.type.name}, not {wanted}", vector="#PF")
        return page, entry

    def enclave_of(self, instruction: str, secs_address: int) -> Enclave:
        """The enclave whose SECS is at an address. Fault."""
        _, entry = self.valid_page(instruction, secs_address, PageType.SECS)
        if entry.enclave is None:
            raise AssertionError("a SECS page without an enclave: ECREATE and ELDU set both")
        return entry.enclave

    # ---- SECS

    def secs(self, enclave: Enclave) -> Secs:
        """The SECS as it stands in its EPC page. IntegrityFault, ParseError if DRAM was changed unnoticed."""
        return Secs.parse(bytes(self.memory.epc(enclave.secs, write=False)))

    def set_secs(self, enclave: Enclave, secs: Secs) -> None:
        """Write the SECS to its EPC page."""
        self.memory.fill(enclave.secs, secs.serialize())

    def inside(self, instruction: str) -> Enclave:
        """The enclave that runs now. Fault for ENCLU leaves outside of one."""
        if self.thread is None:
            raise Fault(instruction, "not inside an enclave")
        return self.thread.enclave
