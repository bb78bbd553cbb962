"""The emulated TDX module as a trust domain meets it: TDCALL, reports, and registers across exits."""

import hashlib
from collections.abc import Iterator

import pytest
from tests.forge.emulated_tdx import CONTENT, Platform, platform, refused

from cloister.emulate.paging import HOST_KEY, IntegrityFault
from cloister.emulate.tdx import tdvps
from cloister.emulate.tdx.calls import CallFailed, Operand, Status, Tdcall
from cloister.emulate.tdx.params import TdParams, default_params
from cloister.emulate.tdx.report import MODULE, ReportKey
from cloister.emulate.tdx.sept import SHARED_BIT, EptViolation, SeptState
from cloister.emulate.tdx.stepping import SteppingGuard
from cloister.emulate.tdx.tdcall import GuestCalls
from cloister.emulate.tdx.tdvps import GENERAL, NAMES, Exit, ExitReason, selected
from cloister.emulate.vendors.intel_platform import SERVER
from cloister.emulate.vendors.intel_reports import TdxReport
from cloister.measure.image import PAGE
from cloister.measure.tdx import extend_rtmr, mrtd
from cloister.model import Digest

DATA = bytes(range(64))
REPORT_AT, DATA_AT = 1024, 64


@pytest.fixture
def tdx() -> Iterator[Platform]:
    made = platform()
    made.running()
    yield made
    made.dram.close()


@pytest.fixture
def calls(tdx: Platform) -> GuestCalls:
    return calls_of(tdx)


def calls_of(tdx: Platform) -> GuestCalls:
    return GuestCalls(tdx.module, tdx.td, tdx.td.vcpus[0])


