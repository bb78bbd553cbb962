"""The emulated SEV firmware: states, status codes, keys and measurement, without a machine around it."""

import hashlib
import hmac
from collections.abc import Callable, Iterator

import pytest
from tests.forge.emulated_sev import DATA, ES_POLICY, POLICY, TRUSTED, Bench, bench_of, quick_keystore

from cloister.emulate.paging import HOST_KEY
from cloister.emulate.sev.commands import CommandFailed, GuestState, Policy, Status
from cloister.emulate.sev.firmware import check_value
from cloister.emulate.sev.platform import CHECK_SIZE, TRUSTED_KEY
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.amd_sev_platform import SevPlatform
from cloister.emulate.vendors.amd_sev_secret import seal_secret
from cloister.measure.image import PAGE
from cloister.measure.vmsa import guest_vmsa


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> SevPlatform:
    """One chip's keys."""
    amd = AmdManufacturer(quick_keystore(tmp_path_factory.mktemp("keys")), "Milan")
    return SevPlatform.of(amd, amd.chip_id())


@pytest.fixture
def milan(identity: SevPlatform) -> Iterator[Bench]:
    with bench_of(identity) as found:
        yield found


@pytest.fixture(params=["naples", "rome", "milan", "genoa"])
def bench(request: pytest.FixtureRequest, identity: SevPlatform) -> Iterator[Bench]:
    with bench_of(identity, request.param) as found:
        yield found


def refused(status: Status, call: Callable[[], object]) -> CommandFailed:
    with pytest.raises(CommandFailed) as raised:
        call()
    assert raised.value.status is status
    return raised.value


# ---- launch


def test_memory_is_encrypted_in_place_and_measured(bench: Bench) -> None:
    handle = bench.begin()
    bench.firmware.launch_update_data(handle, bench.put(20), PAGE)
    asid = bench.firmware.guest_status(handle).asid
    chips = bench.chips(20)
    assert chips != DATA
    assert DATA[:16] not in chips
    assert bench.memory.read(20 * PAGE, PAGE, asid) == DATA
    assert bench.memory.read(20 * PAGE, PAGE, HOST_KEY) == chips
    assert bench.firmware.guests[handle].launch_digest == hashlib.sha256(DATA).digest()


def test_parts_of_pages_are_measured_as_bytes(milan: Bench) -> None:
    handle = milan.begin()
    address = milan.put(20)
    milan.firmware.launch_update_data(handle, address + 4000, 32)
    milan.firmware.launch_update_data(handle, address + 16, 48)
    expected = hashlib.sha256(DATA[4000:4032] + DATA[16:64]).digest()
    assert milan.firmware.guests[handle].launch_digest == expected
    assert milan.memory.read(address + 4000, 32, milan.firmware.guest_status(handle).asid) == DATA[4000:4032]


def test_two_guests_have_two_keys(milan: Bench) -> None:
    allowed = milan.firmware.generation.asids_for(encrypted_state=False)
    first, second = milan.begin(asid=allowed[0]), milan.begin(asid=allowed[1])
    milan.firmware.launch_update_data(first, milan.put(20), PAGE)
    before = milan.chips(20)
    milan.firmware.launch_update_data(second, milan.put(20), PAGE)
    assert milan.chips(20) != before


def test_the_measure_is_the_owners_hmac(milan: Bench) -> None:
    owner = milan.owner()
    handle = milan.begin(session=owner)
    milan.firmware.launch_update_data(handle, milan.put(20), PAGE)
    answer = milan.firmware.launch_measure(handle)
    message = bytes([4, 1, 55, 20]) + POLICY.to_bytes(4, "little") + hashlib.sha256(DATA).digest() + answer.mnonce
    assert answer.measure == hmac.digest(owner.keys.tik, message, "sha256")


