"""Real riscv64 programs on the emulated Keystone machine, and evidence that the project's own verifier believes."""

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from tests.machines.build import LAB_PROGRAM, program
from tests.machines.running import Run

import cloister
from cloister._ed25519_sha3 import verify as verify_signature
from cloister.emulate.host import Cause
from cloister.emulate.keystone.machine import DEFAULT_MONITOR, KeystoneMachine
from cloister.emulate.keystone.sbi import SbiError
from cloister.emulate.machine import Ending, Shape
from cloister.emulate.paging import Refused
from cloister.emulate.vendors.keystore import Keystore
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.errors import CannotEnclave, ChainInvalid, NotFresh, UsageError
from cloister.evidence import keystone
from cloister.measure.image import PAGE, Architecture, Image, read_image
from cloister.measure.program import program_measurement
from cloister.model import Tee
from cloister.verifier.trust_files import anchors_in

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NONCE = b"a nonce of the relying party"
CLOISTER = [sys.executable, "-m", "cloister"]
AUTHENTIC = 3
"""What `cloister verify` returns without a policy: nobody said which program it should be."""
SMALL = Shape(memory=4096, frames=256)

pytestmark = pytest.mark.needs_program("riscv64-linux-gnu-gcc")


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return Keystore(tmp_path_factory.mktemp("keys") / "store")


Make = Callable[..., KeystoneMachine]


