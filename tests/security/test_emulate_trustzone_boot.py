"""Attacks on the boot of the emulated TrustZone machine: nothing runs that its owner has not signed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.machines.trustzone import BRK, CODE, SHAPE, SMC, Application, Bank, bank, code

from cloister.emulate.attacks.scene import SECRET
from cloister.emulate.machine import Shape
from cloister.emulate.trustzone.boot import BootRefused
from cloister.emulate.trustzone.certificates import FirmwareSigner
from cloister.emulate.trustzone.smc import INVOKE, NOT_SUPPORTED, SMCCC_VERSION
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE

Banks = Callable[..., Bank]


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Application:
    return bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture
def banks(keystore: Keystore, application: Application) -> Iterator[Banks]:
    made: list[Bank] = []

    def of(program: Application | None = None, *, shape: Shape = SHAPE, **settings: Any) -> Bank:
        made.append(Bank(program or application, keystore, settings, shape))
        return made[-1]

    yield of
    for one in made:
        one.machine.close()


def test_a_program_changed_after_signing_does_not_boot(banks: Banks) -> None:
    one = banks()
    image = one.application.image
    first, *others = image.pages
    changed = replace(image, pages=(replace(first, content=first.content[:-1] + b"\xee"), *others))
    one.machine.sign(image)
    with pytest.raises(BootRefused, match="tos-fw-extra1 is not what its owner signed"):
        one.machine.launch(changed)
    assert one.machine.table.entries == {}
    one.machine.launch(image)
    assert len(one.machine.table.entries) > len(image.pages)


def test_services_cannot_be_added_or_moved(banks: Banks) -> None:
    """Where the secure world may be entered is signed with the program."""
    one = banks()
    machine = one.machine
    for services in ({1: one.application.symbols["balance"]}, {**one.application.services, 99: 0x400000}):
        machine.sign(one.application.image, one.application.services)
        machine.flash.services = services
        with pytest.raises(BootRefused, match="tos-fw-extra1"):
            machine.launch(one.application.image)


def test_somebody_elses_signature_does_not_count(banks: Banks, tmp_path_factory: pytest.TempPathFactory) -> None:
    one = banks()
    stranger = Keystore(tmp_path_factory.mktemp("stranger") / "store")
    machine, fuses = one.machine, one.machine.fuses.root_hash
    machine.keystore = stranger
    machine.sign(one.application.image)
    assert FirmwareSigner(stranger).root_hash != fuses
    with pytest.raises(BootRefused, match="fuses"):
        machine.launch(one.application.image)


def test_an_old_version_does_not_come_back(banks: Banks) -> None:
    one = banks()
    machine, image = one.machine, one.application.image
    machine.sign(image, version=1)
    old = dict(machine.flash.certificates)
    machine.sign(image, version=2)
    machine.launch(image)
    machine.flash.certificates = old
    with pytest.raises(BootRefused, match="old software"):
        machine.launch(image)
    assert machine.table.entries == {}
    assert machine.secure_pages.left == machine.shape.memory * 3 // 4


def test_after_a_refused_boot_there_is_no_secure_world_to_call(banks: Banks) -> None:
    one = banks()
    machine = one.machine
    machine.sign(one.application.image)
    with pytest.raises(BootRefused):
        machine.launch(replace(one.application.image, entry=one.application.image.entry + 4))
    machine.normal.load(CODE, code(SMC, BRK))
    assert machine.normal.run(CODE, INVOKE, 1).registers["x0"] == NOT_SUPPORTED
    assert machine.normal.run(CODE, SMCCC_VERSION).registers["x0"] == 0x10002


def test_a_failed_boot_leaves_nothing_in_memory(banks: Banks) -> None:
    """What was loaded before its hash was compared is wiped."""
    one = banks()
    machine, image = one.machine, one.application.image
    marked = replace(image, pages=(replace(image.pages[0], content=SECRET.ljust(PAGE, b"x")), *image.pages[1:]))
    machine.sign(image)
    with pytest.raises(BootRefused):
        machine.launch(marked)
    machine.settle()
    assert not any(SECRET in bytes(machine.dram.page(page)) for page in range(machine.shape.memory))
