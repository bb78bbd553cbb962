"""The runtime's SHA-2, ChaCha20-Poly1305, X25519 and HPKE: the standards' vectors, and what others compute."""

import functools
import hashlib
import hmac
from collections.abc import Callable, Iterator

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.poly1305 import Poly1305
from hypothesis import given
from hypothesis import strategies as st
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey
from tests.unit.runtime_crypto_driver import Driver, build, build_sanitized

YES, NO = b"\1", b"\0"
BUILDS = {"as the runtime": build, "sanitized": build_sanitized}
P = 2**255 - 19
from_hex = bytes.fromhex


@pytest.fixture(scope="session", params=BUILDS)
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    one = Driver(BUILDS[request.param](tmp_path_factory.mktemp("crypto")))
    yield one
    one.close()


# Sizes around the boundaries of all blocks: 16, 64 and 128 bytes, and SHA-2's padding.
EDGES = sorted({max(0, blocks * size + off) for size in (16, 64, 128) for blocks in range(4) for off in range(-17, 3)})
sizes = st.one_of(st.sampled_from(EDGES), st.integers(0, 400))
texts = sizes.flatmap(lambda size: st.binary(min_size=size, max_size=size))
keys = st.binary(min_size=32, max_size=32)
nonces = st.binary(min_size=12, max_size=12)
additional = st.one_of(st.binary(max_size=80), texts)
# How the incremental interfaces get a text: sizes of its first pieces; what remains comes at once.
pieces = st.lists(st.one_of(st.integers(0, 20), st.sampled_from(EDGES)), max_size=8).map(
    lambda parts: b"".join(part.to_bytes(2, "big") for part in parts)
)


# SHA-2


@pytest.mark.parametrize(
    ("text", "sha256", "sha384"),
    [
        (
            b"abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            b"",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
        ),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            hashlib.sha384(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hexdigest(),
        ),
        (
            b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
            "09330c33f71147e83d192fc782cd1b4753111b173b3b05d22fa08086e3b0f712fcc7c71a557e2db966c3e9fa91746039",
        ),
    ],
)
def test_sha2_examples_of_fips_180(driver: Driver, text: bytes, sha256: str, sha384: str) -> None:
    assert driver.ask("sha256", text, b"") == [from_hex(sha256), YES]
    assert driver.ask("sha384", text) == [from_hex(sha384)]


def test_sha256_of_a_million_letters(driver: Driver) -> None:
    expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert driver.ask("sha256", b"a" * 1_000_000, (999).to_bytes(2, "big")) == [from_hex(expected), YES]


@given(text=texts, pieces=pieces)
def test_sha2_is_what_others_compute(driver: Driver, text: bytes, pieces: bytes) -> None:
    assert driver.ask("sha256", text, pieces) == [hashlib.sha256(text).digest(), YES]
    assert driver.ask("sha384", text) == [hashlib.sha384(text).digest()]
    assert driver.ask("sha384-pieces", text, pieces) == [hashlib.sha384(text).digest(), YES]
    assert driver.ask("sha512", text, pieces) == [hashlib.sha512(text).digest(), YES]


@given(key=st.binary(max_size=128), text=texts)
def test_hmac_with_sha384_is_what_others_compute(driver: Driver, key: bytes, text: bytes) -> None:
    assert driver.ask("hmac384", key, text) == [hmac.digest(key, text, "sha384"), YES]


@given(key=st.binary(max_size=64), text=texts)
def test_hmac_is_what_others_compute(driver: Driver, key: bytes, text: bytes) -> None:
    assert driver.ask("hmac", key, text) == [hmac.digest(key, text, "sha256"), YES]


# ChaCha20-Poly1305

SUNSCREEN = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip "
SUNSCREEN += b"for the future, sunscreen would be it."
DRAFTS = (
    "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or obsoleted "
    "by other documents at any time. It is inappropriate to use Internet-Drafts as reference material or to cite them "
    "other than as /\u201cwork in progress./\u201d"
).encode()
RFC_8439 = {
    "2.8.2": (
        "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        "070000004041424344454647",
        "50515253c0c1c2c3c4c5c6c7",
        SUNSCREEN,
        (
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e06"
            "0b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d265"
            "86cec64b6116"
        ),
        "1ae10b594f09e26a7e902ecbd0600691",
    ),
    "A.5": (
        "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
        "000000000102030405060708",
        "f33388860000000000004e91",
        DRAFTS,
        (
            "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b"
            "0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e"
            "2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf45"
            "34d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa76991955ebd63159434ecebb4e466dae5a10"
            "73a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709b"
        ),
        "eead9d67890cbb22392336fea1851f38",
    ),
}


