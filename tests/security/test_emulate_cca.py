"""Attacks on a realm of the emulated CCA machine: each with the outcome that the literature has for it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from cloister.emulate.attacks.battery import ATTACKS, attack
from cloister.emulate.attacks.literature import LITERATURE
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.attacks.scene import SECRET, Act, Scene, find
from cloister.emulate.attacks.victims import victim
from cloister.emulate.catalogue import kind_of
from cloister.emulate.cca.gpt import Gpi, Pas, World
from cloister.emulate.cca.hypervisor import Hypervisor
from cloister.emulate.cca.machine import CcaMachine
from cloister.emulate.cca.rtt import Ripas
from cloister.emulate.host import HostView
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.paging import MemoryFault, Refused
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NONCE = bytes(range(64))
KEEP = Act(b"s" + SECRET + b"\n")
SHOW, END = Act(b"b\n"), Act(b"q\n")

pytestmark = pytest.mark.needs_program("aarch64-linux-gnu-gcc")

EXPECTED = {
    "host-read": (Outcome.STOPPED, "RME: granule protection fault"),
    "host-write": (Outcome.STOPPED, "RME: granule protection fault"),
    "host-replay": (Outcome.STOPPED, "RME: granule protection fault"),
    "remap": (Outcome.STOPPED, "RMM 1.0: the realm's tables are the monitor's"),
    "page-trace": (Outcome.DETECTED, "RMM 1.0: RMI_DATA_DESTROY makes the page DESTROYED; one fault is seen"),
    "registers": (Outcome.STOPPED, "RMM 1.0: REC exit"),
    "debug-read": (Outcome.STOPPED, "CCA token draft 4.5.2: lifecycle secured"),
    "changed-program": (Outcome.DETECTED, "RMM 1.0: RIM"),
    "forged-reply": (Outcome.DETECTED, "Iago attacks, ASPLOS 2013; the realm's shim checks"),
    "dma-read": (Outcome.STOPPED, "RME: the SMMU's granule protection check"),
    "dma-write": (Outcome.STOPPED, "RME: the SMMU's granule protection check"),
    "cold-boot": (Outcome.STOPPED, "RME: memory protection engine"),
    "bus-equality": (Outcome.SUCCEEDED, "AES-XTS is deterministic"),
    "bit-flip": (Outcome.STOPPED, "RME: integrity is optional; garbage, unnoticed"),
    "relocation": (Outcome.STOPPED, "RME: the tweak is the address; garbage, unnoticed"),
    "replay": (Outcome.SUCCEEDED, "RME: no freshness"),
}
"""attack -> outcome, and why."""


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


class Stage(Scene):
    """A scene whose machine is a CCA machine."""

    @property
    def cca(self) -> CcaMachine:
        assert isinstance(self.machine, CcaMachine)
        return self.machine

    @property
    def host(self) -> Hypervisor:
        return self.cca.hypervisor

    def put_back(self, page: int, content: bytes) -> None:
        """Whoever holds the chips writes old bytes."""
        self.machine.settle()
        self.machine.dram.page(page)[:] = content
        self.machine.dram_changed(page)

    def taken(self, page: int) -> bytes:
        """What DRAM holds of a page."""
        self.machine.settle()
        return bytes(self.machine.dram.page(page))


def stages(keystore: Keystore) -> Iterator[Callable[..., Stage]]:
    """What makes stages; all are closed in the end."""
    made: list[Stage] = []

    def of(**settings: object) -> Stage:
        def make(terminal: Terminal) -> Machine:
            return CcaMachine(Shape(memory=2048, frames=128), terminal, keystore, **settings)  # type: ignore[arg-type]

        made.append(Stage(make, lambda machine: victim(machine.architecture)))
        made[-1].launch()
        return made[-1]

    yield of
    for one in made:
        one.close()


@pytest.fixture
def stage(keystore: Keystore) -> Iterator[Callable[..., Stage]]:
    yield from stages(keystore)


# ---- the project's whole battery


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_ends_as_the_literature_says(keystore: Keystore, name: str) -> None:
    finding = attack(kind_of("cca"), ATTACKS[name], keystore)
    assert finding.outcome is EXPECTED[name][0] is LITERATURE[name]["cca"].outcome, finding


# ---- the granule protection check


@pytest.mark.parametrize("what", ["data", "rd", "rec", "root table", "aux", "gpt", "monitor", "secure"])
def test_the_non_secure_world_reaches_nothing_but_its_own(stage: Callable[..., Stage], what: str) -> None:
    one = stage()
    host = one.host
    page = {
        "data": one.page("secret"), "rd": host.rd // PAGE, "rec": host.rec // PAGE, "root table": host.root // PAGE,
        "aux": host.aux[0] // PAGE, "gpt": one.cca.pages.count, "monitor": one.cca.secure_pages.start - 1,
        "secure": one.cca.secure_pages.start,
    }[what]  # fmt: skip
    for attempt in (one.machine.host_read, one.machine.device_read):
        with pytest.raises(Refused, match="granule protection fault"):
            attempt(page)
    before = one.taken(page)
    for change in (one.machine.host_write, one.machine.device_write):
        with pytest.raises(Refused, match="granule protection fault"):
            change(page, bytes(PAGE))
    assert one.taken(page) == before


@pytest.mark.parametrize("pas", [Pas.SECURE, Pas.NON_SECURE, Pas.REALM, Pas.ROOT])
def test_the_secure_world_does_not_reach_a_realm(stage: Callable[..., Stage], pas: Pas) -> None:
    """TrustZone's trusted OS is nobody whom a realm has to trust."""
    one = stage()
    page = one.page("secret")
    with pytest.raises(Refused, match="secure access"):
        one.cca.secure_read(page, pas)
    with pytest.raises(Refused, match="secure access"):
        one.cca.secure_write(page, bytes(PAGE), pas)


