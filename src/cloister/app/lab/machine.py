"""The machine that the lab ran on, in a few lines for the report."""

import getpass
import os
import platform
import subprocess
from pathlib import Path

from cloister import __version__
from cloister.app.lab.program import compiler
from cloister.errors import ObservationError
from cloister.observe.report.record import MachineRecord

__all__ = ["describe_machine"]


def describe_machine() -> MachineRecord:
    """Kernel, processor, distribution, compiler and user, as this machine names them."""
    return MachineRecord(
        kernel=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        processor=_processor(),
        distribution=_distribution(),
        compiler=_compiler_version(),
        user=f"{getpass.getuser()} (uid {os.geteuid()})",
        cloister=f"cloister {__version__}, Python {platform.python_version()}",
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0]}, {len(models)} logical processors" if models else "not named in /proc/cpuinfo"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "not named in os-release")
    except OSError:
        return "no os-release file"


def _compiler_version() -> str:
    try:
        done = subprocess.run([compiler(), "--version"], capture_output=True, text=True, timeout=20, check=False)
    except ObservationError as error:
        return str(error)
    return done.stdout.partition("\n")[0] or "does not tell its version"
