"""Whether this machine can run a confidential guest, and running it. What is missing is said all at once."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, NoReturn

from cloister.errors import CannotProtect
from cloister.launch.guest import Confidential

__all__ = ["missing", "start"]

PACKAGES: Final = {"qemu-system-x86_64": "qemu-system-x86", "qemu-system-aarch64": "qemu-system-arm"}
TIMEOUT: Final = 20


def missing(confidential: Confidential, root: Path = Path("/")) -> list[str]:
    """What this machine lacks for it, in words; empty if nothing. `root` is where devices and modules are looked up."""
    found = []
    emulator = shutil.which(confidential.emulator)
    if emulator is None:
        found.append(f"{confidential.emulator} is not installed: apt install {PACKAGES[confidential.emulator]}")
    elif confidential.object not in _asked(emulator, "-machine", "none", "-object", "help").split():
        version = _asked(emulator, "--version").partition("\n")[0]
        found.append(f"{version} knows no {confidential.object}: it takes QEMU {confidential.since}")
    if not (root / "dev/kvm").exists():
        found.append("/dev/kvm does not exist: KVM is not there, or this is a virtual machine without nested ones")
    for need in confidential.needs:
        path = root / need.path.lstrip("/")
        if not path.exists():
            found.append(f"{need.path} does not exist: it takes {need.takes}")
        elif need.enabled and path.read_text().strip() not in need.enabled:
            found.append(f"{need.path} says {path.read_text().strip()}: it takes {need.takes}")
    return found


def start(words: list[str], confidential: Confidential) -> NoReturn:
    """Become the hypervisor. CannotProtect with everything that is missing, and nothing is started."""
    if lacking := missing(confidential):
        raise CannotProtect("this machine cannot run the guest:\n  " + "\n  ".join(lacking))
    try:
        os.execvp(words[0], words)
    except OSError as error:
        raise CannotProtect(f"cannot execute {words[0]}: {error.strerror}") from error


def _asked(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
