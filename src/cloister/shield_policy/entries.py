"""The entries of a shield block: each as it is written, as it is read, and what no reader would take."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cloister._wire import Reader
from cloister.shield_policy.fields import (
    KEY,
    WRITER,
    bytes_of,
    flags_of,
    kind_of,
    list_of,
    pins_of,
    text,
    text_of,
    u32,
    u64,
)
from cloister.shield_policy.words import FileKind, Transport, path_fault

__all__ = ["ConnectEntry", "ConsoleEntry", "Entry", "FilesEntry", "ListenEntry"]

READ_ONLY, CREATE, REPORT_ROOT = 1, 2, 4
NEEDS_CLIENT: Final = 1
TERMINAL: Final = 1
PORTS: Final = range(1, 1 << 16)
NO_KEY: Final = bytes(KEY)
NO_WRITER: Final = bytes(WRITER)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesEntry:
    """A region of paths. `container` and `key` belong to volumes; `digest` is that of the root of `generation`.

    `writer`: by whom states of higher generations are; zeros: by anybody.
    """

    kind: FileKind
    path: str
    container: str = ""
    key: bytes = field(default=NO_KEY, repr=False)
    read_only: bool = False
    create: bool = False
    report_root: bool = False
    generation: int = 0
    digest: bytes = NO_KEY
    writer: bytes = NO_WRITER
    cache: int = 0
    name: str = ""

    def body(self) -> bytes:
        """Its bytes."""
        flags = READ_ONLY * self.read_only | CREATE * self.create | REPORT_ROOT * self.report_root
        return b"".join([
            u32(self.kind), u32(flags), text(self.path), text(self.container), self.key,
            u64(self.generation), self.digest, self.writer, u64(self.cache), text(self.name),
        ])  # fmt: skip

    @classmethod
    def read(cls, reader: Reader) -> "FilesEntry":
        """From its bytes."""
        kind = kind_of(reader, FileKind)
        read_only, create, report_root = flags_of(reader, READ_ONLY, CREATE, REPORT_ROOT)
        return cls(
            kind=kind, read_only=read_only, create=create, report_root=report_root,
            path=text_of(reader, "path"), container=text_of(reader, "container"), key=reader.take(KEY, "key"),
            generation=reader.u64("generation"), digest=reader.take(KEY, "digest"),
            writer=reader.take(WRITER, "writer"), cache=reader.u64("cache"), name=text_of(reader, "name"),
        )  # fmt: skip

    def faults(self) -> Iterator[str]:
        """What no reader would take."""
        if fault := path_fault(self.path):
            yield f"the path {fault}"
        if len(self.key) != KEY or len(self.digest) != KEY or len(self.writer) != WRITER:
            yield f"key and digest have {KEY} bytes each, the writer {WRITER}"
        if self.kind.on_a_volume:
            if fault := path_fault(self.container):
                yield f"the path of the volume {fault}"
            if not any(self.key):
                yield "a volume needs a key"
            if self.read_only and self.create:
                yield "a volume that is only read cannot be created"
            if any(self.digest + self.writer) and not self.generation:
                yield "a digest or writer without its generation"
        elif self.container or self.create or self.report_root or self.generation or any(self.key + self.digest):
            yield f"a region of kind {self.kind.word} has no volume, key or root"
        elif self.cache and self.kind is FileKind.PLAIN:
            yield "the runtime keeps no cache of plain files"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenEntry:
    """A port on which the program accepts. `clients`: SHA-256 of their SubjectPublicKeyInfo."""

    transport: Transport
    port: int
    needs_client: bool = False
    certificates: tuple[bytes, ...] = ()
    private_key: bytes = field(default=b"", repr=False)
    clients: tuple[bytes, ...] = ()
    name: str = ""

    def body(self) -> bytes:
        """Its bytes."""
        return b"".join([
            u32(self.transport), u32(NEEDS_CLIENT * self.needs_client), u32(self.port),
            text(b"".join(map(text, self.certificates))), text(self.private_key), text(b"".join(self.clients)),
            text(self.name),
        ])  # fmt: skip

    @classmethod
    def read(cls, reader: Reader) -> "ListenEntry":
        """From its bytes."""
        transport = kind_of(reader, Transport)
        (needs_client,) = flags_of(reader, NEEDS_CLIENT)
        return cls(
            transport=transport, needs_client=needs_client, port=reader.u32("port"), certificates=list_of(reader),
            private_key=bytes_of(reader, "private key"), clients=pins_of(reader), name=text_of(reader, "name"),
        )  # fmt: skip

    def faults(self) -> Iterator[str]:
        """What no reader would take."""
        yield from _port_faults(self.port)
        yield from _pin_faults(self.clients)
        if bool(self.certificates) != bool(self.private_key):
            yield "certificates and their private key go together"
        if self.transport is Transport.TLS and not self.certificates:
            yield "a TLS server needs a certificate and its key"
        if self.transport is not Transport.TLS and self.certificates:
            yield f"{self.transport.word} takes no certificates"
        if self.transport is Transport.PLAIN and (self.clients or self.needs_client):
            yield "without TLS no client shows a certificate"
        if self.clients and not self.needs_client:
            yield "clients that are known, but need no certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectEntry:
    """Where the program may connect to. `host` is in digits, or empty for any; `pins` as `clients`."""

    transport: Transport
    host: str
    port: int
    server_name: str = ""
    pins: tuple[bytes, ...] = ()
    certificates: tuple[bytes, ...] = ()
    private_key: bytes = field(default=b"", repr=False)
    name: str = ""

    def body(self) -> bytes:
        """Its bytes."""
        return b"".join([
            u32(self.transport), u32(0), text(self.host), u32(self.port), text(self.server_name),
            text(b"".join(self.pins)), text(b"".join(map(text, self.certificates))), text(self.private_key),
            text(self.name),
        ])  # fmt: skip

    @classmethod
    def read(cls, reader: Reader) -> "ConnectEntry":
        """From its bytes."""
        transport = kind_of(reader, Transport)
        flags_of(reader)
        return cls(
            transport=transport, host=text_of(reader, "host"), port=reader.u32("port"),
            server_name=text_of(reader, "server name"), pins=pins_of(reader), certificates=list_of(reader),
            private_key=bytes_of(reader, "private key"), name=text_of(reader, "name"),
        )  # fmt: skip

    def faults(self) -> Iterator[str]:
        """What no reader would take."""
        yield from _port_faults(self.port)
        yield from _pin_faults(self.pins)
        if bool(self.certificates) != bool(self.private_key):
            yield "certificates and their private key go together"
        if self.transport is Transport.PLAIN and (self.pins or self.certificates or self.server_name):
            yield "without TLS there are no certificates, pins or names of servers"
        if self.transport is Transport.RA_TLS and self.certificates:
            yield "ra-tls takes no certificates"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleEntry:
    """The person at the console. `rows` and `columns` are of their terminal, if they have one."""

    key: bytes = field(repr=False)
    terminal: bool = False
    rows: int = 0
    columns: int = 0

    def body(self) -> bytes:
        """Its bytes."""
        return u32(TERMINAL * self.terminal) + self.key + u32(self.rows) + u32(self.columns)

    @classmethod
    def read(cls, reader: Reader) -> "ConsoleEntry":
        """From its bytes."""
        (terminal,) = flags_of(reader, TERMINAL)
        return cls(
            terminal=terminal, key=reader.take(KEY, "key"), rows=reader.u32("rows"), columns=reader.u32("columns")
        )

    def faults(self) -> Iterator[str]:
        """What no reader would take."""
        if len(self.key) != KEY or not any(self.key):
            yield f"a console's key has {KEY} bytes, not all zero"
        if not self.terminal and (self.rows or self.columns):
            yield "rows and columns without a terminal"


Entry = FilesEntry | ListenEntry | ConnectEntry | ConsoleEntry


def _port_faults(port: int) -> Iterator[str]:
    if port not in PORTS:
        yield f"{port} is no port"


def _pin_faults(pins: tuple[bytes, ...]) -> Iterator[str]:
    if any(len(one) != KEY for one in pins):
        yield f"a pin has {KEY} bytes: the SHA-256 of a SubjectPublicKeyInfo"
