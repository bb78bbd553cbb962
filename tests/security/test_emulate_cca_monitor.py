"""Attacks on what the realm monitor keeps in DRAM, on what the host sees of exits, and on who vouches for whom."""

from collections.abc import Callable, Iterator

import pytest
from tests.security.test_emulate_cca import END, KEEP, NONCE, NOW, Stage, stages

import cloister
from cloister.emulate.attacks.scene import SECRET, Act
from cloister.emulate.cca.platform import FIRMWARE
from cloister.emulate.cca.rec import RUN_EXIT, STATE, RecRunExit
from cloister.emulate.cca.rmi import CallFailed, MonitorPanic, RmiStatus
from cloister.emulate.cca.rtt import PAGE_LEVEL
from cloister.emulate.host import Cause, HostView
from cloister.emulate.paging import HOST_KEY, Refused
from cloister.emulate.vendors.arm import ArmPlatform, collection
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, SignatureInvalid
from cloister.evidence.cca import parse
from cloister.measure.cca import extend
from cloister.measure.image import PAGE
from cloister.model import Digest, Tee
from cloister.verifier.trust_files import anchors_in

pytestmark = pytest.mark.needs_program("aarch64-linux-gnu-gcc")


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


@pytest.fixture
def stage(keystore: Keystore) -> Iterator[Callable[..., Stage]]:
    yield from stages(keystore)


# ---- what the monitor keeps in DRAM


def test_replayed_measurements_are_reported(stage: Callable[..., Stage]) -> None:
    """Memory has no freshness: an old realm descriptor takes an extended register back, and the token says so."""
    one = stage()
    rd = one.host.rd // PAGE
    old = one.taken(rd)
    one.cca.calls.measurement_extend(1, b"a program that nobody trusts")
    expected = extend(Digest("sha256", bytes(32)), b"a program that nobody trusts").value
    assert parse(one.machine.evidence(NONCE)).realm_claims.extensible_measurements[0] == expected
    one.put_back(rd, old)
    assert parse(one.machine.evidence(NONCE)).realm_claims.extensible_measurements[0] == bytes(32)


@pytest.mark.parametrize("block", range(0, 448, 16))
def test_a_flipped_descriptor_is_not_believed_or_says_something_else(stage: Callable[..., Stage], block: int) -> None:
    """16 bytes become garbage. Where the monitor can tell, it stops; elsewhere the token says what nobody expects."""
    one = stage()
    one.machine.evidence(NONCE)  # its buffer is there
    rd, right = one.host.rd // PAGE, parse(one.machine.evidence(NONCE)).realm_claims
    content = bytearray(one.taken(rd))
    content[block] ^= 1
    one.put_back(rd, bytes(content))
    try:
        found = parse(one.machine.evidence(NONCE)).realm_claims
    except MonitorPanic as panic:
        assert "DRAM was changed" in str(panic)  # noqa: PT017 - which of the two it is depends on a random key
        return
    if block >= 64:  # in front stand numbers that no token shows: VMID, root table, count of processors
        assert found != right or (block in range(96, 448) and block % 64 >= 32)  # behind 32 bytes of a hash: padding


