"""The realm management monitor: its calls about a realm's tables and memory, and with them the whole of it.

RMM specification 1.0, RMI_RTT_*, RMI_DATA_*; TF-RMM 1.0, runtime/rmi/rtt.c, for the order of checks and for what the
host learns when one fails. Not here: RMI_RTT_FOLD, RMI_PSCI_COMPLETE.
"""

from typing import Final, NamedTuple

from cloister.emulate.cca.core import TABLE_KEY, Realm
from cloister.emulate.cca.gpt import Pas, World
from cloister.emulate.cca.granules import GranuleState
from cloister.emulate.cca.realm import RealmDescriptor
from cloister.emulate.cca.realms import Realms
from cloister.emulate.cca.rmi import CallFailed, MonitorPanic, Rmi, RmiStatus
from cloister.emulate.cca.rtt import ENTRIES, PAGE_LEVEL, Hipas, Ripas, RttEntry, Tables, TableWalk, map_size
from cloister.measure.image import PAGE

__all__ = ["MEASURE_CONTENT", "EntryState", "Rmm"]

MEASURE_CONTENT: Final = 1
"""Flag of RMI_DATA_CREATE."""


ATTRIBUTES: Final = 0x3FC
"""Memory attributes, access permissions and shareability in a stage-2 descriptor: bits 9 to 2."""


class EntryState(NamedTuple):
    """What RMI_RTT_READ_ENTRY says: where the walk ended, the states, and the address (bytes) where the host has one.

    Of the realm's own memory the host learns nothing that it did not know.
    """

    level: int
    hipas: Hipas
    address: int
    ripas: Ripas


