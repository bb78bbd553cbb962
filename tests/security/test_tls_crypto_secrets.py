"""What the TLS engine's cryptography tells by other ways than its answers: jumps, addresses, what it leaves behind."""

import functools
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.property.tls_pieces.driver import HERE, INCLUDED, VECTORS, objects
from tests.unit.runtime_crypto_driver import HOSTED, RUNTIME, run

USES: Final = ("p256", "p384", "ed25519", "exchange", "keys", "gcm", "rsa")
LEAVES: Final = ("p256", "p384", "ed25519", "rsa", "public", "shared", "make", "hmac384")
FORGETTING: Final = ("-DNO_SECRET(pointer,size)=((void)VALGRIND_MAKE_MEM_DEFINED(pointer,size))",)
"""What the sources say is no secret becomes defined."""


@pytest.fixture(scope="module")
def undefined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("undefined")
    compiled = objects(place, "-include", "valgrind/memcheck.h", *FORGETTING)
    return link(place, compiled)


def link(place: Path, sources: list[Path]) -> Path:
    """The program that uses undefined secrets, with these objects."""
    volume, program = RUNTIME / "volume", place / "program"
    run("cc", *HOSTED, *VECTORS, "-c", "-o", place / "gcm.o", volume / "aes_gcm.c")
    included = (*INCLUDED, f"-I{volume}")
    run("cc", *HOSTED, *included, "-o", program, HERE / "undefined.c", place / "gcm.o", *sources)
    return program


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """As the runtime has them."""
    return objects(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def remnants(compiled: list[Path]) -> Path:
    program = compiled[0].with_name("remnants")
    run("cc", *HOSTED, *INCLUDED, "-o", program, HERE / "remnants.c", *compiled)
    return program


def memcheck(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    words = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=no", *command]
    return subprocess.run(words, input=rsa_key(), capture_output=True, check=False)


@functools.cache
def rsa_key(number: int = 0) -> bytes:
    """PKCS #8; of another number another key."""
    del number
    made = rsa.generate_private_key(65537, 2048)
    return made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.needs_program("valgrind")
@pytest.mark.parametrize("use", USES)
def test_no_jump_and_no_address_depends_on_a_secret(undefined: Path, use: str) -> None:
    """Of what runs here, and as far as memcheck follows values; it does not know which instructions take how long."""
    done = memcheck(undefined, use)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.needs_program("valgrind")
def test_a_lookup_by_a_secret_would_be_seen(undefined: Path) -> None:
    done = memcheck(undefined, "leaky")
    assert done.returncode == 9
    assert b"Use of uninitialised value" in done.stderr


@pytest.mark.needs_program("valgrind")
def test_a_nonce_that_was_not_declared_public_would_be_seen(tmp_path: Path) -> None:
    """The control of what the sources declare: without it, the first test of a nonce is reported."""
    assert b"depends on uninitialised value" in memcheck(link(tmp_path, objects(tmp_path)), "p256").stderr


def test_no_instruction_whose_time_depends_on_what_it_divides(compiled: list[Path]) -> None:
    """But in what reads DER and dates, and RSA, of which nothing is secret."""
    public = {"der_read.o", "der_write.o", "rsa.o", "rsa_pss.o", "x509.o"}
    listing = run(
        "objdump", "--disassemble", "--no-show-raw-insn", *(path for path in compiled if path.name not in public)
    )
    assert len(re.findall(r"\t(?:i?mul|mulx)q?\b", listing)) > 20, "the disassembly was read"
    assert re.findall(r"\ti?div[bwlq]?\b.*", listing) == []


def test_the_compiler_calls_nothing_that_the_runtime_does_not_have(compiled: list[Path]) -> None:
    listing = run("nm", "--undefined-only", "--format=just-symbols", *compiled)
    assert {name for name in listing.split() if name.startswith("_")} == set()


@pytest.mark.parametrize("function", LEAVES)
def test_what_is_left_on_the_stack_does_not_depend_on_secrets(remnants: Path, function: str) -> None:
    given = b"".join(map(rsa_key, range(4)))
    done = subprocess.run([remnants, function], input=given, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_one_byte_of_a_secret_left_on_the_stack_would_be_found(remnants: Path) -> None:
    assert len(set(run(remnants, "careless").split())) == 1
