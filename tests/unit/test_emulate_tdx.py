"""The emulated TDX module as its host meets it: every function's order, checks and effects, with status codes."""

from collections.abc import Iterator

import pytest
from tests.forge.emulated_tdx import CONTENT, PAGES, SPARE, ZERO, Platform, platform, refused

from cloister.emulate.paging import HOST_KEY
from cloister.emulate.tdx.calls import Operand, Seamcall, Status
from cloister.emulate.tdx.debugging import TdField
from cloister.emulate.tdx.keyed_memory import GLOBAL_HKID
from cloister.emulate.tdx.pamt import PageType
from cloister.emulate.tdx.params import Attribute, TdParams, default_params
from cloister.emulate.tdx.sept import SHARED_BIT
from cloister.emulate.tdx.td import Lifecycle, OpState
from cloister.emulate.tdx.tdvps import NAMES, Exit, ExitReason
from cloister.measure.image import PAGE
from cloister.measure.tdx import mrtd


@pytest.fixture
def tdx() -> Iterator[Platform]:
    made = platform()
    yield made
    made.dram.close()


# ---------------------------------------------------------------- building a TD


def test_the_launch_measures_what_the_offline_calculation_says(tdx: Platform) -> None:
    """Digests of tables "MRTD after PAGE.ADD" of an independent computation, and those of cloister.measure."""
    tdx.built([(0, ZERO)])
    tdx.vmm.finalize()
    found = tdx.td.info(tdx.memory).mrtd
    expected = "236f0efa607ff8843f1855d7ef80dc3dda8fb455787a186b8787212951eab0096e3193bb26f817c2b63c21f5e10f9938"
    assert found.hex() == expected
    assert found == mrtd([(0, ZERO)]).value
    assert tdx.td.op_state is OpState.RUNNABLE


def test_adding_a_page_measures_its_place_only(tdx: Platform) -> None:
    tdx.vmm.create(default_params())
    for level in (3, 2, 1):
        tdx.module.mem_sept_add(tdx.vmm.tdr, 0, level, SPARE + level)
    tdx.cache.put(SPARE, HOST_KEY, CONTENT)
    tdx.module.mem_page_add(tdx.vmm.tdr, 0, SPARE + 9, SPARE)
    tdx.vmm.add_vcpu()
    tdx.vmm.finalize()
    expected = "8f3e9a8aca6784eab874f7aa4dda5d49104a88047f1f86695ef2a88f5691a90e34aac48ce45ffa1f5a23c7d62980d570"
    assert tdx.td.info(tdx.memory).mrtd.hex() == expected


def test_two_launches_differ_by_content_address_and_order(tdx: Platform) -> None:
    pages = [(0, ZERO), (PAGE, CONTENT)]
    others = [[(0, CONTENT), (PAGE, ZERO)], [(0, ZERO), (2 * PAGE, CONTENT)], pages[::-1], pages[:1]]
    assert len({mrtd(one).value for one in [pages, *others]}) == 5
    tdx.built(pages[::-1])
    tdx.vmm.finalize()
    assert tdx.td.info(tdx.memory).mrtd == mrtd(pages[::-1]).value


def test_private_memory_is_ciphertext_and_only_the_td_reads_it(tdx: Platform) -> None:
    tdx.running()
    page = tdx.vmm.table[0]
    assert not tdx.pages_hold(CONTENT[:32])
    assert tdx.memory.read(page, tdx.td.hkid) == CONTENT
    assert tdx.memory.read(page, HOST_KEY) == ZERO
    control = SPARE + 1
    tdx.cache.put(control, HOST_KEY, CONTENT)
    assert tdx.memory.read(control, HOST_KEY) == CONTENT


