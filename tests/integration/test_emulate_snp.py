"""Real programs on the emulated SEV-SNP machine, and evidence that the project's own verifier believes."""

import hashlib
import secrets
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.forge.emulated_snp import quick_keystore

import cloister
from cloister.emulate.machine import Ending, Machine, Shape
from cloister.emulate.native import NativeMachine
from cloister.emulate.snp.keys import FieldSelect
from cloister.emulate.snp.machine import SnpMachine
from cloister.emulate.terminal import Terminal, sealed_terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse import cache
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.importing import import_files
from cloister.errors import ChainInvalid, EndorsementUnavailable, NotFresh, SignatureInvalid
from cloister.evidence.snp import Product
from cloister.measure.guest import GuestLayout
from cloister.measure.image import Image, read_image
from cloister.measure.snp import guest_digest
from cloister.model import Tee
from cloister.verifier import Verdict

LAB = Path(__file__).parents[2] / "src/cloister/app/lab/exercise/app.c"
NONCE = b"asked for just now"
SHAPE = Shape(memory=8192, frames=512)


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return quick_keystore(tmp_path_factory.mktemp("snp") / "emulated", *Product)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The exercise's program, linked statically."""
    program = tmp_path_factory.mktemp("lab") / "app"
    subprocess.run(["cc", "-O1", "-static", "-o", program, LAB], check=True, timeout=60)
    return read_image(program.read_bytes())


class Session:
    """A machine whose owner types lines; before a line is typed, while the program waits, something may be done."""

    def __init__(self, make: Callable[[Terminal], Machine]) -> None:
        self.output = bytearray()
        self.acts: list[tuple[bytes, Callable[[], object] | None]] = []
        self.machine = make(sealed_terminal(self._read, self.output.extend))

    def _read(self, _size: int) -> bytes:
        if not self.acts:
            return b""
        line, action = self.acts.pop(0)
        if action is not None:
            action()
        return line

    def run(self, image: Image, *words: str) -> Ending:
        self.machine.launch(image)
        self.machine.start(list(words) or ["program"], {})
        return self.machine.run()


def snp(keystore: Keystore, **settings: object) -> Session:
    return Session(lambda terminal: SnpMachine(SHAPE, terminal, keystore, **settings))  # type: ignore[arg-type]


def machine_of(session: Session) -> SnpMachine:
    assert isinstance(session.machine, SnpMachine)
    return session.machine


def in_dram(machine: Machine, pattern: bytes) -> bool:
    machine.settle()
    whole = b"".join(bytes(machine.dram.page(page)) for page in range(machine.dram.pages))
    return pattern in whole


# ---------------------------------------------------------------- programs


@pytest.mark.needs_program("cc")
@pytest.mark.parametrize("vmpl", [0, 2])
@pytest.mark.parametrize("product", list(Product))
def test_the_exercise_runs_and_dram_never_holds_the_secret(
    keystore: Keystore, lab: Image, product: Product, vmpl: int
) -> None:
    session = snp(keystore, product=product, vmpl=vmpl)
    secret, found = secrets.token_hex(12), list[bool]()
    session.acts = [
        (f"{secret}\n".encode(), None),
        (b"\n", lambda: found.append(in_dram(session.machine, secret.encode()))),
    ]
    assert session.run(lab) == Ending(0)
    value = 0
    for letter in secret.encode():
        value = (31 * value + letter) % 2**32
    assert f"Hash of your input: {value}" in session.output.decode()
    assert found == [False]
    session.machine.close()


@pytest.mark.needs_program("cc")
def test_the_control_without_a_tee_the_secret_is_there(lab: Image) -> None:
    session = Session(lambda terminal: NativeMachine(SHAPE, terminal))
    secret, found = secrets.token_hex(12), list[bool]()
    session.acts = [
        (f"{secret}\n".encode(), None),
        (b"\n", lambda: found.append(in_dram(session.machine, secret.encode()))),
    ]
    assert session.run(lab) == Ending(0)
    assert found == [True]
    session.machine.close()


