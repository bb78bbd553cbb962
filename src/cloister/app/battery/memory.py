"""Attacks on memory: reading and writing it by /proc/PID/mem and process_vm calls, and the files that it is made of."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.target import HOLDER, VICTIM, Arena, Target
from cloister.observe.maps import Mapping, read_maps

__all__ = [
    "MEMORY",
    "arena_directory",
    "holds_secret",
    "links",
    "maps_of",
    "mem_read",
    "mem_write",
    "own_libc",
    "readable",
    "reading",
    "start_of",
]

CHUNK = 1 << 20
LARGEST = 1 << 30
"""Larger mappings are reservations; only their ends are tried."""
TRIES = 256
PAGE = 4096
WORD = 8
NO_WRITES = ("[vsyscall]", "[vvar]", "[vvar_vclock]")
KERNEL_PAGES = ("[vsyscall]", "[vvar]", "[vvar_vclock]")

Read = Callable[[int, int, int], bytes]
Write = Callable[[int, int, bytes], int]


def mem_read(pid: int, address: int, size: int) -> bytes:
    """/proc/PID/mem."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, size, address)
    finally:
        os.close(fd)


def mem_write(pid: int, address: int, data: bytes) -> int:
    """/proc/PID/mem; bytes written."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        return os.pwrite(fd, data, address)
    finally:
        os.close(fd)


def maps_of(pid: int) -> list[Mapping]:
    """The mappings; none when it has ended."""
    with contextlib.suppress(OSError):
        return read_maps(pid)
    return []


def readable(pid: int, read: Read = mem_read) -> Iterator[tuple[Mapping, int, bytes]]:
    """Everything that can be read: mapping, address, bytes."""
    for mapping in maps_of(pid):
        if mapping.size <= LARGEST:
            yield from pieces(pid, mapping, read)


def pieces(pid: int, mapping: Mapping, read: Read) -> Iterator[tuple[Mapping, int, bytes]]:
    """What can be read of a mapping. Behind a page that is refused another is tried, at most `TRIES` in a mapping."""
    at, step = mapping.start, max(PAGE, mapping.size // TRIES & ~(PAGE - 1))
    while at < mapping.end:
        data = b""
        with contextlib.suppress(OSError, OverflowError):
            data = read(pid, at, min(CHUNK, mapping.end - at))
        if data:
            yield mapping, at, data
        at += len(data) or step


def holds_secret(target: Target) -> int | None:
    """The address at which the secret was found; None if it was in nothing that could be read."""
    for pid in target.family():
        for _, at, data in readable(pid):
            found = data.find(target.secret)
            if found >= 0:
                return at + found
    return None


def reading(read: Read) -> Callable[[Arena], Attempt]:
    """Search all that one of the calls can read."""

    def run(arena: Arena) -> Attempt:
        with arena.target() as target:
            total = 0
            for pid in target.family():
                for _, _, data in readable(pid, read):
                    total += len(data)
                    if target.secret in data:
                        return succeeded("the secret was read")
            if not target.alive():
                raise NotTried("the program ended meanwhile")
            return failed(f"{total:,} bytes could be read (code, constants), the secret is in none")

    return run


def writing(write: Write, choose: Callable[[int, Mapping], bool], what: str) -> Callable[[Arena], Attempt]:
    """Write to the start, middle and end of each mapping that is chosen, in all processes."""

    def run(arena: Arena) -> Attempt:
        with arena.target() as target:
            tried = taken = spared = 0
            for pid in target.family():
                for mapping in maps_of(pid):
                    if mapping.path in NO_WRITES or not choose(pid, mapping):
                        continue
                    if harmless(pid, mapping, arena):
                        spared += 1
                    else:
                        tried += 1
                        taken += was_written(pid, mapping, write)
            if taken:
                return succeeded(f"written into {taken} of {tried} mappings of {what}")
            if not tried:
                return failed(f"there is no {what} to write to but sealed copies, which another attack tries")
            left_out = f"; {spared} left out, whose content it does not believe" if spared else ""
            return failed(f"{tried} mappings of {what}: every write was refused{left_out}")

    return run


def was_written(pid: int, mapping: Mapping, write: Write) -> bool:
    """Whether a write was taken at the start, in the middle or at the end. What is there is written again."""
    middle = (mapping.start + mapping.end) // 2 & ~(WORD - 1)
    for at in (mapping.start, middle, mapping.end - WORD):
        data = b"\0" * WORD
        with contextlib.suppress(OSError, OverflowError):
            data = mem_read(pid, at, WORD)
        with contextlib.suppress(OSError, OverflowError):
            if write(pid, at, data) > 0:
                return True
    return False


def harmless(pid: int, mapping: Mapping, arena: Arena) -> bool:
    """Memory of an enclave that can be written and that it does not believe (tests/security holds it to that).

    The kernel's own page with argument 0, address space that gets secret memory before its first use, and counters of
    shared futexes.
    """
    if not arena.enclaved or "x" in mapping.permissions:
        return False
    if mapping.permissions == "---p" and not mapping.path:
        return True
    if mapping.permissions == "rw-s" and mapping.path.startswith("/dev/zero"):
        return True
    small = mapping.size <= 4 * PAGE
    return small and mapping.permissions == "rw-p" and mapping.start <= arguments_at(pid) < mapping.end


def arguments_at(pid: int) -> int:
    """Where the kernel put argument 0: proc_pid_stat(5), arg_start."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[45])
    return 0


