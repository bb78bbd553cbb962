"""Bytes written as text: hexadecimal, base64 (RFC 4648, sections 4, 5 and 8), PEM blocks (RFC 7468)."""

import base64
import binascii
from typing import Final

from cloister._x509 import PEM
from cloister.errors import ParseError

__all__ = ["BEGIN", "WHITE", "decode", "encoding_of", "octets", "pem_blocks"]

WHITE: Final = b" \t\r\n"
HEX: Final = b"0123456789abcdefABCDEF"
ALPHANUMERIC: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
BEGIN: Final = b"-----BEGIN "
MOST_BLOCKS: Final = 64
"""PEM blocks in one envelope. A certificate with its chain has 3 or 4."""


def encoding_of(data: bytes) -> str:
    """What `data`, without white space around it, is written in, or an empty string. Linear in its length."""
    if data.startswith(BEGIN):
        return "PEM"
    packed = data.translate(None, WHITE)
    if not packed:
        return ""
    if not bare_hex(packed).translate(None, HEX):
        return "hex"
    body = packed.rstrip(b"=")
    if len(packed) - len(body) > 2:
        return ""
    others = set(body.translate(None, ALPHANUMERIC))
    if others <= set(b"+/"):
        return "base64"
    return "base64url" if others <= set(b"-_") else ""


def bare_hex(packed: bytes) -> bytes:
    """Hexadecimal digits without the prefix that some tools write."""
    return packed[2:] if packed[:2] in {b"0x", b"0X"} else packed


def decode(data: bytes, kind: str, field: str, *, base: int = 0) -> bytes:
    """The bytes that hex, base64 or base64url text stands for. Padding may be left out, but must not be wrong."""
    packed = data.translate(None, WHITE)
    try:
        if kind == "hex":
            return binascii.unhexlify(bare_hex(packed))
        if kind == "base64url":
            packed = packed.translate(bytes.maketrans(b"-_", b"+/"))
        whole = packed if b"=" in packed else packed + b"=" * (-len(packed) % 4)
        found = base64.b64decode(whole, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ParseError("text", field, base, f"is not {kind}: {error}") from error
    if base64.b64encode(found) != whole:
        raise ParseError("text", field, base, f"is not {kind} as it is written: unused bits are not zero")
    return found


def octets(value: str, record: str, field: str) -> bytes:
    """The bytes of a member of a JSON object: hexadecimal, base64 or base64url."""
    data = value.encode("utf-8", "surrogatepass").strip(WHITE)
    kind = encoding_of(data)
    if kind in {"", "PEM"}:
        raise ParseError(record, field, 0, "is neither hexadecimal nor base64")
    try:
        return decode(data, kind, field)
    except ParseError as error:
        raise ParseError(record, field, error.offset, error.reason) from error


def pem_blocks(data: bytes, base: int) -> list[tuple[str, bytes]]:
    """Label and bytes of every block. Other text than white space between blocks would be ignored silently."""
    made: list[tuple[str, bytes]] = []
    end = 0
    for match in PEM.finditer(data):
        if data[end : match.start()].strip(WHITE):
            raise ParseError("PEM", "text", base + end, "is neither a block nor white space")
        if len(made) == MOST_BLOCKS:
            raise ParseError("PEM", "blocks", base + match.start(), f"more than {MOST_BLOCKS}")
        made.append(
            (match[1].decode("ascii"), decode(match[2], "base64", match[1].decode("ascii"), base=base + match.start()))
        )
        end = match.end()
    if not made or data[end:].strip(WHITE):
        raise ParseError("PEM", "END", base + end, "a block is not closed, or is not base64 inside")
    return made
