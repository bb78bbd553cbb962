"""Firmware commands about single pages: taking them back, swapping them, and the debugger's view.

AMD 56860, SNP_PAGE_RECLAIM, SNP_MD_INIT, SNP_PAGE_SWAP_OUT and _IN, SNP_DBG_DECRYPT.
"""

from typing import Final

from cloister.emulate.paging import HOST_KEY
from cloister.emulate.snp import context as contexts
from cloister.emulate.snp.commands import Command, CommandFailed, GuestState, Policy, Status
from cloister.emulate.snp.context import FIRMWARE_KEY, GuestContext, with_changes
from cloister.emulate.snp.firmware_core import FirmwareCore
from cloister.emulate.snp.rmp import PageState, RmpEntry
from cloister.emulate.snp.swap import MetadataEntry, entry_at, open_page, seal_page, with_entry
from cloister.errors import ParseError
from cloister.measure.image import PAGE

__all__ = ["PagingCommands"]

RECLAIMABLE: Final = frozenset({PageState.FIRMWARE, PageState.METADATA, PageState.PRE_GUEST, PageState.PRE_SWAP})
METADATA_PAGE: Final = RmpEntry(assigned=True, immutable=True, gpa=1)
ACTIVE: Final = (GuestState.LAUNCH, GuestState.RUNNING)


class PagingCommands(FirmwareCore):
    """The part of the firmware that deals in pages."""

    def page_reclaim(self, page: int) -> None:
        """SNP_PAGE_RECLAIM: the host gets a page back that the firmware held: it is immutable no longer."""
        command = Command.SNP_PAGE_RECLAIM
        with self._command(command, f"page {page:#x}"):
            self._require_state(command, page, *RECLAIMABLE)
            self._refuse_rmp(command, page)
            self.rmp[page] = self.rmp[page]._replace(immutable=False)

    def dbg_decrypt(self, context: int, source: int, target: int) -> None:
        """SNP_DBG_DECRYPT: a guest's page in plaintext on a firmware page, if the guest's policy has DEBUG."""
        command = Command.SNP_DBG_DECRYPT
        with self._command(command, f"page {source:#x}"):
            guest = self._guest(command, context, *ACTIVE)
            if not guest.policy & Policy.DEBUG:
                raise CommandFailed(command, Status.POLICY_FAILURE, "the guest's policy does not have DEBUG")
            self._require_target(command, target)
            self._require_owner(command, source, guest)
            self._answer(target, self._read(source, guest.asid))

    def md_init(self, page: int) -> None:
        """SNP_MD_INIT: a firmware page becomes one for metadata entries."""
        command = Command.SNP_MD_INIT
        with self._command(command, f"page {page:#x}"):
            self._require_target(command, page)
            self._cache.put(page, FIRMWARE_KEY, bytes(PAGE))
            self.rmp[page] = METADATA_PAGE

    def page_swap_out(self, context: int, source: int, target: int, *, metadata: int, index: int) -> None:
        """SNP_PAGE_SWAP_OUT: a pre-swap page is sealed onto firmware page `target`, and is the host's again."""
        command = Command.SNP_PAGE_SWAP_OUT
        with self._command(command, f"page {source:#x}"):
            guest = self._swapping(command, context)
            self._require_state(command, source, PageState.PRE_SWAP)
            self._require_owner(command, source, guest)
            self._require_target(command, target)
            entries, entry = self._metadata(command, metadata, index)
            if entry.used:
                raise CommandFailed(command, Status.INVALID_MDATA_ENTRY, f"entry {index} is in use")
            number = guest.swapped + 1
            sealed, entry = seal_page(guest.swap_key, number, self.rmp[source], self._read(source, guest.asid))
            contexts.store(self._cache, context, with_changes(guest, swapped=number))
            self._cache.put(metadata, FIRMWARE_KEY, with_entry(entries, index, entry))
            self._answer(target, sealed)
            self._cache.put(source, HOST_KEY, bytes(PAGE))
            self.rmp[source] = RmpEntry(assigned=True)

    def page_swap_in(self, context: int, source: int, target: int, *, metadata: int, index: int) -> None:
        """SNP_PAGE_SWAP_IN: what is sealed on page `source` becomes pre-guest page `target`; the entry is used up."""
        command = Command.SNP_PAGE_SWAP_IN
        with self._command(command, f"page {target:#x}"):
            guest = self._swapping(command, context)
            self._require_state(command, target, PageState.PRE_GUEST)
            self._require_owner(command, target, guest)
            entries, entry = self._metadata(command, metadata, index)
            if not entry.used or entry.gpa != self.rmp[target].gpa:
                raise CommandFailed(command, Status.INVALID_MDATA_ENTRY, f"entry {index} is not about this guest page")
            content = open_page(guest.swap_key, entry, self._read(source, HOST_KEY))
            if content is None:
                raise CommandFailed(command, Status.BAD_MEASUREMENT, "the sealed page is not the one swapped out last")
            self._cache.put(metadata, FIRMWARE_KEY, with_entry(entries, index, None))
            self._cache.put(target, guest.asid, content)
            first, second, third, fourth = entry.permissions
            self.rmp[target] = self.rmp[target]._replace(
                immutable=False, validated=bool(entry.validated), vmsa=bool(entry.vmsa),
                permissions=(first, second, third, fourth),
            )  # fmt: skip

    # ---- checks

    def _swapping(self, command: Command, context: int) -> GuestContext:
        guest = self._guest(command, context, GuestState.RUNNING)
        if guest.policy & Policy.PAGE_SWAP_DISABLE:
            raise CommandFailed(command, Status.POLICY_FAILURE, "the guest's policy forbids swapping")
        return guest

    def _metadata(self, command: Command, page: int, index: int) -> tuple[bytes, MetadataEntry]:
        self._require_state(command, page, PageState.METADATA)
        entries = self._read(page, FIRMWARE_KEY)
        try:
            return entries, entry_at(entries, index)
        except (ParseError, ValueError) as error:
            raise CommandFailed(command, Status.INVALID_MDATA_ENTRY, str(error)) from error

    def _require_owner(self, command: Command, page: int, guest: GuestContext) -> None:
        entry = self.rmp.covering(page)
        if entry.large:
            raise CommandFailed(command, Status.INVALID_PAGE_SIZE, f"page {page:#x} is in a 2 MiB page")
        if not guest.asid or entry.asid != guest.asid:
            raise CommandFailed(command, Status.INVALID_PAGE_OWNER, f"page {page:#x} is ASID {entry.asid}'s")

    def _require_target(self, command: Command, page: int) -> None:
        self._require_state(command, page, PageState.FIRMWARE)
        self._refuse_rmp(command, page)

    def _refuse_rmp(self, command: Command, page: int) -> None:
        if page < self.rmp.size:
            raise CommandFailed(command, Status.INVALID_ADDRESS, f"page {page:#x} is part of the RMP")
