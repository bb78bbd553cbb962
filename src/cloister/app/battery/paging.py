"""Attacks on memory that goes elsewhere: to swap, to a picture of all memory on disk, to physical addresses."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.memory import arena_directory, maps_of
from cloister.app.battery.procfs import not_here
from cloister.app.battery.target import Arena, Target
from cloister.app.battery.tracing import program, run_tool

__all__ = ["PAGING", "can_hibernate"]

SIZE, PAGE, ENTRY = 64 << 20, 4096, 8
PRESENT = 1 << 63
SWAP_SECONDS, TOOL_SECONDS = 3.0, 20.0
ZSWAP = Path("/sys/module/zswap/parameters/enabled")
HIBERNATION = Path("/sys/power/disk")
PHYSICAL = (Path("/proc/kcore"), Path("/dev/mem"))


def swap(arena: Arena) -> Attempt:
    """Swap to a file of the battery's own, push the program's memory out, and search the file."""
    if not arena.setting.may_change_machine:
        raise NotTried("it adds a swap file to the machine: --unsafe-change-machine allows that, and undoes it")
    if ZSWAP.exists() and ZSWAP.read_text().strip() == "Y":
        raise NotTried("zswap keeps in memory what would go to the file")
    with arena_directory(arena) as place, swap_file(place) as file, arena.target() as target:
        limit = time.monotonic() + SWAP_SECONDS
        while time.monotonic() < limit:
            push_out(target)
            if target.secret in content_of(file):
                return succeeded("the secret is in the swap file")
        return failed("pushed out as far as it goes; the secret is not in the swap file")


@contextlib.contextmanager
def swap_file(place: Path) -> Iterator[Path]:
    """A file that the machine swaps to before all else; it is given back whatever happens."""
    make, on, off = program("mkswap"), program("swapon"), program("swapoff")
    file = place / "swap"
    with file.open("wb") as stream:
        file.chmod(0o600)
        stream.write(bytes(SIZE))  # written: of space that is only reserved a file system shows zeros
    run_tool([make, str(file)], place, TOOL_SECONDS)
    content_of(file)
    said = run_tool([on, "-p", "32767", str(file)], place, TOOL_SECONDS)
    if str(file) not in Path("/proc/swaps").read_text():
        raise NotTried(f"no swap file can be added here: {said.strip()[-100:]}")
    try:
        yield file
    finally:
        run_tool([off, str(file)], place, TOOL_SECONDS)


def push_out(target: Target) -> None:
    """Ask for everything of the program to go to swap."""
    for pid in target.family():
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                calls.page_out(pidfd, [(one.start, one.size) for one in maps_of(pid)])
            finally:
                os.close(pidfd)


def content_of(file: Path) -> bytes:
    """What the disk has of it: the kernel swaps past the cache of files."""
    with file.open("rb", buffering=0) as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return stream.read()


def hibernation(arena: Arena) -> Attempt:
    """Whether the kernel would write all memory to disk now. It is asked, never told to."""
    if not can_hibernate():
        raise NotTried("this machine cannot hibernate, or something keeps it from it already")
    with arena.target():
        if can_hibernate():
            return succeeded("the kernel would write all memory, the secret with it, to disk")
        return failed("the kernel refuses while there is secret memory")


def can_hibernate(setting: Path = HIBERNATION) -> bool:
    """What the kernel says: `[disabled]` while secret memory is in use."""
    with contextlib.suppress(OSError):
        return "[disabled]" not in setting.read_text()
    return False


def pagemap(arena: Arena) -> Attempt:
    """Which pages of its memory there are: they tell what it does, not what is in them."""
    with arena.target() as target:
        there = sum(pages_there(target.pid, one.start, one.size) for one in maps_of(target.pid) if one.size < SIZE)
        return succeeded(f"{there} pages in use") if there else failed("nothing is shown")


def pages_there(pid: int, start: int, size: int) -> int:
    """How many pages are in use."""
    with contextlib.suppress(OSError), Path(f"/proc/{pid}/pagemap").open("rb") as file:
        file.seek(start // PAGE * ENTRY)
        words = file.read(size // PAGE * ENTRY)
        found = (int.from_bytes(words[at : at + ENTRY], "little") for at in range(0, len(words), ENTRY))
        return sum(bool(word & PRESENT) for word in found)
    return 0


def physical(_arena: Arena) -> Attempt:
    """Files that are the machine's memory."""
    there = [str(one) for one in PHYSICAL if one.exists()]
    if there:
        raise NotTried(f"{' and '.join(there)}: all memory of the machine, which this battery does not read")
    raise NotTried("this kernel has neither /proc/kcore nor /dev/mem")


PAGING = (
    Attack(name="swap", what="push memory out to swap", source="process_madvise(2), MADV_PAGEOUT", run=swap),
    Attack(name="hibernation", what="write all memory to disk", source="memfd_secret(2)", run=hibernation),
    Attack(
        name="pagemap",
        what="see which memory it uses",
        source="proc_pid_pagemap(5)",
        run=pagemap,
        declared="what it does, and when",
    ),
    Attack(name="physical", what="read the machine's memory", source="proc_kcore(5), mem(4)", run=physical),
    Attack(
        name="kexec",
        what="boot another kernel, keep the memory",
        source="kexec_load(2)",
        reader="kernel",
        run=not_here("it would stop this machine"),
    ),
    Attack(
        name="hot-unplug",
        what="take memory out of the machine",
        source="memory-hotplug.rst",
        run=not_here("it moves pages and reads none"),
    ),
)
