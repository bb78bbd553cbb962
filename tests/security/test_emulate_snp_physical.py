"""Attacks on the emulated SEV-SNP machine through its save area and through DRAM: what the RMP does not protect."""

from collections.abc import Callable, Iterator

import pytest
from tests.forge.emulated_snp import POLICY, Stage, program, quick_keystore, stages, stand_with

from cloister.emulate.attacks import tampering
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.host import Cause, PhysicalMemory
from cloister.emulate.paging import MemoryFault, Refused
from cloister.emulate.sev.save_area import OFFSETS
from cloister.emulate.snp.context import GuestContext
from cloister.emulate.snp.hypervisor import GuestOptions
from cloister.emulate.snp.machine import SnpMachine
from cloister.emulate.snp.rmp import RmpEntry
from cloister.emulate.snp.rmp_instructions import Result
from cloister.emulate.snp.vmsa import REGISTER_PROTECTION
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE
from cloister.measure.snp import DEFAULT_FEATURES, guest_digest

SHARED = RmpEntry()

pytestmark = pytest.mark.needs_program("cc")

Make = Callable[..., Stage]


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return quick_keystore(tmp_path_factory.mktemp("snp") / "emulated")


@pytest.fixture
def make(keystore: Keystore) -> Iterator[Make]:
    with stages(keystore) as one:
        yield one


# ---------------------------------------------------------------- the save area


def area(stage: Stage) -> memoryview:
    stage.machine.settle()
    return stage.machine.dram.page(stage.snp.hypervisor.vmsa)


def started(stage: Stage) -> SnpMachine:
    stage.launch()
    stage.snp.start(["victim"], {})
    return stage.snp


def exit_with(machine: SnpMachine, rbx: int) -> None:
    machine.engine.write("rbx", rbx)
    machine.leave(Cause.INTERRUPT)


def test_the_save_area_is_out_of_the_hypervisor_s_reach(make: Make) -> None:
    stage = make()
    machine = started(stage)
    with pytest.raises(Refused, match="bit 31"):
        machine.host_write(machine.hypervisor.vmsa, bytes(PAGE))
    machine.leave(Cause.INTERRUPT)
    entry = machine.rmp[machine.hypervisor.vmsa]
    assert machine.hypervisor.update(machine.hypervisor.vmsa, SHARED) is Result.SUCCESS
    assert machine.hypervisor.update(machine.hypervisor.vmsa, entry) is Result.SUCCESS
    with pytest.raises(MemoryFault, match="VMRUN fails"):
        machine.enter(Cause.INTERRUPT)


def test_old_registers_put_back_into_dram_are_taken(make: Make) -> None:
    """No integrity: who holds the chips turns the registers back (physical replay)."""
    stage = make()
    machine = started(stage)
    exit_with(machine, 1111)
    old = bytes(area(stage))
    machine.enter(Cause.INTERRUPT)
    exit_with(machine, 2222)
    area(stage)[:] = old
    machine.dram_changed(machine.hypervisor.vmsa)
    machine.enter(Cause.INTERRUPT)
    assert machine.engine.read("rbx") == 1111


def test_a_bit_flipped_in_the_save_area_scrambles_one_block(make: Make) -> None:
    stage = make()
    machine = started(stage)
    exit_with(machine, 1111)
    before = machine.engine.names
    saved = dict(zip(before, _registers(machine), strict=True))
    area(stage)[OFFSETS["rbx"]] ^= 1
    machine.dram_changed(machine.hypervisor.vmsa)
    machine.enter(Cause.INTERRUPT)
    after = {name: machine.engine.read(name) for name in before}
    changed = {name for name in before if after[name] != saved[name]}
    assert "rbx" in changed
    assert changed <= {"rbx", "rdx"}, "the other half of the block of 16 bytes"


def _registers(machine: SnpMachine) -> list[int]:
    page = machine.frames.views[machine.cache.frame(machine.hypervisor.vmsa, 1, write=False, fetch=False)]
    return [int.from_bytes(page[OFFSETS[name] : OFFSETS[name] + 8], "little") for name in machine.engine.names]


@pytest.mark.parametrize("protected", [False, True])
def test_equal_registers_are_equal_ciphertext_unless_masked(make: Make, protected: bool) -> None:  # noqa: FBT001
    """CIPHERLEAKS (USENIX Security 2021), and VMSA register protection against it."""
    features = DEFAULT_FEATURES | (REGISTER_PROTECTION if protected else 0)
    stage = make(options=GuestOptions(features=features))
    machine = started(stage)
    seen = []
    for value in (1111, 2222, 1111):
        exit_with(machine, value)
        place = OFFSETS["rbx"] & ~15
        seen.append(bytes(machine.host_read(machine.hypervisor.vmsa))[place : place + 16])
        machine.enter(Cause.INTERRUPT)
    assert seen[0] != seen[1]
    assert (seen[0] == seen[2]) is not protected


# ---------------------------------------------------------------- who holds the chips (BadRAM, CVE-2024-21944)


def test_the_rmp_in_dram_can_be_rewritten(make: Make) -> None:
    """With two entries exchanged and the nested table to match, remapping works as before SNP."""
    stage = make()

    def act() -> None:
        machine = stage.snp
        poor, rich = stage.page("balance"), stage.page("riches")
        places = stage.address("balance"), stage.address("riches")
        first, second = (machine.dram.page(4 + page // 256) for page in (poor, rich))
        a, b = (poor % 256 * 16, rich % 256 * 16)
        one, other = bytes(first[a : a + 16]), bytes(second[b : b + 16])
        first[a : a + 16], second[b : b + 16] = other, one
        machine.remap(places[0], rich)
        machine.remap(places[1], poor)

    assert "1000000" in stage.shown(act).lines


def test_the_rmp_is_no_page_that_software_writes(make: Make) -> None:
    stage = make()
    stage.launch()
    for page in range(stage.snp.rmp.size):
        with pytest.raises(Refused, match="Firmware"):
            stage.machine.host_write(page, bytes(PAGE))
        with pytest.raises(Refused, match="IOMMU"):
            stage.machine.device_write(page, bytes(PAGE))


def test_physical_replay_works_and_software_replay_does_not(make: Make) -> None:
    assert tampering.physical_replay(make()).outcome is Outcome.SUCCEEDED
    assert tampering.host_replay(make()).outcome is Outcome.STOPPED


def test_a_launch_digest_can_be_replayed_in_dram(keystore: Keystore) -> None:
    """BadRAM's attack on attestation: the digest of a good guest, put into the context of a bad one, is reported."""
    stand = stand_with(keystore)
    good, bad = GuestLayout.of(program(b"good")), GuestLayout.of(program(b"evil"))
    field = GuestContext.OFFSETS["digest"]
    assert field % 16 == 0, "whole blocks of the memory cipher"

    def block() -> memoryview:
        stand.settle()
        return stand.dram.page(stand.hypervisor.context)[field : field + 48]

    stand.hypervisor.launch(good, GuestOptions(), POLICY)
    place, kept = stand.hypervisor.context, bytes(block())
    stand.hypervisor.end()
    stand.hypervisor.pages = PhysicalMemory(place, 64)  # the host chooses where a context stands
    stand.hypervisor.launch(bad, GuestOptions(), POLICY)
    assert stand.hypervisor.context == place
    assert stand.firmware.launch_digest(place) == guest_digest(bad).value
    block()[:] = kept
    stand.cache.drop(place)
    assert stand.firmware.launch_digest(place) == guest_digest(good).value
