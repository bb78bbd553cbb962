"""The SEV firmware's commands about guests that exist (AMD 55766, SEV API, chapter 6): ASIDs, status, the end."""

from cloister.emulate.sev.commands import Command, CommandFailed, GuestState, GuestStatus, PlatformState, Policy, Status
from cloister.emulate.sev.context import GuestContext
from cloister.emulate.sev.platform import Platform

__all__ = ["Guests"]


class Guests(Platform):
    """The firmware with guests, each known by the handle that LAUNCH_START gave out."""

    def activate(self, handle: int, asid: int) -> None:
        """ACTIVATE: the memory controller gets the guest's key, under this ASID."""
        guest = self._guest(Command.ACTIVATE, handle)
        if guest.asid:
            raise CommandFailed(Command.ACTIVATE, Status.ACTIVE, f"guest {handle} already has ASID {guest.asid}")
        self._check_asid(guest, asid)
        self.memory.install(asid, guest.memory_key)
        guest.asid = asid

    def _check_asid(self, guest: GuestContext, asid: int) -> None:
        allowed = self.generation.asids_for(encrypted_state=Policy.ES in guest.policy)
        if asid not in allowed:
            kind = "SEV-ES" if Policy.ES in guest.policy else "SEV"
            reason = f"ASID {asid}: {kind} guests of this processor have {allowed.start} to {allowed.stop - 1}"
            raise CommandFailed(Command.ACTIVATE, Status.INVALID_ASID, reason)
        if any(other.asid == asid for other in self.guests.values()):
            raise CommandFailed(Command.ACTIVATE, Status.ASID_OWNED, f"ASID {asid} is another guest's")
        if asid in self._dirty_asids:
            reason = f"caches may hold lines of the guest that had ASID {asid} before: WBINVD, then DF_FLUSH"
            raise CommandFailed(Command.ACTIVATE, Status.DFFLUSH_REQUIRED, reason)

    def deactivate(self, handle: int) -> None:
        """DEACTIVATE: the key leaves the memory controller. The guest cannot run or be read until ACTIVATE."""
        guest = self._active(Command.DEACTIVATE, handle)
        self.memory.remove(guest.asid)
        self._given_back(guest.asid)
        guest.asid = 0

    def decommission(self, handle: int) -> None:
        """DECOMMISSION: the guest's context, its memory key with it, is gone for good."""
        guest = self._guest(Command.DECOMMISSION, handle)
        if guest.asid:
            raise CommandFailed(Command.DECOMMISSION, Status.ACTIVE, f"guest {handle} has an ASID: DEACTIVATE first")
        del self.guests[handle]

    def guest_status(self, handle: int) -> GuestStatus:
        """GUEST_STATUS: for everybody on the host."""
        guest = self._guest(Command.GUEST_STATUS, handle)
        return GuestStatus(state=guest.state, policy=int(guest.policy), asid=guest.asid)

    def _guest(self, command: Command, handle: int, *states: GuestState) -> GuestContext:
        """The context of a guest, in one of these states if any are named."""
        self._expect(command, PlatformState.INIT, PlatformState.WORKING)
        guest = self.guests.get(handle)
        if guest is None:
            raise CommandFailed(command, Status.INVALID_GUEST, f"there is no guest {handle}")
        if states and guest.state not in states:
            wanted = " or ".join(state.name for state in states)
            reason = f"guest {handle} is {guest.state.name}, not {wanted}"
            raise CommandFailed(command, Status.INVALID_GUEST_STATE, reason)
        return guest

    def _active(self, command: Command, handle: int, *states: GuestState) -> GuestContext:
        """The same, of a guest whose key the memory controller has."""
        guest = self._guest(command, handle, *states)
        if not guest.asid:
            raise CommandFailed(command, Status.INACTIVE, f"guest {handle} has no ASID: ACTIVATE first")
        return guest
