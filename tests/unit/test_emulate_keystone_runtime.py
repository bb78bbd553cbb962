"""The runtime's page tables as they stand in the enclave's memory, and how it shares out that memory."""

from pathlib import Path

import pytest
from tests.forge.elf import CODE, TEXT, VARIABLES, elf
from tests.machines.keystone import EPM, Board, arguments

from cloister.emulate.keystone.bus import BASE, address_of, page_of
from cloister.emulate.keystone.eyrie import Runtime, tables_for
from cloister.emulate.keystone.sbi import Function
from cloister.emulate.keystone.sv39 import Sv39, entry_for
from cloister.emulate.paging import Access, MemoryFault, Stage
from cloister.errors import ParseError
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Permission, read_image
from cloister.measure.keystone import guest_digest

SIZE = 128
"""Pages of the enclave: the first is for the tests, tables come from the end."""
FIRST = page_of(EPM)
READ, WRITE, FETCH = Access.READ, Access.WRITE, Access.FETCH
BOTH = Permission.READ | Permission.WRITE
RISCV = 243


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "keys")


def inside(board: Board, **changes: int) -> Board:
    board.monitor.ecall(Function.RUN, board.create(arguments(epm_size=SIZE * PAGE, **changes)))
    return board


@pytest.fixture
def tables(board: Board) -> Sv39:
    pages = iter(range(FIRST + 100, FIRST + 128))
    return Sv39(inside(board).bus, board.harts[0], next(pages), lambda: next(pages))


# ---- Sv39


def test_the_entries_are_where_the_architecture_has_them(board: Board, tables: Sv39) -> None:
    address = 3 << 30 | 5 << 21 | 7 << 12
    tables.set(address, FIRST + 9, Permission.READ | Permission.EXECUTE)
    place, levels = address_of(tables.root) + 3 * 8, []
    for index in (5, 7, None):
        levels.append(int.from_bytes(board.bus.read(place, 8), "little"))
        place = (levels[-1] >> 10 << 12) + (index or 0) * 8
    pointer, second, leaf = levels
    assert [pointer & 0x3FF, second & 0x3FF] == [1, 1]
    assert leaf == (EPM + 9 * PAGE) >> 2 | 0b1101_1011  # D A - U X - R V
    assert tables.walk(address, FETCH) == (FIRST + 9, Permission.READ | Permission.EXECUTE)


def fault(tables: Sv39, address: int, access: Access = READ) -> MemoryFault:
    with pytest.raises(MemoryFault) as caught:
        tables.walk(address, access)
    return caught.value


def test_faults_of_the_walk(tables: Sv39) -> None:
    tables.set(0x1000, FIRST, Permission.READ)
    tables.set(1 << 30, FIRST, BOTH)
    for address in (0x2000, 1 << 21, 2 << 30, (1 << 30) + PAGE):
        assert "cause 13): not mapped" in fault(tables, address).reason
    assert "cause 15): mapped without WRITE" in fault(tables, 0x1000, WRITE).reason
    assert "cause 12): mapped without EXECUTE" in fault(tables, 0x1000, FETCH).reason
    assert "user mode" in fault(tables, 1 << 38).reason
    assert {fault(tables, at).stage for at in (0x2000, 1 << 38)} == {Stage.PROGRAM}


def test_unmapping(tables: Sv39) -> None:
    tables.set(0x1000, FIRST, BOTH)
    assert tables.page_at(0x1000) == FIRST
    assert tables.take(0x1000) == FIRST
    assert tables.take(0x1000) is None
    assert tables.page_at(0x1000) is tables.page_at(5 << 30) is None
    assert "not mapped" in fault(tables, 0x1000).reason


def test_supervisor_pages_are_not_the_programs(board: Board, tables: Sv39) -> None:
    tables.set(0x1000, FIRST, BOTH)
    place = tables.place_of(0x1000)
    assert place
    board.bus.write(place, (entry_for(FIRST, BOTH) & ~16).to_bytes(8, "little"))
    assert "not mapped" in fault(tables, 0x1000).reason


