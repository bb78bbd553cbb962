"""Calls about granules, realms and virtual processors: how they come into being, run and go.

RMM specification 1.0, RMI_GRANULE_*, RMI_REALM_*, RMI_REC_*; TF-RMM 1.0, runtime/rmi/{granule,realm,rec,run}.c.
"""

from typing import Final

from cloister.emulate.cca.core import TABLE_KEY, Core, Realm
from cloister.emulate.cca.gpt import Pas
from cloister.emulate.cca.granules import GranuleState
from cloister.emulate.cca.memory import MONITOR_MECID, SCRUB_MECID, key_of
from cloister.emulate.cca.realm import RealmDescriptor, RealmParamsPage, RealmState, mecid_of, save_realm, state_of
from cloister.emulate.cca.rec import (
    AUX_COUNT,
    EMULATED_MMIO,
    FLAGS,
    INJECT_SEA,
    OWNER,
    PENDING,
    RUNNABLE,
    Exit,
    RecContext,
    RecParamsPage,
    entry_flags,
    show,
)
from cloister.emulate.cca.rmi import CallFailed, MonitorPanic, Rmi, RmiStatus
from cloister.emulate.cca.rtt import PAGE_LEVEL, Hipas, RttEntry, map_size
from cloister.measure.image import PAGE

__all__ = ["VERSION", "Realms"]

VERSION: Final = 1 << 16
"""RMI 1.0: major in bits 30 to 16, minor in bits 15 to 0."""

WIDEST: Final = 48
"""Bits of a realm's addresses at most (RMI feature register 0, S2SZ)."""

KNOWN_FLAGS: Final = 0
"""Of a realm: this platform has neither LPA2 nor SVE nor a PMU for realms."""


