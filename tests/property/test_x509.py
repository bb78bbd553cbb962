"""Certificates and revocation lists, against the crypto library's own reader as an oracle."""

import contextlib
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.forge.x509 import NOW, Authority, der_of, ec_key, issue, revocation_list

from cloister._der import Der, oid_of
from cloister._x509 import Certificate, Crl, common_name, pem_blocks
from cloister.errors import ParseError

ROOT = Authority("Forged Root")
LEAF = issue("a leaf with ünïcode", ec_key().public_key(), ROOT, extensions=[("1.2.3.4", b"\x04\x01x", False)])
LIST = revocation_list(ROOT, LEAF)


def test_the_oracle_agrees_on_certificates() -> None:
    for ours in (ROOT.certificate, LEAF):
        theirs = x509.load_der_x509_certificate(ours.encoded)
        assert ours.serial == theirs.serial_number
        assert ours.issuer == theirs.issuer.public_bytes()
        assert ours.subject == theirs.subject.public_bytes()
        assert (ours.not_before, ours.not_after) == (theirs.not_valid_before_utc, theirs.not_valid_after_utc)
        assert (ours.tbs, ours.signature) == (theirs.tbs_certificate_bytes, theirs.signature)
        assert set(ours.extensions) == {one.oid.dotted_string for one in theirs.extensions}
        spki = theirs.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert ours.spki == spki
    assert LEAF.name == "a leaf with ünïcode"
    assert (ROOT.certificate.is_ca, LEAF.is_ca) == (True, False)


def test_the_oracle_agrees_on_lists() -> None:
    theirs = x509.load_der_x509_crl(LIST.encoded)
    assert LIST.revoked == {one.serial_number for one in theirs} == {LEAF.serial}
    assert LIST.issuer == theirs.issuer.public_bytes()
    assert (LIST.this_update, LIST.next_update) == (theirs.last_update_utc, theirs.next_update_utc)
    assert LIST.tbs == theirs.tbs_certlist_bytes


@given(st.integers(0, len(LEAF.encoded) - 1), st.integers(1, 255))
def test_a_changed_certificate_is_refused_or_read_as_what_it_is(position: int, change: int) -> None:
    data = bytearray(LEAF.encoded)
    data[position] ^= change
    with contextlib.suppress(ParseError):
        found = Certificate.parse(bytes(data))
        assert found.encoded == bytes(data)
        assert found != LEAF
        contained = found.tbs in bytes(data)
        assert contained


@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    for parse in (Certificate.parse, Crl.parse):
        with contextlib.suppress(ParseError):
            parse(data)


@given(st.integers(0, len(LEAF.encoded)))
def test_truncated(size: int) -> None:
    if size < len(LEAF.encoded):
        with pytest.raises(ParseError):
            Certificate.parse(LEAF.encoded[:size])


def test_nothing_may_follow() -> None:
    with pytest.raises(ParseError, match="too many"):
        Certificate.parse(LEAF.encoded + b"\0")


def test_an_extension_must_not_stand_twice() -> None:
    """Two readers could each believe another one of them."""
    one, two = (der_of(0x30, der_of(6, b"\x2a\x03\x04"), der_of(4, value)) for value in (b"first", b"second"))
    inside = Der(LEAF.tbs, "tbs").inside("tbs")
    kept = b""
    while inside.tag() != 0xA3:
        kept += inside.whole("part")
    whole = Der(LEAF.encoded, "certificate").inside("certificate")
    whole.whole("tbs")
    rest = whole.whole("algorithm") + whole.whole("signature")
    for extensions, refused in (((one,), False), ((one, two), True)):
        made = der_of(0x30, der_of(0x30, kept, der_of(0xA3, der_of(0x30, *extensions))), rest)
        if refused:
            with pytest.raises(ParseError, match="stands twice"):
                Certificate.parse(made)
        else:
            assert Certificate.parse(made).extensions["1.2.3.4"].value == b"first"


