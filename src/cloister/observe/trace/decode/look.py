"""One call being decoded: its registers, the program's memory, and what the decoders notice on the way."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cloister.observe.trace.descriptors import Descriptors
from cloister.observe.trace.memory_unsafe import NOT_AN_ADDRESS, Memory
from cloister.observe.trace.record import (
    Clues,
    Contents,
    Direction,
    Name,
    NameKind,
    Scalar,
    Seen,
    Unreadable,
    Unsearched,
    UnsearchedKind,
)
from cloister.observe.trace.redact import Redactor, quote
from cloister.observe.trace.signatures import Param, Signature

__all__ = ["NOTHING", "SEARCH_LIMIT", "Decoded", "Decoder", "Eyes", "Look", "pointer", "signed"]

NOTHING = Scalar()
PAGE = 4096
SEARCH_LIMIT = 16 << 20  # bytes of one buffer that are searched; a longer one is searched up to here
NAME_LIMIT = 4096

Decoded = tuple[str, Contents]


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """What every decoder sees with. `limit` is how many bytes of a buffer are shown (not: searched).

    `late` tells that memory is read after the call, so that it may already hold something else.
    """

    memory: Memory
    descriptors: Descriptors
    redactor: Redactor
    limit: int
    late: bool = False


@dataclass(slots=True, kw_only=True)
class Look:
    """One call. `result` is set when it has returned."""

    eyes: Eyes
    pid: int
    signature: Signature
    raws: tuple[int, ...]
    result: int = 0
    clues: Clues = field(default_factory=Clues)

    def value(self, name: str) -> int:
        """The register of the parameter called `name`; 0 when there is none."""
        for param, raw in zip(self.signature.params, self.raws, strict=False):
            if param.name == name:
                return raw
        return 0

    def length(self, detail: str) -> int:
        """A length as the signature describes it: `=` the value returned, `*arg` behind a pointer, or `arg`."""
        if detail == "=":
            return max(self.result, 0)
        if detail.startswith("*"):
            data = self.eyes.memory.read(self.pid, self.value(detail[1:]), 4)
            # An int: the kernel refuses those below 0.
            return 0 if isinstance(data, Unreadable) else max(int.from_bytes(data, "little", signed=True), 0)
        return max(signed(self.value(detail), 64), 0)

    def refused(self, detail: str) -> Unreadable | None:
        """Why a length behind a pointer cannot be read, if that is so: then what it measures cannot be either."""
        if not detail.startswith("*"):
            return None
        data = self.eyes.memory.read(self.pid, self.value(detail[1:]), 4)
        return data if isinstance(data, Unreadable) and data.reason != NOT_AN_ADDRESS else None

    def channel(self) -> str:
        """What the first descriptor among the parameters refers to; empty when there is none."""
        for param, raw in zip(self.signature.params, self.raws, strict=False):
            if param.kind == "fd":
                return self.eyes.descriptors.channel(self.pid, signed(raw, 32))
        return ""

    def content(self, param: Param, address: int, size: int, direction: Direction | None = None) -> Decoded:
        """A buffer of known size: searched, redacted, quoted."""
        if address == 0:
            return "NULL", NOTHING
        wanted = min(size, SEARCH_LIMIT)
        data = self.eyes.memory.read(self.pid, address, wanted)
        if isinstance(data, Unreadable):
            return pointer(address, data), data
        if size > SEARCH_LIMIT:
            self.clues.unsearched.append(Unsearched(kind=UnsearchedKind.LONG_BUFFER, amount=size - SEARCH_LIMIT))
        stream = f"{direction.value} {self.channel()}" if direction else ""
        looked = self.eyes.redactor.look(data, param.name, stream)
        self.clues.carried.extend(looked.carried)
        return quote(looked, self.eyes.limit, size), Seen(size=len(data))

    def string(self, param: Param, address: int) -> tuple[bytes, Decoded]:
        """A NUL-terminated string: its bytes, and how it is shown (in full: names are metadata)."""
        if address == 0:
            return b"", ("NULL", NOTHING)
        data = self.terminated(address)
        if isinstance(data, Unreadable):
            return b"", (pointer(address, data), data)
        looked = self.eyes.redactor.look(data, param.name)
        self.clues.carried.extend(looked.carried)
        return data, (quote(looked, NAME_LIMIT), Seen(size=len(data)))

    def terminated(self, address: int, limit: int = SEARCH_LIMIT) -> bytes | Unreadable:
        """The bytes up to the first NUL; read page by page, because the next page may not be there."""
        parts: list[bytes] = []
        size = 0
        while size < limit:
            data = self.eyes.memory.read(self.pid, address + size, PAGE - (address + size) % PAGE)
            if isinstance(data, Unreadable):
                return b"".join(parts) if parts else data
            end = data.find(b"\0")
            parts.append(data if end < 0 else data[:end])
            size += len(data)
            if end >= 0 or not data:
                break
        return b"".join(parts)

    def named(self, kind: NameKind, text: str) -> None:
        """Note a name that this call gave away."""
        if text:
            self.clues.names.append(Name(kind=kind, text=self.eyes.redactor.text(text)))


Decoder = Callable[[Look, Param, int], Decoded]


def signed(raw: int, bits: int) -> int:
    """The low `bits` of a register as a signed number."""
    low = raw & ((1 << bits) - 1)
    return low - (1 << bits) if low >> (bits - 1) else low


def pointer(address: int, why: Unreadable) -> str:
    """An address whose contents could not be read."""
    return f"{address:#x} /* unreadable: {why.reason} */"