@pytest.fixture(scope="module")
def busybox() -> Image:
    found = shutil.which("busybox")
    assert found is not None
    return read_image(Path(found).read_bytes(), found)


@pytest.mark.needs_program("busybox")
def test_busybox_works_on_files(keystore: Keystore, busybox: Image, tmp_path: Path) -> None:
    data = secrets.token_bytes(300_000)
    (tmp_path / "data").write_bytes(data)
    session = snp(keystore)
    assert session.run(busybox, "busybox", "sha256sum", str(tmp_path / "data")) == Ending(0)
    assert session.output.decode().split()[0] == hashlib.sha256(data).hexdigest()
    session.machine.close()


@pytest.mark.needs_program("busybox")
def test_few_frames_and_many_interrupts_change_nothing(keystore: Keystore, busybox: Image) -> None:
    """Pages go to DRAM and come back, registers to the save area and back, thousands of times."""
    shape = Shape(memory=8192, frames=48)
    session = Session(lambda terminal: SnpMachine(shape, terminal, keystore))
    machine = machine_of(session)
    machine.launch(busybox)
    machine.start(["busybox", "sh", "-c", "i=0; while [ $i -lt 60 ]; do i=$((i+1)); done; echo $i"], {})
    assert machine.run(steps=997) == Ending(0)
    assert session.output == b"60\n"
    assert machine.cache.evictions > 100
    assert sum(not view.registers for view in machine.host.seen) > 50
    machine.close()


# ---------------------------------------------------------------- evidence


def verdict(machine: SnpMachine, report: bytes, nonce: bytes = NONCE, anchors: TrustAnchors | None = None) -> Verdict:
    now = datetime.now(UTC)
    root = machine.chip.manufacturer.ark.certificate.spki
    return cloister.verify(
        report, nonce=nonce, at=now, anchors=TrustAnchors.testing(root) if anchors is None else anchors,
        endorsements=cache.endorsements(import_files(machine.vouching(now).collateral.items())),
    )  # fmt: skip


@pytest.mark.needs_program("busybox")
@pytest.mark.parametrize("vmpl", [0, 3])
@pytest.mark.parametrize("product", list(Product))
def test_evidence_verifies_under_the_testing_root_only(
    keystore: Keystore, busybox: Image, product: Product, vmpl: int
) -> None:
    machine = machine_of(snp(keystore, product=product, vmpl=vmpl))
    machine.launch(busybox)
    report = machine.evidence(NONCE)
    found = verdict(machine, report)
    part = found.authentic.parts[0]
    assert (found.tee, part.anchor.kind, part.facts["product"]) == (Tee.SNP, AnchorKind.TESTING, product)
    assert guest_digest(GuestLayout.of(busybox)).value in report
    with pytest.raises(ChainInvalid):
        verdict(machine, report, anchors=TrustAnchors.hardware())
    with pytest.raises(NotFresh):
        verdict(machine, report, nonce=b"another question")
    forged = bytearray(report)
    forged[0x90] ^= 1
    with pytest.raises((SignatureInvalid, EndorsementUnavailable)):
        verdict(machine, bytes(forged))
    machine.close()


@pytest.mark.needs_program("cc")
def test_evidence_can_be_asked_for_while_the_program_waits(keystore: Keystore, lab: Image) -> None:
    session, reports = snp(keystore), list[bytes]()
    machine = machine_of(session)
    session.acts = [(b"a secret\n", lambda: reports.append(machine.evidence(NONCE))), (b"\n", None)]
    assert session.run(lab) == Ending(0), "and the program goes on as if nothing had been"
    verdict(machine, reports[0])
    machine.close()


@pytest.mark.needs_program("busybox")
def test_a_sealing_key_is_the_program_s_on_this_chip(keystore: Keystore, busybox: Image, lab: Image) -> None:
    keys = {}
    for name, image in (("first", busybox), ("again", busybox), ("other", lab)):
        machine = machine_of(snp(keystore))
        machine.launch(image)
        keys[name] = machine.derived_key(FieldSelect.MEASUREMENT)
        machine.close()
    assert keys["first"] == keys["again"] != keys["other"]
