"""Finding secrets in what calls carry, and writing bytes down without them.

A program may pass a secret in pieces (bash reads its input byte by byte), so the end of what went through a
channel is remembered and joined with what comes next. A piece that may be the beginning of a secret is masked
before it is known to be one.
"""

from dataclasses import dataclass, field

from ahocorasick_rs import BytesAhoCorasick

from cloister.observe.needles import Needle, Needles
from cloister.observe.trace.record import Carried
from cloister.quantities import counted

__all__ = ["Looked", "Mask", "Redactor", "quote"]

# A beginning counts from this many bytes on; single bytes only where a program moves its data in crumbs.
BEGINNING = 2
BEGINNING_ENCODED = 4
CRUMB = 4

ESCAPES = {ord("\n"): "\\n", ord("\t"): "\\t", ord("\r"): "\\r", ord('"'): '\\"', ord("\\"): "\\\\"}


@dataclass(frozen=True, slots=True)
class Mask:
    """Bytes [start, end) of a buffer that must not be shown, and what is shown instead."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Looked:
    """A buffer that was searched: its bytes (never to be shown as they are), the masks, and what it carried."""

    data: bytes = field(repr=False)
    masks: tuple[Mask, ...]
    carried: tuple[Carried, ...]


class Redactor:
    """Searches buffers for every encoding of the secrets."""

    def __init__(self, needles: Needles) -> None:
        self._needles = needles.needles
        self._search = BytesAhoCorasick([needle.pattern for needle in self._needles])
        self._keep = max(needles.longest - 1, 0)
        self._beginnings = beginnings(self._needles)
        self._sizes = sorted({len(text) for text in self._beginnings}, reverse=True)
        self._tails: dict[str, bytes] = {}

    def look(self, data: bytes, argument: str, stream: str = "") -> Looked:
        """Search a buffer; `stream` names the channel and direction when the data is part of a flow of bytes."""
        if not self._needles:
            return Looked(data, (), ())
        tail = self._tails.get(stream, b"") if stream else b""
        whole = tail + data
        carried = self.carried(whole, len(tail), argument)
        masks = [mask_of(item) for item in carried]
        if stream:
            self._tails[stream] = whole[-self._keep :]
            masks.extend(self.pending(whole, len(data)))
        return Looked(data, tuple(masks), carried)

    def carried(self, whole: bytes, before: int, argument: str) -> tuple[Carried, ...]:
        """Secrets that end in the part of `whole` after its first `before` bytes."""
        found = []
        for index, start, end in self._search.find_matches_as_indexes(whole, overlapping=True):
            if end > before:
                needle = self._needles[index]
                found.append(
                    Carried(
                        label=needle.label,
                        encoding=needle.encoding,
                        argument=argument,
                        offset=start - before,
                        length=end - start,
                        pieces=start < before,
                    )
                )
        return tuple(found)

    def pending(self, whole: bytes, size: int) -> list[Mask]:
        """A mask over the end of the buffer if the flow now ends with the beginning of a secret."""
        for length in self._sizes:
            needle = self._beginnings.get(whole[-length:])
            if needle and length >= least(needle, size) and length <= len(whole):
                shown = min(length, size)
                return [Mask(size - shown, size, f"<secret:{needle.label}? {counted(shown, 'byte')}>")]
        return []

    def text(self, text: str) -> str:
        """A text (a path, a name) with every secret in it replaced by its label."""
        data = text.encode("utf-8", "surrogateescape")
        looked = self.look(data, "")
        if not looked.masks:
            return text
        return "".join(
            piece if isinstance(piece, str) else piece.decode("utf-8", "surrogateescape") for piece in pieces(looked)
        )


def beginnings(needles: tuple[Needle, ...]) -> dict[bytes, Needle]:
    """Every proper beginning of every needle; where two share one, the plainer needle's."""
    table: dict[bytes, Needle] = {}
    for needle in needles:
        for length in range(1, len(needle.pattern)):
            table.setdefault(needle.pattern[:length], needle)
    return table


def least(needle: Needle, size: int) -> int:
    """How many bytes of a beginning are enough to mask, in a buffer of `size` bytes."""
    if needle.encoding != "raw":
        return BEGINNING_ENCODED
    return 1 if size <= CRUMB else BEGINNING


def mask_of(item: Carried) -> Mask:
    """What is shown in place of a secret."""
    encoding = "" if item.encoding == "raw" else f" {item.encoding}"
    return Mask(
        max(item.offset, 0),
        item.offset + item.length,
        f"<secret:{item.label} {counted(item.length, 'byte')}{encoding}>",
    )


def pieces(looked: Looked) -> list[bytes | str]:
    """A buffer as shown bytes and mask texts, in order; overlapping masks count once."""
    result: list[bytes | str] = []
    reached = 0
    for mask in sorted(looked.masks, key=lambda item: (item.start, -item.end)):
        if mask.start >= reached:
            result += [looked.data[reached : mask.start], mask.text]
        reached = max(reached, mask.end)
    return [*result, looked.data[reached:]]


def quote(looked: Looked, limit: int, total: int | None = None) -> str:
    """A buffer as strace writes it: in quotes, escaped, at most `limit` bytes, then `...` if `total` is more."""
    shown, left = [], limit
    for piece in pieces(looked):
        if isinstance(piece, str):
            shown.append(piece)
        elif left > 0:
            shown.append(escape(piece[:left]))
            left -= len(piece)
    more = left < 0 or len(looked.data) < (total or 0)
    return '"' + "".join(shown) + '"' + ("..." if more else "")


def escape(data: bytes) -> str:
    """Bytes as printable ASCII, as in a C string; others in octal, as short as the next byte allows."""
    shown = []
    for byte, after in zip(data, [*data[1:], 0], strict=False):
        plain = ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else "")
        digit = ord("0") <= after <= ord("9")
        shown.append(plain or (f"\\{byte:03o}" if digit else f"\\{byte:o}"))
    return "".join(shown)
