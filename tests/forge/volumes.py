"""Volumes for tests: small ones from a dictionary, and what stands in them."""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cloister.seal.fresh_file import fresh_file
from cloister.shield.volume.building import Builder, Facts
from cloister.shield.volume.container import Container, VolumeRoot
from cloister.shield.volume.keys import VolumeKey
from cloister.shield.volume.layout import Entry, Mode
from cloister.shield.volume.reading import Volume

__all__ = ["FILE", "KEY", "build", "contents"]

KEY: Final = VolumeKey(bytes(range(32)))
FILE: Final = Facts(stat.S_IFREG | 0o640, 1000, 100, 1_700_000_000_123_456_789, 1_700_000_000_000_000_001)
DIRECTORY: Final = Facts(stat.S_IFDIR | 0o755, 0, 0, 1_700_000_000_000_000_000, 0)

Tree = Mapping[str, Any]


def build(path: Path, tree: Tree, *, key: VolumeKey = KEY, mode: int = Mode.ENCRYPTED) -> VolumeRoot:
    """A volume of the tree: bytes are files, mappings directories."""
    with fresh_file(path) as file:
        builder = Builder(file, key, mode)
        _add(builder, tree, root=True)
        root = builder.finish()
        file.publish()
    return root


def _add(builder: Builder, tree: Tree, *, root: bool) -> int:
    entries = []
    for name, value in tree.items():
        number = builder.add(FILE, [value]) if isinstance(value, bytes) else _add(builder, value, root=False)
        entries.append(Entry(name.encode(), number))
    return builder.directory(DIRECTORY, entries, root=root)


def contents(path: Path, key: VolumeKey = KEY) -> dict[str, bytes | None]:
    """Every path in the volume with its content; None for directories."""
    with Container(path, key) as container:
        volume = Volume(container)
        return {
            name.decode(): None if volume.inode(number).is_directory else b"".join(volume.content(number))
            for name, number in volume.walk()
        }
