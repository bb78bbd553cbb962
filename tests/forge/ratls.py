"""RA-TLS certificates and the claims in them, under keys made here. They carry whatever evidence they are given."""

import base64
import hashlib
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from tests.forge.x509 import NOW, YEAR, ec_key, spki

from cloister import _cbor
from cloister._x509 import Certificate

__all__ = [
    "DICE",
    "GRAMINE",
    "INTEL",
    "OE_EVIDENCE",
    "OE_REPORT",
    "RATS_TLS",
    "armoured",
    "bare",
    "certificate",
    "claims_for",
    "dice_extension",
    "fresh_key",
    "oe_evidence",
    "oe_report",
    "pem_key",
    "report_data",
]

DICE = "2.23.133.5.4.9"
GRAMINE = "0.6.9.42.840.113741.1337.6"
INTEL = "1.2.840.113741.1.13.1"
RATS_TLS = "1.2.840.113741.1337.6"
OE_REPORT = "1.3.6.1.4.1.311.105.1"
OE_EVIDENCE = "1.3.6.1.4.1.311.105.2"
SGX_ECDSA = bytes.fromhex("a3a21e871b4d4014b70aa125d2fbcd8c")

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Quote = Callable[[bytes], bytes]
"""Makes evidence with these 64 bytes of report data."""


def certificate(
    key: Key, extensions: Sequence[tuple[str, bytes]], *, signer: Key | None = None, issuer: str = "RA-TLS"
) -> Certificate:
    """A certificate for `key`, signed by itself unless there is a `signer`; extensions are (identifier, value)."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "RA-TLS")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - YEAR)
        .not_valid_after(NOW + YEAR)
    )
    for oid, value in extensions:
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical=False)
    made = builder.sign(signer or key, hashes.SHA256())
    return Certificate.parse(made.public_bytes(serialization.Encoding.DER))


def claims_for(key: Key, *, algorithm: int = 1, nonce: bytes | None = None, key_hash: bytes | None = None) -> bytes:
    """The claims that name a key; `algorithm` is 1, 7 or 8."""
    name = {1: "sha256", 7: "sha384", 8: "sha512"}.get(algorithm, "sha256")
    digest = hashlib.new(name, spki(key)).digest() if key_hash is None else key_hash
    claims: dict[object, object] = {"pubkey-hash": _cbor.dumps([algorithm, digest])}
    return _cbor.dumps(claims | ({} if nonce is None else {"nonce": nonce}))


def report_data(value: bytes, algorithm: str = "sha256") -> bytes:
    """The hash of `value` and zeros, 64 bytes."""
    return hashlib.new(algorithm, value).digest().ljust(64, b"\0")


def dice_extension(quote: Quote, claims: bytes, *, tag: int = 60000, bound: bool = True) -> tuple[str, bytes]:
    """The extension of interoperable RA-TLS. Without `bound` the quote speaks of other claims."""
    evidence = quote(report_data(claims if bound else b"other claims"))
    return DICE, _cbor.dumps(_cbor.Tag(tag, [evidence, claims]))


def pem_key(key: Key) -> bytes:
    """The PEM text of the public key and a zero, as Open Enclave hashes it."""
    return (
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        + b"\0"
    )


def bare(key: Key) -> bytes:
    """The public key without its header, as rats-tls hashes it."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def oe_report(quote: bytes, *, kind: int = 2) -> bytes:
    """A quote behind the header of Open Enclave's older interface."""
    return (1).to_bytes(4, "little") + kind.to_bytes(4, "little") + len(quote).to_bytes(8, "little") + quote


def oe_evidence(quote: bytes, claims: bytes = b"", *, format_id: bytes = SGX_ECDSA) -> bytes:
    """A quote and custom claims behind Open Enclave's evidence header."""
    data = quote + claims
    return (3).to_bytes(4, "little") + format_id + len(data).to_bytes(8, "little") + data


def armoured(der: bytes, label: str = "CERTIFICATE") -> bytes:
    """DER as a PEM block."""
    text = base64.encodebytes(der).decode("ascii")
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n".encode("ascii")


def fresh_key() -> ec.EllipticCurvePrivateKey:
    """A key for a certificate."""
    return ec_key(ec.SECP384R1())
