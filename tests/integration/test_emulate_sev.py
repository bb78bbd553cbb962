"""Real programs on the emulated SME, SEV and SEV-ES machines, and evidence that the project's own verifier believes."""

import hashlib
import secrets
import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.forge.emulated_sev import Session, owner_of, quick_keystore, sessions

import cloister
from cloister.emulate.host import Cause
from cloister.emulate.launch_step import Stage
from cloister.emulate.machine import Ending, Shape
from cloister.emulate.sev.launch_steps import Party, Tampering, launch_steps
from cloister.emulate.sev.owner import PRODUCTION
from cloister.emulate.sev.secret_area import DISK_KEY
from cloister.emulate.sev.sme import SmeMachine
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import CannotEnclave, ChainInvalid, NotFresh, UsageError, VerificationError
from cloister.evidence import sev
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Image, read_image
from cloister.measure.sev import guest_digest
from cloister.model import Digest, Tee, Unchecked
from cloister.verification.recipe import Allowances
from cloister.verification.sev import GuestOwner as OwnersKeys
from cloister.verification.sev import verify as verify_sev
from cloister.verifier.trust_files import read_anchors

LAB = Path(__file__).parents[2] / "src/cloister/app/lab/exercise/app.c"
NOW = datetime(2026, 5, 1, tzinfo=UTC)
NONCE = b"sixteen byte non"
GENERATIONS = ["naples", "rome", "milan", "genoa"]

pytestmark = pytest.mark.needs_program("cc")


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return quick_keystore(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Image]:
    """Compile a C program statically."""

    def compiled(source: str) -> Image:
        directory = tmp_path_factory.mktemp("program")
        (directory / "app.c").write_text(source)
        program = directory / "app"
        subprocess.run(["cc", "-O1", "-static", "-o", program, directory / "app.c"], check=True, timeout=60)
        return read_image(program.read_bytes())

    return compiled


@pytest.fixture
def session(keystore: Keystore) -> Iterator[Callable[..., Session]]:
    with sessions(keystore) as make:
        yield make


# ---- programs


@pytest.mark.needs_program("busybox")
@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("kind", ["sme", "sev", "sev-es"])
def test_busybox_hashes_a_file(session: Callable[..., Session], tmp_path: Path, kind: str, generation: str) -> None:
    content = secrets.token_bytes(100_000)
    (tmp_path / "data").write_bytes(content)
    one = session(kind, generation=generation)
    one.machine.launch(read_image(Path("/bin/busybox").read_bytes()))
    one.machine.start(["busybox", "sha256sum", str(tmp_path / "data")], {})
    assert one.machine.run().status == 0
    assert one.output.split()[0].decode() == hashlib.sha256(content).hexdigest()


def test_programs_for_other_processors_are_refused(session: Callable[..., Session]) -> None:
    program = bytearray(Path("/bin/busybox").read_bytes())
    program[18] = 183  # e_machine: arm64
    with pytest.raises(CannotEnclave, match="arm64"):
        session("sev").machine.launch(read_image(bytes(program)))


@pytest.mark.parametrize("kind", ["sme", "sev", "sev-es"])
def test_little_cache_and_many_interrupts_change_nothing(
    session: Callable[..., Session], build: Callable[[str], Image], kind: str
) -> None:
    """Memory goes through the cipher all the time, and registers through the save area, floating point included."""
    image = build(
        """#include <stdio.h>
        #include <stdlib.h>
        int main(void) {
            size_t count = 1 << 17; double *many = malloc(count * sizeof *many), sum = 0;
            for (size_t i = 0; i < count; i++) many[i] = i * 0.5;
            for (size_t i = 0; i < count; i++) sum += many[(i * 40503) % count];
            printf("%.1f\\n", sum);
            return 0;
        }"""
    )
    one = session(kind, Shape(memory=4096, frames=64))
    assert one.run(image, steps=5000) == Ending(0)
    assert one.output.decode() == f"{sum(i * 0.5 for i in range(1 << 17)):.1f}\n"
    assert one.machine.cache.evictions > 100
    assert sum(view.cause is Cause.INTERRUPT for view in one.machine.host.seen) > 100


# ---- memory


def windows(secret: bytes) -> list[bytes]:
    return [secret[start : start + 8] for start in range(len(secret) - 7)]