@pytest.mark.parametrize("vector", RFC_8439.values(), ids=RFC_8439.keys())
def test_aead_vectors_of_rfc_8439(driver: Driver, vector: tuple[str, str, str, bytes, str, str]) -> None:
    key, nonce, aad, text, ciphertext, tag = (from_hex(x) if isinstance(x, str) else x for x in vector)
    assert driver.ask("encrypt", key, nonce, aad, text, b"") == [ciphertext, tag, YES]
    assert driver.ask("decrypt", key, nonce, aad, ciphertext, b"", tag) == [YES, text, YES]


@given(key=keys, nonce=nonces, aad=additional, text=texts, pieces=pieces)
def test_aead_is_what_others_compute(
    driver: Driver, key: bytes, nonce: bytes, aad: bytes, text: bytes, pieces: bytes
) -> None:
    sealed = ChaCha20Poly1305(key).encrypt(nonce, text, aad)
    assert driver.ask("encrypt", key, nonce, aad, text, pieces) == [sealed[:-16], sealed[-16:], YES]
    assert driver.ask("decrypt", key, nonce, aad, sealed[:-16], pieces, sealed[-16:]) == [YES, text, YES]


# Numbers of 128 bits whose sums and products carry far, or come just below and above p = 2^130 - 5.
words = st.sampled_from([0, 1, 2, 4, 5, 6, 2**64 - 1, 2**64, 2**127, 2**128 - 1, 2**128 - 2]) | st.integers(
    0, 2**128 - 1
)
numbers = st.one_of(words, st.integers(2**128 - 20, 2**128 - 1)).map(lambda number: number.to_bytes(16, "little"))


@given(key=st.tuples(numbers, numbers).map(b"".join), blocks=st.lists(numbers).map(b"".join))
def test_poly1305_is_what_others_compute(driver: Driver, key: bytes, blocks: bytes) -> None:
    assert driver.ask("poly1305", key, blocks) == [Poly1305.generate_tag(key, blocks)]


FAR = "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000"


@pytest.mark.parametrize(
    ("r", "s", "blocks", "tag"),
    [
        ("02", "", "ff" * 16, "03"),
        ("02", "ff" * 16, "02" + "00" * 15, "03"),
        ("01", "", "ff" * 16 + "f0" + "ff" * 15 + "11" + "00" * 15, "05"),
        ("01", "", "ff" * 16 + "fb" + "fe" * 15 + "01" * 16, ""),
        ("02", "", "fd" + "ff" * 15, "fa" + "ff" * 15),
        ("010000000000000004", "", f"{FAR}{0:032}01".ljust(128, "0"), "14000000000000005500"),
        ("010000000000000004", "", FAR + "0" * 32, "13"),
    ],
    ids=map(str, range(5, 12)),
)
def test_poly1305_vectors_of_rfc_8439_appendix_a_3(driver: Driver, r: str, s: str, blocks: str, tag: str) -> None:
    """Where implementations go wrong, says the RFC: its numbers 5 to 11."""
    key = from_hex(r).ljust(16, b"\0") + from_hex(s).ljust(16, b"\0")
    assert driver.ask("poly1305", key, from_hex(blocks)) == [from_hex(tag).ljust(16, b"\0")]


