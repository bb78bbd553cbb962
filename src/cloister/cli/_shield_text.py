"""A shield policy for people. Nothing in it is secret: a policy says where keys are."""

from collections.abc import Iterator
from typing import Final

from cloister.quantities import human_size
from cloister.shield_policy.policy import KeyAt, Peer, Pin, Port, Region, ShieldPolicy
from cloister.shield_policy.words import FileKind, Transport

__all__ = ["lines_of"]

MEANS: Final = {
    FileKind.ENCRYPTED: "nobody outside reads it or changes it unnoticed",
    FileKind.AUTHENTICATED: "everybody reads it, nobody changes it unnoticed",
    FileKind.MEMORY: "gone when the program ends, never on a disk",
    FileKind.PLAIN: "the host reads and changes it",
}


def lines_of(policy: ShieldPolicy) -> Iterator[str]:
    """What the program will find: a line for each region, port and destination, then for everything else."""
    yield from (_region_line(one) for one in sorted(policy.regions, key=lambda one: one.path))
    yield f"{'other paths':<28} {'plain: the host reads and changes them' if policy.unsafe_open_files else 'refused'}"
    yield from (_end_line(one, f"listens on {one.number}", one.clients) for one in policy.ports)
    yield from (_end_line(one, f"connects to {_target(one)}", one.pins) for one in policy.peers)
    yield f"{'other connections':<28} {'open, in the clear' if policy.unsafe_open_network else 'refused'}"
    if policy.console is None:
        yield f"{'console':<28} plain: the host reads along"
    else:
        screen = "a terminal" if policy.console.terminal else "streams"
        yield f"{'console':<28} encrypted, {screen}; {_key_words(policy.console.key)}"


def _region_line(region: Region) -> str:
    given = region.key is not None and region.key.unsafe_file
    means = "ciphertext, but the host has the key" if given else MEANS[region.kind]
    first = f"{region.path:<28} {region.kind.word}{', read-only' if region.read_only else ''}: {means}"
    parts = []
    if region.key is not None:
        parts += [f"in {region.volume}", _key_words(region.key), _root_words(region)]
    if region.create:
        parts.append("made if it is not there")
    if region.cache:
        parts.append(f"cache {human_size(region.cache)}")
    return f"{first}\n{'':<28} {'; '.join(parts)}" if parts else first


def _key_words(key: KeyAt) -> str:
    return f"key {key.secret} of the session" if key.secret else f"key in the file {key.unsafe_file}"


def _root_words(region: Region) -> str:
    if region.root_at_broker:
        return f"newest root at the broker, as {region.name}"
    return f"not older than generation {region.root.generation}" if region.root else "older states are not noticed"


def _target(peer: Peer) -> str:
    host = f"[{peer.address}]" if ":" in peer.address else peer.address or "any address"
    return f"{host}:{peer.port}"


def _end_line(end: Port | Peer, what: str, pins: tuple[Pin, ...]) -> str:
    parts = [f"{what:<28} {end.transport.word}"]
    if end.transport is Transport.PLAIN:
        return f"{parts[0]}: everybody on the way reads and changes it"
    if end.identity is not None:
        parts.append(f"certificate {end.identity.secret or end.identity.unsafe_certificate_file}")
    if end.transport is Transport.RA_TLS:
        parts.append("certificate with evidence, made inside")
    believed = f"{len(pins)} known {'clients' if isinstance(end, Port) else 'keys'} only"
    parts.append(believed if pins else "whoever it is")
    return "; ".join(parts)
