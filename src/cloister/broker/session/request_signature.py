"""A request that the holder of a key makes of a broker: a signature over what is asked, where, and a challenge.

Keys and signatures are those of approvals (`approval.py`). What is signed names everything that could be put in its
place, so it is good for one request, at one broker, once:

    "cloister session request 1" NUL, then JSON with sorted keys and no space:
    {"body": SHA-256, "challenge": text of the broker, "method": ..., "server": SHA-256 of its certificate or "",
     "target": path and query}

It travels in the header `Cloister-Signature`: base64url of {"challenge", "key": SubjectPublicKeyInfo, "server",
"signature"}, bytes in base64url.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister import _json
from cloister.broker.session.read_people import fingerprint
from cloister.errors import NotAttested, ParseError, SignatureInvalid, UsageError
from cloister.result import _base64url
from cloister.result.algorithms import check_signature
from cloister.result.signing import SigningKey

__all__ = ["HEADER", "Asked", "SignedBy", "read_signature", "sign_request"]

HEADER: Final = "cloister-signature"
CONTEXT: Final = b"cloister session request 1\0"
RECORD: Final = HEADER
MEMBERS: Final = {"challenge", "key", "server", "signature"}
LONGEST: Final = 8192
"""Characters of a header: an RSA key and signature of 8,192 bits have less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it stands on the wire. `target` is the path with its query, as it is sent."""

    method: str
    target: str
    body: bytes = field(repr=False)

    def signed(self, challenge: str, server: str) -> bytes:
        """What a signature is over."""
        named = {
            "body": hashlib.sha256(self.body).hexdigest(), "challenge": challenge, "method": self.method,
            "server": server, "target": self.target,
        }  # fmt: skip
        return CONTEXT + json.dumps(named, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBy:
    """Who signed: `key` is the SHA-256 of the public key in hexadecimal; over which challenge, for which server."""

    key: str
    challenge: str
    server: str


def sign_request(key: SigningKey, asked: Asked, *, challenge: str, server: str) -> str:
    """The header's text."""
    members = {
        "challenge": challenge, "key": _base64url.encode(key.spki), "server": server,
        "signature": _base64url.encode(key.sign(asked.signed(challenge, server))),
    }  # fmt: skip
    return _base64url.encode(json.dumps(members, separators=(",", ":")).encode())


def read_signature(header: str, asked: Asked) -> SignedBy:
    """Who signed this request; NotAttested if nobody did. Whether the challenge counts is the caller's to check."""
    try:
        said = _members(header)
        spki = _base64url.decode(said["key"])
        message, signature = asked.signed(said["challenge"], said["server"]), _base64url.decode(said["signature"])
        check_signature(spki, signature, message, what="the signature on this request")
    except (ParseError, SignatureInvalid, UsageError, ValueError) as error:
        raise NotAttested("the signature on this request does not verify, or is none: sign it anew") from error
    return SignedBy(key=fingerprint(spki), challenge=said["challenge"], server=said["server"])


def _members(header: str) -> dict[str, str]:
    if len(header) > LONGEST:
        raise ParseError(RECORD, "length", 0, f"{len(header)} characters; at most {LONGEST}")
    document = _json.loads(_base64url.decode(header), RECORD)
    if not isinstance(document, Mapping) or document.keys() != MEMBERS:
        raise ParseError(RECORD, "members", 0, f"are not {', '.join(sorted(MEMBERS))}")
    return {name: _json.text(document, name, RECORD) for name in MEMBERS}
