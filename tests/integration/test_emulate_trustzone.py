"""Real arm64 programs on the emulated TrustZone machine: at S-EL0, served across worlds, booted by signature."""

import hashlib
import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.machines.build import LAB_PROGRAM, assembled, program
from tests.machines.running import Run
from tests.machines.trustzone import SHAPE, Application, Bank, bank

from cloister.emulate.attacks.scene import find
from cloister.emulate.host import Cause
from cloister.emulate.machine import Ending, Shape
from cloister.emulate.paging import Refused
from cloister.emulate.trustzone.boot import BootRefused, application_bytes
from cloister.emulate.trustzone.machine import TrustZoneMachine
from cloister.emulate.trustzone.smc import Result
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import CannotEnclave, UsageError
from cloister.measure.image import PAGE, Architecture, read_image
from cloister.measure.program import program_measurement
from cloister.model import Digest

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

    def of(*, shape: Shape = SHAPE, **settings: Any) -> Bank:
        made.append(Bank(application, keystore, settings, shape))
        return made[-1]

    yield of
    for one in made:
        one.machine.close()


def machine_of(run: Run, keystore: Keystore, shape: Shape = SHAPE) -> TrustZoneMachine:
    return TrustZoneMachine(shape, run.terminal(), keystore)


# ---- programs


def test_the_labs_program_runs(keystore: Keystore) -> None:
    run = Run([b"a secret\n", b"\n"])
    machine = machine_of(run, keystore)
    assert run.of(machine, read_image(program(LAB_PROGRAM, Architecture.ARM64))) == Ending(0)
    assert b"Hash of your input" in run.output
    machine.close()


def test_little_cache_and_many_interrupts_change_nothing(keystore: Keystore, tmp_path: Path) -> None:
    source = tmp_path / "sum.c"
    source.write_text(
        """#include <stdio.h>
        #include <stdlib.h>
        int main(void) {
            size_t count = 1 << 17; double *many = malloc(count * sizeof *many), sum = 0;
            for (size_t i = 0; i < count; i++) many[i] = i * 0.5;
            for (size_t i = 0; i < count; i++) sum += many[(i * 40503) % count];
            printf("%.1f\\n", sum);
            return 0;
        }"""
    )
    run = Run()
    machine = machine_of(run, keystore, Shape(memory=4096, frames=64))
    machine.launch(read_image(program(source, Architecture.ARM64)))
    machine.start(["sum"], {})
    assert machine.run(5000) == Ending(0)
    assert run.output.decode() == f"{sum(i * 0.5 for i in range(1 << 17)):.1f}\n"
    assert machine.cache.evictions > 100
    assert sum(view.cause is Cause.INTERRUPT for view in machine.host.seen) > 100
    machine.close()


def test_the_program_is_at_el0(keystore: Keystore, tmp_path: Path) -> None:
    """SMC is not for EL0, and neither are the system registers of EL1 (Arm ARM, C6.2 and D1)."""
    for number, instruction in enumerate(("smc #0", "mrs x0, sctlr_el1", "mrs x0, CurrentEL", "msr ttbr0_el1, x0")):
        (tmp_path / str(number)).mkdir()
        data = assembled(
            tmp_path / str(number), f".globl _start\n_start: {instruction}\n mov x8, #93\n svc #0\n", Architecture.ARM64
        )
        run = Run()
        machine = machine_of(run, keystore)
        ending = run.of(machine, read_image(data))
        assert ending.status == 128 + 4, instruction
        assert ending.stopped.startswith("exception")
        machine.close()


def test_programs_for_other_processors_are_refused(keystore: Keystore, application: Application) -> None:
    machine = machine_of(Run(), keystore)
    with pytest.raises(CannotEnclave, match="riscv64"):
        machine.launch(replace(application.image, architecture=Architecture.RISCV64))
    machine.close()


def test_a_machine_too_small_for_two_worlds_is_refused(keystore: Keystore) -> None:
    with pytest.raises(UsageError, match="two worlds"):
        machine_of(Run(), keystore, Shape(memory=128, frames=32))


def test_a_program_too_large_for_the_secure_world_is_refused(keystore: Keystore, application: Application) -> None:
    machine = machine_of(Run(), keystore, Shape(memory=256, frames=32))
    last = application.image.pages[-1]
    more = tuple(replace(last, address=last.address + number * PAGE) for number in range(1, 192))
    with pytest.raises(UsageError, match="secure world has 192"):
        machine.launch(replace(application.image, pages=application.image.pages + more))
    assert machine.table.entries == {}
    machine.close()


