"""The bytes around a hit, as rows of eight, each byte marked if it belongs to the secret."""

from dataclasses import dataclass

from cloister.observe.report.record import HitRecord

__all__ = ["HexByte", "HexRow", "rows_of"]

WIDTH = 8
PRINTABLE = range(0x20, 0x7F)


@dataclass(frozen=True, kw_only=True)
class HexByte:
    """One byte: two hex digits, the character a dump shows for it, and whether it is the secret's."""

    digits: str
    character: str
    secret: bool


@dataclass(frozen=True, kw_only=True)
class HexRow:
    """Eight bytes (fewer in the last row) and the address of the first."""

    address: int
    cells: tuple[HexByte, ...]


def rows_of(hit: HitRecord) -> list[HexRow]:
    """Split the context of a hit into rows of eight bytes, starting at its first byte."""
    data = bytes.fromhex(hit.context_hex)
    secret = range(hit.address - hit.context_start, hit.address - hit.context_start + hit.length)
    cells = [
        HexByte(digits=f"{byte:02x}", character=chr(byte) if byte in PRINTABLE else "·", secret=index in secret)
        for index, byte in enumerate(data)
    ]
    return [
        HexRow(address=hit.context_start + offset, cells=tuple(cells[offset : offset + WIDTH]))
        for offset in range(0, len(cells), WIDTH)
    ]
