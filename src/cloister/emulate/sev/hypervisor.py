"""The hypervisor's part of a SEV guest: memory, nested page table, ASIDs, and the firmware's commands in their order.

As QEMU (target/i386/sev.c) and KVM (arch/x86/kvm/svm/sev.c) do it. It is not trusted: an adversary changes `table`,
hands in other contents, or calls the firmware differently.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cloister.emulate.host import PhysicalMemory
from cloister.emulate.paging import HOST_KEY
from cloister.emulate.sev.commands import CommandFailed, Policy
from cloister.emulate.sev.context import MemoryPort
from cloister.emulate.sev.firmware import Firmware
from cloister.emulate.sev.owner import SecretPacket
from cloister.emulate.vendors.amd_sev_secret import OwnerSession
from cloister.evidence.sev import LaunchMeasurement
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE
from cloister.measure.vmsa import guest_vmsa

__all__ = ["Hypervisor"]

NONE: Final = -1


@dataclass(slots=True)
class Hypervisor:
    """One hypervisor with one guest at a time.

    `table` is the nested page table: guest-physical page number to physical page number; `withheld` holds entries whose
    present bit the hypervisor has cleared. `handle` and `asid` are 0
    before `start`. `secret_address` is guest-physical; `state_page` holds the guest's registers at exits (a VMCB, or
    with SEV-ES the VMSA), `shared_page` is the GHCB; both are physical page numbers.
    """

    firmware: Firmware
    memory: MemoryPort
    pages: PhysicalMemory
    table: dict[int, int] = field(default_factory=dict)
    withheld: dict[int, int] = field(default_factory=dict)
    handle: int = 0
    asid: int = 0
    encrypted_state: bool = False
    secret_address: int = 0
    state_page: int = NONE
    shared_page: int = NONE
    _image: list[int] = field(default_factory=list)
    _entry: int = 0

    def load(self, layout: GuestLayout) -> None:
        """Put the guest's first pages into memory, in plain, and one page behind them for the owner's secrets."""
        self._image = [self._back(address // PAGE, content) for address, content in layout.pages]
        self._entry = layout.parameters.start.entry
        self.secret_address = layout.end
        self.back(layout.end // PAGE)
        self.state_page, self.shared_page = self.pages.allocate(), self.pages.allocate()

    def back(self, guest_page: int) -> int:
        """Give the guest a physical page, as it is. MemoryError if none is left."""
        page = self.table[guest_page] = self.pages.allocate()
        return page

    def _back(self, guest_page: int, content: bytes) -> int:
        page = self.back(guest_page)
        self.memory.write(page * PAGE, content, HOST_KEY)
        return page

    def start(self, policy: int, session: OwnerSession | None) -> None:
        """LAUNCH_START, and an ASID for the guest."""
        certificate, buffer = (session.certificate, session.session) if session else (None, None)
        self.encrypted_state = bool(policy & Policy.ES)
        self.handle = self.firmware.launch_start(policy, certificate, buffer)
        asid = self.firmware.generation.asids_for(encrypted_state=self.encrypted_state).start
        self.firmware.activate(self.handle, asid)
        self.asid = asid

    def encrypt(self) -> None:
        """LAUNCH_UPDATE_DATA for every page, LAUNCH_UPDATE_VMSA for the processor if the guest wants that."""
        for page in self._image:
            self.firmware.launch_update_data(self.handle, page * PAGE, PAGE)
        state = guest_vmsa(self._entry, features=0)
        self.memory.write(self.state_page * PAGE, state, HOST_KEY)
        if self.encrypted_state:
            self.firmware.launch_update_vmsa(self.handle, self.state_page * PAGE)

    def measure(self) -> LaunchMeasurement:
        """LAUNCH_MEASURE, for the guest's owner."""
        return self.firmware.launch_measure(self.handle)

    def inject(self, packet: SecretPacket) -> None:
        """LAUNCH_SECRET, into the page behind the image."""
        address = self.table[self.secret_address // PAGE] * PAGE
        self.firmware.launch_secret(self.handle, address, packet.header, packet.data)

    def finish(self) -> None:
        """LAUNCH_FINISH: the guest may run."""
        self.firmware.launch_finish(self.handle)

    def end(self) -> None:
        """Take the guest down: its key is wiped, its ASID and its pages are free again."""
        if self.asid:
            with contextlib.suppress(CommandFailed):  # the guest may have lost its ASID already
                self.firmware.deactivate(self.handle)
            self.firmware.wbinvd()
            self.firmware.df_flush()
        if self.handle:
            self.firmware.decommission(self.handle)
        self._free([*self.table.values(), *self.withheld.values(), self.state_page, self.shared_page])
        self.table.clear()
        self.withheld.clear()
        self.handle = self.asid = 0
        self.state_page = self.shared_page = NONE

    def _free(self, pages: Iterable[int]) -> None:
        for page in set(pages) - {NONE}:
            self.pages.free(page)
