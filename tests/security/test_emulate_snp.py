"""Attacks on the emulated SEV-SNP machine: each with the outcome that the literature has for it."""

from collections.abc import Callable, Iterator

import pytest
from tests.forge.emulated_snp import Stage, quick_keystore, stages

from cloister.emulate.attacks.battery import ATTACKS, attack
from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.attacks.reading import judged_read
from cloister.emulate.attacks.scene import SECRET, Act, Played
from cloister.emulate.catalogue import KINDS, Kind
from cloister.emulate.host import Cause, HostView
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.paging import MemoryFault
from cloister.emulate.paging import Stage as TableStage
from cloister.emulate.snp.commands import CommandFailed, Status
from cloister.emulate.snp.machine import SnpMachine
from cloister.emulate.snp.rmp import RmpEntry
from cloister.emulate.snp.rmp_instructions import Caller, Result, pvalidate
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import NotFresh, ParseError, SignatureInvalid, UsageError
from cloister.evidence import snp
from cloister.measure.image import PAGE, Architecture

END = Act(b"q\n")
SHARED = RmpEntry()

pytestmark = pytest.mark.needs_program("cc")

Make = Callable[..., Stage]


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return quick_keystore(tmp_path_factory.mktemp("snp") / "emulated")


@pytest.fixture
def make(keystore: Keystore) -> Iterator[Make]:
    with stages(keystore) as one:
        yield one


# ---------------------------------------------------------------- the project's whole battery


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_ends_as_the_literature_says(keystore: Keystore, name: str) -> None:
    finding = attack(KINDS["sev-snp"], ATTACKS[name], keystore)
    assert finding.outcome is LITERATURE[name]["sev-snp"].outcome, finding


@pytest.mark.parametrize("vmpl", [1, 3])
def test_lesser_vmpls_are_protected_alike(keystore: Keystore, vmpl: int) -> None:
    def machine(shape: Shape, terminal: Terminal, keystore: Keystore, *, debug: bool = False) -> Machine:
        return SnpMachine(shape, terminal, keystore, debug=debug, vmpl=vmpl)

    kind = Kind("sev-snp", "", Architecture.X86_64, machine)
    for name in ("host-read", "host-write", "remap", "registers", "page-trace", "replay"):
        finding = attack(kind, ATTACKS[name], keystore)
        assert finding.outcome is LITERATURE[name]["sev-snp"].outcome, finding


def test_the_debug_policy_opens_memory_and_shows_in_the_report(make: Make) -> None:
    stage, seen = make(debug=True), list[bytes]()
    keep = b"s" + SECRET + b"\n"
    stage.shown(lambda: seen.append(stage.machine.debug_read(stage.address("secret"))), keep)
    assert judged_read(seen[0]).outcome is Outcome.SUCCEEDED
    assert snp.parse(stage.machine.evidence(b"")).debug


def test_ciphertext_hiding_is_against_software_only(make: Make) -> None:
    stage, seen = make(ciphertext_hiding=True), list[bytes]()

    def look() -> None:
        seen.append(stage.machine.host_read(stage.page("secret")))
        stage.machine.settle()
        seen.append(bytes(stage.machine.dram.page(stage.page("secret"))))

    stage.shown(look)
    assert seen[0] == b"\xff" * PAGE
    assert len(set(seen[1])) > 200, "the bus carries ciphertext as ever"


# ---------------------------------------------------------------- the hypervisor and the RMP


def taken(stage: Stage, symbol: str = "balance") -> tuple[int, RmpEntry]:
    """The hypervisor takes a page back. It is its own now, in ciphertext."""
    page = stage.page(symbol)
    entry = stage.snp.rmp[page]
    assert stage.snp.hypervisor.update(page, SHARED) is Result.SUCCESS
    return page, RmpEntry(assigned=True, gpa=entry.gpa, asid=entry.asid)


def ended(played: Played, words: str) -> None:
    assert words in played.ending.stopped, played
    assert not [line for line in played.lines if line.isdigit()], "it printed no balance any more"


def test_a_page_that_was_taken_is_missed(make: Make) -> None:
    stage = make()
    ended(stage.shown(lambda: taken(stage)), "#NPF with the RMP bit")


def test_a_page_that_was_taken_and_given_back_is_not_valid(make: Make) -> None:
    stage = make()

    def act() -> None:
        page, entry = taken(stage)
        assert stage.snp.hypervisor.update(page, entry) is Result.SUCCESS

    ended(stage.shown(act), "#VC PAGE_NOT_VALIDATED")


def software_replay(stage: Stage, old: list[bytes]) -> None:
    """Take the page, write its older ciphertext, give it back: all of it allowed."""
    page, entry = taken(stage)
    stage.machine.host_write(page, old[0])
    assert stage.snp.hypervisor.update(page, entry) is Result.SUCCESS


@pytest.mark.parametrize("forgetful", [False, True])
def test_replay_by_software_needs_a_guest_that_validates_twice(make: Make, forgetful: bool) -> None:  # noqa: FBT001
    """Why a guest must remember what it validated: one that runs PVALIDATE again at #VC is fooled."""
    stage, old = make(), list[bytes]()

    def replay() -> None:
        software_replay(stage, old)
        if forgetful:
            page, gpa = stage.page("balance"), stage.address("balance") // PAGE
            assert not pvalidate(stage.snp.rmp, page, Caller(1, 0), gpa=gpa).carry
            stage.snp.forget_translations()

    stage.launch()
    keep = Act(b"w\n", lambda: old.append(stage.machine.host_read(stage.page("balance"))))
    played = stage.play([keep, Act(b"b\n", replay), END])
    if forgetful:
        assert "1000" in played.lines, "900 were spent, and are back"
    else:
        ended(played, "the guest had validated it and ends itself")