def test_each_step_is_refused_before_the_one_that_it_needs(tdx: Platform) -> None:
    module = tdx.module
    assert refused(lambda: module.mng_key_config(0))[1] is Status.PAGE_METADATA_INCORRECT
    module.mng_create(0, 20)
    assert refused(lambda: module.mng_addcx(0, 1))[1] is Status.TD_KEYS_NOT_CONFIGURED
    module.mng_key_config(0)
    assert refused(lambda: module.mng_key_config(0))[1] is Status.KEY_CONFIGURED
    for page in range(1, 6):
        module.mng_addcx(0, page)
    assert refused(lambda: module.mng_init(0, default_params().serialize()))[1] is Status.TDCS_NOT_ALLOCATED
    module.mng_addcx(0, 6)
    assert refused(lambda: module.mem_sept_add(0, 0, 3, 7))[1] is Status.OP_STATE_INCORRECT
    module.mng_init(0, default_params().serialize())
    assert refused(lambda: module.mng_init(0, default_params().serialize()))[1] is Status.OP_STATE_INCORRECT
    assert refused(lambda: module.mng_addcx(0, 7))[1] is Status.OP_STATE_INCORRECT
    assert refused(lambda: module.mem_page_add(0, 0, 7, 8)) == (
        Seamcall.MEM_PAGE_ADD,
        Status.EPT_WALK_FAILED,
        Operand.RCX,
    )
    assert refused(lambda: module.mem_sept_add(0, 0, 1, 7))[1] is Status.EPT_WALK_FAILED
    assert module.pamt.type_of(7) is PageType.NDA
    assert refused(lambda: module.mr_finalize(0))[1] is Status.NO_VCPUS
    module.vp_create(7, 0)
    assert refused(lambda: module.vp_init(7, 0))[1] is Status.TDCX_NUM_INCORRECT
    assert refused(lambda: module.vp_enter(7))[1] is Status.OP_STATE_INCORRECT


def test_key_ids_are_private_and_one_tds(tdx: Platform) -> None:
    module = tdx.module
    assert refused(lambda: module.mng_create(0, 3)) == (Seamcall.MNG_CREATE, Status.OPERAND_INVALID, Operand.RDX)
    assert refused(lambda: module.mng_create(0, GLOBAL_HKID))[1] is Status.HKID_NOT_FREE
    module.mng_create(0, 20)
    assert refused(lambda: module.mng_create(1, 20))[1] is Status.HKID_NOT_FREE


def test_tdcs_and_tdvps_take_as_many_pages_as_they_have(tdx: Platform) -> None:
    module = tdx.module
    module.mng_create(0, 20)
    module.mng_key_config(0)
    for page in range(1, 10):
        module.mng_addcx(0, page)
    assert refused(lambda: module.mng_addcx(0, 10))[1] is Status.TDCX_NUM_INCORRECT
    module.mng_init(0, default_params().serialize())
    module.vp_create(10, 0)
    for page in range(11, 16):
        module.vp_addcx(page, 10)
    assert refused(lambda: module.vp_addcx(16, 10))[1] is Status.TDCX_NUM_INCORRECT
    module.vp_init(10, 0x1234)
    assert refused(lambda: module.vp_init(10, 0))[1] is Status.VCPU_STATE_INCORRECT
    module.vp_create(20, 0)
    for page in range(21, 26):
        module.vp_addcx(page, 20)
    assert refused(lambda: module.vp_init(20, 0))[1] is Status.MAX_VCPUS_EXCEEDED


def test_the_first_registers_are_reset_values_and_the_hosts_argument(tdx: Platform) -> None:
    tdx.vmm.create(default_params())
    tdx.vmm.add_vcpu(argument=0x1234)
    tdx.vmm.finalize()
    registers, flush = tdx.module.vp_enter(tdx.vmm.tdvpr)
    named = dict(zip(NAMES, registers, strict=True))
    assert (named["rip"], named["rcx"], named["r8"], named["rsi"]) == (0xFFFFFFF0, 0x1234, 0x1234, 0)
    assert flush


BAD_PARAMS = {
    "unknown attribute": ({"attributes": 1 << 5}, Operand.ATTRIBUTES),
    "XFAM without SSE": ({"xfam": 1}, Operand.XFAM),
    "XFAM too wide": ({"xfam": 3 | 1 << 3}, Operand.XFAM),
    "no processors": ({"max_vcpus": 0}, Operand.MAX_VCPUS),
    "five levels": ({"eptp_controls": 6 | 4 << 3}, Operand.EPTP_CONTROLS),
    "GPAW 52": ({"config_flags": 1}, Operand.CONFIG_FLAGS),
    "slow clock": ({"tsc_frequency": 3}, Operand.TSC_FREQUENCY),
    "fast clock": ({"tsc_frequency": 401}, Operand.TSC_FREQUENCY),
    "L2 VMs": ({"num_l2_vms": 1}, Operand.RDX),
}