def test_a_save_area_is_measured_and_its_check_value_kept(milan: Bench) -> None:
    handle = milan.begin(ES_POLICY)
    area = guest_vmsa(0x401000, features=0)
    milan.firmware.launch_update_vmsa(handle, milan.put(21, area))
    assert milan.firmware.guests[handle].launch_digest == hashlib.sha256(area).digest()
    place = TRUSTED * PAGE + milan.firmware.guest_status(handle).asid * CHECK_SIZE
    assert milan.memory.read(place, CHECK_SIZE, TRUSTED_KEY) == check_value(area)
    assert milan.chips(21) != area


def test_a_secret_reaches_the_guest(milan: Bench) -> None:
    owner = milan.owner()
    handle = milan.begin(session=owner)
    measure = milan.firmware.launch_measure(handle).measure
    header, packet = seal_secret(owner.keys, b"sixteen byte key", measure, iv=bytes(16))
    milan.firmware.launch_secret(handle, 30 * PAGE + 64, header, packet)
    milan.firmware.launch_finish(handle)
    asid = milan.firmware.guest_status(handle).asid
    assert milan.memory.read(30 * PAGE + 64, 16, asid) == b"sixteen byte key"
    assert b"sixteen byte key" not in milan.chips(30)


def test_a_secret_for_another_launch_is_refused(milan: Bench) -> None:
    owner = milan.owner()
    handle = milan.begin(session=owner)
    old = milan.firmware.launch_measure(handle).measure
    header, packet = seal_secret(owner.keys, b"sixteen byte key", old, iv=bytes(16))
    milan.firmware.deactivate(handle)
    milan.firmware.wbinvd()
    milan.firmware.df_flush()
    again = milan.begin(session=owner)  # the session may be used twice: only the measure differs
    milan.firmware.launch_measure(again)
    refused(Status.BAD_MEASUREMENT, lambda: milan.firmware.launch_secret(again, 30 * PAGE, header, packet))


def test_a_changed_packet_is_refused(milan: Bench) -> None:
    owner = milan.owner()
    handle = milan.begin(session=owner)
    measure = milan.firmware.launch_measure(handle).measure
    header, packet = seal_secret(owner.keys, b"sixteen byte key", measure, iv=bytes(16))
    changed = bytes([packet[0] ^ 1]) + packet[1:]
    refused(Status.BAD_MEASUREMENT, lambda: milan.firmware.launch_secret(handle, 30 * PAGE, header, changed))
    other = milan.owner()
    header, packet = seal_secret(other.keys, b"sixteen byte key", measure, iv=bytes(16))
    refused(Status.BAD_MEASUREMENT, lambda: milan.firmware.launch_secret(handle, 30 * PAGE, header, packet))


# ---- sessions and policies


def test_a_session_for_another_pdh_is_refused(milan: Bench) -> None:
    owner = milan.owner()
    milan.firmware.pdh_gen()
    refused(Status.BAD_MEASUREMENT, lambda: milan.begin(session=owner))
    milan.begin(session=milan.owner())


def test_a_session_for_another_policy_is_refused(milan: Bench) -> None:
    owner = milan.owner(POLICY)
    failure = refused(Status.BAD_MEASUREMENT, lambda: milan.begin(POLICY & ~Policy.NODBG, session=owner))
    assert "another policy" in failure.reason


def test_certificate_and_session_come_together(milan: Bench) -> None:
    owner = milan.owner()
    refused(Status.INVALID_PARAM, lambda: milan.firmware.launch_start(POLICY, owner.certificate, None))
    refused(Status.INVALID_PARAM, lambda: milan.firmware.launch_start(POLICY, None, owner.session))


def test_what_a_policy_demands_must_be_there(identity: SevPlatform, milan: Bench) -> None:
    newer = 2 << 16
    refused(Status.POLICY_FAILURE, lambda: milan.firmware.launch_start(POLICY | newer))
    milan.firmware.launch_start(POLICY | 1 << 16 | 55 << 24)
    refused(Status.POLICY_FAILURE, lambda: milan.firmware.launch_start(POLICY | 1 << 16 | 56 << 24))
    refused(Status.INVALID_PARAM, lambda: milan.firmware.launch_start(POLICY | 0x40))
    with bench_of(identity, es=False) as plain:
        refused(Status.POLICY_FAILURE, lambda: plain.firmware.launch_start(ES_POLICY))


