"""Attacks on what the kernel shows of a process besides memory: arguments, variables, files, descriptors."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.compiling import build
from cloister.app.battery.memory import arena_directory, links, mem_read, start_of
from cloister.app.battery.target import HOLDER, VICTIM, Arena, Start, Target
from cloister.app.battery.tracing import run_tool
from cloister.observe.prove.secret import Secret

__all__ = ["PROCFS", "not_here", "shown"]

VARIABLE = "TOKEN"
AT_RANDOM = 25
FIRST_NUMBERS = 256
RACE_SECONDS = 3.0
START_SECONDS, STOP_SECONDS, THIEF_SECONDS = 2.0, 5.0, 30.0
LARGEST_FILE = 1 << 24


def shown(pid: int, name: str) -> bytes:
    """A file of /proc/PID; empty when it is refused or gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def variables(arena: Arena) -> Attempt:
    """Give the secret as a variable, and read environ of everybody once the program runs."""
    with arena.target(variable=VARIABLE, built_in=True) as target:
        if any(target.secret in shown(pid, "environ") for pid in target.family()):
            return succeeded("the variable was read")
        return failed("it is not in environ of any process")


ARGUMENTS = (*VICTIM[:2], VICTIM[2], "sh", "{secret}")


def arguments(arena: Arena) -> Attempt:
    """Give the secret as an argument, and read cmdline of everybody once the program runs."""
    with arena.target(words=ARGUMENTS, variable=VARIABLE) as target:
        if any(target.secret in shown(pid, "cmdline") for pid in target.family()):
            return succeeded("the argument was read")
        return failed("it is not in cmdline of any process")


def starting(arena: Arena) -> Attempt:
    """Read cmdline and environ from the first moment, of a program whose arguments went through execve(2)."""
    secret = Secret.fresh("battery").value
    with arena.started(ARGUMENTS, secret, VARIABLE, Start(in_the_open=True)) as target:
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit and not target.is_ready():
            if any(secret in shown(target.pid, name) for name in ("cmdline", "environ")):
                return succeeded("read before the program had wiped it")
        return failed("not seen before it was wiped")


def canary(arena: Arena) -> Attempt:
    """Follow AT_RANDOM of auxv to the bytes that the C library makes its stack canary of."""
    with arena.target() as target:
        words = shown(target.pid, "auxv")
        pairs = {words[at]: words[at + 8 : at + 16] for at in range(0, len(words) - 8, 16)}
        if AT_RANDOM not in pairs:
            return failed("auxv could not be read")
        at = int.from_bytes(pairs[AT_RANDOM], "little")
        try:
            seed = mem_read(target.pid, at, 16)
        except OSError as error:
            return failed(f"what AT_RANDOM points to: {error.strerror}")
        if not any(seed):
            return failed("what AT_RANDOM points to was wiped")
        return succeeded("the canary's random bytes were read")


def open_files(arena: Arena) -> Attempt:
    """Read every file that is open, by its link."""
    with arena.target() as target:
        return judged(target, files_of(target))


def open_files_control(arena: Arena) -> Attempt:
    """The same of a program that has its secret in an open memfd."""
    with arena.target(words=HOLDER) as target:
        return judged(target, files_of(target))


def files_of(target: Target) -> Iterator[tuple[str, bytes]]:
    """Name and content of what is open, but pipes, sockets and terminals."""
    for link in links(target, "fd"):
        with contextlib.suppress(OSError):
            name = os.readlink(link)
            if name.startswith("/") and not name.startswith("/dev/"):
                yield name, start_of(link)


def judged(target: Target, found: Iterator[tuple[str, bytes]]) -> Attempt:
    """Whether the secret, or secret memory itself, is among what was opened."""
    number = 0
    for name, content in found:
        number += 1
        if target.secret in content or "secretmem" in name:
            return succeeded(f"the secret was read in {Path(name).name}")
    return failed(f"{number} opened, the secret is in none")


def written_files(arena: Arena) -> Attempt:
    """Search every file in the program's directory."""
    with arena.target() as target:
        return judged(target, files_below(target.directory))


def written_files_control(arena: Arena) -> Attempt:
    """The same of a program that writes its secret there."""
    with arena.target(words=HOLDER) as target:
        return judged(target, files_below(target.directory))


def files_below(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the plain files."""
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST_FILE:
            yield str(path), path.read_bytes()


def copied(target: Target) -> Iterator[tuple[str, bytes]]:
    """Name and content of every descriptor that pidfd_getfd(2) gives."""
    for pid in target.family():
        pidfd = os.pidfd_open(pid)
        try:
            for number in range(FIRST_NUMBERS):
                with contextlib.suppress(OSError):
                    fd = calls.take_descriptor(pidfd, number)
                    try:
                        name = os.readlink(f"/proc/self/fd/{fd}")
                        yield name, content_of(fd)
                    finally:
                        os.close(fd)
        finally:
            os.close(pidfd)


def content_of(fd: int) -> bytes:
    """What can be read at its beginning; nothing of pipes."""
    with contextlib.suppress(OSError):
        return os.pread(fd, LARGEST_FILE, 0)
    return b""


def descriptors(arena: Arena) -> Attempt:
    """Copy every descriptor, and read what is behind it."""
    with arena.target() as target:
        return judged(target, copied(target))


def descriptors_control(arena: Arena) -> Attempt:
    """The same of a program that has its secret in an open memfd."""
    with arena.target(words=HOLDER) as target:
        return judged(target, copied(target))


def stopped(pid: int) -> None:
    """Stop a process, and wait until it stands: on a busy machine it would read its input meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + STOP_SECONDS
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"T", "t"}:
        if time.monotonic() > end:
            raise NotTried("the program could not be stopped")
        time.sleep(0.001)


