"""Attacks on sealed data: whoever holds the file changes it, cuts it, mixes it, or shows it to the wrong program."""

import dataclasses
import itertools
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.forge.sealing import MemoryKey, body_start, header_of, program, signed_by

from cloister.errors import CloisterError, ParseError
from cloister.model import Tee
from cloister.seal import (
    FileCounter,
    FilePlatformKey,
    Mismatch,
    Policy,
    SealBroken,
    SealedForAnother,
    Sealer,
    SealingIdentity,
    Terms,
)
from cloister.seal.chunks import CHUNK, GCM_TAG
from cloister.seal.header import FIXED_SIZE, FixedPart
from cloister.seal.keys import header_tag

SECRET = b"the secret that nobody else may read"
KEY_NAME = range(FixedPart.OFFSETS["key_id"], FixedPart.OFFSETS["salt"])
SEALED_CHUNK = CHUNK + GCM_TAG
BY_SIGNER = Terms(policy=Policy.SIGNER, label="state")


@pytest.fixture
def key() -> MemoryKey:
    return MemoryKey()


@pytest.fixture
def sealer(key: MemoryKey) -> Sealer:
    return Sealer(key, program())


def refused(sealer: Sealer, sealed: bytes, label: str = "") -> CloisterError:
    with pytest.raises((ParseError, SealBroken, SealedForAnother)) as told:
        sealer.unseal(sealed, label=label)
    assert isinstance(told.value, CloisterError)
    return told.value


# ---------------------------------------------------------------- changed, cut, put together


def test_every_bit_of_header_tag_and_body_counts(sealer: Sealer) -> None:
    """And a changed header is never said to be for somebody else, but for the name of the platform key in it."""
    sealed = sealer.seal(SECRET, Terms(label="the label"))
    for place, bit in itertools.product(range(len(sealed)), range(8)):
        changed = bytearray(sealed)
        changed[place] ^= 1 << bit
        error = refused(sealer, bytes(changed), "the label")
        if isinstance(error, SealedForAnother):
            assert place in KEY_NAME
            assert (error.mismatches, error.authenticated) == ((Mismatch.PLATFORM,), False)


def test_every_truncation_and_any_addition_is_refused(sealer: Sealer) -> None:
    sealed = sealer.seal(SECRET)
    for length in range(len(sealed)):
        refused(sealer, sealed[:length])
    for more in (b"\0", bytes(GCM_TAG), sealed, bytes(SEALED_CHUNK)):
        refused(sealer, sealed + more)


def chunked(sealed: bytes) -> tuple[bytes, list[bytes]]:
    """The header with its tag, and the chunks."""
    start = body_start(sealed)
    return sealed[:start], [sealed[at : at + SEALED_CHUNK] for at in range(start, len(sealed), SEALED_CHUNK)]


@pytest.mark.parametrize(
    "attack",
    [
        lambda c: [c[1], c[0], c[2], c[3]],
        lambda c: [c[0], c[2], c[3]],
        lambda c: [c[0], c[1], c[1], c[2], c[3]],
        lambda c: c[:3],
        lambda c: c[:1],
        lambda c: c[:0],
        lambda c: [*c, c[3]],
        lambda c: [*c[:3], c[3][:-1]],
        lambda c: [c[3]],
        lambda c: [*c[:3], b""],
        lambda c: [*c[:3], c[3], bytes(GCM_TAG)],
    ],
    ids=[
        "swapped",
        "dropped",
        "repeated",
        "no-end",
        "only-first",
        "none",
        "end-twice",
        "short-end",
        "only-end",
        "empty-end",
        "zero-end",
    ],
)
def test_chunks_cannot_be_rearranged(sealer: Sealer, attack: Callable[[list[bytes]], list[bytes]]) -> None:
    start, chunks = chunked(sealer.seal(os.urandom(3 * CHUNK + 100)))
    assert len(chunks) == 4
    refused(sealer, start + b"".join(attack(chunks)))


