"""TLS's signatures: standards' vectors, what the crypto library makes and accepts, and what nobody may accept."""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Final

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.tls_pieces.curves import P256, P384, Curve, Point
from tests.property.tls_pieces.driver import Driver, build

YES, NO = b"\1", b"\0"
CURVES: Final = {"P-256": P256, "P-384": P384}
HASHES: Final = {32: hashes.SHA256(), 48: hashes.SHA384()}
LIBRARY: Final = {32: ec.SECP256R1(), 48: ec.SECP384R1()}
from_hex = bytes.fromhex


@pytest.fixture(scope="module", params=[False, True], ids=["as the runtime", "sanitized"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    one = Driver(build(sanitized=request.param))
    yield one
    one.close()


def sign(driver: Driver, curve: Curve, secret: int, digest: bytes, random: bytes) -> bytes:
    return driver.ask("ecdsa-sign", bytes([curve.size]), curve.bytes_of(secret), digest, random)[0]


def accepts(driver: Driver, curve: Curve, key: Point, digest: bytes, signature: bytes) -> bool:
    return driver.ask("ecdsa-verify", bytes([curve.size]), curve.encode(key), digest, signature) == [YES]


def library_accepts(curve: Curve, key: Point, digest: bytes, signature: bytes) -> bool:
    public = ec.EllipticCurvePublicKey.from_encoded_point(LIBRARY[curve.size], curve.encode(key))
    try:
        public.verify(signature, digest, ec.ECDSA(Prehashed(HASHES[curve.size])))
    except InvalidSignature:
        return False
    return True


# ECDSA

RFC_6979: Final = {
    "A.2.5, sample": (
        P256,
        0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721,
        b"sample",
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    ),
    "A.2.5, test": (
        P256,
        0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721,
        b"test",
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    ),
    "A.2.6, sample": (
        P384,
        0x6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5,
        b"sample",
        0x94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46,
        0x99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8,
    ),
}


@pytest.mark.parametrize("name", RFC_6979)
def test_vectors_of_rfc_6979(driver: Driver, name: str) -> None:
    curve, secret, message, r, s = RFC_6979[name]
    digest = hashlib.new(f"sha{8 * curve.size}", message).digest()
    assert decode_dss_signature(sign(driver, curve, secret, digest, b"")) == (r, s)


@settings(max_examples=60)
@given(data=st.data(), name=st.sampled_from(sorted(CURVES)), random=st.binary(min_size=32, max_size=32))
def test_the_library_accepts_what_is_signed(driver: Driver, data: st.DataObject, name: str, random: bytes) -> None:
    curve = CURVES[name]
    near = st.sampled_from([1, 2, curve.n - 1, curve.n - 2])
    secret = data.draw(near | st.integers(1, curve.n - 1))
    edge = st.sampled_from(
        [bytes(curve.size), b"\xff" * curve.size, curve.bytes_of(curve.n), curve.bytes_of(curve.n - 1)]
    )
    digest = data.draw(edge | st.binary(min_size=curve.size, max_size=curve.size))
    key = curve.multiply(secret, curve.generator)
    hedged, plain = sign(driver, curve, secret, digest, random), sign(driver, curve, secret, digest, b"")
    assert decode_dss_signature(hedged)[0] != decode_dss_signature(plain)[0], "the random bytes went into the nonce"
    for signature in (hedged, plain):
        assert library_accepts(curve, key, digest, signature)
        assert accepts(driver, curve, key, digest, signature)
    other = bytes([digest[0] ^ 1]) + digest[1:]
    assert not accepts(driver, curve, key, other, hedged)


@settings(max_examples=60)
@given(data=st.data(), name=st.sampled_from(sorted(CURVES)))
def test_what_the_library_signs_is_accepted(driver: Driver, data: st.DataObject, name: str) -> None:
    curve = CURVES[name]
    secret = data.draw(st.integers(1, curve.n - 1))
    digest = data.draw(st.binary(min_size=curve.size, max_size=curve.size))
    key = ec.derive_private_key(secret, LIBRARY[curve.size])
    signature = key.sign(digest, ec.ECDSA(Prehashed(HASHES[curve.size])))
    point = curve.multiply(secret, curve.generator)
    assert accepts(driver, curve, point, digest, signature)
    at, bit = data.draw(st.integers(0, 9999)) % len(signature), data.draw(st.integers(0, 7))  # its size is random
    broken = bytearray(signature)
    broken[at] ^= 1 << bit
    assert not accepts(driver, curve, point, digest, bytes(broken))
    assert not accepts(driver, curve, curve.add(point, curve.generator), digest, signature)


@dataclasses.dataclass(frozen=True)
class Case:
    """A key, a digest and a signature, made so that something special happens."""

    key: Point
    digest: bytes
    r: int
    s: int
    good: bool


def from_nonce_point(curve: Curve, found: Point, r: int, *, digest: int = 77, s: int = 99) -> Point:
    """The key under which r and s are right for the digest, where `found` is the nonce's point: (s R - e G) / r."""
    difference = curve.add(curve.multiply(s, found), curve.multiply(curve.n - digest, curve.generator))
    return curve.multiply(pow(r, -1, curve.n), difference)


def special(curve: Curve) -> dict[str, Case]:
    n, g, plain = curve.n, curve.generator, curve.bytes_of(77)
    wrapped = next(point for x in range(n + 1, n + 200) if (point := curve.lift(x)))
    half, halved = curve.multiply(5, g), curve.multiply(10, g)
    r = halved[0] % n if halved else 0
    base = curve.multiply(3, g)
    # digest / s * G = r / s * key = 5 G: the sum is a doubling. With minus: the point at infinity.
    doubling = curve.multiply(pow(r, -1, n), curve.multiply(99, half))
    good = Case(curve.multiply(7, g), plain, *signed(curve, 7, 77), good=True)
    return {
        "an ordinary one": good,
        "r and n - s, as anybody can make": dataclasses.replace(good, s=n - good.s),
        "a first coordinate of n or more": Case(
            from_nonce_point(curve, wrapped, wrapped[0] - n), plain, wrapped[0] - n, 99, good=True
        ),
        "the coordinate itself for r": Case(
            from_nonce_point(curve, wrapped, wrapped[0] - n), plain, wrapped[0], 99, good=False
        ),
        "a sum of two same points": Case(doubling, curve.bytes_of(5 * 99 % n), r, 99, good=True),
        "a sum that is infinity": Case(
            doubling and (doubling[0], curve.p - doubling[1]), curve.bytes_of(5 * 99 % n), r, 99, good=False
        ),
        "a digest of zero": Case(
            from_nonce_point(curve, base, base[0] % n, digest=0), bytes(curve.size), base[0] % n, 99, good=True
        )
        if base
        else good,
        "a digest of n": Case(from_nonce_point(curve, halved, r, digest=n), curve.bytes_of(n), r, 99, good=True),
        "r = 0": dataclasses.replace(good, r=0, good=False),
        "s = 0": dataclasses.replace(good, s=0, good=False),
        "r = s = 0": dataclasses.replace(good, r=0, s=0, good=False),
        "r = n": dataclasses.replace(good, r=n, good=False),
        "s = n": dataclasses.replace(good, s=n, good=False),
        "r + n": dataclasses.replace(good, r=good.r + n, good=False),
        "s + n": dataclasses.replace(good, s=good.s + n, good=False),
        "r = s = 1": dataclasses.replace(good, r=1, s=1, good=False),
        "r = p - 1": dataclasses.replace(good, r=curve.p - 1, good=False),
        "r = -r": dataclasses.replace(good, r=-good.r, good=False),
        "s = -s": dataclasses.replace(good, s=-good.s, good=False),
        "r = 2^400": dataclasses.replace(good, r=1 << 400, good=False),
        "s = n + 1": dataclasses.replace(good, s=n + 1, good=False),
    }


def signed(curve: Curve, secret: int, digest: int) -> tuple[int, int]:
    """With the nonce 11."""
    point = curve.multiply(11, curve.generator)
    r = point[0] % curve.n if point else 0
    return r, pow(11, -1, curve.n) * (digest + r * secret) % curve.n


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("what", special(P256))
def test_special_signatures(driver: Driver, name: str, what: str) -> None:
    curve = CURVES[name]
    case = special(curve)[what]
    signature = sequence(integer(case.r) + integer(case.s))
    assert library_accepts(curve, case.key, case.digest, signature) == case.good, "the case is what it says"
    assert accepts(driver, curve, case.key, case.digest, signature) == case.good


def integer(value: int) -> bytes:
    return number(value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def number(value: bytes, *, length: bytes | None = None) -> bytes:
    return b"\2" + (bytes([len(value)]) if length is None else length) + value


def sequence(content: bytes, *, length: bytes | None = None) -> bytes:
    return b"\x30" + (bytes([len(content)]) if length is None else length) + content


def other_encodings() -> dict[str, bytes]:
    """Of one good signature by P-256: each says the same numbers in another way, or more."""
    r, s = signed(P256, 7, 77)
    first, second = (value.to_bytes(value.bit_length() // 8 + 1, "big") for value in (r, s))
    both = number(first) + number(second)
    size = len(both)
    return {
        "a zero before r": sequence(number(b"\0" + first) + number(second)),
        "a zero before s": sequence(number(first) + number(b"\0" + second)),
        "the long form of the sequence's length": sequence(both, length=bytes([0x81, size])),
        "a longer form still": sequence(both, length=bytes([0x82, 0, size])),
        "the long form of a number's length": sequence(
            number(first, length=bytes([0x81, len(first)])) + number(second)
        ),
        "an indefinite length": sequence(both, length=b"\x80") + b"\0\0",
        "something behind it": sequence(both) + b"\0",
        "something inside behind s": sequence(both + b"\0"),
        "a NULL inside behind s": sequence(both + b"\5\0"),
        "a third number": sequence(both + number(b"\1")),
        "only r": sequence(number(first)),
        "an empty number": sequence(number(first) + number(b"")),
        "nothing": b"",
        "an empty sequence": sequence(b""),
        "a set": b"\x31" + sequence(both)[1:],
        "octets for numbers": sequence(b"\4" + number(first)[1:] + number(second)),
        "cut off": sequence(both)[:-1],
        "a length beyond the end": sequence(both, length=bytes([size + 1])),
        "a length of four gigabytes": sequence(both, length=b"\x84\xff\xff\xff\xff"),
        "a length that overflows": sequence(both, length=b"\x88" + b"\xff" * 8),
        "without DER": P256.bytes_of(r) + P256.bytes_of(s),
    }


@pytest.mark.parametrize("what", other_encodings())
def test_signatures_have_one_encoding(driver: Driver, what: str) -> None:
    key, digest = P256.multiply(7, P256.generator), P256.bytes_of(77)
    assert accepts(driver, P256, key, digest, encode_dss_signature(*signed(P256, 7, 77)))
    assert not accepts(driver, P256, key, digest, other_encodings()[what])


# Ed25519

RFC_8032: Final = {
    "7.1, test 1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "7.1, test 2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
}


@pytest.mark.parametrize("name", RFC_8032)
def test_vectors_of_rfc_8032(driver: Driver, name: str) -> None:
    seed, key, message, signature = map(from_hex, RFC_8032[name])
    assert driver.ask("ed25519-sign", seed, message) == [key, signature]
    assert driver.ask("ed25519-verify", key, message, signature) == [YES, YES]


@settings(max_examples=60)
@given(data=st.data(), seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=300))
def test_ed25519_is_what_others_compute(driver: Driver, data: st.DataObject, seed: bytes, message: bytes) -> None:
    theirs = Ed25519PrivateKey.from_private_bytes(seed)
    key, signature = theirs.public_key().public_bytes_raw(), theirs.sign(message)
    assert driver.ask("ed25519-sign", seed, message) == [key, signature]
    assert driver.ask("ed25519-verify", key, message, signature) == [YES, YES]
    broken = bytearray(signature)
    broken[data.draw(st.integers(0, 63))] ^= 1 << data.draw(st.integers(0, 7))
    assert driver.ask("ed25519-verify", key, message, bytes(broken)) == [YES, NO]
    assert driver.ask("ed25519-verify", key, message + b"!", signature) == [YES, NO]


P_25519: Final = 2**255 - 19
ORDER: Final = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize("times", [1, 2, 7])
def test_ed25519_scalars_have_one_encoding(driver: Driver, times: int) -> None:
    """Of S plus the order the same point comes: whoever takes it gives every signature a second one."""
    seed, message = bytes(range(32)), b"message"
    key, signature = driver.ask("ed25519-sign", seed, message)
    more = (int.from_bytes(signature[32:], "little") + times * ORDER).to_bytes(32, "little")
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(key).verify(signature[:32] + more, message)
    assert driver.ask("ed25519-verify", key, message, signature[:32] + more) == [YES, NO]


@pytest.mark.parametrize(
    ("what", "key"),
    {
        "y = p": P_25519.to_bytes(32, "little"),
        "y = p + 1, the neutral point in a second way": (P_25519 + 1).to_bytes(32, "little"),
        "y = 2^255 - 1": (2**255 - 1).to_bytes(32, "little"),
        "x = 0 with a sign": (1 | 1 << 255).to_bytes(32, "little"),
        "y = -1 with a sign": (P_25519 - 1 | 1 << 255).to_bytes(32, "little"),
        "no point": (2).to_bytes(32, "little"),
    }.items(),
)
def test_ed25519_keys_that_are_no_points(driver: Driver, what: str, key: bytes) -> None:
    assert driver.ask("ed25519-verify", key, b"", bytes(64)) == [NO, NO], what


def edwards_points(limit: int) -> Iterator[tuple[int, bool]]:
    """Small y, and whether they belong to a point: -x^2 + y^2 = 1 + d x^2 y^2."""
    d = -121665 * pow(121666, -1, P_25519) % P_25519
    for y in range(limit):
        square = (y * y - 1) * pow(d * y * y + 1, -1, P_25519) % P_25519
        yield y, square == 0 or pow(square, (P_25519 - 1) // 2, P_25519) == 1


def test_ed25519_points_are_told_from_others(driver: Driver) -> None:
    found = [(y, driver.ask("ed25519-verify", y.to_bytes(32, "little"), b"", bytes(64))[0] == YES) for y in range(60)]
    assert found == list(edwards_points(60))


# AES-GCM, of TLS's cipher suites


@given(
    key=st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32),
    nonce=st.binary(min_size=12, max_size=12),
    aad=st.binary(max_size=40),
    text=st.integers(0, 600).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
)
def test_aes_gcm_with_both_sizes_of_keys(driver: Driver, key: bytes, nonce: bytes, aad: bytes, text: bytes) -> None:
    sealed = AESGCM(key).encrypt(nonce, text, aad)
    assert driver.ask("gcm", key, nonce, aad, text) == [sealed[:-16], sealed[-16:], YES, text]
