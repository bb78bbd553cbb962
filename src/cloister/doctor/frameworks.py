"""Frameworks and tools of the field that are installed, found on PATH."""

import shutil

from cloister.doctor.check import Check, Command, Group, NoFix, Topic

__all__ = ["PROGRAMS", "framework_checks"]

PROGRAMS = {
    "gramine-sgx": "Gramine: unmodified programs in SGX enclaves",
    "gramine-direct": "Gramine without SGX: no protection, for development",
    "is-sgx-available": "Gramine's own check for SGX",
    "scone": "SCONE: programs linked with a shielding C library",
    "occlum": "Occlum: a library operating system for SGX",
    "ego": "EGo: Go programs in SGX enclaves",
    "marblerun": "MarbleRun: a control plane for enclaves",
    "enarx": "Enarx: WebAssembly in TEEs",
    "opensgx": "OpenSGX: an emulator of SGX",
    "snpguest": "SEV-SNP: evidence from inside a guest",
    "snphost": "SEV-SNP: the host's side",
    "sevctl": "SEV: sessions and certificates",
    "nitro-cli": "AWS Nitro Enclaves",
    "contrast": "Contrast: confidential containers on Kubernetes",
    "kbs-client": "Trustee: the key broker's client",
    "trustauthority-cli": "Intel Trust Authority's client",
    "evcli": "Veraison: evidence by hand",
    "tpm2_quote": "TPM 2.0 tools",
    "qemu-system-x86_64": "QEMU: starts confidential guests",
    "strace": "lists system calls; not needed, `cloister trace` has its own tracer",
    "gdb": "opens the cores that `cloister dump` writes",
}
"""What is looked for, and what it is."""

PACKAGES = {"tpm2_quote": "tpm2-tools", "qemu-system-x86_64": "qemu-system-x86", "strace": "strace", "gdb": "gdb"}
"""Those that Debian packages; the others are installed as their own documentation says."""


def framework_checks() -> list[Check]:
    """One check per program."""
    return [_program(name, summary) for name, summary in PROGRAMS.items()]


def _program(name: str, summary: str) -> Check:
    topic = Topic(name=name, group=Group.FRAMEWORK, title=name, matters=summary)
    found = shutil.which(name)
    if found:
        return topic.ok(found)
    if name in PACKAGES:
        return topic.missing("not on PATH", Command(text=f"sudo apt-get install {PACKAGES[name]}"))
    return topic.missing("not on PATH", NoFix(reason="not in Debian; see the project's own installation guide"))