@pytest.mark.parametrize("name", BAD_PARAMS)
def test_td_params_are_checked(tdx: Platform, name: str) -> None:
    changed, operand = BAD_PARAMS[name]
    fields = {key: value for key, value in default_params().fields() if not key.startswith("reserved")}
    params = TdParams(**fields | changed)
    assert refused(lambda: tdx.vmm.create(params)) == (Seamcall.MNG_INIT, Status.OPERAND_INVALID, operand)


def test_the_hosts_identifiers_stand_in_the_td(tdx: Platform) -> None:
    params = default_params(mrconfigid=b"c" * 48, mrowner=b"o" * 48, mrownerconfig=b"p" * 48, debug=True)
    info = tdx.running(params).td.info(tdx.memory)
    assert (info.mrconfigid, info.mrowner, info.mrownerconfig) == (b"c" * 48, b"o" * 48, b"p" * 48)
    assert int.from_bytes(info.attributes, "little") == Attribute.DEBUG | Attribute.SEPT_VE_DISABLE


def test_a_page_is_one_thing_at_a_time(tdx: Platform) -> None:
    """The PAMT refuses every page that is in use, whatever it is in use for."""
    tdx.running()
    module, tdr = tdx.module, tdx.vmm.tdr
    kinds = {module.pamt.type_of(page) for page in range(PAGES)}
    assert kinds == set(PageType)
    tdx.vmm.augment(PAGE)
    for page in [*module.pamt.owned(tdr), tdr]:
        found = refused(lambda page=page: module.mem_page_aug(tdr, 2 * PAGE, page))  # type: ignore[misc]
        assert found == (Seamcall.MEM_PAGE_AUG, Status.PAGE_METADATA_INCORRECT, Operand.R8)
    assert refused(lambda: module.mem_page_aug(tdr, 2 * PAGE, PAGES))[1] is Status.OPERAND_ADDR_RANGE_ERROR


@pytest.mark.parametrize("gpa", [1, SHARED_BIT, SHARED_BIT + PAGE, -PAGE])
def test_private_functions_take_private_pages_only(tdx: Platform, gpa: int) -> None:
    tdx.running()
    module, tdr = tdx.module, tdx.vmm.tdr
    for act in (module.mem_range_block, module.mem_page_remove, lambda tdr, gpa: module.mem_page_aug(tdr, gpa, SPARE)):
        assert refused(lambda act=act: act(tdr, gpa))[1:] == (Status.OPERAND_INVALID, Operand.RCX)  # type: ignore[misc]


def test_content_cannot_be_added_to_a_td_that_may_run(tdx: Platform) -> None:
    tdx.running()
    module, tdr = tdx.module, tdx.vmm.tdr
    assert refused(lambda: module.mem_page_add(tdr, PAGE, SPARE, SPARE + 1))[1] is Status.OP_STATE_INCORRECT
    assert refused(lambda: module.mr_extend(tdr, 0))[1] is Status.OP_STATE_INCORRECT
    assert refused(lambda: module.mr_finalize(tdr))[1] is Status.OP_STATE_INCORRECT
    assert refused(lambda: module.vp_create(SPARE, tdr))[1] is Status.OP_STATE_INCORRECT


# ---------------------------------------------------------------- debug


def test_production_tds_are_closed(tdx: Platform) -> None:
    tdx.running()
    module, tdr = tdx.module, tdx.vmm.tdr
    assert refused(lambda: module.mem_rd(tdr, 0))[1] is Status.TD_NON_DEBUG
    assert refused(lambda: module.mem_wr(tdr, 0, bytes(8)))[1] is Status.TD_NON_DEBUG
    assert refused(lambda: module.vp_rd(tdx.vmm.tdvpr, "rip"))[1] is Status.TD_NON_DEBUG
    assert refused(lambda: module.vp_wr(tdx.vmm.tdvpr, "rip", 0))[1] is Status.TD_NON_DEBUG
    assert refused(lambda: module.mng_rd(tdr, TdField.MRTD))[1] is Status.METADATA_FIELD_NOT_READABLE
    assert module.mng_rd(tdr, TdField.OP_STATE) == OpState.RUNNABLE
    assert module.mng_rd(tdr, TdField.NUM_VCPUS) == 1
    assert module.mng_rd(tdr, TdField.LIFECYCLE_STATE) == Lifecycle.KEYS_CONFIGURED


