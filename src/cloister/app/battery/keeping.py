"""A program that keeps a file: natively in a directory, in the enclave in a shielded one, whose volume the host has."""

import contextlib
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloister.app.battery.attack import NotTried
from cloister.app.battery.memory import arena_directory
from cloister.app.battery.target import Arena, Start, Target, wait_for
from cloister.errors import LaunchError
from cloister.shield.volume.container import Container, VolumeRoot
from cloister.shield.volume.keys import VolumeKey
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import FilesEntry
from cloister.shield_policy.words import FileKind

__all__ = ["BLOCK", "NOTICED", "Keeper", "Read", "check_guard", "keeper"]

BLOCK: Final = 4096
SECONDS: Final = 30.0
NOTICED: Final = b"noticed"
HOLDS: Final = (
    'read -r S; printf "%s\\n" "$S" > {path}; sync {path}; exec 9< {path}; echo ready; while read -r C; do case $C in '
    'r) cat {path} || echo noticed; echo done;; *) printf "%s\\n" "$C" > {path}; sync {path}; echo written;; esac; done'
)


@dataclass(frozen=True, kw_only=True)
class Read:
    """How a program that read the file ended, and what it printed."""

    status: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """One directory, one arm. `place` is what the host has: the directory, and in the enclave's arm the volume."""

    arena: Arena
    place: Path
    key: bytes = field(repr=False)
    name: str = "kept"

    @property
    def directory(self) -> Path:
        """What the program sees."""
        return self.place / "shielded"

    @property
    def path(self) -> Path:
        """The file."""
        return self.directory / self.name

    @property
    def stored(self) -> Path:
        """The file on the host that holds it: natively it itself."""
        return self.place / "volume" if self.arena.enclaved else self.path

    def root(self) -> VolumeRoot:
        """Of the volume as it is now."""
        with VolumeKey(self.key) as key, Container(self.stored, key) as container:
            return container.root

    def start(self, root: VolumeRoot | None = None) -> Start:
        """With a shield, if this is the enclave's arm; which takes no state older than `root`."""
        if not self.arena.enclaved:
            return Start()
        entry = FilesEntry(
            kind=FileKind.ENCRYPTED, path=str(self.directory), container=str(self.stored), key=self.key,
            create=not self.stored.exists(), generation=root.generation if root else 0,
            digest=root.digest if root else bytes(32), cache=1 << 22,
        )  # fmt: skip
        return Start(shield=ShieldBlock(strict=False, network=False, entries=(entry,)).serialize())

    def run(self, words: tuple[str, ...], given: bytes = b"", root: VolumeRoot | None = None) -> Read:
        """A program from its beginning to its end."""
        with self.arena.started(words, b"-", how=self.start(root)) as target:
            try:
                target.process.communicate(given, SECONDS)
            except subprocess.TimeoutExpired:
                raise LaunchError(f"{words[0]} did not end within {SECONDS:g} s") from None
            return Read(status=target.process.returncode, data=target.output.read_bytes())

    def write(self, content: bytes, root: VolumeRoot | None = None) -> None:
        """Have the file written. LaunchError if that fails."""
        script = 'cat > "$1" && sync "$1"'
        done = self.run(("/bin/sh", "-c", script, "sh", str(self.path)), content, root)
        if done.status:
            raise LaunchError(f"the file could not be written: {done.data[-200:].decode(errors='replace')}")

    def read(self, root: VolumeRoot | None = None) -> Read:
        """Have it read."""
        return self.run(("/bin/cat", str(self.path)), root=root)

    @contextlib.contextmanager
    def holding(self, secret: bytes) -> Iterator[Target]:
        """A program that has written the secret to the file, and has it open."""
        with self.arena.started(self.holder(), secret, how=self.start()) as target:
            self.begin(target)
            yield target

    def holder(self) -> tuple[str, ...]:
        """Its words."""
        return "/bin/sh", "-c", HOLDS.format(path=self.path)

    @staticmethod
    def begin(target: Target) -> None:
        """Give it the secret. LaunchError."""
        target.tell(target.secret.decode())
        wait_for(lambda: target.is_ready() or not target.alive(), SECONDS)
        if not target.is_ready():
            raise LaunchError(f"the target did not get ready: {target.output.read_text(errors='replace')[-200:]}")

    @staticmethod
    def told(target: Target, command: str, answer: bytes) -> bytes:
        """What it prints more, until it has answered. LaunchError."""
        before = len(target.output.read_bytes())
        target.tell(command)
        if not wait_for(lambda: answer in target.output.read_bytes()[before:] or not target.alive(), SECONDS):
            raise LaunchError("the target did not answer")
        return target.output.read_bytes()[before:]

    def on_the_host(self) -> Iterator[Path]:
        """Every file there."""
        return (path for path in sorted(self.place.rglob("*")) if path.is_file() and not path.is_symlink())


@contextlib.contextmanager
def keeper(arena: Arena, name: str = "kept") -> Iterator[Keeper]:
    """A new one."""
    check_guard(arena)
    with arena_directory(arena) as place:
        made = Keeper(arena=arena, place=place, key=secrets.token_bytes(32), name=name)
        made.directory.mkdir()
        yield made


def check_guard(arena: Arena) -> None:
    """Shields stand on the guard. NotTried."""
    if arena.setting.unsafe_no_guard:
        raise NotTried("shields stand on the guard, and there is none")
