"""A shield policy with its keys: the block that the runtime is told."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from cloister import _x509
from cloister.errors import ParseError, PolicyError
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import ConnectEntry, ConsoleEntry, Entry, FilesEntry, ListenEntry
from cloister.shield_policy.fields import KEY
from cloister.shield_policy.policy import IdentityAt, KeyAt, Peer, Pin, Port, Region, Root, ShieldPolicy

__all__ = ["Identity", "KeySource", "resolve"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Certificates, DER, the own first, and the private key, PKCS #8 DER."""

    certificates: tuple[bytes, ...]
    private_key: bytes = field(repr=False)


class KeySource(Protocol):
    """Where keys come from. Each raises PolicyError or UsageError for what it has not; `place` is who asks."""

    def key(self, at: KeyAt, place: str) -> bytes:
        """A symmetric key."""

    def identity(self, at: IdentityAt, place: str) -> Identity:
        """Certificates and their private key."""

    def certificate(self, path: str, place: str) -> bytes:
        """The certificate in a file, DER."""

    def root(self, name: str, place: str) -> Root | None:
        """The newest root that the broker keeps under this name; None: it has none yet."""


def resolve(policy: ShieldPolicy, source: KeySource) -> ShieldBlock:
    """The block of this policy with keys from there. PolicyError, or what the source raises."""
    return ShieldBlock(
        strict=not policy.unsafe_open_files, network=not policy.unsafe_open_network,
        entries=tuple(_entries(policy, source)),
    )  # fmt: skip


def _entries(policy: ShieldPolicy, source: KeySource) -> Iterator[Entry]:
    yield from (_files(one, source) for one in policy.regions)
    yield from (_listen(one, source) for one in policy.ports)
    yield from (_connect(one, source) for one in policy.peers)
    if (one := policy.console) is not None:
        key = _key(one.key, one.place, source)
        yield ConsoleEntry(key=key, terminal=one.terminal, rows=one.rows, columns=one.columns)


def _files(region: Region, source: KeySource) -> FilesEntry:
    """A volume whose root is known is never made anew: an emptied file would pass for a new volume."""
    root = source.root(region.name, region.place) if region.root_at_broker else region.root
    return FilesEntry(
        kind=region.kind, path=region.path, container=region.volume, name=region.name, cache=region.cache,
        key=_key(region.key, region.place, source) if region.key else bytes(KEY),
        read_only=region.read_only, create=region.create and root is None, report_root=region.root_at_broker,
        generation=root.generation if root else 0, digest=root.digest if root else bytes(KEY),
    )  # fmt: skip


def _listen(port: Port, source: KeySource) -> ListenEntry:
    identity = source.identity(port.identity, port.place) if port.identity else Identity((), b"")
    return ListenEntry(
        transport=port.transport, port=port.number, name=port.name, certificates=identity.certificates,
        private_key=identity.private_key, clients=_pins(port.clients, port.place, source),
        needs_client=bool(port.clients),
    )  # fmt: skip


def _connect(peer: Peer, source: KeySource) -> ConnectEntry:
    identity = source.identity(peer.identity, peer.place) if peer.identity else Identity((), b"")
    return ConnectEntry(
        transport=peer.transport, host=peer.address, port=peer.port, name=peer.name, server_name=peer.server_name,
        pins=_pins(peer.pins, peer.place, source), certificates=identity.certificates,
        private_key=identity.private_key,
    )  # fmt: skip


def _key(at: KeyAt, place: str, source: KeySource) -> bytes:
    key = source.key(at, place)
    if len(key) != KEY or not any(key):
        raise PolicyError(f"{place}: the key {at.secret or at.unsafe_file} has not {KEY} bytes, or all are zero")
    return key


def _pins(pins: tuple[Pin, ...], place: str, source: KeySource) -> tuple[bytes, ...]:
    return tuple(one.digest or _digest(source.certificate(one.certificate_file, place), place) for one in pins)


def _digest(certificate: bytes, place: str) -> bytes:
    try:
        return hashlib.sha256(_x509.Certificate.parse(certificate).spki).digest()
    except ParseError as error:
        raise PolicyError(f"{place}: a certificate that is pinned cannot be read: {error}") from None