# ---- memory


def test_the_program_is_in_secure_memory_and_in_the_clear(banks: Banks, tmp_path: Path) -> None:
    secret = secrets.token_hex(16).encode()
    one = banks(shape=Shape(memory=4096, frames=256, dram=tmp_path / "dram"))
    first = SHAPE.memory // 4
    places: list[int | None] = []

    def look() -> None:
        one.machine.settle()
        places.append(find(one.machine, secret[:16]))

    assert one.run(lambda: None, look, line=secret + b"\n") == Ending(0)
    assert places[0] is not None
    assert places[0] >= first * PAGE
    assert secret[:16] in (tmp_path / "dram").read_bytes()
    assert {entry.target >= first for entry in one.machine.table.entries.values()} == {True}
    assert max(one.machine.bounce.pages) < first


def test_freed_secure_pages_are_wiped(banks: Banks) -> None:
    one = banks()
    machine = one.machine
    one.run()
    page = machine.take_page()
    machine.cache.put(page, 1, b"s" * PAGE)
    before = machine.free_memory()
    machine.drop_page(page)
    assert machine.free_memory() == before + PAGE
    machine.settle()
    assert bytes(machine.dram.page(page)) == bytes(PAGE)


# ---- boot and measurement


def test_the_measurement_is_the_hash_that_boot_compared(banks: Banks) -> None:
    one = banks()
    with pytest.raises(UsageError, match="nothing has been booted"):
        _ = one.machine.measurement
    one.run()
    expected = hashlib.sha256(application_bytes(one.application.image, one.application.services)).digest()
    assert one.machine.measurement == Digest("sha256", expected)
    assert one.machine.boot_steps[-1].checked == "tos-fw-extra1: hash as in tos-fw-cert"


def test_there_is_nothing_to_show_to_others(banks: Banks) -> None:
    one = banks()
    one.run()
    with pytest.raises(UsageError, match="no attestation"):
        one.machine.evidence(b"nonce")
    with pytest.raises(UsageError, match="no measurement"):
        program_measurement("trustzone", one.application.image)


def test_who_launches_first_is_the_owner(keystore: Keystore, application: Application) -> None:
    """Nothing was signed: the program is, and from then on no other boots."""
    machine = machine_of(Run(), keystore)
    machine.launch(application.image)
    again = machine_of(Run(), keystore)
    again.flash = machine.flash
    with pytest.raises(BootRefused, match="tos-fw-extra1"):
        again.launch(replace(application.image, entry=application.image.entry + 4))
    assert again.table.entries == {}
    again.launch(application.image)
    for one in (machine, again):
        one.close()


def test_sealing_keys_are_the_chips_and_the_applications(tmp_path: Path) -> None:
    chips = [Keystore(tmp_path / name) for name in ("first", "second")]
    first, other = uuid.uuid4(), uuid.uuid4()
    machines = [machine_of(Run(), chip) for chip in (chips[0], chips[0], chips[1])]
    keys = [machine.storage_key(first) for machine in machines]
    assert keys[0] == keys[1]
    assert len({*keys, machines[0].storage_key(other)}) == 3
    assert len(keys[0]) == 32
    with pytest.raises(Refused, match="secure peripheral"):
        machines[0].tzpc.read("hardware unique key", secure=False)
    for machine in machines:
        machine.close()


# ---- what the host sees


def test_the_host_sees_calls_as_op_tee_makes_them(banks: Banks) -> None:
    one = banks()
    one.run(lambda: None, steps=200)
    seen = one.machine.host.seen
    calls = [view.registers for view in seen if view.cause is Cause.SYSTEM_CALL]
    interrupts = [view.registers for view in seen if view.cause is Cause.INTERRUPT]
    message = one.machine.bounce.pages[0] * PAGE
    assert {(one["x0"], one["x1"] << 32 | one["x2"]) for one in calls} == {(Result.REQUEST, message)}
    assert {one["x0"] for one in interrupts} == {Result.FOREIGN_INTERRUPT}
    assert {value for one in interrupts for name, value in one.items() if name not in {"x0", "x1", "x2"}} == {0}
    assert not {view.cause for view in seen} - {Cause.SYSTEM_CALL, Cause.INTERRUPT}
