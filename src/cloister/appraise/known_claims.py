"""What is known of claims by their names: which AR4SI claim they bear on, which of them says what program runs.

Names are those of `appraise/<tee>.py`. A claim that is not listed is taken as configuration, never as the program.
"""

import re
from collections.abc import Mapping
from typing import Final

from cloister.model import Tee

__all__ = [
    "CONFIGURATION",
    "EVERYWHERE",
    "EXECUTABLES",
    "HARDWARE",
    "IDENTITY",
    "KNOWN",
    "MACHINES",
    "PROGRAM",
    "SIGNERS",
    "SIZES",
    "decides_by_default",
    "is_known",
    "names_program",
]

EXECUTABLES: Final = "executables"
CONFIGURATION: Final = "configuration"
HARDWARE: Final = "hardware"
IDENTITY: Final = "instance_identity"

EVERYWHERE: Final = frozenset({"tee", "tcb_status", "tcb_date", "advisories", "anchor", "anchor_kind", "debug"})
"""Claims that every TEE has."""

PCRS: Final = frozenset(f"pcr{number}" for number in range(24))
RTMRS: Final = frozenset(f"rtmr{number}" for number in range(4))
REMS: Final = frozenset(f"rem{number}" for number in range(4))

PROGRAM: Final[Mapping[Tee, frozenset[str]]] = {
    Tee.SOFTWARE: frozenset({"measurement"}),
    Tee.SGX: frozenset({"mrenclave"}),
    Tee.TDX: frozenset({"mrtd"}),
    Tee.SNP: frozenset({"measurement"}),
    Tee.SEV: frozenset({"launch_digest"}),
    Tee.CCA: frozenset({"rim"}),
    Tee.KEYSTONE: frozenset({"enclave_hash"}),
    Tee.TPM: PCRS,
}
"""The measurement of what was launched. Without a rule that pins one of these, nobody said which program may run."""

SIGNERS: Final = frozenset({"mrsigner", "id_key_digest", "author_key_digest"})
"""Who signed what was launched. A rule may let these stand for the program: `decides = "executables"`."""

SOFTWARE: Final = (
    frozenset({"mrseam", "mrsignerseam", "mrservicetd", "sm_hash", "sm_public_key", "software_components", "events"})
    | frozenset({"isvsvn", "guest_svn", "executable", "libraries", "loaded", "runtime", "kernel", "pcr_digest"})
    | RTMRS
    | REMS
    | PCRS
)
"""Beside the launch measurement: firmware, what was extended while running, how old the software is."""

IDENTITIES: Final = frozenset(
    {
        "mrsigner", "isvprodid", "isvfamilyid", "isvextprodid", "mrowner", "mrownerconfig", "id_key_digest",
        "author_key_digest", "family_id", "image_id", "chip_id", "report_id", "report_id_ma", "instance_id",
        "realm_instance_id", "implementation_id", "device_key", "ak", "ak_certificate", "hwid", "csp_id", "anchor",
        "anchor_kind", "ppid", "platform_instance_id", "key_id", "boot_id", "qualified_signer",
    }
)  # fmt: skip

PLATFORM: Final = frozenset(
    {
        "tcb_status", "tcb_date", "advisories", "cpusvn", "pcesvn", "pce_id", "fmspc", "tee_tcb_svn", "tee_tcb_svn2",
        "platform_components", "tcb_evaluation_data_number", "collateral_expires", "qe_isvsvn", "reported_tcb",
        "committed_tcb", "current_tcb", "launch_tcb", "product", "lifecycle", "firmware_version", "hardware",
    }
)  # fmt: skip
"""How good the hardware and its firmware are."""

MACHINES: Final = frozenset({Tee.TDX, Tee.SNP, Tee.SEV, Tee.CCA, Tee.TPM})
"""What is measured when these are launched is a machine's boot, not all that it loads later."""

SIZES: Final[Mapping[str, int]] = {
    "mrenclave": 32, "mrsigner": 32, "mrtd": 48, "mrseam": 48, "mrsignerseam": 48, "mrservicetd": 48, "mrconfigid": 48,
    "mrowner": 48, "mrownerconfig": 48, "rtmr0": 48, "rtmr1": 48, "rtmr2": 48, "rtmr3": 48, "id_key_digest": 48,
    "author_key_digest": 48, "host_data": 32, "chip_id": 64, "enclave_hash": 64, "sm_hash": 64, "launch_digest": 32,
}  # fmt: skip
"""Bytes of claims that have one size, so that a value which can never match is found before it refuses everything."""