def test_the_secure_world_reaches_its_own_and_the_hosts_memory(stage: Callable[..., Stage]) -> None:
    """Otherwise the tests above would say nothing."""
    one = stage()
    page = one.cca.secure_pages.start
    one.cca.secure_write(page, b"s" * PAGE)
    assert one.cca.secure_read(page) == b"s" * PAGE
    assert b"ssssssss" not in one.taken(page)
    shared = one.cca.pages.allocate()
    one.machine.host_write(shared, b"n" * PAGE)
    assert one.cca.secure_read(shared, Pas.NON_SECURE) == b"n" * PAGE
    with pytest.raises(Refused, match="realm access"):
        one.cca.rmm.gpt.check(page, World.REALM, Pas.REALM)


def test_a_granule_given_back_holds_nothing(stage: Callable[..., Stage]) -> None:
    """After the whole realm is gone the host may read every granule that it had, and finds no secret."""
    one = stage()
    one.play([KEEP, SHOW, END])
    pages = [one.page("secret"), one.host.rec // PAGE]
    one.cca._end_realm()
    for page in pages:
        assert one.cca.rmm.gpt.entry(page) == Gpi.NON_SECURE
        assert SECRET not in one.machine.host_read(page)
    one.machine.settle()
    assert find(one.machine, SECRET) is None


def test_a_flip_in_the_protection_table_shuts_but_does_not_open(stage: Callable[..., Stage]) -> None:
    """The table lies in DRAM under Root's key. A flip makes garbage of 32 granules' entries."""
    one = stage()
    secret, table = one.page("secret"), one.cca.pages.count
    row, byte = divmod(secret // 16 * 8, PAGE)
    content = bytearray(one.taken(table + row))
    content[byte] ^= 1
    one.put_back(table + row, bytes(content))
    block = [one.cca.rmm.gpt.entry(page) for page in range(secret // 32 * 32, secret // 32 * 32 + 32)]
    assert block != [Gpi.REALM] * 32
    if one.cca.rmm.gpt.entry(secret) in (Gpi.NON_SECURE, Gpi.ANY):  # one chance in eight
        assert SECRET not in one.machine.host_read(secret)


def test_an_old_protection_table_opens_a_granule_as_ciphertext_only(stage: Callable[..., Stage]) -> None:
    """Replayed, the table says that the granule is the host's. The key of the non-secure space opens nothing."""
    one = stage()
    free = one.cca.pages._next
    table = one.cca.pages.count
    old = one.taken(table)
    read: list[bytes] = []

    def put_back() -> None:
        one.put_back(table, old)
        page = next(page for page in one.host.table.values() if page >= free)
        read.append(one.machine.host_read(page))

    one.play([KEEP, Act(b"b\n", put_back), END])
    assert len(set(read[0])) > 200
    assert SECRET not in read[0]


# ---- the realm's memory


def test_a_page_is_taken_once_and_the_realm_stops(stage: Callable[..., Stage]) -> None:
    """The host learns from one fault that the code of one page is about to run, and there will be no second run."""
    one = stage()
    address = one.address("walk")
    faults: list[HostView] = []
    one.machine.host.on_exit = lambda view: faults.append(view) if view.address == address else None

    def again(host_address: int) -> bool:
        if len(faults) > 1:
            return False
        one.machine.give_back(host_address)
        return True

    one.machine.host.on_fault = again
    played = one.play([KEEP, Act(b"c\n", lambda: one.machine.withhold(address)), END])
    assert "RIPAS DESTROYED" in played.ending.stopped
    assert "walked" not in played.lines
    assert [view.address for view in faults] == [address, address]
    assert all(view.registers["hpfar"] >> 4 << 12 == address for view in faults)
    assert all(view.registers["far"] == 0 for view in faults)


@pytest.mark.parametrize("key", ["a", "b"])
def test_reading_and_writing_look_the_same_to_the_host(stage: Callable[..., Stage], key: str) -> None:
    """The syndrome says instruction or data, and no more (TF-RMM, ESR_NONEMULATED_ABORT_MASK)."""
    one = stage()
    address = one.address("secret")
    typed = b"s1\n" if key == "a" else b"r\n"
    one.play([Act(typed, lambda: one.machine.withhold(address)), END])
    (view,) = [view for view in one.machine.host.seen if view.address == address]
    assert view.registers["esr"] == 0x24 << 26 | 7


def test_pages_of_a_realm_are_not_exchanged(stage: Callable[..., Stage]) -> None:
    one = stage()
    balance, riches = one.address("balance"), one.address("riches")
    source = one.machine.physical_page(riches)
    refused: list[str] = []

    def attempt() -> None:
        for page in (source, one.cca.pages.allocate(), one.host.give() // PAGE):
            with pytest.raises(Refused) as raised:
                one.machine.remap(balance, page)
            refused.append(str(raised.value))

    played = one.play([Act(b"b\n", attempt), END])
    assert played.lines[-1] == "1000"
    assert ["ERROR_INPUT" in refused[0], "ERROR_INPUT" in refused[1], "ERROR_RTT" in refused[2]] == [True] * 3


def test_what_is_not_there_is_not_taken_or_given_twice(stage: Callable[..., Stage]) -> None:
    one = stage()
    address = one.address("balance")
    with pytest.raises(Refused, match="RMI_ERROR_RTT"):
        one.machine.give_back(address)
    one.machine.withhold(address)
    with pytest.raises(Refused, match="RMI_ERROR_RTT"):
        one.machine.withhold(address)
    page = one.host.give() // PAGE
    one.machine.remap(address, page)  # nothing stands there: this is the host's right, and the realm will not run on it
    assert one.machine.physical_page(address) == page
    assert "RIPAS DESTROYED" in one.play([SHOW, END]).ending.stopped


def test_a_destroyed_page_comes_back_without_the_chosen_content(stage: Callable[..., Stage]) -> None:
    """Even where a realm accepts the loss, it does not find what the host wrote before it delegated the granule."""
    one = stage()
    address = one.address("balance")
    page = one.host.destroy(address)
    one.host.take_back(page * PAGE)
    one.machine.host_write(page, (1_000_000).to_bytes(8, "little") * (PAGE // 8))
    one.machine.give_back(address)
    assert one.cca.calls.ipa_state_set(address, address + PAGE, Ripas.RAM, change_destroyed=True) == address + PAGE
    assert bytes(one.cca._reach(address)) == bytes(PAGE)


def test_the_host_cannot_show_a_realm_its_own_granules_as_shared(stage: Callable[..., Stage]) -> None:
    """An unprotected address that leads to a realm's granule: the access names the non-secure space, and faults."""
    one = stage()
    host, ipa = one.host, one.cca._realm.half + (1 << 30)
    host.share(ipa, one.page("secret"))
    with pytest.raises(MemoryFault, match="granule protection fault: realm access"):
        one.cca._reach(ipa)


def test_the_host_that_gives_the_bounce_buffer_away_stops_the_realm(stage: Callable[..., Stage]) -> None:
    one = stage()
    played = one.play([Act(b"b\n", lambda: one.cca.rmm.granule_delegate(one.machine.bounce.pages[0] * PAGE)), END])
    assert "granule protection fault" in played.ending.stopped


def test_old_contents_of_a_table_lead_to_garbage_or_nowhere(stage: Callable[..., Stage]) -> None:
    """A flip in a translation table scrambles two entries: the monitor or the check stops what comes of it."""
    one = stage()
    walk = one.cca.rmm.stage2(one.cca._realm, one.address("balance"))
    content = bytearray(one.taken(walk.table))
    content[walk.number * 8] ^= 1

    def flip() -> None:
        one.put_back(walk.table, bytes(content))
        one.machine.forget_translations()

    played = one.play([Act(b"b\n", flip), END])
    assert played.stopped
    assert "1000" not in played.lines
