"""Sealed data: the format byte by byte, key derivation by hand, identities, sizes."""

import dataclasses
import hashlib
import hmac
import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.forge.sealing import MemoryKey, body_start, header_of, program, signed_by

from cloister.errors import ParseError, UsageError
from cloister.model import Digest, Measurement, MeasurementKind, Tee
from cloister.seal import CounterStamp, Policy, SealedHeader, Sealer, SealingIdentity, TeeKey, Terms, wipe, wiped
from cloister.seal.chunks import CHUNK, decrypt, sealed_size
from cloister.seal.header import FixedPart
from cloister.seal.keys import Binding
from cloister.seal.memory import MemorySource

KEY = b"K" * 32
DATA = b"what was sealed"


def expand(key: bytes, info: bytes) -> bytes:
    """One block of HKDF-Expand, as RFC 5869, section 2.3 writes it."""
    return hmac.new(key, info + b"\1", "sha256").digest()


def test_the_format_by_hand() -> None:
    """Everything in docs/formats/sealed-data.md, read without the code that writes it."""
    identity = signed_by(b"alice", security_version=7, debug=True)
    assert identity.signer is not None
    sealed = Sealer(MemoryKey(KEY), identity).seal(DATA, Terms(policy=Policy.SIGNER, label="ä label"))
    magic, version, policy, flags, svn, counter = struct.unpack_from("<8sHBBIQ", sealed)
    assert (magic, version, policy, flags, svn, counter) == (b"CLOISEAL", 1, 2, 1, 7, 0)
    counter_id, key_id, salt, sizes, zeros = struct.unpack_from("<16s16s32s5s3s", sealed, 24)
    assert (counter_id, zeros, list(sizes)) == (bytes(16), bytes(3), [32, 8, 10, 6, 8])
    assert key_id == expand(KEY, b"cloister sealing 1 identifier")[:16]
    rest = identity.signer.digest.value + b"softwaresigner-keysha256" + "ä label".encode()
    assert sealed[96 : 96 + 64] == rest
    header, tag, body = sealed[:160], sealed[160:192], sealed[192:]
    assert tag == hmac.new(expand(KEY, b"cloister sealing 1 header"), header, "sha256").digest()
    terms = header[:16] + bytes(8 + 16 + 16 + 32) + header[88:]
    by_terms = expand(KEY, b"cloister sealing 1 terms" + terms)
    content = expand(by_terms, b"cloister sealing 1 content" + hashlib.sha256(header + tag).digest())
    assert AESGCM(content).decrypt(bytes(11) + b"\1", body, None) == DATA
    assert salt in header


def test_chunks_by_hand() -> None:
    """Nonces are number, zeros and the mark of the last."""
    key = MemoryKey(KEY)
    data = bytes(range(256)) * 600
    sealed = Sealer(key, program()).seal(data)
    start = body_start(sealed)
    header, tag = sealed[: start - 32], sealed[start - 32 : start]
    by_terms = expand(KEY, b"cloister sealing 1 terms" + header[:16] + bytes(72) + header[88:])
    cipher = AESGCM(expand(by_terms, b"cloister sealing 1 content" + hashlib.sha256(header + tag).digest()))
    nonces = [bytes(12), bytes(7) + b"\1" + bytes(4), bytes(7) + b"\2" + bytes(3) + b"\1"]
    pieces = [sealed[start + at : start + at + CHUNK + 16] for at in range(0, len(sealed) - start, CHUNK + 16)]
    opened = [cipher.decrypt(nonce, piece, None) for nonce, piece in zip(nonces, pieces, strict=True)]
    assert b"".join(opened) == data


def test_an_empty_last_chunk_is_refused_even_from_whoever_has_the_key() -> None:
    """One content has one form: a file that is full chunks only ends with a full one."""
    key = bytearray(KEY)
    cipher = AESGCM(KEY)
    full = cipher.encrypt(bytes(12), bytes(CHUNK), None)
    last = cipher.encrypt(bytes(7) + b"\1" + bytes(3) + b"\1", b"", None)
    with pytest.raises(ParseError, match="chunk 1"):
        decrypt(key, MemorySource(full + last), None)
    assert decrypt(key, MemorySource(cipher.encrypt(bytes(11) + b"\1", bytes(CHUNK), None)), None) == CHUNK


@pytest.mark.parametrize("size", [0, 1, 15, 16, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 1])
def test_sizes(size: int) -> None:
    sealer = Sealer(MemoryKey(), program())
    sealed = sealer.seal(bytes(size))
    assert len(sealed) - body_start(sealed) == sealed_size(size)
    assert sealer.unseal(sealed) == bytes(size)
    assert sealer.unseal(memoryview(bytearray(sealed))) == bytes(size)


def test_memory_in_other_units_is_sealed_as_its_bytes() -> None:
    sealer = Sealer(MemoryKey(), program())
    assert sealer.unseal(sealer.seal(memoryview(struct.pack("4I", 1, 2, 3, 4)).cast("I"))) == struct.pack(
        "4I", 1, 2, 3, 4
    )


