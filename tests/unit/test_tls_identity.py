"""Keys and certificates of attested TLS: what stands in them, when they are renewed, and where the key never is."""

import base64
import hashlib
import os
import re
import ssl
import threading
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge.x509 import NOW, YEAR
from tests.services.attested_tls import identity, quote

from cloister import _cbor
from cloister.errors import UsageError
from cloister.evidence import sgx
from cloister.tls import Produced
from cloister.tls.certificate import EVIDENCE_EXTENSION, LARGEST_EVIDENCE, Credentials, make_credentials
from cloister.tls.identity import load

VALID = (NOW, NOW + YEAR)
HOUR = timedelta(hours=1)


# ---------------------------------------------------------------- the certificate


def test_the_extension_is_interoperable_ra_tls() -> None:
    """CCC interoperable RA-TLS, spelled out here once more: tag, claims, hash of the key, hash of the claims."""
    certificate = make_credentials(quote, valid=VALID).certificate
    tagged = _cbor.loads(certificate.extensions[EVIDENCE_EXTENSION].value, "extension")
    assert isinstance(tagged, _cbor.Tag)
    evidence, claims = tagged.value
    assert tagged.tag == 60000
    key_hash = hashlib.sha256(certificate.spki).digest()
    assert claims == b"\xa1\x6bpubkey-hash\x58\x24" + b"\x82\x01\x58\x20" + key_hash
    assert sgx.parse(evidence).body.report_data == hashlib.sha256(claims).digest() + bytes(32)
    assert certificate.issuer == certificate.subject
    assert not certificate.is_ca
    assert (certificate.not_before, certificate.not_after) == VALID


def test_every_certificate_has_its_own_key() -> None:
    assert (
        make_credentials(quote, valid=VALID).certificate.spki != make_credentials(quote, valid=VALID).certificate.spki
    )


def test_names_are_put_in_if_asked_for() -> None:
    names = "2.5.29.17"
    assert names not in make_credentials(quote, valid=VALID).certificate.extensions
    made = make_credentials(quote, names=["db.example", "127.0.0.1"], valid=VALID).certificate
    assert b"db.example" in made.extensions[names].value
    assert bytes([127, 0, 0, 1]) in made.extensions[names].value


@pytest.mark.parametrize("evidence", [b"", b"no evidence", bytes(100)])
def test_a_provider_that_makes_no_evidence_is_noticed(evidence: bytes) -> None:
    with pytest.raises(UsageError, match="no known evidence"):
        make_credentials(lambda _: evidence, valid=VALID)


def test_evidence_that_does_not_fit_is_noticed() -> None:
    with pytest.raises(UsageError, match="at most"):
        make_credentials(lambda data: quote(data) + bytes(LARGEST_EVIDENCE), valid=VALID)


def test_endorsements_stand_behind_the_leaf() -> None:
    other = make_credentials(quote, valid=VALID).certificate.encoded
    made = make_credentials(lambda data: Produced(evidence=quote(data), certificates=(other,)), valid=VALID)
    assert made.pem.count(b"BEGIN CERTIFICATE") == 2
    assert made.pem.index(b"BEGIN CERTIFICATE") < made.pem.index(base64.b64encode(other)[:64])


# ---------------------------------------------------------------- the private key


def test_the_key_goes_through_memory_only_and_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was in the memfd, read by somebody who kept it open: no key without the passphrase, which is not there."""
    kept: list[int] = []
    create = os.memfd_create

    def keeping(name: str, flags: int) -> int:
        file = create(name, flags)
        kept.append(os.dup(file))
        return file

    monkeypatch.setattr(os, "memfd_create", keeping)
    before = set(os.listdir("/proc/self/fd"))
    made = make_credentials(quote, valid=VALID)
    load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), made)
    content = os.pread(kept[0], 1 << 20, 0)
    os.close(kept[0])
    assert set(os.listdir("/proc/self/fd")) == before
    scalar = private_scalar(made)
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in content
    assert b"BEGIN PRIVATE" not in content
    assert b"BEGIN EC" not in content
    blocks = re.findall(rb"-----BEGIN [A-Z ]+-----([^-]+)-----END", content)
    assert len(blocks) == 2
    assert not [one for one in blocks if scalar in base64.b64decode(one)]
    assert made.passphrase not in content


def private_scalar(made: Credentials) -> bytes:
    key = serialization.load_pem_private_key(made.pem[made.pem.index(b"-----BEGIN ENCRYPTED") :], made.passphrase)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.private_numbers().private_value.to_bytes(32, "big")


def test_nothing_prints_the_key() -> None:
    held = identity()
    made = held.credentials()
    shown = f"{made!r} {held!r} {vars(held)!r}"
    assert made.passphrase.decode() not in shown
    assert "PRIVATE" not in shown


# ---------------------------------------------------------------- renewal


def test_credentials_are_renewed_before_they_are_old() -> None:
    times = [NOW]
    held = identity(lifetime=3 * HOUR, clock=lambda: times[0])
    first = held.credentials()
    for minutes, same in ((0, True), (119, True), (120, False)):
        times[0] = NOW + timedelta(minutes=minutes)
        assert (held.credentials() is first) is same, minutes
    assert held.credentials().certificate.spki != first.certificate.spki
    assert held.credentials().certificate.not_after == NOW + 5 * HOUR


def test_a_provider_that_fails_is_survived_as_long_as_the_certificate_is_valid() -> None:
    times, broken = [NOW], [False]

    def provider(report_data: bytes) -> bytes:
        if broken[0]:
            raise OSError("no TEE")
        return quote(report_data)

    held = identity(provider, lifetime=3 * HOUR, clock=lambda: times[0])
    first = held.credentials()
    broken[0], times[0] = True, NOW + 2.5 * HOUR
    assert held.credentials() is first
    assert str(held.renewal_error) == "no TEE"
    times[0] = NOW + 3 * HOUR
    with pytest.raises(OSError, match="no TEE"):
        held.credentials()
    broken[0] = False
    assert held.credentials() is not first
    assert held.renewal_error is None


def test_a_first_failure_is_not_hidden() -> None:
    def provider(_: bytes) -> bytes:
        raise OSError("no TEE")

    with pytest.raises(OSError, match="no TEE"):
        identity(provider).credentials()


def test_threads_that_come_at_once_get_the_same_credentials() -> None:
    asked: list[bytes] = []

    def provider(report_data: bytes) -> bytes:
        asked.append(report_data)
        return quote(report_data)

    held, found = identity(provider), list[Credentials]()
    threads = [threading.Thread(target=lambda: found.append(held.credentials())) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(20)
    assert len(asked) == 1
    assert len(set(map(id, found))) == 1
    assert len(found) == 8


def test_a_renewal_can_be_asked_for() -> None:
    held = identity()
    first = held.credentials()
    assert held.renew() is held.credentials() is not first


@pytest.mark.parametrize("lifetime", [timedelta(0), -HOUR])
def test_a_lifetime_is_more_than_nothing(lifetime: timedelta) -> None:
    with pytest.raises(UsageError, match="more than nothing"):
        identity(lifetime=lifetime)