def pipe(arena: Arena) -> Attempt:
    """Copy the descriptor of standard input while a secret waits in it."""
    with arena.target(built_in=True) as target:
        stopped(target.pid)
        target.tell(target.secret.decode())
        pidfd = os.pidfd_open(target.pid)
        try:
            fd = calls.take_descriptor(pidfd, 0)
            try:
                os.set_blocking(fd, False)
                return succeeded("read what waited there") if target.secret in os.read(fd, 4096) else failed("empty")
            finally:
                os.close(fd)
        except OSError as error:
            return failed(error.strerror or str(error))
        finally:
            os.close(pidfd)


def race(arena: Arena) -> Attempt:
    """pidfd_getfd(2) in a loop, while a program keeps asking for memory that it shares with its children."""
    with arena_directory(arena) as place:
        thief, asker = str(build(place, "thief", THIEF)), str(build(place, "asker", ASKER))
        with arena.target(words=(asker,)) as target:
            target.tell("go on")
            return caught(run_tool([thief, str(target.pid)], place, THIEF_SECONDS))


def race_control(arena: Arena) -> Attempt:
    """The same of a program that has its memory in a memfd."""
    with arena_directory(arena) as place, arena.target(words=HOLDER) as target:
        return caught(run_tool([str(build(place, "thief", THIEF)), str(target.pid)], place, THIEF_SECONDS))


def caught(said: str) -> Attempt:
    """What the thief says."""
    return succeeded(f"caught a descriptor of memory: {said.strip()}") if said else failed("not caught in some seconds")


def children(arena: Arena) -> Attempt:
    """Read cmdline, environ and memory of each child, while the program hands the secret to others all the time."""
    with arena.target(built_in=True) as target:
        target.tell("exec")
        limit, seen = time.monotonic() + RACE_SECONDS, set[str]()
        while time.monotonic() < limit and not target.said(b"executed"):
            for child in shown(target.pid, f"task/{target.pid}/children").decode().split():
                seen.add(child)
                if any(target.secret in shown(int(child), name) for name in ("cmdline", "environ")):
                    return succeeded("read in what a child was handed")
        if not seen:
            raise NotTried("no child was seen")
        return failed(f"{len(seen)} children were looked at")


def not_here(why: str) -> Callable[[Arena], Attempt]:
    """An attack that this battery does not make."""

    def run(_arena: Arena) -> Attempt:
        raise NotTried(why)

    return run


THIEF = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(int count, char **word)
{ int pid = (int)syscall(434, atoi(word[1]), 0), fd, number, names;
  char link[64], name[64];
  time_t end = time(0) + 4;
  for (names = 0; count == 2 && pid >= 0 && time(0) < end; names++)
    for (number = 3; number < 8; number++) {
      if ((fd = (int)syscall(438, pid, number, 0)) < 0) continue;
      snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
      memset(name, 0, sizeof name);
      if (readlink(link, name, sizeof name - 1) > 0 && (strstr(name, "secretmem") || strstr(name, "memfd"))) {
        puts(name);
        return 0;
      }
      close(fd);
    }
  return 0; }
"""
"""Calls pidfd_open(2) and pidfd_getfd(2) by number: older headers have not got them."""

ASKER = """
#include <stdio.h>
#include <sys/mman.h>
int main(void)
{ char s[64];
  if (!fgets(s, sizeof s, stdin)) return 1;
  puts("ready"); fflush(stdout);
  if (!fgets(s, sizeof s, stdin)) return 1;
  for (;;) munmap(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), 4096); }
"""
"""Memory that was private the enclave keeps for the next who asks; this it makes anew each time."""

FD = "proc_pid_fd(5)"
GETFD = "pidfd_getfd(2)"
PROCFS = (
    Attack(name="environ", what="read the variables", source="proc_pid_environ(5)", run=variables),
    Attack(name="cmdline", what="read the arguments", source="proc_pid_cmdline(5)", run=arguments),
    Attack(
        name="start-arguments",
        what="read both while it starts",
        source="proc_pid_cmdline(5)",
        run=starting,
        declared="arguments and environment of the start",
    ),
    Attack(name="auxv", what="read the canary's seed by auxv", source="getauxval(3), AT_RANDOM", run=canary),
    Attack(name="fd-links", what="read open files by links", source=FD, run=open_files, control=open_files_control),
    Attack(
        name="written-files",
        what="search what it writes",
        source="proc_pid_cwd(5)",
        run=written_files,
        control=written_files_control,
    ),
    Attack(
        name="pidfd-getfd", what="copy every descriptor", source=GETFD, run=descriptors, control=descriptors_control
    ),
    Attack(
        name="pidfd-pipe",
        what="read what waits in a pipe",
        source=GETFD,
        run=pipe,
        declared="ordinary descriptors",
    ),
    Attack(
        name="pidfd-race",
        what="copy a descriptor of new memory",
        source=GETFD,
        run=race,
        control=race_control,
        declared="a descriptor taken while it is open",
    ),
    Attack(name="race-exec", what="read what children are handed", source="execve(2)", run=children),
)
