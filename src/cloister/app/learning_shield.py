"""A shield policy from a run: regions for what was read and written, the ports it had, and nothing else.

What was read is plain and read-only, as it was in the run; what was written goes into a volume, or memory. Ports stay
in the clear, as the program had them: which certificate, or whose key, no run can tell. Whatever that leaves to the
host is called `unsafe_` in the policy, and `cloister shield check` names it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final

from cloister.app.learning import Learned
from cloister.frameworks.model import Backing

__all__ = ["shield_policy"]

SYSTEM: Final = frozenset({"lib", "opt", "usr"})
SYSTEM_DEPTH: Final = 3
"""Names of a path below one of these: /usr/lib/python3.11. Programs look around beside what they open there."""

MOST_REGIONS: Final = 24
"""Of what was read; a policy has room for 32 (docs/formats/shield.md)."""

COMPILED: Final = "__pycache__"
"""Where Python keeps what it compiled, and looks for only beside the source."""

ENDPOINT: Final = re.compile(r"\[?([0-9a-fA-F.:]+?)\]?:(\d{1,5})$")
UNNAMED: Final = re.compile(r"[^A-Za-z0-9]+")
IN_THE_CLEAR: Final = 'everybody on the way reads and changes it; better is protocol = "tls" with'


def shield_policy(learned: Learned) -> str:
    """The policy, each entry with its reason."""
    return "\n".join(("[shield]", *_written(learned), *_read(learned), *_listening(learned), *_spoken(learned))) + "\n"


def _entry(table: str, note: str, **values: object) -> Iterator[str]:
    yield from ("", f"# {note}", f"[[shield.{table}]]")
    yield from (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())


def _read(learned: Learned) -> Iterator[str]:
    for path in _covering(learned.configuration.measured_files):
        note = "read in the run: the host's files, which it can change"
        yield from _entry("files", note, path=path, kind="plain", unsafe_plain=True, read_only=True)


def _covering(files: Iterable[str]) -> list[str]:
    """Directories that hold all of these files: few, and none inside another."""
    held = {_directory(path) for path in files}
    while True:
        outer = {one for one in held if not any(other in one.parents for other in held)}
        if len(outer) <= MOST_REGIONS or (deepest := max(outer, key=lambda one: len(one.parts))).parent.name == "":
            return sorted(str(one) for one in outer)
        held = outer - {deepest} | {deepest.parent}


def _directory(path: str) -> PurePosixPath:
    """Where a file is, and what belongs to it; the file itself, if it is in the root."""
    place = PurePosixPath(path)
    if not place.parent.name:
        return place
    found = place.parent.parent if place.parent.name == COMPILED else place.parent
    return PurePosixPath(*found.parts[: SYSTEM_DEPTH + 1]) if found.parts[1] in SYSTEM else found


def _written(learned: Learned) -> Iterator[str]:
    for path, mount in learned.configuration.mounts.items():
        note = learned.configuration.notes.get(("mounts", path), "")
        if mount.backing is Backing.MEMORY:
            yield from _entry("files", note, path=path, kind="memory")
        elif mount.backing is Backing.ENCRYPTED and note.startswith(f"written: {path};"):  # no directory of its own
            yield from ("", f"# written: {path}, beside files that are read: have it written to a directory of its own")
        elif mount.backing is Backing.ENCRYPTED:
            name = UNNAMED.sub("-", path).strip("-")
            files = {"volume": f"{name}.volume", "unsafe_key_file": f"{name}.key", "create": True}
            note = f"{note}. First: cloister volume create --key {name}.key {name}.volume"
            yield from _entry("files", note, path=path, kind="encrypted", **files)


def _listening(learned: Learned) -> Iterator[str]:
    ports = {found[2]: where for where in learned.network.listening if (found := ENDPOINT.search(where))}
    for port, where in sorted(ports.items(), key=lambda one: int(one[0])):
        note = f'listened on {where}: {IN_THE_CLEAR} a certificate, or "ra-tls"'
        yield from _entry("listen", note, port=int(port), protocol="plain", unsafe_plain=True)


def _spoken(learned: Learned) -> Iterator[str]:
    """Peers of connections that the program began: their port is not one that it listens on."""
    own = {found[2] for where in learned.network.listening if (found := ENDPOINT.search(where))}
    peers = set()
    for where in learned.network.spoken:
        here, _, there = where.partition("->")
        mine, peer = ENDPOINT.search(here.strip()), ENDPOINT.search(there.strip())
        if peer and (mine is None or mine[2] not in own):
            peers.add((peer[1], int(peer[2])))
    for address, port in sorted(peers):
        note = f"spoke with {address}: {IN_THE_CLEAR} pins, unless the program speaks TLS itself"
        yield from _entry("connect", note, address=address, port=port, protocol="plain", unsafe_plain=True)