def test_another_page_in_place_of_a_valid_one_is_not_valid(make: Make) -> None:
    stage = make()

    def act() -> None:
        other, place = stage.snp.pages.allocate(), stage.address("balance")
        stage.machine.host_write(other, bytes(PAGE))
        entry = RmpEntry(assigned=True, gpa=place // PAGE, asid=1)
        assert stage.snp.hypervisor.update(other, entry) is Result.SUCCESS
        stage.machine.remap(place, other)

    ended(stage.shown(act), "#VC PAGE_NOT_VALIDATED")


@pytest.mark.parametrize("owner", [SHARED, RmpEntry(assigned=True, asid=2)])
def test_pages_of_others_are_not_the_guest_s(make: Make, owner: RmpEntry) -> None:
    stage = make()

    def act() -> None:
        other, place = stage.snp.pages.allocate(), stage.address("balance")
        entry = owner._replace(gpa=place // PAGE) if owner.assigned else owner
        assert stage.snp.hypervisor.update(other, entry) is Result.SUCCESS
        stage.machine.remap(place, other)

    ended(stage.shown(act), "#NPF with the RMP bit")


@pytest.mark.parametrize("lie", ["nothing mapped", "not given away", "one of its own pages", "given validated already"])
def test_a_page_state_request_that_is_not_answered_truly(make: Make, lie: str) -> None:
    """The guest asks for fresh memory; what the hypervisor does instead ends the guest, before it uses the page."""
    stage = make()
    stage.launch()
    hypervisor = stage.snp.hypervisor

    def answer(guest_page: int) -> None:
        page = hypervisor.pages.allocate()
        if lie == "one of its own pages":
            page = hypervisor.table[1]
        elif lie == "given validated already":
            stage.snp.rmp[page] = RmpEntry(assigned=True, gpa=guest_page, asid=1, validated=True)
        if lie != "nothing mapped":
            hypervisor.table[guest_page] = page

    hypervisor.make_private = answer  # type: ignore[method-assign]
    with pytest.raises(MemoryFault, match=r"ends itself|not in the nested page table") as caught:
        stage.machine.start(["victim"], {})  # which needs fresh memory, for the stack
    assert caught.value.stage is TableStage.TEE


def test_single_steps_tell_a_branch_but_no_register(make: Make) -> None:
    """SEV-Step (TCHES 2024): the number of instructions says whether there was enough in the balance."""
    stage = make()
    stage.launch()
    views: list[HostView] = []
    counts: list[int] = []
    stage.machine.host.on_exit = views.append

    def count() -> None:
        counts.append(sum(view.cause is Cause.INTERRUPT for view in views))
        views.clear()

    take = Act(b"w\n", count)
    stage.play([take, take, take, END._replace(action=count)], steps=1)
    _, paid, unpaid, again = counts
    assert paid != unpaid == again, "1,000 are enough once"
    assert not any(view.registers for view in stage.machine.host.seen if view.cause is Cause.INTERRUPT)


@pytest.mark.parametrize("fixed", [True, False])
def test_invd_turns_memory_back_on_processors_without_the_fix(make: Make, fixed: bool) -> None:  # noqa: FBT001
    """CacheWarp (CVE-2023-20592): what the guest wrote last never reaches memory."""
    stage = make()
    stage.snp.microcode_fixed = fixed
    stage.launch()
    take = Act(b"w\n", stage.machine.settle)
    assert ("1000" in stage.play([take, Act(b"b\n", stage.snp.invd), END]).lines) is not fixed


# ---------------------------------------------------------------- between guest and firmware


def test_a_forged_answer_is_noticed_and_the_key_given_up(make: Make) -> None:
    stage = make()
    stage.launch()
    hypervisor = stage.snp.hypervisor
    honest = hypervisor.guest_request

    def forged(request: int) -> bytes:
        answer = bytearray(honest(request))
        answer[0x60 + 0x90] ^= 1
        return bytes(answer)

    hypervisor.guest_request = forged  # type: ignore[method-assign]
    with pytest.raises(SignatureInvalid, match="altered"):
        stage.machine.evidence(b"nonce")
    hypervisor.guest_request = honest  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="given up VMPCK0"):
        stage.machine.evidence(b"nonce")


@pytest.mark.parametrize("kind", ["an older answer", "nothing", "the question itself"])
def test_other_answers_are_not_taken_either(make: Make, kind: str) -> None:
    stage = make()
    stage.launch()
    hypervisor = stage.snp.hypervisor
    honest, answers = hypervisor.guest_request, list[bytes]()

    def carry(request: int) -> bytes:
        answers.append(hypervisor.read(request) if kind == "the question itself" else honest(request))
        return bytes(PAGE) if kind == "nothing" else answers[0]

    hypervisor.guest_request = carry  # type: ignore[method-assign]
    if kind == "an older answer":
        stage.machine.evidence(b"first")
    with pytest.raises((NotFresh, ParseError)):
        stage.machine.evidence(b"second")


def test_the_host_cannot_ask_in_the_guest_s_name(make: Make) -> None:
    stage = make()
    stage.launch()
    requests: list[bytes] = []
    hypervisor = stage.snp.hypervisor
    honest = hypervisor.guest_request

    def listen(request: int) -> bytes:
        requests.append(hypervisor.read(request))
        return honest(request)

    hypervisor.guest_request = listen  # type: ignore[method-assign]
    stage.machine.evidence(b"nonce of the guest")
    assert b"nonce of the guest" not in requests[0]
    page = stage.snp.pages.allocate()
    stage.machine.host_write(page, requests[0])
    with pytest.raises(CommandFailed, match="not the next one") as caught:
        honest(page)
    assert caught.value.status is Status.INVALID_PARAM
