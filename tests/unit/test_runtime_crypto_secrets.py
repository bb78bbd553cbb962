"""What the runtime's cryptography tells by other ways than its answers: jumps, addresses, what it leaves behind."""

import re
import subprocess
from pathlib import Path

import pytest
from tests.unit.runtime_crypto_driver import link, objects, run

FUNCTIONS = ["hpke_open", "aead_encrypt", "aead_decrypt", "x25519", "x25519_public", "hmac"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return objects(tmp_path_factory.mktemp("crypto"))


@pytest.fixture(scope="module")
def undefined(compiled: list[Path]) -> Path:
    return link("undefined.c", compiled)


@pytest.fixture(scope="module")
def remnants(compiled: list[Path]) -> Path:
    return link("remnants.c", compiled)


def memcheck(*command: str | Path) -> subprocess.CompletedProcess[str]:
    words = ["valgrind", "--quiet", "--error-exitcode=9", *command]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.needs_program("valgrind")
def test_no_jump_and_no_address_depends_on_a_secret(undefined: Path) -> None:
    """Of what runs here, and as far as memcheck follows values; it does not know which instructions take how long."""
    done = memcheck(undefined)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.needs_program("valgrind")
def test_a_jump_that_depends_on_a_secret_would_be_seen(undefined: Path) -> None:
    done = memcheck(undefined, "leaky")
    assert done.returncode == 9
    assert "depends on uninitialised value" in done.stderr


def test_no_instruction_whose_time_depends_on_what_it_divides(compiled: list[Path]) -> None:
    listing = run("objdump", "--disassemble", "--no-show-raw-insn", *compiled)
    assert len(re.findall(r"\ti?mulq?\b", listing)) > 20, "the disassembly was read"
    assert re.findall(r"\ti?div[bwlq]?\b.*", listing) == []


def test_the_compiler_calls_nothing_that_the_runtime_does_not_have(compiled: list[Path]) -> None:
    listing = run("nm", "--undefined-only", "--format=just-symbols", *compiled)
    assert {name for name in listing.split() if name.startswith("_")} == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_left_on_the_stack_does_not_depend_on_secrets(remnants: Path, function: str) -> None:
    assert run(remnants, function) == ""


def test_one_byte_of_a_secret_left_on_the_stack_would_be_found(remnants: Path) -> None:
    assert len(set(run(remnants, "careless").split())) == 1
