"""Directories to try files in, and how a program is started that sees each: what the suites of files are run on.

The same suite runs natively on a disk and in memory, which shows that it is right; in the enclave on an ordinary
directory; and on shielded ones.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.system.arms import CLOISTER_ENVIRONMENT, CLOISTER_RUN, ROOT, Arm, command

__all__ = ["PLACES", "SHIELDED", "Place", "place_named", "policy"]

PLACES = ("native disk", "native memory", "enclaved disk", "shielded", "shielded memory")
SHIELDED = ("shielded", "shielded memory")
"""Places where files are what the shield makes of them."""

ENVIRONMENT = {**CLOISTER_ENVIRONMENT, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
CACHE = "64 MiB"


@dataclass(frozen=True, kw_only=True)
class Place:
    """`directory` is where the program finds it; `beside` an ordinary one, which it sees too.

    `volume` and `key` are the container and its key where there is one: nothing reads `directory` from outside then.
    """

    name: str
    directory: Path
    beside: Path
    start: Callable[[Sequence[str]], list[str]]
    volume: Path | None = None
    key: Path | None = None
    environment: dict[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))

    @property
    def shielded(self) -> bool:
        """Whether its files are the shield's."""
        return self.name in SHIELDED

    def run(
        self, words: Sequence[str], *, given: str = "", seconds: float = 100.0, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end, in `beside`."""
        done = subprocess.run(
            self.start(words), input=given, capture_output=True, text=True, errors="replace", cwd=self.beside,
            env=self.environment, timeout=seconds, check=False,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{words} ended with {done.returncode}: {(done.stdout + done.stderr)[-4000:]}"
        return done


def policy(directory: Path, path: Path, *, kind: str = "encrypted", more: str = "") -> Path:
    """A policy with one region at `path`, whose volume and key lie in `directory`; `more` are lines for the region."""
    lines = [
        "[shield]", "unsafe_open_files = true", "unsafe_open_network = true", "[[shield.files]]",
        f'path = "{path}"', f'kind = "{kind}"', f'cache = "{CACHE}"',
    ]  # fmt: skip
    if kind != "memory":
        lines += [f'volume = "{directory / "volume"}"', f'unsafe_key_file = "{directory / "key"}"']
    file = directory / "shield.toml"
    file.write_text("\n".join([*lines, more, ""]))
    return file


def shielded_run(shield: Path) -> Callable[[Sequence[str]], list[str]]:
    """How programs are started under a policy."""
    return lambda words: [*CLOISTER_RUN, "--quiet", "--shield", str(shield), "--", *words]


def new_volume(directory: Path) -> tuple[Path, Path]:
    """An empty volume and its key."""
    volume, key = directory / "volume", directory / "key"
    words = [sys.executable, "-m", "cloister", "volume", "create", "--key", str(key), str(volume)]
    subprocess.run(words, env=ENVIRONMENT, capture_output=True, timeout=60, check=True)
    return volume, key


@contextmanager
def place_named(name: str, beside: Path) -> Iterator[Place]:
    """The place, made for one test."""
    if name == "native memory":
        with TemporaryDirectory(dir="/dev/shm", prefix="cloister-test-") as memory:
            yield Place(name=name, directory=Path(memory), beside=beside, start=list)
    elif name.startswith("shielded"):
        yield shielded_place(name, beside)
    else:
        directory = beside / "directory"
        directory.mkdir()
        arm: Arm = "native" if name.startswith("native") else "enclaved"
        yield Place(name=name, directory=directory, beside=beside, start=lambda words: command(arm, words))


def shielded_place(name: str, beside: Path) -> Place:
    """A place under a policy of its own."""
    directory = beside / "shielded"
    if name == "shielded memory":
        start = shielded_run(policy(beside, directory, kind="memory"))
        return Place(name=name, directory=directory, beside=beside, start=start)
    volume, key = new_volume(beside)
    start = shielded_run(policy(beside, directory))
    return Place(name=name, directory=directory, beside=beside, start=start, volume=volume, key=key)
