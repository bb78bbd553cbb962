"""Keys and certificates in DER, as the TLS engine reads them: what the library writes, and nothing nearly that."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.tls_pieces.driver import Driver, build

from cloister._x509 import Certificate
from cloister.errors import ParseError

YES, NO = b"\1", b"\0"
P256, P384, ED25519, RSA = 1, 2, 3, 4
SCHEME: Final = {P256: 0x0403, P384: 0x0503, ED25519: 0x0807}
RSA_SCHEMES: Final = {0x0804: hashes.SHA256(), 0x0805: hashes.SHA384(), 0x0806: hashes.SHA512()}
EVERY_SCHEME: Final = (*SCHEME.values(), *RSA_SCHEMES)
KEYS: Final[dict[int, Any]] = {
    P256: ec.generate_private_key(ec.SECP256R1()),
    P384: ec.generate_private_key(ec.SECP384R1()),
    ED25519: Ed25519PrivateKey.generate(),
    RSA: rsa.generate_private_key(65537, 2048),
}
NOW: Final = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


@pytest.fixture(scope="module", params=[False, True], ids=["as the runtime", "sanitized"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    one = Driver(build(sanitized=request.param))
    yield one
    one.close()


def pkcs8(key: Any) -> bytes:
    written: bytes = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return written


def spki(key: Any) -> bytes:
    written: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return written


def bare(key: Any) -> bytes:
    """The bytes that speak of the key alone."""
    public = key.public_key()
    if isinstance(public, EllipticCurvePublicKey):
        return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    if isinstance(public, rsa.RSAPublicKey):
        return public.public_numbers().n.to_bytes((public.key_size + 7) // 8, "big")
    raw: bytes = public.public_bytes_raw()
    return raw


# Public keys


@pytest.mark.parametrize("kind", KEYS)
def test_public_keys_are_read(driver: Driver, kind: int) -> None:
    exponent = (65537 if kind == RSA else 0).to_bytes(8, "big")
    assert driver.ask("public-key", spki(KEYS[kind])) == [YES, bytes([kind]), bare(KEYS[kind]), exponent]


@pytest.mark.parametrize(
    "other",
    [
        ec.generate_private_key(ec.SECP521R1()), ec.generate_private_key(ec.SECP256K1()), X25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 1024),  # noqa: S505 - to be refused
    ],
    ids=["P-521", "secp256k1", "X25519", "RSA of 1024 bits"],
)  # fmt: skip
def test_other_keys_are_refused(driver: Driver, other: Any) -> None:
    assert driver.ask("public-key", spki(other)) == [NO]


@pytest.mark.parametrize("kind", KEYS)
def test_public_keys_are_whole_and_alone(driver: Driver, kind: int) -> None:
    whole = spki(KEYS[kind])
    for size in range(len(whole)):
        assert driver.ask("public-key", whole[:size]) == [NO]
    assert driver.ask("public-key", whole + b"\0") == [NO]


@settings(max_examples=300)
@given(data=st.data(), kind=st.sampled_from(sorted(KEYS)))
def test_changed_public_keys_are_read_strictly_or_refused(driver: Driver, data: st.DataObject, kind: int) -> None:
    """What is read of them is what the library reads, or one number of RSA's that it does not look at."""
    changed = mutated(data, spki(KEYS[kind]))
    answer = driver.ask("public-key", changed)
    assert answer[0] in {YES, NO}
    if answer[0] == YES and answer[1] != bytes([RSA]):
        assert changed.endswith(answer[2])
        assert len(changed) == len(spki(KEYS[answer[1][0]]))


LENGTHS: Final = [b"\x80", b"\x81\xff", b"\x82\xff\xff", b"\x84\x7f\xff\xff\xff", b"\xff"]


