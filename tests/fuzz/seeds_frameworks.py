"""What the target of frameworks' configurations begins with."""

from collections.abc import Callable, Iterator
from typing import Final

from tests.forge.frameworks import FULL

__all__ = ["FRAMEWORKS"]


def configuration() -> Iterator[bytes]:
    """A full file of each format; sessions with one service, for the reader is not told which."""
    for text in FULL.values():
        before, found, rest = text.partition("  - name: other\n")
        after = rest[rest.index("secrets:\n") :] if found else ""
        yield (before + after).encode()


FRAMEWORKS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {"configuration": configuration}
