"""A private key under a passphrase that is random and never written: PKCS #8, encrypted (RFC 5958; RFC 8018, PBES2).

The crypto library would make 2,048 rounds of PBKDF2, which `ssl` repeats for each connection: 0.4 ms to slow down
guesses at a passphrase that nobody can guess. Here it is one round.
"""

import secrets
from typing import Final

from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

__all__ = ["passphrase", "sealed"]

ROUNDS: Final = 1
SEQUENCE: Final = 0x30
OCTETS: Final = 0x04
INTEGER: Final = 0x02
PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
PBKDF2: Final = bytes.fromhex("06092a864886f70d01050c")
HMAC_SHA256: Final = bytes.fromhex("300c06082a864886f70d02090500")
AES_256_CBC: Final = bytes.fromhex("060960864801650304012a")
AES_BLOCK: Final = 16


def passphrase() -> bytes:
    """256 random bits, as text that OpenSSL's callback can take."""
    return secrets.token_hex(32).encode("ascii")


def sealed(key: ec.EllipticCurvePrivateKey, phrase: bytes) -> bytes:
    """EncryptedPrivateKeyInfo (DER)."""
    salt, vector = secrets.token_bytes(AES_BLOCK), secrets.token_bytes(AES_BLOCK)
    derived = PBKDF2HMAC(algorithm=hashes.SHA256(), length=32, salt=salt, iterations=ROUNDS).derive(phrase)
    padder = padding.PKCS7(8 * AES_BLOCK).padder()
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    encryptor = Cipher(algorithms.AES256(derived), modes.CBC(vector)).encryptor()
    encrypted = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    derivation = _tlv(SEQUENCE, PBKDF2, _tlv(SEQUENCE, _tlv(OCTETS, salt), _tlv(INTEGER, bytes([ROUNDS])), HMAC_SHA256))
    cipher = _tlv(SEQUENCE, AES_256_CBC, _tlv(OCTETS, vector))
    algorithm = _tlv(SEQUENCE, PBES2, _tlv(SEQUENCE, derivation, cipher))
    return _tlv(SEQUENCE, algorithm, _tlv(OCTETS, encrypted))


def _tlv(tag: int, *parts: bytes) -> bytes:
    """DER: tag, length, value."""
    value = b"".join(parts)
    size = len(value)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big") if size > 255 else bytes([0x81, size])
    return bytes([tag]) + length + value
