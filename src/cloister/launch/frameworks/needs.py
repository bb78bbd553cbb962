"""What a machine lacks for a program on SGX hardware, in words and all at once."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cloister.launch.frameworks.plan import Need, Plan

__all__ = ["AESM", "ROOT", "missing"]

ROOT: Final = Path("/")
ENCLAVE: Final = ("dev/sgx_enclave", "dev/sgx/enclave", "dev/isgx")
"""Linux 5.11 and later; Intel's driver since 1.31; Intel's driver before."""
AESM: Final = Need(
    "/var/run/aesmd/aesm.socket",
    "Intel's aesmd, which makes quotes: install sgx-aesm-service and libsgx-aesm-quote-ex-plugin, and start aesmd",
)
ALLOW: Final = "add the user to the file's group, or use sudo"
CAPABLE: Final = os.R_OK | os.W_OK


def missing(plan: Plan, root: Path | None = None) -> list[str]:
    """Everything; empty if nothing. `root` is where devices and sockets are looked up."""
    return [
        *(f"{name} is not on PATH: {where}" for name, where in plan.tools.items() if shutil.which(name) is None),
        *plan.lacking,
        *(_hardware(plan, ROOT if root is None else root) if plan.hardware else ()),
    ]


def _hardware(plan: Plan, root: Path) -> Iterator[str]:
    found = next((root / name for name in ENCLAVE if (root / name).exists()), None)
    if found is None:
        yield f"/dev/sgx_enclave does not exist: {_why(root)}"
    elif not os.access(found, CAPABLE):
        yield f"/{found.relative_to(root)} may not be opened by this user: {ALLOW}"
    elif _no_execution(root):
        yield "/dev is mounted noexec, so no enclave's pages become executable: sudo mount -o remount,exec /dev"
    for need in plan.needs:
        path = root / need.path.lstrip("/")
        if not path.exists():
            yield f"{need.path} does not exist: it takes {need.takes}"
        elif not os.access(path, CAPABLE):
            yield f"{need.path} may not be opened by this user: {ALLOW}"


def _why(root: Path) -> str:
    """By the processor's flags (Linux arch/x86/kernel/cpu/feat_ctl.c): cleared if the firmware left SGX off."""
    flags = next((line for line in _text(root / "proc/cpuinfo").splitlines() if line.startswith("flags")), "").split()
    if "sgx" not in flags:
        return "this processor has no SGX, or its firmware has turned it off, or a hypervisor hides it"
    if "sgx_lc" not in flags:
        return "the firmware has locked launch control (FLC), which Linux's driver needs; Intel's old driver may work"
    return "this processor has SGX; Linux must be 5.11 or later, with CONFIG_X86_SGX"


def _no_execution(root: Path) -> bool:
    mounts = (line.split() for line in _text(root / "proc/mounts").splitlines())
    options = [words[3].split(",") for words in mounts if len(words) > 3 and words[1] == "/dev"]
    return bool(options) and "noexec" in options[-1]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
