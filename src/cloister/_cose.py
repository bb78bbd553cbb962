"""COSE_Sign1 (RFC 9052, section 4.2), read and written; `cloister._cose_crypto` verifies it.

Signed bytes are kept as they came: a token is verified over what was received, never over what was written again.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cloister import _cbor
from cloister.errors import ParseError

__all__ = ["Algorithm", "CoseSign1"]

SIGN1: Final = 18
"""The CBOR tag of a COSE_Sign1."""
ALGORITHM: Final = 1
CRITICAL: Final = 2
KEY_ID: Final = 4


class Algorithm(NamedTuple):
    """A signature algorithm: `bits` is the size of the only curve that it is used with (0: no curve)."""

    name: str
    scheme: str
    digest: str
    bits: int = 0


ALGORITHMS: Final = {
    -7: Algorithm("ES256", "ecdsa", "sha256", 256),
    -35: Algorithm("ES384", "ecdsa", "sha384", 384),
    -36: Algorithm("ES512", "ecdsa", "sha512", 521),
    -37: Algorithm("PS256", "rsa-pss", "sha256"),
    -38: Algorithm("PS384", "rsa-pss", "sha384"),
    -39: Algorithm("PS512", "rsa-pss", "sha512"),
    -8: Algorithm("EdDSA", "ed25519", ""),
}
"""IANA "COSE Algorithms" (RFC 9053, section 2). Each ES with its own curve only, which RFC 9053 recommends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoseSign1:
    """One signed message. `protected` is the content of its byte string; `tagged` says whether tag 18 stood before it.

    Nothing is verified by parsing. `variant` holds the bytes as received where they are not in the shortest encoding,
    which constrained attesters may send; else it is empty and the fields say everything.
    """

    protected: bytes
    unprotected: Mapping[int | str, object]
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    tagged: bool
    variant: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(
        cls, data: bytes, *, record: str = "COSE_Sign1", base: int = 0, longest: int = _cbor.LONGEST
    ) -> "CoseSign1":
        """Read one message from exactly these bytes; ParseError for any other structure or algorithm."""
        value = _cbor.loads(data, record, base=base, longest=longest)
        return cls.from_value(value, data, record=record, base=base)

    @classmethod
    def from_value(cls, value: object, data: bytes, *, record: str = "COSE_Sign1", base: int = 0) -> "CoseSign1":
        """The message in a decoded CBOR value, which `data` encodes. Empty `data`: the shortest encoding."""
        tagged = isinstance(value, _cbor.Tag)
        if isinstance(value, _cbor.Tag):
            if value.tag != SIGN1:
                raise ParseError(record, "tag", base, f"is {value.tag}; only {SIGN1} (COSE_Sign1) is understood")
            value = value.value
        if not isinstance(value, list | tuple) or len(value) != 4:
            raise ParseError(record, "structure", base, "is not an array of headers, headers, payload, signature")
        protected, unprotected, payload, signature = value
        if payload is None:
            raise ParseError(record, "payload", base, "is detached: what was signed is not here")
        if not isinstance(unprotected, Mapping):
            raise ParseError(record, "unprotected", base, "is not a map")
        protected = _cbor.octets(protected, record, "protected", base=base)
        if _protected_headers(protected, record, base).keys() & unprotected.keys():
            raise ParseError(record, "unprotected", base, "holds a header that belongs among the protected ones")
        made = cls(
            protected=protected, unprotected=unprotected, payload=_cbor.octets(payload, record, "payload", base=base),
            signature=_cbor.octets(signature, record, "signature", base=base), tagged=tagged,
        )  # fmt: skip
        if data and made.serialize() != data:
            object.__setattr__(made, "variant", data)
        return made

    def serialize(self) -> bytes:
        """The bytes that `parse` would read as this message."""
        value = [self.protected, self.unprotected, self.payload, self.signature]
        return self.variant or _cbor.dumps_as_ordered(_cbor.Tag(SIGN1, value) if self.tagged else value)

    @property
    def algorithm(self) -> Algorithm:
        """How it says it was signed, in the protected headers."""
        return ALGORITHMS[_protected_headers(self.protected, "COSE_Sign1", 0)[ALGORITHM]]  # type: ignore[index] # checked

    @property
    def key_id(self) -> bytes:
        """The key identifier (header 4), from the protected headers first; empty if there is none."""
        found = _protected_headers(self.protected, "COSE_Sign1", 0).get(KEY_ID, self.unprotected.get(KEY_ID, b""))
        return found if isinstance(found, bytes) else b""

    def to_be_signed(self, external_aad: bytes = b"") -> bytes:
        """The Sig_structure over which the signature is made (RFC 9052, section 4.4)."""
        return _cbor.dumps_as_ordered(["Signature1", self.protected, external_aad, self.payload])


@functools.lru_cache(maxsize=256)
def _protected_headers(protected: bytes, record: str, base: int) -> Mapping[int | str, object]:
    """The protected headers: a map with a known algorithm and nothing critical (RFC 9052, section 3.1)."""
    headers = _cbor.loads(protected, record, base=base) if protected else {}
    if not isinstance(headers, Mapping):
        raise ParseError(record, "protected", base, "does not hold a map")
    if CRITICAL in headers:
        raise ParseError(record, "crit", base, "demands headers that are not understood")
    algorithm = headers.get(ALGORITHM)
    if type(algorithm) is not int or algorithm not in ALGORITHMS:
        known = ", ".join(one.name for one in ALGORITHMS.values())
        raise ParseError(record, "alg", base, f"is {algorithm!r}; only {known} are understood")
    return headers
