"""Keys in files: PEM, JWK and JWK sets. A private key that others can read is refused, not used with a warning."""

import base64
import binascii
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister import _json
from cloister.errors import ParseError, UsageError
from cloister.result.algorithms import Algorithm, algorithm_of
from cloister.result.jwk import PRIVATE, private_key, public_jwk, spki_of_jwk
from cloister.result.key_file import write_key_file
from cloister.result.signing import SigningKey

__all__ = [
    "VerificationKey",
    "jwk_set",
    "read_signing_key",
    "read_verification_keys",
    "signing_key",
    "verification_keys",
    "write_signing_key",
]

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
MOST_KEYS: Final = 64
PEM: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----")
PRIVATE_PEM: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A verifier's public key: `spki` is DER SubjectPublicKeyInfo, `kid` its identifier, empty if it has none."""

    spki: bytes
    kid: str = ""

    def __post_init__(self) -> None:
        """Refuse keys that no attestation result is signed with."""
        algorithm_of(self.spki)

    @property
    def algorithm(self) -> Algorithm:
        """The only algorithm that this key verifies."""
        return algorithm_of(self.spki)


def verification_keys(data: bytes) -> tuple[VerificationKey, ...]:
    """The public keys in PEM (`BEGIN PUBLIC KEY`, one or several), DER, a JWK or a JWK set. UsageError if none.

    Keys of a set that are of other kinds or for other uses are passed over (RFC 7517, section 5).
    """
    if PRIVATE_PEM.search(data):
        raise UsageError("this is a private key; give the public one, and keep the private one with the verifier")
    if data.lstrip()[:1] == b"{":
        keys = _from_json(data)
    elif data[:1] == b"\x30":
        keys = (VerificationKey(spki=data),)
    else:
        keys = tuple(VerificationKey(spki=_der(found[1])) for found in PEM.finditer(data))
    if not keys:
        raise UsageError("no public key in it that verifies attestation results; give PEM, DER, a JWK or a JWK set")
    if len(keys) > MOST_KEYS:
        raise UsageError(f"{len(keys)} keys; give at most {MOST_KEYS}")
    return keys


def _der(body: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        raise UsageError("the PEM public key is not base64") from None


def _from_json(data: bytes) -> tuple[VerificationKey, ...]:
    document = _object(data)
    if "keys" not in document:
        return (_from_jwk(document),)
    members, found = _json.members(document, "keys", "JWK set"), []
    for jwk in members:
        try:
            found.append(_from_jwk(jwk if isinstance(jwk, dict) else {}))
        except UsageError:
            continue
    return tuple(found)


def _object(data: bytes) -> Mapping[str, object]:
    try:
        document = _json.loads(data, "JWK")
    except ParseError as error:  # its field may be part of a private key
        raise UsageError(f"the JWK is not JSON: {error.reason}") from None
    if not isinstance(document, dict):
        raise UsageError("the JWK is not a JSON object")
    return document


def _from_jwk(jwk: Mapping[str, object]) -> VerificationKey:
    if PRIVATE & jwk.keys():
        raise UsageError("this JWK holds a secret; give the public key, and keep the private one with the verifier")
    spki, kid, operations = spki_of_jwk(jwk), jwk.get("kid", ""), jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise UsageError("this JWK is not meant for signatures")
    if jwk.get("alg", algorithm_of(spki)) != algorithm_of(spki) or not isinstance(kid, str):
        raise UsageError(f"this JWK is for {jwk.get('alg')!r}, but such a key signs results with {algorithm_of(spki)}")
    return VerificationKey(spki=spki, kid=kid)


def jwk_set(*keys: SigningKey | VerificationKey) -> str:
    """The public parts as a JWK set, for relying parties."""
    return json.dumps({"keys": [public_jwk(key.spki) for key in keys]}, indent=2)


def signing_key(data: bytes, password: bytes | None = None) -> SigningKey:
    """The private key in PEM or a private JWK."""
    return private_key(_object(data)) if data.lstrip()[:1] == b"{" else SigningKey.from_pem(data, password)


def read_signing_key(path: Path, password: bytes | None = None) -> SigningKey:
    """The private key in a file; UsageError if its group or others may do anything with the file."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & OTHERS:
                raise UsageError(
                    f"{path}: others can read or change this private key (mode {mode:04o}); run `chmod 600 {path}`, "
                    "and make a new key if somebody may have read it"
                )
            return signing_key(file.read(), password)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def write_signing_key(path: Path, key: SigningKey) -> None:
    """Write the private key to a new file that only its owner can read. An existing file is never replaced."""
    try:
        write_key_file(path, key.to_pem())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; keys are written to new files only") from error


def read_verification_keys(path: Path) -> tuple[VerificationKey, ...]:
    """The public keys in a file."""
    try:
        return verification_keys(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
