"""The realm monitor under any host: whatever calls come in whatever order, its books and the hardware's agree."""

import struct
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from cloister.emulate.cca.gpt import Gpi, GranuleProtectionTable, Pas
from cloister.emulate.cca.granules import GranuleState
from cloister.emulate.cca.hypervisor import Hypervisor
from cloister.emulate.cca.memory import REALM_KEY, PasMemory
from cloister.emulate.cca.realm import RealmParamsPage, load_realm
from cloister.emulate.cca.rec import Exit, ExitReason, RecParamsPage, RecRunExit
from cloister.emulate.cca.rmi import MonitorPanic, Rmi
from cloister.emulate.cca.rmm import Rmm
from cloister.emulate.cca.rtt import PAGE_LEVEL, Hipas, RttEntry
from cloister.emulate.cca.smc import SERVED, host_call
from cloister.emulate.host import PhysicalMemory
from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import HOST_KEY
from cloister.measure.cca import PROGRAM_REALM, RealmInitialMeasurement, table_entries
from cloister.measure.image import PAGE

GRANULES, FREE, L1, L0 = 128, 40, 64, 96
NAMES = ("x0", "x1", "pc")
HALF = 1 << 39
PARAMS, REC_PARAMS, RUN = 0, 1, 2
"""Pages of the host's own that the calls refer to."""

pages = st.integers(0, FREE + 2).map(lambda page: page * PAGE)
ipas = st.sampled_from([0, PAGE, 5 * PAGE, 2 << 20, 1 << 30, HALF, HALF + PAGE, 7])
TABLE = struct.Struct("<512Q")

levels = st.integers(-1, 4)
numbers = st.one_of(pages, ipas, levels, st.integers(0, (1 << 64) - 1))


class AnyHost(RuleBasedStateMachine):
    """A host that knows which granules it gave for what, and one that does not."""

    given_up: Bundle[int] = Bundle("given_up")

    def __init__(self) -> None:
        super().__init__()
        self.dram = Dram(GRANULES)
        controller = MemoryController(self.dram)
        self.memory = PasMemory(
            controller, FrameCache([memoryview(bytearray(PAGE)) for _ in range(64)], controller, lambda: None)
        )
        gpt = GranuleProtectionTable(self.memory, GRANULES, L0, L1)
        gpt.fill(0, FREE, Pas.NON_SECURE)
        gpt.fill(FREE, FREE + 3, Pas.SECURE)
        self.rmm = Rmm(self.memory, gpt, FREE + 3, NAMES, lambda: None, lambda _page: None)
        self.rims: dict[int, bytes] = {}

    @initialize(target=given_up)
    def a_realm(self) -> int:
        """A realm is begun, so that most calls are about something: RD 3, root 4, tables 5 to 7 over address 0."""
        for page in range(3, 12):
            host_call(self.rmm, Rmi.GRANULE_DELEGATE, page * PAGE)
        params = RealmParamsPage.of(PROGRAM_REALM, rpv=b"", vmid=1, rtt_base=4 * PAGE, rtt_level=0)
        self.memory.put(PARAMS, HOST_KEY, params.serialize())
        aux = RecParamsPage.of(pc=64, aux=[10 * PAGE, 11 * PAGE])
        self.memory.put(REC_PARAMS, HOST_KEY, aux.serialize())
        assert host_call(self.rmm, Rmi.REALM_CREATE, 3 * PAGE, PARAMS) == (0,)
        for level in (1, 2, 3):
            assert host_call(self.rmm, Rmi.RTT_CREATE, 3 * PAGE, (4 + level) * PAGE, 0, level) == (0,)
        return 3 * PAGE

    @rule(call=st.sampled_from(sorted(SERVED)), arguments=st.lists(numbers, max_size=5))
    def any_call(self, call: int, arguments: list[int]) -> None:
        host_call(self.rmm, call, *arguments)

    @rule(page=pages)
    def delegate(self, page: int) -> None:
        host_call(self.rmm, Rmi.GRANULE_DELEGATE, page)

    @rule(rd=given_up, data=pages, ipa=ipas)
    def data(self, rd: int, data: int, ipa: int) -> None:
        host_call(self.rmm, Rmi.DATA_CREATE, rd, data, ipa, PARAMS, 1)
        host_call(self.rmm, Rmi.DATA_CREATE_UNKNOWN, rd, data, ipa)

    @rule(rd=given_up, table=pages, ipa=ipas, level=levels)
    def table(self, rd: int, table: int, ipa: int, level: int) -> None:
        host_call(self.rmm, Rmi.RTT_CREATE, rd, table, ipa, level)

    @rule(rd=given_up, ipa=ipas, level=levels)
    def take(self, rd: int, ipa: int, level: int) -> None:
        host_call(self.rmm, Rmi.DATA_DESTROY, rd, ipa)
        host_call(self.rmm, Rmi.RTT_DESTROY, rd, ipa, level)

    @rule(rd=given_up, rec=pages)
    def processor(self, rd: int, rec: int) -> None:
        host_call(self.rmm, Rmi.REC_CREATE, rd, rec, REC_PARAMS * PAGE)
        host_call(self.rmm, Rmi.REALM_ACTIVATE, rd)
        host_call(self.rmm, Rmi.REC_ENTER, rec, RUN * PAGE)

    @rule(rd=given_up, base=ipas, top=ipas)
    def ripas(self, rd: int, base: int, top: int) -> None:
        host_call(self.rmm, Rmi.RTT_INIT_RIPAS, rd, base, top)

    @invariant()
    def the_protection_table_agrees_with_the_monitor(self) -> None:
        """Nothing that the monitor uses is the host's; nothing of the Secure world's is the monitor's."""
        for page in range(FREE + 3):
            state, gpi = self.rmm.granules.state(page), self.rmm.gpt.entry(page)
            if page >= FREE:
                assert (state, gpi) == (GranuleState.NS, Gpi.SECURE)
            else:
                assert gpi == (Gpi.NON_SECURE if state is GranuleState.NS else Gpi.REALM)

    @invariant()
    def a_granule_has_one_use(self) -> None:
        """Every granule of memory or of a table stands in exactly one table of one realm, and counts are right.

        No two assigned entries of a table are equal words, for their addresses differ.
        """
        used, uses = Counter[int](), Counter[int]()
        for rd in self.rmm.granules.pages(GranuleState.RD):
            realm = load_realm(self.memory, rd)
            used[realm.root] += 1
            self.walk(realm.root, 0, used, uses)
        assert {page for page, count in used.items() if count != 1} == set()
        states = {page: self.rmm.granules.state(page) for page in used}
        assert set(states.values()) <= {GranuleState.DATA, GranuleState.RTT}
        owned = {*self.rmm.granules.pages(GranuleState.DATA), *self.rmm.granules.pages(GranuleState.RTT)}
        assert owned == set(used)
        for table in self.rmm.granules.pages(GranuleState.RTT):
            assert self.rmm.granules.references[table] == uses[table]

    def walk(self, table: int, level: int, used: "Counter[int]", uses: "Counter[int]") -> None:
        for word in set(TABLE.unpack(self.memory.read(table, REALM_KEY))):
            entry = RttEntry.read(word, level)
            if entry.hipas is Hipas.TABLE:
                used[entry.page] += 1
                uses[table] += 1
                self.walk(entry.page, level + 1, used, uses)
            elif entry.hipas is Hipas.ASSIGNED and not entry.unprotected:
                used[entry.page] += 1
                uses[table] += 1

    @invariant()
    def the_initial_measurement_is_final_once_active(self) -> None:
        for rd in self.rmm.granules.pages(GranuleState.RD):
            realm = load_realm(self.memory, rd)
            if realm.state:
                rim = realm.rim.digest.value
                assert self.rims.setdefault(rd, rim) == rim
        for rd in set(self.rims) - set(self.rmm.granules.pages(GranuleState.RD)):
            del self.rims[rd]

    def teardown(self) -> None:
        self.dram.close()


