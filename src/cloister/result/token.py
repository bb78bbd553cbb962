"""Signed tokens around a claims-set: JWT (RFC 7519 in a JWS, RFC 7515) and CWT (RFC 8392 in a COSE_Sign1, RFC 9052).

JOSE is done here, over `cloister._crypto`, instead of by a library: the compact serialization is three base64url parts,
and what keeps a verifier safe is what it refuses. Headers are read for `alg` and `kid` only. Keys and certificates that
a token brings along (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
"""

import json
from dataclasses import dataclass, field
from typing import Final

from cloister import _cbor, _json
from cloister._cose import CoseSign1
from cloister.errors import ParseError
from cloister.result import _base64url
from cloister.result.algorithms import COSE
from cloister.result.attestation import AttestationResult
from cloister.result.decode import result_of_cbor, result_of_json
from cloister.result.encode import cbor_claims, json_claims
from cloister.result.jwk import thumbprint
from cloister.result.signing import SigningKey

__all__ = ["LONGEST_JWT", "Token", "issue_cwt", "issue_jwt", "parse_token"]

LONGEST_JWT: Final = 1 << 20
"""Bytes. Results that repeat a TDX guest's event logs have some 100 kB."""
LONGEST_CWT: Final = 1 << 16
LONGEST_HEADER: Final = 1 << 16
CWT_TAG: Final = b"\xd8\x3d"
"""CBOR tag 61, which may stand before a COSE_Sign1 (RFC 8392, section 6)."""
ALGORITHM, KEY_ID = 1, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token taken apart, nothing verified. `algorithm` is what its header names: any word, to be compared only."""

    encoding: str
    """`JWT` or `CWT`."""
    algorithm: str
    kid: str
    payload: bytes = field(repr=False)
    signed: bytes = field(repr=False)
    """What the signature is over."""
    signature: bytes = field(repr=False)

    def result(self) -> AttestationResult:
        """What the payload says; ParseError or BindingInvalid if that is no attestation result."""
        if self.encoding == "JWT":
            return result_of_json(self.payload)
        return result_of_cbor(self.payload, longest=LONGEST_CWT)


def issue_jwt(result: AttestationResult, key: SigningKey) -> bytes:
    """The result as a signed JWT. ValueError if its profile cannot say what it says, or it is too long."""
    header = {"alg": str(key.algorithm), "typ": "JWT", "kid": thumbprint(key.spki)}
    parts = (json.dumps(header, separators=(",", ":")).encode(), json_claims(result))
    signed = ".".join(map(_base64url.encode, parts)).encode()
    return _not_longer(signed + b"." + _base64url.encode(key.sign(signed)).encode(), LONGEST_JWT)


def issue_cwt(result: AttestationResult, key: SigningKey) -> bytes:
    """The result as a signed CWT: a tagged COSE_Sign1 whose headers are all protected. ValueError as above."""
    headers = {ALGORITHM: COSE[key.algorithm], KEY_ID: thumbprint(key.spki).encode()}
    parts = {"protected": _cbor.dumps(headers), "payload": cbor_claims(result)}
    signed = CoseSign1(**parts, unprotected={}, signature=b"", tagged=True).to_be_signed()
    message = CoseSign1(**parts, unprotected={}, signature=key.sign(signed), tagged=True)
    return _not_longer(message.serialize(), LONGEST_CWT)


def _not_longer(token: bytes, longest: int) -> bytes:
    if len(token) > longest:
        raise ValueError(
            f"the token has {len(token)} bytes, at most {longest} are read; leave out some of the evidence"
        )
    return token


def parse_token(token: bytes) -> Token:
    """Take a JWT or CWT apart; ParseError if it is neither. Nothing is verified, the payload is not looked at."""
    return _parse_jwt(token) if token.startswith(b"ey") else _parse_cwt(token)


def _parse_jwt(token: bytes) -> Token:
    if len(token) > LONGEST_JWT:
        raise ParseError("JWT", "length", 0, f"{len(token)} bytes; at most {LONGEST_JWT}")
    parts = token.split(b".")
    if len(parts) != 3:
        raise ParseError("JWT", "structure", 0, f"has {len(parts)} parts; a signed one has three, separated by dots")
    header, payload, signature = (_part(parts, index) for index in range(3))
    if len(header) > LONGEST_HEADER:
        raise ParseError("JWT", "header", 0, f"{len(header)} bytes; at most {LONGEST_HEADER}")
    members = _json.loads(header, "JWT header")
    algorithm = _json.text(members, "alg", "JWT header")
    if isinstance(members, dict) and members.keys() & {"crit", "b64"}:
        raise ParseError("JWT header", "crit", 0, "demands headers that are not understood")
    return Token(
        encoding="JWT", algorithm=algorithm, payload=payload, signature=signature, signed=token.rpartition(b".")[0],
        kid=_json.text(members, "kid", "JWT header") if isinstance(members, dict) and "kid" in members else "",
    )  # fmt: skip


def _part(parts: list[bytes], index: int) -> bytes:
    offset = sum(len(part) + 1 for part in parts[:index])
    try:
        return _base64url.decode(parts[index].decode("ascii"))
    except ValueError as error:  # UnicodeDecodeError is one
        raise ParseError("JWT", ("header", "payload", "signature")[index], offset, "is not base64url") from error


def _parse_cwt(token: bytes) -> Token:
    base = len(CWT_TAG) if token.startswith(CWT_TAG) else 0
    message = CoseSign1.parse(token[base:], record="CWT", base=base, longest=LONGEST_CWT)
    rewritten = CoseSign1(
        protected=message.protected, unprotected=message.unprotected, payload=message.payload,
        signature=message.signature, tagged=message.tagged or base > 0,
    )  # fmt: skip
    if rewritten.serialize() != token[base:]:
        raise ParseError("CWT", "encoding", base, "is not written in its shortest form, or lacks the tag of COSE_Sign1")
    return Token(
        encoding="CWT", algorithm=message.algorithm.name, kid=message.key_id.decode("utf-8", "backslashreplace"),
        payload=message.payload, signed=message.to_be_signed(), signature=message.signature,
    )  # fmt: skip
