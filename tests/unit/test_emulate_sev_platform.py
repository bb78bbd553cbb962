"""The emulated SEV firmware: platform, ASIDs, debugging, attestation, without a machine around it."""

import hashlib
from collections.abc import Callable, Iterator

import pytest
from tests.forge.emulated_sev import DATA, ES_POLICY, POLICY, Bench, bench_of, quick_keystore

from cloister.emulate.memory.controller import KeySlotError
from cloister.emulate.paging import HOST_KEY
from cloister.emulate.sev.commands import Command, CommandFailed, PlatformState, Policy, Status
from cloister.emulate.sev.generations import GENERATIONS
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.amd_sev_platform import SevPlatform
from cloister.endorse.anchors import TrustAnchors
from cloister.evidence.sev import SevAttestation
from cloister.measure.image import PAGE
from cloister.verification.sev_chain import certified_pek, check_chain, root_spki


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


# ---- ASIDs


@pytest.mark.parametrize("bench", ["naples"], indirect=True)
def test_encryption_slots_are_limited(bench: Bench) -> None:
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


def test_platform_states(milan: Bench) -> None:
    firmware = milan.firmware
    assert firmware.platform_status().state is PlatformState.INIT
    assert firmware.platform_status().encrypted_state
    refused(Status.INVALID_PLATFORM_STATE, firmware.init)
    handle = milan.begin()
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
