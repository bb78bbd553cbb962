"""The security monitor's calls: states, checks, what PMP says on every hart, contexts, measurement, reports, keys."""

import hashlib
from pathlib import Path

import pytest
from tests.machines.keystone import ARGUMENTS, EPM, PAGES, UTM, Board, arguments

from cloister import _ed25519_sha3
from cloister.emulate.keystone.boot import CONTEXTS, HEADER, BootHeader
from cloister.emulate.keystone.bus import BASE, address_of
from cloister.emulate.keystone.monitor import A0, A1, NUMBERS, PC
from cloister.emulate.keystone.sbi import EXTENSION, Code, CreateArguments, Function, SbiError, State, StopReason
from cloister.emulate.vendors.keystone import private_key_of
from cloister.errors import UsageError
from cloister.evidence import keystone
from cloister.measure.image import PAGE
from cloister.measure.keystone import enclave_hash

THREE_ZERO_PAGES = (
    "16b05bc64a6acd54a8edcf979d45a5936a68bfa3591855d475f9e019154cdaa6"
    "2c1799918fa52d747aa16e4db98832de297c4a063893519e52ae95d5e0c63bb7"
)
"""SHA3-512 of three words 0x1000 and three zero pages."""
OF_HOST = [Function.CREATE, Function.DESTROY, Function.RUN, Function.RESUME]
OF_ENCLAVE = [Function.RANDOM, Function.ATTEST, Function.GET_SEALING_KEY, Function.STOP, Function.EXIT]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "keys")


def code_of(board: Board, function: int, *given: int) -> Code:
    with pytest.raises(SbiError) as caught:
        board.monitor.ecall(function, *given)
    return caught.value.code


def state_of(board: Board, number: int = 0) -> State:
    found = board.monitor.enclave(number)
    return State.INVALID if found is None else found.state


# ---- boot


def test_the_boot_rom_measures_what_lies_in_dram_and_leaves_keys_behind_it(board: Board) -> None:
    header = BootHeader.parse(bytes(board.dram.page(0x1FF)[: BootHeader.SIZE]))
    assert bytes(board.dram.page(0)[:9]) == b"a monitor"
    assert header.monitor_hash == hashlib.sha3_512(b"a monitor".ljust(0x1FF000, b"\0")).digest()
    assert header.monitor_secret == private_key_of(board.booted.seed)
    assert header.device_secret == bytes(64)
    signed = header.monitor_hash + header.monitor_key
    _ed25519_sha3.verify(header.device_key, header.monitor_signature, signed, what="the monitor")


def test_a_monitor_that_would_lie_over_its_own_memory_is_refused(tmp_path: Path) -> None:
    Board(tmp_path / "keys", bytes(CONTEXTS - BASE))
    with pytest.raises(UsageError, match="security monitor"):
        Board(tmp_path / "keys", bytes(CONTEXTS - BASE + 1))


def test_after_boot_the_monitors_memory_is_closed_and_the_rest_open(board: Board) -> None:
    for address in (BASE, CONTEXTS, HEADER):
        assert board.reaches(address) == (False, False, False)
    assert board.reaches(BASE + 0x200000) == (True, True, True)


# ---- who may call what


def test_calls_of_the_other_side_are_prohibited(board: Board) -> None:
    number = board.create()
    assert {code_of(board, one, 0, 0, 0) for one in OF_ENCLAVE} == {Code.SBI_PROHIBITED}
    board.monitor.ecall(Function.RUN, number)
    assert {code_of(board, one, 0) for one in OF_HOST} == {Code.SBI_PROHIBITED}


def test_numbers_that_are_no_calls(board: Board) -> None:
    assert EXTENSION == 0x08424B45
    assert code_of(board, 1999) is Code.DEPRECATED
    assert code_of(board, 2004, 0) is Code.NOT_IMPLEMENTED
    assert code_of(board, Function.CALL_PLUGIN, 0) is Code.NOT_IMPLEMENTED


# ---- create


