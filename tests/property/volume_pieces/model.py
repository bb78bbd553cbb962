"""A volume's tree in Python, and random operations on it and on the engine, whose answers must agree."""

import errno
import random
from dataclasses import dataclass, field
from typing import Final

from tests.property.volume_pieces.engine import Engine

from cloister.shield.volume.layout import BLOCK, FANOUT, ROOT_INODE

__all__ = ["DIRECTORY", "FILE", "Model", "flattened"]

NAMES: Final = [f"name {number} {'x' * (number * 7)}".encode() for number in range(24)]
FILE, DIRECTORY = "100644", "40755"


@dataclass
class Model:
    """The same tree in Python: directories are dictionaries, files are bytearrays, which links share."""

    engine: Engine
    draw: random.Random
    root: "dict[bytes, object]" = field(default_factory=dict)

    def step(self) -> None:
        """One random operation on both; their answers must agree."""
        kinds = (
            self.make,
            self.write,
            self.write,
            self.write,
            self.resize,
            self.remove,
            self.rename,
            self.link,
            self.read,
        )
        self.draw.choice(kinds)()

    def directory(self) -> "tuple[int, dict[bytes, object]]":
        """A random one, with its inode."""
        number, found = ROOT_INODE, self.root
        while self.draw.random() < 0.6:
            below = [name for name, value in found.items() if isinstance(value, dict)]
            if not below:
                break
            name = self.draw.choice(below)
            number, found = self.engine.number("find", number, name.hex()), found[name]  # type: ignore[assignment]
        return number, found

    def file(self) -> "tuple[int, bytearray] | None":
        number, found = self.directory()
        names = [name for name, value in found.items() if isinstance(value, bytearray)]
        if not names:
            return None
        name = self.draw.choice(names)
        return self.engine.number("find", number, name.hex()), found[name]  # type: ignore[return-value]

    def make(self) -> None:
        number, found = self.directory()
        name, mode = self.draw.choice(NAMES), self.draw.choice([FILE, FILE, DIRECTORY])
        made = self.engine.number("make", number, name.hex(), mode)
        if name in found:
            assert made == -errno.EEXIST
            return
        assert made > ROOT_INODE
        found[name] = bytearray() if mode == FILE else {}

    def write(self) -> None:
        file = self.file()
        if file is None:
            return
        number, content = file
        far = FANOUT * BLOCK
        offset = self.draw.choice(
            [0, len(content), self.draw.randrange(len(content) + 1), self.draw.randrange(3 * far)]
        )
        data = self.draw.randbytes(self.draw.choice([1, 100, BLOCK, self.draw.randrange(1, 50 * BLOCK)]))
        assert self.engine.number("write", number, offset, data.hex()) == len(data)
        content.extend(bytes(max(offset - len(content), 0)))
        content[offset : offset + len(data)] = data

    def resize(self) -> None:
        file = self.file()
        if file is None:
            return
        number, content = file
        size = self.draw.choice(
            [0, self.draw.randrange(len(content) + 1), len(content) // BLOCK * BLOCK, 2 * FANOUT * BLOCK + 3]
        )
        assert self.engine.number("resize", number, size) == 0
        content.extend(bytes(max(size - len(content), 0)))
        del content[size:]

    def read(self) -> None:
        file = self.file()
        if file is None:
            return
        number, content = file
        offset, size = self.draw.randrange(len(content) + BLOCK), self.draw.randrange(60 * BLOCK)
        assert self.engine.read(number, offset, size) == content[offset : offset + size]

    def remove(self) -> None:
        number, found = self.directory()
        name = self.draw.choice(NAMES)
        inode = self.engine.number("find", number, name.hex())
        answer = self.engine.number("remove", number, name.hex())
        if name not in found:
            assert (inode, answer) == (-errno.ENOENT, -errno.ENOENT)
        elif isinstance(found[name], dict) and found[name]:
            assert answer == -errno.ENOTEMPTY
        else:
            assert answer == 0
            assert self.engine.number("release", inode) == 0
            del found[name]

    def link(self) -> None:
        file = self.file()
        number, found = self.directory()
        name = self.draw.choice(NAMES)
        if file is None:
            return
        answer = self.engine.number("link", file[0], number, name.hex())
        assert answer == (-errno.EEXIST if name in found else 0)
        found.setdefault(name, file[1])

    def rename(self) -> None:
        (old_number, old_found), (new_number, new_found) = self.directory(), self.directory()
        old, new = self.draw.choice(NAMES), self.draw.choice(NAMES)
        replaced = self.engine.number("find", new_number, new.hex())
        answer = self.engine.number("rename", old_number, old.hex(), new_number, new.hex())
        assert answer == self.expected_of_rename(old_found, old, new_found, new)
        if answer or old_found[old] is new_found.get(new):
            return
        new_found[new] = old_found.pop(old)
        if replaced > 0:
            assert self.engine.number("release", replaced) == 0

    def expected_of_rename(
        self, old_found: "dict[bytes, object]", old: bytes, new_found: "dict[bytes, object]", new: bytes
    ) -> int:
        """As rename(2) says."""
        moved, replaced = old_found.get(old), new_found.get(new)
        if moved is None:
            return -errno.ENOENT
        if moved is replaced:
            return 0
        if isinstance(moved, dict) and within(moved, new_found):
            return -errno.EINVAL
        if isinstance(replaced, dict):
            return -errno.EISDIR if not isinstance(moved, dict) else -errno.ENOTEMPTY if replaced else 0
        return -errno.ENOTDIR if isinstance(moved, dict) and replaced is not None else 0

    def state(self) -> "dict[bytes, object]":
        return flattened(self.root)


def within(directory: "dict[bytes, object]", wanted: "dict[bytes, object]") -> bool:
    below = (value for value in directory.values() if isinstance(value, dict))
    return directory is wanted or any(within(one, wanted) for one in below)


def flattened(tree: "dict[bytes, object]", prefix: bytes = b"") -> "dict[bytes, object]":
    found: dict[bytes, object] = {}
    for name, value in tree.items():
        found[prefix + name] = None if isinstance(value, dict) else bytes(value)  # type: ignore[call-overload]
        if isinstance(value, dict):
            found |= flattened(value, prefix + name + b"/")
    return found
