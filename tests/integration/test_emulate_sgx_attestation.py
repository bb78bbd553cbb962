"""What a program in the emulated SGX machine can prove, and which keys it has: reports, quotes, sealing."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.machines.build import LAB_PROGRAM, program
from tests.machines.running import Run
from tests.machines.sgx_machines import Session

import cloister
from cloister.emulate.sgx.keys import egetkey
from cloister.emulate.sgx.machine import PLATFORMS, SgxMachine
from cloister.emulate.sgx.structures import Attributes, KeyName, KeyPolicy, KeyRequest
from cloister.emulate.vendors.intel_reports import SgxReport
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.sigstruct import mrsigner, signing_key
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, NotFresh
from cloister.evidence import sgx
from cloister.measure.enclave import mrenclave
from cloister.measure.image import PAGE, Image, ImagePage, Permission, read_image, with_page
from cloister.measure.sigstruct import Product
from cloister.verifier.trust_files import read_endorsements

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
NONCE = b"sixteen byte non"

ASKING = r"""
static long call(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
static long enclu(long leaf, const void *b, const void *c, void *d) {
    __asm__ volatile(".byte 0x0f, 0x01, 0xd7" : "+a"(leaf) : "b"(b), "c"(c), "d"(d) : "memory", "cc");
    return leaf;
}
#define ALIGNED(n) __attribute__((aligned(n)))
static unsigned char target[512] ALIGNED(512), request[512] ALIGNED(512), report[512] ALIGNED(512);
static unsigned char data[64] ALIGNED(128), key[16] ALIGNED(16);
void _start(void) {
    call(0, 0, (long)target, 512);
    call(0, 0, (long)request, 512);
    for (int i = 0; i < 64; i++) data[i] = i;
    enclu(0, target, data, report);
    call(1, 1, (long)report, 432);
    long code = enclu(1, request, key, 0);
    call(1, 1, (long)key, 16);
    request[4] = 99; /* ISVSVN above our own */
    call(60, code ? 1 : enclu(1, request, key, 0), 0, 0);
}
"""
BARE = ("-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-no-pie", "-Wl,--build-id=none")


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


# ---------------------------------------------------------------- reports and keys by the program itself


def test_a_program_asks_for_its_report_and_its_key(session: Session) -> None:
    image = session.compiled(ASKING, BARE)
    everything = Attributes(flags=(1 << 64) - 1, xfrm=(1 << 64) - 1)
    run = Run()
    machine = session.machine(run, product=Product(isvprodid=5, isvsvn=9))
    asked = KeyRequest(
        keyname=KeyName.SEAL, keypolicy=KeyPolicy.MRENCLAVE, isvsvn=9, cpusvn=machine.cpu.fuses.cpusvn,
        attributemask=everything, keyid=bytes(32), miscmask=0, configsvn=0,
    )  # fmt: skip
    run._lines = iter([machine.quoting_enclave.target_info.serialize(), asked.serialize()])
    ending = run.of(machine, image)
    assert (ending.status, ending.stopped) == (64, "")  # INVALID_ISVSVN, in RAX
    report = SgxReport.parse(bytes(run.output[:432]))
    assert report.body.mrenclave == mrenclave(image).value
    assert (report.body.report_data, report.body.isvprodid) == (bytes(range(64)), 5)
    assert sgx.parse(machine.quoting_enclave.quote(report)).body == report.body
    assert bytes(run.output[432:]) == machine.sealing_key() == egetkey(machine.cpu.fuses, machine.secs, asked)


def test_a_program_changes_its_own_pages(session: Session) -> None:
    """EMODPE makes data executable, by the program's own instruction; EACCEPT of a page that is not pending fails."""
    text = """
        lea secinfo(%rip), %rbx
        lea data(%rip), %rcx
        mov $5, %eax
        .byte 0x0f, 0x01, 0xd7
        mov %eax, %edi          # SGX_PAGE_ATTRIBUTES_MISMATCH, and ZF
        jnz 1f
        lea secinfo(%rip), %rbx
        mov $6, %eax
        .byte 0x0f, 0x01, 0xd7
    1:  mov $60, %eax
        syscall
        .data
        .balign 64
    secinfo: .quad 0x204
        .fill 56
        .balign 4096
    data: .fill 4096
    """
    run = Run()
    machine = session.machine(run)
    assert run.of(machine, session.assembled(text)).status == 19
    data = machine.layout.pages[-7].offset  # the last page of the image: six more belong to SGX
    entry = machine.cpu.epcm[machine.driver.pages[data >> 12]]
    assert entry is not None
    assert entry.permission == Permission.READ | Permission.WRITE | Permission.EXECUTE


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("mov $0, %eax\nmov $8, %ebx", "TARGETINFO at 0x8 must be aligned to 512"),
        ("mov $1, %eax\nmov $512, %ebx\nmov $8, %ecx", "the output at 0x8 must be aligned to 16"),
        ("mov $2, %eax", "leaf 2 is not for programs"),
        ("mov $4, %eax\nlea _start(%rip), %rbx", "inside the enclave"),
        ("mov $4, %eax\nmov $-1, %rbx", "not canonical"),
    ],
)
def test_enclu_faults_for_bad_operands(session: Session, text: str, word: str) -> None:
    run = Run()
    ending = run.of(session.machine(run), session.assembled(f"{text}\n.byte 0x0f, 0x01, 0xd7"))
    assert ending.status == 139
    assert word in ending.stopped


