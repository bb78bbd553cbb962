"""Marks inside monospaced text: the secret stands out, and so do the pointers that take its place."""

import re

from markupsafe import Markup, escape

__all__ = ["marked"]

POINTER = r"0x[0-9a-f]{5,}"


def marked(text: str, secret: str) -> Markup:
    """Escape `text`, wrapping each occurrence of the secret in <mark> and each pointer in a span."""
    pieces = re.split(f"({re.escape(secret)}|{POINTER})" if secret else f"({POINTER})", text)
    return Markup("").join(_piece(piece, secret) for piece in pieces)


def _piece(piece: str, secret: str) -> Markup:
    if secret and piece == secret:
        return Markup("<mark>{}</mark>").format(piece)
    if re.fullmatch(POINTER, piece):
        return Markup('<span class="pointer">{}</span>').format(piece)
    return escape(piece)
