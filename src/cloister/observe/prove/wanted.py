"""What is searched for: each secret whole in every encoding, and its halves as they are.

Half of a 28-character secret still has 83 random bits, so a half is no coincidence, and a secret whose other half was
overwritten is still a leak. A process name holds 15 characters: there any run of 8 of the secret's characters counts.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cloister.observe.needles import Needles
from cloister.observe.prove.secret import Secret
from cloister.observe.search import Searcher

__all__ = ["Blocks", "Wanted"]

HALVES = (" (first half)", " (second half)")
HALF_ENCODINGS = {"raw", "utf-16le"}
NAME_WINDOW = 8
CHUNK_BYTES = 1 << 20
APART = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The secrets of the experiment and the patterns made of them."""

    secrets: tuple[Secret, ...]
    needles: Needles

    @classmethod
    def of(cls, secrets: Sequence[Secret]) -> "Wanted":
        """Patterns for the secrets and their halves; halves in few encodings: each pattern costs scanning time."""
        whole = Needles.of({secret.label: secret.value for secret in secrets})
        halves = Needles.of({label: value for secret in secrets for label, value in split(secret)})
        plain = tuple(needle for needle in halves.needles if needle.encoding in HALF_ENCODINGS)
        return cls(secrets=tuple(secrets), needles=Needles(needles=whole.needles + plain))

    @property
    def longest(self) -> int:
        """Length of the longest pattern in bytes: the overlap needed between two chunks of one stream."""
        return self.needles.longest

    def search(self, data: bytes) -> set[tuple[str, str]]:
        """(label, encoding) of every pattern in `data`; the encoding names the half, if it is one."""
        return {spell(needle.label, needle.encoding) for needle in self.needles.needles if needle.pattern in data}

    def search_file(self, path: Path) -> set[tuple[str, str]]:
        """(label, encoding) of every pattern in a regular file, whatever its format. OSError when it cannot be read."""
        searcher = self.searcher
        searcher.begin(0)  # nothing of the file before goes on here
        found: set[tuple[str, str]] = set()
        with path.open("rb") as file:
            offset = 0
            while chunk := file.read(CHUNK_BYTES):
                hits = searcher.feed(offset, memoryview(chunk))
                found |= {spell(hit.needle.label, hit.needle.encoding) for hit in hits}
                offset += len(chunk)
        return found

    @cached_property
    def searcher(self) -> Searcher:
        """Made once: that takes longer than reading a small file, and there are thousands. For one thread at a time."""
        return Searcher(self.needles)

    def search_name(self, name: bytes) -> set[tuple[str, str]]:
        """(label, encoding) of every secret of which 8 characters in a row stand in a process or thread name."""
        windows = [name[start : start + NAME_WINDOW] for start in range(len(name) - NAME_WINDOW + 1)]
        return {(secret.label, "raw (part)") for secret in self.secrets if any(w in secret.value for w in windows)}

    def redact(self, text: str) -> str:
        """The text with every form of a secret, and every run of 8 or more of its characters, replaced by its label.

        For names, paths and messages that go into a report.
        """
        data = os.fsencode(text)
        for needle in self.needles.needles:
            if needle.encoding != "raw":
                data = data.replace(needle.pattern, f"<{needle.label}>".encode())
        for secret in self.secrets:
            data = hide(data, secret)
        return os.fsdecode(data)


class Blocks:
    """Searches blocks of bytes that have nothing to do with one another."""

    def __init__(self, needles: Needles) -> None:
        self.searcher = Searcher(needles)
        self.address = 0

    def search(self, data: bytes) -> set[tuple[str, str]]:
        """(label, encoding) of every pattern in the block."""
        self.address += 2 * APART  # nothing of the block before goes on here
        hits = self.searcher.feed(self.address, memoryview(data))
        return {spell(hit.needle.label, hit.needle.encoding) for hit in hits}


def hide(data: bytes, secret: Secret) -> bytes:
    """Replace each run of characters that also stand together in the secret, if 8 or longer."""
    shown = bytearray()
    start = 0
    while start < len(data):
        end = start + NAME_WINDOW
        if data[start:end] not in secret.value or end > len(data):
            shown.append(data[start])
            start += 1
            continue
        while end < len(data) and data[start : end + 1] in secret.value:
            end += 1
        shown += f"<{secret.label}>".encode()
        start = end
    return bytes(shown)


def split(secret: Secret) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    """Both halves with their labels."""
    middle = len(secret.value) // 2
    return (secret.label + HALVES[0], secret.value[:middle]), (secret.label + HALVES[1], secret.value[middle:])


def spell(label: str, encoding: str) -> tuple[str, str]:
    """Undo the half in a label: `('native secret (first half)', 'raw')` is `('native secret', 'raw (first half)')`."""
    for half in HALVES:
        if label.endswith(half):
            return label.removesuffix(half), encoding + half
    return label, encoding
