"""Hardware TEEs this machine may be inside: a confidential guest that can ask for evidence."""

from cloister.doctor import processor
from cloister.doctor.check import Check, Command, Group, NoFix, Topic
from cloister.doctor.machine import Machine, Text
from cloister.doctor.processor import NoProcessor, Processor

__all__ = ["guest_checks"]

NOT_A_GUEST = NoFix(reason="this machine is not such a guest; rent or start one")
TSM_REPORTS = "/sys/kernel/config/tsm/report"
CCA_DEVICES = ("/sys/bus/platform/devices/arm-cca-dev", "/sys/bus/auxiliary/devices/arm_cca_guest.arm-rsi-dev.0")

SNP_GUEST = Topic(
    name="snp_guest",
    group=Group.GUEST,
    title="AMD SEV-SNP guest",
    matters="The security processor signs reports about this virtual machine.",
)
TDX_GUEST = Topic(
    name="tdx_guest",
    group=Group.GUEST,
    title="Intel TDX guest",
    matters="This machine is a trust domain: the hypervisor cannot read it.",
)
CCA_GUEST = Topic(
    name="cca_guest",
    group=Group.GUEST,
    title="Arm CCA realm",
    matters="This machine is a realm: the hypervisor cannot read it.",
)
TSM = Topic(
    name="tsm",
    group=Group.GUEST,
    title="configfs-tsm reports",
    matters="The kernel's one interface to evidence of SNP, TDX and CCA guests.",
)


def guest_checks(machine: Machine, cpuid: Processor | NoProcessor) -> list[Check]:
    """One per kind of guest, and the interface they share."""
    snp = machine.device(SNP_GUEST, "/dev/sev-guest", absent=NOT_A_GUEST)
    return [snp, tdx_guest(machine, cpuid), cca_guest(machine), tsm(machine)]


def tdx_guest(machine: Machine, cpuid: Processor | NoProcessor) -> Check:
    """The signature in CPUID leaf 21H says where we are; the device, whether evidence can be had."""
    inside = isinstance(cpuid, Processor) and processor.in_tdx_guest(cpuid)
    absent = Command(text="sudo modprobe tdx_guest") if inside else NOT_A_GUEST
    return machine.device(TDX_GUEST, "/dev/tdx_guest", absent=absent)


def cca_guest(machine: Machine) -> Check:
    """The kernel registers a device in a realm; its name has changed between releases."""
    for device in CCA_DEVICES:
        if machine.at(device).exists():
            return CCA_GUEST.ok(f"{device} exists")
    return CCA_GUEST.missing("no Arm CCA device", NOT_A_GUEST)


def tsm(machine: Machine) -> Check:
    """The directory in which a report is asked for by making a subdirectory (ABI/testing/configfs-tsm)."""
    if machine.at(TSM_REPORTS).is_dir():
        return TSM.ok(f"{TSM_REPORTS} exists")
    mounted = machine.read("/proc/mounts")
    if isinstance(mounted, Text) and " configfs " not in mounted.value:
        return TSM.missing(
            "configfs is not mounted", Command(text="sudo mount -t configfs none /sys/kernel/config   # in a guest")
        )
    return TSM.missing(f"{TSM_REPORTS} does not exist", NOT_A_GUEST)
