"""Programs under a shield policy, for those who attack what it says."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ENVIRONMENT", "PYTHON", "ROOT", "Policy", "compiled", "run_words"]

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).with_name("shield_programs")
PYTHON = os.path.realpath("/usr/bin/python3")
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What is written into the file; `strict` refuses what no region holds."""

    directory: Path
    strict: bool = True
    encrypted: Path | None = None
    memory: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    more: str = ""
    open_network: bool = True
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def volume(self) -> Path:
        return self.directory / "volume"

    @property
    def text(self) -> str:
        lines = ["[shield]"]
        lines += [] if self.strict else ["unsafe_open_files = true"]
        lines += ["unsafe_open_network = true"] if self.open_network else []
        if self.encrypted:
            lines += [*self._region(str(self.encrypted), "encrypted"), f'volume = "{self.volume}"']
            lines += [f'unsafe_key_file = "{self.directory / "key"}"']
        for path in self.memory:
            lines += self._region(path, "memory")
        for path in (*self.plain, *self.read_only):
            lines += [*self._region(path, "plain"), "unsafe_plain = true"]
            lines += ["read_only = true"] if path in self.read_only else []
        return "\n".join([*lines, self.more, ""])

    @staticmethod
    def _region(path: str, kind: str) -> list[str]:
        return ["[[shield.files]]", f'path = "{path}"', f'kind = "{kind}"']

    def words(self, program: Sequence[str]) -> list[str]:
        """The command, after the policy and its volume were made."""
        file = self.directory / "shield.toml"
        file.write_text(self.text)
        if self.encrypted and not self.volume.exists():
            words = [sys.executable, "-m", "cloister", "volume", "create", "--key", str(self.directory / "key")]
            subprocess.run([*words, str(self.volume)], env=ENVIRONMENT, capture_output=True, timeout=60, check=True)
        return run_words("--shield", str(file), "--", *program)

    def run(
        self,
        program: Sequence[str],
        *,
        cwd: Path | None = None,
        given: str | None = None,
        pass_fds: Sequence[int] = (),
        seconds: float = 60,
    ) -> "subprocess.CompletedProcess[str]":
        """To its end."""
        return subprocess.run(
            self.words(program), cwd=cwd, input=given, stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True, text=True, errors="replace", env={**ENVIRONMENT, **self.environment},
            pass_fds=pass_fds, timeout=seconds, check=False,
        )  # fmt: skip

    def python(self, script: str, *arguments: str, cwd: Path | None = None) -> str:
        """What a Python program prints, which must end well."""
        done = self.run([PYTHON, "-S", "-c", script, *arguments], cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def run_words(*words: str) -> list[str]:
    """`cloister run`."""
    return [sys.executable, "-m", "cloister", "run", "--quiet", *words]


def compiled(name: str, directory: Path) -> Path:
    """One of `shield_programs`, static: it needs no file but itself."""
    target = directory / name
    command = ["cc", "-static", "-O1", "-Wall", "-Wextra", "-pthread", "-o", str(target), str(PROGRAMS / f"{name}.c")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target
