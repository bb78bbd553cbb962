"""base64url without padding (RFC 7515, section 2), as JOSE and EAT write bytes, read strictly: one spelling a value."""

import base64
import binascii

__all__ = ["decode", "encode"]


def encode(data: bytes) -> str:
    """The text that stands for these bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes; ValueError for padding, foreign characters, or a last character with bits that belong to no byte."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("is not base64url") from error
    if encode(data) != text:
        raise ValueError("is not base64url in its one spelling without padding")
    return data
