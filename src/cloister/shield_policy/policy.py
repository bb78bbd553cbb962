"""A shield policy as its file says it: where the keys are, not the keys.

A key is a secret of a session, or stands in a file of this machine, which its administrator reads too: such keys are
called `unsafe_...`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cloister.shield_policy.words import FileKind, Transport

__all__ = ["ConsolePlan", "IdentityAt", "KeyAt", "Peer", "Pin", "Port", "Region", "Root", "ShieldPolicy"]


@dataclass(frozen=True, slots=True)
class Root:
    """The state of a volume: its generation, and the SHA-256 of its superblock."""

    generation: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.generation}:{self.digest.hex()}"


@dataclass(frozen=True, slots=True)
class KeyAt:
    """Where a key is: a secret of the session, or a file."""

    secret: str = ""
    unsafe_file: str = ""


@dataclass(frozen=True, slots=True)
class IdentityAt:
    """Where certificates and their private key are: a secret of the session of kind x509, or two files."""

    secret: str = ""
    unsafe_certificate_file: str = ""
    unsafe_key_file: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """A key that is believed: the SHA-256 of its SubjectPublicKeyInfo, or a file with a certificate of it."""

    digest: bytes = b""
    certificate_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Paths that the program sees, and what is behind them.

    `root`: no older state of the volume is taken. `root_at_broker`: the broker keeps which is the newest.
    """

    place: str = field(compare=False)
    kind: FileKind
    path: str
    name: str
    volume: str = ""
    key: KeyAt | None = None
    root: Root | None = None
    root_at_broker: bool = False
    create: bool = False
    read_only: bool = False
    cache: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port on which the program accepts. With `clients`, others than these are refused."""

    place: str = field(compare=False)
    transport: Transport
    number: int
    name: str = ""
    identity: IdentityAt | None = None
    clients: tuple[Pin, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Where the program connects to; an empty address is any. `unsafe_any_server`: whoever answers is believed."""

    place: str = field(compare=False)
    transport: Transport
    address: str
    port: int
    name: str = ""
    server_name: str = ""
    pins: tuple[Pin, ...] = ()
    unsafe_any_server: bool = False
    identity: IdentityAt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsolePlan:
    """The console's key, and what terminal the person has."""

    place: str = field(compare=False)
    key: KeyAt
    terminal: bool = False
    rows: int = 0
    columns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShieldPolicy:
    """All of it. What is not said is refused, unless `unsafe_open_files` or `unsafe_open_network` says otherwise."""

    place: str = field(compare=False)
    regions: tuple[Region, ...] = ()
    ports: tuple[Port, ...] = ()
    peers: tuple[Peer, ...] = ()
    console: ConsolePlan | None = None
    unsafe_open_files: bool = False
    unsafe_open_network: bool = False

    def symmetric_keys(self) -> Iterator[tuple[str, KeyAt]]:
        """Every symmetric key, with the place where it is named."""
        yield from ((one.place, one.key) for one in self.regions if one.key)
        if self.console:
            yield self.console.place, self.console.key

    def identities(self) -> Iterator[tuple[str, IdentityAt]]:
        """Every identity, with the place where it is named."""
        yield from ((one.place, one.identity) for one in self.ports if one.identity)
        yield from ((one.place, one.identity) for one in self.peers if one.identity)

    def pins(self) -> Iterator[tuple[str, Pin]]:
        """Every key that is believed, with its place."""
        yield from ((one.place, pin) for one in self.ports for pin in one.clients)
        yield from ((one.place, pin) for one in self.peers for pin in one.pins)

    def secrets(self) -> frozenset[str]:
        """The names of the session's secrets that it takes its keys from."""
        named = [one.secret for _, one in self.symmetric_keys()] + [one.secret for _, one in self.identities()]
        return frozenset(one for one in named if one)

    def local(self) -> Iterator[tuple[str, str]]:
        """Place and key of everything that is in a file of the machine where it is read."""
        for place, key in self.symmetric_keys():
            if key.unsafe_file:
                yield place, "unsafe_key_file"
        for place, identity in self.identities():
            if not identity.secret:
                yield place, "unsafe_certificate_file"
        for place, pin in self.pins():
            if pin.certificate_file:
                yield place, "a certificate's file"
