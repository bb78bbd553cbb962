"""The words of a policy, and the numbers that stand for them in a block."""

import posixpath
from enum import IntEnum

__all__ = ["FileKind", "Transport", "path_fault"]

LONGEST_PATH = 4095
"""PATH_MAX, without its NUL."""


class FileKind(IntEnum):
    """What a region of paths is."""

    ENCRYPTED = 1
    AUTHENTICATED = 2
    MEMORY = 3
    PLAIN = 4

    @property
    def word(self) -> str:
        """As a policy writes it."""
        return self.name.lower()

    @property
    def on_a_volume(self) -> bool:
        """Whether it is kept in a volume, under a key."""
        return self in {FileKind.ENCRYPTED, FileKind.AUTHENTICATED}


class Transport(IntEnum):
    """What carries a connection."""

    TLS = 1
    RA_TLS = 2
    PLAIN = 3

    @property
    def word(self) -> str:
        """As a policy writes it."""
        return self.name.lower().replace("_", "-")


def path_fault(path: str) -> str:
    """What is wrong with a path that must have one reading; empty if nothing is."""
    if not path.startswith("/"):
        return "is not absolute: begin with /"
    if "\0" in path:
        return "contains a NUL"
    if path.startswith("//") or posixpath.normpath(path) != path:
        return f"has more than one reading: write {posixpath.normpath('/' + path.lstrip('/'))}"
    if len(path.encode("utf-8", "surrogateescape")) > LONGEST_PATH:
        return f"is longer than {LONGEST_PATH:,} bytes"
    return ""
