"""Making an RA-TLS certificate: a fresh key, and evidence that speaks of it, in TCG DICE's extension.

    2.23.133.5.4.9    CBOR 60000([evidence, claims])
    claims            {"pubkey-hash": bytes of CBOR [1, SHA-256 of the DER SubjectPublicKeyInfo]}
    report data       SHA-256(claims), followed by 32 zero bytes

(CCC interoperable RA-TLS, "core evidence formats"; TCG DICE Attestation Architecture, section 6.1.) The certificate
signs itself, because who issued it says nothing.
"""

import base64
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloister import _cbor
from cloister._x509 import Certificate
from cloister.envelope.kinds import looks_like_evidence
from cloister.errors import UsageError
from cloister.tls.ports import REPORT_DATA, EvidenceProvider, Produced
from cloister.tls.private_key import passphrase, sealed

__all__ = ["EVIDENCE_EXTENSION", "Credentials", "claims_for", "make_credentials", "produced"]

EVIDENCE_EXTENSION: Final = "2.23.133.5.4.9"
"""tcg-dice-TaggedEvidence."""

QUOTE_AND_CLAIMS: Final = 60000
"""CBOR tag: a quote and the claims whose hash it carries."""

SHA256: Final = 1
"""Named Information Hash Algorithm Registry."""

COMMON_NAME: Final = "RA-TLS"
LARGEST_EVIDENCE: Final = 48 << 10
"""Bytes: a certificate has at most 64 KiB, and OpenSSL takes at most 100 KiB of all certificates."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A certificate with its private key, encrypted under a passphrase that exists in this process only.

    `pem` is what `ssl` loads: leaf, further certificates, and the key as encrypted PKCS #8.
    """

    certificate: Certificate
    pem: bytes = field(repr=False)
    passphrase: bytes = field(repr=False)


def make_credentials(
    provider: EvidenceProvider, *, names: Sequence[str] = (), valid: tuple[datetime, datetime]
) -> Credentials:
    """A fresh P-256 key, and a certificate with evidence over it. `names` become subjectAltName, and prove nothing.

    UsageError if the provider's evidence is in no known format, or too long for a certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    claims = claims_for(_spki(key))
    made = produced(provider, hashlib.sha256(claims).digest())
    value = _cbor.dumps(_cbor.Tag(QUOTE_AND_CLAIMS, [made.evidence, claims]))
    leaf = _issue(key, value, names, valid)
    phrase = passphrase()
    private = _armoured(sealed(key, phrase), "ENCRYPTED PRIVATE KEY")
    der = leaf.public_bytes(serialization.Encoding.DER)
    chain = [_armoured(one, "CERTIFICATE") for one in (der, *made.certificates)]
    return Credentials(certificate=Certificate.parse(der), pem=b"".join([*chain, private]), passphrase=phrase)


def claims_for(spki: bytes) -> bytes:
    """The claims that name a key, as they are hashed into report data."""
    return _cbor.dumps({"pubkey-hash": _cbor.dumps([SHA256, hashlib.sha256(spki).digest()])})


def produced(provider: EvidenceProvider, digest: bytes) -> Produced:
    """Ask for evidence over a digest, followed by zeros. UsageError if what comes cannot be used."""
    answer = provider(digest.ljust(REPORT_DATA, b"\0"))
    made = Produced(evidence=answer) if isinstance(answer, bytes) else answer
    if not looks_like_evidence(made.evidence):
        raise UsageError("the evidence provider returned bytes that are no known evidence format")
    if len(made.evidence) > LARGEST_EVIDENCE:
        raise UsageError(f"evidence of {len(made.evidence)} bytes; at most {LARGEST_EVIDENCE} fit into a certificate")
    return made


def _issue(
    key: ec.EllipticCurvePrivateKey, value: bytes, names: Sequence[str], valid: tuple[datetime, datetime]
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )
    for extension, critical in _extensions(value, names):
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def _extensions(value: bytes, names: Sequence[str]) -> list[tuple[x509.ExtensionType, bool]]:
    """Evidence, what the key is for (RFC 5280, sections 4.2.1.3, 4.2.1.9, 4.2.1.12), and names if there are any."""
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_cert_sign=False, crl_sign=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier(EVIDENCE_EXTENSION), value), False),
    ]
    return [*made, (x509.SubjectAlternativeName(map(_name, names)), False)] if names else made


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _armoured(der: bytes, label: str) -> bytes:
    """PEM (RFC 7468). Not by way of the crypto library, which refuses AMD's serial number of 0."""
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode('ascii')}-----END {label}-----\n".encode("ascii")
