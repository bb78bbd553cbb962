"""The emulated SEV firmware: states, status codes, keys and measurement, without a machine around it."""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import KeySlotError, MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.paging import HOST_KEY
from cloister.emulate.sev.commands import Command, CommandFailed, GuestState, PlatformState, Policy, Status
from cloister.emulate.sev.firmware import Firmware, check_value
from cloister.emulate.sev.generations import GENERATIONS
from cloister.emulate.sev.memory_port import CoherentMemory
from cloister.emulate.sev.platform import CHECK_SIZE, TRUSTED_KEY
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.amd_sev_platform import SevPlatform
from cloister.emulate.vendors.amd_sev_secret import OwnerSession, seal_secret
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse.anchors import TrustAnchors
from cloister.evidence.sev import SevAttestation
from cloister.measure.image import PAGE
from cloister.measure.vmsa import guest_vmsa
from cloister.verification.sev_chain import certified_pek, check_chain, root_spki

PAGES = 64
TRUSTED = 8
DATA = bytes(range(256)) * 16
POLICY = int(Policy.NODBG | Policy.NOKS)
ES_POLICY = int(Policy.NODBG | Policy.ES)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> SevPlatform:
    """One chip's keys; its authorities with 2048 bits, which are quicker to make."""
    amd = AmdManufacturer(Keystore(tmp_path_factory.mktemp("keys") / "store"), "Milan", key_bits=2048)
    return SevPlatform.of(amd, amd.chip_id())


@dataclass
class Bench:
    """A firmware over real DRAM, caches and keys."""

    firmware: Firmware
    memory: CoherentMemory
    cache: FrameCache
    dram: Dram

    def put(self, page: int, content: bytes = DATA) -> int:
        """Write a page as the host; its address."""
        self.memory.write(page * PAGE, content, HOST_KEY)
        return page * PAGE

    def chips(self, page: int) -> bytes:
        """What stands in DRAM."""
        self.cache.write_back()
        return bytes(self.dram.page(page))

    def owner(self, policy: int = POLICY) -> OwnerSession:
        """A guest owner's session for this platform."""
        return OwnerSession.start(self.firmware.pdh_cert_export().pdh, policy=policy)

    def begin(self, policy: int = POLICY, asid: int = 0, session: OwnerSession | None = None) -> int:
        """LAUNCH_START and ACTIVATE."""
        certificate, buffer = (session.certificate, session.session) if session else (None, None)
        handle = self.firmware.launch_start(policy, certificate, buffer)
        allowed = self.firmware.generation.asids_for(encrypted_state=bool(policy & Policy.ES))
        self.firmware.activate(handle, asid or allowed.start)
        return handle

    def measured(self, policy: int = POLICY, session: OwnerSession | None = None) -> int:
        """A guest of one page, in the state SECRET."""
        handle = self.begin(policy, session=session)
        self.firmware.launch_update_data(handle, self.put(20), PAGE)
        self.firmware.launch_measure(handle)
        return handle


def bench_of(identity: SevPlatform, name: str, *, es: bool) -> Bench:
    generation = GENERATIONS[name]
    dram = Dram(PAGES)
    controller = MemoryController(dram, slots=generation.asids + 1)
    controller.install(HOST_KEY, PlainCipher(dram))
    cache = FrameCache([memoryview(bytearray(PAGE)) for _ in range(16)], controller, lambda: None)
    memory = CoherentMemory(generation, controller, cache)
    firmware = Firmware(generation, identity, memory)
    firmware.init(trusted_region=TRUSTED * PAGE if es else None)
    return Bench(firmware, memory, cache, dram)


@pytest.fixture(params=["naples", "rome", "milan", "genoa"])
def bench(request: pytest.FixtureRequest, identity: SevPlatform) -> Iterator[Bench]:
    found = bench_of(identity, request.param, es=True)
    yield found
    found.dram.close()


@pytest.fixture
def milan(identity: SevPlatform) -> Iterator[Bench]:
    found = bench_of(identity, "milan", es=True)
    yield found
    found.dram.close()


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
    plain = bench_of(identity, "milan", es=False)
    refused(Status.POLICY_FAILURE, lambda: plain.firmware.launch_start(ES_POLICY))
    plain.dram.close()


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


# ---- ASIDs


def test_encryption_slots_are_limited(identity: SevPlatform) -> None:
    bench = bench_of(identity, "naples", es=True)
    generation = bench.firmware.generation
    taken = [
        bench.begin(policy, asid=asid)
        for policy, es in ((POLICY, False), (ES_POLICY, True))
        for asid in generation.asids_for(encrypted_state=es)
    ]
    assert len(taken) == generation.asids == 15
    handle = bench.firmware.launch_start(POLICY)
    for asid in generation.asids_for(encrypted_state=False):
        refused(Status.ASID_OWNED, lambda asid=asid: bench.firmware.activate(handle, asid))  # type: ignore[misc]
    for asid in (0, 1, 16):
        refused(Status.INVALID_ASID, lambda asid=asid: bench.firmware.activate(handle, asid))  # type: ignore[misc]
    bench.dram.close()


