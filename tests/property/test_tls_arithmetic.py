"""Numbers and points behind TLS's signatures and key exchange, against Python's numbers: at carries most of all."""

from collections.abc import Iterator
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.tls_pieces.curves import P256, P384, Curve
from tests.property.tls_pieces.driver import Driver, build

YES, NO = b"\1", b"\0"
CURVES: Final = {"P-256": P256, "P-384": P384}
FIELDS: Final = {0: (P256.p, 4), 1: (P256.n, 4), 2: (P384.p, 6), 3: (P384.n, 6)}


@pytest.fixture(scope="module", params=[False, True], ids=["as the runtime", "sanitized"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    one = Driver(build(sanitized=request.param))
    yield one
    one.close()


# Limbs of zeros, of ones, and next to them: where a carry goes through many limbs, or must not be made.
limb = st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 2**64 - 2]) | st.integers(0, 2**64 - 1)


@st.composite
def numbers(draw: st.DrawFn, modulus: int, limbs: int) -> int:
    near = st.integers(0, 3).map(lambda distance: modulus - 1 - distance)
    made = st.lists(limb, min_size=limbs, max_size=limbs).map(
        lambda parts: sum(part << 64 * i for i, part in enumerate(parts)) % modulus
    )
    return draw(near | made | st.integers(0, 3))


@settings(max_examples=300)
@given(data=st.data(), which=st.sampled_from(sorted(FIELDS)), what=st.sampled_from("*+-"))
def test_numbers_are_multiplied_added_and_subtracted(
    driver: Driver, data: st.DataObject, which: int, what: str
) -> None:
    modulus, limbs = FIELDS[which]
    a, b = data.draw(numbers(modulus, limbs)), data.draw(numbers(modulus, limbs))
    expected = {"*": a * b * pow(2, -64 * limbs, modulus), "+": a + b, "-": a - b}[what] % modulus
    size = 8 * limbs
    answer = driver.ask("field", bytes([which]), what.encode(), a.to_bytes(size, "little"), b.to_bytes(size, "little"))
    assert answer == [expected.to_bytes(size, "little")]


@settings(max_examples=50)
@given(data=st.data(), which=st.sampled_from(sorted(FIELDS)))
def test_numbers_are_inverted(driver: Driver, data: st.DataObject, which: int) -> None:
    modulus, limbs = FIELDS[which]
    a, size, radix = data.draw(numbers(modulus, limbs)), 8 * limbs, 2 ** (64 * limbs)
    expected = pow(a, -1, modulus) * radix * radix % modulus if a else 0
    answer = driver.ask("field", bytes([which]), b"/", a.to_bytes(size, "little"), bytes(size))
    assert answer == [expected.to_bytes(size, "little")]


def scalars(curve: Curve) -> st.SearchStrategy[int]:
    """All of them, zero and the order too: for a point's multiple they are not special."""
    powers = st.integers(0, 8 * curve.size - 1).map(lambda bit: 1 << bit)
    near = st.integers(-3, 3).map(lambda distance: curve.n + distance)
    return st.one_of(st.integers(0, 20), powers, near, st.integers(0, 2 ** (8 * curve.size) - 1))


@settings(max_examples=60)
@given(data=st.data(), name=st.sampled_from(sorted(CURVES)))
def test_the_generators_multiples(driver: Driver, data: st.DataObject, name: str) -> None:
    curve = CURVES[name]
    scalar = data.draw(scalars(curve)) % curve.n
    expected = curve.multiply(scalar, curve.generator)
    answer = driver.ask("point", bytes([curve.size]), curve.bytes_of(scalar), b"")
    assert answer[0] == (NO if expected is None else YES)
    assert expected is None or answer[1] == curve.encode(expected)


@pytest.mark.parametrize("place", [0, 32])
@pytest.mark.parametrize("digit", range(16))
def test_every_point_of_the_generators_tables(driver: Driver, digit: int, place: int) -> None:
    """Four bits of a scalar, 64 apart, choose one."""
    scalar = sum((digit >> tooth & 1) << (place + 64 * tooth) for tooth in range(4))
    expected = P256.multiply(scalar, P256.generator)
    answer = driver.ask("point", bytes([P256.size]), P256.bytes_of(scalar), b"")
    assert answer == [YES if expected else NO, P256.encode(expected)]