def put(tdx: Platform, gpa: int, data: bytes) -> None:
    tdx.memory.write(tdx.vmm.table[gpa // PAGE], tdx.td.hkid, gpa % PAGE, data)


def get(tdx: Platform, gpa: int, size: int) -> bytes:
    return tdx.memory.read(tdx.vmm.table[gpa // PAGE], tdx.td.hkid, gpa % PAGE, size)


# ---------------------------------------------------------------- accepting memory


def test_a_page_must_be_added_by_the_host_and_accepted_by_the_td(tdx: Platform, calls: GuestCalls) -> None:
    with pytest.raises(EptViolation) as exit_:
        calls.mem_page_accept(PAGE)
    assert (exit_.value.gpa, exit_.value.state) == (PAGE, SeptState.FREE)
    page = tdx.vmm.augment(PAGE)
    tdx.cache.put(page, HOST_KEY, CONTENT)  # the host may write what it likes before
    with pytest.raises(EptViolation):
        calls.rtmr_extend(PAGE, 0)  # PENDING: nobody uses it
    calls.mem_page_accept(PAGE)
    assert get(tdx, PAGE, PAGE) == bytes(PAGE)
    assert refused(lambda: calls.mem_page_accept(PAGE))[1] is Status.PAGE_ALREADY_ACCEPTED


def test_blocked_and_shared_pages_are_not_accepted(tdx: Platform, calls: GuestCalls) -> None:
    tdx.vmm.augment(PAGE)
    tdx.vmm.block(PAGE)
    with pytest.raises(EptViolation, match="PENDING_BLOCKED"):
        calls.mem_page_accept(PAGE)
    assert refused(lambda: calls.mem_page_accept(SHARED_BIT))[1:] == (Status.OPERAND_INVALID, Operand.RCX)
    assert refused(lambda: calls.mem_page_accept(PAGE + 8))[1] is Status.OPERAND_INVALID


# ---------------------------------------------------------------- reports


def test_a_report_states_the_td_and_carries_the_machines_mac(tdx: Platform, calls: GuestCalls) -> None:
    put(tdx, DATA_AT, DATA)
    calls.mr_report(REPORT_AT, DATA_AT)
    raw = get(tdx, REPORT_AT, TdxReport.SIZE)
    report = TdxReport.parse(raw)
    assert report.report_mac.report_data == DATA
    assert report.report_mac.cpusvn == SERVER.cpusvn
    assert report.td_info.mrtd == mrtd([(0, CONTENT)]).value
    assert report.td_info == tdx.td.info(tdx.memory)
    assert report.tee_tcb_info == MODULE
    assert report.report_mac.tee_info_hash == hashlib.sha384(raw[512:]).digest()
    assert report.report_mac.tee_tcb_info_hash == hashlib.sha384(raw[256:495]).digest()
    assert tdx.module.report_key.verifies(raw)


@pytest.mark.parametrize("place", [0, 16, 32, 80, 128, 223, 224, 255])
def test_a_changed_report_does_not_verify(tdx: Platform, calls: GuestCalls, place: int) -> None:
    put(tdx, DATA_AT, DATA)
    calls.mr_report(REPORT_AT, DATA_AT)
    calls.mr_verifyreport(REPORT_AT)
    (byte,) = get(tdx, REPORT_AT + place, 1)
    put(tdx, REPORT_AT + place, bytes([byte ^ 1]))
    assert refused(lambda: calls.mr_verifyreport(REPORT_AT))[:2] == (
        Tdcall.MR_VERIFYREPORT,
        Status.INVALID_REPORTMACSTRUCT,
    )


def test_a_report_counts_until_the_machine_is_reset(calls: GuestCalls) -> None:
    raw = calls.report(DATA).serialize()
    assert calls.module.report_key.verifies(raw)
    assert not ReportKey().verifies(raw)
    calls.module.report_key.wipe()
    assert not calls.module.report_key.verifies(raw)
    assert not calls.module.report_key.verifies(b"")


def test_operands_are_checked(calls: GuestCalls) -> None:
    assert refused(lambda: calls.mr_report(REPORT_AT + 64, DATA_AT))[1:] == (Status.OPERAND_INVALID, Operand.RCX)
    assert refused(lambda: calls.mr_report(REPORT_AT, DATA_AT + 8))[1:] == (Status.OPERAND_INVALID, Operand.RDX)
    assert refused(lambda: calls.mr_report(SHARED_BIT, DATA_AT))[1:] == (Status.OPERAND_INVALID, Operand.RCX)
    assert refused(lambda: calls.mr_report(REPORT_AT, DATA_AT, 1))[1:] == (Status.OPERAND_INVALID, Operand.R8)
    assert refused(lambda: calls.rtmr_extend(0, 4))[1:] == (Status.OPERAND_INVALID, Operand.RDX)
    assert refused(lambda: calls.mr_verifyreport(64))[1] is Status.OPERAND_INVALID


def test_runtime_registers_are_chains(tdx: Platform, calls: GuestCalls) -> None:
    """The first value is of an independent computation (zeros extended with zeros)."""
    put(tdx, 0, bytes(48))
    calls.rtmr_extend(0, 2)
    expected = "f57bb7ed82c6ae4a29e6c9879338c592c7d42a39135583e8ccbe3940f2344b0eb6eb8503db0ffd6a39ddd00cd07d8317"
    assert tdx.td.info(tdx.memory).rtmr2.hex() == expected
    calls.extend(2, b"v" * 48)
    info = tdx.td.info(tdx.memory)
    assert info.rtmr2 == extend_rtmr(Digest("sha384", bytes.fromhex(expected)), b"v" * 48).value
    assert (info.rtmr0, info.rtmr1, info.rtmr3) == (bytes(48),) * 3
    assert calls.report(DATA).td_info.rtmr2 == info.rtmr2


def test_measurement_registers_lie_in_encrypted_memory(tdx: Platform) -> None:
    value = tdx.td.info(tdx.memory).mrtd
    assert not tdx.pages_hold(value)
    page = tdx.td.tdcx[0]
    tdx.dram.page(page)[0] ^= 1
    tdx.cache.invalidate(page)
    with pytest.raises(IntegrityFault):
        tdx.td.info(tdx.memory)


def test_vp_info(tdx: Platform, calls: GuestCalls) -> None:
    found = calls.vp_info()
    assert (found["rcx"], found["rdx"], found["r8"], found["r9"]) == (48, tdx.td.attributes, 1 | 1 << 32, 0)


# ---------------------------------------------------------------- exits

VALUES = [0x1111 * (number + 1) for number in range(len(NAMES))]
BY_NAME = dict(zip(NAMES, VALUES, strict=True))


def exited(tdx: Platform, left: Exit) -> dict[str, int]:
    tdx.module.vp_enter(tdx.vmm.tdvpr)
    return tdx.module.td_exit(tdx.td.vcpus[0], VALUES, left)


def test_registers_survive_an_exit_and_stand_where_the_module_keeps_them(tdx: Platform) -> None:
    exited(tdx, Exit(ExitReason.EXTERNAL_INTERRUPT))
    assert tdx.module.vp_enter(tdx.vmm.tdvpr)[0] == VALUES
    state = tdx.memory.read(tdx.vmm.tdvpr, tdx.td.hkid, 0x980, 128)
    assert state[:8] == BY_NAME["rax"].to_bytes(8, "little")
    assert state[8:16] == BY_NAME["rcx"].to_bytes(8, "little")
    assert state[24:32] == BY_NAME["rbx"].to_bytes(8, "little")
    assert state[-8:] == BY_NAME["r15"].to_bytes(8, "little")


@pytest.mark.parametrize("reason", [ExitReason.EXTERNAL_INTERRUPT, ExitReason.EPT_VIOLATION])
def test_other_exits_show_a_reason_and_addresses_only(tdx: Platform, reason: ExitReason) -> None:
    seen = exited(tdx, Exit(reason, gpa=0x5000))
    assert not set(seen.values()) & set(VALUES)
    assert seen["rax"] == reason
    assert seen["r8"] == (0x5000 if reason is ExitReason.EPT_VIOLATION else 0)
    assert set(seen) == set(GENERAL)


def test_a_vmcall_shows_the_picked_registers_only(tdx: Platform, calls: GuestCalls) -> None:
    mask = 1 << 10 | 1 << 12 | 1 << 3
    calls.check_vmcall(mask)
    passed = {name: BY_NAME[name] for name in selected(mask)}
    assert set(passed) == {"r10", "r12", "rbx"}
    seen = exited(tdx, Exit(ExitReason.TDCALL, mask=mask, passed=passed))
    shown = {name for name, value in seen.items() if value}
    assert shown == {"rax", "rcx", "r10", "r12", "rbx"}
    assert seen["rax"] == ExitReason.TDCALL
    assert seen["rcx"] == mask


def test_the_host_answers_in_the_picked_registers_only(tdx: Platform) -> None:
    vcpu = tdx.td.vcpus[0]
    exited(tdx, Exit(ExitReason.TDCALL, mask=1 << 10, passed={"r10": 1}))
    vcpu.exposed = ("r10",)
    registers, _ = tdx.module.vp_enter(tdx.vmm.tdvpr, dict.fromkeys(NAMES, 0xBAD))
    after = dict(zip(NAMES, registers, strict=True))
    assert after.pop("r10") == 0xBAD
    assert after == {name: value for name, value in BY_NAME.items() if name != "r10"}


@pytest.mark.parametrize("bit", [0, 1, 4, 32])
def test_some_registers_are_never_passed(calls: GuestCalls, bit: int) -> None:
    assert refused(lambda: calls.check_vmcall(1 << bit)) == (Tdcall.VP_VMCALL, Status.OPERAND_INVALID, Operand.RCX)


@pytest.mark.parametrize("untouched", [False, True])
def test_rbp_is_passed_unless_the_td_was_made_so(*, untouched: bool) -> None:
    tdx = platform()
    fields = {name: value for name, value in default_params().fields() if not name.startswith("reserved")}
    tdx.running(TdParams(**fields | {"config_flags": untouched << 2}))
    if untouched:
        with pytest.raises(CallFailed):
            calls_of(tdx).check_vmcall(1 << 5)
    else:
        calls_of(tdx).check_vmcall(1 << 5)
    tdx.dram.close()


def test_saved_registers_are_ciphertext_and_tampering_is_noticed(tdx: Platform) -> None:
    secret = 0x5EC12E75EC12E7
    tdx.module.vp_enter(tdx.vmm.tdvpr)
    tdx.module.td_exit(tdx.td.vcpus[0], [secret] * len(NAMES), Exit(ExitReason.EXTERNAL_INTERRUPT))
    assert not tdx.pages_hold(secret.to_bytes(8, "little"))
    assert tdx.memory.read(tdx.vmm.tdvpr, HOST_KEY) == bytes(PAGE)
    tdx.memory.write(tdx.vmm.tdvpr, HOST_KEY, 0x980, bytes(8))
    with pytest.raises(IntegrityFault):
        tdx.module.vp_enter(tdx.vmm.tdvpr)


def test_without_a_mac_saved_registers_can_be_scrambled() -> None:
    """Logical integrity: who changes the chips leaves the owner bit as it is; the TD goes on with garbage."""
    weak = platform("li").running()
    exited(weak, Exit(ExitReason.EXTERNAL_INTERRUPT))
    weak.memory.write_back()
    weak.dram.page(weak.vmm.tdvpr)[0x980] ^= 1
    weak.cache.invalidate(weak.vmm.tdvpr)
    registers = dict(zip(NAMES, tdvps.load(weak.memory, weak.td.vcpus[0].pages, weak.td.hkid), strict=True))
    assert registers["rax"] != BY_NAME["rax"]
    assert registers["rip"] == BY_NAME["rip"]
    weak.dram.close()


# ---------------------------------------------------------------- the guards against stepping


@pytest.mark.parametrize(
    ("rip", "cycles", "suspected"), [(0x1000, 1, True), (0x101E, 4096, True), (0x101F, 1, False), (0x1000, 4097, False)]
)
def test_a_step_is_a_short_way_in_a_short_time(rip: int, cycles: int, *, suspected: bool) -> None:
    guard = SteppingGuard()
    guard.entered(0x1000)
    assert guard.suspects(rip, 1, cycles) is suspected


def test_later_modules_count_instructions() -> None:
    guard = SteppingGuard(counts_instructions=True)
    guard.entered(0x1000)
    assert guard.suspects(0x9000, 1, 1 << 20)
    assert not guard.suspects(0x1000, 2, 1)


def test_the_distance_is_random_between_1_and_32() -> None:
    assert {SteppingGuard.distance() for _ in range(4000)} == set(range(1, 33))


def test_a_td_that_gets_on_is_not_suspected() -> None:
    guard = SteppingGuard()
    for rip in range(100):
        guard.faulted(rip, 0x5000)
        guard.entered(rip)
    assert not guard.suspected


def test_a_td_that_faults_at_one_instruction_waits_for_its_pages(tdx: Platform) -> None:
    tdx.vmm.block(0)
    for _ in range(7):
        exited(tdx, Exit(ExitReason.EPT_VIOLATION, gpa=0))
        tdx.module.vcpus[tdx.vmm.tdvpr].guard.entered(BY_NAME["rip"])
    with pytest.raises(EptViolation, match="BLOCKED"):
        tdx.module.vp_enter(tdx.vmm.tdvpr)
    tdx.vmm.unblock(0)
    tdx.module.vp_enter(tdx.vmm.tdvpr)