def anything(_pid: int, _mapping: Mapping) -> bool:
    """Every mapping."""
    return True


def text(_pid: int, mapping: Mapping) -> bool:
    """Code."""
    return "x" in mapping.permissions


def constants(_pid: int, mapping: Mapping) -> bool:
    """Read-only data."""
    return mapping.permissions.startswith("r--") and mapping.path not in KERNEL_PAGES


def vdso(pid: int, mapping: Mapping) -> bool:
    """The vDSO, by its name or by the address in the auxiliary vector (AT_SYSINFO_EHDR, 33)."""
    words = Path(f"/proc/{pid}/auxv").read_bytes()
    pairs = [(words[at : at + 8], words[at + 8 : at + 16]) for at in range(0, len(words), 16)]
    start = next((int.from_bytes(value, "little") for key, value in pairs if key[0] == 33), 0)
    return mapping.path == "[vdso]" or mapping.start <= start < mapping.end


def loader(_pid: int, mapping: Mapping) -> bool:
    """The dynamic loader; in an enclave, every sealed copy of code, of which one is the loader's."""
    return bool(re.search(r"/ld[-\w.]*so", mapping.path)) or ("memfd:" in mapping.path and "x" in mapping.permissions)


def own_libc() -> str:
    """The C library that this very process has loaded; empty if none is known by its name."""
    return next((m.path for m in read_maps(os.getpid()) if re.search(r"/libc[.-]", m.path)), "")


MARK: Final = b"edited-on-disk!!"


def library_edited(arena: Arena) -> Attempt:
    """A copy of libc, loaded by the victim, is changed in place; the change is looked for in the process."""
    libc = own_libc()
    if not libc:
        raise NotTried("no libc.so was found to copy")
    with arena_directory(arena) as place:
        copy = Path(shutil.copy(libc, place / "libc.so.6"))
        words = ("/usr/bin/env", f"LD_LIBRARY_PATH={place}", *VICTIM)
        with arena.target(words=words) as target:
            code = [m for m in maps_of(target.pid) if "x" in m.permissions and m.path == str(copy)]
            offset = code[0].offset + code[0].size - len(MARK) if code else copy.stat().st_size // 2
            with copy.open("r+b") as file:
                file.seek(offset)
                file.write(MARK)
            if any(MARK in data for _, _, data in readable(target.pid)):
                return succeeded("the edited bytes are code of the running program")
            return failed("the running program kept the code that it had loaded")