@pytest.mark.parametrize("words", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "shape", [1, 2, 3, 1 << 31, 1 << 32, (1 << 32) + 1, 1 << 63, (1 << 64) - 1, (1 << 63) + (1 << 31)]
)
def test_scalars_in_which_sums_come_near_to_what_is_added(driver: Driver, shape: int, words: int) -> None:
    """Adding is quick because the sum is never the point that is added: few bits, next to where one would be."""
    scalar = sum(shape << 64 * word for word in range(words)) % P256.n
    for near in {scalar, P256.n - scalar, scalar + 1}:
        expected = P256.multiply(near, P256.generator)
        assert driver.ask("point", bytes([32]), P256.bytes_of(near), b"") == [YES, P256.encode(expected)]


@settings(max_examples=60)
@given(data=st.data(), name=st.sampled_from(sorted(CURVES)))
def test_multiples_of_any_point(driver: Driver, data: st.DataObject, name: str) -> None:
    curve = CURVES[name]
    point = curve.multiply(data.draw(st.integers(1, curve.n - 1)), curve.generator)
    scalar = data.draw(scalars(curve))
    expected = curve.multiply(scalar, point)
    answer = driver.ask("point", bytes([curve.size]), curve.bytes_of(scalar), curve.encode(point))
    assert answer[0] == (NO if expected is None else YES)
    assert expected is None or answer[1] == curve.encode(expected)


@given(secret=st.integers(1, P256.n - 1), other=st.integers(1, P256.n - 1))
def test_keys_are_exchanged_with_the_library(driver: Driver, secret: int, other: int) -> None:
    theirs, ours = ec.derive_private_key(other, ec.SECP256R1()), ec.derive_private_key(secret, ec.SECP256R1())
    shared = ours.exchange(ec.ECDH(), theirs.public_key())
    mine = driver.ask("exchange-public", P256.bytes_of(secret))
    assert mine == [YES, P256.encode(P256.multiply(secret, P256.generator))]
    numbers_of = theirs.public_key().public_numbers()
    answer = driver.ask("exchange-shared", P256.bytes_of(secret), P256.encode((numbers_of.x, numbers_of.y)))
    assert answer == [YES, shared]


@pytest.mark.parametrize("secret", [0, P256.n, P256.n + 1, 2**256 - 1])
def test_what_is_no_key_is_refused(driver: Driver, secret: int) -> None:
    assert driver.ask("exchange-public", P256.bytes_of(secret))[0] == NO


@pytest.mark.parametrize("secret", [1, 2, P256.n - 1])
def test_the_least_and_the_greatest_key_are_taken(driver: Driver, secret: int) -> None:
    expected = P256.encode(P256.multiply(secret, P256.generator))
    assert driver.ask("exchange-public", P256.bytes_of(secret)) == [YES, expected]


def bad_points(curve: Curve) -> dict[str, bytes]:
    """What a peer may send instead of a point."""
    x, y = curve.generator or (0, 0)
    small = next(point for candidate in range(1, 100) if (point := curve.lift(candidate)))
    other_curve = next(
        (x, root)
        for x in range(1, 100)
        for square in [(x**3 - 3 * x + curve.b + 1) % curve.p]
        for root in [pow(square, (curve.p + 1) // 4, curve.p)]
        if root * root % curve.p == square
    )
    good = curve.encode((x, y))
    return {
        "not on the curve": curve.encode((x, (y + 1) % curve.p)),
        "on the twist or nowhere": curve.encode((next(c for c in range(1, 100) if not curve.lift(c)), 1)),
        "on the curve with another b": curve.encode(other_curve),
        "zeros": bytes(1 + 2 * curve.size),
        "4 and zeros, for infinity": b"\4" + bytes(2 * curve.size),
        "a first coordinate of p or more": curve.encode((small[0] + curve.p, small[1])),
        "a second coordinate of p": curve.encode((0, curve.p)),
        "ones": b"\4" + b"\xff" * 2 * curve.size,
        "the compressed form's number": b"\2" + good[1:],
        "the hybrid form": bytes([6 + y % 2]) + good[1:],
    }  # fmt: skip


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("what", bad_points(P256))
def test_what_is_no_point_is_refused(driver: Driver, name: str, what: str) -> None:
    curve = CURVES[name]
    sent = bad_points(curve)[what]
    assert driver.ask("point", bytes([curve.size]), curve.bytes_of(5), sent)[0] == NO
    if curve is P256:
        assert driver.ask("exchange-shared", P256.bytes_of(5), sent) == [NO, bytes(32)]
