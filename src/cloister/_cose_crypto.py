"""COSE signatures verified (RFC 9053, section 2) and COSE_Keys turned into keys (section 7; RFC 8230, section 4)."""

from collections.abc import Mapping
from typing import Final

from cloister import _cbor, _crypto
from cloister._cose import CoseSign1
from cloister.errors import ParseError, SignatureInvalid

__all__ = ["cose_key", "verify_sign1"]

CURVES: Final = {1: ("P-256", 32), 2: ("P-384", 48), 3: ("P-521", 66)}
"""IANA "COSE Elliptic Curves" with the size of their coordinates in bytes."""
ED25519: Final = 6
OKP, EC2, RSA = 1, 2, 3
D, RSA_D = -4, -3
LONGEST_RSA: Final = 1024
"""Bytes of a modulus: whoever sends a longer one decides how long we calculate."""
SPKI_ED25519: Final = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410, section 4)."""


def verify_sign1(message: CoseSign1, key: _crypto.PublicKey, *, what: str, external_aad: bytes = b"") -> None:
    """Verify the signature, or SignatureInvalid; `what` names it in the error. The key must fit the algorithm."""
    algorithm, signed = message.algorithm, message.to_be_signed(external_aad)
    if algorithm.scheme == "ecdsa":
        bits, size = getattr(key, "key_size", 0), (algorithm.bits + 7) // 8
        if bits != algorithm.bits or len(message.signature) != 2 * size:
            raise SignatureInvalid(
                f"{what}: {algorithm.name} goes with a key of {algorithm.bits} bits and {2 * size} bytes of signature",
                expected=(algorithm.bits, 2 * size), actual=(bits, len(message.signature)),
            )  # fmt: skip
        _crypto.verify_ecdsa_raw(key, message.signature, signed, algorithm.digest, what=what)
    elif algorithm.scheme == "rsa-pss":
        _crypto.verify_rsa_pss(key, message.signature, signed, algorithm.digest, what=what)
    else:
        _crypto.verify_ed25519(key, message.signature, signed, what=what)


def cose_key(data: bytes, record: str = "COSE_Key", *, base: int = 0) -> _crypto.PublicKey:
    """The public key in a COSE_Key.

    ParseError if it is none or holds a private part; SignatureInvalid if its numbers are no key.
    """
    key = _cbor.loads(data, record, base=base)
    kind = _cbor.member(key, 1, record, "kty", base=base)
    if not isinstance(key, Mapping) or D in key or (kind == RSA and RSA_D in key):
        raise ParseError(record, "d", base, "is a private key, which has no business here")
    if kind == EC2:
        return _ec2(key, record, base)
    if kind == OKP:
        if key.get(-1) != ED25519:
            raise ParseError(record, "crv", base, f"is {key.get(-1)!r}; only {ED25519} (Ed25519) is understood")
        return _crypto.load_spki(SPKI_ED25519 + _cbor.octets(key.get(-2), record, "x", 32, base=base))
    if kind == RSA:
        return _rsa(key, record, base)
    raise ParseError(record, "kty", base, f"is {kind!r}; only 1 (OKP), 2 (EC2) and 3 (RSA) are understood")


def _ec2(key: Mapping[object, object], record: str, base: int) -> _crypto.PublicKey:
    curve = key.get(-1)
    if type(curve) is not int or curve not in CURVES:
        raise ParseError(record, "crv", base, f"is {curve!r}; only 1, 2 and 3 (P-256, P-384, P-521) are understood")
    name, size = CURVES[curve]
    x, y = _cbor.octets(key.get(-2), record, "x", size, base=base), key.get(-3)
    if isinstance(y, bool):  # the sign of y alone (RFC 9053, section 7.1.1)
        return _crypto.ec_public_key_compressed(name, bytes([2 + y]) + x)
    return _crypto.ec_public_key(name, x + _cbor.octets(y, record, "y", size, base=base))


def _rsa(key: Mapping[object, object], record: str, base: int) -> _crypto.PublicKey:
    modulus = _cbor.octets(key.get(-1), record, "n", base=base)
    exponent = _cbor.octets(key.get(-2), record, "e", base=base)
    if len(modulus) > LONGEST_RSA or len(exponent) > 4:
        raise ParseError(record, "n", base, "is longer than the modulus and exponent of any key in use")
    return _crypto.rsa_public_key(int.from_bytes(modulus), int.from_bytes(exponent))
