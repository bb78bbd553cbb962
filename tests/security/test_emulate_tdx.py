"""Attacks on the emulated TDX machine: each with the outcome that the literature has for it."""

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_emulate_tdx import CONTENT, Platform, platform

import cloister
from cloister.emulate.attacks import reading
from cloister.emulate.attacks.battery import ATTACKS, attack
from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.attacks.outcome import Finding, Outcome
from cloister.emulate.attacks.scene import SECRET, Act, Played, Scene
from cloister.emulate.attacks.victims import victim
from cloister.emulate.catalogue import kind_of
from cloister.emulate.host import Cause
from cloister.emulate.machine import Ending, Machine, Shape
from cloister.emulate.native import NativeMachine
from cloister.emulate.paging import IntegrityFault, Refused
from cloister.emulate.tdx.calls import CallFailed, Status
from cloister.emulate.tdx.machine import TdxMachine
from cloister.emulate.tdx.params import TdParams, default_params
from cloister.emulate.tdx.sept import SeptState
from cloister.emulate.tdx.td import VcpuState
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

SMALL = Shape(memory=2048, frames=64)
END, SHOW = Act(b"q\n"), Act(b"b\n")
WORKS, SEEN, FAILS = Outcome.SUCCEEDED, Outcome.DETECTED, Outcome.STOPPED

pytestmark = pytest.mark.needs_program("cc")


class Stage(Scene):
    """A scene on a TDX machine."""

    def __init__(self, keystore: Keystore, settings: dict[str, Any]) -> None:
        def make(terminal: Terminal) -> Machine:
            return TdxMachine(SMALL, terminal, keystore, **settings)

        super().__init__(make, lambda machine: victim(machine.architecture))

    @property
    def tdx(self) -> TdxMachine:
        assert isinstance(self.machine, TdxMachine)
        return self.machine

    def meanwhile(self, action: Callable[[], object], before: bytes = b"") -> Played:
        """Launch, type `before`, do `action` while the program waits, and have it print its balance."""
        self.launch()
        first = [Act(before)] if before else []
        return self.play([*first, Act(b"b\n", action), END])


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


# ---------------------------------------------------------------- the battery


@pytest.mark.parametrize("name", ATTACKS)
def test_each_attack_ends_as_on_real_machines(keystore: Keystore, name: str) -> None:
    """With cryptographic integrity, the default; the references stand in the table."""
    found = attack(kind_of("tdx"), ATTACKS[name], keystore)
    assert found.outcome is LITERATURE[name]["tdx"].outcome, found.observed


LOGICAL = {
    "host-read": FAILS,  # zeros
    "host-write": SEEN,  # the owner bit
    "host-replay": SEEN,
    "remap": FAILS,
    "page-trace": WORKS,  # TDXRay
    "registers": FAILS,
    "debug-read": FAILS,
    "dma-read": FAILS,
    "dma-write": SEEN,
    "cold-boot": FAILS,
    "bus-equality": WORKS,  # TEE.fail 2025
    "bit-flip": FAILS,  # garbage, unnoticed: who has the chips does not touch the owner bit
    "relocation": FAILS,  # the same; the tweak is the address
    "replay": WORKS,  # TEE.fail 2025
}
"""Logical integrity: Intel TDX Module base specification, memory integrity; TEE.fail 2025; TDXRay."""


@pytest.mark.parametrize("name", LOGICAL)
def test_logical_integrity_does_not_notice_who_has_the_chips(stage: Make, name: str) -> None:
    found = ATTACKS[name].run(stage(integrity="li"))
    assert found.outcome is LOGICAL[name], found.observed
    if name in {"bit-flip", "relocation"}:
        assert "garbage" in found.observed


def test_debug_tds_are_read(stage: Make) -> None:
    assert reading.debug_read(stage(debug=True)) == Finding(WORKS, f"read {SECRET.decode()!r}")
    assert reading.host_read(stage(debug=True)).outcome is FAILS, "not even then without the module"


# ---------------------------------------------------------------- what a host sees through its own key


@pytest.mark.parametrize("integrity", ["ci", "li"])
def test_the_host_sees_zeros_in_every_page_of_the_td(stage: Make, integrity: str) -> None:
    scene, seen = stage(integrity=integrity), set[bytes]()

    def look() -> None:
        owned = scene.tdx.module.pamt.owned(scene.tdx.vmm.tdr)
        assert len(owned) > 20
        seen.update(scene.machine.host_read(page) for page in owned if page not in pending(scene))

    played = scene.meanwhile(look)
    assert seen == {bytes(PAGE)}
    assert played.ending == Ending(0), "reading changes nothing"


def pending(scene: Stage) -> set[int]:
    """Pages that the TD has not accepted: nobody has written them yet."""
    return {entry.page for entry in scene.tdx.td.sept.leaves.values() if entry.state is SeptState.PENDING}


