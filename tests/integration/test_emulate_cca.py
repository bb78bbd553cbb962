"""Real programs in a realm of the emulated CCA machine, and tokens that the project's own verifier believes."""

import hashlib
import secrets
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import cloister
from cloister.emulate.catalogue import kind_of
from cloister.emulate.cca.machine import CcaMachine
from cloister.emulate.cca.platform import FIRMWARE
from cloister.emulate.cca.rtt import Hipas, Ripas
from cloister.emulate.host import Cause
from cloister.emulate.inside import Request, launched
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.native import NativeArmMachine
from cloister.emulate.terminal import Terminal, sealed_terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import CannotEnclave, ChainInvalid, LaunchError, NotFresh, UsageError, VerificationError
from cloister.evidence.cca import parse
from cloister.measure.cca import PROGRAM_MEMORY, RealmParameters, guest_digest
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Architecture, Image, read_image
from cloister.measure.program import program_measurement
from cloister.model import Tee
from cloister.verification.recipe import Allowances
from cloister.verifier.trust_files import anchors_in

LAB = Path(__file__).parents[2] / "src/cloister/app/lab/exercise/app.c"
NOW = datetime(2026, 5, 1, tzinfo=UTC)
NONCE = bytes(range(64))
COMPILER = "aarch64-linux-gnu-gcc"

pytestmark = pytest.mark.needs_program(COMPILER)


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


Build = Callable[..., Image]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compile a C program statically."""

    def compiled(source: str, *options: str) -> Image:
        directory = tmp_path_factory.mktemp("program")
        (directory / "app.c").write_text(source)
        program = directory / "app"
        words = [COMPILER, "-O1", "-static", *options, "-o", str(program), str(directory / "app.c")]
        subprocess.run(words, check=True, timeout=60)
        return read_image(program.read_bytes())

    return compiled


class Session:
    """One machine, its owner's terminal, and what the owner types: each line after what is to be done before it."""

    def __init__(self, make: Callable[[Terminal], Machine]) -> None:
        self.output = bytearray()
        self.acts: list[tuple[bytes, Callable[[], object] | None]] = []
        self.machine = make(sealed_terminal(self._read, self.output.extend))

    def _read(self, _size: int) -> bytes:
        if not self.acts:
            return b""
        line, act = self.acts.pop(0)
        if act:
            act()
        return line

    @property
    def cca(self) -> CcaMachine:
        assert isinstance(self.machine, CcaMachine)
        return self.machine

    def run(self, image: Image, *arguments: str, steps: int = 0) -> int:
        self.machine.launch(image)
        self.machine.start(["program", *arguments], {"PATH": "/bin"})
        ending = self.machine.run(steps)
        assert not ending.stopped
        return ending.status


@pytest.fixture
def session(keystore: Keystore) -> Iterator[Callable[..., Session]]:
    made: list[Session] = []

    def of(shape: Shape = Shape(memory=8192), *, native: bool = False, **settings: object) -> Session:  # noqa: B008
        def make(terminal: Terminal) -> Machine:
            if native:
                return NativeArmMachine(shape, terminal)
            return CcaMachine(shape, terminal, keystore, **settings)  # type: ignore[arg-type]

        made.append(Session(make))
        return made[-1]

    yield of
    for one in made:
        one.machine.close()


HELLO = '#include <stdio.h>\nint main(int n, char **a) { printf("hello %s\\n", n > 1 ? a[1] : "?"); return 7; }\n'

