"""The instructions that change the RMP: RMPUPDATE and PSMASH for hypervisors, PVALIDATE and RMPADJUST for guests.

AMD APM volume 3; result codes as Linux names them (arch/x86/include/asm/sev.h, `PVALIDATE_FAIL_*`, `RMPUPDATE_*`).
A page of 2 MiB is one entry at its first page; the other 511 are not assigned.
"""

from enum import IntEnum
from typing import NamedTuple

from cloister.emulate.paging import Refused
from cloister.emulate.snp.rmp import ALL, FIRST_VMPL, LARGE, VMPLS, ReverseMap, RmpEntry

__all__ = ["Caller", "GeneralProtection", "Result", "Validation", "psmash", "pvalidate", "rmpadjust", "rmpupdate"]


class Result(IntEnum):
    """What the instructions return in EAX."""

    SUCCESS = 0
    FAIL_INPUT = 1
    FAIL_PERMISSION = 2
    FAIL_INUSE = 3
    FAIL_OVERLAP = 4
    FAIL_SIZEMISMATCH = 6


class Validation(NamedTuple):
    """What PVALIDATE returns: EAX, and the carry flag: 1 if the page was validated, or not, already."""

    result: Result
    carry: bool


class GeneralProtection(Exception):
    """#GP(0): this instruction is not for this privilege level."""


class Caller(NamedTuple):
    """The guest that executes an instruction: its ASID, and the VMPL it runs at."""

    asid: int
    vmpl: int


def rmpupdate(rmp: ReverseMap, page: int, new: RmpEntry) -> Result:
    """RMPUPDATE: the hypervisor gives a page away or takes it back; whatever was validated no longer is.

    Of `new` the operand has assigned, page size, immutable, gpa and ASID. A page that is immutable is the firmware's:
    only its commands change it. An update that does no more than make a page immutable keeps what the guest said of it:
    so a valid page becomes a pre-swap page.
    """
    result = _objection(rmp, page, new)
    if result is not Result.SUCCESS:
        return result
    old = rmp[page]
    if new.assigned and (old.assigned, old.large, old.gpa, old.asid) == (True, new.large, new.gpa, new.asid):
        rmp[page] = old._replace(immutable=new.immutable)
    else:
        permissions = FIRST_VMPL if new.assigned else (0, 0, 0, 0)
        rmp[page] = new._replace(vmsa=False, validated=False, permissions=permissions)
    return Result.SUCCESS


def _objection(rmp: ReverseMap, page: int, new: RmpEntry) -> Result:
    """Why RMPUPDATE does not do this; SUCCESS if it does."""
    around = rmp[page - page % LARGE]
    inside = bool(page % LARGE) and around.assigned and around.large
    if not new.assigned and (new.asid or new.gpa or new.immutable):
        return Result.FAIL_INPUT
    if new.large and (page % LARGE or new.gpa % LARGE or page + LARGE > rmp.pages):
        return Result.FAIL_INPUT
    if rmp[page].immutable or (inside and around.immutable):
        return Result.FAIL_PERMISSION
    if inside or (new.large and any(rmp[page + one].assigned for one in range(1, LARGE))):
        return Result.FAIL_OVERLAP
    return Result.SUCCESS


def psmash(rmp: ReverseMap, page: int) -> Result:
    """PSMASH: a page of 2 MiB becomes 512 of 4 KiB, with the same owner, validation and permissions."""
    if page % LARGE:
        return Result.FAIL_INPUT
    entry = rmp[page]
    if not (entry.assigned and entry.large):
        return Result.FAIL_INPUT
    if entry.immutable:
        return Result.FAIL_INUSE
    for one in range(LARGE):
        rmp[page + one] = entry._replace(large=False, gpa=entry.gpa + one)
    return Result.SUCCESS


def pvalidate(rmp: ReverseMap, page: int, caller: Caller, *, gpa: int, validate: bool = True) -> Validation:
    """PVALIDATE of a 4 KiB page: the guest says that it expects this page at guest page `gpa`.

    `page` is where the nested tables lead. GeneralProtection above VMPL 0; Refused, a nested page fault, if the RMP has
    another owner or guest page there.
    """
    if caller.vmpl:
        raise GeneralProtection(f"PVALIDATE at VMPL {caller.vmpl}: only VMPL 0 may")
    entry = rmp.covering(page)
    if entry.assigned and entry.large:
        return Validation(Result.FAIL_SIZEMISMATCH, carry=False)
    _check_owner(entry, page, caller, gpa)
    if entry.validated == validate:
        return Validation(Result.SUCCESS, carry=True)
    rmp[page] = entry._replace(validated=validate)
    return Validation(Result.SUCCESS, carry=False)


def rmpadjust(
    rmp: ReverseMap, page: int, caller: Caller, *, gpa: int, target: int, permissions: int, vmsa: bool = False
) -> Result:
    """RMPADJUST: what a less privileged VMPL may do with a page, and whether it is a save area.

    Nobody gives more than it has, or to a VMPL that is not below its own; only VMPL 0 makes save areas. Refused as for
    `pvalidate`, and for a page that is not validated (#VC).
    """
    if not 0 <= target < VMPLS or permissions & ~ALL:
        return Result.FAIL_INPUT
    entry = rmp.covering(page)
    if entry.assigned and entry.large:
        return Result.FAIL_SIZEMISMATCH
    _check_owner(entry, page, caller, gpa)
    if not entry.validated:
        raise Refused(f"#VC, PAGE_NOT_VALIDATED: guest page {gpa:#x}")
    if target <= caller.vmpl or permissions & ~entry.permissions[caller.vmpl] or (caller.vmpl and vmsa != entry.vmsa):
        return Result.FAIL_PERMISSION
    changed = list(entry.permissions)
    changed[target] = permissions
    rmp[page] = entry._replace(permissions=(changed[0], changed[1], changed[2], changed[3]), vmsa=vmsa)
    return Result.SUCCESS


def _check_owner(entry: RmpEntry, page: int, caller: Caller, gpa: int) -> None:
    if not entry.assigned or entry.asid != caller.asid or entry.gpa != gpa:
        raise Refused(
            f"#NPF with the RMP bit: page {page:#x} is not ASID {caller.asid}'s guest page {gpa:#x} but "
            f"{f'ASID {entry.asid}, guest page {entry.gpa:#x}' if entry.assigned else 'not assigned'}"
        )