def flip(message: bytes, bit: int) -> bytes:
    """`message` with one bit changed, modulo its length."""
    at = bit % (8 * len(message))
    return message[: at // 8] + bytes([message[at // 8] ^ 1 << at % 8]) + message[at // 8 + 1 :]


@given(text=st.binary(min_size=1, max_size=80), aad=st.binary(min_size=1, max_size=40), bit=st.integers(0, 2**16))
def test_aead_refuses_what_was_changed(driver: Driver, text: bytes, aad: bytes, bit: int) -> None:
    key, nonce = bytes(range(32)), bytes(range(12))
    ciphertext, tag, _ = driver.ask("encrypt", key, nonce, aad, text, b"")
    parts = [key, nonce, aad, ciphertext, b"", tag]
    assert driver.ask("decrypt", *parts)[0] == YES
    for index in (0, 1, 2, 3, 5):
        changed = [*parts[:index], flip(parts[index], bit), *parts[index + 1 :]]
        assert driver.ask("decrypt", *changed)[0] == NO, f"argument {index}"
    assert driver.ask("decrypt", key, nonce, aad, ciphertext[:-1], b"", tag)[0] == NO
    assert driver.ask("decrypt", key, nonce, aad[:-1], ciphertext, b"", tag)[0] == NO


# X25519


def test_x25519_vectors_of_rfc_7748(driver: Driver) -> None:
    assert driver.ask(
        "x25519",
        from_hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
        from_hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
    ) == [YES, from_hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")]
    assert driver.ask(
        "x25519",
        from_hex("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"),
        from_hex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493"),
    ) == [YES, from_hex("95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957")]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (1, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"),
        (1000, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"),
    ],
)
def test_x25519_iterated_as_in_rfc_7748(driver: Driver, times: int, expected: str) -> None:
    nine = bytes([9, *bytes(31)])
    assert driver.ask("x25519-iterated", nine, nine, times.to_bytes(2, "big")) == [from_hex(expected)]


# Numbers that are 0 with every scalar (RFC 7748, section 7); also the same from p on, and with the ignored bit.
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
]
low_points = st.builds(
    lambda u, bit: (u | bit << 255).to_bytes(32, "little"), st.sampled_from([*LOW_ORDER, P, P + 1]), st.booleans()
)
near_points = st.builds(lambda u: (u % 2**256).to_bytes(32, "little"), st.integers(P - 40, P + 40) | st.integers(2, 40))
scalars = st.one_of(keys, st.sampled_from([bytes(32), b"\xff" * 32]))


@given(scalar=scalars, point=low_points)
def test_x25519_says_when_nothing_is_shared(driver: Driver, scalar: bytes, point: bytes) -> None:
    assert driver.ask("x25519", scalar, point) == [NO, bytes(32)]


@given(scalar=scalars, point=st.one_of(keys, near_points))
def test_x25519_is_what_others_compute(driver: Driver, scalar: bytes, point: bytes) -> None:
    private = X25519PrivateKey.from_private_bytes(scalar)
    assert driver.ask("x25519-public", scalar) == [private.public_key().public_bytes_raw()]
    try:
        expected = [YES, private.exchange(X25519PublicKey.from_public_bytes(point))]
    except ValueError:
        expected = [NO, bytes(32)]
    assert driver.ask("x25519", scalar, point) == expected


# HPKE

SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
RECIPIENT = from_hex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
ENCAPSULATED = from_hex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a")
SENDER = from_hex("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600")
SHARED = from_hex("0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7")


def test_hpke_vector_a_2_of_rfc_9180(driver: Driver) -> None:
    """Its info is not empty, so the steps are asked one by one."""
    key, nonce = (
        from_hex("ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91"),
        from_hex("5c4d98150661b848853b547f"),
    )
    sealed = from_hex("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28")
    assert driver.ask("hpke-decapsulate", RECIPIENT, ENCAPSULATED) == [YES, SHARED]
    assert driver.ask("hpke-schedule", SHARED, b"Ode on a Grecian Urn") == [key, nonce]
    assert driver.ask("decrypt", key, nonce, b"Count-0", sealed[:-16], b"", sealed[-16:]) == [
        YES,
        b"Beauty is truth, truth beauty",
        YES,
    ]


def extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + material, "sha256")


def expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    labelled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, labelled + b"\1", "sha256")[:size]


def seal(sender: X25519PrivateKey, recipient: X25519PublicKey, aad: bytes, text: bytes) -> tuple[bytes, bytes]:
    """RFC 9180's sending side from its parts, because `cryptography` publishes none with additional data."""
    kem, suite = b"KEM\0\x20", b"HPKE\0\x20\0\1\0\3"
    enc = sender.public_key().public_bytes_raw()
    eae = extract(kem, b"", b"eae_prk", sender.exchange(recipient))
    shared = expand(kem, eae, b"shared_secret", enc + recipient.public_bytes_raw(), 32)
    context = b"\0" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", b"")
    secret = extract(suite, shared, b"secret", b"")
    key, nonce = expand(suite, secret, b"key", context, 32), expand(suite, secret, b"base_nonce", context, 12)
    return enc, ChaCha20Poly1305(key).encrypt(nonce, text, aad)


def test_the_sending_side_of_these_tests_agrees_with_another() -> None:
    recipient = X25519PrivateKey.from_private_bytes(RECIPIENT)
    enc, sealed = seal(X25519PrivateKey.from_private_bytes(SENDER), recipient.public_key(), b"", b"text")
    assert enc == ENCAPSULATED
    assert SUITE.decrypt(enc + sealed, recipient) == b"text"
    with pytest.raises(InvalidTag):
        SUITE.decrypt(enc + seal(X25519PrivateKey.generate(), recipient.public_key(), b"", b"text")[1], recipient)


@given(recipient=keys, sender=keys, aad=additional, text=texts)
def test_hpke_opens_what_others_sealed(
    driver: Driver, recipient: bytes, sender: bytes, aad: bytes, text: bytes
) -> None:
    public = X25519PrivateKey.from_private_bytes(recipient).public_key()
    enc, sealed = seal(X25519PrivateKey.from_private_bytes(sender), public, aad, text)
    assert driver.ask("hpke-open", recipient, enc, aad, sealed) == [YES, text + sealed[len(text) :]]
    other = SUITE.encrypt(text, public)
    assert driver.ask("hpke-open", recipient, other[:32], b"", other[32:]) == [YES, text + other[32 + len(text) :]]