def test_full_chunks_cut_at_their_border_are_refused(sealer: Sealer) -> None:
    start, chunks = chunked(sealer.seal(bytes(3 * CHUNK)))
    assert len(chunks) == 3
    for count in range(3):
        refused(sealer, start + b"".join(chunks[:count]))


def test_chunks_of_another_file_are_refused(sealer: Sealer) -> None:
    """The same data, label, program and key: still nothing of one fits into the other."""
    data = bytes(2 * CHUNK + 5)
    (start, one), (other_start, other) = chunked(sealer.seal(data)), chunked(sealer.seal(data))
    for place in range(3):
        refused(sealer, start + b"".join([*one[:place], other[place], *one[place + 1 :]]))
    refused(sealer, other_start + b"".join(one))
    refused(sealer, start + b"".join(other))


def test_a_header_with_its_own_tag_does_not_open_another_body(key: MemoryKey, sealer: Sealer) -> None:
    """Whoever has the platform key could make tags; even so, no body opens under another header."""
    sealed = sealer.seal(SECRET, Terms(label="theirs"))
    header = dataclasses.replace(header_of(sealed), label="mine")
    forged = header.encoded + header_tag(key, header) + sealed[body_start(sealed) :]
    error = refused(sealer, forged, "mine")
    assert isinstance(error, SealBroken)
    assert "chunk 0" in str(error)


# ---------------------------------------------------------------- shown to the wrong program or platform

