"""Keys in files: what is read, what is refused, and that nothing of a private key is shown."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

from cloister.errors import CloisterError, UsageError
from cloister.result import _base64url
from cloister.result.algorithms import Algorithm, algorithm_of
from cloister.result.jwk import public_jwk, thumbprint
from cloister.result.keys import (
    VerificationKey,
    jwk_set,
    read_signing_key,
    read_verification_keys,
    signing_key,
    verification_keys,
    write_signing_key,
)
from cloister.result.signing import SigningKey

RFC_7638 = {
    "kty": "RSA",
    "n": (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
        "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1"
        "n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    ),
    "e": "AQAB",
}
"""The example of RFC 7638, section 3.1."""

KEYS = {algorithm: SigningKey.generate(algorithm) for algorithm in Algorithm}


def public_pem(spki: bytes) -> bytes:
    key = serialization.load_der_public_key(spki)
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_numbers(key: SigningKey) -> dict[str, str]:
    """The private JWK of a key, from the crypto library's own numbers."""
    private: Any = serialization.load_pem_private_key(key.to_pem(), None)
    if key.algorithm is Algorithm.EDDSA:
        return {"d": _base64url.encode(private.private_bytes_raw())}
    numbers = private.private_numbers()
    if key.algorithm is Algorithm.PS256:
        values = {
            "d": numbers.d, "p": numbers.p, "q": numbers.q,
            "dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp,
        }  # fmt: skip
    else:
        values = {"d": numbers.private_value}
    return {name: _base64url.encode(value.to_bytes((value.bit_length() + 7) // 8)) for name, value in values.items()}


def private_jwk(key: SigningKey) -> dict[str, str]:
    return public_jwk(key.spki) | private_numbers(key)


def test_the_thumbprint_of_the_rfc() -> None:
    (key,) = verification_keys(json.dumps(RFC_7638).encode())
    assert thumbprint(key.spki) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_public_keys_are_the_same_in_every_form(algorithm: Algorithm) -> None:
    spki = KEYS[algorithm].spki
    jwk = public_jwk(spki)
    expected = (VerificationKey(spki=spki),)
    named = (VerificationKey(spki=spki, kid=jwk["kid"]),)
    assert verification_keys(spki) == expected
    assert verification_keys(public_pem(spki)) == expected
    assert verification_keys(json.dumps(jwk).encode()) == named
    assert verification_keys(jwk_set(KEYS[algorithm]).encode()) == named
    assert named[0].algorithm is algorithm_of(spki) is algorithm


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_private_keys_are_the_same_in_every_form(algorithm: Algorithm) -> None:
    key = KEYS[algorithm]
    assert signing_key(key.to_pem()).spki == key.spki
    read = signing_key(json.dumps(private_jwk(key)).encode())
    assert (read.spki, read.algorithm, read.to_pem()) == (key.spki, algorithm, key.to_pem())


def test_several_keys_in_one_file() -> None:
    spkis = [KEYS[Algorithm.ES256].spki, KEYS[Algorithm.EDDSA].spki]
    both = verification_keys(b"".join(map(public_pem, spkis)))
    assert [key.spki for key in both] == spkis
    assert len(verification_keys(jwk_set(*KEYS.values()).encode())) == len(KEYS)


def test_a_set_s_other_keys_are_passed_over() -> None:
    good = public_jwk(KEYS[Algorithm.ES256].spki)
    others: list[object] = [
        {"kty": "oct", "k": "AAAA"}, {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}, {},
        good | {"use": "enc"}, good | {"alg": "ES384"}, good | {"key_ops": ["sign"]}, "text",
    ]  # fmt: skip
    assert len(verification_keys(json.dumps({"keys": [*others, good]}).encode())) == 1
    with pytest.raises(UsageError, match="no public key"):
        verification_keys(json.dumps({"keys": others}).encode())


def weak_rsa() -> bytes:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - the point
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def spki_of(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return found


GOOD = public_jwk(KEYS[Algorithm.ES256].spki)
UNUSABLE = {
    "nothing": (b"", "no public key"),
    "prose": (b"hello", "no public key"),
    "a certificate": (b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "no public key"),
    "PEM that is no base64": (b"-----BEGIN PUBLIC KEY-----\nA=A\n-----END PUBLIC KEY-----", "not base64"),
    "a private key in PEM": (KEYS[Algorithm.ES256].to_pem(), "this is a private key"),
    "a private JWK": (json.dumps(private_jwk(KEYS[Algorithm.EDDSA])).encode(), "holds a secret"),
    "an HMAC key": (b'{"kty":"oct","k":"AAAA"}', "holds a secret"),
    "short RSA": (weak_rsa(), "1024 bits"),
    "P-521": (spki_of(ec.generate_private_key(ec.SECP521R1())), "cannot sign"),
    "secp256k1": (spki_of(ec.generate_private_key(ec.SECP256K1())), "cannot sign"),
    "X25519": (spki_of(x25519.X25519PrivateKey.generate()), "cannot sign"),
    "a point off the curve": (json.dumps(GOOD | {"y": GOOD["x"]}).encode(), "not a point"),
    "a short coordinate": (json.dumps(GOOD | {"x": "AAAA"}).encode(), "'x' is missing or is not 32 bytes"),
    "a JWK for another algorithm": (json.dumps(GOOD | {"alg": "HS256"}).encode(), "is for 'HS256'"),
    "a JWK for encryption": (json.dumps(GOOD | {"use": "enc"}).encode(), "not meant for signatures"),
    "JSON that is no object": (b'{"kty":', "not JSON"),
    "too many keys": (public_pem(KEYS[Algorithm.ES256].spki) * 65, "at most 64"),
}


@pytest.mark.parametrize(("data", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_does_not_verify_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        verification_keys(data)


def test_a_key_file_is_written_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_signing_key(path, KEYS[Algorithm.ES256])
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_signing_key(path).spki == KEYS[Algorithm.ES256].spki
    with pytest.raises(UsageError, match="new files only"):
        write_signing_key(path, KEYS[Algorithm.EDDSA])
    assert read_signing_key(path).algorithm is Algorithm.ES256


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o620, 0o602, 0o601, 0o666])
def test_a_private_key_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_signing_key(path, KEYS[Algorithm.ES256])
    path.chmod(mode)
    with pytest.raises(UsageError, match=f"mode {mode:04o}.*chmod 600"):
        read_signing_key(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for read in (read_signing_key, read_verification_keys):
        with pytest.raises(UsageError, match="No such file"):
            read(missing)
    path = tmp_path / "prose"
    path.write_bytes(b"hello")
    path.chmod(0o600)
    with pytest.raises(UsageError, match="prose: no public key"):
        read_verification_keys(path)


def broken_private_keys() -> dict[str, tuple[bytes, bytes | None]]:
    """Private keys that cannot be used, by what is wrong with them."""
    pem = KEYS[Algorithm.ES256].to_pem()
    encrypted = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    jwk = private_jwk(KEYS[Algorithm.ES256])
    rsa_jwk = private_jwk(KEYS[Algorithm.PS256])
    other = private_jwk(SigningKey.generate())["d"]
    return {
        "cut": (pem[:100] + pem[110:], None),
        "password missing": (encrypted, None),
        "password wrong": (encrypted, b"guess"),
        "password for nothing": (pem, b"word"),
        "P-521": (
            ec.generate_private_key(ec.SECP521R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            None,
        ),
        "d of another key": (json.dumps(jwk | {"d": other}).encode(), None),
        "d is no base64url": (json.dumps(jwk | {"d": jwk["d"] + "="}).encode(), None),
        "d is zero": (json.dumps(jwk | {"d": "AA"}).encode(), None),
        "JWK cut": (json.dumps(jwk).encode()[:-5], None),
        "RSA without a prime": (json.dumps({k: v for k, v in rsa_jwk.items() if k != "p"}).encode(), None),
        "RSA with another prime": (json.dumps(rsa_jwk | {"p": rsa_jwk["q"]}).encode(), None),
        "an HMAC key": (b'{"kty":"oct","k":"c2VjcmV0c2VjcmV0"}', None),
    }


BROKEN = broken_private_keys()


@pytest.mark.parametrize(("data", "password"), BROKEN.values(), ids=BROKEN)
def test_a_broken_private_key_is_refused_without_showing_it(data: bytes, password: bytes | None) -> None:
    with pytest.raises(CloisterError) as caught:
        signing_key(data, password)
    error: BaseException | None = caught.value
    told = ""
    while error is not None:  # what a traceback would print, causes included
        told += f"{error!r} {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    secret = data.decode()
    parts = {secret[i : i + 12] for i in range(len(secret) - 12)}
    shown = [part for part in parts if part in told and any(letter.isdigit() for letter in part)]
    assert not shown


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_signing_key_does_not_show_itself(algorithm: Algorithm) -> None:
    key = KEYS[algorithm]
    assert repr(key) == str(key) == f"SigningKey({algorithm})"
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled or copied"):
            travel(key)
