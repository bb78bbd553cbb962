"""A host that lies to an emulated SGX machine: about programs, pages that it adds, pages that it kept, and reports."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from tests.machines.sgx_machines import Scenes

from cloister.emulate.attacks.scene import SECRET, Act
from cloister.emulate.machine import Ending
from cloister.emulate.paging import IntegrityFault, MemoryFault
from cloister.emulate.sgx.keys import ereport
from cloister.emulate.sgx.machine import SgxMachine
from cloister.emulate.sgx.outcomes import EnclaveLost
from cloister.emulate.sgx.structures import KeyPolicy
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.sigstruct import sign_enclave, signing_key
from cloister.errors import LaunchError, SignatureInvalid
from cloister.measure.enclave import mrenclave
from cloister.measure.image import PAGE, Image, ImagePage, Permission

MACHINES = {"sgx": "mee", "sgx-scalable": "scalable"}
BALANCE, QUIT, KEEP = Act(b"b\n"), Act(b"q\n"), Act(b"s" + SECRET + b"\n")


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


@pytest.fixture
def stage(keystore: Keystore) -> Iterator[Scenes]:
    made = Scenes(keystore)
    yield made
    made.close()


# ---------------------------------------------------------------- memory that the host adds


def test_a_page_that_the_host_filled_is_not_accepted(stage: Scenes) -> None:
    """The host maps a page of its own choice where the program expects fresh zeros."""
    scene, machine = stage.launched()
    number = 0x7000_0000 >> 12
    machine.reserved[number] = Permission.READ | Permission.WRITE

    def cheat(number: int, permission: Permission) -> None:
        machine.driver._map(number, machine.driver.pages[scene.address("riches") >> 12], permission)

    machine.driver.augment = cheat  # type: ignore[method-assign] # a host's own driver
    machine._eenter()
    machine.inside = True
    with pytest.raises(MemoryFault, match="EACCEPT: #PF: the page at 0x70000000 is not this enclave's page there"):
        machine.read(0x7000_0000, 8)


def test_a_page_that_was_not_restricted_is_not_accepted(stage: Scenes) -> None:
    """mprotect: a host that only says that it executed EMODPR."""
    _, machine = stage.launched()
    machine.driver.restrict = lambda *_: None  # type: ignore[method-assign]
    machine._eenter()
    machine.inside = True
    address = machine.image.pages[-1].address
    with pytest.raises(EnclaveLost, match="PAGE_ATTRIBUTES_MISMATCH"):
        machine.protect(address, PAGE, Permission.READ)


# ---------------------------------------------------------------- pages that were written out


def swapped(stage: Scenes, change: Callable[[SgxMachine, int], None]) -> Ending:
    """The balance's page is written out, and the host changes something of it before the program wants it."""
    scene, machine = stage.launched()

    def act() -> None:
        number = scene.address("balance") >> 12
        change(machine, number)

    return scene.play([BALANCE, Act(b"b\n", act), QUIT]).ending


def write_out(machine: SgxMachine, number: int) -> None:
    driver = machine.driver
    driver.table.take(number * PAGE)
    driver.swap.order.pop(number)
    driver.swap.write_out({number: driver.pages.pop(number)}, driver.enclave.secs * PAGE)
    machine.forget_translations()


def test_a_page_comes_back_that_nobody_touched(stage: Scenes) -> None:
    assert swapped(stage, write_out) == Ending(0, "")


