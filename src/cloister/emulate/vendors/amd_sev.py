"""AMD's own certificate format, from before SNP, written (AMD 55766, SEV API, appendices B and C).

Each kind of certificate is made in two steps, what it says and who signs it:

    sign_authority(authority_record(Usage.ASK, key.public_key(), issuer=ark_id), ark_key)
    sign_certificate(certificate_record(Usage.PEK, key.public_key()), {Usage.OCA: oca_key, Usage.CEK: cek_key})

Signatures by RSA keys are RSASSA-PSS with the lowest byte first: SHA-256 under 2048 bits, SHA-384 under 4096 (what
real certificates have; the salt is as long as the hash).
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from cloister._wire import Record
from cloister.emulate.vendors.amd_keys import ec_key_record, ec_signature
from cloister.evidence.sev_chain import (
    CA_RECORDS,
    Algorithm,
    CaCertificate,
    SevCertificate,
    Usage,
)

__all__ = ["authority_record", "certificate_record", "changed", "key_id", "sign_authority", "sign_certificate"]

SevKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
R = TypeVar("R", bound=Record)

PLACE: Final = 512
"""Bytes of the place for a signature."""
API: Final = (1, 55)
"""The firmware's interface version that certificates name unless said otherwise."""
RSA_HASHES: Final = {
    2048: (hashes.SHA256(), Algorithm.RSA_SHA256),
    4096: (hashes.SHA384(), Algorithm.RSA_SHA384),
}
"""By the size of the signing key (as the certificates of Naples, and of Rome and later, are signed)."""


def changed(record: R, **values: Any) -> R:  # noqa: ANN401 - whatever the record's fields are
    """A record with some of its fields replaced."""
    return type(record)(**dict(record.fields()) | values)


def key_id(key: rsa.RSAPublicKey) -> bytes:
    """The 16 bytes by which certificates name an authority: here a digest of its key, at AMD random."""
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).digest()[:16]


def authority_record(
    usage: Usage, key: rsa.RSAPublicKey, *, identifier: bytes | None = None, issuer: bytes | None = None
) -> CaCertificate:
    """What the certificate of an ARK or ASK says (appendix B.1), of 2048 or 4096 bits; not signed yet.

    `identifier` and `issuer` are the key identifiers of the certified and the signing key, 16 bytes each.
    """
    numbers, size = key.public_numbers(), key.key_size // 8
    own = key_id(key) if identifier is None else identifier
    return CA_RECORDS[key.key_size](
        version=1, key_id=own, certifying_id=own if issuer is None else issuer, key_usage=usage,
        pubexp_size=key.key_size, modulus_size=key.key_size, pubexp=numbers.e.to_bytes(size, "little"),
        modulus=numbers.n.to_bytes(size, "little"), signature=bytes(size),
    )  # fmt: skip


def sign_authority(record: CaCertificate, signer: rsa.RSAPrivateKey) -> CaCertificate:
    """The certificate of an ARK or ASK, signed by the ARK."""
    return changed(record, signature=_rsa_signature(signer, record.signed)[1])


def certificate_record(usage: Usage, key: ec.EllipticCurvePublicKey, *, api: tuple[int, int] = API) -> SevCertificate:
    """What the certificate of a CEK, OCA, PEK or PDH says about a P-384 key (appendix C.1); not signed yet."""
    algorithm = Algorithm.ECDH_SHA256 if usage is Usage.PDH else Algorithm.ECDSA_SHA256
    return SevCertificate(
        version=1, api_major=api[0], api_minor=api[1], pubkey_usage=usage, pubkey_algo=algorithm,
        pubkey=ec_key_record(key).serialize(),
        sig_1_usage=Usage.INVALID, sig_1_algo=Algorithm.INVALID, sig_1=bytes(PLACE),
        sig_2_usage=Usage.INVALID, sig_2_algo=Algorithm.INVALID, sig_2=bytes(PLACE),
    )  # fmt: skip


def sign_certificate(record: SevCertificate, signers: Mapping[Usage, SevKey]) -> SevCertificate:
    """The certificate signed by each of the signers (one or two), each in a place of its own, in order."""
    places: dict[str, Any] = {}
    for place, (usage, key) in zip(("sig_1", "sig_2"), signers.items(), strict=False):
        if isinstance(key, rsa.RSAPrivateKey):
            algorithm, signature = _rsa_signature(key, record.signed)
        else:
            algorithm = Algorithm.ECDSA_SHA256
            signature = ec_signature(key, record.signed, hashes.SHA256()).serialize()
        places |= {f"{place}_usage": usage, f"{place}_algo": algorithm, place: signature.ljust(PLACE, b"\0")}
    return changed(record, **places)


def _rsa_signature(key: rsa.RSAPrivateKey, message: bytes) -> tuple[Algorithm, bytes]:
    digest, algorithm = RSA_HASHES[key.key_size]
    pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
    return algorithm, key.sign(message, pss, digest)[::-1]
