"""What SEV and SEV-ES measure at launch, computed offline (AMD document 55766, SEV API, sections 6.2 to 6.5).

The launch digest is the SHA-256 over everything that was put into the guest in plain: the firmware, the table of
kernel hashes if there is a kernel, and with SEV-ES the save area of every processor. The firmware keeps the digest to
itself and gives out its HMAC (LAUNCH_MEASURE), under a key that only the guest's owner has.
"""

import hashlib
import hmac
import uuid
from dataclasses import dataclass, field
from typing import Final

from cloister.errors import UsageError
from cloister.evidence.sev import LaunchMeasurement
from cloister.measure.guest import GuestLayout
from cloister.measure.image import Architecture
from cloister.measure.ovmf import parse_firmware
from cloister.measure.vmsa import FIRST_EIP, Vmm, guest_vmsa, vmsa
from cloister.model import Digest

__all__ = ["Kernel", "check_processors", "guest_digest", "launch_measure", "save_areas", "sev_digest", "sev_es_digest"]

HASHES: Final = uuid.UUID("9438d606-4f22-4cc9-b479-a793d411fd21").bytes_le
ENTRIES: Final = tuple(
    uuid.UUID(guid).bytes_le
    for guid in (
        "97d02dd8-bd20-4c94-aa78-e7714d36ab2a",  # command line
        "44baf731-3a2f-4bd7-9af1-41e29169781d",  # initrd
        "4de79437-abd2-427f-b835-d5b172d2045b",  # kernel
    )
)


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel that the firmware starts directly, after it has compared hashes. `command_line` without a NUL."""

    image: bytes = field(repr=False)
    initrd: bytes = field(default=b"", repr=False)
    command_line: str = ""

    def hashes(self) -> bytes:
        """The table as QEMU builds it (target/i386/sev.c, SevHashTable), padded to 16 bytes: 176 bytes."""
        parts = (self.command_line.encode("utf-8", "surrogateescape") + b"\0", self.initrd, self.image)
        entries = b"".join(
            guid + (50).to_bytes(2, "little") + hashlib.sha256(part).digest()
            for guid, part in zip(ENTRIES, parts, strict=True)
        )
        table = HASHES + (18 + len(entries)).to_bytes(2, "little") + entries
        return table + bytes(-len(table) % 16)


def sev_digest(firmware: bytes, *, kernel: Kernel | None = None) -> Digest:
    """The launch digest of a SEV guest."""
    return Digest("sha256", _start(firmware, kernel).digest())


def sev_es_digest(
    firmware: bytes, *, processors: int, cpu: int, vmm: Vmm = Vmm.QEMU, kernel: Kernel | None = None
) -> Digest:
    """The launch digest of a SEV-ES guest; `cpu` is the CPUID signature of its processors."""
    digest = _start(firmware, kernel)
    for page in save_areas(parse_firmware(firmware).reset_eip, processors, cpu=cpu, features=0, vmm=vmm):
        digest.update(page)
    return Digest("sha256", digest.digest())


def guest_digest(guest: GuestLayout, *, encrypted_state: bool) -> Digest:
    """The launch digest of a program as a guest without firmware. CannotEnclave if it is not for x86-64.

    The guest's pages in order (LAUNCH_UPDATE_DATA); with SEV-ES (`encrypted_state`) the one processor's save area
    behind them (LAUNCH_UPDATE_VMSA). The digest covers no addresses: a host that puts these pages elsewhere gets the
    same digest (Wilke et al., "undeSErVed trust", WOOT 2021), whatever the boot parameters say. SNP's covers them.
    """
    guest.require(Architecture.X86_64, "an SEV machine")
    digest = hashlib.sha256()
    for _, content in guest.pages:
        digest.update(content)
    if encrypted_state:
        digest.update(guest_vmsa(guest.parameters.start.entry, features=0))
    return Digest("sha256", digest.digest())


def save_areas(reset_eip: int, processors: int, *, cpu: int, features: int, vmm: Vmm) -> list[bytes]:
    """The save areas in the order in which they are measured: the first processor's, then the others', all alike."""
    check_processors(processors)
    first = vmsa(FIRST_EIP, cpu=cpu, features=features, vmm=vmm)
    other = vmsa(reset_eip, cpu=cpu, features=features, vmm=vmm)
    return [first] + [other] * (processors - 1)


def check_processors(processors: int) -> None:
    """Refuse a number of processors that no guest has."""
    if not 1 <= processors <= 4096:
        raise UsageError(f"{processors} processors: a guest has 1 to 4096")


def _start(firmware: bytes, kernel: Kernel | None) -> "hashlib._Hash":
    digest = hashlib.sha256(firmware)
    if kernel is not None:
        if not parse_firmware(firmware).hash_table_gpa:
            raise UsageError("this firmware does not check hashes of a kernel: use OVMF's AmdSev build")
        digest.update(kernel.hashes())
    return digest


def launch_measure(measurement: LaunchMeasurement, *, tik: bytes, digest: Digest) -> bytes:
    """LAUNCH_MEASURE's 32 bytes: what the firmware answers for this digest, nonce, version and policy, under a TIK."""
    if digest.algorithm != "sha256" or len(tik) != 16:
        raise UsageError("a SEV launch measure is of a SHA-256 digest, under a key of 16 bytes")
    return hmac.digest(tik, measurement.message(digest.value), "sha256")
