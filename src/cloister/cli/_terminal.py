"""Text that came from elsewhere, made safe for a terminal."""

__all__ = ["clean", "clean_lines"]


def clean(text: str) -> str:
    """The text with every character that is not printable written as an escape: no cursor movement, no fake lines."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def clean_lines(text: str) -> str:
    """The same for a message that may have several lines."""
    return "\n".join(map(clean, text.split("\n")))
