"""Intel's statements as one JSON document: what quote verification tools exchange, and what the cache keeps.

`IntelCollateral.from_json` reads it. Here it is put together, from the answers of a service or from loose files, with
every signed text byte for byte as Intel sent it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister import _json
from cloister.errors import ParseError

__all__ = ["MEMBERS", "OPTIONAL", "Signed", "canonical", "hexadecimal", "members_of", "signed_member"]

MEMBERS: Final = (
    "tcb_info", "tcb_info_signature", "tcb_info_issuer_chain",
    "qe_identity", "qe_identity_signature", "qe_identity_issuer_chain",
    "pck_crl", "pck_crl_issuer_chain", "root_ca_crl",
)  # fmt: skip
"""What a bundle consists of: signed texts, PEM chains, and hexadecimal digits of signatures and DER."""
OPTIONAL: Final = frozenset({"pck_crl_issuer_chain"})
"""Handed on where it is there: the quote brings the same certificates."""
NAME: Final = "Intel collateral"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A statement taken out of the answer that carried it: the exact text, and its signature in hexadecimal."""

    text: str
    signature: str


def signed_member(answer: str, key: str) -> Signed:
    """The statement under `key` (`tcbInfo`, `enclaveIdentity`) of an object that has only it and its `signature`.

    The text is cut out, not written again: the signature covers these bytes and no others.
    """
    top = _json.loads(answer, NAME)
    signature, found = _json.text(top, "signature", NAME), _json.member(top, key, NAME)
    if not isinstance(top, Mapping) or len(top) > 2 or not isinstance(found, Mapping):
        raise ParseError(NAME, key, 0, "is not one signed statement")
    return Signed(text=_member_text(answer, key), signature=signature)


def _member_text(document: str, key: str) -> str:
    """How the member `key` of the outermost object is written. The document is valid and has no key twice."""
    decoder, at = json.JSONDecoder(), document.index("{") + 1
    while True:
        name, at = decoder.raw_decode(document, _skip(document, at, ","))
        start = _skip(document, at, ":")
        _, at = decoder.raw_decode(document, start)
        if name == key:
            return document[start:at]


def _skip(document: str, at: int, punctuation: str) -> int:
    """The place of the next value: white space and one punctuation mark are skipped."""
    while document[at] in " \t\r\n" + punctuation:
        at += 1
    return at


def members_of(value: object) -> dict[str, str]:
    """The members of a bundle as text, whichever way a tool has written them.

    Bytes may be hexadecimal or lists of numbers; a statement may still be inside the answer that carried it.
    """
    if not isinstance(value, Mapping):
        raise ParseError(NAME, "json", 0, "is not an object")
    found = {key: _text(value[key], key) for key in MEMBERS if value.get(key) is not None}
    if "tcb_info" not in found or "qe_identity" not in found:
        raise ParseError(NAME, "json", 0, "has no tcb_info or no qe_identity")
    for key, inner in (("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity")):
        if f"{key}_signature" not in found:
            signed = signed_member(found[key], inner)
            found |= {key: signed.text, f"{key}_signature": signed.signature}
    missing = [key for key in MEMBERS if key not in found and key not in OPTIONAL]
    if missing:
        raise ParseError(NAME, missing[0], 0, "is missing")
    return found


def _text(value: object, key: str) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ParseError(NAME, key, 0, "is not text") from error
        return value.rstrip("\0")
    if isinstance(value, list):
        return hexadecimal(value, key)
    raise ParseError(NAME, key, 0, "is neither a string nor a list of bytes")


def hexadecimal(numbers: list[object], key: str) -> str:
    """The digits of bytes that a tool has written as a list of numbers."""
    if not all(isinstance(one, int) and 0 <= one <= 255 for one in numbers):
        raise ParseError(NAME, key, 0, "is a list of something else than bytes")
    return "".join(f"{one:02x}" for one in numbers)


def canonical(members: Mapping[str, str]) -> bytes:
    """One way of writing these members: two bundles are the same if these bytes are."""
    return json.dumps({key: members[key] for key in MEMBERS if key in members}, separators=(",", ":")).encode()