@pytest.mark.parametrize("what", ["rd", "rec"])
def test_a_monitor_that_finds_garbage_stops_the_machine(stage: Callable[..., Stage], what: str) -> None:
    """The MECID in the descriptor, or the owner in the REC: whatever was meant, the program does not run on."""
    one = stage()
    page, byte = (one.host.rd // PAGE, 40) if what == "rd" else (one.host.rec // PAGE, 0)

    def flip(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            content = bytearray(one.taken(page))
            content[byte] ^= 1
            one.put_back(page, bytes(content))

    one.machine.host.on_exit = flip
    played = one.play([KEEP, Act(b"r\n"), END], steps=501)
    assert "DRAM was changed" in played.ending.stopped
    assert "computed" not in played.lines


def test_registers_are_in_dram_as_ciphertext_and_can_be_replayed(stage: Callable[..., Stage]) -> None:
    """An old REC put back makes the processor run on from where it was; the monitor does not notice."""
    one = stage()
    rec = one.host.rec // PAGE
    kept: list[bytes] = []
    rounds: list[int] = []

    def look(view: HostView) -> None:
        if view.cause is not Cause.INTERRUPT:
            return
        rounds.append(one.cca.rmm.context(rec).register("pc"))
        key = int.from_bytes(SECRET[:8], "little").to_bytes(8, "little")
        if len(rounds) == 8:
            assert key in one.cca.memory.read(rec, one.cca._realm.key, STATE, 35 * 8)
            kept.append(one.taken(rec))
            assert key not in kept[0]
        if len(rounds) == 12:
            one.put_back(rec, kept[0])

    one.machine.host.on_exit = look
    played = one.play([KEEP, Act(b"r\n"), END], steps=501)
    assert played.lines[-1] == "computed"
    plain = stage()
    plain.play([KEEP, Act(b"r\n"), END], steps=501)
    without = sum(view.cause is Cause.INTERRUPT for view in plain.machine.host.seen)
    assert len(rounds) == without + 4  # four intervals were run twice


def test_a_forged_rec_does_not_run_what_was_chosen(stage: Callable[..., Stage]) -> None:
    """A bit flipped in the saved program counter scrambles it and its neighbour."""
    one = stage()
    rec = one.host.rec // PAGE
    names = one.cca.engine.names

    def flip(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            content = bytearray(one.taken(rec))
            content[STATE + 8 * names.index("pc")] ^= 4
            one.put_back(rec, bytes(content))

    one.machine.host.on_exit = flip
    played = one.play([KEEP, Act(b"r\n"), END], steps=501)
    assert played.stopped
    assert "computed" not in played.lines


def test_the_host_sees_what_a_rec_exit_shows_and_nothing_else(stage: Callable[..., Stage]) -> None:
    """Also where the host really reads: in its own page, which the monitor fills."""
    one = stage()
    raw: list[RecRunExit] = []

    def look(view: HostView) -> None:
        page = one.machine.host_read(one.host.run // PAGE)
        raw.append(RecRunExit.parse(page[RUN_EXIT:]))
        shown = {name: value for name, value in view.registers.items() if value}
        reason = {Cause.INTERRUPT: {"exit_reason": 1}, Cause.SYSTEM_CALL: {"exit_reason": 5, "imm": 1}}
        if view.cause in reason and "gprs[0]" in shown:
            assert shown == reason[view.cause] | {"gprs[0]": one.cca._realm.half}
        elif view.cause in reason:
            assert shown == reason[view.cause]

    one.machine.host.on_exit = look
    one.play([KEEP, Act(b"r\n"), END], steps=501)
    interrupts = [exit_ for exit_ in raw if exit_.exit_reason == 1]
    assert len(interrupts) > 20
    assert {exit_.serialize() for exit_ in interrupts} == {(1).to_bytes(8, "little").ljust(2048, b"\0")}


def test_a_host_that_changes_its_own_copy_changes_nothing(stage: Callable[..., Stage]) -> None:
    one = stage()

    def scribble(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            one.machine.host_write(one.host.run // PAGE, bytes(RUN_EXIT) + b"\xee" * (PAGE - RUN_EXIT))

    one.machine.host.on_exit = scribble
    assert one.play([KEEP, Act(b"r\n"), END], steps=501).lines[-1] == "computed"


def test_a_host_that_injects_an_abort_is_refused(stage: Callable[..., Stage]) -> None:
    """INJECT_SEA counts after an abort on an unprotected address, not after an interrupt."""
    one = stage()

    def inject(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            one.cca.memory.set_word(one.host.run // PAGE, HOST_KEY, 0, 2)

    one.machine.host.on_exit = inject
    assert "RMI_ERROR_REC" in one.play([KEEP, Act(b"r\n"), END], steps=501).ending.stopped


def test_a_second_processor_with_a_chosen_start_is_not_added(stage: Callable[..., Stage]) -> None:
    one = stage()
    with pytest.raises(CallFailed) as raised:
        one.host.add_processor(0x1234)
    assert raised.value.status is RmiStatus.ERROR_REALM


# ---- who vouches for whom


def test_debug_is_open_only_where_the_token_says_so(stage: Callable[..., Stage]) -> None:
    one, secured = stage(debug=True), stage()
    read: list[bytes] = []
    one.play([KEEP, Act(b"b\n", lambda: read.append(one.machine.debug_read(one.address("secret")))), END])
    assert SECRET in read[0]
    with pytest.raises(Refused, match="lifecycle state is secured"):
        secured.machine.debug_read(secured.address("secret"))
    states = [parse(each.machine.evidence(NONCE)).platform_claims.lifecycle_state for each in (one, secured)]
    assert states == ["recoverable_cca_platform_rot_debug", "secured"]


def test_a_changed_monitor_is_in_the_platform_token(stage: Callable[..., Stage]) -> None:
    """Whoever replaces EL3's or the realm monitor reads everything: the only defence is that a verifier looks."""
    right, wrong = stage(), stage(firmware={**FIRMWARE, "RMM": b"a monitor that leaks"})
    found = [parse(each.machine.evidence(NONCE)).platform_claims.software_components for each in (right, wrong)]
    differ = [one.kind for one, other in zip(*found, strict=True) if one.measurement != other.measurement]
    assert differ == ["RMM"]


def test_a_platform_of_somebody_else_does_not_vouch(
    stage: Callable[..., Stage], tmp_path_factory: pytest.TempPathFactory
) -> None:
    one = stage()
    token = one.machine.evidence(NONCE)
    other = ArmPlatform(Keystore(tmp_path_factory.mktemp("other") / "store"))
    anchors = TrustAnchors.testing(other.spki, tees=[Tee.CCA])
    with pytest.raises(SignatureInvalid):
        cloister.verify(token, nonce=NONCE, at=NOW, anchors=anchors, endorsements=Endorsements(keys=(other.spki,)))


def test_a_realm_token_of_another_boot_is_not_bound(stage: Callable[..., Stage]) -> None:
    one, other = stage(), stage()
    platform, realm = parse(one.machine.evidence(NONCE)).platform, parse(other.machine.evidence(NONCE)).realm
    roots, given = anchors_in(one.machine.vouching(NOW).roots, "x", kind=AnchorKind.TESTING, tees=frozenset(Tee))
    with pytest.raises(BindingInvalid):
        cloister.verify(collection(399, platform, realm), nonce=NONCE, at=NOW, anchors=roots, endorsements=given)


def test_tables_of_a_running_realm_cannot_be_pulled_away(stage: Callable[..., Stage]) -> None:
    one = stage()
    for level in range(1, PAGE_LEVEL + 1):
        with pytest.raises(CallFailed) as raised:
            one.cca.rmm.rtt_destroy(one.host.rd, 0, level)
        assert raised.value.status is RmiStatus.ERROR_RTT
