"""Does random things to a tree of files and to a model of it, and compares; later another process compares again.

    python3 -m tests.system.programs.files.trees change DIRECTORY MODEL SEED OPERATIONS
    python3 -m tests.system.programs.files.trees compare DIRECTORY MODEL

MODEL is a file beside the tree, where the model stands between the two. What was done last is printed when something
differs.
"""

import collections
import errno
import json
import os
import random
import stat
import sys
from dataclasses import dataclass, field

DEEPEST, MOST = 6, 300
LOG: collections.deque[str] = collections.deque(maxlen=30)


@dataclass
class Node:
    """What one file is: links show as one node under several names."""

    kind: str
    mode: int = 0
    data: bytes = b""
    names: dict[str, "Node"] = field(default_factory=dict)
    links: int = 1


class Tree:
    """The model, and what is done to both."""

    def __init__(self, base: str, chance: random.Random) -> None:
        self.base = base
        self.chance = chance
        self.root = Node("directory")

    def path(self, names: list[str]) -> str:
        """Where that is."""
        return os.path.join(self.base, *names)

    def directories(self) -> list[list[str]]:
        """Every directory."""
        found: list[list[str]] = [[]]
        for names in found:
            node = self.node(names)
            found.extend([*names, name] for name, child in node.names.items() if child.kind == "directory")
        return found

    def node(self, names: list[str]) -> Node:
        """What is there in the model."""
        node = self.root
        for name in names:
            node = node.names[name]
        return node

    def entries(self) -> list[list[str]]:
        """Everything but the root."""
        return [[*names, name] for names in self.directories() for name in self.node(names).names]

    def somewhere(self) -> tuple[list[str], str]:
        """A directory, and a name that may be in it."""
        return self.chance.choice(self.directories()), f"n{self.chance.randrange(40)}" * self.chance.choice(
            [1, 1, 1, 15]
        )

    def make(self) -> None:
        """A file, directory or link."""
        where, name = self.somewhere()
        kind = self.chance.choice(["file", "file", "file", "directory", "symlink"])
        if len(where) >= DEEPEST or len(self.entries()) > MOST:
            return
        path = self.path([*where, name])
        LOG.append(f"make {kind} {path}")
        exists = name in self.node(where).names
        data = f"target-{self.chance.randrange(1000)}".encode()
        try:
            if kind == "file":
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
            elif kind == "directory":
                os.mkdir(path, 0o750)
            else:
                os.symlink(data.decode(), path)
        except FileExistsError:
            assert exists, f"{path} is not there, and cannot be made"
            return
        assert not exists, f"{path} was made over"
        mode = {"file": 0o640, "directory": 0o750, "symlink": 0o777}[kind]
        self.node(where).names[name] = Node(kind, mode, data if kind == "symlink" else b"")

    def pick(self, *kinds: str) -> list[str] | None:
        """One that is there, of these kinds."""
        fitting = [names for names in self.entries() if self.node(names).kind in kinds]
        return self.chance.choice(fitting) if fitting else None

    def write(self) -> None:
        """Into a file, at some place."""
        names = self.pick("file")
        if names is None:
            return
        node, path = self.node(names), self.path(names)
        place = self.chance.randrange(len(node.data) + 3000)
        data = self.chance.randbytes(self.chance.choice([1, 100, 5000, 20000]))
        LOG.append(f"write {len(data)} at {place} of {path}")
        fd = os.open(path, os.O_WRONLY)
        assert os.pwrite(fd, data, place) == len(data)
        if self.chance.random() < 0.1:
            os.fsync(fd)
        os.close(fd)
        node.data = node.data[:place].ljust(place, b"\0") + data + node.data[place + len(data) :]

    def truncate(self) -> None:
        """Cut or lengthen."""
        names = self.pick("file")
        if names is not None:
            node = self.node(names)
            size = self.chance.choice([0, len(node.data) // 2, len(node.data) + 4097])
            LOG.append(f"truncate to {size}: {self.path(names)}")
            os.truncate(self.path(names), size)
            node.data = node.data[:size].ljust(size, b"\0")

    def remove(self) -> None:
        """A name; of a directory only if it is empty."""
        names = self.pick("file", "directory", "symlink")
        if names is None or self.chance.random() < 0.3:
            return
        node, path = self.node(names), self.path(names)
        LOG.append(f"remove {path}")
        try:
            (os.rmdir if node.kind == "directory" else os.unlink)(path)
        except OSError as error:
            assert error.errno in (errno.ENOTEMPTY, errno.EEXIST), error
            assert node.names, f"{path} is empty"
            return
        assert not node.names, f"{path} was not empty, and is gone"
        node.links -= 1
        del self.node(names[:-1]).names[names[-1]]

    def link(self) -> None:
        """Another name of a file."""
        names = self.pick("file", "symlink")
        where, name = self.somewhere()
        if names is None or name in self.node(where).names:
            return
        target = self.path([*where, name])
        LOG.append(f"link {self.path(names)} as {target}")
        os.link(self.path(names), target, follow_symlinks=False)
        node = self.node(names)
        node.links += 1
        self.node(where).names[name] = node

    def rename(self) -> None:
        """Move something, perhaps over something else."""
        names = self.pick("file", "directory", "symlink")
        where, name = self.somewhere()
        if names is None or len(where) >= DEEPEST:
            return
        source, target = self.path(names), self.path([*where, name])
        LOG.append(f"rename {source} to {target}")
        node, over = self.node(names), self.node(where).names.get(name)
        inside = [*where, name][: len(names)] == names
        try:
            os.rename(source, target)
        except OSError as error:
            allowed = inside or (over is not None and self.refuses(node, over))
            assert allowed, error
            return
        if over is node:
            return
        assert not (inside and [*where, name] != names), "it was moved into itself"
        if over is not None:
            assert not self.refuses(node, over), "it was moved over what does not fit"
            over.links -= 1
        del self.node(names[:-1]).names[names[-1]]
        self.node(where).names[name] = node

    @staticmethod
    def refuses(node: Node, over: Node) -> bool:
        """Whether rename(2) does not put this over that."""
        if node is over:
            return False
        return (node.kind == "directory") != (over.kind == "directory") or bool(over.names)

    def change_mode(self) -> None:
        """Other permissions."""
        names = self.pick("file", "directory")
        if names is not None:
            mode = self.chance.choice([0o700, 0o755, 0o1777, 0o600])
            LOG.append(f"mode {mode:o} of {self.path(names)}")
            os.chmod(self.path(names), mode)
            self.node(names).mode = mode

    def step(self) -> None:
        """One random thing."""
        acts = [self.make] * 5 + [self.write] * 4 + [self.rename] * 3
        acts += [self.remove] * 3 + [self.link, self.truncate, self.change_mode]
        self.chance.choice(acts)()


def compare(base: str, root: Node) -> None:
    """The whole tree against the model."""
    numbers: dict[int, int] = {}
    waiting = [(base, root)]
    while waiting:
        path, node = waiting.pop()
        seen = os.lstat(path)
        kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}[stat.S_IFMT(seen.st_mode)]
        assert kind == node.kind, f"{path} is a {kind}, not a {node.kind}"
        assert numbers.setdefault(id(node), seen.st_ino) == seen.st_ino, f"{path} is another file"
        if path != base:
            assert stat.S_IMODE(seen.st_mode) == node.mode, f"{path} has mode {seen.st_mode:o}, not {node.mode:o}"
        if kind == "directory":
            found = sorted(os.listdir(path))
            assert found == sorted(node.names), f"{path} has {found}, not {sorted(node.names)}"
            waiting += [(os.path.join(path, name), child) for name, child in node.names.items()]
            continue
        assert seen.st_nlink == node.links, f"{path} has {seen.st_nlink} links, not {node.links}"
        if kind == "symlink":
            assert os.readlink(path) == node.data.decode(), f"{path} leads elsewhere"
        else:
            with open(path, "rb") as file:
                assert file.read() == node.data, f"{path} has other data"


def store(root: Node, path: str) -> None:
    """The model as JSON: every node once, by number."""
    numbers: dict[int, int] = {}
    nodes: list[dict[str, object]] = []
    waiting = [root]
    numbers[id(root)] = 0
    for node in waiting:
        for child in node.names.values():
            if id(child) not in numbers:
                numbers[id(child)] = len(waiting)
                waiting.append(child)
        names = {name: numbers[id(child)] for name, child in node.names.items()}
        nodes.append(
            {"kind": node.kind, "mode": node.mode, "data": node.data.hex(), "links": node.links, "names": names}
        )
    with open(path, "w", encoding="utf-8") as file:
        json.dump(nodes, file)


def load(path: str) -> Node:
    """The model again."""
    with open(path, encoding="utf-8") as file:
        stored = json.load(file)
    nodes = [Node(item["kind"], item["mode"], bytes.fromhex(item["data"]), {}, item["links"]) for item in stored]
    for node, item in zip(nodes, stored, strict=True):
        node.names = {name: nodes[number] for name, number in item["names"].items()}
    return nodes[0]


def main(words: list[str]) -> int:
    """Change or compare; 0 if all is as it has to be."""
    os.umask(0)
    try:
        if words[0] == "compare":
            compare(words[1], load(words[2]))
            print("ok as it was left")
            return 0
        tree = Tree(words[1], random.Random(int(words[3])))  # noqa: S311 - nothing secret
        for number in range(int(words[4])):
            tree.step()
            if number % 200 == 199:
                compare(tree.base, tree.root)
        compare(tree.base, tree.root)
        store(tree.root, words[2])
        print(f"ok {len(tree.entries())} entries at the end")
    except (AssertionError, OSError) as error:
        print(f"FAIL {error!r}", *LOG, sep="\n  ")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
