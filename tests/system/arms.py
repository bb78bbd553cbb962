"""The two arms of every comparison: the program as it is, and the same program in the software enclave."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from cloister.launch.command import RuntimeOptions, enclave_command

Arm = Literal["native", "enclaved"]
ARMS: tuple[Arm, ...] = get_args(Arm)

ROOT = Path(__file__).parents[2]
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/tmp", "TERM": "dumb", "PYTHONDONTWRITEBYTECODE": "1"}
"""What the programs get: nothing of the machine's own, so that both arms and every machine see the same."""

CLOISTER_RUN = (sys.executable, "-m", "cloister", "run")
CLOISTER_ENVIRONMENT = {**ENVIRONMENT, "PYTHONPATH": str(ROOT / "src")}
"""For `cloister run` from the source tree, with the package installed or not."""


def command(arm: Arm, argv: Sequence[str], options: RuntimeOptions | None = None) -> list[str]:
    """The command line that starts `argv` in this arm."""
    return list(argv) if arm == "native" else enclave_command(argv[0], argv[1:], options)


def cloister_run(arm: Arm, argv: Sequence[str]) -> list[str]:
    """The same through the command that users type."""
    return list(argv) if arm == "native" else [*CLOISTER_RUN, "--", *argv]
