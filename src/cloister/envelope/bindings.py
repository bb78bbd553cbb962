"""What must hold between the parts of an envelope: stated while parsing, checked by `cloister.verification.binding`.

An envelope proves nothing: anybody can put a genuine quote beside a key of his own. What proves that they belong
together is the evidence's report data, which the TEE signed.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from cloister._x509 import Certificate, SignatureAlgorithm
from cloister.model import Digest

__all__ = ["Binding", "ClaimsBinding", "DataBinding", "KeyBinding", "KeyForm", "SignedRequest"]


class KeyForm(StrEnum):
    """How a public key was written before SHA-256 was taken of it. The value says it for people."""

    SPKI = "the DER SubjectPublicKeyInfo"
    PEM = "the PEM text of the public key and a zero byte"
    BARE = "the public key without its SubjectPublicKeyInfo header"


@dataclass(frozen=True, kw_only=True)
class SignedRequest:
    """A certification request (PKCS #10): a key, and its signature over everything else."""

    tbs: bytes = field(repr=False)
    algorithm: SignatureAlgorithm
    signature: bytes = field(repr=False)
    spki: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class KeyBinding:
    """The report data of `evidence` is a hash of the holder's public key, in one of these forms, followed by zeros.

    `algorithm` is hashlib's name. `holder` is what shows the key and was signed with it.
    """

    evidence: object
    holder: Certificate | SignedRequest
    forms: tuple[KeyForm, ...]
    algorithm: str = "sha256"


@dataclass(frozen=True, kw_only=True)
class ClaimsBinding:
    """The report data is SHA-256 of `claims`, followed by zeros, and the claims name the certificate's key.

    `key_digest` is the claim `pubkey-hash`, over the DER SubjectPublicKeyInfo; `nonce` the claim of that name, if there
    is one. (CCC interoperable RA-TLS, evidence custom claims.)
    """

    evidence: object
    holder: Certificate
    claims: bytes = field(repr=False)
    key_digest: Digest
    nonce: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class DataBinding:
    """The report data begins with a hash of `data`, and zeros follow. `what` names the data for people."""

    evidence: object
    what: str
    data: bytes = field(repr=False)
    algorithm: str = "sha256"


Binding = KeyBinding | ClaimsBinding | DataBinding
"""What must hold between the parts of an envelope."""
