"""What the numbers were measured on: without it they say nothing."""

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "describe", "examine"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine at one moment. `load` is the load average of 1, 5 and 15 minutes; `memory_gib` is rounded."""

    kernel: str
    architecture: str
    processor: str
    cores: int
    memory_gib: int
    virtual: bool
    huge_pages: str
    date: str
    load: tuple[float, float, float]


def examine() -> Machine:
    """Look at this machine (proc(5), and the kernel's admin-guide/mm/transhuge)."""
    about = dict(fields(Path("/proc/cpuinfo").read_text()))
    return Machine(
        kernel=platform.release(),
        architecture=platform.machine(),
        processor=about.get("model name", "unknown processor"),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        virtual="hypervisor" in about.get("flags", "").split(),
        huge_pages=chosen(Path("/sys/kernel/mm/transparent_hugepage/enabled")),
        date=time.strftime("%Y-%m-%d %H:%M %Z"),
        load=os.getloadavg(),
    )


def fields(text: str) -> Iterator[tuple[str, str]]:
    """The `name : value` lines of a text."""
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value.strip()


def chosen(setting: Path) -> str:
    """The word in brackets of a kernel setting that lists its choices."""
    try:
        return setting.read_text().partition("[")[2].partition("]")[0]
    except OSError:
        return "unknown"


def describe(machine: Machine) -> str:
    """Three lines for people."""
    kind = "virtual machine" if machine.virtual else "no hypervisor seen"
    load = " ".join(f"{value:.2f}" for value in machine.load)
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gib} GiB, {kind}\n"
        f"Linux {machine.kernel} {machine.architecture}, transparent huge pages: {machine.huge_pages}\n"
        f"{machine.date}, load average {load} on {machine.cores} cores"
    )
