"""Starting programs in strict enclaves: with a manifest of these files and nothing else."""

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.integration.runtime_programs.arms import Outcome, build

from cloister.app.measuring_loader import loaded_by
from cloister.launch.command import RuntimeOptions
from cloister.launch.runtime_file import runtime_path
from cloister.measure.software import Manifest

SECONDS = 60
LIBRARY = "int answer(void) {{ return {answer}; }}\n"


def measured(paths: Iterable[str | Path]) -> dict[str, bytes]:
    """These files as they are now."""
    return {str(path): hashlib.sha256(Path(path).read_bytes()).digest() for path in paths}


def scenarios(directory: Path, how: str = "dynamic") -> Path:
    """The program of admission_scenarios.c."""
    return build(directory, "admission_scenarios", how)


def started_with(program: Path) -> dict[str, bytes]:
    """What a dynamic program loads at its start, measured."""
    return measured(loaded_by(str(program)))


def library(path: Path, answer: int) -> Path:
    """A library whose `answer` is this number."""
    source = path.with_suffix(".c")
    source.write_text(LIBRARY.format(answer=answer))
    path.unlink(missing_ok=True)  # a library that is mapped somewhere must not be written over
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
    return path


@contextmanager
def descriptor_of(manifest: bytes) -> Iterator[int]:
    """A descriptor that delivers these bytes."""
    descriptor = os.memfd_create("manifest")
    try:
        os.write(descriptor, manifest)
        yield descriptor
    finally:
        os.close(descriptor)


def strict_command(descriptor: int, program: str | Path, *words: str) -> list[str]:
    """The command that runs a program under the manifest of that descriptor."""
    options = RuntimeOptions(manifest_fd=descriptor).words()
    return [str(runtime_path()), *options, "--", str(program), str(program), *words]


def run_strict(
    files: Mapping[str, bytes] | Manifest | bytes,
    program: str | Path,
    *words: str,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Outcome:
    """Run a program to its end. `files` is what may come in, or the manifest itself."""
    manifest = files if isinstance(files, bytes) else files if isinstance(files, Manifest) else Manifest(files)
    data = manifest if isinstance(manifest, bytes) else manifest.serialize()
    with descriptor_of(data) as descriptor:
        done = subprocess.run(
            strict_command(descriptor, program, *words),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            pass_fds=[descriptor],
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
        )
    return Outcome(status=done.returncode, output=done.stdout, errors=done.stderr)