def test_an_enclave_is_closed_on_every_hart_and_measured(board: Board) -> None:
    pages = [bytes([number]) * PAGE for number in (1, 2, 3)]
    board.bus.write(EPM, b"".join(pages))
    board.bus.write(arguments().utm_start, b"left over")
    assert board.reaches(EPM) == (True, True, True)
    number = board.create()
    found = board.monitor.enclave(number)
    assert found is not None
    assert found.hash == enclave_hash(loader=pages[0], runtime=pages[1], application=pages[2]).value
    assert (number, found.state) == (0, State.FRESH)
    assert board.reaches(EPM) == board.reaches(EPM + 15 * PAGE) == (False, False, False)
    assert board.reaches(EPM + 16 * PAGE) == board.reaches(EPM - PAGE) == (True, True, True)
    assert board.bus.read(arguments().utm_start, 9) == bytes(9)
    assert board.flushes


def test_the_hash_is_the_published_formula(board: Board) -> None:
    board.create()
    found = board.monitor.enclave(0)
    assert found is not None
    assert found.hash.hex() == THREE_ZERO_PAGES


@pytest.mark.parametrize(
    "changes",
    [
        {"epm_size": 0},
        {"utm_size": 0},
        {"epm_start": (1 << 64) - PAGE},
        {"utm_start": (1 << 64) - PAGE},
        {"runtime": EPM - PAGE},
        {"runtime": EPM + 3 * PAGE},
        {"user": EPM + 4 * PAGE},
        {"user": EPM + 16 * PAGE, "free": EPM + 16 * PAGE},
        {"free": EPM + 17 * PAGE},
    ],
)
def test_arguments_out_of_order_are_refused(board: Board, changes: dict[str, int]) -> None:
    board.bus.write(ARGUMENTS, arguments(**changes).serialize())
    assert code_of(board, Function.CREATE, ARGUMENTS) is Code.ILLEGAL_ARGUMENT
    assert state_of(board) is State.INVALID


def test_an_enclave_without_free_memory(board: Board) -> None:
    board.create(arguments(free=EPM + 16 * PAGE))
    assert state_of(board) is State.FRESH


@pytest.mark.parametrize(
    "changes",
    [
        {"epm_start": BASE, "runtime": BASE, "user": BASE, "free": BASE},
        {"utm_start": BASE + 0x100000},
        {"utm_start": EPM},
        {"utm_size": 7 * PAGE},
        {"utm_start": UTM + PAGE},
        {"utm_start": UTM + 8},
    ],
)
def test_memory_that_cannot_be_closed_is_refused_and_nothing_is_kept(board: Board, changes: dict[str, int]) -> None:
    """The monitor's own, twice the same, no power of two for the buffer, not aligned."""
    before = list(board.monitor.regions.defined)
    board.bus.write(ARGUMENTS, arguments(**changes).serialize())
    assert code_of(board, Function.CREATE, ARGUMENTS) is Code.PMP_FAILURE
    assert board.monitor.regions.defined == before
    assert board.create() == 0


def test_a_running_enclaves_memory_is_given_to_nobody_else(board: Board) -> None:
    board.create()
    overlapping = arguments(epm_start=EPM + 8 * PAGE, runtime=EPM + 8 * PAGE, user=EPM + 8 * PAGE, free=EPM + 9 * PAGE)
    for wanted in (overlapping, arguments(1, utm_start=EPM)):
        board.bus.write(ARGUMENTS, wanted.serialize())
        assert code_of(board, Function.CREATE, ARGUMENTS) is Code.PMP_FAILURE


@pytest.mark.parametrize("place", [BASE + 0x1000, HEADER - 32, EPM, EPM - 8])
def test_arguments_are_read_with_the_hosts_rights(board: Board, place: int) -> None:
    """A confused monitor would read its own memory, or another enclave's, for the host."""
    board.create()
    assert code_of(board, Function.CREATE, place) is Code.REGION_OVERLAPS


def test_seven_enclaves_take_all_regions(board: Board) -> None:
    """PMP_MAX_N_REGION is 16, two are the monitor's, each enclave takes two: ENCL_MAX, also 16, is never reached."""
    assert [board.create(arguments(number)) for number in range(7)] == list(range(7))
    board.bus.write(ARGUMENTS, arguments(7).serialize())
    assert code_of(board, Function.CREATE, ARGUMENTS) is Code.PMP_FAILURE
    board.monitor.ecall(Function.DESTROY, 3)
    assert board.create(arguments(7)) == 3


# ---- states


