"""What SEV-SNP measures at launch, computed offline (AMD 56860, section 8.17.2: PAGE_INFO).

The launch digest starts as 48 zeros; every page that the host adds replaces it by the SHA-384 of a record of the digest
so far, the page's content, its kind and its guest address.
"""

import hashlib
from typing import Final

from cloister._wire import Record, raw, reserved, u8, u16, u64
from cloister.errors import UsageError
from cloister.measure.guest import GuestLayout
from cloister.measure.image import Architecture
from cloister.measure.ovmf import FOUR_GIB, PAGE, Firmware, Section, SectionType, parse_firmware
from cloister.measure.sev import Kernel, check_processors, save_areas
from cloister.measure.vmsa import Vmm, guest_vmsa, svsm_vmsa
from cloister.model import Digest

__all__ = ["DEFAULT_FEATURES", "LaunchDigest", "firmware_digest", "guest_digest", "launch_digest", "svsm_launch_digest"]

ZEROS: Final = bytes(48)
VMSA_GPA: Final = 0xFFFF_FFFF_F000
NORMAL, VMSA, ZERO, UNMEASURED, SECRETS, CPUID = 1, 2, 3, 4, 5, 6
DEFAULT_FEATURES: Final = 0x21
"""SEV_FEATURES: SNP active, debug registers swapped; what Linux has set since 6.10."""


class _PageInfo(Record, size=0x70):
    digest: bytes = raw(48)
    contents: bytes = raw(48)
    length: int = u16(equals=0x70)
    page_type: int = u8()
    reserved_63: bytes = reserved(5)  # bit 0: a page of a migration image; then the permissions of VMPL 1 to 3
    gpa: int = u64()


class LaunchDigest:
    """The running digest. Pages are added in the order in which the host adds them."""

    __slots__ = ("value",)

    def __init__(self, start: bytes = ZEROS) -> None:
        if len(start) != 48:
            raise UsageError(f"a launch digest has 48 bytes, this one {len(start)}")
        self.value = start

    def _add(self, kind: int, gpa: int, contents: bytes = ZEROS) -> None:
        info = _PageInfo(digest=self.value, contents=contents, length=0x70, page_type=kind, gpa=gpa)
        self.value = hashlib.sha384(info.serialize()).digest()

    def normal(self, gpa: int, data: bytes) -> None:
        """Pages with these contents."""
        for i in range(0, len(data), PAGE):
            self._add(NORMAL, gpa + i, hashlib.sha384(data[i : i + PAGE]).digest())

    def vmsa(self, page: bytes) -> None:
        """A processor's save area."""
        self._add(VMSA, VMSA_GPA, hashlib.sha384(page).digest())

    def empty(self, kind: int, gpa: int, size: int = PAGE) -> None:
        """Pages of a kind whose contents are not measured: zeros, unmeasured, secrets, CPUID."""
        for i in range(0, size, PAGE):
            self._add(kind, gpa + i)


def firmware_digest(firmware: bytes) -> Digest:
    """The digest after the firmware alone: what can stand in for the image in `launch_digest`."""
    digest, image = LaunchDigest(), parse_firmware(firmware)
    digest.normal(image.gpa, image.image)
    return Digest("sha384", digest.value)


def launch_digest(
    firmware: bytes,
    *,
    processors: int,
    cpu: int = 0,
    features: int = DEFAULT_FEATURES,
    vmm: Vmm = Vmm.QEMU,
    kernel: Kernel | None = None,
    start: bytes | None = None,
) -> Digest:
    """MEASUREMENT of a guest with this firmware.

    `cpu` is the CPUID signature of its processors (used by QEMU only), `features` their SEV_FEATURES. `start` is
    `firmware_digest` of the real image, where `firmware` has only its last pages.
    """
    image, digest = parse_firmware(firmware), LaunchDigest(ZEROS if start is None else start)
    if start is None:
        digest.normal(image.gpa, image.image)
    if kernel is not None and all(one.type != SectionType.KERNEL_HASHES for one in image.sections):
        raise UsageError("this firmware does not check hashes of a kernel: use OVMF's AmdSev build")
    for section in _ordered(image, vmm):
        _add_section(digest, section, image, kernel, vmm)
    for page in save_areas(image.reset_eip, processors, cpu=cpu, features=features, vmm=vmm):
        digest.vmsa(page)
    return Digest("sha384", digest.value)


def _ordered(image: Firmware, vmm: Vmm) -> list[Section]:
    """In the order in which they are added: EC2 adds the CPUID page last."""
    late = [one for one in image.sections if vmm is Vmm.EC2 and one.type == SectionType.CPUID]
    return [one for one in image.sections if one not in late] + late


def _add_section(digest: LaunchDigest, section: Section, image: Firmware, kernel: Kernel | None, vmm: Vmm) -> None:
    match SectionType(section.type):
        case SectionType.SECRETS:
            digest.empty(SECRETS, section.gpa)
        case SectionType.CPUID:
            digest.empty(CPUID, section.gpa)
        case SectionType.KERNEL_HASHES if kernel is not None:
            digest.normal(section.gpa, _hashes_page(image, section, kernel))
        case SectionType.SEC_MEM if vmm is Vmm.GCE:
            digest.empty(UNMEASURED, section.gpa, section.size)
        case _:
            digest.empty(ZERO, section.gpa, section.size)


def _hashes_page(image: Firmware, section: Section, kernel: Kernel) -> bytes:
    offset, table = image.hash_table_gpa - section.gpa, kernel.hashes()
    if section.size != PAGE or not 0 <= offset <= PAGE - len(table):
        raise UsageError("the firmware's page for kernel hashes does not contain the place for their table")
    return bytes(offset) + table + bytes(PAGE - offset - len(table))


def svsm_launch_digest(firmware: bytes, svsm: bytes, *, processors: int, cpu: int, variables: int) -> Digest:
    """MEASUREMENT of a guest whose processors start in Coconut-SVSM, under QEMU.

    `variables` is the size in bytes of the firmware's variable store, which stands between it and the SVSM.
    """
    check_processors(processors)
    image, digest = parse_firmware(firmware), LaunchDigest()
    module = parse_firmware(svsm, end=FOUR_GIB - len(firmware) - variables)
    digest.normal(image.gpa, image.image)
    digest.normal(module.gpa, module.image)
    for section in module.sections:
        _add_section(digest, section, module, None, Vmm.QEMU)
    for _ in range(processors):
        digest.vmsa(svsm_vmsa(module.svsm_entry, cpu=cpu))
    return Digest("sha384", digest.value)


def guest_digest(guest: GuestLayout, *, features: int = DEFAULT_FEATURES) -> Digest:
    """MEASUREMENT of a program as a guest without firmware, with one processor. CannotEnclave if not for x86-64.

    In this order: the guest's pages (NORMAL), behind them a page for secrets and one for CPUID, then the save area.
    """
    guest.require(Architecture.X86_64, "an SEV-SNP machine")
    digest = LaunchDigest()
    for gpa, content in guest.pages:
        digest.normal(gpa, content)
    digest.empty(SECRETS, guest.end)
    digest.empty(CPUID, guest.end + PAGE)
    digest.vmsa(guest_vmsa(guest.parameters.start.entry, features=features))
    return Digest("sha384", digest.value)