@given(aad=st.binary(min_size=1, max_size=40), text=st.binary(min_size=1, max_size=100), bit=st.integers(0, 2**16))
def test_hpke_refuses_and_wipes_what_was_changed(driver: Driver, aad: bytes, text: bytes, bit: int) -> None:
    public = X25519PrivateKey.from_private_bytes(RECIPIENT).public_key()
    enc, sealed = seal(X25519PrivateKey.from_private_bytes(SENDER), public, aad, text)
    changed: list[Callable[[bytes], bytes]] = [functools.partial(flip, bit=bit), lambda part: part[:-1]]
    for change in changed:
        assert driver.ask("hpke-open", RECIPIENT, enc, change(aad), sealed) == [NO, bytes(len(sealed))]
        damaged = change(sealed)
        assert driver.ask("hpke-open", RECIPIENT, enc, aad, damaged) == [NO, bytes(len(damaged))]
    for part in range(2):
        # Some bits of both do not count: RFC 7748, section 5, clears them.
        keys_used = [RECIPIENT, enc]
        keys_used[part] = flip(keys_used[part], 8 + bit % 240)
        assert driver.ask("hpke-open", *keys_used, aad, sealed) == [NO, bytes(len(sealed))]


@pytest.mark.parametrize("size", [0, 1, 15])
def test_hpke_refuses_what_is_too_short_for_a_tag(driver: Driver, size: int) -> None:
    assert driver.ask("hpke-open", RECIPIENT, ENCAPSULATED, b"", b"x" * size) == [NO, bytes(size)]


@given(point=low_points, text=st.binary(min_size=16, max_size=60))
def test_hpke_refuses_a_point_of_low_order(driver: Driver, point: bytes, text: bytes) -> None:
    """Also if the text is right: everybody knows the secret that such a point shares."""
    public = X25519PrivateKey.from_private_bytes(RECIPIENT).public_key().public_bytes_raw()
    key, nonce = driver.ask(
        "hpke-schedule",
        expand(b"KEM\0\x20", extract(b"KEM\0\x20", b"", b"eae_prk", bytes(32)), b"shared_secret", point + public, 32),
        b"",
    )
    sealed = ChaCha20Poly1305(key).encrypt(nonce, text, b"")
    assert driver.ask("hpke-open", RECIPIENT, point, b"", sealed) == [NO, bytes(len(sealed))]


# HPKE with a sender (RFC 9180's mode_auth): sealed by another implementation.

AUTH = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)


def seal_from(sender: bytes, recipient: bytes, aad: bytes, text: bytes) -> tuple[bytes, bytes, bytes]:
    """The sender's public key, the encapsulated key, the ciphertext."""
    private = X25519PrivateKey.from_private_bytes(sender)
    public = X25519PrivateKey.from_private_bytes(recipient).public_key()
    wrapped = [KEMKey.from_pyca_cryptography_key(one) for one in (public, private)]
    encapsulated, context = AUTH.create_sender_context(wrapped[0], sks=wrapped[1])
    return private.public_key().public_bytes_raw(), encapsulated, context.seal(text, aad)


@given(recipient=keys, sender=keys, aad=additional, text=texts)
def test_hpke_opens_what_a_sender_sealed(
    driver: Driver, recipient: bytes, sender: bytes, aad: bytes, text: bytes
) -> None:
    who, enc, sealed = seal_from(sender, recipient, aad, text)
    assert driver.ask("hpke-open-from", recipient, enc, who, aad, sealed) == [YES, text + sealed[len(text) :]]


@given(aad=additional, text=texts, bit=st.integers(8, 247))
def test_hpke_refuses_another_sender(driver: Driver, aad: bytes, text: bytes, bit: int) -> None:
    who, enc, sealed = seal_from(SENDER, RECIPIENT, aad, text)
    for other in (flip(who, bit), bytes(32), enc):
        assert driver.ask("hpke-open-from", RECIPIENT, enc, other, aad, sealed) == [NO, bytes(len(sealed))]
    assert driver.ask("hpke-open", RECIPIENT, enc, aad, sealed) == [NO, bytes(len(sealed))]
    public = X25519PrivateKey.from_private_bytes(RECIPIENT).public_key()
    enc, sealed = seal(X25519PrivateKey.from_private_bytes(SENDER), public, aad, text)
    assert driver.ask("hpke-open-from", RECIPIENT, enc, who, aad, sealed) == [NO, bytes(len(sealed))]
