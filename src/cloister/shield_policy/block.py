"""The shield block: what the runtime is told, with all keys in it (docs/formats/shield.md).

Little-endian. u32 version, u32 flags, u32 count; then so many entries, each u32 type, u32 size, and so many bytes.
A text is u32 length and so many bytes. `parse(serialize(x)) == x`, and the other way round.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cloister._wire import Reader
from cloister.errors import ParseError
from cloister.shield_policy.entries import ConnectEntry, ConsoleEntry, Entry, FilesEntry, ListenEntry
from cloister.shield_policy.fields import flags_of, text, u32

__all__ = ["MOST", "ShieldBlock"]

VERSION: Final = 1
STRICT, NETWORK, CONSOLE = 1, 2, 4
MOST_ENTRIES: Final = 1024
MOST: Final[Mapping[type, int]] = {FilesEntry: 32, ListenEntry: 64, ConnectEntry: 64}
"""Of each type: the runtime has room for so many (runtime/shield/policy.h)."""
READERS: Final[Mapping[int, Callable[[Reader], Entry]]] = {
    1: FilesEntry.read, 2: ListenEntry.read, 3: ConnectEntry.read, 4: ConsoleEntry.read
}  # fmt: skip
NUMBERS: Final[Mapping[type, int]] = {FilesEntry: 1, ListenEntry: 2, ConnectEntry: 3, ConsoleEntry: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShieldBlock:
    """All of it. `strict`: paths in no region are refused; `network`: so is what no entry lists there."""

    strict: bool = True
    network: bool = True
    entries: tuple[Entry, ...] = ()

    @property
    def console(self) -> ConsoleEntry | None:
        """The console, if it is shielded."""
        return next((one for one in self.entries if isinstance(one, ConsoleEntry)), None)

    def serialize(self) -> bytes:
        """Its bytes. ValueError for what no reader would take."""
        for fault in self._faults():
            raise ValueError(f"shield block: {fault}")
        flags = STRICT * self.strict | NETWORK * self.network | CONSOLE * (self.console is not None)
        parts = [u32(VERSION), u32(flags), u32(len(self.entries))]
        for one in self.entries:
            parts += [u32(NUMBERS[type(one)]), text(one.body())]
        return b"".join(parts)

    @classmethod
    def parse(cls, data: bytes) -> "ShieldBlock":
        """From exactly these bytes. ParseError."""
        reader = Reader(data, "shield block")
        if (version := reader.u32("version")) != VERSION:
            raise ParseError("shield block", "version", 0, f"{version} is not understood; {VERSION} is")
        strict, network, console = flags_of(reader, STRICT, NETWORK, CONSOLE)
        count = reader.u32("count")
        if count > MOST_ENTRIES:
            raise reader.error("count", f"{count} entries; at most {MOST_ENTRIES}")
        found = cls(strict=strict, network=network, entries=tuple(_read_entry(reader) for _ in range(count)))
        reader.finish()
        for fault in found._faults():
            raise ParseError("shield block", "entries", 12, fault)
        if console != (found.console is not None):
            raise ParseError("shield block", "flags", 4, "the console's flag and its entry go together")
        return found

    def _faults(self) -> Iterator[str]:
        if len(self.entries) > MOST_ENTRIES:
            yield f"{len(self.entries)} entries; at most {MOST_ENTRIES}"
        for kind, most in MOST.items():
            if (count := sum(isinstance(one, kind) for one in self.entries)) > most:
                yield f"{count} entries of {kind.__name__}; the runtime has room for {most}"
        for one in self.entries:
            yield from (f"{type(one).__name__}: {fault}" for fault in one.faults())
        yield from _twice("path", (one.path for one in self.entries if isinstance(one, FilesEntry)))
        volumes = (one.container for one in self.entries if isinstance(one, FilesEntry) and one.container)
        yield from _twice("volume", volumes)
        yield from _twice("port to listen on", (one.port for one in self.entries if isinstance(one, ListenEntry)))
        ends = ((one.host, one.port) for one in self.entries if isinstance(one, ConnectEntry))
        yield from _twice("address to connect to", ends)
        yield from _twice("console", ("console" for one in self.entries if isinstance(one, ConsoleEntry)))


def _twice(what: str, values: Iterable[object]) -> Iterator[str]:
    seen: set[object] = set()
    for one in values:
        if one in seen:
            yield f"the {what} {one} stands twice"
        seen.add(one)


def _read_entry(reader: Reader) -> Entry:
    number, size = reader.u32("type"), reader.u32("size")
    start = reader.base + reader.offset
    if number not in READERS:
        raise reader.error("type", f"{number} is not understood")
    inside = Reader(reader.take(size, "body"), "shield block", base=start)
    found = READERS[number](inside)
    inside.finish()
    return found
