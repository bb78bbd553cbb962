"""Attacks on the emulated TDX machine: each with the outcome that the literature has for it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.forge.emulated_tdx import CONTENT, SMALL, Stage, platform

from cloister.emulate.attacks import reading
from cloister.emulate.attacks.battery import ATTACKS, attack
from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.attacks.outcome import Finding, Outcome
from cloister.emulate.attacks.scene import SECRET
from cloister.emulate.catalogue import kind_of
from cloister.emulate.machine import Ending
from cloister.emulate.paging import IntegrityFault, Refused
from cloister.emulate.tdx.calls import CallFailed, Status
from cloister.emulate.tdx.params import TdParams, default_params
from cloister.emulate.tdx.sept import SeptState
from cloister.emulate.tdx.td import VcpuState
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE

WORKS, SEEN, FAILS = Outcome.SUCCEEDED, Outcome.DETECTED, Outcome.STOPPED

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