class Rmm(Realms):
    """The monitor of one machine."""

    # ---- tables

    def rtt_create(self, rd: int, rtt: int, ipa: int, level: int) -> None:
        """RMI_RTT_CREATE: a table of `level` under an entry, whose state all of its entries inherit."""
        call = Rmi.RTT_CREATE
        page = self.granules.require(call, rtt, GranuleState.DELEGATED)
        realm = self.realm(call, rd)
        self._require_below_root(call, realm, ipa, level)
        walk = realm.tables.walk(ipa, level - 1)
        if walk.level != level - 1 or walk.entry.hipas is not Hipas.UNASSIGNED:
            raise _wrong(call, ipa, walk)
        realm.tables.make(page, walk.entry)
        self.granules.set(page, GranuleState.RTT)
        self.granules.references[walk.table] += 1
        realm.tables.set(walk.table, walk.number, RttEntry(Hipas.TABLE, page=page))

    def rtt_destroy(self, rd: int, ipa: int, level: int) -> int:
        """RMI_RTT_DESTROY of a table none of whose entries is in use: its address. What it mapped is DESTROYED."""
        call = Rmi.RTT_DESTROY
        realm = self.realm(call, rd)
        self._require_below_root(call, realm, ipa, level)
        walk = realm.tables.walk(ipa, level - 1)
        if walk.level != level - 1 or walk.entry.hipas is not Hipas.TABLE:
            raise _wrong(call, ipa, walk)
        page = walk.entry.page
        if self.granules.references[page]:
            reason = f"{self.granules.references[page]} entries of the table are in use"
            raise CallFailed(call, RmiStatus.ERROR_RTT, reason, level)
        if realm.descriptor.protected(ipa):
            gone = RttEntry(Hipas.UNASSIGNED, Ripas.DESTROYED)
        else:
            gone = RttEntry(Hipas.UNASSIGNED, unprotected=True)
        realm.tables.set(walk.table, walk.number, gone)
        self.granules.references[walk.table] -= 1
        self.shootdown()
        self.wiped(page)
        return page * PAGE

    def _require_below_root(self, call: Rmi, realm: Realm, ipa: int, level: int) -> None:
        if not realm.descriptor.level < level <= PAGE_LEVEL or not realm.aligned(ipa, level - 1):
            reason = f"no table of level {level} can stand at {ipa:#x}"
            raise CallFailed(call, RmiStatus.ERROR_INPUT, reason)

    def rtt_read_entry(self, rd: int, ipa: int, level: int) -> EntryState:
        """RMI_RTT_READ_ENTRY."""
        realm = self.realm(Rmi.RTT_READ_ENTRY, rd)
        if not realm.descriptor.level <= level <= PAGE_LEVEL or not realm.aligned(ipa, level):
            reason = f"there is no entry of level {level} at {ipa:#x}"
            raise CallFailed(Rmi.RTT_READ_ENTRY, RmiStatus.ERROR_INPUT, reason)
        walk = realm.tables.walk(ipa, level)
        entry = walk.entry
        address = 0 if entry.hipas is Hipas.UNASSIGNED else entry.page * PAGE
        return EntryState(walk.level, entry.hipas, address, entry.ripas)

    # ---- unprotected addresses

    def rtt_map_unprotected(self, rd: int, ipa: int, level: int, target: int) -> None:
        """RMI_RTT_MAP_UNPROTECTED of one page: whatever the host names. Access is checked when it happens.

        Model: pages only, so `level` is 3; memory attributes are accepted and mean nothing.
        """
        call = Rmi.RTT_MAP_UNPROTECTED
        realm = self._unprotected(call, rd, ipa, level)
        if target & PAGE - 1 & ~ATTRIBUTES or not 0 <= target < 1 << 48:
            raise CallFailed(call, RmiStatus.ERROR_INPUT, f"{target:#x} is the descriptor of no page")
        walk = realm.tables.walk(ipa)
        if walk.level != PAGE_LEVEL or walk.entry.hipas is not Hipas.UNASSIGNED:
            raise _wrong(call, ipa, walk)
        entry = RttEntry(Hipas.ASSIGNED, page=target // PAGE, unprotected=True)
        realm.tables.set(walk.table, walk.number, entry)

    def rtt_unmap_unprotected(self, rd: int, ipa: int, level: int) -> None:
        """RMI_RTT_UNMAP_UNPROTECTED of one page."""
        call = Rmi.RTT_UNMAP_UNPROTECTED
        realm = self._unprotected(call, rd, ipa, level)
        walk = realm.tables.walk(ipa)
        if walk.level != PAGE_LEVEL or walk.entry.hipas is not Hipas.ASSIGNED:
            raise _wrong(call, ipa, walk)
        realm.tables.set(walk.table, walk.number, RttEntry(Hipas.UNASSIGNED, unprotected=True))
        self.shootdown()

    def _unprotected(self, call: Rmi, rd: int, ipa: int, level: int) -> Realm:
        realm = self.realm(call, rd)
        if level != PAGE_LEVEL or not realm.aligned(ipa, PAGE_LEVEL) or realm.descriptor.protected(ipa):
            raise CallFailed(call, RmiStatus.ERROR_INPUT, f"{ipa:#x} is no page of the unprotected half")
        return realm

    # ---- the realm's memory

    def data_create(self, rd: int, data: int, ipa: int, source: int, flags: int = MEASURE_CONTENT) -> None:
        """RMI_DATA_CREATE: a granule with a copy of the host's page, at an address of a NEW realm. RIPAS is RAM."""
        call = Rmi.DATA_CREATE
        if flags & ~MEASURE_CONTENT:
            raise CallFailed(call, RmiStatus.ERROR_INPUT, f"flags {flags:#x}")
        content = self.from_host(call, source)
        page, realm, walk = self._free_place(call, rd, data, ipa, new=True)
        descriptor = realm.descriptor
        descriptor.rim = descriptor.rim.add_data(ipa, content if flags else None)
        realm.keep()
        self._assign(realm, walk, page, Ripas.RAM)
        self.memory.put(page, descriptor.key, content)

    def data_create_unknown(self, rd: int, data: int, ipa: int) -> None:
        """RMI_DATA_CREATE_UNKNOWN: a granule with no content to rely on. RIPAS stays what the realm made it."""
        call = Rmi.DATA_CREATE_UNKNOWN
        page, realm, walk = self._free_place(call, rd, data, ipa, new=False)
        self._assign(realm, walk, page, walk.entry.ripas)
        self.memory.put(page, realm.descriptor.key)

    def _free_place(self, call: Rmi, rd: int, data: int, ipa: int, *, new: bool) -> tuple[int, Realm, TableWalk]:
        page = self.granules.require(call, data, GranuleState.DELEGATED)
        realm = self.realm(call, rd)
        if new:
            self.require_new(call, realm)
        walk = self._page_entry(call, realm, ipa)
        if walk.entry.hipas is not Hipas.UNASSIGNED:
            raise _wrong(call, ipa, walk)
        return page, realm, walk

    def _page_entry(self, call: Rmi, realm: Realm, ipa: int) -> TableWalk:
        """The level-3 entry of a protected address. CallFailed, with the level where the walk ended."""
        if not realm.aligned(ipa, PAGE_LEVEL) or not realm.descriptor.protected(ipa):
            raise CallFailed(call, RmiStatus.ERROR_INPUT, f"{ipa:#x} is no page of the protected half")
        walk = realm.tables.walk(ipa)
        if walk.level != PAGE_LEVEL:
            raise _wrong(call, ipa, walk)
        return walk

    def _assign(self, realm: Realm, walk: TableWalk, page: int, ripas: Ripas) -> None:
        realm.tables.set(walk.table, walk.number, RttEntry(Hipas.ASSIGNED, ripas, page))
        self.granules.references[walk.table] += 1
        self.granules.set(page, GranuleState.DATA)

    def data_destroy(self, rd: int, ipa: int) -> int:
        """RMI_DATA_DESTROY: the host takes a granule back, wiped; its address.

        If it was memory to the realm, RIPAS is DESTROYED: the realm meets a fault there until it accepts the loss.
        """
        call = Rmi.DATA_DESTROY
        realm = self.realm(call, rd)
        walk = self._page_entry(call, realm, ipa)
        entry = walk.entry
        if entry.hipas is not Hipas.ASSIGNED:
            raise _wrong(call, ipa, walk)
        left = Ripas.EMPTY if entry.ripas is Ripas.EMPTY else Ripas.DESTROYED
        if self.granules.page_of(entry.page * PAGE) is None or self.granules.state(entry.page) is not GranuleState.DATA:
            raise MonitorPanic(f"{ipa:#x} leads to granule {entry.page:#x}, which is no realm's: DRAM was changed")
        realm.tables.set(walk.table, walk.number, RttEntry(Hipas.UNASSIGNED, left))
        self.granules.references[walk.table] -= 1
        self.shootdown()
        self.wiped(entry.page)
        return entry.page * PAGE

    # ---- what the realm means to be memory

    def rtt_init_ripas(self, rd: int, base: int, top: int) -> int:
        """RMI_RTT_INIT_RIPAS: empty addresses of a NEW realm become RAM, and that is measured, entry by entry.

        Returns how far it came: to `top`, or to the end of a table. The host then goes on from there.
        """
        call = Rmi.RTT_INIT_RIPAS
        realm = self.realm(call, rd)
        half = realm.descriptor.half
        if base >= top or base % PAGE or top % PAGE or base < 0 or top > half:
            raise CallFailed(call, RmiStatus.ERROR_INPUT, f"[{base:#x}, {top:#x}) is no range of the protected half")
        self.require_new(call, realm)
        walk = realm.tables.walk(base)
        size, at = map_size(walk.level), base
        for index in range(walk.number, ENTRIES):
            entry = realm.tables.entry(walk.table, index, walk.level)
            if at % size or at + size > top or entry.hipas is not Hipas.UNASSIGNED or entry.ripas is Ripas.DESTROYED:
                break
            realm.tables.set(walk.table, index, RttEntry(Hipas.UNASSIGNED, Ripas.RAM))
            realm.descriptor.rim = realm.descriptor.rim.set_ram(at, at + size)
            at += size
        if at == base:
            raise _wrong(call, base, walk)
        realm.keep()
        return at

    def rtt_set_ripas(self, rd: int, rec: int, base: int, top: int) -> int:
        """RMI_RTT_SET_RIPAS: the host carries out what the realm asked for, and no more. Returns how far it came."""
        call = Rmi.RTT_SET_RIPAS
        realm = self.realm(call, rd)
        page = self.granules.require(call, rec, GranuleState.REC)
        if self.granules.references[page] or self.owners[page] != realm.page:
            raise CallFailed(call, RmiStatus.ERROR_REC, "the processor is running, or another realm's")
        context = self.context(page)
        asked = context.ripas_change
        if asked is None or base != asked[0] or not base < top <= asked[1]:
            raise CallFailed(call, RmiStatus.ERROR_INPUT, f"the realm did not ask for [{base:#x}, {top:#x})")
        at = self._change_ripas(realm, base, top, asked[2], destroyed=asked[3])
        context.ripas_done(at)
        return at

    def _change_ripas(self, realm: Realm, base: int, top: int, value: Ripas, *, destroyed: bool) -> int:
        walk = realm.tables.walk(base)
        size, at = map_size(walk.level), base
        for index in range(walk.number, ENTRIES):
            entry = realm.tables.entry(walk.table, index, walk.level)
            kept = entry.ripas is Ripas.DESTROYED and not destroyed
            if at % size or at + size > top or entry.hipas is Hipas.TABLE or kept:
                break
            realm.tables.set(walk.table, index, entry._replace(ripas=value))
            at += size
        if at == base:
            raise _wrong(Rmi.RTT_SET_RIPAS, base, walk)
        self.shootdown()
        return at

    # ---- translation, as the processor does it in the realm

    def stage2(self, realm: RealmDescriptor, ipa: int) -> TableWalk:
        """Walk the tables of a realm; the entry may be invalid. MonitorPanic if they are none."""
        return Tables(self.memory, realm.root, realm.level, TABLE_KEY).walk(ipa)

    def check_granule(self, entry: RttEntry) -> None:
        """The granule protection check of an access by the realm. GranuleProtectionFault."""
        self.gpt.check(entry.page, World.REALM, Pas.NON_SECURE if entry.unprotected else Pas.REALM)


def _wrong(call: Rmi, ipa: int, walk: TableWalk) -> CallFailed:
    """ERROR_RTT, with the level at which the walk ended, which tells the host which table is missing."""
    entry = walk.entry
    reason = f"the entry of level {walk.level} at {ipa:#x} is {entry.hipas.name}, RIPAS {entry.ripas.name}"
    return CallFailed(call, RmiStatus.ERROR_RTT, reason, walk.level)
