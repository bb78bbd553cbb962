"""Carrying a plan out: nothing is begun where something is missing; the program takes the place of this process."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

from cloister.errors import CannotProtect, LaunchError
from cloister.launch.frameworks.needs import missing
from cloister.launch.frameworks.plan import Copy, Plan, Run, Step, Write

__all__ = ["carry_out"]

STDERR = 2


def carry_out(plan: Plan) -> NoReturn:
    """Write, sign, start. CannotProtect with all that is missing; LaunchError if a step fails."""
    if lacking := missing(plan):
        lines = "\n  ".join(lacking)
        raise CannotProtect(f"this machine cannot run the program with {plan.framework}; nothing was done:\n  {lines}")
    for step in plan.steps:
        _do(step, plan.framework)
    last = plan.last
    os.chdir(last.directory)
    try:
        os.execvpe(last.words[0], last.words, {**os.environ, **last.environment})
    except OSError as error:
        raise LaunchError(f"cannot execute {last.words[0]}: {error.strerror}") from error


def _do(step: Step, framework: str) -> None:
    try:
        if isinstance(step, Write):
            _begun(step.path).write_text(step.text)
        elif isinstance(step, Copy):
            shutil.copy(step.source, _begun(step.target))
        else:
            _run(step, framework)
    except OSError as error:
        raise LaunchError(f"{error.filename}: {error.strerror}; nothing was started") from error


def _begun(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _run(step: Run, framework: str) -> None:
    """A tool's words go to standard error: standard output is the program's."""
    step.directory.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **step.environment}
    status = subprocess.run(
        step.words, cwd=step.directory, env=environment, stdin=subprocess.DEVNULL, stdout=STDERR, check=False
    ).returncode
    if status:
        ended = f"exit code {status}" if status > 0 else f"signal {-status}"
        raise LaunchError(f"{framework}: {' '.join(step.words[:2])} ended with {ended}; nothing was started")
