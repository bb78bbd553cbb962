"""A SEV platform's certificates, from its keys to a pinned AMD root (AMD 55766, SEV API, appendices B and C).

RSA signatures are RSASSA-PSS, by what real certificates have: SHA-256 with 2048-bit keys, SHA-384 with 4096-bit ones,
the salt as long as the hash. Whether a chain holds never changes, so it is remembered.
"""

import functools
from dataclasses import dataclass

from cloister import _crypto
from cloister.endorse.anchors import TrustAnchors
from cloister.errors import ChainInvalid, SignatureInvalid
from cloister.evidence.sev_chain import Algorithm, CaCertificate, SevCertificate, SevChain, Usage
from cloister.evidence.sev_keys import CURVES, EcSignature, RsaKey
from cloister.model import Tee

__all__ = ["certified_pek", "check_authorities", "check_chain", "root_spki"]


@functools.lru_cache(maxsize=64)
def check_chain(chain: SevChain, anchors: TrustAnchors) -> None:
    """Every certificate is signed by whom it must be, and the root is pinned; else ChainInvalid.

    The OCA is the platform owner's: it signs itself, and stands for nothing but that the PEK is the owner's too.
    """
    if anchors.find(Tee.SEV, root_spki(chain)) is None:
        raise ChainInvalid(
            "the chain ends in an ARK that is not a trust anchor", expected=f"a chain to {anchors.named(Tee.SEV)}",
            actual=chain.ark.key_id, set_by="trust anchors",
        )  # fmt: skip
    check_authorities(chain.ask, chain.ark)
    _check(chain.cek, Usage.ASK, _ca_key(chain.ask), "CEK")
    _check(chain.oca, Usage.OCA, _key(chain.oca), "OCA")
    _check(chain.pek, Usage.CEK, _key(chain.cek), "PEK")
    _check(chain.pek, Usage.OCA, _key(chain.oca), "PEK")
    _check(chain.pdh, Usage.PEK, _key(chain.pek), "PDH")


def check_authorities(ask: CaCertificate, ark: CaCertificate) -> None:
    """The ARK signed itself and the ASK, else ChainInvalid. Whether it is the right ARK is not said."""
    _check_ca(ark, ark, "ARK")
    _check_ca(ask, ark, "ASK")


@functools.lru_cache(maxsize=64)
def root_spki(chain: SevChain) -> bytes:
    """The root key as it is pinned: a DER SubjectPublicKeyInfo."""
    return _crypto.spki_of(_ca_key(chain.ark).public)


def certified_pek(chain: SevChain) -> _crypto.PublicKey:
    """The platform's endorsement key; of a chain that was checked."""
    return _key(chain.pek).public


@dataclass(frozen=True, slots=True)
class _Key:
    """A public key; `size` are the bytes of an RSA key's signatures, 0 for other keys."""

    public: _crypto.PublicKey
    size: int


def _ca_key(certificate: CaCertificate) -> _Key:
    return _rsa(*certificate.numbers, certificate.modulus_size)


def _key(certificate: SevCertificate) -> _Key:
    key = certificate.key
    if isinstance(key, RsaKey):
        return _rsa(*key.numbers, key.modulus_size)
    try:
        return _Key(_crypto.ec_public_key(CURVES[key.curve], key.point), 0)
    except SignatureInvalid as error:
        raise ChainInvalid(f"the {certificate.usage.name}'s key: {error.reason}") from error


def _rsa(modulus: int, exponent: int, bits: int) -> _Key:
    try:
        return _Key(_crypto.rsa_public_key(modulus, exponent), bits // 8)
    except SignatureInvalid as error:
        raise ChainInvalid(error.reason) from error


def _check_ca(certificate: CaCertificate, issuer: CaCertificate, name: str) -> None:
    if certificate.certifying_id != issuer.key_id:
        raise ChainInvalid(
            f"the {name} names another issuer than the ARK at hand", expected=issuer.key_id,
            actual=certificate.certifying_id,
        )  # fmt: skip
    algorithm = Algorithm.RSA_SHA256 if issuer.digest == "sha256" else Algorithm.RSA_SHA384
    _verify(_ca_key(issuer), algorithm, certificate.signature, certificate.signed, f"the ARK's signature on the {name}")


def _check(certificate: SevCertificate, signer: Usage, key: _Key, name: str) -> None:
    algorithm, signature = certificate.signatures[signer]
    _verify(key, algorithm, signature, certificate.signed, f"the {signer.name}'s signature on the {name}")


def _verify(key: _Key, algorithm: Algorithm, signature: bytes, message: bytes, what: str) -> None:
    if algorithm.is_rsa and any(signature[key.size :]):
        raise ChainInvalid(f"{what} has more bytes than its key")
    try:
        if algorithm.is_rsa:
            _crypto.verify_rsa_pss(key.public, signature[: key.size][::-1], message, algorithm.digest, what=what)
        else:
            halves = EcSignature.parse(signature).halves
            _crypto.verify_ecdsa_raw(key.public, halves, message, algorithm.digest, what=what)
    except SignatureInvalid as error:
        raise ChainInvalid(error.reason) from error