@pytest.mark.parametrize(("name", "asids"), [("naples", 15), ("rome", 509), ("milan", 509), ("genoa", 1006)])
def test_asids_by_generation(name: str, asids: int) -> None:
    generation = GENERATIONS[name]
    es, plain = generation.asids_for(encrypted_state=True), generation.asids_for(encrypted_state=False)
    assert [*es, *plain] == list(range(1, asids + 1))


def test_sev_and_es_guests_have_different_asids(milan: Bench) -> None:
    refused(Status.INVALID_ASID, lambda: milan.begin(POLICY, asid=1))
    refused(Status.INVALID_ASID, lambda: milan.begin(ES_POLICY, asid=100))


def test_an_asid_may_be_used_again_after_caches_were_flushed(milan: Bench) -> None:
    handle = milan.begin(asid=100)
    milan.firmware.deactivate(handle)
    other = milan.firmware.launch_start(POLICY)
    refused(Status.DFFLUSH_REQUIRED, lambda: milan.firmware.activate(other, 100))
    refused(Status.WBINVD_REQUIRED, milan.firmware.df_flush)
    milan.firmware.wbinvd()
    refused(Status.DFFLUSH_REQUIRED, lambda: milan.firmware.activate(other, 100))
    milan.firmware.df_flush()
    milan.firmware.activate(other, 100)
    refused(Status.ACTIVE, lambda: milan.firmware.activate(other, 101))


def test_after_deactivation_nobody_reads_the_guest(milan: Bench) -> None:
    handle = milan.measured()
    asid = milan.firmware.guest_status(handle).asid
    refused(Status.ACTIVE, lambda: milan.firmware.decommission(handle))
    milan.firmware.deactivate(handle)
    with pytest.raises(KeySlotError):
        milan.memory.read(20 * PAGE, 16, asid)
    assert DATA[:16] not in milan.chips(20)
    milan.firmware.decommission(handle)
    refused(Status.INVALID_GUEST, lambda: milan.firmware.guest_status(handle))


def test_a_deactivated_guest_comes_back_under_another_asid(milan: Bench) -> None:
    handle = milan.measured()
    milan.firmware.deactivate(handle)
    milan.firmware.activate(handle, 120)
    assert milan.memory.read(20 * PAGE, PAGE, 120) == DATA


# ---- debugging


def test_debugging_under_a_policy_that_allows_it(milan: Bench) -> None:
    handle = milan.measured(int(Policy.NOKS))
    milan.firmware.dbg_decrypt(handle, 20 * PAGE, 40 * PAGE, PAGE)
    assert milan.memory.read(40 * PAGE, PAGE, HOST_KEY) == DATA
    milan.firmware.dbg_encrypt(handle, milan.put(41, b"\x07" * PAGE), 20 * PAGE, 32)
    asid = milan.firmware.guest_status(handle).asid
    assert milan.memory.read(20 * PAGE, 64, asid) == b"\x07" * 32 + DATA[32:64]


def test_nodbg_means_no_debugging(milan: Bench) -> None:
    handle = milan.measured()
    for call in (milan.firmware.dbg_decrypt, milan.firmware.dbg_encrypt):
        refused(Status.POLICY_FAILURE, lambda call=call: call(handle, 20 * PAGE, 40 * PAGE, 16))  # type: ignore[misc]


# ---- platform


def test_the_platforms_certificates_lead_to_its_root(milan: Bench) -> None:
    chain = milan.firmware.pdh_cert_export()
    check_chain(chain, TrustAnchors.testing(root_spki(chain)))
    milan.firmware.pek_gen()
    fresh = milan.firmware.pdh_cert_export()
    assert fresh.pek != chain.pek
    assert fresh.cek == chain.cek
    check_chain(fresh, TrustAnchors.testing(root_spki(chain)))
    assert len(milan.firmware.get_id()) == 64


def test_attestation_is_signed_by_the_pek(milan: Bench) -> None:
    handle = milan.measured()
    report = milan.firmware.attestation(handle, b"n" * 16)
    assert (report.mnonce, report.policy) == (b"n" * 16, POLICY)
    assert report.launch_digest == hashlib.sha256(DATA).digest()
    evidence = SevAttestation(report=report, chain=milan.firmware.pdh_cert_export())
    assert certified_pek(evidence.chain) is not None


def test_platform_states(identity: SevPlatform) -> None:
    bench = bench_of(identity, "milan", es=True)
    firmware = bench.firmware
    assert firmware.platform_status().state is PlatformState.INIT
    assert firmware.platform_status().encrypted_state
    refused(Status.INVALID_PLATFORM_STATE, firmware.init)
    handle = bench.begin()
    status = firmware.platform_status()
    assert (status.state, status.guests, status.api) == (PlatformState.WORKING, 1, (1, 55))
    refused(Status.INVALID_PLATFORM_STATE, firmware.pek_gen)
    firmware.shutdown()
    assert firmware.platform_status().state is PlatformState.UNINIT
    for call in (
        firmware.pdh_cert_export,
        firmware.df_flush,
        lambda: firmware.launch_start(POLICY),
        lambda: firmware.guest_status(handle),
    ):
        failure = refused(Status.INVALID_PLATFORM_STATE, call)
        assert failure.command in set(Command)
    firmware.init()
    assert not firmware.platform_status().encrypted_state
    bench.dram.close()
