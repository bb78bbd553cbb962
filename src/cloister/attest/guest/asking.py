"""Which way to a report this machine has."""

from dataclasses import dataclass
from pathlib import Path

from cloister.attest.guest.report import GuestReport
from cloister.attest.guest.sev_guest import DEVICE, ask_sev_guest
from cloister.attest.guest.tdx_guest import DEVICE as TDX_DEVICE
from cloister.attest.guest.tdx_guest import ask_tdx_guest
from cloister.attest.guest.tpm_commands import DEVICE as TPM_DEVICE
from cloister.attest.guest.tsm import REPORTS, ask_tsm
from cloister.errors import CannotProtect

__all__ = ["Interfaces", "ask"]


@dataclass(frozen=True, slots=True)
class Interfaces:
    """Where the kernel's interfaces are."""

    reports: Path = REPORTS
    sev_guest: Path = DEVICE
    tdx_guest: Path = TDX_DEVICE
    tpm: Path = TPM_DEVICE


def ask(
    report_data: bytes, interfaces: Interfaces = Interfaces(), *, privilege_level: int | None = None, service: str = ""
) -> GuestReport:
    """Evidence with `report_data`, 64 bytes, in it. CannotProtect says exactly what is missing; UsageError."""
    if interfaces.reports.is_dir():
        return ask_tsm(report_data, reports=interfaces.reports, privilege_level=privilege_level, service=service)
    if service:
        raise CannotProtect(f"{interfaces.reports} does not exist, and an SVSM is asked there only (Linux 6.10)")
    if interfaces.sev_guest.exists():
        return ask_sev_guest(report_data, device=interfaces.sev_guest, privilege_level=privilege_level or 0)
    if interfaces.tdx_guest.exists():
        return ask_tdx_guest(report_data, device=interfaces.tdx_guest)
    raise CannotProtect(_missing(interfaces))


def _missing(interfaces: Interfaces) -> str:
    tpm = "its TPM answers with --tpm, on Azure with the hardware's report; " if interfaces.tpm.exists() else ""
    return (
        f"this machine is no confidential guest that can ask for evidence: neither {interfaces.reports} (SNP, TDX and "
        f"CCA; Linux 6.7, configfs mounted: mount -t configfs none /sys/kernel/config) nor {interfaces.sev_guest} "
        f"(SNP) nor {interfaces.tdx_guest} (TDX) exists; {tpm}`cloister doctor` says more"
    )