DCAP: Final = frozenset(
    {
        "quote_version", "report_data", "qe_isvsvn", "fmspc", "pce_id", "platform_components", "pcesvn", "ppid",
        "platform_instance_id", "configuration", "tcb_evaluation_data_number", "collateral_expires",
    }
)  # fmt: skip
TCB_PARTS: Final = ("", "_bootloader", "_tee", "_snp", "_microcode", "_fmc")
SNP_TCBS: Final = frozenset(
    f"{tcb}_tcb{part}" for tcb in ("current", "reported", "committed", "launch") for part in TCB_PARTS
)

KNOWN: Final[Mapping[Tee, frozenset[str]]] = {
    Tee.SOFTWARE: frozenset(
        {
            "mode", "measurement", "executable", "libraries", "runtime", "loaded", "guard", "admission", "report_data",
            "key_id", "kernel", "boot_id", "secure_boot",
        }
    ),
    Tee.SGX: DCAP
    | {
        "cpusvn", "miscselect", "isvextprodid", "attributes", "mrenclave", "mrsigner", "configid", "isvprodid",
        "isvsvn",
        "configsvn", "isvfamilyid",
    },
    Tee.TDX: DCAP
    | RTMRS
    | {
        "tee_tcb_svn", "tee_tcb_svn2", "mrseam", "mrsignerseam", "seamattributes", "tdattributes", "xfam", "mrtd",
        "mrconfigid", "mrowner", "mrownerconfig", "mrservicetd", "sept_ve_disable", "migratable", "pks", "key_locker",
        "perfmon",
    },
    Tee.SNP: SNP_TCBS
    | {
        "version", "guest_svn", "policy", "family_id", "image_id", "vmpl", "platform_info", "platform_info_unknown",
        "report_data", "measurement", "host_data", "id_key_digest", "author_key_digest", "author_key_en", "signing_key",
        "report_id", "report_id_ma", "cpuid_fam_id", "cpuid_mod_id", "cpuid_step", "chip_id", "current_version",
        "committed_version", "launch_mit_vector", "current_mit_vector", "product", "csp_id", "policy_abi",
    },
    Tee.SEV: frozenset({"launch_digest", "policy", "mnonce", "api", "build", "ark_key_id", "ask_key_id", "pek_api"}),
    Tee.CCA: REMS
    | {
        "rim", "rpv", "hash_algorithm", "challenge", "realm_profile", "realm_instance_id", "mec_policy",
        "platform_profile",
        "implementation_id", "instance_id", "config", "lifecycle", "platform_hash_algorithm", "software_components",
        "verification_service",
    },
    Tee.KEYSTONE: frozenset({"enclave_hash", "data", "sm_hash", "sm_public_key", "device_key"}),
    Tee.TPM: PCRS
    | {
        "qualified_signer", "extra_data", "clock", "reset_count", "restart_count", "safe", "firmware_version",
        "signature_scheme", "signature_hash", "pcr_digest", "pcr_banks", "pcr_bank", "ak", "ak_certificate",
        "event_log_proven", "events", "hardware", "vm_user_data",
    },
}  # fmt: skip
"""Claims of each TEE. `cloister policy check` warns of a rule about any other."""

PATTERNS: Final[Mapping[Tee, re.Pattern[str]]] = {
    Tee.TPM: re.compile(r"(?:[a-z0-9_]+_pcr(?:1?[0-9]|2[0-3])|vm_[a-z0-9_]+)\Z"),
    Tee.SNP: re.compile(r"(?:policy|platform)_[a-z0-9_]+\Z"),
    Tee.SEV: re.compile(r"policy_[a-z]+\Z"),
}
"""Claims that come in families."""
OTHER_BANK: Final = re.compile(r"[a-z0-9_]+_pcr[0-9]+\Z")


def is_known(tee: Tee, claim: str) -> bool:
    """Whether evidence of that TEE can have this claim, as far as is known here."""
    if claim in EVERYWHERE or claim in KNOWN[tee]:
        return True
    return tee in PATTERNS and PATTERNS[tee].match(claim) is not None


def decides_by_default(tee: Tee, claim: str) -> str:
    """The AR4SI claim that a rule about this claim bears on."""
    if claim in PROGRAM[tee] or claim in SOFTWARE or OTHER_BANK.match(claim):
        return EXECUTABLES
    if claim in IDENTITIES:
        return IDENTITY
    return HARDWARE if claim in PLATFORM or claim in SNP_TCBS else CONFIGURATION


def names_program(tee: Tee, claim: str, decides: str) -> bool:
    """Whether pinning this claim says which program may run, if the rule decides that AR4SI claim."""
    return decides == EXECUTABLES and (claim in PROGRAM[tee] or claim in SIGNERS)
