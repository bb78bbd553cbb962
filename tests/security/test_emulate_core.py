"""Hosts that attack what all emulated machines share: memory that is promised, the bounce buffer, tables, keys."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.machines.build import LAB_PROGRAM, program
from tests.machines.running import Run, machine_for

from cloister.emulate.administration import Administrator
from cloister.emulate.catalogue import KINDS, native_kind
from cloister.emulate.linux.messages import BOUNCE_BUFFER
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.paging import Access, MemoryFault, Refused
from cloister.emulate.sev.machine import SevMachine
from cloister.emulate.shared import BOUNCE_PAGES, BounceBuffer
from cloister.measure.image import PAGE, Architecture, Permission, read_image

DATA = 0x20_0000_0000
BOTH = Permission.READ | Permission.WRITE
OLD = b"what stood here before"
GUESTS = ["sev", "sev-es", "sev-snp", "tdx"]
SHAPE = Shape(memory=4096, frames=64)
MACHINES = 200
OPEN, MMAP, ENOMEM = 2, 9, 12
PRIVATE, PRIVATE_ANONYMOUS, NO_FILE = 2, 0x22, (1 << 64) - 1

Make = Callable[..., tuple[Machine, Run]]


@pytest.fixture
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Make:
    """A machine with the exercise in it, ready to run."""

    def make(name: str, *typed: bytes) -> tuple[Machine, Run]:
        architecture = KINDS[name].architecture if name in KINDS else Architecture.X86_64
        image, run = read_image(program(LAB_PROGRAM, architecture)), Run(typed)
        machine = machine_for(name, run, tmp_path, image, shape=SHAPE)
        request.addfinalizer(machine.close)
        machine.launch(image)
        machine.start(["program"], {})
        return machine, run

    return make


@pytest.mark.parametrize("name", GUESTS)
def test_a_page_that_the_host_took_away_for_a_while_comes_as_zeros_and_with_its_permission(
    started: Make, name: str
) -> None:
    machine, _ = started(name)
    machine.map(DATA, PAGE, BOTH)
    machine.write(DATA, OLD)
    place, away = machine.host_address(DATA), [True]
    machine.unmap(DATA, PAGE)
    machine.withhold(place)  # the guest keeps the page for the next time

    def give_back(address: int) -> bool:
        if address != place or not away:
            return False
        away.clear()
        machine.give_back(place)
        return True

    machine.host.on_fault = give_back
    machine.map(DATA, PAGE, Permission.READ)
    assert machine.read(DATA, PAGE) == bytes(PAGE)
    assert not away
    with pytest.raises(MemoryFault):
        machine.write(DATA, b"x")


@pytest.mark.parametrize("name", GUESTS)
def test_what_was_promised_and_given_up_while_the_host_refused_a_page_is_not_there(started: Make, name: str) -> None:
    machine, _ = started(name)
    machine.map(DATA, PAGE, BOTH)
    machine.write(DATA, OLD)
    place = machine.host_address(DATA)
    machine.unmap(DATA, PAGE)
    machine.withhold(place)
    machine.map(DATA, PAGE, BOTH)
    with pytest.raises(MemoryFault):
        machine.read(DATA, 1)  # the host does not repair it
    machine.unmap(DATA, PAGE)
    machine.give_back(place)
    with pytest.raises(MemoryFault):
        machine.read(DATA, 1)
    machine.map(DATA, PAGE, BOTH)
    assert machine.read(DATA, PAGE) == bytes(PAGE)


@pytest.mark.parametrize("name", ["native", "sme"])
def test_a_page_that_was_given_up_does_not_come_back_from_where_the_host_kept_it(started: Make, name: str) -> None:
    machine, _ = started(name)
    left = machine.pages.left
    machine.map(DATA, 2 * PAGE, BOTH)
    machine.write(DATA, OLD)
    machine.write(DATA + PAGE, OLD)
    for place in (DATA, DATA + PAGE):
        machine.withhold(place)
    machine.unmap(DATA, PAGE)
    machine.protect(DATA + PAGE, PAGE, Permission.READ)
    for place in (DATA, DATA + PAGE):
        machine.give_back(place)
    with pytest.raises(MemoryFault):
        machine.read(DATA, 1)
    assert machine.read(DATA + PAGE, len(OLD)) == OLD
    with pytest.raises(MemoryFault):
        machine.write(DATA + PAGE, b"x")
    assert machine.pages.left == left - 1


@pytest.mark.parametrize("name", ["native", *KINDS])
def test_an_answer_that_has_no_room_in_the_bounce_buffer_stops_the_program(started: Make, name: str) -> None:
    machine, _ = started(name)
    machine.host.serve = lambda _: bytes(1 << 20)
    assert "cannot be true" in machine.run().stopped


def test_the_bounce_buffer_never_reaches_behind_its_pages() -> None:
    pages = [bytearray(PAGE) for _ in range(BOUNCE_PAGES)]
    buffer = BounceBuffer(range(BOUNCE_PAGES), lambda page, *, write: memoryview(pages[page]))  # noqa: ARG005
    buffer.put(b"x" * (BOUNCE_BUFFER + 1))
    assert buffer.take() == b"x" * BOUNCE_BUFFER


@pytest.mark.parametrize("name", ["native", "sme", *GUESTS])
@pytest.mark.parametrize("page", [-1, SHAPE.memory, 1 << 40])
def test_tables_lead_to_memory_that_exists_or_are_refused(started: Make, name: str, page: int) -> None:
    machine, _ = started(name)
    place = machine.host_address(machine.image.entry)
    with pytest.raises(Refused):
        machine.remap(place, page)
    for read in (machine.host_read, machine.device_read):
        with pytest.raises(Refused):
            read(page)
    for write in (machine.host_write, machine.device_write):
        with pytest.raises(Refused):
            write(page, bytes(PAGE))
    assert machine.frame_of(machine.image.entry, Access.FETCH)


@pytest.mark.parametrize("name", ["sev", "sev-es"])
def test_a_guest_whose_key_is_removed_while_it_waits_is_stopped(started: Make, name: str) -> None:
    machine, run = started(name, b"FUNFOO\n")
    assert isinstance(machine, SevMachine)
    run.waiting = lambda _: machine.firmware.deactivate(machine.hypervisor.handle)
    ending = machine.run()
    assert ending.status == 128 + 7
    assert "has no key" in ending.stopped
    assert b"Hash" not in run.output


def used() -> tuple[int, int]:
    """Descriptors of this process, and its memory in bytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(os.listdir("/proc/self/fd")), pages * PAGE