def test_an_enclaves_life(board: Board) -> None:
    number = board.create()
    seen = [state_of(board)]
    for function, *given in (
        (Function.RUN, number),
        (Function.STOP, StopReason.TIMER_INTERRUPT),
        (Function.RESUME, number),
        (Function.STOP, StopReason.EDGE_CALL_HOST),
        (Function.RESUME, number),
        (Function.EXIT, 7),
        (Function.DESTROY, number),
    ):
        board.monitor.ecall(function, *given)
        seen.append(state_of(board))
    fresh, stopped, running = State.FRESH, State.STOPPED, State.RUNNING
    assert seen == [fresh, running, stopped, running, stopped, running, stopped, State.INVALID]


def test_calls_in_the_wrong_state(board: Board) -> None:
    for number in (-1, 0, 15, 16, 1 << 40):
        assert code_of(board, Function.RUN, number) is Code.NOT_FRESH
        assert code_of(board, Function.RESUME, number) is Code.NOT_RESUMABLE
        assert code_of(board, Function.DESTROY, number) is Code.NOT_DESTROYABLE
    number = board.create()
    assert code_of(board, Function.RESUME, number) is Code.NOT_RESUMABLE
    board.monitor.ecall(Function.RUN, number)
    board.monitor.ecall(Function.STOP, 0)
    assert code_of(board, Function.RUN, number) is Code.NOT_FRESH


def test_a_running_enclave_is_not_destroyed(board: Board) -> None:
    """Two enclaves: what one hart runs, another asks to destroy."""
    number = board.create()
    board.monitor.ecall(Function.RUN, number)
    board.monitor.running = None  # the call comes from the other hart, which is in no enclave
    assert code_of(board, Function.DESTROY, number) is Code.NOT_DESTROYABLE
    assert code_of(board, Function.RESUME, number) is Code.NOT_RESUMABLE


def test_destroying_zeroes_the_memory_before_it_is_the_hosts(board: Board) -> None:
    number = board.create()
    board.monitor.ecall(Function.RUN, number)
    board.bus.write(EPM + 5 * PAGE, b"a secret")
    board.monitor.frame = [0x5EC2E7] * NUMBERS
    board.monitor.ecall(Function.STOP, 0)
    board.monitor.ecall(Function.DESTROY, number)
    assert board.reaches(EPM) == (True, True, True)
    assert board.bus.read(EPM, 16 * PAGE) == bytes(16 * PAGE)
    assert board.bus.read(CONTEXTS, 512) == bytes(512)


# ---- context switches


def test_inside_only_the_enclaves_own_memory_is_there_and_only_on_its_hart(board: Board) -> None:
    first, second = board.create(), board.create(arguments(1))
    board.monitor.ecall(Function.RUN, first)
    other, buffer = arguments(second).epm_start, arguments().utm_start
    assert board.reaches(EPM) == (True, False, False)
    assert board.reaches(buffer) == (True, True, True)
    assert board.reaches(other) == (False, False, False)
    assert board.reaches(arguments(second).utm_start) == (False, True, True)
    assert board.reaches(BASE) == (False, False, False)
    assert board.reaches(address_of(PAGES - 1)) == (False, True, True)
    board.monitor.ecall(Function.STOP, 0)
    assert board.reaches(EPM) == (False, False, False)
    assert board.reaches(buffer) == board.reaches(address_of(PAGES - 1)) == (True, True, True)


def test_registers_are_swapped_through_the_monitors_memory(board: Board) -> None:
    monitor, number = board.monitor, board.create()
    host, enclave = [1000 + n for n in range(NUMBERS)], [2000 + n for n in range(NUMBERS)]
    monitor.frame = host.copy()
    monitor.ecall(Function.RUN, number)
    assert not set(monitor.frame) & set(host)
    given = arguments()
    assert monitor.frame[A1 : A1 + 7] == [
        given.epm_start, given.epm_size, given.runtime, given.user, given.free, given.utm_start, given.utm_size,
    ]  # fmt: skip
    assert monitor.frame[PC] == EPM
    monitor.frame = enclave.copy()
    monitor.ecall(Function.STOP, StopReason.TIMER_INTERRUPT)
    assert monitor.frame == [*host[:A0], Code.INTERRUPTED, *host[A0 + 1 :]]
    assert (2000).to_bytes(8, "little") in board.bus.read(CONTEXTS, 512)
    monitor.ecall(Function.RESUME, number)
    assert monitor.frame == enclave
    monitor.ecall(Function.STOP, StopReason.EDGE_CALL_HOST)
    assert monitor.frame[A0] == Code.EDGE_CALL_HOST
    monitor.ecall(Function.RESUME, number)
    monitor.ecall(Function.EXIT, 42)
    assert monitor.frame[A0 : A1 + 1] == [0, 42]


