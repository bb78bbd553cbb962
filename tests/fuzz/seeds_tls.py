"""Keys and certificates for the TLS engine's readers, the same ones in every run."""

from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

__all__ = ["CERTIFICATES", "PRIVATE_KEYS", "PUBLIC_KEYS"]

SIGNER: Final = ec.derive_private_key(7, ec.SECP256R1())
PRIME: Final = (1 << 1023) + (1 << 1022) + 1
"""As long as one; nobody looks whether it is."""
RSA: Final = rsa.RSAPublicNumbers(65537, PRIME * (PRIME + 2)).public_key()
PRIVATE: Final[tuple[Any, ...]] = (
    SIGNER, ec.derive_private_key(8, ec.SECP384R1()), Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
)  # fmt: skip
PUBLIC: Final[tuple[Any, ...]] = (*(one.public_key() for one in PRIVATE), RSA)


def element(tag: int, content: bytes) -> bytes:
    """DER."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x81, size]) if size < 256 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def rsa_private() -> bytes:
    """PKCS #8 around numbers of the right sizes."""
    numbers = (PRIME * (PRIME + 2), 65537, PRIME * PRIME, PRIME, PRIME + 2, PRIME - 4, PRIME - 6, PRIME - 8)
    encoded = (number.to_bytes(number.bit_length() // 8 + 1, "big") for number in numbers)
    inside = b"".join(element(2, one) for one in (b"\0", *encoded))
    name = bytes.fromhex("300d06092a864886f70d0101010500")
    return element(0x30, element(2, b"\0") + name + element(4, element(0x30, inside)))


def certificate(key: Any) -> bytes:
    """Of this key, always with the same signature."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key).serial_number(77)
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(2051, 1, 1, tzinfo=UTC)
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(SIGNER, hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


PRIVATE_KEYS: Final = (
    *(one.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) for one in PRIVATE), rsa_private(),
)  # fmt: skip
PUBLIC_KEYS: Final = tuple(one.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in PUBLIC)
CERTIFICATES: Final = tuple(map(certificate, PUBLIC))
