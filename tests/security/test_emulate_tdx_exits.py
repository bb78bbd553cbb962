"""Attacks on what leaves an emulated trust domain: registers at exits, measurement registers, reports and quotes."""

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.forge.emulated_tdx import END, SMALL, Platform, Stage, platform

import cloister
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.attacks.scene import Act, Scene
from cloister.emulate.attacks.victims import victim
from cloister.emulate.host import Cause
from cloister.emulate.machine import Ending, Machine
from cloister.emulate.native import NativeMachine
from cloister.emulate.paging import IntegrityFault
from cloister.emulate.tdx.machine import TdxMachine
from cloister.emulate.tdx.tdvps import NAMES, Exit, ExitReason
from cloister.emulate.terminal import Terminal, sealed_terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.importing import import_files
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, NotFresh, SignatureInvalid
from cloister.evidence import tdx as tdx_evidence
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Image, read_image
from cloister.measure.tdx import guest_digest

WORKS, FAILS = Outcome.SUCCEEDED, Outcome.STOPPED

pytestmark = pytest.mark.needs_program("cc")


Make = Callable[..., Stage]


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("tdx") / "emulated")


@pytest.fixture
def stage(keystore: Keystore) -> Iterator[Make]:
    made: list[Stage] = []

    def make(**settings: Any) -> Stage:
        made.append(Stage(keystore, settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


# ---------------------------------------------------------------- registers at exits


def flip(machine: Machine, page: int, offset: int) -> None:
    machine.settle()
    machine.dram.page(page)[offset] ^= 1
    machine.dram_changed(page)


@pytest.mark.parametrize("integrity", ["ci", "li"])
def test_changed_saved_registers(stage: Make, integrity: str) -> None:
    """In DRAM: noticed by a MAC; without one the program goes on with a scrambled stack pointer, and crashes."""
    scene = stage(integrity=integrity)
    played = scene.meanwhile(lambda: flip(scene.machine, scene.tdx.td.vcpus[0].pages[1], 0x400))
    assert played.stopped
    assert ("integrity" in played.ending.stopped) == (integrity == "ci")


def test_old_saved_registers_can_be_put_back_by_who_has_the_chips() -> None:
    """TEE.fail 2025: memory encryption has no freshness, and TDVPS is memory."""
    for integrity in ("ci", "li"):
        tdx = platform(integrity)
        tdx.running()
        pages = tdx.td.vcpus[0].pages[:2]
        leave(tdx, 1)
        tdx.memory.write_back()
        kept = [(bytes(tdx.dram.page(page)), bytes(tdx.dram.metadata(page))) for page in pages]
        leave(tdx, 2)
        tdx.memory.write_back()
        for page, (data, metadata) in zip(pages, kept, strict=True):
            tdx.dram.page(page)[:], tdx.dram.metadata(page)[:] = data, metadata
            tdx.cache.invalidate(page)
        assert tdx.module.vp_enter(tdx.vmm.tdvpr)[0] == [1] * len(NAMES)
        tdx.dram.close()


def leave(tdx: Platform, value: int) -> None:
    tdx.module.vp_enter(tdx.vmm.tdvpr)
    tdx.module.td_exit(tdx.td.vcpus[0], [value] * len(NAMES), Exit(ExitReason.EXTERNAL_INTERRUPT))


VMCALLER = r"""
static const char text[] = "answered";
__attribute__((noreturn)) void begin(void) {
    unsigned long rax = 0, rcx = 1UL << 10 | 1UL << 12, rbx = 0x5EC12E7;
    register unsigned long r10 __asm__("r10") = 7, r12 __asm__("r12") = 0xC0FFEE, r13 __asm__("r13") = 0x5EC12E7;
    __asm__ volatile(".byte 0x66, 0x0f, 0x01, 0xcc"
                     : "+a"(rax), "+c"(rcx), "+b"(rbx), "+r"(r10), "+r"(r12), "+r"(r13) : : "memory");
    long status = (rax == 0) | (r10 == 42) << 1 | (r12 == 0xC0FFEE) << 2 | (rbx == 0x5EC12E7 && r13 == 0x5EC12E7) << 3;
    unsigned long allowed = 0, mask = 2;
    __asm__ volatile(".byte 0x66, 0x0f, 0x01, 0xcc" : "+a"(allowed), "+c"(mask) : : "memory");
    status |= (allowed == 0xC000010000000001UL) << 4;
    __asm__ volatile("syscall" : : "a"(60), "D"(status) : "rcx", "r11", "memory");
    __builtin_unreachable();
}
__asm__(".globl _start\n_start: and $-16, %rsp\n call begin\n");
"""


def test_a_program_s_vmcall_passes_what_it_picks_and_nothing_else(keystore: Keystore, tmp_path: Path) -> None:
    """Real code executes TDCALL with secrets in RBX and R13; the host sees R10 and R12, and can answer in them only."""
    (tmp_path / "p.c").write_text(VMCALLER)
    flags = ["-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie"]
    subprocess.run(["cc", *flags, "-o", "p", "p.c"], cwd=tmp_path, check=True, timeout=60)
    machine = TdxMachine(SMALL, sealed_terminal(lambda _: b"", lambda _: None), keystore)
    machine.vmm.answer = lambda passed: dict.fromkeys(NAMES, 0xBAD) | {"r10": 42, "r12": passed["r12"]}
    machine.launch(read_image((tmp_path / "p").read_bytes()))
    machine.start(["p"], {})
    assert machine.run() == Ending(0b11111)
    (view,) = (view for view in machine.host.seen if view.registers["r12"] == 0xC0FFEE)
    assert view.registers["r10"] == 7
    assert all(0x5EC12E7 not in view.registers.values() for view in machine.host.seen)
    machine.close()


def steps(make: Callable[[Terminal], Machine]) -> int:
    """How many exits a host sees that interrupts the victim's loop after every instruction."""
    scene = Scene(make, lambda machine: victim(machine.architecture))
    scene.launch()
    scene.play([Act(b"c\n"), END], steps=1)
    count = sum(view.cause is Cause.INTERRUPT for view in scene.machine.host.seen)
    scene.close()
    return count


@pytest.mark.parametrize(
    ("cycles", "counting", "outcome"), [(1, False, FAILS), (5000, False, WORKS), (5000, True, FAILS)]
)
def test_single_stepping(keystore: Keystore, cycles: int, *, counting: bool, outcome: Outcome) -> None:
    """The module's guard; TDXdown (CCS 2024), which slows the processor down so that it sees nothing; its successor."""
    instructions = steps(lambda terminal: NativeMachine(SMALL, terminal))
    assert instructions > 500

    def slow(terminal: Terminal) -> Machine:
        machine = TdxMachine(SMALL, terminal, keystore)
        machine.cycles_per_instruction = cycles
        launch = machine.launch

        def launched(image: Image) -> None:
            launch(image)
            machine.calls.vcpu.guard.counts_instructions = counting

        machine.launch = launched  # type: ignore[method-assign]
        return machine

    found = steps(slow)
    if outcome is WORKS:
        assert found == instructions
    else:
        assert 0 < found < instructions / 2


def test_a_td_that_does_not_get_on_is_not_entered(stage: Make) -> None:
    """Zero-stepping: the host makes one instruction fault again and again."""
    scene = stage()
    faults = list[int]()

    def again(gpa: int) -> bool:
        faults.append(gpa)
        return True

    def act() -> None:
        scene.machine.host.on_fault = again
        scene.machine.withhold(scene.address("balance"))

    played = scene.meanwhile(act)
    assert "TDH.VP.ENTER does not enter: EPT violation" in played.ending.stopped
    assert faults == [scene.address("balance")] * 7


# ---------------------------------------------------------------- measurement registers


def test_old_runtime_registers_can_be_put_back_by_who_has_the_chips(stage: Make) -> None:
    """TEE.fail 2025 again: a quote then leaves out what was measured since."""
    scene = stage()
    scene.launch()
    machine, page = scene.tdx, scene.tdx.td.tdcx[0]
    machine.settle()
    kept = bytes(machine.dram.page(page)), bytes(machine.dram.metadata(page))
    machine.extend_rtmr(3, b"m" * 48)
    honest = tdx_evidence.parse(machine.evidence(bytes(64))).body.rtmr3
    assert honest != bytes(48)
    machine.settle()
    machine.dram.page(page)[:], machine.dram.metadata(page)[:] = kept
    machine.dram_changed(page)
    assert tdx_evidence.parse(machine.evidence(bytes(64))).body.rtmr3 == bytes(48)


def test_a_flipped_measurement_register_is_noticed(stage: Make) -> None:
    scene = stage()
    scene.launch()
    flip(scene.machine, scene.tdx.td.tdcx[0], 16)
    with pytest.raises(IntegrityFault, match="MAC"):
        scene.machine.evidence(bytes(64))


def test_a_report_is_not_changed_on_its_way_to_the_quoting_enclave(stage: Make) -> None:
    scene = stage()
    scene.launch()
    machine = scene.tdx
    enclave = machine.manufacturer.td_quoting_enclave(verified=machine.module.report_key.verifies)
    report = bytearray(machine.report(bytes(64)))
    report[512 + 16] ^= 1  # MRTD
    with pytest.raises(BindingInvalid):
        enclave.quote(bytes(report))
    report[512 + 16] ^= 1
    report[128] ^= 1  # report data
    with pytest.raises(SignatureInvalid):
        enclave.quote(bytes(report))


def test_a_host_that_brings_another_quote_is_found_out(stage: Make) -> None:
    """It may carry the quote of an honest TD to a changed one: the answer to the nonce is not in it."""
    honest, changed = stage(), stage()
    for scene in (honest, changed):
        scene.launch()
    old = honest.machine.evidence(b"yesterday's nonce".ljust(64, b"\0"))
    changed.tdx.vmm.get_quote = lambda _report: old
    brought = changed.machine.evidence(b"today's nonce".ljust(64, b"\0"))
    with pytest.raises(NotFresh):
        cloister.verify(brought, nonce=b"today's nonce", **believing(honest.tdx))
    authentic = cloister.verify(brought, nonce=b"yesterday's nonce", **believing(honest.tdx))
    assert authentic.tcb_status == "UpToDate", "nothing but the nonce was wrong with it"


NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def believing(machine: TdxMachine) -> dict[str, Any]:
    """Settings with which the emulated Intel is believed."""
    (collateral,) = machine.vouching(NOW).collateral.items()
    given = Endorsements(intel=tuple(one.content for one in import_files([collateral])))  # type: ignore[misc]
    return {"at": NOW, "endorsements": given, "anchors": TrustAnchors.testing(machine.manufacturer.root_spki)}


def test_a_page_that_is_added_but_not_extended_shows(stage: Make) -> None:
    """TDH.MEM.PAGE.ADD leaves the content out; a host that skips TDH.MR.EXTEND gets another MRTD."""
    scene = stage()
    module = scene.tdx.module
    honest, skipped = module.mr_extend, list[int]()

    def sometimes(tdr: int, gpa: int) -> None:
        if gpa // PAGE == 1:
            skipped.append(gpa)
        else:
            honest(tdr, gpa)

    module.mr_extend = sometimes  # type: ignore[method-assign]
    scene.launch()
    assert len(skipped) == PAGE // 256
    assert scene.machine.measurement != guest_digest(GuestLayout.of(scene.victim.image))


def test_the_first_registers_are_not_measured(stage: Make) -> None:
    """What the host passes at TDH.VP.INIT does not show: a guest must not believe it."""
    expected, found = guest_digest(GuestLayout.of(stage().victim.image)), set()
    for argument in (0, 0xBAD):
        scene = stage()
        add = scene.tdx.vmm.add_vcpu
        scene.tdx.vmm.add_vcpu = lambda argument=argument, add=add: add(argument)  # type: ignore[method-assign, misc]
        scene.launch()
        registers, _ = scene.tdx.module.vp_enter(scene.tdx.vmm.tdvpr)
        assert registers[NAMES.index("rcx")] == argument
        found.add(scene.machine.measurement)
    assert found == {expected}