def test_what_is_changed_in_the_monitors_memory_is_what_goes_on(board: Board) -> None:
    number = board.create()
    board.monitor.ecall(Function.RUN, number)
    board.monitor.ecall(Function.STOP, 0)
    board.bus.write(CONTEXTS + 8 * PC, (0x1234).to_bytes(8, "little"))
    board.monitor.ecall(Function.RESUME, number)
    assert board.monitor.frame[PC] == 0x1234


def test_an_unknown_reason_to_stop(board: Board) -> None:
    board.monitor.ecall(Function.RUN, board.create())
    board.monitor.ecall(Function.STOP, 9)
    assert board.monitor.frame[A0] == Code.UNKNOWN_ERROR


# ---- services


@pytest.fixture
def inside(board: Board) -> Board:
    board.monitor.ecall(Function.RUN, board.create())
    return board


def test_a_report_is_written_into_the_enclave(inside: Board) -> None:
    inside.bus.write(EPM + 8 * PAGE, b"a nonce")
    inside.monitor.ecall(Function.ATTEST, EPM + 9 * PAGE, EPM + 8 * PAGE, 7)
    report = keystone.parse(inside.bus.read(EPM + 9 * PAGE, 1352))
    assert report.enclave.signed_data == b"a nonce"
    assert report.enclave.hash.hex() == THREE_ZERO_PAGES
    assert report.monitor == inside.booted.report_of_monitor


def test_a_report_across_pages(inside: Board) -> None:
    inside.monitor.ecall(Function.ATTEST, EPM + 10 * PAGE - 100, EPM, 1024)
    assert keystone.parse(inside.bus.read(EPM + 10 * PAGE - 100, 1352)).enclave.data == bytes(1024)


@pytest.mark.parametrize("place", [BASE, HEADER, address_of(PAGES - 1), EPM - 8, EPM + 16 * PAGE - 8])
def test_the_monitor_reads_and_writes_nothing_for_an_enclave_that_is_not_its_own(inside: Board, place: int) -> None:
    """With these arguments a confused monitor would sign its own private key, or overwrite it."""
    own = EPM + 9 * PAGE
    assert code_of(inside, Function.ATTEST, own, place, 64) is Code.NOT_ACCESSIBLE
    assert code_of(inside, Function.GET_SEALING_KEY, own, place, 64) is Code.NOT_ACCESSIBLE
    before = inside.bus.read(HEADER, 0x160)
    assert code_of(inside, Function.ATTEST, place, own, 4) is Code.ILLEGAL_ARGUMENT
    assert code_of(inside, Function.GET_SEALING_KEY, place, own, 4) is Code.ILLEGAL_ARGUMENT
    assert inside.bus.read(HEADER, 0x160) == before


def test_too_much_data_for_a_report(inside: Board) -> None:
    assert code_of(inside, Function.ATTEST, EPM, EPM, 1025) is Code.ILLEGAL_ARGUMENT


def test_sealing_keys_are_the_enclaves_and_the_identifiers(inside: Board) -> None:
    def key(identifier: bytes) -> bytes:
        inside.bus.write(EPM + 8 * PAGE, identifier)
        inside.monitor.ecall(Function.GET_SEALING_KEY, EPM + 9 * PAGE, EPM + 8 * PAGE, len(identifier))
        return inside.bus.read(EPM + 9 * PAGE, 192)

    assert key(b"one") == key(b"one") == inside.booted.sealing_key(bytes.fromhex(THREE_ZERO_PAGES), b"one")
    assert key(b"one") != key(b"two")


def test_random_words_differ(inside: Board) -> None:
    assert len({inside.monitor.ecall(Function.RANDOM) for _ in range(8)}) == 8


def test_the_record_of_create() -> None:
    assert CreateArguments.SIZE == 64
    assert arguments().serialize()[:8] == EPM.to_bytes(8, "little")
