"""stress-ng checks what it does (--verify): in the enclave each of its stressors must end as it does natively.

CLOISTER_LONG_MINUTES says for how long each family is run with all its stressors at once: 3 unless set.
"""

import os
import subprocess
from pathlib import Path

import pytest
from tests.system.arms import ARMS, ENVIRONMENT, Arm, command

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.slow, pytest.mark.needs_program("stress-ng"),
]  # fmt: skip

MINUTES = float(os.environ.get("CLOISTER_LONG_MINUTES", "3"))
QUICK = ("mincore", "futex", "fork", "mremap", "signal", "pipe")
FAMILIES = {
    "memory": ("vm", "malloc", "mmap", "mremap", "mmapfork", "mmapfixed", "mmapaddr", "mmapmany", "mmaphuge", "madvise",
               "brk", "stack", "memcpy", "mlock", "fault", "mincore", "shm", "shm-sysv", "tlb-shootdown"),
    "threads": ("pthread", "mutex", "switch", "peterson"),
    "fork": ("fork", "vfork", "clone", "daemon", "wait", "zombie"),
    "signals": ("signal", "sigq", "sigfd", "sigsegv", "sigfpe", "sigpending", "sigsuspend", "sigchld", "sigio", "sigrt",
                "sigtrap", "sigabrt", "itimer", "timer", "kill"),
    "futex": ("futex", "sem", "sem-sysv", "mq", "msg"),
    "pipes": ("pipe", "pipeherd", "vm-splice", "splice", "tee", "sendfile", "eventfd", "epoll", "poll",
              "sockpair", "aio"),
    "calls": ("seccomp", "dentry", "rlimit", "nanosleep", "prctl", "procfs", "vdso", "get", "set", "schedpolicy",
              "sysinfo"),
}  # fmt: skip
LONG = [stressor for family in FAMILIES.values() for stressor in dict.fromkeys(family)]
REFUSED = {
    "memfd": "a private mapping is a copy, which stays when the file is cut off (LIMITATIONS.md)",
    "remap": "remap_file_pages(2) is refused (LIMITATIONS.md)",
}


def stress(arm: Arm, instances: list[str], seconds: int, directory: Path) -> tuple[int, list[str]]:
    """Its status and its complaints."""
    words = ["--temp-path", str(directory), *instances, "--timeout", str(seconds), "--verify", "--oomable"]
    done = subprocess.run(
        command(arm, ["stress-ng", *words]), stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT,
        timeout=seconds + 60, check=False,
    )  # fmt: skip
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode, [line for line in lines if ": fail:" in line or ": error:" in line]


def compare(stressors: tuple[str, ...], seconds: int, directory: Path, *, each: int = 2) -> None:
    instances = [word for stressor in stressors for word in (f"--{stressor}", str(each))]
    native, enclaved = (stress(arm, instances, seconds, directory) for arm in ARMS)
    if native[0]:
        pytest.skip(f"it does not run here natively either: {native[1][:1]}")
    assert enclaved == native


@pytest.mark.parametrize("stressor", QUICK)
def test_a_second_of(stressor: str, tmp_path: Path) -> None:
    compare((stressor,), 1, tmp_path)


@pytest.mark.parametrize(
    "stressor", [pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=REFUSED[name])) for name in REFUSED]
)
def test_what_the_enclave_refuses(stressor: str, tmp_path: Path) -> None:
    """By rounds, not by time: on a busy machine a second may end before the first difference."""
    native, enclaved = (stress(arm, [f"--{stressor}", "2", f"--{stressor}-ops", "4"], 100, tmp_path) for arm in ARMS)
    if native[0]:
        pytest.skip(f"it does not run here natively either: {native[1][:1]}")
    assert enclaved == native


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("stressor", LONG)
def test_half_a_minute_of(stressor: str, tmp_path: Path) -> None:
    compare((stressor,), 30, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(2 * MINUTES * 60 + 300)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_at_once(family: str, tmp_path: Path) -> None:
    """Its stressors compete: for memory, for process numbers, for the runtime's and the guards' attention."""
    compare(FAMILIES[family], round(MINUTES * 60), tmp_path, each=1)
