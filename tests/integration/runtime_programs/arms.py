"""The two arms of a differential test: one C program, run natively and in the enclave with the same words."""

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloister.launch.runtime_file import runtime_path

HERE = Path(__file__).resolve().parent
SECONDS = 60
HOW = {
    "dynamic": ["cc", "-pthread"],
    "static": ["cc", "-static", "-pthread"],
    "static-pie": ["cc", "-static-pie", "-pthread"],
    "musl": ["musl-gcc", "-static", "-pthread"],
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run left: the wait status (negative: the signal that ended it) and its output."""

    status: int
    output: str
    errors: str


def build(directory: Path, name: str, how: str = "dynamic", *flags: str) -> Path:
    """Compile runtime_programs/NAME.c; the compiler's complaints are the failure."""
    target = directory / f"{name}-{how}"
    if not target.exists():
        command = [*HOW[how], "-O1", "-g", "-Wall", "-o", str(target), str(HERE / f"{name}.c"), *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return target


def enclaved(program: Path, *words: str, options: tuple[str, ...] = ()) -> list[str]:
    """The command that runs `program` in the enclave under its own name."""
    return [str(runtime_path()), *options, "--", str(program), str(program), *words]


def run(command: list[str], *, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> Outcome:
    """Run to the end in a session of its own, which is killed if it takes too long."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=cwd,
        start_new_session=True,
        text=True,
        errors="replace",
    ) as process:
        try:
            output, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            raise AssertionError(f"{command}: not done after {SECONDS} s; so far:\n{output}{errors}") from None
    return Outcome(status=process.returncode, output=output, errors=errors)


def both(
    program: Path, *words: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[Outcome, Outcome]:
    """The native outcome and the enclaved one."""
    native = run([str(program), *words], environment=environment, cwd=cwd)
    return native, run(enclaved(program, *words), environment=environment, cwd=cwd)
