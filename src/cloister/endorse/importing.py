"""Endorsements from files, in the forms in which tools and services leave them.

Understood, each by its content: PEM and DER certificates and revocation lists (also in hexadecimal); the JSON bundle of
quote verification tools (dcap-qvl, Trustee), one or a list of them, or as `collateral` of something else; evidence JSON
with a `cert_chain` of bytes (Trustee); the answers of Intel's services (`tcbInfo`, `enclaveIdentity`), which are put
together with the chains and lists in the other files; Open Enclave's containers; what the cache itself writes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from cloister import _json
from cloister._x509 import pem_blocks
from cloister.endorse import openenclave
from cloister.endorse.assembling import Statement, assemble
from cloister.endorse.bundle import hexadecimal, signed_member
from cloister.endorse.intel import qe_identity, tcb_info
from cloister.endorse.piece import CERTIFICATE, CRL, Piece
from cloister.errors import ParseError

__all__ = ["LARGEST_FILE", "import_files"]

T = TypeVar("T")

NAME: Final = "collateral"
LARGEST_FILE: Final = 16 << 20
"""Bytes. A file is often larger than what is in it: base64, lists of numbers."""
MOST: Final = 256
"""Pieces in one file. A cloud's whole collection has some dozens."""
COMMENTS: Final = 16
"""Lines that begin with # before a binary container, as source repositories put them there."""
HEX_DIGITS: Final = b"0123456789abcdefABCDEF"


@dataclass(slots=True)
class Content:
    """What one file had in it. `statements` came without the chains that a service sends in headers."""

    pieces: list[Piece] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)


def import_files(files: Iterable[tuple[str, bytes]]) -> list[Piece]:
    """The pieces in files, given as name and content; each piece once, with the file's name as its source.

    ParseError if a file is none of the known forms, or is damaged; UsageError if a statement lacks what belongs to it.
    """
    pieces: list[Piece] = []
    statements: list[Statement] = []
    for name, data in files:
        try:
            content = _content(data, name)
        except ParseError as error:
            raise ParseError(f"{name}: {error.record}", error.field, error.offset, error.reason) from error
        pieces += [one if one.source else one.at(name, one.obtained) for one in content.pieces]
        statements += content.statements
    pieces += assemble(statements, pieces)
    return list({one.name: one for one in reversed(pieces)}.values())[::-1]


def _content(data: bytes, name: str) -> Content:
    if len(data) > LARGEST_FILE:
        raise ParseError(NAME, "length", 0, f"{len(data)} bytes; at most {LARGEST_FILE}")
    binary = _without_comments(data)
    if openenclave.looks_like(binary):
        return Content(pieces=[Piece.of_members(openenclave.parse(binary))])
    if data.lstrip()[:1] in {b"{", b"["}:
        return _of_document(data, name)
    if b"-----BEGIN " in data and b"\0" not in data.rstrip(b"\0"):
        return Content(pieces=_of_pem(data))
    packed = b"".join(data.split())
    if packed and not packed.strip(HEX_DIGITS) and len(packed) % 2 == 0:
        return Content(pieces=[_of_der(bytes.fromhex(packed.decode()))])
    if data[:1] == b"\x30":
        return Content(pieces=[_of_der(data)])
    raise ParseError(NAME, "content", 0, "is no form of certificates, revocation lists or TCB statements known here")


def _without_comments(data: bytes) -> bytes:
    for _ in range(COMMENTS):
        if not data.startswith(b"#"):
            break
        data = data.partition(b"\n")[2]
    return data


def _of_pem(data: bytes) -> list[Piece]:
    found = _limited([(der, label) for label in (CERTIFICATE, CRL) for der in pem_blocks(data, label)])
    if not found:
        raise ParseError(NAME, "PEM", 0, "has neither a certificate nor a revocation list in it")
    if len(found) == 1 and b"\nobtained: " in data:
        return [Piece.parse(data)]
    return [Piece.of_der(der, label) for der, label in found]


def _of_der(data: bytes) -> Piece:
    try:
        return Piece.of_der(data, CERTIFICATE)
    except ParseError as first:
        try:
            return Piece.of_der(data, CRL)
        except ParseError as second:
            reason = f"is neither a certificate ({first.reason}) nor a revocation list ({second.reason})"
            raise ParseError(NAME, "DER", 0, reason) from second


def _of_document(data: bytes, name: str) -> Content:
    value = _json.loads(data, NAME)
    if isinstance(value, Mapping) and "signature" in value:
        for key, parse in (("tcbInfo", tcb_info), ("enclaveIdentity", qe_identity)):
            if key in value:
                signed = signed_member(data.decode(), key)
                return Content(statements=[Statement(file=name, signed=signed, parsed=parse(signed.text.encode()))])
    if isinstance(value, list):
        return Content(pieces=[piece for one in _limited(value) for piece in _of_object(one)])
    return Content(pieces=_of_object(value))


def _of_object(value: object) -> list[Piece]:
    if isinstance(value, Mapping) and isinstance(value.get("collateral"), Mapping):
        value = value["collateral"]
    if isinstance(value, Mapping) and "tcb_info" in value:
        return [Piece.of_members(value, str(value.get("source") or "")).noted(value)]
    if isinstance(value, Mapping) and "cert_chain" in value:
        return [_of_der(_octets(one)) for one in _limited(_json.members(value, "cert_chain", NAME))]
    raise ParseError(NAME, "json", 0, "has neither tcb_info, tcbInfo, enclaveIdentity nor cert_chain in it")


def _octets(entry: object) -> bytes:
    """The certificate of one entry, whose `data` is a list of numbers."""
    return bytes.fromhex(hexadecimal(_json.members(entry, "data", NAME), "data"))


def _limited(found: Sequence[T]) -> Sequence[T]:
    if len(found) > MOST:
        raise ParseError(NAME, "content", 0, f"has {len(found)} pieces; at most {MOST}")
    return found