def test_machines_that_are_closed_leave_nothing_open() -> None:
    def one(number: int) -> None:
        kind = native_kind(list(Architecture)[number % 3])
        machine = kind.make(Shape(memory=1024, frames=64), Run().terminal(), None)  # type: ignore[arg-type]
        machine.close()

    for number in range(30):
        one(number)
    descriptors, memory = used()
    for number in range(MACHINES):
        one(number)
    after = used()
    assert after[0] <= descriptors
    assert after[1] - memory < 64 << 20


def test_a_program_that_only_asks_for_memory_is_told_that_there_is_no_more(started: Make) -> None:
    machine, _ = started("native")
    answers = [machine.shim.call(MMAP, [0, 1024 * PAGE, 3, PRIVATE_ANONYMOUS, NO_FILE, 0]) for _ in range(100)]
    assert answers[0] > 0  # type: ignore[operator]
    assert answers[-1] == -ENOMEM
    assert len(machine.reserved) <= 8 * SHAPE.memory


def test_a_device_is_not_mapped_beyond_memory_even_without_permissions(started: Make) -> None:
    machine, _ = started("native")
    machine.map(DATA, PAGE, BOTH)
    machine.write(DATA, b"/dev/zero\0")
    device = machine.shim.call(OPEN, [DATA, 0, 0])
    assert isinstance(device, int)
    assert device >= 0
    assert machine.shim.call(MMAP, [0, 1 << 37, 0, PRIVATE, device, PAGE]) == -ENOMEM


@pytest.mark.parametrize("name", ["native", "sme", "sgx", "sev", "sev-snp"])
def test_tracing_goes_on_when_the_program_gives_a_traced_page_up(started: Make, name: str) -> None:
    machine, _ = started(name)
    places = [DATA, DATA + PAGE, DATA + 2 * PAGE]
    machine.map(DATA, len(places) * PAGE, BOTH)
    machine.write(DATA, bytes(len(places) * PAGE))
    administrator = Administrator(machine, dict(zip("abc", places, strict=True)))
    administrator.do(["trace", "a", "b", "c"])
    machine.unmap(DATA + PAGE, PAGE)
    for place in (places[0], places[2], places[0]):
        machine.write(place, b"x")
    faults = [line.split()[1] for line in administrator.do(["faults"]).splitlines()]
    assert faults[-3:] == ["a", "c", "a"]  # SGX enclaves touch a page to give it up
    with pytest.raises(MemoryFault):
        machine.read(DATA + PAGE, 1)


def test_a_page_that_is_away_is_led_elsewhere_and_comes_back_there(started: Make) -> None:
    machine, _ = started("native")
    machine.map(DATA, 2 * PAGE, BOTH)
    machine.write(DATA, bytes(PAGE) + OLD)
    other = machine.physical_page(DATA + PAGE)
    machine.withhold(DATA)
    machine.remap(DATA, other)
    assert machine.physical_page(DATA) == other
    with pytest.raises(MemoryFault):
        machine.read(DATA, 1)
    machine.give_back(DATA)
    assert machine.read(DATA, len(OLD)) == OLD


def test_no_table_leads_a_guest_to_the_firmware_s_own_memory(started: Make) -> None:
    machine, _ = started("sev-es")
    assert isinstance(machine, SevMachine)
    machine.map(DATA, PAGE, BOTH)
    machine.write(DATA, OLD)
    machine.remap(machine.host_address(DATA), machine.trusted_pages.start)
    for access in (lambda: machine.read(DATA, 1), lambda: machine.write(DATA, b"x")):
        with pytest.raises(MemoryFault, match="trusted memory"):
            access()


@pytest.mark.parametrize("name", ["sev", "sev-es", "sev-snp"])
def test_a_nested_page_is_taken_away_once_and_given_back_once(started: Make, name: str) -> None:
    machine, _ = started(name)
    machine.map(DATA, PAGE, BOTH)
    machine.write(DATA, OLD)
    place = machine.host_address(DATA)
    page = machine.physical_page(place)
    for _ in range(2):
        machine.withhold(place)
        assert machine.physical_page(place) == page
    with pytest.raises(MemoryFault):
        machine.read(DATA, 1)
    for _ in range(2):
        machine.give_back(place)
    assert machine.read(DATA, len(OLD)) == OLD
    with pytest.raises(KeyError):
        machine.withhold(1 << 40)