@contextlib.contextmanager
def arena_directory(arena: Arena) -> Iterator[Path]:
    """A directory of this attack's own."""
    place = arena.directory / f"work-{os.urandom(4).hex()}"
    place.mkdir(mode=0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def links(target: Target, kind: str) -> Iterator[str]:
    """The links of map_files or fd of every process."""
    for pid in target.family():
        with contextlib.suppress(OSError):
            yield from (f"/proc/{pid}/{kind}/{name}" for name in os.listdir(f"/proc/{pid}/{kind}"))


def map_files(arena: Arena) -> Attempt:
    """Open what is mapped, read it, and write to what is no file of the machine's."""
    with arena.target() as target:
        opened = refused = 0
        for link in links(target, "map_files"):
            try:
                name = os.readlink(link)
                fd = os.open(link, (os.O_RDWR if "memfd:" in name else os.O_RDONLY) | os.O_CLOEXEC)
            except OSError:
                refused += 1
                continue
            try:
                opened += 1
                if "secretmem" in name or target.secret in os.pread(fd, CHUNK, 0):
                    return succeeded("the secret was read through a link")
                if "memfd:" in name and overwritten(fd):
                    return succeeded("code was changed through a link")
            finally:
                os.close(fd)
        return failed(f"{refused} links refused, {opened} opened: none to the secret, no sealed copy could be written")


def overwritten(fd: int) -> bool:
    """Whether the first byte can be written again."""
    with contextlib.suppress(OSError):
        return os.pwrite(fd, os.pread(fd, 1, 0), 0) > 0
    return False


def map_files_control(arena: Arena) -> Attempt:
    """A program that keeps its secret in a mapped memfd."""
    with arena.target(words=HOLDER) as target:
        found = [link for link in links(target, "map_files") if target.secret in start_of(link)]
        if not found and os.geteuid():
            raise NotTried("the links of map_files are for root")
        return succeeded("the secret of a control program was read") if found else failed("no link led to the secret")


def start_of(link: str) -> bytes:
    """The first bytes of what a link leads to."""
    with contextlib.suppress(OSError), Path(link).open("rb") as file:
        return file.read(CHUNK)
    return b""


SEAL = "fcntl(2), F_SEAL_WRITE"
MEM = "proc_pid_mem(5)"
MEMORY = (
    Attack(name="mem-read", what="search /proc/PID/mem", source=MEM, run=reading(mem_read)),
    Attack(name="vm-read", what="search by process_vm_readv", source="process_vm_readv(2)", run=reading(calls.vm_read)),
    Attack(
        name="mem-write", what="write anywhere by /proc/PID/mem", source=MEM, run=writing(mem_write, anything, "memory")
    ),
    Attack(
        name="vm-write",
        what="write anywhere by process_vm_writev",
        source="process_vm_writev(2)",
        run=writing(calls.vm_write, anything, "memory"),
    ),
    Attack(name="poke-text", what="change code", source=MEM, run=writing(mem_write, text, "code")),
    Attack(
        name="poke-constants", what="change read-only data", source=MEM, run=writing(mem_write, constants, "constants")
    ),
    Attack(name="poke-vdso", what="change the vDSO", source="vdso(7)", run=writing(mem_write, vdso, "the vDSO")),
    Attack(
        name="poke-loader", what="change the loader", source="ld.so(8)", run=writing(mem_write, loader, "the loader")
    ),
    Attack(
        name="library-edited",
        what="edit a loaded library's file on disk",
        source="mmap(2), MAP_PRIVATE",
        run=library_edited,
    ),
    Attack(
        name="map-files",
        what="open what is mapped by map_files",
        source="proc_pid_map_files(5)",
        run=map_files,
        control=map_files_control,
    ),
)