def test_an_instruction_that_nobody_knows_is_illegal(session: Session) -> None:
    run = Run()
    ending = run.of(session.machine(run), session.assembled("ud2"))
    assert ending.status == 132


# ---------------------------------------------------------------- evidence


def endorsements(machine: SgxMachine, folder: Path) -> Endorsements:
    path = folder / "collateral.json"
    path.write_bytes(machine.manufacturer.collateral(NOW))
    return read_endorsements(path)


@pytest.mark.parametrize("integrity", PLATFORMS)
def test_evidence_verifies_under_the_emulated_root_only(session: Session, lab: Image, integrity: str) -> None:
    run = Run([b"FUNFOO\n", b"\n"])
    machine = session.machine(run, integrity=integrity, product=Product(isvprodid=5, isvsvn=9))
    run.of(machine, lab)
    quote = machine.evidence(NONCE)
    vouched = endorsements(machine, session.folder)
    verdict = cloister.verify(
        quote, nonce=NONCE, at=NOW, endorsements=vouched, anchors=TrustAnchors.testing(machine.manufacturer.root_spki)
    )
    body = sgx.parse(quote).body
    author = Keystore(session.keys).key("sgx-author", signing_key)
    assert verdict is not None
    assert (body.mrenclave, body.mrsigner) == (mrenclave(lab).value, mrsigner(author))
    assert (body.isvprodid, body.isvsvn) == (5, 9)
    with pytest.raises(ChainInvalid):
        cloister.verify(quote, nonce=NONCE, at=NOW, endorsements=vouched, anchors=TrustAnchors.hardware())
    with pytest.raises(NotFresh):
        cloister.verify(
            quote, nonce=b"another sixteen b", at=NOW, endorsements=vouched,
            anchors=TrustAnchors.testing(machine.manufacturer.root_spki),
        )  # fmt: skip


def test_debug_is_in_the_evidence(session: Session, lab: Image) -> None:
    run = Run([b"FUNFOO\n", b"\n"])
    machine = session.machine(run, debug=True)
    run.of(machine, lab)
    assert Attributes.parse(sgx.parse(machine.evidence(NONCE)).body.attributes).flags == 0x7


# ---------------------------------------------------------------- sealing


def sealed(session: Session, image: Image, policy: KeyPolicy, **options: Any) -> bytes:
    machine = session.machine(Run(), **options)
    machine.launch(image)
    return machine.sealing_key(policy)


def test_a_seal_key_is_the_processors_and_the_enclaves(session: Session, lab: Image, tmp_path: Path) -> None:
    other = with_page(lab, ImagePage(0x30_0000_0000, Permission.READ, bytes(PAGE)))
    by_enclave = sealed(session, lab, KeyPolicy.MRENCLAVE)
    by_signer = sealed(session, lab, KeyPolicy.MRSIGNER)
    assert sealed(session, lab, KeyPolicy.MRENCLAVE) == by_enclave
    assert sealed(session, other, KeyPolicy.MRENCLAVE) != by_enclave
    assert sealed(session, other, KeyPolicy.MRSIGNER) == by_signer
    assert sealed(session, lab, KeyPolicy.MRENCLAVE, debug=True) != by_enclave
    elsewhere = Session(tmp_path / "other keys", tmp_path)
    assert sealed(elsewhere, lab, KeyPolicy.MRENCLAVE) != by_enclave
    elsewhere.machines[0].close()
