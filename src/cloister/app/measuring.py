"""What a program loads, and so what its manifest must list: asked of the dynamic loader, or learned from a run."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloister.app.measuring_loader import loaded_by
from cloister.errors import NotFound, UsageError
from cloister.launch.command import RuntimeOptions, enclave_command, find_program
from cloister.measure.software import Manifest, SoftwareMeasurement

__all__ = ["Found", "Seen", "found_in", "learn_program", "measure_files", "measure_program", "run_learning"]

ALWAYS: Final = frozenset({"/etc/ld.so.cache", "/etc/ld.so.preload"})
"""What says which library a name means: it is measured wherever it is read, though it is no code itself."""
NEVER: Final = ("/proc/", "/sys/", "/dev/")
CODE = "code"
RESOLVED = "code once more, by the name without links: what /proc/self/exe calls it"
READ = "read, and no code to the kernel: scripts, data, settings"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was measured. `notes` say for each path why it is listed; `status` is how a learned run ended."""

    measured: SoftwareMeasurement
    notes: Mapping[str, str]
    status: int = 0


@dataclass(kw_only=True)
class Seen:
    """The records that the runtime wrote while it ran (runtime/src/learn.h)."""

    executed: set[str] = field(default_factory=set)
    mapped: set[str] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)

    @classmethod
    def parse(cls, data: bytes) -> "Seen":
        """Sort the records; what is no record is left out."""
        seen = cls()
        kinds = {b"x": seen.executed, b"m": seen.mapped, b"r": seen.opened, b"w": seen.written}
        for record in data.split(b"\0"):
            if record[:1] in kinds and record[1:2] == b"/":
                kinds[record[:1]].add(os.fsdecode(record[1:]))
        return seen

    def code(self) -> set[str]:
        """What was executed or mapped executable, by the names that it was opened by."""
        named = {path for path in self.opened if os.path.realpath(path) in self.mapped}
        unnamed = self.mapped - {os.path.realpath(path) for path in named | self.executed}
        return self.executed | named | unnamed


def measure_program(name: str, files: Iterable[str] = (), closed: Iterable[str] = ()) -> Found:
    """Measure a program without running it: the loader says what it would load at its start.

    What it loads later (dlopen) is not known that way; `files` are listed too.
    """
    program = _absolute(find_program(name))
    return _found(program, {**dict(_given(files)), **dict.fromkeys(loaded_by(program), CODE)}, closed)


def learn_program(
    name: str,
    arguments: Sequence[str],
    *,
    read_files: bool,
    files: Iterable[str] = (),
    closed: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Found:
    """Measure a program by a run in the software enclave, with this process's input and output.

    Listed is what it and its children executed and mapped executable; with `read_files` also what they only read.
    """

    def start(command: Sequence[str]) -> int:
        return subprocess.run(command, check=False, env=environment).returncode

    status, seen = run_learning(name, arguments, start)
    return found_in(name, seen, status, read_files=read_files, files=files, closed=closed)


def run_learning(name: str, arguments: Sequence[str], start: Callable[[Sequence[str]], int]) -> tuple[int, Seen]:
    """Let `start` run a program in the software enclave, to its end: its status, and what it opened meanwhile."""
    with tempfile.TemporaryDirectory(prefix="cloister-learn-") as place:
        log = Path(place) / "opened"
        log.touch()
        log.chmod(0o666)  # children may have another user
        Path(place).chmod(0o711)
        status = start(enclave_command(name, arguments, RuntimeOptions(learn=log)))
        return status, Seen.parse(log.read_bytes())


def found_in(
    name: str,
    seen: Seen,
    status: int,
    *,
    read_files: bool,
    files: Iterable[str] = (),
    closed: Iterable[str] = (),
) -> Found:
    """Measure what a run was seen to use."""
    notes = {path: CODE for path in seen.code() if Path(path).is_file()}
    wanted = seen.opened if read_files else seen.opened & ALWAYS
    notes |= {path: READ for path in wanted - seen.written - notes.keys() if _is_measurable(path)}
    return _found(_absolute(find_program(name)), {**dict(_given(files)), **notes}, closed, status)


def measure_files(paths: Iterable[str]) -> dict[str, bytes]:
    """The SHA-256 of each file; NotFound for one that cannot be read."""
    return {path: _sha256(path) for path in paths}


def _found(program: str, listed: Mapping[str, str], closed: Iterable[str], status: int = 0) -> Found:
    programs = [program, *(path for path, note in listed.items() if note == CODE and _is_program(path))]
    notes = {**dict.fromkeys(map(os.path.realpath, programs), RESOLVED), **listed}
    notes.pop(program, None)
    manifest = Manifest(measure_files(sorted(notes)), frozenset(map(_absolute, closed)))
    measured = SoftwareMeasurement(program=program, executable=_sha256(program), manifest=manifest)
    return Found(measured=measured, notes=notes, status=status)


def _absolute(path: str) -> str:
    """As the runtime normalises paths: by their text, without following links."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve() follows links


def _given(files: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((_absolute(path), READ) for path in files)


def _is_program(path: str) -> bool:
    return os.access(path, os.X_OK) and ".so" not in Path(path).name


def _is_measurable(path: str) -> bool:
    """A regular file that a manifest can name."""
    if path.startswith(NEVER) or not Path(path).is_file():
        return False
    try:
        Manifest({path: b"measured".ljust(32)})
    except UsageError:
        return False
    return True


def _sha256(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise NotFound(f"{path}: cannot be measured: {error.strerror}") from error