@pytest.mark.parametrize("what", ["tdvpr", "vmcs", "tdcs"])
def test_writing_over_the_modules_pages_is_a_machine_check(stage: Make, what: str) -> None:
    scene = stage()

    def act() -> None:
        pages = {"tdvpr": scene.tdx.td.vcpus[0].pages[0], "vmcs": scene.tdx.td.vcpus[0].pages[1]}
        pages["tdcs"] = scene.tdx.td.tdcx[0]
        scene.machine.host_write(pages[what], bytes(PAGE))

    played = scene.meanwhile(act)
    if what == "tdcs":
        with pytest.raises(IntegrityFault, match="#MC"):
            scene.machine.evidence(bytes(64))
    else:
        assert "#MC: TD-owner bit" in played.ending.stopped


def test_after_a_machine_check_the_td_is_dead(stage: Make) -> None:
    scene = stage()
    played = scene.meanwhile(lambda: scene.machine.host_write(scene.page("balance"), bytes(PAGE)))
    assert "#MC" in played.ending.stopped
    assert scene.tdx.td.vcpus[0].state is VcpuState.DISABLED
    with pytest.raises(CallFailed) as caught:
        scene.tdx.module.vp_enter(scene.tdx.vmm.tdvpr)
    assert caught.value.status is Status.TD_FATAL


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


# ---------------------------------------------------------------- the secure EPT


@pytest.mark.parametrize("ve", [False, True])
def test_a_replaced_page_is_pending_and_its_content_gone(stage: Make, *, ve: bool) -> None:
    """The host may take a page and add another; the TD meets what it never accepted, and stops."""
    fields = {name: value for name, value in default_params().fields() if not name.startswith("reserved")}
    scene = stage(params=TdParams(**fields | {"attributes": 0}) if ve else None)

    def act() -> None:
        page = scene.tdx.vmm.replace(scene.address("balance"))
        scene.machine.host_write(page, (1_000_000).to_bytes(8, "little").ljust(PAGE, b"\0"))

    played = scene.meanwhile(act)
    assert "PENDING" in played.ending.stopped
    assert played.ending.stopped.startswith("tee: " if ve else "host: ")
    assert "1000000" not in played.lines


def test_a_removed_page_is_not_given_back_by_the_host_alone(stage: Make) -> None:
    scene = stage()

    def act() -> None:
        gpa = scene.address("balance")
        scene.tdx.vmm.block(gpa)
        scene.tdx.module.mem_page_remove(scene.tdx.vmm.tdr, gpa)

    played = scene.meanwhile(act)
    assert "FREE" in played.ending.stopped


def test_moving_a_page_by_the_module_is_no_attack(stage: Make) -> None:
    scene = stage()
    played = scene.meanwhile(lambda: scene.tdx.vmm.relocate(scene.address("balance")), before=b"w\n")
    assert played.ending == Ending(0)
    assert "100" in played.lines


@pytest.mark.parametrize("target", ["a page of the TD", "a page of the host", "no memory"])
def test_no_page_is_put_under_a_page_that_is_mapped(stage: Make, target: str) -> None:
    scene, words = stage(), list[str]()

    def act() -> None:
        page = {"a page of the TD": scene.page("riches"), "a page of the host": SMALL.memory - 1}.get(target, 1 << 30)
        with pytest.raises(Refused) as caught:
            scene.machine.remap(scene.address("balance"), page)
        words.append(str(caught.value))

    played = scene.meanwhile(act)
    assert "TDX_EPT_ENTRY_STATE_INCORRECT" in words[0]
    assert (played.ending, "1000" in played.lines) == (Ending(0), True)


def test_content_of_an_ended_td_cannot_be_put_into_the_next() -> None:
    """Each TD has a key of its own: old ciphertext does not even fit its MAC."""
    tdx = platform()
    tdx.running()
    page = tdx.vmm.table[0]
    tdx.memory.write_back()
    kept = bytes(tdx.dram.page(page)), bytes(tdx.dram.metadata(page))
    tdx.vmm.end()
    tdx.running()
    page = tdx.vmm.table[0]
    tdx.memory.write_back()
    tdx.dram.page(page)[:], tdx.dram.metadata(page)[:] = kept
    tdx.cache.drop(page)
    with pytest.raises(IntegrityFault):
        tdx.memory.read(page, tdx.td.hkid)
    assert CONTENT not in kept
    tdx.dram.close()


def test_a_host_that_takes_the_td_down_ends_the_program_and_learns_nothing(stage: Make) -> None:
    scene, seen = stage(), list[bytes]()

    def act() -> None:
        page = scene.page("secret")
        scene.tdx.vmm.end()
        seen.append(scene.machine.host_read(page))
        scene.machine.settle()
        seen.extend(bytes(scene.machine.dram.page(number)) for number in range(SMALL.memory))

    played = scene.meanwhile(act, before=b"s" + SECRET + b"\n")
    assert "TDH.VP.ENTER" in played.ending.stopped
    assert not any(SECRET in one for one in seen)
