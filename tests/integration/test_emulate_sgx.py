"""Real programs in the emulated SGX machine: they run, grow and are paged out; and their secrets are not in DRAM."""

import secrets
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.machines.build import LAB_PROGRAM, program
from tests.machines.running import Run
from tests.machines.sgx_machines import Session

from cloister.emulate.host import Cause
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.native import NativeMachine
from cloister.emulate.sgx.machine import EPC_PAGES, PLATFORMS, SgxMachine
from cloister.emulate.sgx.structures import GprArea, KeyPolicy
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.sigstruct import mrsigner, sign_enclave, signing_key
from cloister.errors import CannotEnclave, LaunchError, UsageError
from cloister.evidence import sgx
from cloister.measure.enclave import mrenclave
from cloister.measure.image import PAGE, Architecture, Image, read_image
from cloister.measure.sigstruct import Product

SMALL = Shape(memory=4096, frames=256)

MEMORY = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#define PAGES 700
#define VALUE(i) ((i) * 2654435761u)
int main(void) {
    unsigned char *many = mmap(0, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned long wrong = 0;
    for (size_t i = 0; i < PAGES; i++) *(unsigned long *)(many + i * 4096) = VALUE(i);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < PAGES; i++) wrong += *(unsigned long *)(many + i * 4096) != VALUE(i);
    mprotect(many, 64 * 4096, PROT_READ);
    for (size_t i = 0; i < 64; i++) wrong += *(unsigned long *)(many + i * 4096) != VALUE(i);
    mprotect(many, 16 * 4096, PROT_READ | PROT_WRITE);
    many[0]++;
    munmap(many, 8 * 4096);
    unsigned char *code = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(code, "\xb8\x2a\0\0\0\xc3", 6);
    mprotect(code, 4096, PROT_READ | PROT_EXEC);
    int called = ((int (*)(void))code)();
    munmap(many + 8 * 4096, (PAGES - 8) * 4096);
    char *block = malloc(2000000);
    memset(block, 7, 2000000);
    free(block);
    printf("%lu wrong, %d\n", wrong, called);
    return 0;
}
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "store"


