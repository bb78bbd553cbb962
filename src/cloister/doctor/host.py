"""Hardware TEEs this machine could host: virtual machines and enclaves that it would start for others."""

from cloister.doctor import kernel_unsafe, processor
from cloister.doctor.check import Check, Command, Fix, Group, NoFix, Topic
from cloister.doctor.child import ProbeFailed, ask
from cloister.doctor.machine import Machine, Text
from cloister.doctor.processor import NoProcessor, Processor
from cloister.quantities import human_size

__all__ = ["host_checks"]

ASK_CPUID = Command(text="sudo modprobe cpuid && sudo cloister doctor")
NOT_THIS_PROCESSOR = NoFix(reason="this processor, or the hypervisor above this machine, does not offer it")
FIRMWARE = NoFix(reason="enable it in the firmware (BIOS) setup; the processor itself has it")

KVM = Topic(
    name="kvm",
    group=Group.HOST,
    title="KVM",
    matters="Confidential virtual machines (SEV, TDX, CCA) are started through it.",
)
SGX = Topic(
    name="sgx",
    group=Group.HOST,
    title="Intel SGX",
    matters="Enclaves in an encrypted part of memory (the EPC) that the operating system cannot read.",
)
SGX_ENCLAVE = Topic(
    name="sgx_enclave",
    group=Group.HOST,
    title="SGX: may start enclaves",
    matters="The device through which a process creates an enclave.",
)
SGX_PROVISION = Topic(
    name="sgx_provision",
    group=Group.HOST,
    title="SGX: may attest",
    matters="Needed by the quoting enclave, which signs evidence.",
)
SME = Topic(
    name="sme",
    group=Group.HOST,
    title="AMD memory encryption",
    matters="SME encrypts all memory against theft of the chips; the C-bit marks encrypted pages.",
)
SEV = Topic(
    name="sev",
    group=Group.HOST,
    title="AMD SEV, SEV-ES, SEV-SNP",
    matters="Each confidential virtual machine has its own key; ASIDs bound how many run at once.",
)
SEV_DEVICE = Topic(
    name="sev_device",
    group=Group.HOST,
    title="AMD security processor",
    matters="It launches SEV guests and holds the platform's certificate chain.",
)
TDX = Topic(
    name="tdx_host",
    group=Group.HOST,
    title="Intel TDX",
    matters="Trust domains: virtual machines that the hypervisor cannot read.",
)
TPM = Topic(
    name="tpm",
    group=Group.HOST,
    title="TPM 2.0",
    matters="Can hold the key that signs what this machine attests, and measures how it booted.",
)


def host_checks(machine: Machine, cpuid: Processor | NoProcessor) -> list[Check]:
    """Everything but what only a guest can see."""
    return [
        kvm(machine),
        sgx(cpuid),
        machine.device(SGX_ENCLAVE, "/dev/sgx_enclave", absent=_sgx_absent(cpuid)),
        machine.device(SGX_PROVISION, "/dev/sgx_provision", absent=_sgx_absent(cpuid)),
        sme(cpuid),
        sev(machine, cpuid),
        machine.device(SEV_DEVICE, "/dev/sev", absent=_sev_absent(cpuid)),
        tdx(machine),
        tpm(machine),
    ]


def kvm(machine: Machine) -> Check:
    """Open /dev/kvm and ask for its API version, which has been 12 since 2007."""
    modules = Command(text="sudo modprobe kvm_intel || sudo modprobe kvm_amd")
    found = machine.device(KVM, "/dev/kvm", absent=modules)
    if not machine.opens("/dev/kvm"):
        return found
    try:
        answer = ask(lambda: kernel_unsafe.kvm_version(str(machine.at("/dev/kvm"))))
    except ProbeFailed as error:
        return KVM.unknown(f"/dev/kvm opens, but does not answer: {error}", modules)
    return KVM.ok(f"/dev/kvm answers with API version {answer['version']}")


