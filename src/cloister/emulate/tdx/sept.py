"""The secure EPT: from a TD's private guest-physical pages to physical ones. The module alone changes it.

Intel TDX Module 1.5 base specification, chapter "TD private memory management"; states as in intel/tdx-module 1.5,
include/auto_gen_1_5/sept_state_lookup.h. A page that the host adds while the TD runs is PENDING until the TD accepts
it, and accepting zeroes it: so the host cannot put a page of its own, or an old one, under a running TD.

Model: entries stand in a mapping on die, not in the EPT pages that the host gave, which are taken, zeroed under the
TD's key and not used. Leaves have 4 KiB; 2 MiB pages, L2 TDs and migration states are not modelled.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cloister.emulate.tdx.calls import CallFailed, Operand, Seamcall, Status, Tdcall
from cloister.measure.image import PAGE

__all__ = ["ROOT_LEVEL", "SHARED_BIT", "EptViolation", "SecureEpt", "SeptEntry", "SeptState"]

ROOT_LEVEL: Final = 3
"""Level of the entries in the root page, of a walk of four levels. Leaves of 4 KiB have level 0."""

SHARED_BIT: Final = 1 << 47
"""Guest-physical addresses with this bit are shared with the host, with GPAW 48: the host's own EPT maps them."""


class SeptState(IntEnum):
    """The states of an entry that are modelled, in their encoding (bits PS, P and so on of the entry)."""

    NL_MAPPED = 0x00
    FREE = 0x0E
    MAPPED = 0x60
    BLOCKED = 0x68
    PENDING = 0x70
    PENDING_BLOCKED = 0x78


BLOCKED_AS: Final = {SeptState.MAPPED: SeptState.BLOCKED, SeptState.PENDING: SeptState.PENDING_BLOCKED}
UNBLOCKED_AS: Final = {blocked: state for state, blocked in BLOCKED_AS.items()}


@dataclass(slots=True)
class SeptEntry:
    """One entry: its state, and the physical page that it leads to."""

    state: SeptState
    page: int


class EptViolation(Exception):
    """The TD exits to the host: it touched or accepted a private page that the host has not added. `gpa` in bytes."""

    def __init__(self, gpa: int, state: SeptState) -> None:
        super().__init__(f"EPT violation at {gpa:#x}: the secure EPT entry is {state.name}")
        self.gpa, self.state = gpa, state


class SecureEpt:
    """The secure EPT of one TD. `leaves` goes from guest-physical page numbers to entries that are not FREE."""

    def __init__(self) -> None:
        self.leaves: dict[int, SeptEntry] = {}
        self._tables: dict[tuple[int, int], int] = {}

    def add_table(self, call: Seamcall, gpa: int, level: int, page: int) -> None:
        """The entry at `level` over a guest-physical address leads to a new table."""
        place = _place(gpa, level)
        self._walk(call, gpa, level)
        if place in self._tables:
            reason = f"the entry of level {level} over {gpa:#x} is NL_MAPPED"
            raise CallFailed(call, Status.EPT_ENTRY_NOT_FREE, reason, Operand.RCX)
        self._tables[place] = page

    def missing(self, gpa: int) -> list[int]:
        """The levels whose tables a walk to this address lacks, from the root down."""
        return [level for level in range(ROOT_LEVEL, 0, -1) if _place(gpa, level) not in self._tables]

    def set(self, call: Seamcall, gpa: int, state: SeptState, page: int) -> None:
        """A FREE leaf becomes another."""
        self.require_free(call, gpa)
        self.leaves[gpa // PAGE] = SeptEntry(state, page)

    def require_free(self, call: Seamcall, gpa: int) -> None:
        """CallFailed unless all tables are there and the leaf is FREE."""
        self._walk(call, gpa, 0)
        found = self.leaves.get(gpa // PAGE)
        if found is not None:
            raise _incorrect(call, gpa, found.state, SeptState.FREE)

    def violation(self, gpa: int) -> EptViolation | None:
        """The exit that the TD would meet at an address; None if the page is MAPPED."""
        found = self.leaves.get(gpa // PAGE)
        if found is not None and found.state is SeptState.MAPPED:
            return None
        return EptViolation(gpa, found.state if found else SeptState.FREE)

    def leaf(self, call: Seamcall | Tdcall, gpa: int, *states: SeptState) -> SeptEntry:
        """The leaf of an address, in one of these states. CallFailed."""
        if isinstance(call, Seamcall):
            self._walk(call, gpa, 0)
        found = self.leaves.get(gpa // PAGE)
        if found is None or found.state not in states:
            raise _incorrect(call, gpa, found.state if found else SeptState.FREE, *states)
        return found

    def block(self, call: Seamcall, gpa: int) -> SeptEntry:
        """MAPPED becomes BLOCKED, PENDING becomes PENDING_BLOCKED: no new translation is made from it."""
        entry = self.leaf(call, gpa, *BLOCKED_AS)
        entry.state = BLOCKED_AS[entry.state]
        return entry

    @staticmethod
    def unblock(entry: SeptEntry) -> None:
        """As it was before it was blocked."""
        entry.state = UNBLOCKED_AS[entry.state]

    def remove(self, gpa: int) -> None:
        """The leaf is FREE again."""
        del self.leaves[gpa // PAGE]

    def _walk(self, call: Seamcall, gpa: int, level: int) -> None:
        """CallFailed unless the tables above `level` are there."""
        for above in range(ROOT_LEVEL, level, -1):
            if _place(gpa, above) not in self._tables:
                reason = f"the walk to {gpa:#x} ends at level {above}: no table there, TDH.MEM.SEPT.ADD comes first"
                raise CallFailed(call, Status.EPT_WALK_FAILED, reason, Operand.RCX)


def _place(gpa: int, level: int) -> tuple[int, int]:
    return level, gpa // PAGE >> 9 * level


def _incorrect(call: Seamcall | Tdcall, gpa: int, found: SeptState, *wanted: SeptState) -> CallFailed:
    names = " or ".join(state.name for state in wanted)
    reason = f"the secure EPT entry of {gpa:#x} is {found.name}, not {names}"
    return CallFailed(call, Status.EPT_ENTRY_STATE_INCORRECT, reason, Operand.RCX)
