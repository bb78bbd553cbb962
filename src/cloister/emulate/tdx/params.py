"""TD_PARAMS: what the host decides about a TD before it exists, and what of it the module accepts.

Intel TDX Module 1.5 ABI specification, table TD_PARAMS; intel/tdx-module, tdh_mng_init.c for the checks. Attributes,
XFAM and the three identifiers stand in every report: a verifier sees what the host chose.
"""

from enum import IntFlag
from typing import Final

from cloister._wire import Record, raw, reserved, u8, u16, u64
from cloister.emulate.tdx.calls import CallFailed, Operand, Seamcall, Status

__all__ = ["Attribute", "TdParams", "default_params"]

SUM: Final = 48
"""Bytes of MRCONFIGID, MROWNER, MROWNERCONFIG."""

XFAM_ALLOWED: Final = 0x6DBE7
XFAM_FIXED: Final = 3
"""x87 and SSE are always there."""

EPTP_CONTROLS: Final = 6 | 3 << 3
"""Memory type write-back, a walk of four levels."""

RBP_UNTOUCHED: Final = 1 << 2
TSC: Final = range(4, 401)
"""The TD's time stamp counter, in units of 25 MHz."""


class Attribute(IntFlag):
    """TD attributes that the emulated module knows."""

    DEBUG = 1 << 0  # the host may read and write the TD's memory and registers
    SEPT_VE_DISABLE = 1 << 28  # touching a PENDING page exits to the host instead of a #VE in the TD


class TdParams(Record, size=1024):
    """TD_PARAMS. `cpuid_config` is the host's part of virtual CPUID; this machine has one processor model only."""

    attributes: int = u64()
    xfam: int = u64()
    max_vcpus: int = u16()
    num_l2_vms: int = u8(equals=0)
    msr_config_ctls: int = u8(equals=0)
    reserved_20: bytes = reserved(4)
    eptp_controls: int = u64()
    config_flags: int = u64()
    tsc_frequency: int = u16()
    reserved_42: bytes = reserved(38)
    mrconfigid: bytes = raw(SUM)
    mrowner: bytes = raw(SUM)
    mrownerconfig: bytes = raw(SUM)
    ia32_arch_capabilities_config: int = u64()
    reserved_232: bytes = reserved(24)
    cpuid_config: bytes = raw(768)

    def check(self) -> None:
        """CallFailed for what the module does not accept."""
        known = Attribute.DEBUG | Attribute.SEPT_VE_DISABLE
        faults = (
            (self.attributes & ~known, Operand.ATTRIBUTES, f"attributes {self.attributes:#x}: {known:#x} are known"),
            (
                self.xfam & ~XFAM_ALLOWED or ~self.xfam & XFAM_FIXED,
                Operand.XFAM,
                f"XFAM {self.xfam:#x}: bits 0 and 1 are needed, others of {XFAM_ALLOWED:#x} allowed",
            ),
            (not self.max_vcpus, Operand.MAX_VCPUS, "a TD has at least one virtual processor"),
            (self.eptp_controls != EPTP_CONTROLS, Operand.EPTP_CONTROLS, f"only {EPTP_CONTROLS:#x} is emulated"),
            (self.config_flags & ~RBP_UNTOUCHED, Operand.CONFIG_FLAGS, "GPAW 48 and ordinary #VE only"),
            (self.tsc_frequency not in TSC, Operand.TSC_FREQUENCY, f"{self.tsc_frequency}: 4 to 400 times 25 MHz"),
        )
        for wrong, operand, reason in faults:
            if wrong:
                raise CallFailed(Seamcall.MNG_INIT, Status.OPERAND_INVALID, reason, operand)

    @property
    def rbp_untouched(self) -> bool:
        """Whether TDG.VP.VMCALL may not pass RBP."""
        return bool(self.config_flags & RBP_UNTOUCHED)


def default_params(
    *,
    debug: bool = False,
    mrconfigid: bytes = bytes(SUM),
    mrowner: bytes = bytes(SUM),
    mrownerconfig: bytes = bytes(SUM),
) -> TdParams:
    """What this project's hypervisor asks for: one processor, x87 and SSE, no #VE for PENDING pages."""
    return TdParams(
        attributes=Attribute.SEPT_VE_DISABLE | (Attribute.DEBUG if debug else 0),
        xfam=XFAM_FIXED,
        max_vcpus=1,
        num_l2_vms=0,
        msr_config_ctls=0,
        eptp_controls=EPTP_CONTROLS,
        config_flags=0,
        tsc_frequency=100,
        mrconfigid=mrconfigid,
        mrowner=mrowner,
        mrownerconfig=mrownerconfig,
        ia32_arch_capabilities_config=0,
        cpuid_config=bytes(768),
    )
