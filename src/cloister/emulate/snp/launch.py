"""What SNP_LAUNCH_UPDATE does with a page: checks, measures, and encrypts it in place under the guest's key.

AMD 56860, section on SNP_LAUNCH_UPDATE. The digest's rules are those of `cloister.measure.snp`; here they are applied
to what stands in memory, page by page, as the host hands it in.
"""

from collections.abc import Mapping
from typing import Final

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.paging import HOST_KEY
from cloister.emulate.snp.chip import Chip
from cloister.emulate.snp.commands import Command, CommandFailed, PageType, Status
from cloister.emulate.snp.context import GuestContext
from cloister.emulate.snp.guest_pages import CpuidEntry, SecretsPage, cpuid_page, parse_cpuid_page
from cloister.errors import ParseError
from cloister.measure.image import PAGE
from cloister.measure.snp import LaunchDigest

__all__ = ["VMSA_GPA", "launch_content", "measured"]

VMSA_GPA: Final = 0xFFFF_FFFF_F000
"""Where KVM says that a save area stands: the last page of the 48-bit address space."""

ANY: Final = frozenset({PageType.UNMEASURED, PageType.NORMAL, PageType.VMSA})
"""Kinds whose content is the host's."""


def launch_content(chip: Chip, context: GuestContext, cache: FrameCache, page: int, kind: PageType) -> bytes:
    """What stands on a page for the guest: what the host put there, or what the firmware makes of it.

    CommandFailed with INVALID_PARAM for a CPUID page that promises what the processor has not; the page then holds what
    the firmware would accept, for the host to look at and try again.
    """
    if kind is PageType.ZERO:
        return bytes(PAGE)
    if kind is PageType.SECRETS:
        keys = (context.vmpck0, context.vmpck1, context.vmpck2, context.vmpck3)
        made = SecretsPage.of(keys, fms=chip.signature, gosvw=context.gosvw, imi=bool(context.imi))
        return made.serialize()
    content = bytes(cache.frames[cache.frame(page, HOST_KEY, write=False, fetch=False)])
    if kind in ANY:
        return content
    corrected = _corrected(chip, content)
    if corrected != content:
        cache.put(page, HOST_KEY, corrected)
        raise _failed(Status.INVALID_PARAM, "the CPUID page promises what this processor has not; corrected in place")
    return content


def measured(digest: bytes, kind: PageType, gpa: int, content: bytes) -> bytes:
    """The launch digest after one more page at a guest-physical address."""
    running = LaunchDigest(digest)
    if kind is PageType.NORMAL:
        running.normal(gpa, content)
    elif kind is PageType.VMSA:
        running.vmsa(content)
    else:
        running.empty(int(kind), gpa)
    return running.value


def _corrected(chip: Chip, page: bytes) -> bytes:
    """The CPUID page with every function that the firmware knows cut down to what the processor has."""
    try:
        entries = parse_cpuid_page(page)
    except ParseError as error:
        raise _failed(Status.INVALID_PARAM, str(error)) from error
    own: Mapping[tuple[int, int], CpuidEntry] = {(one.function, one.subfunction): one for one in chip.cpuid}
    return cpuid_page([_cut(one, own.get((one.function, one.subfunction))) for one in entries])


def _cut(entry: CpuidEntry, own: CpuidEntry | None) -> CpuidEntry:
    if own is None:
        return entry
    if entry.function == 1:  # EAX is one number, family, model and stepping; the other registers have APIC ids
        return entry._replace(eax=own.eax)
    return entry._replace(eax=entry.eax & own.eax, ebx=own.ebx, ecx=min(entry.ecx, own.ecx))


def _failed(status: Status, reason: str) -> CommandFailed:
    return CommandFailed(Command.SNP_LAUNCH_UPDATE, status, reason)