@pytest.fixture
def session(keys: Path, tmp_path: Path) -> Iterator[Session]:
    made = Session(keys, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def lab() -> Image:
    return read_image(program(LAB_PROGRAM))


# ---------------------------------------------------------------- programs


@pytest.mark.parametrize("integrity", PLATFORMS)
def test_the_exercise_runs_and_is_measured_as_offline(session: Session, lab: Image, integrity: str) -> None:
    run = Run([b"FUNFOO\n", b"\n"])
    machine = session.machine(run, integrity=integrity)
    ending = run.of(machine, lab)
    assert (ending.status, ending.stopped) == (0, "")
    assert bytes(run.output) == b"Enter a secret: Hash of your input: 2084933351\n"
    assert machine.measurement == mrenclave(lab)
    assert machine.cpu.thread is None  # the shim left by EEXIT


@pytest.mark.needs_program("busybox")
def test_busybox_runs(session: Session) -> None:
    image = read_image(Path("/bin/busybox").read_bytes(), "busybox")
    run = Run([b"one\n", b"two\n", b"three\n", b""])
    machine = session.machine(run)
    machine.launch(image)
    machine.start(["sort"], {})
    assert machine.run().status == 0
    assert bytes(run.output) == b"one\nthree\ntwo\n"


@pytest.mark.parametrize("epc", [None, 256, 64])
def test_memory_grows_shrinks_and_changes_in_any_epc(session: Session, epc: int | None) -> None:
    """The same program in an EPC that holds all of it, and in some that do not: it pays, and is right."""
    run = Run()
    machine = session.machine(run, epc_pages=epc)
    image = session.compiled(MEMORY)
    ending = run.of(machine, image)
    assert (ending.status, ending.stopped, bytes(run.output)) == (0, "", b"0 wrong, 42\n")
    swap = machine.driver.swap
    assert (swap.written > 500) == (swap.loaded > 500) == (epc is not None)
    assert len(machine.granted) < len(machine.layout.pages) + 50  # what was unmapped is gone
    assert set(machine.driver.pages) | set(swap.stored) == set(machine.driver.permissions)


def test_few_frames_give_the_same_result(session: Session) -> None:
    run = Run()
    machine = session.machine(run, shape=Shape(memory=4096, frames=16), epc_pages=128)
    assert run.of(machine, session.compiled(MEMORY)).status == 0
    assert bytes(run.output) == b"0 wrong, 42\n"
    assert machine.controller.stores > 1000


def test_a_program_that_fits_nowhere_is_told_so(session: Session) -> None:
    """Neither EPC nor ordinary memory has room: mmap fails, and nothing breaks."""
    run = Run()
    machine = session.machine(run, shape=Shape(memory=320, frames=64), epc_pages=200)
    image = session.compiled(
        "#include <sys/mman.h>\n#include <stdio.h>\n"
        'int main(void) { puts(mmap(0, 4 << 20, 3, 34, -1, 0) == MAP_FAILED ? "no" : "yes"); return 0; }'
    )  # fmt: skip
    assert run.of(machine, image).status == 0
    assert bytes(run.output) == b"no\n"


def test_a_wrong_access_is_the_programs_own(session: Session) -> None:
    """Null pointers, writes to code, and memory after munmap: a segmentation fault, no fault of the TEE."""
    for text in (
        "xor %eax, %eax\nmov (%rax), %rbx",
        "lea _start(%rip), %rax\nmovb $1, (%rax)",
        "mov $0x7fff00000000, %rax\njmp *%rax",
    ):
        run = Run()
        ending = run.of(session.machine(run), session.assembled(text))
        assert (ending.status, ending.stopped) == (139, "")


def test_an_exception_of_the_program_is_in_exitinfo(session: Session) -> None:
    run = Run()
    machine = session.machine(run)
    ending = run.of(machine, session.assembled("mov $77, %r12\nxor %ecx, %ecx\nmov $1, %eax\ndiv %ecx"))
    assert ending.status == 128 + 8  # SIGFPE, as natively
    page = machine.cpu.memory.epc(machine.driver.pages[machine.layout.ssa >> 12], write=False)
    saved = GprArea.parse(bytes(page[-GprArea.SIZE :]))
    assert (saved.exitinfo, saved.r12) == (0x8000_0300, 77)
    assert machine.host.seen[-1].registers["r12"] == 0


# ---------------------------------------------------------------- memory proof


@pytest.mark.parametrize(("name", "found"), [("native", True), *((one, False) for one in PLATFORMS)])
def test_a_secret_is_nowhere_in_dram(tmp_path: Path, lab: Image, name: str, found: bool) -> None:  # noqa: FBT001
    """Planted through the sealed console; while the program waits for its next line, the whole file is searched."""
    secret = secrets.token_hex(16).encode()
    shape = Shape(memory=4096, frames=256, dram=tmp_path / "dram")
    places: list[int] = []

    def look(count: int) -> None:
        if count == 1:
            machine.settle()
            places.append((tmp_path / "dram").read_bytes().find(secret))

    run = Run([secret + b"\n", b"\n"], waiting=look)
    machine: Machine = (
        NativeMachine(shape, run.terminal())
        if name == "native"
        else SgxMachine(shape, run.terminal(), Keystore(tmp_path / "keys"), integrity=name)
    )
    ending = run.of(machine, lab)
    machine.close()
    assert ending.status == 0
    assert len(places) == 1
    assert (places[0] >= 0) is found


def test_a_page_that_was_written_out_is_ciphertext_too(session: Session, tmp_path: Path) -> None:
    """A small EPC: the secret's page goes to ordinary memory while others are touched."""
    secret = secrets.token_hex(16).encode()
    image = session.compiled(
        "#include <stdio.h>\n#include <string.h>\n"
        "static char secret[4096] __attribute__((aligned(4096))), many[400 * 4096]; char line[80];\n"
        "int main(void) { fgets(secret, 80, stdin); memset(many, 1, sizeof many); fgets(line, 80, stdin);\n"
        '  printf("%d\\n", (int)strlen(secret)); return 0; }'
    )  # fmt: skip
    found: list[object] = []

    def look(count: int) -> None:
        if count == 1:
            machine.settle()
            found.append((tmp_path / "dram").read_bytes().find(secret))
            found.append(len(machine.driver.swap.stored))

    run = Run([secret + b"\n", b"\n"], waiting=look)
    machine = session.machine(run, shape=Shape(memory=4096, frames=64, dram=tmp_path / "dram"), epc_pages=100)
    assert run.of(machine, image).status == 0
    assert found[0] == -1
    assert isinstance(found[1], int)
    assert found[1] > 300
    assert bytes(run.output) == b"33\n"


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("options", "word"),
    [({"epc_pages": 63}, "EPC of 63"), ({"epc_pages": 4090}, "EPC of 4090"), ({"integrity": "none"}, "'none'")],
)
def test_impossible_machines(session: Session, options: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        session.machine(Run(), **options)


def test_the_epc_is_as_large_as_the_parts(session: Session) -> None:
    machine = session.machine(Run(), shape=Shape(memory=65536, frames=64))
    assert machine.cpu.epcm.count == EPC_PAGES == 23936


def test_before_launch_there_is_nothing_to_attest(session: Session) -> None:
    machine = session.machine(Run())
    for ask in (lambda: machine.measurement, lambda: machine.evidence(b"nonce"), machine.sealing_key):
        with pytest.raises(UsageError, match="launch"):
            ask()


def test_report_data_is_not_cut(session: Session, lab: Image) -> None:
    machine = session.machine(Run())
    machine.launch(lab)
    with pytest.raises(UsageError, match="65 bytes"):
        machine.evidence(bytes(65))
    assert sgx.parse(machine.evidence(b"short")).body.report_data == b"short".ljust(64, b"\0")


def test_keys_with_kss_policies_need_kss(session: Session, lab: Image) -> None:
    machine = session.machine(Run())
    machine.launch(lab)
    with pytest.raises(UsageError, match="KSS"):
        machine.sealing_key(KeyPolicy.CONFIGID)


def test_programs_for_other_processors_are_refused(session: Session) -> None:
    image = read_image(program(LAB_PROGRAM, Architecture.RISCV64))
    with pytest.raises(CannotEnclave, match="x86-64"):
        session.machine(Run()).launch(image)


def test_an_authors_own_sigstruct_is_taken(session: Session, lab: Image) -> None:
    author = signing_key()
    signed = sign_enclave(author, mrenclave(lab).value, date=date(2026, 6, 1), product=Product(isvsvn=4))
    machine = session.machine(Run(), sigstruct=signed)
    machine.launch(lab)
    assert (machine.secs.mrsigner, machine.secs.isvsvn) == (mrsigner(author), 4)


def test_a_sigstruct_for_another_program_is_refused(session: Session, lab: Image) -> None:
    signed = sign_enclave(signing_key(), bytes(32), date=date(2026, 6, 1))
    with pytest.raises(LaunchError, match="SGX_INVALID_MEASUREMENT"):
        session.machine(Run(), sigstruct=signed).launch(lab)


# ---------------------------------------------------------------- exits


def test_exits_are_seen_by_cause(session: Session, lab: Image) -> None:
    run = Run([b"FUNFOO\n", b"\n"])
    machine = session.machine(run)
    machine.launch(lab)
    machine.start(["app"], {})
    machine.run(steps=200)
    causes = {view.cause for view in machine.host.seen}
    assert causes == {Cause.SYSTEM_CALL, Cause.INTERRUPT, Cause.PAGE_FAULT}
    faults = [view.address for view in machine.host.seen if view.cause is Cause.PAGE_FAULT]
    assert all(address is not None and address % PAGE == 0 for address in faults)