DIGESTS: list[tuple[hashes.SHA256 | hashes.SHA384 | hashes.SHA512, str]] = [
    (hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512"),
]  # fmt: skip


@pytest.mark.parametrize(("digest", "name"), DIGESTS)
def test_signature_algorithms(digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512, name: str) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    made = builder().public_key(key.public_key()).sign(key, digest)
    found = Certificate.parse(made.public_bytes(serialization.Encoding.DER))
    assert (found.algorithm.scheme, found.algorithm.digest) == ("ecdsa", name)


def test_rsa_pss_names_hash_and_salt() -> None:
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

    key = rsa.generate_private_key(65537, 2048)
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    made = builder().public_key(key.public_key()).sign(key, hashes.SHA384(), rsa_padding=pss)
    found = Certificate.parse(made.public_bytes(serialization.Encoding.DER))
    assert (found.algorithm.scheme, found.algorithm.digest, found.algorithm.salt) == ("rsa-pss", "sha384", 48)


def builder() -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    return (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).serial_number(1)
        .not_valid_before(NOW).not_valid_after(NOW + dt.timedelta(1))
    )  # fmt: skip


# ---------------------------------------------------------------- DER


@given(st.lists(st.integers(0, 2**70), min_size=1, max_size=6), st.integers(0, 2), st.integers(0, 39))
def test_object_identifiers(arcs: list[int], first: int, second: int) -> None:
    content = b"".join(base128(arc) for arc in [40 * first + second, *arcs])
    assert oid_of(content) == ".".join(map(str, [first, second, *arcs]))


def base128(number: int) -> bytes:
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))


@given(st.integers(-(2**100), 2**100))
def test_integers(number: int) -> None:
    size = (number + (number < 0)).bit_length() // 8 + 1
    assert Der(der_of(2, number.to_bytes(size, signed=True)), "x").integer("n") == number


STRICT = {
    "an indefinite length": b"\x30\x80\x00\x00",
    "a length in too many bytes": b"\x04\x81\x01x",
    "a length with a leading zero": b"\x04\x82\x00\x80" + bytes(128),
    "a length of five bytes": b"\x04\x85\x00\x00\x00\x00\x01x",
    "a length beyond the data": b"\x04\x05abcd",
    "a tag of several bytes": b"\x1f\x81\x01\x00",
    "half a header": b"\x04",
}


@pytest.mark.parametrize("fault", STRICT)
def test_only_der_is_read(fault: str) -> None:
    with pytest.raises(ParseError):
        Der(STRICT[fault], "x").element("one")


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"\xff\x80"])
def test_numbers_in_their_shortest_form_only(content: bytes) -> None:
    with pytest.raises(ParseError, match="shortest"):
        Der(der_of(2, content), "x").integer("n")


@pytest.mark.parametrize(
    "text", [b"991231235959+0100", b"9912312359Z", b"991331000000Z", "٩٩1231235959Z".encode(), b"Z"]
)
def test_times_in_the_forms_of_certificates_only(text: bytes) -> None:
    with pytest.raises(ParseError):
        Der(der_of(0x17, text), "x").time("t")


def test_times() -> None:
    assert Der(der_of(0x17, b"491231235959Z"), "x").time("t").year == 2049
    assert Der(der_of(0x17, b"500101000000Z"), "x").time("t").year == 1950
    assert Der(der_of(0x18, b"20500101000000Z"), "x").time("t").year == 2050


# ---------------------------------------------------------------- PEM


def test_pem_blocks_are_found_by_label() -> None:
    text = b"junk\n-----BEGIN A-----\nAAAA\n-----END A-----\nmore -----BEGIN B-----\nAQ==\n-----END B-----\0"
    assert pem_blocks(text, "A") == [bytes(3)]
    assert pem_blocks(text, "B") == [b"\1"]
    assert pem_blocks(text, "C") == []


def test_pem_that_is_no_base64() -> None:
    with pytest.raises(ParseError, match="base64"):
        pem_blocks(b"-----BEGIN A-----\nA\n-----END A-----", "A")


@given(st.binary(max_size=200))
def test_pem_of_arbitrary_bytes(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        pem_blocks(b"-----BEGIN A-----" + data + b"-----END A-----", "A")


def test_many_beginnings_are_read_quickly() -> None:
    assert pem_blocks(b"-----BEGIN A-----" * 200_000, "A") == []


def test_common_name() -> None:
    assert common_name(ROOT.certificate.subject) == "Forged Root"
    assert common_name(der_of(0x30)) == ""