def sgx(cpuid: Processor | NoProcessor) -> Check:
    """CPUID leaf 7 says whether, leaf 12H how much."""
    if isinstance(cpuid, NoProcessor):
        return SGX.unknown(cpuid.reason, ASK_CPUID)
    found = processor.sgx(cpuid)
    if not found.supported:
        return SGX.missing(f"{cpuid.source}: leaf 7 has no SGX bit", NOT_THIS_PROCESSOR)
    if not found.epc:
        return SGX.missing(f"{cpuid.source}: SGX, but no EPC section", FIRMWARE)
    generation = "SGX2" if found.sgx2 else "SGX1"
    control = "flexible" if found.launch_control else "locked"
    return SGX.ok(f"{cpuid.source}: {generation}, EPC {human_size(found.epc)}, launch control {control}")


def sme(cpuid: Processor | NoProcessor) -> Check:
    """CPUID leaf 8000_001FH."""
    if isinstance(cpuid, NoProcessor):
        return SME.unknown(cpuid.reason, ASK_CPUID)
    found = processor.amd(cpuid)
    if not found.sme:
        return SME.missing(f"{cpuid.source}: leaf 8000001F has no SME bit", NOT_THIS_PROCESSOR)
    return SME.ok(f"{cpuid.source}: SME, C-bit at position {found.c_bit}")


def sev(machine: Machine, cpuid: Processor | NoProcessor) -> Check:
    """What the processor can do, and what the kvm_amd module was started with."""
    if isinstance(cpuid, NoProcessor):
        return SEV.unknown(cpuid.reason, ASK_CPUID)
    found = processor.amd(cpuid)
    if not found.sev:
        return SEV.missing(f"{cpuid.source}: leaf 8000001F has no SEV bit", NOT_THIS_PROCESSOR)
    kinds = ["SEV"] + ["SEV-ES"] * found.sev_es + ["SEV-SNP"] * found.sev_snp
    offered = f"{cpuid.source}: {', '.join(kinds)}; C-bit {found.c_bit}, {found.asids} ASIDs, "
    offered += f"{max(found.first_non_es_asid - 1, 0)} of them for SEV-ES and SNP"
    enabled = [kind for kind in ("sev", "sev_es", "sev_snp") if _parameter(machine, "kvm_amd", kind)]
    if not enabled:
        fix = Command(text="sudo modprobe -r kvm_amd && sudo modprobe kvm_amd sev=1 sev_es=1 sev_snp=1")
        return SEV.missing(f"{offered}; kvm_amd has none of them enabled", fix)
    return SEV.ok(f"{offered}; kvm_amd enables {', '.join(enabled)}")


def tdx(machine: Machine) -> Check:
    """A host is told by its kernel module: CPUID does not say whether the TDX module was loaded."""
    if _parameter(machine, "kvm_intel", "tdx"):
        return TDX.ok("kvm_intel has tdx enabled")
    if isinstance(machine.read("/sys/module/kvm_intel/parameters/tdx"), Text):
        fix = Command(text="sudo modprobe -r kvm_intel && sudo modprobe kvm_intel tdx=1")
        return TDX.missing("kvm_intel knows TDX and has it disabled", fix)
    return TDX.missing("kvm_intel has no tdx parameter", NOT_THIS_PROCESSOR)


def tpm(machine: Machine) -> Check:
    """The resource manager's device, and the version the kernel reports."""
    version = machine.read("/sys/class/tpm/tpm0/tpm_version_major")
    if isinstance(version, Text) and version.value != "2":
        return TPM.missing(
            f"the TPM is version {version.value}", NoFix(reason="only TPM 2.0 can attest with modern keys")
        )
    return machine.device(TPM, "/dev/tpmrm0", absent=NoFix(reason="no TPM 2.0, or it is disabled in the firmware"))


def _parameter(machine: Machine, module: str, name: str) -> bool:
    value = machine.read(f"/sys/module/{module}/parameters/{name}")
    return isinstance(value, Text) and value.value in ("Y", "1")


def _sgx_absent(cpuid: Processor | NoProcessor) -> Fix:
    if isinstance(cpuid, Processor) and processor.sgx(cpuid).supported:
        return FIRMWARE
    return NOT_THIS_PROCESSOR


def _sev_absent(cpuid: Processor | NoProcessor) -> Fix:
    if isinstance(cpuid, Processor) and processor.amd(cpuid).sev:
        return Command(text="sudo modprobe ccp")
    return NOT_THIS_PROCESSOR