@pytest.mark.parametrize(
    ("kind", "settings", "found"),
    [
        ("native", {}, True),
        ("sme", {"generation": "naples"}, False),
        ("sme", {"generation": "milan"}, False),
        ("sev", {"generation": "naples"}, False),
        ("sev", {"generation": "milan"}, False),
        ("sev-es", {"generation": "rome"}, False),
        ("sev-es", {"generation": "genoa"}, False),
    ],
)
def test_the_labs_secret_in_dram(
    session: Callable[..., Session],
    build: Callable[[str], Image],
    tmp_path: Path,
    kind: str,
    settings: dict[str, object],
    *,
    found: bool,
) -> None:
    """The exercise's program keeps the secret while it waits; all of DRAM is searched for any eight bytes of it."""
    secret = secrets.token_hex(16).encode()
    one = session(kind, Shape(memory=8192, dram=tmp_path / "dram"), **settings)
    seen: list[bool] = []

    def look() -> None:
        one.machine.settle()
        chips = (tmp_path / "dram").read_bytes()
        seen.append(any(window in chips for window in windows(secret)))

    one.acts = [(secret + b"\n", None), (b"\n", look)]
    assert one.run(build(LAB.read_text())) == Ending(0)
    assert seen == [found]
    assert b"Hash of your input" in one.output


# ---- measurement and evidence


@pytest.mark.parametrize("es", [False, True])
def test_the_measurement_is_the_offline_one(
    session: Callable[..., Session], build: Callable[[str], Image], *, es: bool
) -> None:
    image = build("int main(void) { return 7; }")
    one = session("sev-es" if es else "sev")
    assert one.run(image) == Ending(7)
    assert one.machine.measurement == guest_digest(GuestLayout.of(image), encrypted_state=es)


@pytest.fixture(scope="module")
def anchors(keystore: Keystore) -> TrustAnchors:
    """The emulated AMD's root, as a user is given it."""
    found, _ = read_anchors(AmdManufacturer(keystore, "Milan").publish_root(), kind=AnchorKind.TESTING, tees=[Tee.SEV])
    return found


def test_attestation_verifies_under_the_emulated_root(
    session: Callable[..., Session], build: Callable[[str], Image], anchors: TrustAnchors
) -> None:
    one = session("sev-es")
    one.run(build("int main(void) { return 0; }"))
    evidence = one.machine.evidence(NONCE.ljust(64, b"\0"))
    verdict = cloister.verify(evidence, nonce=NONCE, at=NOW, anchors=anchors, endorsements=Endorsements())
    part = verdict.authentic.parts[0]
    assert (part.tee, part.anchor.kind) == (Tee.SEV, AnchorKind.TESTING)
    assert part.facts["launch_digest"] == one.machine.measurement.value
    assert part.evidence.policy == int(PRODUCTION) | 4


def test_attestation_is_refused_under_the_hardwares_roots(
    session: Callable[..., Session], build: Callable[[str], Image]
) -> None:
    one = session("sev")
    one.run(build("int main(void) { return 0; }"))
    with pytest.raises(ChainInvalid):
        cloister.verify(one.machine.evidence(NONCE), nonce=NONCE, at=NOW, anchors=TrustAnchors.hardware())


def test_attestation_of_another_nonce_and_of_debugged_guests(
    session: Callable[..., Session], build: Callable[[str], Image], anchors: TrustAnchors
) -> None:
    image = build("int main(void) { return 0; }")
    one, debugged = session("sev"), session("sev", debug=True)
    one.run(image)
    debugged.run(image)
    with pytest.raises(NotFresh):
        cloister.verify(one.machine.evidence(bytes(16)), nonce=NONCE, at=NOW, anchors=anchors)
    with pytest.raises(VerificationError, match="debug"):
        cloister.verify(debugged.machine.evidence(NONCE), nonce=NONCE, at=NOW, anchors=anchors)
    allowed = Allowances(unsafe_allow_debug=True)
    cloister.verify(debugged.machine.evidence(NONCE), nonce=NONCE, at=NOW, anchors=anchors, allow=allowed)
    with pytest.raises(UsageError, match="16 bytes"):
        one.machine.evidence(b"x" * 17)


def test_sme_has_nothing_to_show(session: Callable[..., Session], build: Callable[[str], Image]) -> None:
    one = session("sme")
    one.run(build("int main(void) { return 0; }"))
    with pytest.raises(UsageError):
        one.machine.evidence(NONCE)
    with pytest.raises(UsageError):
        _ = one.machine.measurement
    with pytest.raises(UsageError, match="no debug mode"):
        session("sme", debug=True)


# ---- the owner's dialogue