WRONG: list[tuple[SealingIdentity, str, tuple[Mismatch, ...]]] = [
    (signed_by(b"mallory", security_version=5), "state", (Mismatch.SIGNER,)),
    (program(security_version=5), "state", (Mismatch.SIGNER,)),
    (signed_by(b"alice", security_version=4), "state", (Mismatch.SECURITY_VERSION,)),
    (signed_by(b"alice", security_version=5, debug=True), "state", (Mismatch.DEBUG,)),
    (signed_by(b"alice", security_version=5), "other state", (Mismatch.LABEL,)),
    (signed_by(b"alice", security_version=5), "", (Mismatch.LABEL,)),
    (
        signed_by(b"mallory", security_version=1, debug=True), "",
        (Mismatch.SIGNER, Mismatch.SECURITY_VERSION, Mismatch.DEBUG, Mismatch.LABEL),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("identity", "label", "mismatches"), WRONG)
def test_the_wrong_program_is_told_what_is_wrong(
    key: MemoryKey, identity: SealingIdentity, label: str, mismatches: tuple[Mismatch, ...]
) -> None:
    sealed = Sealer(key, signed_by(b"alice", security_version=5)).seal(SECRET, BY_SIGNER)
    error = refused(Sealer(key, identity), sealed, label)
    assert isinstance(error, SealedForAnother)
    assert (error.mismatches, error.authenticated, error.exit_code) == (mismatches, True, 4)


def test_the_right_programs_open_it(key: MemoryKey) -> None:
    """Control: another program of the same signer, of the same version or a newer one."""
    sealed = Sealer(key, signed_by(b"alice", security_version=5)).seal(SECRET, BY_SIGNER)
    for version in (5, 6, (1 << 32) - 1):
        update = Sealer(key, signed_by(b"alice", b"an update", security_version=version))
        assert update.unseal(sealed, label="state") == SECRET


def test_an_update_does_not_open_what_was_sealed_to_a_measurement(key: MemoryKey) -> None:
    sealed = Sealer(key, signed_by(b"alice")).seal(SECRET)
    error = refused(Sealer(key, signed_by(b"alice", b"an update")), sealed)
    assert isinstance(error, SealedForAnother)
    assert error.mismatches == (Mismatch.MEASUREMENT,)
    assert "sha256:" in str(error.actual)
    assert error.actual != error.expected


def test_the_same_digest_of_another_tee_is_another_program(key: MemoryKey) -> None:
    sealed = Sealer(key, program()).seal(SECRET)
    error = refused(Sealer(key, dataclasses.replace(program(), tee=Tee.SGX)), sealed)
    assert isinstance(error, SealedForAnother)
    assert error.mismatches == (Mismatch.MEASUREMENT,)


def test_a_measurement_is_never_taken_for_a_signer(key: MemoryKey) -> None:
    """A program whose signer's digest is the measurement that data was sealed to."""
    victim = program(b"code")
    digest = victim.measurement.digest.value
    attacker = signed_by(b"x", b"evil")
    assert attacker.signer is not None
    attacker = dataclasses.replace(
        attacker,
        signer=dataclasses.replace(attacker.signer, digest=victim.measurement.digest, name=victim.measurement.name),
    )
    assert attacker.signer is not None
    assert attacker.signer.digest.value == digest
    refused(Sealer(key, attacker), Sealer(key, victim).seal(SECRET))


def test_another_platform_is_named_and_nothing_else_is_believed() -> None:
    sealed = Sealer(MemoryKey(b"A" * 32), program()).seal(SECRET)
    for reader in (program(), program(b"another"), program(debug=True)):
        error = refused(Sealer(MemoryKey(b"B" * 32), reader), sealed)
        assert isinstance(error, SealedForAnother)
        assert (error.mismatches, error.authenticated) == ((Mismatch.PLATFORM,), False)
        assert "another platform" in str(error)


def test_two_platform_files_are_two_platforms(tmp_path: Path) -> None:
    with FilePlatformKey(tmp_path / "one") as one, FilePlatformKey(tmp_path / "two") as two:
        sealed = Sealer(one, program()).seal(SECRET)
        assert isinstance(refused(Sealer(two, program()), sealed), SealedForAnother)
    with FilePlatformKey(tmp_path / "one", make=False) as again:
        assert Sealer(again, program()).unseal(sealed) == SECRET


# ---------------------------------------------------------------- no oracle


def test_forged_headers_all_get_the_same_answer(key: MemoryKey) -> None:
    """Under the right name of the key, with whatever in it: a reader does not say what it compared, for it did not."""
    sealer = Sealer(key, signed_by(b"alice", security_version=5))
    header = header_of(sealer.seal(SECRET, BY_SIGNER))
    forged = [
        header,
        dataclasses.replace(header, label="x"),
        dataclasses.replace(header, security_version=1),
        dataclasses.replace(header, security_version=9),
        dataclasses.replace(header, debug=True),
        dataclasses.replace(header, who=program().measurement, policy=Policy.MEASUREMENT),
    ]
    answers = {(type(error), str(error)) for one in forged for error in [refused(sealer, one.encoded + bytes(32 + 99))]}
    assert len(answers) == 1
    assert answers.pop()[0] is SealBroken


def test_a_header_of_one_seal_cannot_be_put_on_another(sealer: Sealer) -> None:
    one, other = sealer.seal(SECRET, Terms(label="a")), sealer.seal(SECRET, Terms(label="b"))
    start = body_start(one)
    assert isinstance(refused(sealer, one[:start] + other[body_start(other) :], "a"), SealBroken)
    header = len(header_of(one).encoded)
    assert isinstance(refused(sealer, one[:header] + other[header:], "a"), SealBroken)


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("place", range(88, 93))
def test_huge_sizes_in_a_header_cost_nothing_and_are_refused(sealer: Sealer, place: int) -> None:
    sealed = bytearray(sealer.seal(SECRET))
    for size in (0, 254, 255):
        if sealed[place] != size:
            sealed[place] = size
            refused(sealer, bytes(sealed))


def test_nothing_in_a_header_asks_for_more_than_a_kibibyte(sealer: Sealer) -> None:
    fixed = bytearray(sealer.seal(b"")[:FIXED_SIZE])
    fixed[88:93] = b"\xff" * 5
    taken = []

    class Watching:
        left = bytes(fixed) + bytes(1 << 20)

        def readinto(self, buffer: memoryview) -> int:
            buffer[:] = self.left[: len(buffer)]
            self.left = self.left[len(buffer) :]
            taken.append(len(buffer))
            return len(buffer)

    with pytest.raises(ParseError):
        sealer.unseal_stream(Watching(), None)
    assert sum(taken) <= FIXED_SIZE + 5 * 255


def test_numbers_at_their_ends(key: MemoryKey) -> None:
    largest = (1 << 32) - 1
    assert Sealer(key, program(security_version=largest)).unseal(
        Sealer(key, program(security_version=largest)).seal(SECRET)
    )
    for bad in (-1, 1 << 32):
        with pytest.raises(ValueError, match="security version"):
            program(security_version=bad)
    sealed = bytearray(Sealer(key, program()).seal(SECRET))
    struct.pack_into("<I", sealed, 12, largest)
    assert isinstance(refused(Sealer(key, program()), bytes(sealed)), SealBroken)


# ---------------------------------------------------------------- old data put back


def test_without_a_counter_old_data_opens(sealer: Sealer) -> None:
    """What is not claimed: sealing alone does not notice it. The control of the next test."""
    old, _new = sealer.seal(b"old"), sealer.seal(b"new")
    assert sealer.unseal(old) == b"old"


def test_a_counter_refuses_old_data(sealer: Sealer, tmp_path: Path) -> None:
    counter = FileCounter(tmp_path / "counter")
    old = sealer.seal(b"old", Terms(counter=counter))
    sealer.stored(header_of(old), counter)
    new = sealer.seal(b"new", Terms(counter=counter))
    sealer.stored(header_of(new), counter)
    assert sealer.unseal(new, counter=counter) == b"new"
    for again in (old, sealer.seal(b"uncounted")):
        with pytest.raises(SealedForAnother) as told:
            sealer.unseal(again, counter=counter)
        assert told.value.mismatches == (Mismatch.COUNTER,)
    for reader in (None, FileCounter(tmp_path / "another")):
        with pytest.raises(SealedForAnother):
            sealer.unseal(new, counter=reader)


def test_a_counter_that_was_set_back_is_noticed(sealer: Sealer, tmp_path: Path) -> None:
    counter, sealed = FileCounter(tmp_path / "counter"), b""
    kept = (tmp_path / "counter").read_bytes()
    for data in (b"one", b"two", b"three"):
        sealed = sealer.seal(data, Terms(counter=counter))
        sealer.stored(header_of(sealed), counter)
    (tmp_path / "counter").write_bytes(kept)
    with pytest.raises(SealedForAnother, match="set back"):
        sealer.unseal(sealed, counter=counter)


# ---------------------------------------------------------------- what stays behind


def test_keys_are_wiped_after_use(key: MemoryKey, sealer: Sealer) -> None:
    sealed = sealer.seal(SECRET)
    sealer.unseal(sealed)
    refused(sealer, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert len(key.derived) > 6
    assert not [one for one in key.derived if any(one)]


def test_no_message_holds_the_secret_or_a_key(sealer: Sealer, key: MemoryKey) -> None:
    sealed = sealer.seal(SECRET)
    errors = [refused(Sealer(key, program(b"else")), sealed), refused(sealer, sealed[:-1])]
    for error in errors:
        told = f"{error!r} {error} {vars(error)}"
        assert SECRET.decode() not in told
        assert (b"K" * 32).hex() not in told
    assert SECRET not in sealed


def test_a_process_that_is_killed_leaves_no_plaintext_under_a_name(tmp_path: Path) -> None:
    """Unsealing into a file, killed after the first chunk: no file is there, and none with another name."""
    code = f"""
import os, sys
from pathlib import Path
from tests.forge.sealing import MemoryKey, program
from cloister.seal import Sealer
from cloister.seal.fresh_file import fresh_file
from cloister.seal.memory import MemorySource
sealer = Sealer(MemoryKey(), program())
sealed = sealer.seal(b"FUNFOO" * 40000)
with fresh_file(Path({str(tmp_path / "out")!r})) as file:
    class Killer:
        def write(self, data):
            file.write(data)
            assert os.fstat(file.descriptor).st_size > 60000
            os.kill(os.getpid(), 9)
    sealer.unseal_stream(MemorySource(sealed), Killer())
"""
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"},
        timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == -9
    assert list(tmp_path.iterdir()) == []
