"""What holds for all sealed data: it comes back, nothing else opens it, no key and nonce are used twice."""

import contextlib
import io
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.forge.sealing import MemoryKey, body_start, header_of, program, signed_by

from cloister.errors import ParseError
from cloister.seal import Policy, SealBroken, SealedForAnother, SealedHeader, Sealer, SealingIdentity, Terms
from cloister.seal.chunks import CHUNK, GCM_TAG
from cloister.seal.memory import MemorySource

REFUSALS = (ParseError, SealBroken, SealedForAnother)
LABELS = st.text(st.characters(exclude_categories=("C", "Z")), max_size=60)
VERSIONS = st.integers(0, 2**32 - 1)
SIZES = st.integers(0, 3).flatmap(lambda n: st.integers(-2, 2).map(lambda d: max(0, n * CHUNK + d)))
MANY = 100_000


@st.composite
def identities(draw: st.DrawFn) -> SealingIdentity:
    return signed_by(
        draw(st.sampled_from([b"alice", b"bob"])),
        draw(st.sampled_from([b"one", b"two"])),
        security_version=draw(st.integers(0, 2)),
        debug=draw(st.booleans()),
    )


@given(data=st.binary(max_size=300), label=LABELS, version=VERSIONS, policy=st.sampled_from(Policy))
def test_what_is_sealed_comes_back(data: bytes, label: str, version: int, policy: Policy) -> None:
    sealer = Sealer(MemoryKey(), signed_by(b"alice", security_version=version))
    sealed = sealer.seal(data, Terms(policy=policy, label=label))
    assert sealer.unseal(sealed, label=label) == data
    assert len(data) < 8 or data not in sealed[body_start(sealed) :]


@given(size=SIZES)
def test_streams_and_memory_agree_at_every_border(size: int) -> None:
    sealer, data = Sealer(MemoryKey(), program()), bytes(range(256)) * (size // 256 + 1)
    sealed, opened = io.BytesIO(), io.BytesIO()
    sealer.seal_stream(MemorySource(data[:size]), sealed)
    assert sealer.unseal(sealed.getvalue()) == data[:size]
    assert sealer.unseal_stream(io.BytesIO(sealed.getvalue()), opened) == size
    assert opened.getvalue() == data[:size]


@given(by=identities(), reader=identities(), policy=st.sampled_from(Policy), labels=st.tuples(LABELS, LABELS))
def test_who_opens_what(by: SealingIdentity, reader: SealingIdentity, policy: Policy, labels: tuple[str, str]) -> None:
    """Exactly: the same program or signer, a version that is not older, the same mode, the same label."""
    sealed = Sealer(MemoryKey(), by).seal(b"x", Terms(policy=policy, label=labels[0]))
    may = (
        by.of(policy) == reader.of(policy)
        and by.security_version <= reader.security_version
        and (by.debug, labels[0]) == (reader.debug, labels[1])
    )
    with contextlib.nullcontext() if may else pytest.raises(SealedForAnother):
        assert Sealer(MemoryKey(), reader).unseal(sealed, label=labels[1]) == b"x"


@given(data=st.binary(max_size=400))
def test_bytes_of_anybody_are_refused_in_order(data: bytes) -> None:
    with pytest.raises(REFUSALS):
        Sealer(MemoryKey(), program()).unseal(data)


@given(st.data())
def test_changes_of_all_kinds_are_refused(draw: st.DataObject) -> None:
    sealer = Sealer(MemoryKey(), program())
    sealed = sealer.seal(draw.draw(st.binary(max_size=100)))
    start = draw.draw(st.integers(0, len(sealed)))
    end = draw.draw(st.integers(start, len(sealed)))
    changed = sealed[:start] + draw.draw(st.binary(max_size=20)) + sealed[end:]
    if changed != sealed:
        with pytest.raises(REFUSALS):
            sealer.unseal(changed)


@given(st.lists(st.integers(0, 5), max_size=8))
def test_only_the_right_chunks_in_the_right_order_open(order: list[int]) -> None:
    """Chunks of two files, with the header of the first."""
    sealer = Sealer(MemoryKey(), program())
    files = [sealer.seal(bytes([n]) * (2 * CHUNK + 1)) for n in range(2)]
    chunks = [
        file[at : at + CHUNK + GCM_TAG] for file in files for at in range(body_start(file), len(file), CHUNK + GCM_TAG)
    ]
    assert len(chunks) == 6
    body = b"".join(chunks[n] for n in order)
    with contextlib.nullcontext() if order == [0, 1, 2] else pytest.raises(REFUSALS):
        sealer.unseal(files[0][: body_start(files[0])] + body)


@given(st.binary(max_size=600))
def test_headers_are_read_one_way_only(data: bytes) -> None:
    """Whatever parses is written as the same bytes."""
    good = header_of(Sealer(MemoryKey(), program()).seal(b"", Terms(label="label"))).encoded
    for candidate in (data, good[:8] + data[: len(good) - 8].ljust(len(good) - 8, b"\0"), good[:24] + data[:64]):
        with contextlib.suppress(ParseError):
            assert SealedHeader.parse(candidate).encoded == candidate


@given(values=st.lists(st.tuples(LABELS, VERSIONS, st.booleans(), st.sampled_from(Policy)), min_size=2, max_size=2))
def test_other_terms_are_other_bytes(values: list[Any]) -> None:
    """No two sets of terms run together into one input of the key derivation."""
    one, other = (
        header_of(
            Sealer(MemoryKey(), signed_by(b"alice", security_version=version, debug=debug)).seal(
                b"", Terms(label=label, policy=policy)
            )
        )
        for label, version, debug, policy in values
    )
    assert (one.terms() == other.terms()) is (values[0] == values[1])


@pytest.mark.slow
def test_no_key_and_nonce_are_used_twice_in_many_seals() -> None:
    """100,000 seals of the same data to the same program: each has a salt, so a key, and so a ciphertext of its own."""
    sealer, salts, bodies, keys = Sealer(MemoryKey(), program()), set(), set(), set()
    start = body_start(sealer.seal(b"same"))
    for _ in range(MANY):
        sealed = sealer.seal(b"same")
        salts.add(sealed[56:88])
        bodies.add(sealed[start:])
        keys.add(sealed[56:start])
    assert len(salts) == len(bodies) == len(keys) == MANY


def test_chunks_of_one_seal_have_nonces_of_their_own() -> None:
    sealed = Sealer(MemoryKey(), program()).seal(bytes(20 * CHUNK))
    pieces = {
        sealed[at : at + CHUNK] for at in itertools.islice(range(body_start(sealed), len(sealed), CHUNK + 16), 20)
    }
    assert len(pieces) == 20, "equal plaintext, and no two chunks are equal"
