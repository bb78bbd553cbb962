"""Real programs in an emulated trust domain, what they ask of the module, and quotes that the own verifier believes."""

import secrets
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import cloister
from cloister.emulate.catalogue import kind_of
from cloister.emulate.machine import Ending, Machine, Shape, Vouching
from cloister.emulate.native import NativeMachine
from cloister.emulate.shared import BOUNCE_PAGES
from cloister.emulate.tdx.calls import Operand, Status
from cloister.emulate.tdx.machine import TdxMachine
from cloister.emulate.tdx.params import Attribute, default_params
from cloister.emulate.terminal import Terminal, sealed_terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.errors import (
    CannotEnclave,
    ChainInvalid,
    EndorsementUnavailable,
    NotFresh,
    SignatureInvalid,
    UsageError,
    VerificationError,
)
from cloister.evidence import tdx
from cloister.measure.guest import GuestLayout
from cloister.measure.image import Image, read_image
from cloister.measure.tdx import extend_rtmr, guest_digest
from cloister.model import Digest
from cloister.verifier.trust_files import read_anchors, read_endorsements

LAB = Path(__file__).parents[2] / "src/cloister/app/lab/exercise/app.c"
NONCE = b"asked for just now"
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SHAPE = Shape(memory=4096, frames=512)

GUEST = r"""
#include <stdint.h>
#include <stdio.h>
#include <string.h>

_Alignas(1024) static unsigned char report[1024];
_Alignas(64) static unsigned char data[64], value[64];

static uint64_t tdcall(uint64_t leaf, uint64_t rcx, uint64_t rdx, uint64_t *r9) {
    register uint64_t r8 __asm__("r8") = 0, ninth __asm__("r9") = 0;
    __asm__ volatile(".byte 0x66, 0x0f, 0x01, 0xcc"
                     : "+a"(leaf), "+c"(rcx), "+d"(rdx), "+r"(r8), "+r"(ninth) : : "r10", "r11", "memory", "cc");
    if (r9) *r9 = ninth;
    return leaf;
}

static void show(const char *name, uint64_t status) { printf("%s %llx\n", name, (unsigned long long)status); }

int main(void) {
    uint64_t index = 99;
    strcpy((char *)data, "asked for just now");
    memset(value, 7, 48);
    show("info", tdcall(1, 0, 0, &index));
    show("index", index);
    show("extend", tdcall(2, (uint64_t)value, 2, 0));
    show("no-register", tdcall(2, (uint64_t)value, 4, 0));
    show("report", tdcall(4, (uint64_t)report, (uint64_t)data, 0));
    show("misaligned", tdcall(4, (uint64_t)report + 64, (uint64_t)data, 0));
    show("verify", tdcall(22, (uint64_t)report, 0, 0));
    for (int i = 0; i < 1024; i++) printf("%02x", report[i]);
    printf("\n");
    report[128] ^= 1;
    show("forged", tdcall(22, (uint64_t)report, 0, 0));
    show("unknown", tdcall(77, 0, 0, 0));
    return 0;
}
"""


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("tdx") / "emulated")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Image]:
    folder = tmp_path_factory.mktemp("programs")

    def compiled(source: str) -> Image:
        (folder / "program.c").write_text(source)
        subprocess.run(["cc", "-O1", "-static", "-o", "program", "program.c"], cwd=folder, check=True, timeout=60)
        return read_image((folder / "program").read_bytes())

    return compiled


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

    @property
    def tdx(self) -> TdxMachine:
        assert isinstance(self.machine, TdxMachine)
        return self.machine


def session(keystore: Keystore, **settings: Any) -> Session:
    return Session(lambda terminal: TdxMachine(SHAPE, terminal, keystore, **settings))


def in_dram(machine: Machine, pattern: bytes) -> bool:
    machine.settle()
    return pattern in b"".join(bytes(machine.dram.page(page)) for page in range(machine.dram.pages))


# ---------------------------------------------------------------- programs


@pytest.mark.needs_program("cc")
@pytest.mark.parametrize("integrity", ["ci", "li", "none"])
def test_the_exercise_runs_and_dram_never_holds_the_secret(
    keystore: Keystore, build: Callable[[str], Image], integrity: str
) -> None:
    """The control is `none`, without a TEE: there the secret is found."""
    if integrity == "none":
        talk = Session(lambda terminal: NativeMachine(SHAPE, terminal))
    else:
        talk = session(keystore, integrity=integrity)
    secret, found = secrets.token_hex(12), list[bool]()
    talk.acts = [
        (f"{secret}\n".encode(), None),
        (b"\n", lambda: found.append(in_dram(talk.machine, secret.encode()))),
    ]
    assert talk.run(build(LAB.read_text())) == Ending(0)
    value = 0
    for letter in secret.encode():
        value = (31 * value + letter) % 2**32
    assert f"Hash of your input: {value}" in talk.output.decode()
    assert found == [integrity == "none"]
    talk.machine.close()


