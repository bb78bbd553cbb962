"""The realm management monitor's calls: states, status codes, measurement, and what the host gets back."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloister.emulate.cca.gpt import Gpi, GranuleProtectionTable, Pas
from cloister.emulate.cca.granules import GranuleState
from cloister.emulate.cca.hypervisor import Hypervisor
from cloister.emulate.cca.memory import PasMemory
from cloister.emulate.cca.realm import RealmParamsPage, RealmState, load_realm
from cloister.emulate.cca.rec import AUX_COUNT, Exit, ExitReason, RecParamsPage
from cloister.emulate.cca.rmi import CallFailed, Rmi, RmiStatus
from cloister.emulate.cca.rmm import Rmm
from cloister.emulate.cca.rtt import Ripas
from cloister.emulate.cca.smc import NOT_SUPPORTED, host_call
from cloister.emulate.host import PhysicalMemory
from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import HOST_KEY
from cloister.measure.cca import PROGRAM_REALM, RealmParameters
from cloister.measure.image import PAGE

GRANULES, L1, L0 = 2048, 1952, 1984
NAMES = (*(f"x{number}" for number in range(31)), "sp", "pc")
ZEROS = bytes(PAGE)
IPA = 0x8000_0000
HALF = 1 << 39
BLOCK = 2 << 20


class Stand:
    """A monitor with a host, without a machine."""

    def __init__(self, dram: Dram) -> None:
        controller = MemoryController(dram)
        cache = FrameCache([memoryview(bytearray(PAGE)) for _ in range(128)], controller, lambda: None)
        self.memory = PasMemory(controller, cache)
        gpt = GranuleProtectionTable(self.memory, GRANULES, L0, L1)
        gpt.fill(0, L1, Pas.NON_SECURE)
        self.shootdowns = 0
        self.rmm = Rmm(self.memory, gpt, L1, NAMES, self._shot, lambda _page: None)
        self.host = Hypervisor(self.rmm, PhysicalMemory(1, L1 - 1), lambda page, data: self.memory.put(page, 0, data))

    def _shot(self) -> None:
        self.shootdowns += 1

    def realm(self, parameters: RealmParameters = PROGRAM_REALM, vmid: int = 1) -> int:
        self.host.create(parameters, vmid=vmid)
        return self.host.rd

    def rim(self) -> str:
        return load_realm(self.memory, self.host.rd // PAGE).rim.digest.value.hex()

    def running(self) -> int:
        """An active realm with a page at 0 and a processor; its RD."""
        rd = self.realm()
        self.host.load([(0, ZEROS)])
        self.host.add_processor(0)
        self.rmm.realm_activate(rd)
        return rd

    def host_page(self, content: bytes = ZEROS) -> int:
        return self.host.scratch(content) * PAGE


@pytest.fixture
def stand() -> Iterator[Stand]:
    with Dram(GRANULES) as dram:
        yield Stand(dram)


def refused(status: RmiStatus, call: Callable[..., Any], *arguments: Any, index: int = 0) -> None:
    with pytest.raises(CallFailed) as raised:
        call(*arguments)
    assert (raised.value.status, raised.value.index) == (status, index), raised.value
    assert raised.value.code == status | index << 8


# ---- granules


def test_a_granule_goes_to_realm_and_back(stand: Stand) -> None:
    stand.memory.put(5, HOST_KEY, b"x" * PAGE)
    stand.rmm.granule_delegate(5 * PAGE)
    assert stand.rmm.gpt.entry(5) == Gpi.REALM
    assert stand.rmm.granules.state(5) is GranuleState.DELEGATED
    refused(RmiStatus.ERROR_INPUT, stand.rmm.granule_delegate, 5 * PAGE)
    stand.rmm.granule_undelegate(5 * PAGE)
    assert stand.rmm.gpt.entry(5) == Gpi.NON_SECURE
    assert b"xxxx" not in stand.memory.read(5, HOST_KEY)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.granule_undelegate, 5 * PAGE)


@pytest.mark.parametrize("address", [1, PAGE - 1, L1 * PAGE, GRANULES * PAGE, -PAGE, 1 << 60])
def test_what_is_no_granule_of_the_host_is_not_delegated(stand: Stand, address: int) -> None:
    refused(RmiStatus.ERROR_INPUT, stand.rmm.granule_delegate, address)


def test_a_granule_of_the_secure_world_is_not_delegated(stand: Stand) -> None:
    stand.rmm.gpt.transition(7, Pas.NON_SECURE, Pas.SECURE)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.granule_delegate, 7 * PAGE)


def test_granules_in_use_are_not_undelegated(stand: Stand) -> None:
    stand.running()
    host = stand.host
    for address in (host.rd, host.rec, host.root, *host.aux, host.table[0] * PAGE):
        refused(RmiStatus.ERROR_INPUT, stand.rmm.granule_undelegate, address)


# ---- realms: parameters


def parameters(stand: Stand, **changes: int) -> int:
    """A page of the host's with parameters, one of them changed."""
    rtt = changes.pop("rtt_base", stand.host.give())
    page = RealmParamsPage.of(PROGRAM_REALM, rpv=b"", vmid=1, rtt_base=rtt, rtt_level=0)
    values = {name: value for name, value in page.fields() if not name.startswith("reserved")} | changes
    return stand.host_page(RealmParamsPage(**values).serialize())


