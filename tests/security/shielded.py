"""A shielded directory under attack: its policy, its container, and programs run there one after another."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.system.arms import CLOISTER_ENVIRONMENT, CLOISTER_RUN

__all__ = ["BLOCK", "PYTHON", "Region", "cloister"]

BLOCK = 4096
PYTHON = "/usr/bin/python3"


def cloister(*words: str | Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """One command of Cloister's, outside."""
    done = subprocess.run(
        [sys.executable, "-m", "cloister", *words], capture_output=True, text=True, env=CLOISTER_ENVIRONMENT,
        timeout=60, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done


@dataclass(frozen=True)
class Region:
    """A region at `path`, on a volume in the directory `base`. Its name tells it from others there."""

    base: Path
    name: str = "one"
    cache: str = "1 MiB"

    @property
    def path(self) -> Path:
        """Where programs see it."""
        return self.base / self.name

    @property
    def volume(self) -> Path:
        """The container."""
        return self.base / f"{self.name}.volume"

    @property
    def key(self) -> Path:
        """Its key, which an attacker would not have."""
        return self.base / f"{self.name}.key"

    def make(self) -> "Region":
        """An empty volume with a key of its own."""
        cloister("volume", "create", "--key", self.key, self.volume)
        return self

    def lines(self, more: str = "") -> str:
        """Of a policy."""
        return (
            f'[[shield.files]]\npath = "{self.path}"\nkind = "encrypted"\ncache = "{self.cache}"\n'
            f'volume = "{self.volume}"\nunsafe_key_file = "{self.key}"\n{more}\n'
        )

    def command(self, words: Sequence[str], *, more: str = "", beside: "Region | None" = None) -> list[str]:
        """How a program is run under the policy: `more` lines of the region, and perhaps a second region."""
        policy = self.base / "shield.toml"
        head = "[shield]\nunsafe_open_files = true\nunsafe_open_network = true\n"
        policy.write_text(head + self.lines(more) + (beside.lines() if beside else ""))
        return [*CLOISTER_RUN, "--quiet", "--shield", str(policy), "--", *words]

    def start(self, words: Sequence[str], *, more: str = "", given: IO[str] | None = None) -> "subprocess.Popen[str]":
        """A program that is talked to while it runs; or gets a file as its standard input."""
        return subprocess.Popen(
            self.command(words, more=more), stdin=given or subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=CLOISTER_ENVIRONMENT, cwd=self.base, bufsize=1,
        )  # fmt: skip

    def run(
        self, words: Sequence[str], *, more: str = "", given: str = "", beside: "Region | None" = None
    ) -> "subprocess.CompletedProcess[str]":
        """A program from its beginning to its end."""
        return subprocess.run(
            self.command(words, more=more, beside=beside), input=given, capture_output=True, text=True,
            errors="replace", env=CLOISTER_ENVIRONMENT, cwd=self.base, timeout=60, check=False,
        )  # fmt: skip

    def python(self, code: str, *words: str, more: str = "") -> "subprocess.CompletedProcess[str]":
        """A program in Python, whose first argument is the region's path."""
        return self.run([PYTHON, "-I", "-S", "-c", code, str(self.path), *words], more=more)

    def root(self) -> str:
        """What `cloister volume verify` says is the root; it has to be right."""
        said = cloister("volume", "verify", "--key", self.key, self.volume)
        return next(line.split()[1].rstrip(";") for line in said.stdout.splitlines() if line.startswith("root "))