TestAnyHost = AnyHost.TestCase
TestAnyHost.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(word=st.integers(0, (1 << 64) - 1), level=st.integers(0, PAGE_LEVEL))
def test_any_word_of_a_table_is_read_or_refused(word: int, level: int) -> None:
    try:
        entry = RttEntry.read(word, level)
    except MonitorPanic:
        return
    assert RttEntry.read(entry.word(), level) == entry


@given(
    reason=st.sampled_from(ExitReason), esr=st.integers(0, (1 << 64) - 1), base=st.integers(0, (1 << 64) - 1),
    gprs=st.lists(st.integers(0, (1 << 64) - 1), max_size=31).map(tuple), imm=st.integers(0, 0xFFFF),
)  # fmt: skip
def test_an_exit_is_written_as_the_structure_has_it(
    reason: ExitReason, esr: int, base: int, gprs: tuple[int, ...], imm: int
) -> None:
    data = RecRunExit.of(Exit(reason, esr=esr, ripas_base=base, gprs=gprs, imm=imm)).serialize()
    assert len(data) == 2048
    assert int.from_bytes(data[:8], "little") == reason
    assert int.from_bytes(data[0x100:0x108], "little") == esr
    assert int.from_bytes(data[0x500:0x508], "little") == base
    assert int.from_bytes(data[0x600:0x602], "little") == imm
    assert RecRunExit.parse(data).serialize() == data


@given(first=st.integers(0, 1500), count=st.integers(1, 1500))
def test_ranges_are_measured_as_the_monitor_walks_them(first: int, count: int) -> None:
    """Offline, the ranges are those of the entries that a host with the fewest tables has: the monitor agrees."""
    base, top = first * PAGE, (first + count) * PAGE
    offline = RealmInitialMeasurement.create(PROGRAM_REALM)
    for one, other in table_entries(base, top):
        offline = offline.set_ram(one, other)
    with Dram(256) as dram:
        controller = MemoryController(dram)
        memory = PasMemory(
            controller, FrameCache([memoryview(bytearray(PAGE)) for _ in range(16)], controller, lambda: None)
        )
        gpt = GranuleProtectionTable(memory, 256, 192, 160)
        gpt.fill(0, 160, Pas.NON_SECURE)
        rmm = Rmm(memory, gpt, 160, NAMES, lambda: None, lambda _page: None)
        host = Hypervisor(rmm, PhysicalMemory(0, 160), lambda page, data: memory.put(page, HOST_KEY, data))
        host.create(PROGRAM_REALM)
        host.set_ram(base, top)
        assert load_realm(memory, host.rd // PAGE).rim.digest == offline.digest
