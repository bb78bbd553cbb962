"""What CPUID says about hardware TEEs, decoded. Pure: registers in, facts out.

Sources: Intel SDM volume 3D, chapter 36 (leaves 7 and 12H); AMD APM volume 3, appendix E (leaf 8000_001FH);
Intel TDX module specification, "CPUID virtualization" (leaf 21H).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "LEAVES",
    "Amd",
    "Leaf",
    "NoProcessor",
    "Processor",
    "Registers",
    "Sgx",
    "amd",
    "in_tdx_guest",
    "sgx",
]


class Leaf(NamedTuple):
    """A CPUID question: EAX and ECX."""

    number: int
    sub: int = 0


class Registers(NamedTuple):
    """A CPUID answer."""

    eax: int
    ebx: int
    ecx: int
    edx: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Processor:
    """Answers to `LEAVES`, and where they came from."""

    source: str
    registers: Mapping[Leaf, Registers]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoProcessor:
    """Why CPUID could not be asked."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sgx:
    """SGX as the processor offers it. `epc` is the protected memory in bytes, all sections together."""

    supported: bool
    launch_control: bool
    sgx1: bool
    sgx2: bool
    epc: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Amd:
    """AMD memory encryption. `c_bit` is the page-table bit that marks a page as encrypted."""

    sme: bool
    sev: bool
    sev_es: bool
    sev_snp: bool
    c_bit: int
    asids: int
    first_non_es_asid: int


BASIC = Leaf(0)
EXTENDED = Leaf(0x80000000)
FEATURES = Leaf(7)
SGX_CAPABILITIES = Leaf(0x12)
EPC_SECTIONS = tuple(Leaf(0x12, section) for section in range(2, 10))
TDX = Leaf(0x21)
AMD_ENCRYPTION = Leaf(0x8000001F)
LEAVES = (BASIC, EXTENDED, FEATURES, SGX_CAPABILITIES, *EPC_SECTIONS, TDX, AMD_ENCRYPTION)

TDX_SIGNATURE = b"IntelTDX    "


def sgx(processor: Processor) -> Sgx:
    """Leaf 7 says whether, leaf 12H says how much."""
    features = _leaf(processor, FEATURES)
    if not features.ebx >> 2 & 1:
        return Sgx(supported=False, launch_control=False, sgx1=False, sgx2=False, epc=0)
    capabilities = _leaf(processor, SGX_CAPABILITIES)
    return Sgx(
        supported=True,
        launch_control=bool(features.ecx >> 30 & 1),
        sgx1=bool(capabilities.eax & 1),
        sgx2=bool(capabilities.eax >> 1 & 1),
        epc=sum(_epc_section(_leaf(processor, leaf)) for leaf in EPC_SECTIONS),
    )


def amd(processor: Processor) -> Amd:
    """Leaf 8000_001FH."""
    leaf = _leaf(processor, AMD_ENCRYPTION)
    return Amd(
        sme=bool(leaf.eax & 1),
        sev=bool(leaf.eax >> 1 & 1),
        sev_es=bool(leaf.eax >> 3 & 1),
        sev_snp=bool(leaf.eax >> 4 & 1),
        c_bit=leaf.ebx & 0x3F,
        asids=leaf.ecx,
        first_non_es_asid=leaf.edx,
    )


def in_tdx_guest(processor: Processor) -> bool:
    """Leaf 21H carries a signature inside a trust domain, and nothing elsewhere."""
    leaf = _leaf(processor, TDX)
    return _text(leaf.ebx, leaf.edx, leaf.ecx) == TDX_SIGNATURE


def _leaf(processor: Processor, leaf: Leaf) -> Registers:
    """Zeros for a leaf beyond the processor's last one: Intel answers such a question with another leaf's data."""
    first = processor.registers[EXTENDED if leaf.number >= EXTENDED.number else BASIC]
    return processor.registers[leaf] if leaf.number <= first.eax else Registers(0, 0, 0, 0)


def _epc_section(section: Registers) -> int:
    """The size in bytes of one EPC section; type 1 in the low bits of EAX marks a real one."""
    if section.eax & 0xF != 1:
        return 0
    return (section.edx & 0xFFFFF) << 32 | section.ecx & 0xFFFFF000


def _text(*registers: int) -> bytes:
    return b"".join(register.to_bytes(4, "little") for register in registers)