@pytest.fixture
def make(keystore: Keystore) -> Iterator[Make]:
    """Machines around a terminal; all are closed in the end."""
    made: list[KeystoneMachine] = []

    def of(run: Run | None = None, shape: Shape = SMALL, **settings: object) -> KeystoneMachine:
        terminal = (run or Run()).terminal()
        made.append(KeystoneMachine(shape, terminal, keystore, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield of
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Image]:
    def compiled(source: str) -> Image:
        file = tmp_path_factory.mktemp("program") / "app.c"
        file.write_text(source)
        return read_image(program(file, Architecture.RISCV64))

    return compiled


@pytest.fixture(scope="module")
def lab() -> Image:
    return read_image(program(LAB_PROGRAM, Architecture.RISCV64))


# ---- programs


def test_the_exercise_runs_and_its_secret_is_plain_in_dram(make: Make, lab: Image, tmp_path: Path) -> None:
    """Base Keystone encrypts nothing: who holds the chips reads the secret, while the host is refused it."""
    secret = secrets.token_hex(16).encode()
    places: list[int] = []

    def look(waited: int) -> None:
        if waited == 1:
            machine.settle()
            places.append((tmp_path / "dram").read_bytes().find(secret))

    run = Run([secret + b"\n", b"\n"], waiting=look)
    machine = make(run, replace(SMALL, dram=tmp_path / "dram"))
    assert run.of(machine, lab) == Ending(0)
    assert b"Hash of your input: " in run.output
    assert places[0] // PAGE in range(machine.driver.first, machine.driver.end)


def test_little_cache_and_many_interrupts_change_nothing(make: Make, build: Callable[[str], Image]) -> None:
    """Pages go to DRAM and back all the time, registers through the monitor's memory, floating point included."""
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
    run = Run()
    machine = make(run, Shape(memory=4096, frames=64))
    machine.launch(image)
    machine.start(["program"], {})
    assert machine.run(5000) == Ending(0)
    assert run.output.decode() == f"{sum(i * 0.5 for i in range(1 << 17)):.1f}\n"
    assert machine.cache.evictions > 100
    assert sum(view.cause is Cause.INTERRUPT for view in machine.host.seen) > 100


def test_memory_comes_and_goes(make: Make, build: Callable[[str], Image]) -> None:
    image = build(
        """#include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        int main(void) {
            for (int round = 0; round < 50; round++) {
                char *some = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                for (int i = 0; i < 1 << 20; i++) if (some[i]) return 1;
                memset(some, 1, 1 << 20);
                if (mprotect(some, 4096, PROT_READ) || munmap(some, 1 << 20)) return 2;
            }
            char *last = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            printf("%d\\n", *last);
            fflush(stdout);
            *last = 1;
            return 3;
        }"""
    )
    run = Run()
    machine = make(run)
    assert run.of(machine, image).status == 128 + 11
    assert bytes(run.output) == b"0\n"


def test_a_program_that_wants_more_than_the_enclave_has(make: Make, build: Callable[[str], Image]) -> None:
    image = build(
        """#include <stdlib.h>
        #include <string.h>
        int main(void) { char *much = malloc(64 << 20); if (!much) return 9; memset(much, 1, 64 << 20); return 0; }"""
    )
    run = Run()
    ending = run.of(make(run), image)
    assert ending.status == 9 or "out of memory" in ending.stopped


def test_programs_and_machines_that_do_not_fit(make: Make, lab: Image) -> None:
    other = replace(lab, architecture=Architecture.X86_64)
    with pytest.raises(CannotEnclave, match="riscv64"):
        make().launch(other)
    with pytest.raises(CannotEnclave, match="give it more"):
        make(shape=Shape(memory=700, frames=64)).launch(lab)
    with pytest.raises(UsageError, match="needs"):
        make(shape=Shape(memory=500, frames=64))


# ---- calls of the runtime's own

ASKER = r"""
#include <stdio.h>
#include <string.h>
static long call(long number, void *a, const void *b, long c) {
    register long a7 __asm__("a7") = number, a0 __asm__("a0") = (long)a;
    register long a1 __asm__("a1") = (long)b, a2 __asm__("a2") = c;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
    return a0;
}
static unsigned char report[1352], key[192];
int main(void) {
    const char *nonce = "a nonce of the relying party";
    if (call(1003, report, nonce, strlen(nonce)) || call(1004, key, "disk", 4)) return 1;
    fwrite(report, 1, sizeof report, stdout);
    fwrite(key, 1, sizeof key, stdout);
    fflush(stdout);
    if (call(1003, report, nonce, 1025) != 100008) return 2;
    if (call(1003, (void *)8, nonce, 4) != 100007) return 3;
    if (call(1003, report, (void *)0x3000000000, 4) != 100007) return 4;
    if (call(1001, 0, 0, 0) != 100100) return 5;
    if (call(3002, report, nonce, 4) >= 0 || call(0x08424b45, 0, 0, 0) >= 0) return 6;
    call(1101, (void *)42, 0, 0);
    return 7;
}
"""


def test_a_program_asks_for_its_own_report_and_key(make: Make, build: Callable[[str], Image]) -> None:
    """From ECALL in compiled code to the monitor and back; it cannot call the monitor past its runtime."""
    run = Run()
    machine = make(run)
    assert run.of(machine, build(ASKER)) == Ending(42)
    report, key = bytes(run.output[:1352]), bytes(run.output[1352:])
    verdict = verify(machine, report)
    assert verdict.authentic.parts[0].evidence.enclave.hash == machine.measurement.value
    assert key == machine.monitor.booted.sealing_key(machine.measurement.value, b"disk")
    monitor = keystone.parse(report).monitor.public_key
    verify_signature(monitor, key[128:], key[:128], what="the sealing key")


# ---- measurement and evidence


def verify(machine: KeystoneMachine, evidence: bytes, **changes: object) -> cloister.Verdict:
    """As `cloister verify --unsafe-trust-root` does with what vouches for the machine."""
    vouching = machine.vouching(NOW)
    assert vouching.collateral == {}
    anchors, keys = anchors_in(vouching.roots, "roots.pem", kind=AnchorKind.TESTING, tees=frozenset(Tee))
    settings = {"nonce": NONCE, "at": NOW, "anchors": anchors, "endorsements": keys} | changes
    return cloister.verify(evidence, **settings)  # type: ignore[arg-type]


def test_the_measurement_is_the_offline_one(make: Make, lab: Image) -> None:
    machine = make()
    machine.launch(lab)
    assert machine.measurement == program_measurement("keystone", lab).digest


def test_evidence_before_while_and_after_the_program_runs(make: Make, lab: Image) -> None:
    given: list[bytes] = []
    run = Run([b"\n", b"\n"], waiting=lambda _: given.append(machine.evidence(NONCE)))
    machine = make(run)
    machine.launch(lab)
    given.append(machine.evidence(NONCE))
    machine.start(["program"], {})
    assert machine.run() == Ending(0)
    given.append(machine.evidence(NONCE))
    assert len(given) == 4
    for evidence in given:
        part = verify(machine, evidence).authentic.parts[0]
        assert (part.tee, part.anchor.kind) == (Tee.KEYSTONE, AnchorKind.TESTING)
        assert cast(keystone.KeystoneReport, part.evidence).enclave.hash == machine.measurement.value


def test_evidence_is_refused_under_the_hardwares_anchors_and_for_another_nonce(make: Make, lab: Image) -> None:
    machine = make()
    machine.launch(lab)
    evidence = machine.evidence(NONCE)
    with pytest.raises(ChainInvalid):
        verify(machine, evidence, anchors=TrustAnchors.hardware())
    with pytest.raises(NotFresh):
        verify(machine, evidence, nonce=b"another")
    with pytest.raises(UsageError, match="1,024"):
        machine.evidence(bytes(1025))


def test_attest_and_verify_on_the_command_line(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.write_bytes(program(LAB_PROGRAM, Architecture.RISCV64))
    keys, out, nonce = str(tmp_path / "keys"), str(tmp_path / "report"), NONCE.hex()
    attest = [*CLOISTER, "attest", "--tee", "keystone", "--keys", keys, "--nonce", nonce, "-o", out, str(app)]
    subprocess.run(attest, check=True, capture_output=True, timeout=60)
    check = [*CLOISTER, "verify", out, "--nonce", nonce]
    without = subprocess.run(check, check=False, capture_output=True, timeout=60)
    trusted = subprocess.run(
        [*check, "--unsafe-trust-root", f"{out}.roots.pem"], check=False, capture_output=True, timeout=60
    )
    assert without.returncode not in {0, AUTHENTIC}
    assert trusted.returncode == AUTHENTIC, trusted.stderr.decode()
    measured = program_measurement("keystone", read_image(app.read_bytes())).digest.value.hex()
    assert measured[:64] in trusted.stderr.decode()
    assert "testing" in trusted.stderr.decode()


def test_sealing_keys_stay_with_program_monitor_and_device(
    make: Make, lab: Image, build: Callable[[str], Image]
) -> None:
    def key(image: Image, **settings: object) -> bytes:
        machine = make(**settings)
        machine.launch(image)
        return machine.runtime.sealing_key(b"disk")

    first = key(lab)
    assert len(first) == 192
    assert key(lab) == first
    assert key(build("int main(void) { return 0; }"))[:128] != first[:128]
    assert key(lab, security_monitor=DEFAULT_MONITOR + b"\1")[:128] != first[:128]


# ---- the enclave's end


def test_a_destroyed_enclave_leaves_nothing(make: Make, lab: Image) -> None:
    machine = make(Run([b"a line\n", b"\n"]))
    machine.launch(lab)
    machine.start(["program"], {})
    machine.run()
    machine.settle()
    area = range(machine.driver.first, machine.driver.end)
    assert any(b"Enter a secret" in bytes(machine.dram.page(page)) for page in area)
    machine.destroy()
    assert not any(any(machine.dram.page(page)) for page in area)
    assert machine.host_read(machine.driver.first) == bytes(PAGE)
    with pytest.raises(UsageError, match="launch"):
        _ = machine.measurement


def test_a_second_enclave_takes_the_place_of_the_first(make: Make, lab: Image, build: Callable[[str], Image]) -> None:
    machine = make()
    machine.launch(lab)
    first = machine.measurement
    machine.start(["program"], {})
    with pytest.raises(SbiError, match="SBI_PROHIBITED"):
        machine.destroy()
    machine.run()
    with pytest.raises(Refused, match="PMP"):
        machine.launch(lab)
    machine.destroy()
    machine.launch(build("int main(void) { return 3; }"))
    assert machine.measurement != first
