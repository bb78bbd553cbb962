"""The VM save area: the registers with which a virtual processor starts, as they are measured.

AMD APM volume 2, table B-4 (layout); virtee/sev-snp-measure vmsa.py (values). Every hypervisor starts processors a
little differently, so the measurement depends on which one it is.
"""

import struct
from enum import StrEnum
from typing import Final

__all__ = ["CPU_MODELS", "Vmm", "cpu_signature", "guest_vmsa", "svsm_vmsa", "vmsa"]

PAGE: Final = 4096
FIRST_EIP: Final = 0xFFFF_FFF0
"""Where the first processor starts: the reset vector."""

SNP_ACTIVE: Final = 1
PAT: Final = 0x0007_0406_0007_0406
GCE_PAT: Final = 0x0007_0106
MXCSR: Final = 0x1F80
FCW: Final = 0x37F
OTHER_RDX: Final = 0x600
"""What EC2 and GCE put into RDX, where QEMU has the CPUID signature."""

SEGMENTS: Final = {
    name: 16 * i for i, name in enumerate(("es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr"))
}
"""Where the segment registers stand, 16 bytes each."""

REGISTERS: Final = {
    "cpl": (0xCB, "B"),
    "efer": (0xD0, "Q"), "cr4": (0x148, "Q"), "cr0": (0x158, "Q"), "dr7": (0x160, "Q"), "dr6": (0x168, "Q"),
    "rflags": (0x170, "Q"), "rip": (0x178, "Q"), "g_pat": (0x268, "Q"), "rdx": (0x310, "Q"),
    "sev_features": (0x3B0, "Q"), "xcr0": (0x3E8, "Q"), "mxcsr": (0x408, "I"), "x87_fcw": (0x410, "H"),
}  # fmt: skip
"""Offset and size of those that are not zero at the start."""

RESET: Final = {"efer": 0x1000, "cr4": 0x40, "dr7": 0x400, "dr6": 0xFFFF_0FF0, "rflags": 2, "xcr0": 1}
"""Alike everywhere. KVM sets EFER.SVME and CR4.MCE by itself."""


class Vmm(StrEnum):
    """Hypervisors whose initial processor state is known."""

    QEMU = "qemu"
    EC2 = "ec2"
    GCE = "gce"


def cpu_signature(family: int, model: int, stepping: int) -> int:
    """CPUID Fn0000_0001_EAX (AMD document 25481): what RDX is at the start, under QEMU."""
    low, high = (0xF, family - 0xF) if family > 0xF else (family, 0)
    return high << 20 | (model >> 4) << 16 | low << 8 | (model & 0xF) << 4 | stepping


CPU_MODELS: Final = {
    "EPYC": cpu_signature(23, 1, 2),
    "EPYC-Rome": cpu_signature(23, 49, 0),
    "EPYC-Milan": cpu_signature(25, 1, 1),
    "EPYC-Genoa": cpu_signature(25, 17, 0),
    "EPYC-Turin": cpu_signature(26, 0, 0),
}
"""QEMU's processor models (target/i386/cpu.c). Their numbered versions have the same signature."""


def vmsa(eip: int, *, cpu: int, features: int, vmm: Vmm) -> bytes:
    """The save area of one processor, 4096 bytes.

    `eip` is where it starts, `cpu` its CPUID signature, `features` SEV_FEATURES (0 for SEV-ES).
    """
    first = eip == FIRST_EIP
    segments = dict.fromkeys(SEGMENTS, (0, 0x93, 0xFFFF, 0)) | {
        "cs": (0xF000, 0x9A if vmm is Vmm.EC2 and first else 0x9B, 0xFFFF, eip & 0xFFFF_0000),
        "ss": (0, 0x92 if vmm is Vmm.EC2 else 0x93, 0xFFFF, 0),
        "gdtr": (0, 0, 0xFFFF, 0), "idtr": (0, 0, 0xFFFF, 0), "ldtr": (0, 0x82, 0xFFFF, 0),
        "tr": (0, 0x83 if vmm is Vmm.EC2 else 0x8B, 0xFFFF, 0),
    }  # fmt: skip
    qemu = vmm is Vmm.QEMU
    return _page(segments, RESET | {
        "cr0": 0x10, "rip": eip & 0xFFFF, "sev_features": features, "g_pat": GCE_PAT if vmm is Vmm.GCE else PAT,
        "rdx": cpu if qemu else OTHER_RDX, "mxcsr": MXCSR * qemu, "x87_fcw": FCW * qemu,
    })  # fmt: skip


def svsm_vmsa(eip: int, *, cpu: int) -> bytes:
    """The save area of a processor that starts in Coconut-SVSM under QEMU: flat 32-bit protected mode.

    The x87 control word is zero, as in virtee/sev-snp-measure, whose vectors are the only public ones.
    """
    flat = (0x10, 0xC93, 0xFFFF_FFFF, 0)
    segments = {
        "es": flat, "cs": (8, 0xC9B, 0xFFFF_FFFF, 0), "ss": flat, "ds": flat, "fs": flat, "gs": (0, 0x93, 0xFFFF, 0),
        "gdtr": (0, 0, 0xFFFF, 0), "idtr": (0, 0, 0xFFFF, 0), "ldtr": (0, 0x82, 0xFFFF, 0), "tr": (0, 0x8B, 0xFFFF, 0),
    }  # fmt: skip
    return _page(segments, RESET | {
        "cr0": 0x11, "rip": eip, "sev_features": SNP_ACTIVE, "g_pat": PAT, "rdx": cpu, "mxcsr": MXCSR,
    })  # fmt: skip


def guest_vmsa(entry: int, *, features: int) -> bytes:
    """The save area of a guest that starts in a program, without firmware or kernel: 64-bit mode, privilege level 3.

    As Linux enters a program: flat segments, paging, SSE and FSGSBASE on. CR3 is zero, since the emulated guest makes
    its page tables from its boot parameters; all other registers are zero too, the stack pointer included, which the
    guest sets before the first instruction.
    """
    flat = (0x2B, 0xCF3, 0xFFFF_FFFF, 0)
    segments = {
        "es": flat, "cs": (0x33, 0xAFB, 0xFFFF_FFFF, 0), "ss": flat, "ds": flat, "fs": flat, "gs": flat,
        "gdtr": (0, 0, 0xFFFF, 0), "idtr": (0, 0, 0xFFFF, 0), "ldtr": (0, 0x82, 0xFFFF, 0), "tr": (0, 0x8B, 0xFFFF, 0),
    }  # fmt: skip
    return _page(segments, RESET | {
        "cpl": 3, "cr0": 0x8005_0033, "cr4": 0x1_0660, "efer": 0x1D01, "rip": entry, "sev_features": features,
        "g_pat": PAT, "mxcsr": MXCSR, "x87_fcw": FCW,
    })  # fmt: skip


def _page(segments: dict[str, tuple[int, int, int, int]], registers: dict[str, int]) -> bytes:
    page = bytearray(PAGE)
    for name, (selector, attributes, limit, base) in segments.items():
        struct.pack_into("<HHIQ", page, SEGMENTS[name], selector, attributes, limit, base)
    for name, value in registers.items():
        offset, code = REGISTERS[name]
        struct.pack_into(f"<{code}", page, offset, value)
    return bytes(page)