class Realms(Core):
    """The monitor without its calls about tables and memory."""

    def version(self) -> int:
        """RMI_VERSION."""
        return VERSION

    def features(self) -> int:
        """RMI_FEATURES of register 0: S2SZ in bits 7 to 0, SHA-256 and SHA-512 in bits 28 and 29."""
        return WIDEST | 1 << 28 | 1 << 29

    # ---- granules

    def granule_delegate(self, address: int) -> None:
        """RMI_GRANULE_DELEGATE: the host gives a granule. Root changes the table, then the monitor wipes it."""
        call = Rmi.GRANULE_DELEGATE
        page = self.granules.require(call, address, GranuleState.NS)
        if not self.gpt.transition(page, Pas.NON_SECURE, Pas.REALM):
            raise CallFailed(call, RmiStatus.ERROR_INPUT, f"granule {address:#x} is not the non-secure world's")
        self.withdrawn(page)
        self.memory.put(page, key_of(SCRUB_MECID))
        self.granules.set(page, GranuleState.DELEGATED)

    def granule_undelegate(self, address: int) -> None:
        """RMI_GRANULE_UNDELEGATE: the host takes back a granule that nothing uses. It was wiped when that began."""
        page = self.granules.require(Rmi.GRANULE_UNDELEGATE, address, GranuleState.DELEGATED)
        if not self.gpt.transition(page, Pas.REALM, Pas.NON_SECURE):
            raise MonitorPanic(f"granule {address:#x} is delegated, and the protection table says otherwise")
        self.granules.set(page, GranuleState.NS)

    # ---- realms

    def realm_create(self, rd: int, params: int) -> None:
        """RMI_REALM_CREATE: a realm described by `params`, a page of the host's."""
        call = Rmi.REALM_CREATE
        given = self.parameters(call, RealmParamsPage, params)
        algorithm = given.algorithm
        wrong = _wrong_parameters(given)
        if wrong or algorithm is None:
            raise CallFailed(call, RmiStatus.ERROR_INPUT, wrong or f"hash algorithm {given.hash_algo}")
        if given.vmid in self.vmids.values():
            raise CallFailed(call, RmiStatus.ERROR_INPUT, f"VMID {given.vmid} is another realm's")
        if rd == given.rtt_base:
            raise CallFailed(call, RmiStatus.ERROR_INPUT, "descriptor and root table are the same granule")
        page = self.granules.require(call, rd, GranuleState.DELEGATED)
        root = self.granules.require(call, given.rtt_base, GranuleState.DELEGATED)
        made = RealmDescriptor.new(given, algorithm, root, self._new_mecid())
        self._make_root(made)
        self.memory.put(page, key_of(MONITOR_MECID))
        save_realm(self.memory, page, made)
        self.granules.set(page, GranuleState.RD)
        self.granules.set(root, GranuleState.RTT)
        self.vmids[page] = given.vmid

    def _new_mecid(self) -> int:
        """The monitor gives every realm a memory encryption context of its own. Model: MECIDs do not run out."""
        mecid = next(number for number in range(SCRUB_MECID + 1, 1 << 16) if number not in self.mecids)
        self.mecids.add(mecid)
        self.memory.install(key_of(mecid))
        return mecid

    def _make_root(self, realm: RealmDescriptor) -> None:
        """All addresses are unassigned: EMPTY in the realm's half, unprotected in the other."""
        self.memory.put(realm.root, TABLE_KEY)
        size = map_size(realm.level)
        for index in range(1 << max(0, realm.s2sz - size.bit_length() + 1)):
            entry = RttEntry(Hipas.UNASSIGNED, unprotected=not realm.protected(index * size))
            self.memory.set_word(realm.root, TABLE_KEY, index, entry.word())

    def realm_activate(self, rd: int) -> None:
        """RMI_REALM_ACTIVATE: the initial measurement is final, the realm may run."""
        realm = self.realm(Rmi.REALM_ACTIVATE, rd)
        self.require_new(Rmi.REALM_ACTIVATE, realm)
        realm.descriptor.state = RealmState.ACTIVE
        realm.keep()

    def require_new(self, call: Rmi, realm: Realm) -> None:
        """CallFailed unless the realm is still being built."""
        if realm.descriptor.state is not RealmState.NEW:
            reason = f"the realm is {realm.descriptor.state.name}, and this is for NEW ones"
            raise CallFailed(call, RmiStatus.ERROR_REALM, reason)

    def realm_destroy(self, rd: int) -> None:
        """RMI_REALM_DESTROY of a realm that has no processors, memory or tables left. Its key is forgotten."""
        call = Rmi.REALM_DESTROY
        realm = self.realm(call, rd)
        used = self.granules.references
        if used[realm.page] or used[realm.descriptor.root]:
            reason = f"it still has {used[realm.page]} processors, and {used[realm.descriptor.root]} entries in use"
            raise CallFailed(call, RmiStatus.ERROR_REALM, reason)
        self.wiped(realm.descriptor.root)
        self.wiped(realm.page)
        del self.vmids[realm.page]
        self.mecids.discard(realm.descriptor.mecid)
        self.memory.remove(realm.descriptor.key)

    # ---- processors

    def rec_aux_count(self, rd: int) -> int:
        """RMI_REC_AUX_COUNT: how many auxiliary granules a processor of this realm needs."""
        self.realm(Rmi.REC_AUX_COUNT, rd)
        return AUX_COUNT

    def rec_create(self, rd: int, rec: int, params: int) -> None:
        """RMI_REC_CREATE: a processor whose start is measured."""
        call = Rmi.REC_CREATE
        given = self.parameters(call, RecParamsPage, params)
        page = self.granules.require(call, rec, GranuleState.DELEGATED)
        realm = self.realm(call, rd)
        self.require_new(call, realm)
        if given.flags & ~RUNNABLE or given.num_aux != AUX_COUNT or given.mpidr != realm.descriptor.processors:
            reason = f"flags {given.flags:#x}, {given.num_aux} auxiliary granules, processor {given.mpidr}"
            raise CallFailed(call, RmiStatus.ERROR_INPUT, reason)
        aux = [self.granules.require(call, one, GranuleState.DELEGATED) for one in given.aux_addresses]
        if len({page, *aux}) != 1 + AUX_COUNT:
            raise CallFailed(call, RmiStatus.ERROR_INPUT, "one granule is given for two purposes")
        self._begin_rec(realm, page, given, aux)

    def _begin_rec(self, realm: Realm, page: int, given: RecParamsPage, aux: list[int]) -> None:
        descriptor = realm.descriptor
        descriptor.rim = descriptor.rim.add_rec(pc=given.pc, gprs=given.registers, flags=given.flags)
        descriptor.processors += 1
        realm.keep()
        for one in aux:
            self.memory.put(one, descriptor.key)
            self.granules.set(one, GranuleState.REC_AUX)
        self.aux[page] = aux
        self.owners[page] = realm.page
        self.granules.set(page, GranuleState.REC)
        self.granules.references[realm.page] += 1
        self.context(page).begin(realm.page, given)

    def rec_destroy(self, rec: int) -> None:
        """RMI_REC_DESTROY of a processor that does not run."""
        call = Rmi.REC_DESTROY
        page = self.granules.require(call, rec, GranuleState.REC)
        if self.granules.references[page]:
            raise CallFailed(call, RmiStatus.ERROR_REC, "the processor is running")
        for one in (page, *self.aux.pop(page)):
            self.wiped(one)
        self.granules.references[self.owners.pop(page)] -= 1

    def context(self, page: int) -> RecContext:
        """The granule of a REC, under its realm's key."""
        owner = self.owners[page]
        key = self.key_of_mecid(owner, mecid_of(self.memory, owner))
        return RecContext(self.memory, page, key, self.names)

    def rec_enter(self, rec: int, run: int) -> list[int]:
        """RMI_REC_ENTER: the processor runs on; returns its registers, in the order of `names`. CallFailed.

        `run` is a page of the host's: flags in, and the exit when the processor is left.
        """
        call = Rmi.REC_ENTER
        page = self.granules.require(call, rec, GranuleState.REC)
        place = self.granules.page_of(run)
        if place is None or self.granules.state(place) is not GranuleState.NS:
            raise CallFailed(call, RmiStatus.ERROR_INPUT, f"{run:#x} is no granule of the non-secure world")
        self.require_host(call, place)
        if self.granules.references[page]:
            raise CallFailed(call, RmiStatus.ERROR_REC, "the processor is running already")
        state = state_of(self.memory, self.owners[page])
        if state != RealmState.ACTIVE:
            known = RealmState(state).name if state in list(RealmState) else f"in state {state}"
            raise CallFailed(call, RmiStatus.ERROR_REALM, f"the realm is {known}, not ACTIVE", state & 0xFF)
        context = self.context(page)
        self._check_entry(context, entry_flags(self.memory, place))
        self.granules.references[page] = 1
        return context.load()

    def _check_entry(self, context: RecContext, flags: int) -> None:
        """What the REC itself says. A change of RIPAS that the realm asked for ends here, done or not."""
        if context.word(OWNER) != self.owners[context.page]:
            raise MonitorPanic(f"the REC in granule {context.page:#x} is not its realm's: DRAM was changed")
        if not context.word(FLAGS) & RUNNABLE:
            raise CallFailed(Rmi.REC_ENTER, RmiStatus.ERROR_REC, "the processor was created not runnable")
        if flags & (EMULATED_MMIO | INJECT_SEA):
            reason = f"flags {flags:#x}: the last exit was no abort on an unprotected address"
            raise CallFailed(Rmi.REC_ENTER, RmiStatus.ERROR_REC, reason)
        context.set_words({PENDING: 0})

    def rec_exit(self, rec: int, run: int, registers: list[int] | None, left: Exit) -> dict[str, int]:
        """The processor is left: its registers go into the REC, and the host finds in `run` what `left` says.

        `registers` of None are those that the REC has.
        """
        page = rec // PAGE
        if registers is not None:
            self.context(page).save(registers)
        self.granules.references[page] = 0
        show(self.memory, run // PAGE, left)
        return left.shown()


def _wrong_parameters(given: RealmParamsPage) -> str:
    """What is wrong with the parameters of a realm, or nothing."""
    if given.flags & ~KNOWN_FLAGS or given.sve_vl or given.pmu_num_ctrs:
        return f"flags {given.flags:#x}, SVE {given.sve_vl}, PMU {given.pmu_num_ctrs}: features that are not here"
    if not given.s2sz <= WIDEST or not 0 <= given.rtt_level_start < PAGE_LEVEL:
        return f"addresses of {given.s2sz} bits, tables from level {given.rtt_level_start}"
    smallest = 9 * (PAGE_LEVEL - given.rtt_level_start) + 12 + 1
    if not smallest <= given.s2sz <= smallest + 8:
        return f"addresses of {given.s2sz} bits do not go with tables from level {given.rtt_level_start}"
    if given.rtt_num_start != 1:
        return f"{given.rtt_num_start} root tables; this size has one"
    return ""