HASH = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int count, char **words) {
    static unsigned char data[100000];
    FILE *file = fopen(words[1], "rb");
    size_t size = fread(data, 1, sizeof data, file);
    uint64_t sum = 14695981039346656037u;
    for (size_t i = 0; i < size; i++) sum = (sum ^ data[i]) * 1099511628211u;
    double *many = malloc(sizeof *many << 17), total = 0;
    for (int i = 0; i < 1 << 17; i++) many[i] = i * 0.5;
    for (int i = 0; i < 1 << 17; i++) total += many[i];
    printf("%016llx %.1f\\n", (unsigned long long)sum, total);
    return 0;
}
"""


def fnv(data: bytes) -> str:
    found = 14695981039346656037
    for byte in data:
        found = (found ^ byte) * 1099511628211 % (1 << 64)
    return f"{found:016x}"


# ---- programs


@pytest.mark.parametrize(("frames", "steps"), [(2048, 0), (32, 0), (64, 20_000)])
def test_a_program_reads_a_file_and_computes(
    session: Callable[..., Session], build: Build, tmp_path: Path, frames: int, steps: int
) -> None:
    """With little cache memory goes through the cipher all the time, with interrupts registers go through the REC."""
    content = secrets.token_bytes(100_000)
    (tmp_path / "data").write_bytes(content)
    one = session(Shape(memory=8192, frames=frames))
    assert one.run(build(HASH), str(tmp_path / "data"), steps=steps) == 0
    assert one.output.decode() == f"{fnv(content)} {sum(i * 0.5 for i in range(1 << 17)):.1f}\n"
    interrupts = sum(view.cause is Cause.INTERRUPT for view in one.machine.host.seen)
    assert (interrupts > 20) == bool(steps)


def test_programs_for_other_processors_are_refused(session: Callable[..., Session], build: Build) -> None:
    image = build(HELLO)
    other = Image(
        architecture=Architecture.RISCV64, entry=image.entry, headers=image.headers, header_count=image.header_count,
        end=image.end, pages=image.pages,
    )  # fmt: skip
    with pytest.raises(CannotEnclave, match="riscv64"):
        session().machine.launch(other)


def test_a_machine_launches_again(session: Callable[..., Session], build: Build) -> None:
    """The realm before is destroyed by the monitor's calls, and all that it had is the host's again."""
    one = session(Shape(memory=2048))
    image = build(HELLO)
    one.machine.launch(build(HASH))
    other = one.machine.measurement
    for _ in range(5):
        one.machine.launch(image)
    assert one.machine.measurement == program_measurement("cca", image).digest != other
    assert len(one.cca.rmm.vmids) == 1
    assert one.run(image, "again") == 7
    assert one.output == b"hello again\n"


def test_too_little_memory_is_said(session: Callable[..., Session], build: Build) -> None:
    with pytest.raises(UsageError, match="too small"):
        session(Shape(memory=48))
    with pytest.raises(LaunchError, match="too little memory"):
        session(Shape(memory=128, frames=64)).machine.launch(build(HELLO))


def test_a_launch_that_fails_gives_everything_back(session: Callable[..., Session], build: Build) -> None:
    """Wherever memory runs out: the next launch is as if there had been none."""
    image, machine = build(HELLO), session(Shape(memory=512, frames=64)).cca
    free = machine.pages.left
    machine.launch(image)
    needed = free - machine.pages.left
    machine._end_realm()
    assert machine.pages.left == free
    for left in (0, 1, 2, 3, 5, 50, *range(needed - 6, needed)):
        taken = [machine.pages.allocate() for _ in range(free - left)]
        with pytest.raises(LaunchError, match="too little memory"):
            machine.launch(image)
        assert machine.pages.left == left
        for page in taken:
            machine.pages.free(page)
    machine.launch(image)
    assert machine.measurement == program_measurement("cca", image).digest


def test_a_program_gets_all_memory_there_is_and_is_told_when_it_ends(
    session: Callable[..., Session], build: Build
) -> None:
    """What tables take is counted: no page that was promised is missing when it is touched."""
    source = "#include <stdlib.h>\n#include <string.h>\nint main(void) { char *at; long size = 0;"
    source += " while ((at = malloc(1 << 18))) memset(at, 1, 1 << 18), size++; return size; }"
    one = session(Shape(memory=4096, frames=256))
    got = one.run(build(source))
    assert 4096 - 400 < got * 64 < 4096


def test_the_command_line_finds_the_machine(keystore: Keystore, build: Build) -> None:
    output = bytearray()
    terminal = sealed_terminal(lambda _size: b"", output.extend)
    request = Request(tee="cca", memory=16, keys=str(keystore.directory))
    machine = launched(kind_of("cca"), request, build(HELLO), terminal)
    machine.start(["hello", "you"], {})
    assert (machine.run().status, bytes(output)) == (7, b"hello you\n")
    machine.close()


# ---- measurement


@pytest.mark.parametrize("memory", [2048, 8192, 1 << 18])
def test_the_monitor_measures_what_is_computed_offline(
    session: Callable[..., Session], build: Build, memory: int
) -> None:
    """Whatever the size of DRAM: only what the realm may have is measured, not what the host has."""
    image = build(HELLO)
    one = session(Shape(memory=memory))
    one.machine.launch(image)
    assert one.machine.measurement == program_measurement("cca", image).digest


def test_another_realm_has_another_measurement(session: Callable[..., Session], build: Build) -> None:
    image, parameters = build(HELLO), RealmParameters(s2sz=40, hash_algorithm="sha512", num_bps=1)
    one = session(parameters=parameters)
    one.machine.launch(image)
    assert one.machine.measurement == guest_digest(GuestLayout.of(image), parameters=parameters)
    assert one.machine.measurement.algorithm == "sha512"


# ---- memory


def test_the_realm_gets_memory_when_it_touches_it(session: Callable[..., Session], build: Build) -> None:
    one = session()
    image = build(HASH)
    layout = GuestLayout.of(image)
    one.machine.launch(image)
    host = one.cca.hypervisor
    assert sorted(host.table) == list(range(len(layout.pages)))
    state = one.cca.rmm.rtt_read_entry(host.rd, layout.end, 3)
    assert (state.hipas, state.ripas) == (Hipas.UNASSIGNED, Ripas.RAM)
    one.machine.start(["program", "/etc/hostname"], {})
    one.machine.run()
    assert len(host.table) > len(layout.pages) + 256
    faults = [view for view in one.machine.host.seen if view.cause is Cause.PAGE_FAULT]
    assert {view.registers["hpfar"] >> 4 << 12 for view in faults} <= {number * PAGE for number in host.table}


def test_memory_beyond_what_was_measured_is_asked_for(session: Callable[..., Session], build: Build) -> None:
    """The realm sets RIPAS itself; the host learns it and makes tables on the way."""
    one = session()
    one.machine.launch(build(HELLO))
    with pytest.raises(Exception, match="RIPAS EMPTY"):
        one.cca._reach(PROGRAM_MEMORY)
    one.cca.accept(PROGRAM_MEMORY // PAGE)
    assert one.cca._ram_end == PROGRAM_MEMORY + (2 << 20)
    one.cca._reach(PROGRAM_MEMORY)[:6] = b"beyond"
    asked = [view for view in one.machine.host.seen if view.registers["exit_reason"] == 4]
    assert [view.registers["ripas_base"] for view in asked] == [PROGRAM_MEMORY]
    assert one.cca.calls.ipa_state_get(PROGRAM_MEMORY) is Ripas.RAM


@pytest.mark.parametrize("native", [True, False])
def test_a_secret_stands_in_dram_natively_and_not_under_cca(
    session: Callable[..., Session], build: Build, *, native: bool
) -> None:
    secret = secrets.token_hex(16).encode()
    found: list[bool] = []
    one = session(native=native)

    def look() -> None:
        one.machine.settle()
        dram = one.machine.dram
        found.append(any(secret in bytes(dram.page(page)) for page in range(dram.pages)))

    one.acts = [(secret + b"\n", None), (b"\n", look)]
    source = "#include <stdio.h>\nint main(void) { static char a[80], b[80]; fgets(a, 80, stdin); fgets(b, 80, stdin);"
    one.run(build(source + ' printf("%s", a); return 0; }'))
    assert found == [native]
    assert secret in one.output


@pytest.mark.parametrize("native", [True, False])
def test_the_lab_program_keeps_its_secret_only_under_cca(
    session: Callable[..., Session], build: Build, *, native: bool
) -> None:
    secret = secrets.token_hex(12).encode()
    found: list[bool] = []
    one = session(native=native)

    def look() -> None:
        one.machine.settle()
        dram = one.machine.dram
        found.append(any(secret in bytes(dram.page(page)) for page in range(dram.pages)))

    one.acts = [(secret + b"\n", None), (b"\n", look)]
    assert one.run(build(LAB.read_text())) == 0
    assert found == [native]
    assert b"Hash of your input" in one.output


# ---- evidence


def verify(machine: Machine, token: bytes, **changes: object) -> cloister.Verdict:
    """With what the machine itself hands to a verifier, as `cloister verify --unsafe-trust-root` reads it."""
    anchors, given = anchors_in(machine.vouching(NOW).roots, "roots.pem", kind=AnchorKind.TESTING, tees=frozenset(Tee))
    settings: dict[str, object] = {"nonce": NONCE, "at": NOW, "anchors": anchors, "endorsements": given} | changes
    return cloister.verify(token, **settings)  # type: ignore[arg-type]


def test_a_token_verifies_and_says_what_runs(session: Callable[..., Session], build: Build) -> None:
    one = session()
    image = build(HELLO)
    one.machine.launch(image)
    token = one.machine.evidence(NONCE)
    verify(one.machine, token)
    parsed = parse(token)
    assert parsed.realm_claims.initial_measurement == program_measurement("cca", image).digest.value
    measured = {one.kind: one.measurement for one in parsed.platform_claims.software_components}
    assert measured == {name: hashlib.sha256(image).digest() for name, image in FIRMWARE.items()}


def test_hardware_anchors_refuse_it(session: Callable[..., Session], build: Build) -> None:
    one = session()
    one.machine.launch(build(HELLO))
    token = one.machine.evidence(NONCE)
    _, given = anchors_in(one.machine.vouching(NOW).roots, "x", kind=AnchorKind.TESTING, tees=frozenset(Tee))
    for keys in (Endorsements(), given):
        with pytest.raises(ChainInvalid):
            verify(one.machine, token, anchors=TrustAnchors.hardware(), endorsements=keys)


def test_another_nonce_and_a_debugged_platform_are_refused(session: Callable[..., Session], build: Build) -> None:
    image = build(HELLO)
    one, debugged = session(), session(debug=True)
    for each in (one, debugged):
        each.machine.launch(image)
    with pytest.raises(NotFresh):
        verify(one.machine, one.machine.evidence(bytes(64)))
    token = debugged.machine.evidence(NONCE)
    with pytest.raises(VerificationError, match="recoverable_cca_platform_rot_debug"):
        verify(debugged.machine, token)
    verify(debugged.machine, token, allow=Allowances(unsafe_allow_debug=True))


def test_evidence_needs_a_realm_and_no_more_than_64_bytes(session: Callable[..., Session], build: Build) -> None:
    one = session()
    with pytest.raises(UsageError, match="no realm"):
        one.machine.evidence(NONCE)
    with pytest.raises(UsageError, match="no realm"):
        _ = one.machine.measurement
    one.machine.launch(build(HELLO))
    with pytest.raises(UsageError, match="64 bytes"):
        one.machine.evidence(bytes(65))
    assert one.machine.evidence(b"short")


def test_all_tokens_of_one_boot_have_the_same_platform_part(session: Callable[..., Session], build: Build) -> None:
    one, other = session(), session()
    for each in (one, other):
        each.machine.launch(build(HELLO))
    first, second = (parse(one.machine.evidence(nonce)) for nonce in (NONCE, bytes(64)))
    assert first.platform.serialize() == second.platform.serialize()
    assert parse(other.machine.evidence(NONCE)).platform.serialize() != first.platform.serialize()
