"""How Cloister writes numbers for people: one unit convention in every report, so that figures can be compared."""

__all__ = ["counted", "figure", "human_size", "ratio"]

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def human_size(size: int) -> str:
    """`size` bytes in the largest unit that leaves at least 1: `132 KiB`, `2.1 MiB`, `85 TiB`.

    Units are powers of 1024 under their IEC 80000-13 names, one decimal below 10.
    """
    exponent = max(0, size.bit_length() - 1) // 10
    value = f"{size / (1 << 10 * exponent):.1f}" if size < 10 << 10 * exponent else f"{size >> 10 * exponent}"
    return f"{value.removesuffix('.0')} {UNITS[exponent]}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`number` of a thing in words: `1 call`, `2 calls`; `plural` where an s does not make it."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def figure(value: float) -> str:
    """A measured `value`: three significant digits at least, no more decimals than that needs, thousands apart."""
    for limit, decimals in ((100.0, 0), (10.0, 1), (1.0, 2)):
        if value >= limit:
            return f"{value:,.{decimals}f}"
    return f"{value:.3f}"


def ratio(value: float) -> str:
    """A part of something: two decimals; more below a tenth, where two would say little."""
    for limit, decimals in ((0.1, 2), (0.01, 3)):
        if value >= limit:
            return f"{value:.{decimals}f}"
    return f"{value:.4f}"
