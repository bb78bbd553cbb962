"""The block in which arguments, environment and state are handed on: read as it was written, sealed by RFC 8439."""

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.runtime_pieces.pieces_unsafe import FLAGS, HERE, RUNTIME

HEADER, LAST = 20, 0xFFFFFFFF
WHOLE = "program 1 words 1 1 regions 1 1 texts 1 1 digest 1"
PROGRAM = struct.pack("<I10sI", 10, b"/a/program", 7)
FILES = ["aead.c", "region.c", "access.c", "descriptors.c", "elf_file.c"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("handoff") / "handoff_block"
    sources = [
        HERE / "handoff_block.c",
        HERE / "gate.c",
        HERE / "unshielded.c",
        *(RUNTIME / "src" / name for name in FILES),
    ]
    command = ["cc", *FLAGS, "-O1", "-fsanitize=address,undefined", "-o", str(target), *map(str, sources)]
    subprocess.run(command, check=True)
    return target


def hand_on(
    program: Path, size: int, words: list[bytes], variables: dict[bytes, bytes], block: Path
) -> tuple[bytes, str]:
    """The key, and what the program says of the block that it wrote and read again."""
    block.unlink(missing_ok=True)
    command: list[str | Path | bytes] = [program, block, str(size), *words]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    key, _, said = done.stdout.partition("\n")
    return bytes.fromhex(key), said.strip() or done.stderr


def opened(key: bytes, block: bytes) -> bytes:
    """By another implementation."""
    return ChaCha20Poly1305(key).decrypt(block[8:HEADER], block[HEADER:], block[:HEADER])


def read_list(plain: bytes, at: int) -> Iterator[bytes]:
    while (size := struct.unpack_from("<I", plain, at)[0]) != LAST:
        yield plain[at + 4 : at + 4 + size]
        at += 4 + size


texts = st.binary(max_size=600).map(lambda text: text.replace(b"\0", b"."))
names = st.integers(0, 10**6).map(lambda number: b"V%d" % number)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([0, 1, 100, 255, 256, 257, 4096, 70001]),
    st.lists(texts, min_size=1, max_size=6),
    st.dictionaries(names, texts, max_size=6),
)
def test_what_is_read_is_what_was_written(
    program: Path, tmp_path: Path, size: int, words: list[bytes], variables: dict[bytes, bytes]
) -> None:
    block = tmp_path / "block"
    key, said = hand_on(program, size, words, variables, block)
    assert said == WHOLE
    plain = opened(key, block.read_bytes())
    assert plain.startswith(PROGRAM)
    assert list(read_list(plain, len(PROGRAM))) == words
    assert list(read_list(plain, len(PROGRAM) + 4 + sum(4 + len(word) for word in words))) == [
        name + b"=" + value for name, value in variables.items()
    ]
    assert plain.endswith(b"\xd1" * 32 + b"\xb0" * 32 + bytes(4)), "the program's digest, the broker's key, no shield"


def test_no_argument_becomes_an_empty_one(program: Path, tmp_path: Path) -> None:
    """As the kernel does it."""
    assert hand_on(program, 0, [], {b"A": b"1"}, tmp_path / "block")[1] == WHOLE.replace("words 1 1", "words 0 1")


def test_large_state(program: Path, tmp_path: Path) -> None:
    key, said = hand_on(program, 5_000_000, [b"x"], {}, tmp_path / "block")
    assert said == WHOLE
    assert len(opened(key, (tmp_path / "block").read_bytes())) > 20_000_000


def test_more_than_a_start_could_read_is_not_written(program: Path, tmp_path: Path) -> None:
    """64 MiB: the new image would refuse it when there is no way back."""
    _, said = hand_on(program, 17_000_000, [b"x"], {}, tmp_path / "block")
    assert said == "error -12"


def test_the_same_words_are_never_sealed_alike(program: Path, tmp_path: Path) -> None:
    nonces = set()
    for _ in range(20):
        hand_on(program, 0, [b"same"], {}, tmp_path / "block")
        nonces.add((tmp_path / "block").read_bytes()[8:HEADER])
    assert len(nonces) == 20