def test_large_pages_are_not_understood(board: Board, tables: Sv39) -> None:
    tables.set(0x1000, FIRST, BOTH)
    board.bus.write(address_of(tables.root), entry_for(FIRST, BOTH).to_bytes(8, "little"))
    assert "large page" in fault(tables, 0x1000).reason


def test_tables_outside_the_enclave_are_stopped_by_pmp(board: Board, tables: Sv39) -> None:
    """Who can write to the tables leads the walk out of the enclave; there PMP stops it."""
    tables.set(0x1000, FIRST, BOTH)
    board.bus.write(address_of(tables.root), (BASE >> 12 << 10 | 1).to_bytes(8, "little"))
    found = fault(tables, 0x1000)
    assert found.stage is Stage.TEE
    assert "PMP entry 0 denies" in found.reason


# ---- the runtime


def runtime_of(board: Board, *, user: int = 1, pages: int = 6) -> Runtime:
    return Runtime(
        inside(board, runtime=EPM + user * PAGE, user=EPM + user * PAGE, free=EPM + pages * PAGE).monitor, board.bus
    )


def lay(board: Board) -> GuestLayout:
    layout = GuestLayout.of(read_image(elf(TEXT, VARIABLES, machine=RISCV)))
    for place, content in layout.pages:
        board.bus.write(EPM + place, content)
    return layout


def test_the_program_is_mapped_where_the_measured_boot_parameters_say(board: Board) -> None:
    layout = lay(board)
    runtime = runtime_of(board)
    assert runtime.image == layout.parameters.image(layout.contents)
    assert runtime.tables.walk(CODE, FETCH)[0] == FIRST + 1
    assert runtime.free.left == SIZE - 6 - tables_for(SIZE - 6)


def test_without_boot_parameters_nothing_starts(board: Board) -> None:
    with pytest.raises(ParseError):
        runtime_of(board)


def test_a_host_that_says_something_else_than_the_boot_parameters(board: Board) -> None:
    """The program's place is the host's to say: it is measured, and another one leads to other content."""
    layout = lay(board)
    runtime = runtime_of(board, user=2, pages=7)
    assert runtime.image != layout.parameters.image(layout.contents)
    found = board.monitor.enclave(0)
    assert found is not None
    assert found.hash != guest_digest(layout).value


def fill(tables: Sv39) -> None:
    for number in range(8, SIZE):
        tables.set(number << 21, FIRST, BOTH)


def test_program_pages_and_table_pages_never_mix(board: Board) -> None:
    lay(board)
    runtime = runtime_of(board)
    given = [runtime.map(0x10_0000 + number * PAGE, BOTH) for number in range(runtime.free.left)]
    assert len(set(given)) == len(given)
    assert given[0] == FIRST + 6
    assert max(given) < runtime.tables.root
    with pytest.raises(MemoryError):
        runtime.map(0x50_0000, BOTH)
    runtime.unmap(0x10_0000)
    assert runtime.map(0x60_0000, BOTH) == given[0]
    with pytest.raises(MemoryError, match="page tables"):
        fill(runtime.tables)


def test_the_images_own_pages_are_not_given_out_again(board: Board) -> None:
    lay(board)
    runtime = runtime_of(board)
    left = runtime.free.left
    runtime.unmap(CODE)
    runtime.unmap(CODE)
    assert runtime.free.left == left
    assert "not mapped" in fault(runtime.tables, CODE, FETCH).reason


def test_changing_what_a_page_is_for(board: Board) -> None:
    lay(board)
    runtime = runtime_of(board)
    page = runtime.map(0x10_0000, BOTH)
    runtime.protect(0x10_0000, Permission.READ)
    assert runtime.tables.walk(0x10_0000, READ) == (page, Permission.READ)
    runtime.protect(0x20_0000, BOTH)
    assert runtime.tables.page_at(0x20_0000) is None


def test_an_enclave_without_room(board: Board) -> None:
    lay(board)
    with pytest.raises(MemoryError, match="none left"):
        runtime_of(board, pages=SIZE - 24)
