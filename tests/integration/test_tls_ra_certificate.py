"""The certificate with evidence that the runtime makes: whoever verifies those of `cloister.tls` verifies it."""

import os
from collections.abc import Iterator
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.forge.x509 import NOW
from tests.property.tls_pieces.driver import Driver, build
from tests.services.attested_tls import converse, credentials, demands, naive, quote, refusal

from cloister import _cbor
from cloister._x509 import Certificate
from cloister.errors import BindingInvalid, NotFresh
from cloister.tls import client_context
from cloister.tls.certificate import EVIDENCE_EXTENSION, LARGEST_EVIDENCE, claims_for, make_credentials
from cloister.tls.course import Peer

SECRET = bytes(range(1, 33))
KEY = ec.derive_private_key(int.from_bytes(SECRET, "big"), ec.SECP256R1())
DATES = (NOW - timedelta(minutes=5), NOW + timedelta(days=1))


@pytest.fixture(scope="module", params=[False, True], ids=["as the runtime", "sanitized"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    one = Driver(build(sanitized=request.param))
    yield one
    one.close()


def spki() -> bytes:
    return KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def made(driver: Driver, evidence: bytes, *, dates: tuple[int, int] | None = None, less_room: int = 0) -> bytes:
    """The certificate; empty if there is none."""
    first, last = dates or (int(DATES[0].timestamp()), int(DATES[1].timestamp()))
    both = first.to_bytes(8, "big", signed=True) + last.to_bytes(8, "big", signed=True)
    return driver.ask("ra-certificate", SECRET, os.urandom(48), evidence, both, less_room.to_bytes(2, "big"))[0]


def evidence(driver: Driver) -> bytes:
    return quote(driver.ask("ra-report", SECRET)[0])


def peer_over_tls(der: bytes) -> Peer | None:
    """A whole handshake: OpenSSL must take the certificate, and the key must be its own."""
    server = naive(server=True, shows=credentials(KEY, Certificate.parse(der)))
    client, served = converse(client_context(demands()), server)
    if client.error:
        raise refusal(client, None).error or client.error
    assert served.received == b"request"
    return client.peer


def test_the_verifier_accepts_it(driver: Driver) -> None:
    peer = peer_over_tls(made(driver, evidence(driver)))
    assert peer is not None
    assert peer.certificate.not_before == DATES[0].replace(microsecond=0)


def test_it_signs_itself_and_says_what_the_other_maker_says(driver: Driver) -> None:
    one = x509.load_der_x509_certificate(made(driver, evidence(driver)))
    other = x509.load_der_x509_certificate(make_credentials(quote, valid=DATES).certificate.encoded)
    one.verify_directly_issued_by(one)
    assert (one.subject, one.issuer, one.version) == (other.subject, other.issuer, other.version)
    assert one.signature_algorithm_oid == other.signature_algorithm_oid
    named = {extension.oid.dotted_string: extension for extension in one.extensions}
    assert list(named) == [extension.oid.dotted_string for extension in other.extensions]
    for extension in other.extensions:
        same = named[extension.oid.dotted_string]
        assert same.critical == extension.critical
        assert same.value == extension.value or extension.oid.dotted_string == EVIDENCE_EXTENSION
    assert 0 < one.serial_number < 1 << 127
    assert Certificate.parse(one.public_bytes(Encoding.DER)).spki == spki()


def test_evidence_for_another_key_is_refused(driver: Driver) -> None:
    other = quote(driver.ask("ra-report", bytes(range(2, 34)))[0])
    with pytest.raises(BindingInvalid):
        peer_over_tls(made(driver, other))


def test_its_dates_are_looked_at(driver: Driver) -> None:
    past = made(driver, evidence(driver), dates=(0, int(NOW.timestamp()) - 1))
    with pytest.raises(NotFresh):
        peer_over_tls(past)


@pytest.mark.parametrize("size", [1, 23, 24, 255, 256, 4096, LARGEST_EVIDENCE])
def test_every_size_of_evidence(driver: Driver, size: int) -> None:
    """Lengths of DER and CBOR change their form on the way."""
    der = made(driver, b"e" * size)
    tagged = _cbor.loads(Certificate.parse(der).extensions[EVIDENCE_EXTENSION].value, "evidence", longest=1 << 17)
    assert tagged == _cbor.Tag(60000, [b"e" * size, claims_for(spki())])
    assert x509.load_der_x509_certificate(der).serial_number


@pytest.mark.parametrize("size", [0, LARGEST_EVIDENCE + 1])
def test_evidence_that_does_not_fit(driver: Driver, size: int) -> None:
    assert made(driver, b"e" * size) == b""


@pytest.mark.parametrize("dates", [(2, 1), (-1, 1), (0, 253402300800), (0, 1 << 62)])
def test_dates_that_are_none(driver: Driver, dates: tuple[int, int]) -> None:
    assert made(driver, b"evidence", dates=(0, 253402300799)) != b""
    assert made(driver, b"evidence", dates=dates) == b""


def test_too_little_room_is_said_beforehand(driver: Driver) -> None:
    assert made(driver, b"evidence", less_room=0) != b""
    assert made(driver, b"evidence", less_room=1) == b""


@pytest.mark.parametrize("moment", [0, 68169600, 951782399, 951782400, 951868800, 2524607999, 2524608000, 4107542400])
def test_dates_are_written_as_they_are_read(driver: Driver, moment: int) -> None:
    """Around leap days, the year 2000, and 2050, where the form changes."""
    parsed = Certificate.parse(made(driver, b"evidence", dates=(moment, moment)))
    assert parsed.not_before.timestamp() == parsed.not_after.timestamp() == moment
