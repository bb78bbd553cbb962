"""What an update changes of a service's shield, with what weakens marked.

Weakens: the host reads or changes what it could not, an older state passes for the newest, or somebody may connect or
be connected to who could not. A change of keys counts: whoever knows the other one reads what is written from now on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from cloister.shield_policy.policy import ConsolePlan, Peer, Pin, Port, Region, ShieldPolicy
from cloister.shield_policy.words import FileKind, Transport

__all__ = ["shield_changes"]

OPENNESS: Final = {FileKind.ENCRYPTED: 0, FileKind.MEMORY: 0, FileKind.AUTHENTICATED: 1, FileKind.PLAIN: 2}
NOTHING: Final = ShieldPolicy(place="", unsafe_open_files=True, unsafe_open_network=True)
"""How a service without a shield is protected."""
Item = Region | Port | Peer | ConsolePlan


def shield_changes(was: ShieldPolicy | None, now: ShieldPolicy | None) -> Iterator[tuple[str, bool]]:
    """Each change in words, and whether it weakens."""
    before, after = was or NOTHING, now or NOTHING
    for opened, had, what in (
        (after.unsafe_open_files, before.unsafe_open_files, "paths in no region"),
        (after.unsafe_open_network, before.unsafe_open_network, "connections that are not listed"),
    ):
        if opened != had:
            yield f"{what} are {'open to the host' if opened else 'refused'} now", opened
    old, new = _items(before), _items(after)
    for name in sorted({*old, *new}):
        if name not in new:
            yield f"{name} is no longer shielded", _gone(old[name], after)
        elif name not in old:
            yield f"{name} is new: {_words(new[name])}", _opens(new[name], before)
        elif old[name] != new[name]:
            text = f"{name} changed from {_words(old[name])} to {_words(new[name])}"
            yield text, _looser(old[name], new[name])


def _items(policy: ShieldPolicy) -> Mapping[str, Item]:
    found: dict[str, Item] = {f"region {one.path}": one for one in policy.regions}
    found |= {f"port {one.number}": one for one in policy.ports}
    found |= {f"destination {one.address or 'any'}:{one.port}": one for one in policy.peers}
    return found | ({"the console": policy.console} if policy.console else {})


def _words(item: Item) -> str:
    if isinstance(item, Region):
        parts = [item.kind.word, f"key {item.key.secret}" if item.key else "", item.volume]
        parts += ["root at the broker" if item.root_at_broker else f"root {item.root}" if item.root else ""]
        parts += ["created" if item.create else "", "read-only" if item.read_only else ""]
        return ", ".join(one for one in parts if one)
    if isinstance(item, ConsolePlan):
        return f"key {item.key.secret}"
    pins = item.clients if isinstance(item, Port) else item.pins
    parts = [item.transport.word, f"certificate {item.identity.secret}" if item.identity else ""]
    parts.append(f"only {', '.join(sorted(one.digest.hex()[:16] for one in pins))}" if pins else "whoever it is")
    return ", ".join(one for one in parts if one)


def _gone(item: Item, after: ShieldPolicy) -> bool:
    """Whether what is no longer listed is open now: by a switch, or because a wider region is."""
    if isinstance(item, ConsolePlan):
        return True
    if isinstance(item, Port | Peer):
        return after.unsafe_open_network
    around = [one for one in after.regions if item.path.startswith(one.path.rstrip("/") + "/")]
    nearest = max(around, key=lambda one: len(one.path), default=None)
    if nearest is None:
        return after.unsafe_open_files
    return OPENNESS[nearest.kind] > OPENNESS[item.kind]


def _opens(item: Item, before: ShieldPolicy) -> bool:
    """Whether what is listed now was refused, or better protected, and goes to the host or to somebody else now."""
    if isinstance(item, Region):
        return OPENNESS[item.kind] > 0 and not before.unsafe_open_files
    return isinstance(item, Port | Peer) and not before.unsafe_open_network


def _looser(was: Item, now: Item) -> bool:
    if isinstance(was, Region) and isinstance(now, Region):
        lost = was.root_at_broker and not now.root_at_broker
        older = was.root is not None and not now.root_at_broker and (
            now.root is None or now.root.generation < was.root.generation
        )  # fmt: skip
        anew = now.create and not was.create
        return OPENNESS[now.kind] > OPENNESS[was.kind] or was.key != now.key or lost or older or anew
    if isinstance(was, Port) and isinstance(now, Port):
        return _end_looser(was, now) or _wider(was.clients, now.clients)
    if isinstance(was, Peer) and isinstance(now, Peer):
        return _end_looser(was, now) or _wider(was.pins, now.pins)
    return isinstance(was, ConsolePlan) and isinstance(now, ConsolePlan) and replace(was, key=now.key) != was


def _end_looser(was: Port | Peer, now: Port | Peer) -> bool:
    return now.transport is Transport.PLAIN and was.transport is not Transport.PLAIN


def _wider(was: tuple[Pin, ...], now: tuple[Pin, ...]) -> bool:
    """Whether somebody is believed who was not; no pins: anybody is."""
    return bool(was) and (not now or bool(set(now) - set(was)))
