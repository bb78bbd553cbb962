"""What every emulated manufacturer needs of X.509 (RFC 5280): authorities, certificates, revocation lists, DER.

    root = keystore.authority("intel-root", subject("Emulated Intel SGX Root CA"), make=p256)
    certificate = issue(subject("Emulated ..."), key.public_key(), root, extensions=[...])
    revocation_list(root, at=now)

Nothing here asks a clock: certificates of a factory are valid in fixed years, lists from the time that is given.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from cloister._x509 import Certificate, Crl

__all__ = [
    "ECDSA_SHA256",
    "LIFETIME",
    "PSS_SHA384",
    "Authority",
    "Issuer",
    "Signing",
    "SigningKey",
    "armoured",
    "der_integer",
    "der_of",
    "der_oid",
    "issue",
    "key_extensions",
    "p256",
    "p384",
    "revocation_list",
    "spki",
    "subject",
]

ORGANISATION: Final = "Cloister emulated manufacturer"
LIFETIME: Final = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC))
"""When certificates of emulated factories are valid, whatever day they are made on. Intel's root ends then."""
MONTH: Final = timedelta(days=30)

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Extensions = Iterable[tuple[x509.ExtensionType, bool]]
"""Extensions, each with whether it is critical."""


class Signing(NamedTuple):
    """How an authority signs: the hash, and for RSA the padding."""

    digest: hashes.SHA256 | hashes.SHA384
    rsa_padding: padding.PSS | None = None


ECDSA_SHA256: Final = Signing(hashes.SHA256())
PSS_SHA384: Final = Signing(hashes.SHA384(), padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48))
"""As AMD's roots sign (AMD 57230, Versioned Chip Endorsement Key Certificate and KDS Interface Specification)."""


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """Who signs certificates: name, key, and how."""

    name: x509.Name
    key: SigningKey = field(repr=False)
    signing: Signing = ECDSA_SHA256


@dataclass(frozen=True, kw_only=True)
class Authority(Issuer):
    """An issuer with its own certificate."""

    certificate: Certificate


def p256() -> ec.EllipticCurvePrivateKey:
    """A fresh key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def p384() -> ec.EllipticCurvePrivateKey:
    """A fresh key on P-384."""
    return ec.generate_private_key(ec.SECP384R1())


def subject(common_name: str) -> x509.Name:
    """The name of an emulated party. Its organisation says so too, where the common name is cut off in a display."""
    return x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
    ])  # fmt: skip


def issue(
    name: x509.Name,
    key: PublicKey,
    issuer: Issuer,
    *,
    ca: bool = False,
    path_length: int | None = None,
    valid: tuple[datetime, datetime] = LIFETIME,
    serial: int | None = None,
    extensions: Extensions = (),
) -> Certificate:
    """A certificate of `issuer` for `key`. basicConstraints is always there; other extensions as given."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.name)
        .public_key(key)
        .serial_number(x509.random_serial_number() if serial is None else serial)
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    digest, rsa_padding = issuer.signing
    signed = builder.sign(issuer.key, digest, rsa_padding=rsa_padding)
    return Certificate.parse(signed.public_bytes(serialization.Encoding.DER))


def key_extensions(key: PublicKey, issuer: Issuer, *, ca: bool) -> list[tuple[x509.ExtensionType, bool]]:
    """The identifiers of both keys, and what the certified one is for (RFC 5280, sections 4.2.1.1 to 4.2.1.3)."""
    usage = x509.KeyUsage(
        digital_signature=not ca, content_commitment=not ca, key_cert_sign=ca, crl_sign=ca, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return [
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False),
        (usage, True),
    ]


def revocation_list(
    issuer: Issuer, revoked: Sequence[Certificate] = (), *, at: datetime, valid: timedelta = MONTH
) -> Crl:
    """A revocation list of that time with these certificates on it (RFC 5280, section 5).

    Its number is the time in seconds, so that a later list has a higher one.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.name)
        .last_update(at)
        .next_update(at + valid)
        .add_extension(x509.CRLNumber(int(at.timestamp())), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial).revocation_date(at).build()
        builder = builder.add_revoked_certificate(entry)
    digest, rsa_padding = issuer.signing
    signed = builder.sign(issuer.key, digest, rsa_padding=rsa_padding)
    return Crl.parse(signed.public_bytes(serialization.Encoding.DER))


def spki(key: SigningKey) -> bytes:
    """The DER SubjectPublicKeyInfo of a private key's public half."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def armoured(der: bytes, label: str = "CERTIFICATE") -> bytes:
    """DER as a PEM block (RFC 7468)."""
    digits = base64.b64encode(der).decode("ascii")
    lines = "\n".join(digits[i : i + 64] for i in range(0, len(digits), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode("ascii")


def der_of(tag: int, *parts: bytes) -> bytes:
    """A DER element with its length (X.690, section 8.1)."""
    content = b"".join(parts)
    size = len(content)
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    length = bytes([size]) if size < 128 else bytes([0x80 + len(digits)]) + digits
    return bytes([tag]) + length + content


def der_integer(value: int) -> bytes:
    """A DER INTEGER that is not negative (X.690, section 8.3)."""
    return der_of(2, value.to_bytes(value.bit_length() // 8 + 1))


def der_oid(dotted: str) -> bytes:
    """A DER OBJECT IDENTIFIER (X.690, section 8.19)."""
    first, second, *arcs = map(int, dotted.split("."))
    content = bytearray()
    for arc in [40 * first + second, *arcs]:
        groups, rest = [arc & 0x7F], arc >> 7
        while rest:
            groups.append(rest & 0x7F | 0x80)
            rest >>= 7
        content += bytes(reversed(groups))
    return der_of(6, bytes(content))
