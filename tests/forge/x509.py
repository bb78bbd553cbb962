"""Certificates, revocation lists and keys for tests. Everything here is made anew and worth nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

from cloister._x509 import Certificate, Crl
from cloister.emulate.vendors import x509 as vendor
from cloister.emulate.vendors.x509 import Issuer, der_of

__all__ = ["NOW", "YEAR", "Authority", "der_of", "ec_key", "issue", "revocation_list", "spki"]

NOW = datetime(2026, 6, 1, tzinfo=UTC)
"""The time at which everything forged is valid."""

YEAR = timedelta(days=365)


class Authority:
    """A key with a certificate that may issue others. Without `issuer` it is a root."""

    def __init__(self, name: str, issuer: "Authority | None" = None, *, curve: ec.EllipticCurve | None = None) -> None:
        self.key = ec_key(curve)
        self.name = named(name)
        self.certificate = issue(name, self.key.public_key(), issuer or self, ca=True)

    @property
    def issuer(self) -> Issuer:
        """As emulated manufacturers call it; name and key are the present ones."""
        return Issuer(name=self.name, key=self.key)


def named(name: str) -> x509.Name:
    """A name that is only a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A fresh EC key, P-256 unless said otherwise."""
    return ec.generate_private_key(curve or ec.SECP256R1())


def issue(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuer: Authority,
    *,
    ca: bool = False,
    start: datetime = NOW - YEAR,
    end: datetime = NOW + 5 * YEAR,
    extensions: Sequence[tuple[str, bytes, bool]] = (),
) -> Certificate:
    """A certificate for `key`; `extensions` are (object identifier, DER value, critical)."""
    return vendor.issue(
        named(name), key, issuer.issuer, ca=ca, valid=(start, end),
        extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), der), c) for oid, der, c in extensions],
    )  # fmt: skip


def revocation_list(
    issuer: Authority, *revoked: Certificate, start: datetime = NOW - YEAR / 12, end: datetime = NOW + YEAR / 12
) -> Crl:
    """A revocation list with these certificates on it, and without the extensions that manufacturers' lists have."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.name).last_update(start).next_update(end)
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial).revocation_date(start).build()
        builder = builder.add_revoked_certificate(entry)
    return Crl.parse(builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


def spki(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """The DER SubjectPublicKeyInfo of a private key's public half, of any kind."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
