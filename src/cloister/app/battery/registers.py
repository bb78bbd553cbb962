"""Attacks on registers: the kernel prints those of a thread here and there, to whoever may read /proc or its log."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.compiling import build
from cloister.app.battery.cores import kept_setting
from cloister.app.battery.memory import arena_directory, maps_of
from cloister.app.battery.stress import cgroup
from cloister.app.battery.target import Arena, Target, wait_for
from cloister.app.battery.tracing import attaching

__all__ = ["REGISTERS", "holder_program", "words_of"]

LOG = Path("/dev/kmsg")
FATAL_SIGNALS = Path("/proc/sys/kernel/print-fatal-signals")
SYSRQ = Path("/proc/sysrq-trigger")
LOG_SECONDS, END_SECONDS, RECORD = 3.0, 5.0, 8192
DEBUG_REGISTERS: Final = 848
"""offsetof(struct user, u_debugreg), x86-64."""

PROGRAM = """
#include <stdio.h>
#include <sys/mman.h>
static char s[64];
int main(void)
{ long n, a, b; char c; char *m;
  if (!fgets(s, sizeof s, stdin)) return 1;
  puts("ready"); fflush(stdout);
  a = ((long *)s)[0]; b = ((long *)s)[1];
  for (;;) {
    register long r12 __asm__("r12") = a; register long r10 __asm__("r10") = b;
    __asm__ volatile("syscall" : "=a"(n) : "a"(0), "D"(0), "S"(&c), "d"(1), "r"(r12), "r"(r10)
                     : "rcx", "r11", "memory");
    if (n <= 0) return 0;
    if (c != 'f') continue;
    m = mmap(0, 1L << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    __asm__ volatile("1: movb $1, (%0); add $4096, %0; cmp %1, %0; jb 1b"
                     : "+r"(m) : "r"(m + (1L << 30)), "r"(r12), "r"(r10) : "memory"); } }
"""
"""It waits, and touches memory when it is told `f`, with words of its secret in registers all the time."""


@contextlib.contextmanager
def holder(arena: Arena) -> Iterator[Target]:
    """That program, once it has its secret."""
    with arena_directory(arena) as place, arena.target(words=(holder_program(place),)) as target:
        yield target


def holder_program(place: Path) -> str:
    """Its file."""
    return str(build(place, "holder", PROGRAM))


def words_of(target: Target) -> tuple[bytes, bytes]:
    """What it has in registers."""
    return target.secret[:8], target.secret[8:16]


def in_registers(target: Target, text: str) -> bool:
    """Whether a word of the secret stands there as the kernel prints numbers."""
    return any(f"{int.from_bytes(word, 'little'):x}" in text for word in words_of(target))


def waiting_call(arena: Arena) -> Attempt:
    """/proc/PID/syscall: six registers of a thread that waits, whatever the call makes of them."""
    with holder(arena) as target:
        for tid in threads_and_guards(target):
            with contextlib.suppress(OSError):
                if in_registers(target, Path(f"/proc/{tid}/syscall").read_text()):
                    return succeeded("a word of the secret was read in a register")
        return failed("in none of the six registers that are shown")


def threads_and_guards(target: Target) -> list[int]:
    """Whom to look at."""
    return target.threads() or [target.pid]


def logged(arena: Arena, act: Callable[[Target], contextlib.AbstractContextManager[object]]) -> Attempt:
    """What the kernel writes to its log while the program is brought to its end."""
    with holder(arena) as target:
        try:
            log = os.open(LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise NotTried(f"the kernel's log cannot be read: {error.strerror}") from error
        try:
            os.lseek(log, 0, os.SEEK_END)
            with act(target):
                wait_for(lambda: not target.alive(), END_SECONDS)
            text = ""
            limit = time.monotonic() + LOG_SECONDS
            while time.monotonic() < limit and not in_registers(target, text):
                text += records(log)
                time.sleep(0.05)
        finally:
            os.close(log)
        if in_registers(target, text):
            return succeeded("a word of the secret was in a register, and is in the kernel's log")
        return failed(f"{len(text.splitlines())} lines in the log, the secret in none")


def records(log: int) -> str:
    """What is new in the log, kmsg: one record a read(2)."""
    found = b""
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        while True:
            found += os.read(log, RECORD)
    return found.decode(errors="replace")


def want_of_memory(arena: Arena) -> Attempt:
    """A memory cgroup of the battery's own: the report of the OOM killer has the registers of who asked last."""

    @contextlib.contextmanager
    def act(target: Target) -> Iterator[None]:
        with cgroup(target):
            target.tell("f")
            yield

    return logged(arena, act)


def fatal_signal(arena: Arena) -> Attempt:
    """A setting with which the kernel prints the registers of whom a signal ends."""
    if not arena.setting.may_change_machine:
        raise NotTried("it changes kernel.print-fatal-signals: --unsafe-change-machine allows that, and undoes it")

    @contextlib.contextmanager
    def act(target: Target) -> Iterator[None]:
        with kept_setting(FATAL_SIGNALS, "1"):
            os.kill(target.pid, signal.SIGSEGV)
            yield

    return logged(arena, act)


def all_tasks(_arena: Arena) -> Attempt:
    """SysRq-T prints the registers of every thread of the machine."""
    here = "has it" if SYSRQ.exists() else "has not got it"
    raise NotTried(f"it would write every process of the machine to the kernel's log; this kernel {here}")


def watch(tid: int) -> None:
    """Set a hardware breakpoint on code, by PTRACE_POKEUSER."""
    at = next(mapping.start for mapping in maps_of(tid) if "x" in mapping.permissions)
    calls.poke_user(tid, DEBUG_REGISTERS, at)


DECLARED = "registers that the kernel shows"
REGISTERS = (
    Attack(
        name="waiting-call",
        what="read the registers of a waiting thread",
        source="proc_pid_syscall(5)",
        run=waiting_call,
        declared=DECLARED,
    ),
    Attack(
        name="oom-registers",
        what="the OOM killer's report of its registers",
        source="cgroups(7), dmesg(1)",
        run=want_of_memory,
        declared=DECLARED,
    ),
    Attack(
        name="fatal-registers",
        what="have a fatal signal's registers logged",
        source="kernel.rst, print-fatal-signals",
        run=fatal_signal,
        declared=DECLARED,
    ),
    Attack(
        name="sysrq-registers",
        what="have all registers logged",
        source="sysrq.rst, t",
        run=all_tasks,
        declared=DECLARED,
    ),
    Attack(name="debug-registers", what="set a debug register", source="ptrace(2), POKEUSER", run=attaching(watch)),
)
