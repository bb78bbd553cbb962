"""Attacks by certificates and lists that come along with evidence: chains, names, revocation, numbers, keys."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.forge import amd, envelope
from tests.forge.every import NONCE, members
from tests.forge.intel import IntelForge, stamp
from tests.forge.x509 import NOW, YEAR, Authority, der_of, ec_key, issue, revocation_list, spki

import cloister
from cloister import _crypto
from cloister._der import Der
from cloister._x509 import Certificate, Crl, SignatureAlgorithm
from cloister.endorse.amd import SPLS, ek_info
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.store import Endorsements
from cloister.errors import (
    ChainInvalid,
    CloisterError,
    EndorsementUnavailable,
    ParseError,
    Revoked,
    SignatureInvalid,
)
from cloister.evidence.tpm_key import rsa_spki
from cloister.model import Tee, Unchecked
from cloister.verification.chains import build_chain, check_revocation, signature_holds
from cloister.verification.recipe import Allowances

ROOT = Authority("A root")
MIDDLE = Authority("A middle", ROOT)
LEAF_KEY = ec_key()
LEAF = issue("A leaf", LEAF_KEY.public_key(), MIDDLE)
ANCHORS = TrustAnchors.testing(spki(ROOT.key))
POOL = (MIDDLE.certificate, ROOT.certificate)
DAY = timedelta(days=1)


def chain(leaf: Certificate = LEAF, *pool: Certificate) -> tuple[Certificate, ...]:
    return build_chain(leaf, pool or POOL, ANCHORS, Tee.TPM)


def certificate(
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    subject: str,
    issuer: str,
    *extensions: x509.ExtensionType,
    **changes: Any,
) -> Certificate:
    """A certificate with any names, keys and extensions (all critical)."""
    start, end = changes.get("start", NOW - YEAR), changes.get("end", NOW + YEAR)
    builder = x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]),
        key, changes.get("serial", x509.random_serial_number()), start, end,
    )  # fmt: skip
    for one in extensions:
        builder = builder.add_extension(one, critical=True)
    return Certificate.parse(builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


AUTHORITY = x509.BasicConstraints(ca=True, path_length=None)
SIGNS_DATA = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=False, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip
ODD = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")


# ---------------------------------------------------------------- chains


def test_the_control_this_chain_holds() -> None:
    assert chain() == (LEAF, *POOL)
    assert chain(LEAF, *POOL[::-1]) == (LEAF, *POOL)


MIDDLES: dict[str, Callable[[], Certificate]] = {
    "no authority": lambda: certificate(
        MIDDLE.key.public_key(), ROOT.key, "A middle", "A root", x509.BasicConstraints(ca=False, path_length=None)
    ),
    "nothing about authority": lambda: certificate(MIDDLE.key.public_key(), ROOT.key, "A middle", "A root"),
    "an authority whose key signs no certificates": lambda: certificate(
        MIDDLE.key.public_key(), ROOT.key, "A middle", "A root", AUTHORITY, SIGNS_DATA
    ),
    "another name": lambda: certificate(MIDDLE.key.public_key(), ROOT.key, "A  middle", "A root", AUTHORITY),
    "another case": lambda: certificate(MIDDLE.key.public_key(), ROOT.key, "a middle", "A root", AUTHORITY),
    "another key": lambda: certificate(ec_key().public_key(), ROOT.key, "A middle", "A root", AUTHORITY),
    "signed by somebody else": lambda: certificate(MIDDLE.key.public_key(), ec_key(), "A middle", "A root", AUTHORITY),
    "an extension that must be understood": lambda: certificate(
        MIDDLE.key.public_key(), ROOT.key, "A middle", "A root", AUTHORITY, ODD
    ),
}


@pytest.mark.parametrize("make", MIDDLES.values(), ids=MIDDLES)
def test_a_middle_that_may_not_issue(make: Callable[[], Certificate]) -> None:
    with pytest.raises(ChainInvalid):
        chain(LEAF, make(), ROOT.certificate)


def test_a_path_length_counts_the_authorities_below() -> None:
    short = certificate(
        MIDDLE.key.public_key(), ROOT.key, "A middle", "A root", x509.BasicConstraints(ca=True, path_length=0)
    )
    assert chain(LEAF, short, ROOT.certificate)[1] == short
    below = Authority("Below", MIDDLE)
    leaf = issue("Lower", ec_key().public_key(), below)
    assert len(chain(leaf, below.certificate, *POOL)) == 4
    with pytest.raises(ChainInvalid):
        chain(leaf, below.certificate, short, ROOT.certificate)


def test_a_copy_of_the_root_that_nobody_signed() -> None:
    """The pinned key in a certificate with other dates: only what that key has signed counts."""
    copy = certificate(ROOT.key.public_key(), ec_key(), "A root", "A root", AUTHORITY, end=NOW + 90 * YEAR)
    with pytest.raises(ChainInvalid):
        chain(LEAF, MIDDLE.certificate, copy)
    assert chain(LEAF, copy, *POOL)[-1] == ROOT.certificate


def test_a_forged_issuer_does_not_hide_the_genuine_one() -> None:
    """The genuine key and name in a certificate that nobody signed, with an extension that must be understood."""
    for serial in range(1, 9):  # candidates are tried in the order of their bytes
        forged = certificate(MIDDLE.key.public_key(), ec_key(), "A middle", "A root", AUTHORITY, ODD, serial=serial)
        assert chain(LEAF, forged, *POOL) == (LEAF, *POOL)


def test_many_authorities_of_one_name_and_key_cost_little_time() -> None:
    """Every one verifies under every other, so that a search without memory walks all orders of six of them."""
    key = ec_key()
    same = [certificate(key.public_key(), key, "Same", "Same", AUTHORITY, serial=one) for one in range(1, 14)]
    start = time.thread_time()
    with pytest.raises(ChainInvalid):
        build_chain(same[0], tuple(same), ANCHORS, Tee.SGX)
    assert time.thread_time() - start < 0.25


def test_a_chain_in_a_circle_ends() -> None:
    one, other = ec_key(), ec_key()
    circle = (
        certificate(one.public_key(), other, "One", "Other", AUTHORITY),
        certificate(other.public_key(), one, "Other", "One", AUTHORITY),
    )
    with pytest.raises(ChainInvalid):
        chain(circle[0], *circle)


# ---------------------------------------------------------------- revocation


def revocation(*lists: Crl, at: datetime = NOW) -> object:
    genuine = build_chain(LEAF, POOL, ANCHORS, Tee.TPM)
    return check_revocation(genuine, lists, at, Allowances(), hint="give lists")


CLEAN = (revocation_list(ROOT), revocation_list(MIDDLE))


def test_the_control_these_lists_clear() -> None:
    assert not isinstance(revocation(*CLEAN), Unchecked)


def test_an_older_list_that_comes_along_does_not_clear_what_a_newer_one_revokes() -> None:
    newer = revocation_list(MIDDLE, LEAF, start=NOW - DAY)
    for lists in ((*CLEAN, newer), (newer, *CLEAN)):
        with pytest.raises(Revoked):
            revocation(*lists)


def renamed() -> Crl:
    """A list that the right key signed in another name."""
    other = Authority("Another name")
    other.key = MIDDLE.key
    return revocation_list(other)


NOT_CURRENT: dict[str, Callable[[], Crl]] = {
    "expired": lambda: revocation_list(MIDDLE, end=NOW - DAY),
    "of the future": lambda: revocation_list(MIDDLE, start=NOW + DAY),
    "of another authority of that name": lambda: revocation_list(Authority("A middle", ROOT)),
    "of the root": lambda: revocation_list(ROOT),
    "with another name on it": renamed,
}


@pytest.mark.parametrize("make", NOT_CURRENT.values(), ids=NOT_CURRENT)
def test_a_list_that_says_nothing(make: Callable[[], Crl]) -> None:
    with pytest.raises(EndorsementUnavailable):
        revocation(CLEAN[0], make())


def scope(**which: bool) -> x509.IssuingDistributionPoint:
    """What a partial list says about itself."""
    said = dict.fromkeys(
        ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs"), False
    )
    return x509.IssuingDistributionPoint(full_name=None, relative_name=None, only_some_reasons=None, **said | which)


@pytest.mark.parametrize(
    "extension",
    [
        x509.DeltaCRLIndicator(1),
        scope(indirect_crl=True),
        scope(only_contains_user_certs=True),
    ],
    ids=["what has changed only", "indirect", "user certificates only"],
)
def test_a_list_about_a_part_of_the_certificates_is_not_read(extension: x509.ExtensionType) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A middle")])
    builder = x509.CertificateRevocationListBuilder(name, NOW - DAY, NOW + DAY).add_extension(extension, critical=True)
    data = builder.sign(MIDDLE.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    with pytest.raises(ParseError, match="critical"):
        Crl.parse(data)


INTEL = IntelForge()


def with_collateral(bundle: IntelCollateral) -> bytes:
    """A quote with collateral that its sender chose."""
    statements = envelope.document(members(bundle))
    return envelope.document({
        "quote": ["application/x-quote", envelope.base64url(INTEL.sgx_quote())],
        "collateral": ["application/x-collateral", envelope.base64url(statements)],
    })  # fmt: skip


def verified(data: bytes, *bundles: IntelCollateral) -> cloister.Verdict:
    return cloister.verify(
        data, nonce=Unchecked("not asked"), at=NOW, anchors=INTEL.anchors, endorsements=Endorsements(intel=bundles)
    )


OLD_LISTS = (revocation_list(INTEL.root), revocation_list(INTEL.pck_ca, start=NOW - 20 * DAY))
NEW_LISTS = (revocation_list(INTEL.root), revocation_list(INTEL.pck_ca, INTEL.pck, start=NOW - DAY))


def test_the_control_collateral_that_comes_along_is_used() -> None:
    assert verified(with_collateral(INTEL.collateral(crls=OLD_LISTS))).tcb_status == "UpToDate"
    with pytest.raises(Revoked):
        verified(INTEL.sgx_quote(), INTEL.collateral(crls=NEW_LISTS))


@pytest.mark.parametrize(
    "changes",
    [{"tcbEvaluationDataNumber": 18}, {"issueDate": stamp(NOW - DAY)}],
    ids=["of a higher evaluation", "issued later"],
)
def test_newer_statements_with_older_lists_do_not_clear_a_revoked_platform(changes: dict[str, Any]) -> None:
    """The verifier has the list that names the platform; its sender brings statements that are preferred to those."""
    brought = INTEL.collateral(crls=OLD_LISTS, tcb_info=INTEL.tcb_info(**changes))
    with pytest.raises(Revoked):
        verified(with_collateral(brought), INTEL.collateral(crls=NEW_LISTS))


def test_older_statements_do_not_replace_those_at_hand() -> None:
    better = INTEL.collateral(tcb_info=INTEL.tcb_info(status="UpToDate", tcbEvaluationDataNumber=16))
    at_hand = INTEL.collateral(tcb_info=INTEL.tcb_info(status="OutOfDate"))
    assert verified(with_collateral(better), at_hand).tcb_status == "OutOfDate"


# ---------------------------------------------------------------- numbers and keys


def element(*parts: bytes) -> bytes:
    return der_of(0x30, *parts)


def with_salt(made: Certificate, salt: bytes) -> bytes:
    """A certificate whose algorithm has another salt length, inside and outside."""
    whole = Der(made.encoded, "x").inside("certificate")
    tbs, algorithm = whole.inside("tbs"), whole.whole("algorithm")
    fields = []
    while not tbs.at_end:
        fields.append(tbs.whole("field"))
    parameters = Der(algorithm, "x").inside("algorithm")
    oid, inside = parameters.whole("oid"), parameters.inside("parameters")
    other = element(oid, element(inside.whole("hash"), inside.whole("mask"), der_of(0xA2, der_of(2, salt))))
    return element(element(*(other if one == algorithm else one for one in fields)), other, whole.whole("signature"))


AMD = amd.platform()
MANY = b"\x7f" * 2000
"""More digits than Python writes into a message."""


def test_numbers_of_thousands_of_digits_in_certificates() -> None:
    assert Certificate.parse(with_salt(AMD.ask.certificate, b"\x30")) == AMD.ask.certificate
    with pytest.raises(ParseError):
        Certificate.parse(with_salt(AMD.ask.certificate, MANY))
    ek = AMD.ek(extensions={SPLS["blSPL"]: der_of(2, MANY)})
    with pytest.raises(ParseError):
        ek_info(ek.certificate)
    report = amd.signed_report(AMD.ek(), nonce=NONCE).serialize()
    data = report + envelope.cert_table({envelope.VCEK_GUID: ek.certificate.encoded})
    with pytest.raises(CloisterError):
        cloister.verify(data, nonce=NONCE, at=NOW, anchors=AMD.anchors, endorsements=AMD.endorsements())


def signed_again(data: bytes, place: int, other: bytes) -> bytes:
    """A certificate or list whose field at `place` is another, signed by the middle authority."""
    whole = Der(data, "x").inside("whole")
    tbs, algorithm, fields = whole.inside("tbs"), whole.whole("algorithm"), []
    while not tbs.at_end:
        fields.append(tbs.whole("field"))
    fields[place] = other
    body = element(*fields)
    signature = MIDDLE.key.sign(body, ec.ECDSA(hashes.SHA256()))
    return element(body, algorithm, der_of(3, b"\0" + signature))


def test_negative_serial_numbers_are_revoked_as_they_are() -> None:
    """Two readers that differ in the sign of a serial number differ in who is revoked."""
    negative, positive = b"\x02\x01\xfb", b"\x02\x02\x00\xfb"
    lists = revocation_list(MIDDLE, LEAF)
    entries = {one: element(element(one, der_of(0x17, b"260101000000Z"))) for one in (negative, positive)}
    for serial in (negative, positive):
        leaf = Certificate.parse(signed_again(LEAF.encoded, 1, serial))
        found = build_chain(leaf, POOL, ANCHORS, Tee.TPM)
        for named in (negative, positive):
            some = Crl.parse(signed_again(lists.encoded, 5, entries[named]))
            if named == serial:
                with pytest.raises(Revoked):
                    check_revocation(found, (CLEAN[0], some), NOW, Allowances(), hint="-")
            else:
                check_revocation(found, (CLEAN[0], some), NOW, Allowances(), hint="-")


KEYS = {
    "512 bits": ((1 << 511) | 1, 65537), "64 bits": ((1 << 63) | 1, 65537), "16384 bits": ((1 << 16383) | 1, 65537),
    "an exponent of 2047 bits": ((1 << 2047) | 1, (1 << 2046) | 1), "an even modulus": (1 << 2047, 65537),
    "no exponent": ((1 << 2047) | 1, 0), "an exponent of 1": ((1 << 2047) | 1, 1),
}  # fmt: skip


@pytest.mark.parametrize(("modulus", "exponent"), KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("scheme", ["rsa-pss", "rsa-pkcs1"])
def test_degenerate_rsa_keys_verify_nothing(modulus: int, exponent: int, scheme: str) -> None:
    start = time.thread_time()
    for value in (0, 1, modulus - 1):
        signature = value.to_bytes((modulus.bit_length() + 7) // 8)
        assert not signature_holds(
            b"x", SignatureAlgorithm(scheme, "sha512", 64), signature, rsa_spki(modulus, exponent)
        )
    assert time.thread_time() - start < 0.1


@pytest.mark.parametrize("bits", [512, 16384])
def test_rsa_keys_of_sizes_that_nobody_uses_are_not_loaded(bits: int) -> None:
    with pytest.raises(SignatureInvalid):
        _crypto.load_spki(rsa_spki((1 << bits - 1) | 1, 65537))
    with pytest.raises(SignatureInvalid):
        _crypto.rsa_public_key((1 << bits - 1) | 1, 65537)