READER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
    const char *where = getenv("CLOISTER_LAUNCH_SECRETS");
    if (where == NULL) { puts("none"); return 1; }
    const unsigned char *table = (const unsigned char *)strtoul(where, NULL, 16);
    unsigned length;
    memcpy(&length, table + 16, 4);
    for (const unsigned char *entry = table + 20; entry < table + length;) {
        unsigned size;
        memcpy(&size, entry + 16, 4);
        fwrite(entry + 20, 1, size - 20, stdout);
        entry += size;
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def reader(build: Callable[[str], Image]) -> Image:
    """A program that prints the owner's secrets."""
    return build(READER)


@pytest.mark.parametrize("es", [False, True])
def test_a_launch_with_an_owner_gives_the_program_its_secret(
    session: Callable[..., Session], reader: Image, anchors: TrustAnchors, tmp_path: Path, *, es: bool
) -> None:
    secret = secrets.token_hex(16).encode()
    owner = owner_of(reader, anchors, es=es, secrets={uuid.uuid4(): secret})
    one = session("sev-es" if es else "sev", Shape(memory=8192, dram=tmp_path / "dram"), owner=owner)
    assert one.run(reader) == Ending(0)
    assert bytes(one.output) == secret
    one.machine.settle()
    assert secret not in (tmp_path / "dram").read_bytes()


def test_without_an_owner_there_is_no_secret(session: Callable[..., Session], reader: Image) -> None:
    one = session("sev")
    assert one.run(reader) == Ending(1)
    assert bytes(one.output) == b"none\n"
    assert one.sev.secrets() == {}


@pytest.mark.parametrize("es", [False, True])
def test_the_dialogue_step_by_step(
    session: Callable[..., Session], reader: Image, anchors: TrustAnchors, *, es: bool
) -> None:
    owner = owner_of(reader, anchors, es=es)
    one = session("sev-es" if es else "sev", owner=owner)
    machine = one.sev
    disk = owner.encrypted_disk(b"the owner's data")
    steps = list(launch_steps(machine, reader, owner, disk=disk))
    assert all(step.ok for step in steps)
    assert [step.stage for step in steps] == sorted(step.stage for step in steps)
    assert {step.stage for step in steps} == set(Stage)
    assert steps[-1].receiver is Party.GUEST
    assert steps[-1].fields["encrypted disk"] == "16 bytes opened"
    key = machine.secrets()[DISK_KEY]
    assert not any(key in step.message or owner.session.keys.tek in step.message for step in steps)
    assert one.go() == Ending(0)
    assert bytes(one.output) == key


def test_the_owner_verifies_the_launch_measurement(
    session: Callable[..., Session], reader: Image, anchors: TrustAnchors
) -> None:
    owner = owner_of(reader, anchors)
    machine = session("sev", owner=owner).sev
    machine.launch(reader)
    keys = OwnersKeys(tik=owner.session.keys.tik, pdh=owner.session.pdh, launch_digests=(machine.measurement.value,))
    evidence = sev.parse(machine.launch_evidence())
    found = verify_sev(
        evidence,
        anchors=anchors,
        endorsements=Endorsements(),
        at=NOW,
        challenge=Unchecked("a TIK used once"),
        owner=keys,
    )
    assert found.facts["launch_digest"] == machine.measurement.value


def test_a_launch_that_the_owner_refuses_ends(
    session: Callable[..., Session], reader: Image, anchors: TrustAnchors
) -> None:
    owner = owner_of(reader, anchors, expected=[Digest("sha256", bytes(32))])
    one = session("sev", owner=owner)
    free = one.machine.pages.left
    with pytest.raises(VerificationError, match="expected launch"):
        one.machine.launch(reader)
    assert one.machine.pages.left == free
    assert one.sev.firmware.platform_status().guests == 0


def test_tampering_is_over_after_its_launch(
    session: Callable[..., Session], reader: Image, anchors: TrustAnchors
) -> None:
    """What a refused launch has used is free again: an honest one follows on the same machine."""
    owner = owner_of(reader, anchors)
    one = session("sev", owner=owner)
    free = one.sev.pages.left
    for tampering in Tampering:
        if tampering is not Tampering.NONE:
            assert not list(launch_steps(one.sev, reader, owner, tampering=tampering))[-1].ok
            assert one.sev.pages.left == free
    assert all(step.ok for step in launch_steps(one.sev, reader, owner))
    assert one.go() == Ending(0)
    assert len(one.output) == 32


# ---- SME's C-bit


def test_a_page_without_c_bit_is_in_dram_as_it_is(
    session: Callable[..., Session], build: Callable[[str], Image]
) -> None:
    image = build(
        """#include <stdio.h>
        __attribute__((aligned(4096))) char page[4096] = "what stands in this page";
        int main(void) { getchar(); puts(page); return 0; }"""
    )
    one = session("sme")
    machine = one.machine
    assert isinstance(machine, SmeMachine)
    text = b"what stands in this page"
    seen: list[bool] = []

    def act() -> None:
        address = next(page.address for page in image.pages if page.content.startswith(text))
        page = machine.physical_page(address)
        for encrypted in (True, False, True):
            machine.set_encrypted(address, encrypted=encrypted)
            machine.settle()
            seen.append(bytes(machine.dram.page(page)).startswith(text))
            assert machine.host_read(page).startswith(text)
            assert machine.device_read(page).startswith(text)
        assert not machine.device_read(page, c_bit=False).startswith(text)
        assert len(machine.device_read(page)) == PAGE

    one.acts = [(b"\n", act)]
    assert one.run(image) == Ending(0)
    assert seen == [False, True, False]
    assert bytes(one.output).strip() == text
