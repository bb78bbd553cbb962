"""What is to be done for a program in a framework, as data: it can be shown, checked and carried out."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloister.frameworks.model import Configuration

__all__ = ["Copy", "Need", "Plan", "Request", "Run", "Step", "Write", "shown"]

END: Final = "END"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    `native` is the framework's own file, which is used as it is, byte for byte: it is measured. Otherwise the files are
    made of `configuration`, in `folder`. Relative paths in either begin at `directory`. `simulated`: without SGX, and
    without protection.
    """

    configuration: Configuration
    native: Path | None
    directory: Path
    folder: Path
    program: Path
    words: tuple[str, ...] = ()
    key: Path | None = None
    simulated: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of whoever asks: where a framework reads its settings from variables."""


@dataclass(frozen=True, slots=True)
class Write:
    """A file that is written; what stands there already is replaced."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Copy:
    """A file that is copied, with its permissions."""

    source: Path
    target: Path


@dataclass(frozen=True, kw_only=True)
class Run:
    """A command, in a directory, with these variables beside those that there are."""

    words: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)


Step = Write | Copy | Run


@dataclass(frozen=True, slots=True)
class Need:
    """Something that must be there: a path below the root, and what it takes to have it."""

    path: str
    takes: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`steps` come first, one by one; `last` is the program, which replaces this process.

    `tools` are looked up in PATH, with where they come from. `needs` are for hardware only; `lacking` is what was
    found missing when the plan was made, in words. `hardware`: the processor's SGX is needed.
    """

    framework: str
    steps: tuple[Step, ...]
    last: Run
    tools: Mapping[str, str]
    needs: tuple[Need, ...] = ()
    lacking: tuple[str, ...] = ()
    hardware: bool = True


def shown(plan: Plan) -> str:
    """The plan as lines for a shell, which do the same."""
    lines: list[str] = []
    made: set[Path] = set()
    for step in plan.steps:
        folder = _folder(step)
        if folder not in made and not folder.is_dir():
            lines.append(shlex.join(["mkdir", "-p", str(folder)]))
        made.add(folder)
        lines += _lines(step)
    return "\n".join([*lines, *_lines(plan.last, last=True)]) + "\n"


def _folder(step: Step) -> Path:
    """The directory that it needs."""
    if isinstance(step, Run):
        return step.directory
    return step.path.parent if isinstance(step, Write) else step.target.parent


def _lines(step: Step, *, last: bool = False) -> list[str]:
    if isinstance(step, Write):
        ending = END
        while ending in step.text.splitlines():
            ending += "_"
        body = step.text if step.text.endswith("\n") else f"{step.text}\n"
        return [f"cat > {shlex.quote(str(step.path))} <<'{ending}'", *body.splitlines(), ending]
    if isinstance(step, Copy):
        return [shlex.join(["cp", str(step.source), str(step.target)])]
    words = [f"{name}={shlex.quote(value)}" for name, value in step.environment.items()]
    command = " ".join([*(["exec", "env"] if last and words else ["exec"] if last else []), *words])
    line = f"{command} {shlex.join(step.words)}".strip()
    place = shlex.join(["cd", str(step.directory)])
    return [f"{place} && {line}" if last else f"({place} && {line})"]
