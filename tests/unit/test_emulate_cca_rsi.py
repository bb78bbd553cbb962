"""What a realm asks of the monitor, and what comes of it."""

import hashlib
from collections.abc import Iterator

import pytest

from cloister.emulate.cca.machine import CcaMachine
from cloister.emulate.cca.rec import Exit
from cloister.emulate.cca.rsi import HOST_CALL, RealmCalls, Rsi, RsiFailed, RsiStatus
from cloister.emulate.cca.rtt import Ripas
from cloister.emulate.machine import Shape
from cloister.emulate.terminal import sealed_terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.evidence.cca import parse
from cloister.measure.image import PAGE, Architecture, Image, ImagePage, Permission

CODE = 0x400000
IMAGE = Image(
    architecture=Architecture.ARM64, entry=CODE, headers=0, header_count=0, end=CODE + PAGE,
    pages=(ImagePage(CODE, Permission.READ | Permission.EXECUTE, bytes(PAGE)),),
)  # fmt: skip
BUFFER = 2 * PAGE


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CcaMachine]:
    keystore = Keystore(tmp_path_factory.mktemp("keys") / "store")
    made = CcaMachine(Shape(memory=1024, frames=64), sealed_terminal(lambda _: b"", lambda _: None), keystore)
    made.launch(IMAGE)
    made.accept(BUFFER // PAGE)
    yield made
    made.close()


@pytest.fixture
def calls(machine: CcaMachine) -> RealmCalls:
    return machine.calls


def refused(status: RsiStatus) -> "pytest.RaisesExc[RsiFailed]":
    return pytest.raises(RsiFailed, match=f"RSI_{status.name}:")


def test_registers_are_extended_one_by_one(calls: RealmCalls, machine: CcaMachine) -> None:
    assert calls.measurement_read(0) == machine.measurement
    calls.measurement_extend(3, b"event")
    calls.measurement_extend(3, b"x" * 64)
    once = hashlib.sha256(bytes(32) + b"event").digest()
    found = [calls.measurement_read(index).value for index in range(1, 5)]
    assert found == [bytes(32), bytes(32), hashlib.sha256(once + b"x" * 64).digest(), bytes(32)]


@pytest.mark.parametrize(("index", "value"), [(0, b"x"), (5, b"x"), (1, b""), (1, bytes(65)), (-1, b"x")])
def test_the_initial_measurement_is_not_extended(calls: RealmCalls, index: int, value: bytes) -> None:
    with refused(RsiStatus.ERROR_INPUT):
        calls.measurement_extend(index, value)


@pytest.mark.parametrize("index", [-1, 5])
def test_there_are_five_measurements(calls: RealmCalls, index: int) -> None:
    with refused(RsiStatus.ERROR_INPUT):
        calls.measurement_read(index)


@pytest.mark.parametrize("size", [1, 100, PAGE])
def test_a_token_comes_in_pieces(calls: RealmCalls, machine: CcaMachine, size: int) -> None:
    calls.measurement_extend(1, b"event")
    token = parse(calls.token(bytes(64), BUFFER, size))
    assert token.realm_claims.initial_measurement == machine.measurement.value
    assert token.realm_claims.extensible_measurements[0] == calls.measurement_read(1).value


def test_a_token_is_about_the_moment_when_it_is_made(calls: RealmCalls) -> None:
    calls.attest_token_init(bytes(64))
    calls.measurement_extend(1, b"late")
    _, written = calls.attest_token_continue(BUFFER, 0, PAGE)
    token = parse(bytes(calls._reach(BUFFER)[:written]))
    assert token.realm_claims.extensible_measurements[0] == calls.measurement_read(1).value


def test_without_a_beginning_there_is_no_token(calls: RealmCalls) -> None:
    with refused(RsiStatus.ERROR_STATE):
        calls.attest_token_continue(BUFFER, 0, 100)
    calls.token(bytes(64), BUFFER)
    with refused(RsiStatus.ERROR_STATE):
        calls.attest_token_continue(BUFFER, 0, 100)


@pytest.mark.parametrize(
    ("ipa", "offset", "size"), [(1, 0, 10), (1 << 39, 0, 10), (BUFFER, 4090, 10), (BUFFER, -1, 10), (BUFFER, 0, 0)]
)
def test_a_token_goes_to_the_realms_own_memory_only(calls: RealmCalls, ipa: int, offset: int, size: int) -> None:
    calls.attest_token_init(bytes(64))
    with refused(RsiStatus.ERROR_INPUT):
        calls.attest_token_continue(ipa, offset, size)


@pytest.mark.parametrize("size", [0, 32, 65])
def test_a_challenge_has_64_bytes(calls: RealmCalls, size: int) -> None:
    with refused(RsiStatus.ERROR_INPUT):
        calls.attest_token_init(bytes(size))


def test_the_configuration(calls: RealmCalls) -> None:
    found = calls.realm_config(BUFFER)
    assert (found.ipa_width, found.hash_algo, found.rpv) == (40, 0, bytes(64))
    assert bytes(calls._reach(BUFFER)[:9]) == (40).to_bytes(8, "little") + b"\0"
    with refused(RsiStatus.ERROR_INPUT):
        calls.realm_config(1 << 39)


def test_the_realm_gives_memory_up_and_takes_it_again(calls: RealmCalls, machine: CcaMachine) -> None:
    assert calls.ipa_state_get(BUFFER) is Ripas.RAM
    assert calls.ipa_state_set(BUFFER, BUFFER + PAGE, Ripas.EMPTY) == BUFFER + PAGE
    assert calls.ipa_state_get(BUFFER) is Ripas.EMPTY
    page = machine.hypervisor.destroy(BUFFER)
    assert calls.ipa_state_get(BUFFER) is Ripas.EMPTY
    machine.hypervisor.take_back(page * PAGE)
    assert calls.ipa_state_set(BUFFER, BUFFER + PAGE, Ripas.RAM) == BUFFER + PAGE


def test_what_the_host_destroyed_stays_destroyed_until_the_realm_accepts_it(
    calls: RealmCalls, machine: CcaMachine
) -> None:
    machine.hypervisor.destroy(BUFFER)
    assert calls.ipa_state_set(BUFFER, BUFFER + PAGE, Ripas.RAM) == BUFFER
    assert calls.ipa_state_get(BUFFER) is Ripas.DESTROYED
    assert calls.ipa_state_set(BUFFER, BUFFER + PAGE, Ripas.RAM, change_destroyed=True) == BUFFER + PAGE
    machine.hypervisor.populate(BUFFER)
    assert bytes(calls._reach(BUFFER)) == bytes(PAGE)


@pytest.mark.parametrize(
    ("base", "top", "value"),
    [(1, PAGE, 1), (0, 1, 1), (PAGE, PAGE, 1), (0, (1 << 39) + PAGE, 1), (0, PAGE, 2), (-PAGE, PAGE, 1)],
)
def test_ranges_and_values_that_are_none(calls: RealmCalls, base: int, top: int, value: int) -> None:
    with refused(RsiStatus.ERROR_INPUT):
        calls.ipa_state_set(base, top, Ripas(value))
    with refused(RsiStatus.ERROR_INPUT):
        calls.ipa_state_get(1 << 39)


def test_a_host_call_shows_what_the_realm_put_there(calls: RealmCalls, machine: CcaMachine) -> None:
    seen: list[Exit] = []

    def answer(left: Exit) -> tuple[int, ...]:
        seen.append(left)
        return 77, 88

    machine.hypervisor.answer = answer
    HOST_CALL.pack_into(calls._reach(BUFFER), 0x100, 9, *range(100, 131))
    calls.host_call(BUFFER + 0x100)
    assert (seen[0].imm, seen[0].gprs) == (9, tuple(range(100, 131)))
    assert HOST_CALL.unpack_from(calls._reach(BUFFER), 0x100)[:4] == (9, 77, 88, 102)
    assert machine.host.seen[-1].registers["gprs[30]"] == 130
    with refused(RsiStatus.ERROR_INPUT):
        calls.host_call(BUFFER + 1)


def test_every_call_has_arms_name() -> None:
    assert (Rsi.HOST_CALL, Rsi.ATTEST_TOKEN_INIT) == (0xC4000199, 0xC4000194)
    assert Rsi.IPA_STATE_SET.title == "RSI_IPA_STATE_SET"