@pytest.mark.parametrize(
    "change",
    [
        {"flags": 1}, {"s2sz": 49}, {"s2sz": 39}, {"rtt_level_start": 3}, {"rtt_level_start": 1 << 63},
        {"rtt_level_start": 2}, {"rtt_num_start": 2}, {"hash_algo": 2}, {"sve_vl": 1}, {"pmu_num_ctrs": 1},
        {"rtt_base": 8 * PAGE}, {"rtt_base": 1},
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(stand: Stand, change: dict[str, int]) -> None:
    refused(RmiStatus.ERROR_INPUT, stand.rmm.realm_create, stand.host.give(), parameters(stand, **change))
    assert not stand.rmm.vmids


def test_parameters_are_read_from_the_non_secure_world_only(stand: Stand) -> None:
    place = parameters(stand)
    stand.rmm.gpt.transition(place // PAGE, Pas.NON_SECURE, Pas.SECURE)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.realm_create, stand.host.give(), place)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.realm_create, stand.host.give(), stand.host.give())


def test_reserved_bytes_must_be_zero(stand: Stand) -> None:
    place = parameters(stand)
    stand.memory.write(place // PAGE, HOST_KEY, 0xFFF, b"\1")
    refused(RmiStatus.ERROR_INPUT, stand.rmm.realm_create, stand.host.give(), place)


def test_two_realms_need_two_vmids_and_get_two_keys(stand: Stand) -> None:
    first = stand.realm()
    refused(RmiStatus.ERROR_INPUT, stand.realm)
    second = stand.realm(vmid=2)
    mecids = [load_realm(stand.memory, rd // PAGE).mecid for rd in (first, second)]
    assert mecids == [2, 3]


def test_descriptor_and_table_are_two_granules(stand: Stand) -> None:
    rd = stand.host.give()
    refused(RmiStatus.ERROR_INPUT, stand.rmm.realm_create, rd, parameters(stand, rtt_base=rd))


# ---- realms: life


def test_the_life_of_a_realm(stand: Stand) -> None:
    rd = stand.running()
    realm = load_realm(stand.memory, rd // PAGE)
    assert (realm.state, realm.processors) == (RealmState.ACTIVE, 1)
    refused(RmiStatus.ERROR_REALM, stand.rmm.realm_activate, rd)
    refused(RmiStatus.ERROR_REALM, stand.rmm.realm_destroy, rd)
    free = stand.host.pages.left
    stand.host.end()
    assert stand.host.pages.left > free
    assert not any(stand.rmm.granules.pages(state) for state in GranuleState if state is not GranuleState.NS)
    assert (stand.rmm.vmids, stand.rmm.mecids, +stand.rmm.granules.references) == ({}, set(), {})


def test_a_realm_is_built_only_while_it_is_new(stand: Stand) -> None:
    rd = stand.running()
    give, source = stand.host.give, stand.host_page()
    refused(RmiStatus.ERROR_REALM, stand.rmm.data_create, rd, give(), PAGE, source)
    refused(RmiStatus.ERROR_REALM, stand.rmm.rtt_init_ripas, rd, PAGE, 2 * PAGE)
    params = stand.host_page(RecParamsPage.of(pc=0, aux=[give(), give()], mpidr=1).serialize())
    refused(RmiStatus.ERROR_REALM, stand.rmm.rec_create, rd, give(), params)


# ---- measurement: the vectors that were computed apart from this code


def test_the_initial_measurement_through_the_real_calls(stand: Stand) -> None:
    stand.realm(RealmParameters(s2sz=40))
    assert stand.rim() == "69c7b37493bb272a73b5540b00de2ddd1d891a6e74f927f9969ce59868b67fd3"
    stand.host.load([(IPA, ZEROS)])
    assert stand.rim() == "0eceede614183ce5dd552b62a56ce1978f292aa3ba51c160eef02df5f3cde4d5"
    stand.host.add_processor(IPA)
    assert stand.rim() == "68a3df14418b4cb1ed236e305e3aaf81fb860d0a423a19746dde84516efc8229"


def test_memory_is_measured_entry_by_entry(stand: Stand) -> None:
    """One call for a block of 2 MiB where there is no table for pages, 512 where there is one."""
    stand.realm()
    stand.host.make_tables(IPA, 2)
    once = load_realm(stand.memory, stand.host.rd // PAGE).rim.set_ram(IPA, IPA + BLOCK).digest.value.hex()
    assert stand.rmm.rtt_init_ripas(stand.host.rd, IPA, IPA + BLOCK) == IPA + BLOCK
    assert stand.rim() == once
    running = load_realm(stand.memory, stand.host.rd // PAGE).rim
    for place in range(IPA + BLOCK, IPA + 2 * BLOCK, PAGE):
        running = running.set_ram(place, place + PAGE)
    stand.host.make_tables(IPA + BLOCK, 3)
    stand.host.set_ram(IPA + BLOCK, IPA + 2 * BLOCK)
    assert stand.rim() == running.digest.value.hex()


@pytest.mark.parametrize("change", ["content", "address", "unmeasured", "order"])
def test_what_differs_is_measured(stand: Stand, change: str) -> None:
    pages = [(IPA, b"a" * PAGE), (IPA + PAGE, b"b" * PAGE)]
    stand.realm()
    stand.host.load(pages)
    right = stand.rim()
    stand.realm(vmid=2)
    stand.host.tables.clear()
    if change == "unmeasured":
        stand.host.make_tables(IPA, 3)
        for ipa, content in pages:
            stand.rmm.data_create(stand.host.rd, stand.host.give(), ipa, stand.host_page(content), 0)
    elif change == "order":
        stand.host.load(pages[::-1])
    else:
        other = (IPA, b"c" * PAGE) if change == "content" else (IPA + 2 * PAGE, b"a" * PAGE)
        stand.host.load([other, pages[1]])
    assert stand.rim() != right


def test_registers_of_a_sha512_realm_have_64_bytes(stand: Stand) -> None:
    stand.realm(RealmParameters(s2sz=40, hash_algorithm="sha512"))
    found = load_realm(stand.memory, stand.host.rd // PAGE)
    assert {len(one.value) for one in (found.rim.digest, *found.rems)} == {64}


# ---- processors


def test_a_processor_starts_as_it_was_measured(stand: Stand) -> None:
    stand.realm()
    stand.host.add_processor(0x1234)
    assert stand.rmm.context(stand.host.rec // PAGE).register("pc") == 0x1234
    assert stand.rmm.context(stand.host.rec // PAGE).register("x0") == 0


@pytest.mark.parametrize("change", [{"aux": 1}, {"aux": 3}, {"mpidr": 1}, {"flags": 2}, {"same": 1}])
def test_wrong_parameters_of_a_processor(stand: Stand, change: dict[str, int]) -> None:
    rd, rec = stand.realm(), stand.host.give()
    aux = [stand.host.give() for _ in range(change.get("aux", AUX_COUNT))]
    if "same" in change:
        aux[0] = rec
    page = RecParamsPage.of(pc=0, aux=aux, mpidr=change.get("mpidr", 0), flags=change.get("flags", 1))
    refused(RmiStatus.ERROR_INPUT, stand.rmm.rec_create, rd, rec, stand.host_page(page.serialize()))


def test_a_processor_enters_an_active_realm_only(stand: Stand) -> None:
    rd = stand.realm()
    stand.host.add_processor(0)
    rec, run = stand.host.rec, stand.host.run
    refused(RmiStatus.ERROR_REALM, stand.rmm.rec_enter, rec, run)
    stand.rmm.realm_activate(rd)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.rec_enter, rec, rd)
    refused(RmiStatus.ERROR_INPUT, stand.rmm.rec_enter, rd, run)
    assert stand.rmm.rec_enter(rec, run) == [0] * len(NAMES)
    refused(RmiStatus.ERROR_REC, stand.rmm.rec_enter, rec, run)
    refused(RmiStatus.ERROR_REC, stand.rmm.rec_destroy, rec)
    stand.rmm.rec_exit(rec, run, list(range(len(NAMES))), Exit(ExitReason.IRQ))
    assert stand.rmm.rec_enter(rec, run) == list(range(len(NAMES)))


def test_a_processor_that_is_not_runnable_does_not_run(stand: Stand) -> None:
    rd, rec = stand.realm(), stand.host.give()
    page = RecParamsPage.of(pc=0, aux=[stand.host.give(), stand.host.give()], flags=0)
    stand.rmm.rec_create(rd, rec, stand.host_page(page.serialize()))
    stand.rmm.realm_activate(rd)
    refused(RmiStatus.ERROR_REC, stand.rmm.rec_enter, rec, stand.host_page())


@pytest.mark.parametrize("flag", [1, 2])
def test_a_host_cannot_inject_what_did_not_happen(stand: Stand, flag: int) -> None:
    stand.running()
    run = stand.host_page(flag.to_bytes(8, "little").ljust(PAGE, b"\0"))
    refused(RmiStatus.ERROR_REC, stand.rmm.rec_enter, stand.host.rec, run)


def test_the_host_changes_only_what_the_realm_asked_for(stand: Stand) -> None:
    rd = stand.running()
    rec = stand.host.rec
    refused(RmiStatus.ERROR_INPUT, stand.rmm.rtt_set_ripas, rd, rec, 0, PAGE)
    stand.rmm.context(rec // PAGE).begin_ripas(PAGE, 3 * PAGE, Ripas.RAM, destroyed=False)
    for base, top in ((0, PAGE), (2 * PAGE, 3 * PAGE), (PAGE, 4 * PAGE), (PAGE, PAGE)):
        refused(RmiStatus.ERROR_INPUT, stand.rmm.rtt_set_ripas, rd, rec, base, top)
    assert stand.rmm.rtt_set_ripas(rd, rec, PAGE, 2 * PAGE) == 2 * PAGE
    assert stand.rmm.rtt_set_ripas(rd, rec, 2 * PAGE, 3 * PAGE) == 3 * PAGE
    found = [stand.rmm.rtt_read_entry(rd, number * PAGE, 3).ripas for number in range(4)]
    assert found == [Ripas.RAM, Ripas.RAM, Ripas.RAM, Ripas.EMPTY]
    stand.rmm.rec_enter(rec, stand.host.run)
    stand.rmm.rec_exit(rec, stand.host.run, None, Exit(ExitReason.IRQ))
    refused(RmiStatus.ERROR_INPUT, stand.rmm.rtt_set_ripas, rd, rec, 3 * PAGE, 4 * PAGE)


# ---- by numbers


def test_calls_by_number(stand: Stand) -> None:
    assert host_call(stand.rmm, 0xC4000150) == (0, 0x10000)
    assert host_call(stand.rmm, 0xC4000151, 1900 * PAGE) == (0,)
    assert host_call(stand.rmm, Rmi.GRANULE_DELEGATE, 1900 * PAGE) == (RmiStatus.ERROR_INPUT,)
    assert host_call(stand.rmm, 0xC4000156) == (NOT_SUPPORTED,)
    rd = stand.running()
    assert host_call(stand.rmm, Rmi.RTT_READ_ENTRY, rd, 0, 3) == (0, 3, 1, stand.host.table[0] * PAGE, 1)
    assert host_call(stand.rmm, Rmi.DATA_DESTROY, rd, IPA) == (RmiStatus.ERROR_RTT | 1 << 8,)
    assert host_call(stand.rmm, Rmi.REC_ENTER, stand.host.rec, stand.host.run) == (0,)
    assert host_call(stand.rmm, Rmi.REC_AUX_COUNT, rd) == (0, AUX_COUNT)
    assert host_call(stand.rmm, Rmi.FEATURES)[1] & 0xFF == 48


def test_every_call_has_arms_name() -> None:
    assert {call.title for call in Rmi} >= {"RMI_DATA_CREATE_UNKNOWN", "RMI_RTT_INIT_RIPAS"}
    assert (Rmi.RTT_SET_RIPAS, Rmi.REC_ENTER, Rmi.RTT_READ_ENTRY) == (0xC4000169, 0xC400015C, 0xC4000161)
