"""JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037) to and from DER SubjectPublicKeyInfo."""

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Final

from cloister import _crypto
from cloister.errors import SignatureInvalid, UsageError
from cloister.result import _base64url
from cloister.result.algorithms import CURVES, Algorithm, algorithm_of, ec_spki, ed25519_spki, rsa_numbers
from cloister.result.signing import SigningKey

__all__ = ["PRIVATE", "private_key", "public_jwk", "spki_of_jwk", "thumbprint"]

PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members that hold a secret (RFC 7518, section 6)."""
EC_ALGORITHMS: Final = {curve: algorithm for algorithm, (curve, _, _) in CURVES.items()}
RSA_PRIVATE: Final = ("n", "e", "d", "p", "q", "dp", "dq", "qi")


def public_jwk(spki: bytes) -> dict[str, str]:
    """The JWK of a public key, with `kid` (its thumbprint), `alg` and `use`."""
    return _required(spki) | {"kid": thumbprint(spki), "alg": str(algorithm_of(spki)), "use": "sig"}


@functools.lru_cache(maxsize=64)
def thumbprint(spki: bytes) -> str:
    """The RFC 7638 thumbprint: base64url of the SHA-256 over the key's required members."""
    canonical = json.dumps(_required(spki), sort_keys=True, separators=(",", ":"))
    return _base64url.encode(hashlib.sha256(canonical.encode()).digest())


def _required(spki: bytes) -> dict[str, str]:
    algorithm = algorithm_of(spki)
    if algorithm is Algorithm.EDDSA:
        return {"kty": "OKP", "crv": "Ed25519", "x": _base64url.encode(spki[-32:])}
    if algorithm is Algorithm.PS256:
        modulus, exponent = (_base64url.encode(n.to_bytes((n.bit_length() + 7) // 8)) for n in rsa_numbers(spki))
        return {"kty": "RSA", "n": modulus, "e": exponent}
    curve, size, _ = CURVES[algorithm]
    x, y = spki[-2 * size : -size], spki[-size:]
    return {"kty": "EC", "crv": curve, "x": _base64url.encode(x), "y": _base64url.encode(y)}


def spki_of_jwk(jwk: Mapping[str, object]) -> bytes:
    """The public key in a JWK as DER SubjectPublicKeyInfo; UsageError if it is of no use for attestation results.

    Private members are not looked at here: whether they may be there is the caller's question.
    """
    kind = jwk.get("kty"), jwk.get("crv")
    if kind == ("OKP", "Ed25519"):
        return ed25519_spki(member(jwk, "x", 32))
    if kind[0] == "EC" and isinstance(kind[1], str) and kind[1] in EC_ALGORITHMS:
        algorithm = EC_ALGORITHMS[kind[1]]
        size = CURVES[algorithm][1]
        return ec_spki(algorithm, member(jwk, "x", size) + member(jwk, "y", size))
    if kind[0] == "RSA":
        return _rsa_spki(member(jwk, "n", longest=1024), member(jwk, "e", longest=8))
    raise UsageError(f"a JWK with kty {kind[0]!r} and crv {kind[1]!r} cannot verify attestation results")


def _rsa_spki(modulus: bytes, exponent: bytes) -> bytes:
    try:
        return _crypto.spki_of(_crypto.rsa_public_key(int.from_bytes(modulus), int.from_bytes(exponent)))
    except SignatureInvalid as error:
        raise UsageError(str(error)) from error


def member(jwk: Mapping[str, object], name: str, size: int = 0, *, longest: int = 0) -> bytes:
    """The bytes of a member, exactly `size` or at most `longest`. It may be secret, so no error shows it."""
    text = jwk.get(name)
    try:
        data = _base64url.decode(text) if isinstance(text, str) else None
    except ValueError:
        data = None
    if data is None or (size and len(data) != size) or (longest and len(data) > longest):
        wanted = f"{size} bytes" if size else "bytes"
        raise UsageError(f"the JWK's {name!r} is missing or is not {wanted} in base64url")
    return data


def private_key(jwk: Mapping[str, object]) -> SigningKey:
    """The signing key in a private JWK. UsageError if the private part does not belong to the public one."""
    spki = spki_of_jwk(jwk)
    algorithm = algorithm_of(spki)
    names = RSA_PRIVATE if algorithm is Algorithm.PS256 else ("d",)
    key = SigningKey.from_numbers(algorithm, {name: member(jwk, name, longest=1024) for name in names})
    if key.spki != spki:
        raise UsageError("the JWK's private part does not belong to its public part")
    return key
