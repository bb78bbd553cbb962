"""Options of `cloister measure` for what frameworks and hypervisors launch: enclave images, firmware, realms."""

import argparse
from typing import Final

from cloister.measure.boot_events import InitrdWord
from cloister.measure.tdvf import PageOrder
from cloister.measure.vmsa import CPU_MODELS, Vmm

__all__ = ["FRAMEWORKS", "GUEST_OPTIONS", "SEPARATORS", "add_enclave_options", "add_guest_options", "given"]

FRAMEWORKS: Final = ("gramine", "ego", "oe", "sdk", "occlum", "sgxs")
"""What --with names. SCONE's layout is not public."""

SEPARATORS: Final = ("rtmr1", "rtmr0")
ENCLAVE_OPTIONS: Final = ("framework", "loader", "runtime", "module", "sgxs", "any_order")
GUEST_OPTIONS: Final = (
    "firmware", "kernel", "initrd", "append", "vcpus", "vcpu_type", "vmm", "guest_features", "firmware_digest", "svsm",
    "variables_size", "page_order", "event_log", "initrd_word", "separator", "realm", "init_data",
)  # fmt: skip


def add_enclave_options(parser: argparse.ArgumentParser) -> None:
    """Options for images of SGX frameworks, and Keystone's."""
    group = parser.add_argument_group("enclaves of frameworks: --tee sgx --with NAME IMAGE, --tee keystone")
    group.add_argument(
        "--with", dest="framework", metavar="NAME",
        help=f"the framework that IMAGE is for: {', '.join(FRAMEWORKS)}",
    )  # fmt: skip
    group.add_argument(
        "--loader", metavar="FILE", help="gramine: its libpal.so; keystone: the loader that the host lays out first"
    )
    group.add_argument("--runtime", metavar="FILE", help="ego: its ego-enclave; keystone: the runtime, such as Eyrie")
    group.add_argument("--module", metavar="FILE", help="oe: the library that the image is linked with, if it is")
    group.add_argument("--sgxs", metavar="FILE", help="write all that is measured, as an SGXS stream")
    group.add_argument(
        "--any-order", action="store_true", help="sgxs: read a stream that is not canonical, such as Gramine's"
    )


def add_guest_options(parser: argparse.ArgumentParser) -> None:
    """Options for guests with firmware, and realms."""
    group = parser.add_argument_group("guests: --tee sev, sev-es, sev-snp, tdx with --firmware; --tee cca with --realm")
    group.add_argument("--firmware", metavar="FILE", help="the firmware image, such as OVMF.fd")
    group.add_argument("--kernel", metavar="FILE", help="a kernel that is booted directly")
    group.add_argument("--initrd", metavar="FILE", help="its initial file system")
    group.add_argument("--append", metavar="TEXT", help="its command line")
    group.add_argument("--vcpus", metavar="N", type=int, help="number of processors (1)")
    group.add_argument(
        "--vcpu-type", metavar="NAME",
        help=f"QEMU's processor model: {', '.join(CPU_MODELS)}, also EPYC-v4 and so on; or family/model/stepping",
    )  # fmt: skip
    group.add_argument("--vmm", metavar="NAME", help=f"the hypervisor: {', '.join(Vmm)} (qemu)")
    group.add_argument("--guest-features", metavar="HEX", help="sev-snp: SEV_FEATURES (0x21; Linux before 6.10: 0x1)")
    group.add_argument(
        "--firmware-digest", metavar="HEX",
        help="sev-snp: the launch digest after the firmware's pages alone, which then may be cut to its last pages",
    )  # fmt: skip
    group.add_argument("--svsm", metavar="FILE", help="sev-snp: a secure VM service module (Coconut-SVSM)")
    group.add_argument("--variables-size", metavar="N", type=int, help="sev-snp: bytes of variables below the firmware")
    group.add_argument(
        "--page-order", metavar="NAME",
        help=f"tdx: when pages are measured: {PageOrder.EACH}, each as it is added (Linux, QEMU 9; the default); "
        f"{PageOrder.SECTION}, after all of its section (older stacks)",
    )  # fmt: skip
    group.add_argument("--event-log", metavar="FILE", help="tdx: a boot's log (CCEL, or dstack's), for the RTMRs")
    group.add_argument(
        "--initrd-word", metavar="NAME",
        help=f"tdx: where the firmware puts initrd= into the command line: {', '.join(InitrdWord)} "
        f"({InitrdWord.BEHIND})",
    )  # fmt: skip
    group.add_argument(
        "--separator", metavar="NAME",
        help=f"tdx: what the firmware's separator extends: {SEPARATORS[0]} (edk2 now), {SEPARATORS[1]} (before)",
    )  # fmt: skip
    group.add_argument("--realm", metavar="FILE", help="cca: the realm's description, in TOML")
    group.add_argument(
        "--init-data", metavar="FILE",
        help="what the host hands to the guest: sev-snp's host_data, tdx's mrconfigid; init data of Confidential "
        "Containers by its own algorithm, another file by SHA-256 or SHA-384",
    )  # fmt: skip


def given(args: argparse.Namespace) -> list[str]:
    """Which of these options were given, as they are written."""
    names = {"framework": "with"}
    return [
        f"--{names.get(option, option).replace('_', '-')}"
        for option in (*ENCLAVE_OPTIONS, *GUEST_OPTIONS)
        if getattr(args, option) not in {None, False}
    ]