@pytest.mark.needs_program("busybox")
def test_busybox_runs_and_its_measurement_is_known_beforehand(keystore: Keystore, tmp_path: Path) -> None:
    path = subprocess.run(["which", "busybox"], check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    try:
        image = read_image(Path(path).read_bytes())
    except CannotEnclave as why:
        pytest.skip(f"this machine's busybox is not static: {why}")
    (tmp_path / "file").write_bytes(b"abc")
    talk = session(keystore)
    assert talk.run(image, "busybox", "sha256sum", str(tmp_path / "file")) == Ending(0)
    assert talk.output.startswith(b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    assert talk.machine.measurement == guest_digest(GuestLayout.of(image))
    talk.machine.close()


@pytest.mark.needs_program("cc")
def test_a_small_cache_changes_nothing(keystore: Keystore, build: Callable[[str], Image]) -> None:
    """With 24 frames nearly everything, registers and tables included, goes to DRAM and comes back."""
    shape = Shape(memory=4096, frames=24)
    talk = Session(lambda terminal: TdxMachine(shape, terminal, keystore))
    talk.acts = [(b"some secret\n", None), (b"\n", None)]
    assert talk.run(build(LAB.read_text())) == Ending(0)
    assert talk.machine.cache.evictions > 100
    talk.machine.close()


@pytest.mark.needs_program("cc")
def test_the_end_of_a_td_gives_all_memory_back_but_the_shared_pages(
    keystore: Keystore, build: Callable[[str], Image]
) -> None:
    talk = session(keystore)
    talk.acts = [(b"some secret\n", None), (b"\n", None)]
    assert talk.run(build(LAB.read_text())) == Ending(0)
    assert talk.machine.pages.left < SHAPE.memory - BOUNCE_PAGES
    talk.tdx.vmm.end()
    assert talk.machine.pages.left == SHAPE.memory - BOUNCE_PAGES
    talk.machine.close()


@pytest.mark.needs_program("cc")
def test_a_program_that_is_too_large_is_refused_or_stopped(keystore: Keystore, build: Callable[[str], Image]) -> None:
    talk = session(keystore)
    with pytest.raises(CannotEnclave, match="does not fit"):
        talk.machine.launch(build("char big[64 << 20] = {1}; int main(void) { return big[0]; }"))
    talk.machine.close()
    talk = session(keystore)
    greedy = """#include <sys/mman.h>
        int main(void) {
            volatile char *big = mmap(0, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (big == MAP_FAILED) return 7;
            for (long i = 0; i < 64 << 20; i += 4096) big[i] = 1;
            return 0;
        }"""
    ending = talk.run(build(greedy))
    assert "out of memory" in ending.stopped or ending.status == 7
    talk.machine.close()


# ---------------------------------------------------------------- what a program asks of the module


@pytest.fixture(scope="module")
def told(keystore: Keystore, build: Callable[[str], Image]) -> tuple[Session, dict[str, int], bytes]:
    """The machine after GUEST has run in it, the statuses that it printed, and its TDREPORT."""
    talk = session(keystore)
    assert talk.run(build(GUEST)) == Ending(0)
    lines = [line.split() for line in talk.output.decode().splitlines()]
    statuses = {line[0]: int(line[1], 16) for line in lines if len(line) == 2}
    (report,) = (bytes.fromhex(line[0]) for line in lines if len(line) == 1)
    return talk, statuses, report


@pytest.mark.needs_program("cc")
def test_tdcall_from_a_program(told: tuple[Session, dict[str, int], bytes]) -> None:
    _, statuses, _ = told
    assert statuses == {
        "info": 0,
        "index": 0,
        "extend": 0,
        "no-register": Status.OPERAND_INVALID | Operand.RDX,
        "report": 0,
        "misaligned": Status.OPERAND_INVALID | Operand.RCX,
        "verify": 0,
        "forged": Status.INVALID_REPORTMACSTRUCT,
        "unknown": Status.OPERAND_INVALID,
    }


@pytest.mark.needs_program("cc")
@pytest.mark.parametrize("version", [4, 5])
def test_a_program_s_own_report_becomes_a_quote(
    told: tuple[Session, dict[str, int], bytes], tmp_path: Path, version: int
) -> None:
    talk, _, report = told
    machine = talk.tdx
    enclave = machine.manufacturer.td_quoting_enclave(verified=machine.module.report_key.verifies)
    quote = enclave.quote(report, version=version)
    assert verified(machine, quote, tmp_path).tcb_status == "UpToDate"
    body = tdx.parse(quote).body
    zero = Digest("sha384", bytes(48))
    assert (body.rtmr0, body.rtmr1, body.rtmr3) == (bytes(48),) * 3
    assert body.rtmr2 == extend_rtmr(zero, b"\x07" * 48).value
    assert body.mrtd == machine.measurement.value


@pytest.mark.needs_program("cc")
def test_a_report_of_another_machine_becomes_none(
    told: tuple[Session, dict[str, int], bytes], keystore: Keystore
) -> None:
    _, _, report = told
    other = session(keystore).tdx
    enclave = other.manufacturer.td_quoting_enclave(verified=other.module.report_key.verifies)
    with pytest.raises(SignatureInvalid, match="made elsewhere"):
        enclave.quote(report)
    other.close()


# ---------------------------------------------------------------- evidence


def verified(machine: TdxMachine, quote: bytes, folder: Path, **changes: Any) -> cloister.Verdict:
    """The verdict with nothing but what the emulated manufacturer hands out, as files."""
    given: Vouching = machine.vouching(NOW)
    (folder / "roots.pem").write_bytes(given.roots)
    for name, content in given.collateral.items():
        (folder / name).write_bytes(content)
    anchors, _ = read_anchors(folder / "roots.pem", kind=AnchorKind.TESTING)
    settings: dict[str, Any] = {"nonce": NONCE, "at": NOW, "anchors": anchors} | changes
    return cloister.verify(quote, endorsements=read_endorsements(folder / next(iter(given.collateral))), **settings)


@pytest.fixture
def launched(keystore: Keystore, build: Callable[[str], Image]) -> Callable[..., TdxMachine]:
    image = build("int main(void) { return 0; }")

    def make(**settings: Any) -> TdxMachine:
        machine = session(keystore, **settings).tdx
        machine.launch(image)
        return machine

    return make


DATA = NONCE.ljust(64, b"\0")


@pytest.mark.needs_program("cc")
@pytest.mark.parametrize("version", [4, 5])
def test_evidence_verifies_under_the_testing_root_alone(
    launched: Callable[..., TdxMachine], tmp_path: Path, version: int
) -> None:
    machine = launched(quote_version=version)
    quote = machine.evidence(DATA)
    assert tdx.parse(quote).header.version == version
    verdict = verified(machine, quote, tmp_path)
    assert verdict.tcb_status == "UpToDate"
    with pytest.raises(ChainInvalid):
        verified(machine, quote, tmp_path, anchors=TrustAnchors.hardware())
    with pytest.raises(NotFresh):
        verified(machine, quote, tmp_path, nonce=b"another question")
    with pytest.raises(EndorsementUnavailable):
        verified(machine, quote, tmp_path, at=NOW + timedelta(days=40))
    machine.close()


@pytest.mark.needs_program("cc")
def test_a_debug_td_says_so(launched: Callable[..., TdxMachine], tmp_path: Path) -> None:
    machine = launched(debug=True)
    quote = machine.evidence(DATA)
    assert int.from_bytes(tdx.parse(quote).body.tdattributes, "little") & Attribute.DEBUG
    with pytest.raises(VerificationError, match="this is a debug TD"):
        verified(machine, quote, tmp_path)
    assert machine.measurement == launched().measurement, "only the attributes tell"
    machine.close()


@pytest.mark.needs_program("cc")
def test_what_the_host_chose_stands_in_the_quote(launched: Callable[..., TdxMachine], tmp_path: Path) -> None:
    params = default_params(mrconfigid=b"c" * 48, mrowner=b"o" * 48, mrownerconfig=b"p" * 48)
    machine = launched(params=params)
    machine.extend_rtmr(3, b"e" * 48)
    quote = machine.evidence(DATA)
    body = tdx.parse(quote).body
    assert (body.mrconfigid, body.mrowner, body.mrownerconfig) == (b"c" * 48, b"o" * 48, b"p" * 48)
    assert body.rtmr3 == extend_rtmr(Digest("sha384", bytes(48)), b"e" * 48).value
    assert verified(machine, quote, tmp_path).tcb_status == "UpToDate"
    machine.close()


def test_wrong_requests_are_named(keystore: Keystore, launched: Callable[..., TdxMachine]) -> None:
    empty = session(keystore).tdx
    with pytest.raises(UsageError, match="launch a program first"):
        _ = empty.measurement
    with pytest.raises(UsageError, match="launch a program first"):
        empty.evidence(bytes(64))
    empty.close()
    machine = launched()
    with pytest.raises(UsageError, match="65 bytes of report data"):
        machine.evidence(bytes(65))
    assert tdx.parse(machine.evidence(b"short")).body.report_data == b"short".ljust(64, b"\0")
    with pytest.raises(UsageError, match="RTMR 4"):
        machine.extend_rtmr(4, bytes(48))
    machine.close()
    with pytest.raises(UsageError, match="version 4 or 5"):
        session(keystore, quote_version=3)
    with pytest.raises(UsageError, match="ci or li"):
        session(keystore, integrity="none")


def test_the_catalogue_makes_it(keystore: Keystore) -> None:
    made = Session(lambda terminal: kind_of("tdx").make(SHAPE, terminal, keystore, debug=False))
    assert made.tdx.tee is cloister.Tee.TDX
    made.machine.close()