def test_debug_tds_are_open(tdx: Platform) -> None:
    tdx.running(default_params(debug=True))
    module, tdr = tdx.module, tdx.vmm.tdr
    assert module.mem_rd(tdr, 8) == CONTENT[8:16]
    module.mem_wr(tdr, 8, b"password")
    assert tdx.memory.read(tdx.vmm.table[0], tdx.td.hkid, 8, 8) == b"password"
    assert module.vp_rd(tdx.vmm.tdvpr, "rip") == 0xFFFFFFF0
    module.vp_wr(tdx.vmm.tdvpr, "rip", 0x1000)
    assert module.vp_enter(tdx.vmm.tdvpr)[0][NAMES.index("rip")] == 0x1000
    assert refused(lambda: module.vp_rd(tdx.vmm.tdvpr, "rip"))[1] is Status.VCPU_STATE_INCORRECT
    assert module.mng_rd(tdr, TdField.MRTD) == mrtd([(0, CONTENT)]).value
    assert module.mng_rd(tdr, TdField.RTMRS) == bytes(4 * 48)
    assert module.mng_rd(tdr, TdField.ATTRIBUTES) == tdx.td.attributes
    assert refused(lambda: module.mem_rd(tdr, 4))[1] is Status.OPERAND_INVALID


# ---------------------------------------------------------------- the end


def test_teardown_goes_in_order_and_gives_every_page_back(tdx: Platform) -> None:
    tdx.running()
    module, tdr, tdvpr, hkid = tdx.module, tdx.vmm.tdr, tdx.vmm.tdvpr, tdx.td.hkid
    module.vp_enter(tdvpr)
    assert refused(lambda: module.vp_flush(tdvpr))[1] is Status.VCPU_STATE_INCORRECT
    module.td_exit(tdx.td.vcpus[0], [0] * len(NAMES), Exit(ExitReason.EXTERNAL_INTERRUPT))
    assert refused(lambda: module.mng_vpflushdone(tdr))[1] is Status.FLUSHVP_NOT_DONE
    assert refused(lambda: module.mng_key_freeid(tdr))[1] is Status.LIFECYCLE_STATE_INCORRECT
    module.vp_flush(tdvpr)
    module.mng_vpflushdone(tdr)
    assert refused(lambda: module.vp_enter(tdvpr))[1] is Status.LIFECYCLE_STATE_INCORRECT
    assert refused(lambda: module.mng_key_freeid(tdr))[1] is Status.WBCACHE_NOT_COMPLETE
    assert refused(lambda: module.phymem_page_reclaim(tdvpr))[1] is Status.LIFECYCLE_STATE_INCORRECT
    module.phymem_cache_wb()
    module.mng_key_freeid(tdr)
    assert hkid in module.free_hkids
    assert refused(lambda: module.phymem_page_reclaim(tdr))[1] is Status.TD_ASSOCIATED_PAGES_EXIST
    for page in module.pamt.owned(tdr):
        module.phymem_page_reclaim(page)
    module.phymem_page_reclaim(tdr)
    assert {module.pamt.type_of(page) for page in range(PAGES)} == {PageType.NDA}
    assert refused(lambda: module.phymem_page_reclaim(tdr))[1] is Status.PAGE_METADATA_INCORRECT


def test_a_second_td_after_the_first_has_another_key(tdx: Platform) -> None:
    tdx.running()
    page = tdx.vmm.table[0]
    tdx.memory.write_back()
    before = bytes(tdx.dram.page(page))
    tdx.vmm.end()
    tdx.running()
    tdx.memory.write_back()
    after = {bytes(tdx.dram.page(number)) for number in tdx.module.pamt.owned(tdx.vmm.tdr)}
    assert before not in after
    assert not tdx.pages_hold(CONTENT[:32])
