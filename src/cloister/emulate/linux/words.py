"""Registers hold 64 bits without a sign: what a C type makes of them."""

__all__ = ["signed", "signed_int"]


def signed(word: int) -> int:
    """A register as a C long."""
    return word - (1 << 64) if word >> 63 else word


def signed_int(word: int) -> int:
    """A register as a C int: its lower 32 bits."""
    word &= 0xFFFF_FFFF
    return word - (1 << 32) if word >> 31 else word