def test_a_source_that_gives_a_little_at_a_time() -> None:
    sealer, data = Sealer(MemoryKey(), program()), bytes(range(251)) * 600

    class Slow(MemorySource):
        def readinto(self, buffer: memoryview, /) -> int:
            return super().readinto(buffer[:1009])

    class Short:
        content = bytearray()

        def write(self, data: memoryview, /) -> int:
            self.content += data[:777]
            return min(777, len(data))

    sink = Short()
    sealer.seal_stream(Slow(data), sink)
    assert sealer.unseal(bytes(sink.content)) == data
    assert sealer.unseal_stream(Slow(bytes(sink.content)), None) == len(data)


# ---------------------------------------------------------------- headers


def changed(**values: object) -> bytes:
    """A header with other numbers in its fixed part."""
    encoded = bytearray(header_of(Sealer(MemoryKey(), program()).seal(b"")).encoded)
    fixed = FixedPart.parse(bytes(encoded[: FixedPart.SIZE]))
    numbers = dict(fixed.fields()) | values
    return FixedPart(**{k: v for k, v in numbers.items() if k != "reserved_93"}).serialize() + encoded[96:]


@pytest.mark.parametrize(
    "values",
    [
        {"magic": b"CLOISEAM"}, {"version": 0}, {"version": 2}, {"policy": 0}, {"policy": 3}, {"flags": 4},
        {"flags": 0x80}, {"flags": 2}, {"counter": 1}, {"counter_id": b"i" * 16}, {"digest_size": 31},
        {"digest_size": 33}, {"tee_size": 7}, {"name_size": 0}, {"algorithm_size": 5}, {"label_size": 1},
    ],
    ids=str,
)  # fmt: skip
def test_headers_are_read_strictly(values: dict[str, object]) -> None:
    SealedHeader.parse(changed())
    with pytest.raises(ParseError):
        SealedHeader.parse(changed(**values))


def test_reserved_bytes_and_odd_texts_are_refused() -> None:
    good = changed()
    for place, replacement in ((93, b"\1"), (128, b"Software"), (128, b"\xff"), (136, b"\n"), (146, b"sha257")):
        with pytest.raises(ParseError):
            SealedHeader.parse(good[:place] + replacement + good[place + len(replacement) :])


@pytest.mark.parametrize("label", ["x" * 256, "ä" * 128, "two\nlines", "\x1b[2J"])
def test_labels_are_short_and_printable(label: str) -> None:
    with pytest.raises(ValueError, match="label"):
        Sealer(MemoryKey(), program()).seal(b"", Terms(label=label))


def test_every_digest_fits() -> None:
    for algorithm, size in {"sha256": 32, "sha384": 48, "sha512": 64, "sha3_512": 64}.items():
        who = Measurement("m" * 32, MeasurementKind.LAUNCH, Digest(algorithm, b"d" * size))
        sealer = Sealer(MemoryKey(), SealingIdentity(tee=Tee.SNP, measurement=who))
        sealed = sealer.seal(DATA, Terms(label="l" * 255))
        assert header_of(sealed).who == who
        assert sealer.unseal(sealed, label="l" * 255) == DATA
        with pytest.raises(ValueError, match="digest"):
            dataclasses.replace(header_of(sealed), who=dataclasses.replace(who, digest=Digest("sha1", bytes(20))))


def test_stamps_are_written_and_read() -> None:
    header = header_of(Sealer(MemoryKey(), program()).seal(b""))
    stamped = dataclasses.replace(header, stamp=CounterStamp(b"c" * 16, 9))
    assert SealedHeader.parse(stamped.encoded) == stamped
    assert stamped.terms() == header.terms()


# ---------------------------------------------------------------- identities and keys


def test_identities_say_what_they_are_made_of() -> None:
    launch, signer = program().measurement, signed_by(b"alice").signer
    assert signer is not None
    with pytest.raises(ValueError, match="launch"):
        SealingIdentity(tee=Tee.SOFTWARE, measurement=signer)
    with pytest.raises(ValueError, match="signer"):
        SealingIdentity(tee=Tee.SOFTWARE, measurement=launch, signer=launch)


def test_nothing_is_sealed_to_a_signer_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="signer"):
        Sealer(MemoryKey(), program()).seal(b"", Terms(policy=Policy.SIGNER))


@pytest.mark.parametrize("given", [b"", b"short", bytes(32)])
def test_a_tee_that_gives_no_key_is_noticed(given: bytes) -> None:
    with pytest.raises(ValueError, match="no key"):
        TeeKey(lambda _: given, name="the TEE's key").derive(b"info", Binding(Policy.SIGNER, 0))


def test_a_tee_key_is_extracted_first() -> None:
    made = TeeKey(lambda _: b"t" * 16, name="key").derive(b"info", Binding(Policy.SIGNER, 0))
    assert made == expand(hmac.new(b"cloister sealing 1 TEE key", b"t" * 16, "sha256").digest(), b"info")


def test_wiping() -> None:
    secret, other = bytearray(b"secret"), bytearray(b"other")
    wipe(secret)
    assert secret == bytes(6)
    with pytest.raises(ZeroDivisionError), wiped(other):
        _ = 1 / 0
    assert other == bytes(5)