def mutated(data: st.DataObject, whole: bytes) -> bytes:
    """A few bytes of it changed, left out or put in."""
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(changed) - 1, 0)))
        match data.draw(st.sampled_from(["change", "cut", "add", "lengthen"])):
            case "change":
                changed[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del changed[at : at + data.draw(st.integers(1, 8))]
            case "add":
                changed[at:at] = data.draw(st.binary(min_size=1, max_size=8))
            case _:
                changed[at : at + 1] = data.draw(st.sampled_from(LENGTHS))
    return bytes(changed)


# Signatures by their scheme


@pytest.mark.parametrize("kind", [P256, P384, ED25519])
@given(message=st.binary(max_size=200), random=st.binary(min_size=32, max_size=32))
@settings(max_examples=20)
def test_signing_and_verifying_by_scheme(driver: Driver, kind: int, message: bytes, random: bytes) -> None:
    scheme, signature = driver.ask("sign", pkcs8(KEYS[kind]), random, message)
    assert int.from_bytes(scheme, "big") == SCHEME[kind]
    public = KEYS[kind].public_key()
    if kind == ED25519:
        public.verify(signature, message)
    else:
        public.verify(signature, message, ec.ECDSA(hashes.SHA256() if kind == P256 else hashes.SHA384()))
    for one in (*EVERY_SCHEME, 0, 0x0401, 0x0809):
        answer = driver.ask("verify", spki(KEYS[kind]), one.to_bytes(2, "big"), message, signature)
        assert answer == [YES, YES if one == SCHEME[kind] else NO], hex(one)
    assert driver.ask("verify", spki(KEYS[kind]), scheme, message + b"!", signature) == [YES, NO]


@pytest.mark.parametrize("bits", [2048, 2049, 2056, 3071, 4096])
@pytest.mark.parametrize("scheme", RSA_SCHEMES)
def test_rsa_pss(driver: Driver, bits: int, scheme: int) -> None:
    key, algorithm, name = rsa.generate_private_key(65537, bits), RSA_SCHEMES[scheme], scheme.to_bytes(2, "big")
    good = key.sign(b"message", padding.PSS(padding.MGF1(algorithm), algorithm.digest_size), algorithm)

    def says(signature: bytes, message: bytes = b"message") -> bytes:
        return driver.ask("verify", spki(key), name, message, signature)[1]

    assert says(good) == YES
    assert says(good, b"another") == NO
    assert says(key.sign(b"message", padding.PSS(padding.MGF1(algorithm), 20), algorithm)) == NO, "another salt"
    assert says(key.sign(b"message", padding.PKCS1v15(), algorithm)) == NO, "another padding"
    other = hashes.SHA512() if scheme != 0x0806 else hashes.SHA256()
    assert says(key.sign(b"message", padding.PSS(padding.MGF1(other), algorithm.digest_size), algorithm)) == NO, "MGF1"
    assert says(good[:-1]) == says(good + b"\0") == says(b"\0" + good) == says(b"") == NO
    size, modulus = len(good), key.public_key().public_numbers().n
    more = int.from_bytes(good, "big") + modulus
    if more < 1 << 8 * size:
        assert says(more.to_bytes(size, "big")) == NO, "a second number for the same"
    for number in (0, 1, modulus - 1, modulus):
        assert says(number.to_bytes(size, "big")) == NO
    for at in range(0, 8 * size, 97):
        broken = int.from_bytes(good, "big") ^ 1 << at
        assert says(broken.to_bytes(size, "big")) == NO


# RSA's private keys

SALT: Final = bytes(range(32))


def rsa_signature(driver: Driver, der: bytes, message: bytes = b"message", salt: bytes = SALT) -> bytes:
    scheme, signature = driver.ask("sign", der, salt, message)
    assert int.from_bytes(scheme, "big") == 0x0804
    return signature


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
@pytest.mark.parametrize("exponent", [65537, 3])
def test_rsa_signatures_are_accepted(driver: Driver, bits: int, exponent: int) -> None:
    key = rsa.generate_private_key(exponent, bits)
    for message, salt in ((b"message", SALT), (b"", bytes(32)), (b"m" * 1000, b"\xff" * 32)):
        signature = rsa_signature(driver, pkcs8(key), message, salt)
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        key.public_key().verify(signature, message, pss, hashes.SHA256())
        assert driver.ask("verify", spki(key), b"\x08\x04", message, signature) == [YES, YES]


@settings(max_examples=30)
@given(message=st.binary(max_size=100), salt=st.binary(min_size=32, max_size=32))
def test_rsa_signatures_of_anything(driver: Driver, message: bytes, salt: bytes) -> None:
    """Other numbers under the same primes: carries are where they are seldom."""
    signature = rsa_signature(driver, pkcs8(KEYS[RSA]), message, salt)
    KEYS[RSA].public_key().verify(signature, message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


@pytest.mark.parametrize("name", ["p", "q", "dmp1", "dmq1", "iqmp"])
def test_an_rsa_signature_with_a_fault_never_leaves(driver: Driver, name: str) -> None:
    """Of one that is wrong modulo one prime only, anybody computes the primes (Boneh, DeMillo, Lipton)."""
    numbers = KEYS[RSA].private_numbers()
    good = getattr(numbers, name)
    size = (good.bit_length() + 7) // 8
    changed = good ^ 1 << 8 * size // 2
    der = pkcs8(KEYS[RSA]).replace(good.to_bytes(size, "big"), changed.to_bytes(size, "big"))
    assert der != pkcs8(KEYS[RSA])
    assert len(rsa_signature(driver, pkcs8(KEYS[RSA]))) == 256
    assert rsa_signature(driver, der) == b""


def rsa_spki(modulus: int, exponent: int) -> bytes:
    """Of numbers that no library takes."""
    whole = spki(KEYS[RSA])
    numbers = KEYS[RSA].public_key().public_numbers()
    size = numbers.n.bit_length() // 8 + 1
    changed = whole.replace(numbers.n.to_bytes(size, "big"), modulus.to_bytes(size, "big"))
    return changed.replace(b"\2\3\1\0\1", b"\2\3" + exponent.to_bytes(3, "big"))


@pytest.mark.parametrize("exponent", [0x010000, 0x800001, 0x000003])
def test_rsa_exponents(driver: Driver, exponent: int) -> None:
    """Even, negative, and not in the shortest form."""
    modulus = KEYS[RSA].public_key().public_numbers().n
    assert driver.ask("public-key", rsa_spki(modulus, 0x010003))[0] == YES
    assert driver.ask("public-key", rsa_spki(modulus, exponent))[0] == NO


def test_an_even_rsa_modulus_is_refused(driver: Driver) -> None:
    """Montgomery's multiplication is right with odd ones only."""
    assert driver.ask("public-key", rsa_spki(KEYS[RSA].public_key().public_numbers().n - 1, 65537))[0] == NO


# Private keys


@pytest.mark.parametrize("kind", KEYS)
def test_private_keys_are_read(driver: Driver, kind: int) -> None:
    """RSA's SubjectPublicKeyInfo is never written."""
    expected = b"" if kind == RSA else spki(KEYS[kind])
    assert driver.ask("private-key", pkcs8(KEYS[kind])) == [YES, NO, expected]


@pytest.mark.parametrize("kind", KEYS)
def test_private_keys_know_their_public_key(driver: Driver, kind: int) -> None:
    for other, key in KEYS.items():
        assert driver.ask("fits", pkcs8(KEYS[kind]), spki(key)) == [YES if other == kind else NO]
    another: Any
    if kind == RSA:
        another = rsa.generate_private_key(65537, 2048)
    elif kind == ED25519:
        another = Ed25519PrivateKey.generate()
    else:
        another = ec.generate_private_key(KEYS[kind].curve)
    assert driver.ask("fits", pkcs8(KEYS[kind]), spki(another)) == [NO]


@pytest.mark.parametrize("kind", KEYS)
def test_private_keys_are_whole_and_alone(driver: Driver, kind: int) -> None:
    whole = pkcs8(KEYS[kind])
    for size in range(len(whole)):
        assert driver.ask("private-key", whole[:size]) == [NO, YES]
    assert driver.ask("private-key", whole + b"\0") == [NO, YES]


def test_other_private_keys_are_refused(driver: Driver) -> None:
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
    for key in (small, X25519PrivateKey.generate(), ec.generate_private_key(ec.SECP521R1())):
        assert driver.ask("private-key", pkcs8(key)) == [NO, YES]


@pytest.mark.parametrize("kind", [P256, P384])
def test_a_private_key_with_anothers_public_key_is_refused(driver: Driver, kind: int) -> None:
    other = ec.generate_private_key(KEYS[kind].curve)
    assert driver.ask("private-key", pkcs8(KEYS[kind]).replace(bare(KEYS[kind]), bare(other))) == [NO, YES]


def test_a_private_key_of_zero_is_refused(driver: Driver) -> None:
    secret = KEYS[P256].private_numbers().private_value.to_bytes(32, "big")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for bad in (0, order, order + 1):
        assert driver.ask("private-key", pkcs8(KEYS[P256]).replace(secret, bad.to_bytes(32, "big"))) == [NO, YES]


@settings(max_examples=200)
@given(data=st.data(), kind=st.sampled_from([P256, P384, ED25519]))
def test_changed_private_keys_are_refused_or_whole(driver: Driver, data: st.DataObject, kind: int) -> None:
    answer = driver.ask("private-key", mutated(data, pkcs8(KEYS[kind])))
    assert answer == [NO, YES] or (answer[0] == YES and driver.ask("public-key", answer[2])[0] == YES)


# Certificates

DATES: Final = [
    (datetime(1950, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
    (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)),
    (datetime(2000, 2, 29, 12, tzinfo=UTC), datetime(2100, 3, 1, tzinfo=UTC)),
    (datetime(2024, 2, 29, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)),
    (NOW, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
]


def certificate(key: Any, dates: tuple[datetime, datetime] = (NOW, NOW + timedelta(days=7))) -> bytes:
    """Signed by itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(77).not_valid_before(dates[0]).not_valid_after(dates[1])
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("example")]), critical=False)
    algorithm = None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


CERTIFICATES: Final = {kind: certificate(key) for kind, key in KEYS.items()}


def seconds(moment: datetime) -> bytes:
    return int(moment.timestamp()).to_bytes(8, "big", signed=True)


def read(driver: Driver, der: bytes) -> list[bytes]:
    return driver.ask("x509", der)


def expected(der: bytes, key: Any) -> list[bytes]:
    """As cloister's own reader has it."""
    parsed, digest = Certificate.parse(der), hashes.Hash(hashes.SHA256())
    digest.update(parsed.spki)
    return [YES, parsed.spki, digest.finalize(), seconds(parsed.not_before), seconds(parsed.not_after), bare(key)]


@pytest.mark.parametrize("kind", KEYS)
def test_certificates_are_read(driver: Driver, kind: int) -> None:
    der = certificate(KEYS[kind])
    assert read(driver, der) == expected(der, KEYS[kind])


@pytest.mark.parametrize("dates", DATES)
def test_dates_of_certificates(driver: Driver, dates: tuple[datetime, datetime]) -> None:
    answer = read(driver, certificate(KEYS[P256], dates))
    assert answer[3:5] == [seconds(dates[0]), seconds(dates[1])]


@pytest.mark.parametrize(
    ("what", "text"),
    {
        "month 13": "261304030201Z", "month 0": "260004030201Z", "day 0": "260500030201Z", "day 32": "260532030201Z",
        "30 February": "260230030201Z", "29 February of a common year": "260229030201Z", "hour 24": "260504240201Z",
        "minute 60": "260504036001Z", "second 60": "260504030260Z", "no Z": "2605040302011",
        "a letter": "26050403020aZ",
        "a sign": "+60504030201Z", "a blank": "2605 4030201Z",
    }.items(),
)  # fmt: skip
def test_dates_that_are_none(driver: Driver, what: str, text: str) -> None:
    der = certificate(KEYS[P256])
    assert read(driver, der.replace(b"260504030201Z", b"260504030202Z"))[0] == YES
    assert read(driver, der.replace(b"260504030201Z", text.encode())) == [NO], what


@pytest.mark.parametrize("kind", KEYS)
def test_certificates_are_whole_and_alone(driver: Driver, kind: int) -> None:
    whole = certificate(KEYS[kind])
    for size in range(len(whole)):
        assert read(driver, whole[:size]) == [NO]
    assert read(driver, whole + b"\0") == [NO]


@settings(max_examples=500)
@given(data=st.data(), kind=st.sampled_from(sorted(KEYS)))
def test_changed_certificates_are_read_as_others_read_them(driver: Driver, data: st.DataObject, kind: int) -> None:
    """Where both readers take one, they see one key and the same dates. Where only one does, nothing is lost."""
    changed = mutated(data, CERTIFICATES[kind])
    answer = read(driver, changed)
    try:
        parsed = Certificate.parse(changed)
    except ParseError:
        return
    if answer != [NO]:
        assert answer[1] == parsed.spki
        assert answer[3:5] == [seconds(parsed.not_before), seconds(parsed.not_after)]
