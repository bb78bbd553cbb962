"""Confidential virtual machines: write their definition for QEMU or libvirt, say what they will measure, and run them.

The kernel, its initial file system and its command line are measured with the firmware where the TEE allows it (direct
boot): the evidence of a guest that started with anything else differs. Written to the documentation of QEMU, libvirt
and the kernel, not yet run on hardware.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cloister.cli._arguments import read_input
from cloister.errors import UsageError
from cloister.launch.cca import confidential_cca
from cloister.launch.guest import DEFAULT_MEMORY, Confidential, Guest
from cloister.launch.hypervisor import start
from cloister.launch.libvirt import domain
from cloister.launch.qemu import command
from cloister.launch.sev import confidential_es, confidential_sev
from cloister.launch.snp import confidential_snp
from cloister.launch.tdx import confidential_tdx
from cloister.measure.boot_events import foretells_kernel

__all__ = ["build_parser", "run"]

TEES: Final[dict[str, Callable[[Guest], Confidential]]] = {
    "sev": confidential_sev, "sev-es": confidential_es, "sev-snp": confidential_snp, "tdx": confidential_tdx,
    "cca": confidential_cca,
}  # fmt: skip
SIZES: Final = {"host_data": 32, "id_block": 96, "id_auth": 4096, "mr_config_id": 48, "personalization": 64}
LARGEST: Final = 4096
EPILOG: Final = """\
examples:
  cloister vm --tee sev-snp --firmware OVMF.fd --kernel vmlinuz --initrd initrd.img --append console=ttyS0
  cloister vm --tee tdx --firmware OVMF.fd --disk guest.qcow2 --show libvirt > guest.xml; virsh define guest.xml
  cloister vm --tee sev-snp --firmware OVMF.fd --kernel vmlinuz --vcpus 4 --run -- -device vhost-vsock-pci,guest-cid=3

The definition is printed on standard output; the command that foretells the measurement on standard error.

exit codes:
  0    the definition is printed; with --run the code is QEMU's
  2    the command line or a file is wrong
  120  --run: this machine cannot run such a guest; everything that is missing is said
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister vm`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--tee", required=True, choices=TEES, metavar="NAME", help=f"the kind of guest: {', '.join(TEES)}"
    )
    parser.add_argument(
        "--firmware", type=Path, required=True, metavar="FILE", help="OVMF, TDVF or another for this TEE"
    )
    parser.add_argument("--kernel", type=Path, metavar="FILE", help="boot this kernel, measured, instead of a disk's")
    parser.add_argument("--initrd", type=Path, metavar="FILE", help="its initial file system")
    parser.add_argument("--append", metavar="TEXT", help="its command line")
    parser.add_argument(
        "--disk", type=Path, action="append", default=[], metavar="FILE", help="a disk (raw, .qcow2); repeatable"
    )
    parser.add_argument("--memory", type=int, default=DEFAULT_MEMORY, metavar="MIB", help="(%(default)s)")
    parser.add_argument("--vcpus", type=int, default=1, metavar="N", help="processors (%(default)s)")
    parser.add_argument("--vcpu-type", metavar="MODEL", help="(sev, sev-es: EPYC; sev-snp: EPYC-v4; tdx, cca: host)")
    parser.add_argument("--name", default="cloister", help="what the hypervisor calls it (%(default)s)")
    parser.add_argument(
        "--show", choices=("qemu", "libvirt"), default="qemu", help="the definition's language (%(default)s)"
    )
    parser.add_argument("--run", action="store_true", help="run it with QEMU instead of printing its definition")
    parser.add_argument("--unsafe-debug", action="store_true", help="the host may read the guest; its evidence says so")
    words = parser.add_argument_group("what the evidence also says")
    words.add_argument("--host-data", metavar="HEX", help="SNP: 32 bytes")
    words.add_argument("--id-block", type=Path, metavar="FILE", help="SNP: as `cloister id-block create` writes it")
    words.add_argument("--id-auth", type=Path, metavar="FILE", help="SNP: its signature, from the same command")
    words.add_argument("--author-key", action="store_true", help="SNP: the ID block is signed by an author's key too")
    words.add_argument("--mr-config-id", metavar="HEX", help="TDX: 48 bytes")
    words.add_argument("--personalization", metavar="HEX", help="CCA: 64 bytes")
    amd = parser.add_argument_group("AMD processors before the third generation")
    amd.add_argument("--encryption-bit", type=int, default=51, metavar="N", help="CPUID 8000001FH (%(default)s)")
    amd.add_argument("--reduced-bits", type=int, default=1, metavar="N", help="of physical addresses (%(default)s)")
    parser.add_argument("more", nargs="*", metavar="-- WORDS", help="words for QEMU, as they are")


def run(args: argparse.Namespace) -> int:
    """Print the definition, or become the hypervisor."""
    guest = _guest(args)
    confidential = TEES[args.tee](guest)
    if args.run:
        start(command(guest, confidential), confidential)
    print(shlex.join(command(guest, confidential)) if args.show == "qemu" else domain(guest, confidential), end="")
    if args.show == "qemu":
        print()
    if confidential.measured_by:
        print(f"its measurement: {shlex.join(_measure(guest, confidential))}", file=sys.stderr)
    return 0


def _guest(args: argparse.Namespace) -> Guest:
    if args.kernel is None and (args.initrd is not None or args.append is not None):
        raise UsageError("--initrd and --append go with --kernel")
    if args.memory < 1 or args.vcpus < 1:
        raise UsageError("--memory and --vcpus take numbers above 0")
    for path in (args.firmware, args.kernel, args.initrd, *args.disk):
        if path is not None and not path.is_file():
            raise UsageError(f"{path}: there is no such file")
    return Guest(
        firmware=args.firmware, kernel=args.kernel, initrd=args.initrd, command_line=args.append, name=args.name,
        memory=args.memory, processors=args.vcpus, cpu=args.vcpu_type, disks=tuple(args.disk),
        encryption_bit=args.encryption_bit, reduced_bits=args.reduced_bits, debug=args.unsafe_debug,
        host_data=_hex(args, "host_data"), mr_config_id=_hex(args, "mr_config_id"),
        personalization=_hex(args, "personalization"), id_block=_file(args, "id_block"), id_auth=_file(args, "id_auth"),
        author_key=args.author_key, more=tuple(args.more),
    )  # fmt: skip


def _hex(args: argparse.Namespace, name: str) -> bytes:
    text, option = getattr(args, name), f"--{name.replace('_', '-')}"
    try:
        found = bytes.fromhex(text or "")
    except ValueError as error:
        raise UsageError(f"{option} takes hexadecimal digits") from error
    return _sized(found, name, option)


def _file(args: argparse.Namespace, name: str) -> bytes:
    path = getattr(args, name)
    return b"" if path is None else _sized(read_input(path, LARGEST), name, str(path))


def _sized(found: bytes, name: str, what: str) -> bytes:
    if found and len(found) != SIZES[name]:
        raise UsageError(f"{what}: {len(found)} bytes; {SIZES[name]} are expected")
    return found


def _measure(guest: Guest, confidential: Confidential) -> list[str]:
    words = ["cloister", "measure", *confidential.measured_by, "--firmware", str(guest.firmware)]
    tdx, kernel = "tdx" in confidential.measured_by, guest.kernel
    if tdx and (kernel is None or guest.initrd is None):
        return words
    if tdx and not foretells_kernel(guest.memory):
        kernel = None
    for option, value in (("--kernel", kernel), ("--initrd", guest.initrd), ("--append", guest.command_line)):
        if value is not None:
            words += [option, str(value)]
    return words