def test_a_changed_page_does_not_come_back(stage: Scenes) -> None:
    def change(machine: SgxMachine, number: int) -> None:
        write_out(machine, number)
        place = machine.driver.swap.stored[number].content
        content = bytearray(machine.host_read(place // PAGE))
        content[0] ^= 1
        machine.host_write(place // PAGE, bytes(content))

    ending = swapped(stage, change)
    assert (ending.status, "SGX_MAC_COMPARE_FAIL (9)" in ending.stopped) == (139, True)


def test_an_older_version_of_a_page_does_not_come_back(stage: Scenes) -> None:
    def change(machine: SgxMachine, number: int) -> None:
        write_out(machine, number)
        first = machine.driver.swap.stored[number]
        old = machine.host_read(first.content // PAGE), machine.cpu.read("host", first.pcmd, 128)
        machine.driver.repair(number)
        write_out(machine, number)
        second = machine.driver.swap.stored[number]
        machine.host_write(second.content // PAGE, old[0])
        machine.cpu.write("host", second.pcmd, old[1])

    assert "SGX_MAC_COMPARE_FAIL" in swapped(stage, change).stopped


def test_a_page_does_not_come_back_as_another(stage: Scenes) -> None:
    def change(machine: SgxMachine, number: int) -> None:
        write_out(machine, number)
        riches = next(n for n in machine.driver.swap.order if n == number + 1 or n == number - 1)
        write_out(machine, riches)
        stored = machine.driver.swap.stored
        stored[number], stored[riches] = stored[riches], stored[number]

    assert "SGX_MAC_COMPARE_FAIL" in swapped(stage, change).stopped


# ---------------------------------------------------------------- launch


def changed(image: Image) -> Image:
    first, *others = image.pages
    return replace(image, pages=(replace(first, content=first.content[:-1] + b"\xcc"), *others))


def with_permission(image: Image) -> Image:
    """Every page may be written."""
    pages = tuple(replace(page, permission=page.permission | Permission.WRITE) for page in image.pages)
    return replace(image, pages=pages)


def moved(image: Image) -> Image:
    """The first page stands one page lower."""
    first, *others = image.pages
    return replace(image, pages=(ImagePage(first.address - PAGE, first.permission, first.content), *others))


@pytest.mark.parametrize("change", [changed, with_permission, moved])
def test_a_changed_program_is_not_what_its_author_signed(stage: Scenes, change: Callable[[Image], Image]) -> None:
    """Content, permissions and places of pages are all in MRENCLAVE: EINIT refuses with the author's SIGSTRUCT."""
    scene = stage.scene()
    image = scene.victim.image
    signed = sign_enclave(signing_key(), mrenclave(image).value, date=date(2026, 6, 1))
    hostile = stage.scene(sigstruct=signed)
    with pytest.raises(LaunchError, match=r"SGX_INVALID_MEASUREMENT \(4\)"):
        hostile.machine.launch(change(image))
    honest = stage.scene(sigstruct=signed)
    honest.machine.launch(image)


def test_a_host_cannot_debug_what_was_signed_for_production(stage: Scenes) -> None:
    image = stage.scene().victim.image
    signed = sign_enclave(signing_key(), mrenclave(image).value, date=date(2026, 6, 1))
    with pytest.raises(LaunchError, match=r"SGX_INVALID_ATTRIBUTE \(2\)"):
        stage.scene(sigstruct=signed, debug=True).machine.launch(image)


def test_a_host_that_signs_itself_is_another_signer(stage: Scenes) -> None:
    """It may run what it likes; evidence and keys say who signed it."""
    _, own = stage.launched()
    image = own.image
    _, forged = stage.launched(sigstruct=sign_enclave(signing_key(), mrenclave(image).value, date=date(2026, 6, 1)))
    assert forged.measurement == own.measurement
    assert forged.secs.mrsigner != own.secs.mrsigner
    assert forged.sealing_key(KeyPolicy.MRSIGNER) != own.sealing_key(KeyPolicy.MRSIGNER)


# ---------------------------------------------------------------- reports


@pytest.mark.parametrize("place", [0, 48, 64, 128, 256, 258, 320, 383, 384, 416, 431])
def test_a_changed_report_gets_no_quote(stage: Scenes, place: int) -> None:
    _, machine = stage.launched()
    report = ereport(machine.cpu.fuses, machine.secs, machine.quoting_enclave.target_info, bytes(64))
    whole = bytearray(report.serialize())
    assert machine.quoting_enclave.verifies(bytes(whole))
    whole[place] ^= 1
    assert not machine.quoting_enclave.verifies(bytes(whole))


def test_a_report_of_another_processor_gets_no_quote(stage: Scenes, tmp_path: Path) -> None:
    _, machine = stage.launched()
    other = Scenes(Keystore(tmp_path / "other"))
    _, elsewhere = other.launched()
    report = ereport(elsewhere.cpu.fuses, elsewhere.secs, elsewhere.quoting_enclave.target_info, bytes(64))
    with pytest.raises(SignatureInvalid, match="MAC does not verify on this machine"):
        machine.quoting_enclave.quote(report)
    other.close()


def test_a_report_for_somebody_else_gets_no_quote(stage: Scenes) -> None:
    _, machine = stage.launched()
    target = machine.quoting_enclave.target_info
    values = {name: value for name, value in target.fields() if not name.startswith("reserved")}
    other = type(target)(**values | {"mrenclave": b"x" * 32})
    with pytest.raises(SignatureInvalid):
        machine.quoting_enclave.quote(ereport(machine.cpu.fuses, machine.secs, other, bytes(64)))


def test_a_secs_that_was_changed_in_dram_does_not_lie_in_evidence(stage: Scenes) -> None:
    """MRENCLAVE stands in an EPC page as everything else: with the tree, a change locks the machine."""
    _, machine = stage.launched()
    page = machine.driver.enclave.secs
    machine.settle()
    machine.dram.page(page)[64] ^= 1
    machine.dram_changed(page)
    with pytest.raises(IntegrityFault):
        machine.evidence(b"nonce")