def test_only_an_es_guest_has_a_save_area(milan: Bench) -> None:
    handle = milan.begin()
    address = milan.put(21)
    refused(Status.POLICY_FAILURE, lambda: milan.firmware.launch_update_vmsa(handle, address))


# ---- states


def inject(bench: Bench, handle: int) -> None:
    header, packet = seal_secret(bench.owner().keys, bytes(16), bytes(32), iv=bytes(16))
    bench.firmware.launch_secret(handle, 30 * PAGE, header, packet)


WRONG_STATE: list[tuple[str, GuestState, Callable[[Bench, int], object]]] = [
    (f"{command} in {state.name}", state, call)
    for command, states, call in (
        ("data", {GuestState.LAUNCHING}, lambda b, h: b.firmware.launch_update_data(h, 20 * PAGE, PAGE)),
        ("vmsa", {GuestState.LAUNCHING}, lambda b, h: b.firmware.launch_update_vmsa(h, 20 * PAGE)),
        ("measure", {GuestState.LAUNCHING}, lambda b, h: b.firmware.launch_measure(h)),
        ("finish", {GuestState.SECRET}, lambda b, h: b.firmware.launch_finish(h)),
        ("secret", {GuestState.SECRET}, inject),
        ("attestation", {GuestState.SECRET, GuestState.RUNNING}, lambda b, h: b.firmware.attestation(h, bytes(16))),
    )
    for state in GuestState
    if state not in states
]


@pytest.mark.parametrize(("state", "call"), [case[1:] for case in WRONG_STATE], ids=[case[0] for case in WRONG_STATE])
def test_commands_in_the_wrong_state(milan: Bench, state: GuestState, call: Callable[[Bench, int], object]) -> None:
    handle = milan.begin(ES_POLICY)
    if state is not GuestState.LAUNCHING:
        milan.firmware.launch_measure(handle)
    if state is GuestState.RUNNING:
        milan.firmware.launch_finish(handle)
    assert milan.firmware.guest_status(handle).state is state
    failure = refused(Status.INVALID_GUEST_STATE, lambda: call(milan, handle))
    assert state.name in failure.reason


def test_a_guest_without_asid_takes_nothing_in(milan: Bench) -> None:
    handle = milan.firmware.launch_start(POLICY)
    address = milan.put(20)
    refused(Status.INACTIVE, lambda: milan.firmware.launch_update_data(handle, address, PAGE))
    assert milan.chips(20) == DATA


@pytest.mark.parametrize(
    ("address", "size", "status"),
    [
        (20 * PAGE + 8, PAGE, Status.INVALID_ADDRESS),
        (20 * PAGE, 0, Status.INVALID_LENGTH),
        (20 * PAGE, 40, Status.INVALID_LENGTH),
        (TRUSTED * PAGE, 16, Status.INVALID_ADDRESS),
        ((TRUSTED - 1) * PAGE, 2 * PAGE, Status.INVALID_ADDRESS),
    ],
)
def test_addresses_and_lengths(milan: Bench, address: int, size: int, status: Status) -> None:
    handle = milan.begin(int(Policy.NOKS))
    refused(status, lambda: milan.firmware.launch_update_data(handle, address, size))
    refused(status, lambda: milan.firmware.dbg_decrypt(handle, address, 40 * PAGE, size))
    refused(status, lambda: milan.firmware.dbg_decrypt(handle, 40 * PAGE, address, size))


def test_unknown_guests(milan: Bench) -> None:
    for call in (
        lambda: milan.firmware.guest_status(7),
        lambda: milan.firmware.activate(7, 1),
        lambda: milan.firmware.launch_measure(7),
        lambda: milan.firmware.decommission(7),
        lambda: milan.firmware.attestation(7, bytes(16)),
    ):
        refused(Status.INVALID_GUEST, call)
