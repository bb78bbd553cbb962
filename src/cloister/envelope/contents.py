"""What came out of an envelope, and the bounds within which one is opened."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

from cloister._x509 import Certificate, Crl
from cloister.endorse.intel import IntelCollateral
from cloister.envelope.bindings import Binding
from cloister.errors import ParseError

__all__ = ["DEEPEST", "LARGEST", "MOST_ENDORSEMENTS", "Container", "Envelope", "Opening", "join"]

T = TypeVar("T")

DEEPEST: Final = 6
"""Layers around the innermost evidence. The deepest real one, a quote in base64 in JSON in base64, has 3."""

LARGEST: Final = 16 << 20
"""Bytes, of all layers together. The largest real envelopes, with an event log of 1 MiB in base64, have 3 MiB."""


MOST_PARTS: Final = 128
"""Pieces of evidence. A composite device has some ten."""

MOST_ENDORSEMENTS: Final = 256
"""Certificates, lists and statements that came along. A chain has four, Intel's collateral counts as one."""

LARGEST_ENDORSEMENTS: Final = 1 << 20
"""Bytes of all of them: what comes along is remembered by verification. Intel's collateral has 100 to 200 kB."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What an envelope contained. Nothing in it has been verified; nothing was interpreted that was not recognised.

    `parts` are evidence records, the primary one first. `certificates`, `crls`, `intel` are endorsements that came
    along. `bindings` must hold between the parts. `event_logs` are bytes as they came. For people: `path` says which
    layers were peeled, outermost first; `leftovers` what was there and not used.
    """

    parts: tuple[object, ...] = ()
    certificates: tuple[Certificate, ...] = field(default=(), repr=False)
    crls: tuple[Crl, ...] = field(default=(), repr=False)
    bindings: tuple[Binding, ...] = field(default=(), repr=False)
    event_logs: tuple[bytes, ...] = field(default=(), repr=False)
    intel: tuple[IntelCollateral, ...] = field(default=(), repr=False)
    path: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()

    @property
    def primary(self) -> object:
        """The first piece of evidence; ParseError if there are only endorsements."""
        if not self.parts:
            raise ParseError("Envelope", "parts", 0, "endorsements, where evidence should be")
        return self.parts[0]

    def bounded(self) -> "Envelope":
        """The same, or ParseError if more came along than anybody needs."""
        if len(self.parts) > MOST_PARTS:
            raise ParseError("Envelope", "parts", 0, f"more than {MOST_PARTS} pieces of evidence")
        if len(self.certificates) + len(self.crls) + len(self.intel) > MOST_ENDORSEMENTS:
            raise ParseError("Envelope", "endorsements", 0, f"more than {MOST_ENDORSEMENTS} came along")
        sizes = [len(one.encoded) for one in self.certificates] + [len(one.encoded) for one in self.crls]
        size = sum(sizes) + sum(one.size for one in self.intel)
        if size > LARGEST_ENDORSEMENTS:
            raise ParseError("Envelope", "endorsements", 0, f"{size} bytes came along; at most {LARGEST_ENDORSEMENTS}")
        return self

    def within(self, *steps: str) -> "Envelope":
        """The same, found inside these layers."""
        return replace(self, path=(*steps, *self.path))


def join(*found: Envelope) -> Envelope:
    """All contents together, each once; the path is that of the first. ParseError if they are too many."""
    for one in found:
        one.bounded()
    if sum(len(one.parts) for one in found) > MOST_PARTS:
        raise ParseError("Envelope", "parts", 0, f"more than {MOST_PARTS} pieces of evidence")
    return Envelope(
        parts=unique(one.parts for one in found), bindings=unique(one.bindings for one in found),
        event_logs=unique(one.event_logs for one in found), leftovers=unique(one.leftovers for one in found),
        certificates=tuple(dict.fromkeys(made for one in found for made in one.certificates)),
        crls=tuple(dict.fromkeys(made for one in found for made in one.crls)),
        intel=tuple(dict.fromkeys(made for one in found for made in one.intel)), path=found[0].path,
    ).bounded()  # fmt: skip


def unique(tuples: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    """All members in order, none twice. Compared, not hashed: records may hold what cannot be hashed."""
    made: list[T] = []
    for one in tuples:
        made.extend(member for member in one if member not in made)
    return tuple(made)


class Opening:
    """One layer of an envelope while it is opened: how deep it lies, and how many bytes may still be read."""

    __slots__ = ("_budget", "_depth", "_recognise")

    def __init__(
        self, recognise: "Callable[[bytes, Opening], Envelope]", depth: int = 0, budget: list[int] | None = None
    ) -> None:
        self._recognise, self._depth, self._budget = recognise, depth, [LARGEST] if budget is None else budget

    def inside(self, data: bytes, step: str) -> Envelope:
        """What lies one layer deeper, in `data`; `step` is the name of the layer that was peeled."""
        return self._recognise(self.spend(data), self.deeper()).within(step)

    def deeper(self) -> "Opening":
        """The layer inside this one."""
        if self._depth >= DEEPEST:
            raise ParseError("Envelope", "depth", 0, f"more than {DEEPEST} layers around the evidence")
        return Opening(self._recognise, self._depth + 1, self._budget)

    def spend(self, data: bytes) -> bytes:
        """Count `data` as read."""
        self._budget[0] -= len(data)
        if self._budget[0] < 0:
            raise ParseError("Envelope", "size", 0, f"more than {LARGEST} bytes in all layers together")
        return data


class Container(Protocol):
    """One format of containers: a module with these two functions."""

    def looks_like(self, data: bytes) -> bool:
        """Whether it is this format and no other: a failure to open it is then the answer. Never raises."""

    def open_container(self, data: bytes, opening: Opening) -> Envelope:
        """Its contents, or ParseError."""
