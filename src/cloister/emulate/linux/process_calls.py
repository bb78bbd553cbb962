"""Identity, signals, limits, randomness, and the end: answered inside the TEE, as constants where Linux would vary."""

import os
import struct
from typing import Final

from cloister.measure.image import Architecture

from .descriptors import MOST
from .outcome import Ended, Failed
from .process import Process
from .words import signed_int

__all__ = ["PROCESS", "USER", "ProcessCalls"]

PROCESS: Final = 1000
"""The program's process, thread, group and session number."""

USER: Final = 1000
"""Its user and group, real and effective."""

EPERM, ESRCH, EAGAIN, EPIPE, ENOSYS, EINVAL, EDEADLK, ETIMEDOUT = 1, 3, 11, 32, 38, 22, 35, 110
SIGPIPE: Final = 13
LARGEST_RANDOM: Final = 1 << 20
UNLIMITED: Final = (1 << 64) - 1
RLIMIT_STACK, RLIMIT_NOFILE = 3, 7
HARMLESS_SIGNALS: Final = frozenset({0, 17, 18, 23, 28})
"""What is ignored by default: none, CHLD, CONT, URG, WINCH (signal(7))."""

UNBLOCKABLE: Final = frozenset({9, 19})
ACTION_SIZE: Final = {Architecture.X86_64: 32, Architecture.ARM64: 32, Architecture.RISCV64: 24}
"""struct sigaction as the kernel takes it: handler, flags, restorer (not on riscv64), mask."""

MACHINES: Final = {Architecture.X86_64: b"x86_64", Architecture.ARM64: b"aarch64", Architecture.RISCV64: b"riscv64"}
ARCH_SET_FS, ARCH_GET_FS = 0x1002, 0x1003
PR_SET_NAME, PR_GET_NAME = 15, 16


class ProcessCalls:
    """One process, one thread, one user. Signals are never delivered: one that would end the program ends it."""

    def __init__(self, process: Process) -> None:
        self._process, self._space = process, process.space
        self._actions: dict[int, bytes] = {}
        self._blocked = bytes(8)
        self._thread_pointer = 0
        self._name = b"program"

    def process(self) -> int:
        """getpid, gettid, getpgrp and so on."""
        return PROCESS

    def parent(self) -> int:
        """The system call getppid."""
        return 1

    def user(self) -> int:
        """getuid, getegid and so on."""
        return USER

    def done(self) -> int:
        """What succeeds by doing nothing."""
        return 0

    def forbidden(self) -> int:
        """What this user may not."""
        raise Failed(EPERM)

    def exit(self, status: int) -> Ended:
        """The system call exit and exit_group(2)."""
        return Ended(status & 0xFF)

    def getresuid(self, real: int, effective: int, saved: int) -> int:
        """The system call getresuid, getresgid(2)."""
        for address in (real, effective, saved):
            self._space.write(address, USER.to_bytes(4, "little"))
        return 0

    def uname(self, address: int) -> int:
        """A name of no host: what differs between hosts would be a channel."""
        machine = MACHINES[self._space.architecture]
        fields = (b"Linux", b"tee", b"6.1.0", b"#1 Cloister", machine, b"(none)")
        self._space.write(address, b"".join(part.ljust(65, b"\0") for part in fields))
        return 0

    def getrandom(self, address: int, size: int, flags: int) -> int:
        """Entropy from inside the TEE, at most a megabyte at once."""
        if flags & ~7:
            raise Failed(EINVAL)
        size = min(size, LARGEST_RANDOM)
        self._space.write(address, os.urandom(size))
        return size

    def set_tid_address(self, _address: int) -> int:
        """The thread's number; there is no other thread to be told of its end."""
        return PROCESS

    def arch_prctl(self, code: int, address: int) -> int:
        """The thread pointer of x86-64."""
        if code == ARCH_SET_FS:
            self._space.set_thread_pointer(address)
            self._thread_pointer = address
        elif code == ARCH_GET_FS:
            self._space.write(address, self._thread_pointer.to_bytes(8, "little"))
        else:
            raise Failed(EINVAL)
        return 0

    def prctl(self, option: int, address: int) -> int:
        """The thread's name; nothing else."""
        if option == PR_SET_NAME:
            self._name = self._process.text(address)[:15]
        elif option == PR_GET_NAME:
            self._space.write(address, self._name.ljust(16, b"\0"))
        else:
            raise Failed(EINVAL)
        return 0

    def rt_sigaction(self, signal: int, action: int, old: int, size: int) -> int:
        """Kept and given back."""
        if not 1 <= signal <= 64 or size != 8 or (action and signal in UNBLOCKABLE):
            raise Failed(EINVAL)
        length = ACTION_SIZE[self._space.architecture]
        before = self._actions.get(signal, bytes(length))
        if action:
            self._actions[signal] = self._space.read(action, length)
        if old:
            self._space.write(old, before)
        return 0

    def rt_sigprocmask(self, how: int, new: int, old: int, size: int) -> int:
        """Kept and given back."""
        if size != 8:
            raise Failed(EINVAL)
        before = self._blocked
        if new:
            mask, blocked = (int.from_bytes(part, "little") for part in (self._space.read(new, 8), before))
            ways = {0: blocked | mask, 1: blocked & ~mask, 2: mask}
            if how not in ways:
                raise Failed(EINVAL)
            self._blocked = ways[how].to_bytes(8, "little")
        if old:
            self._space.write(old, before)
        return 0

    def sigaltstack(self, _new: int, old: int) -> int:
        """There is never one in use: SS_DISABLE."""
        if old:
            self._space.write(old, struct.pack("<QiiQ", 0, 2, 0, 0))
        return 0

    def kill(self, process: int, signal: int) -> int | Ended:
        """A signal to oneself."""
        if signed_int(process) not in {PROCESS, 0, -1, -PROCESS}:
            raise Failed(ESRCH)
        return self._signal(signal)

    def tkill(self, thread: int, signal: int) -> int | Ended:
        """The system call tkill."""
        return self.kill(thread, signal)

    def tgkill(self, group: int, thread: int, signal: int) -> int | Ended:
        """The system call tgkill, which raise and abort call."""
        if group != PROCESS:
            raise Failed(ESRCH)
        return self.kill(thread, signal)

    def broken_pipe(self) -> int | Ended:
        """What write(2) does where nobody will read: SIGPIPE, and EPIPE if that does not end the program."""
        handled = self._actions.get(SIGPIPE, bytes(8))[:8] != bytes(8)
        return -EPIPE if handled or self._blocked[1] & 0x10 else Ended(128 + SIGPIPE, SIGPIPE)

    def _signal(self, signal: int) -> int | Ended:
        if not 0 <= signal <= 64:
            raise Failed(EINVAL)
        handler = int.from_bytes(self._actions.get(signal, b"")[:8], "little")
        if signal in HARMLESS_SIGNALS or handler == 1:
            return 0
        if handler:
            raise Failed(ENOSYS)
        return Ended(128 + signal, signal)

    def prlimit64(self, process: int, resource: int, new: int, old: int) -> int:
        """Limits are read, not changed."""
        if resource > 15 or process not in {0, PROCESS}:
            raise Failed(EINVAL)
        if new:
            raise Failed(EPERM)
        if old:
            self.getrlimit(resource, old)
        return 0

    def getrlimit(self, resource: int, address: int) -> int:
        """The stack's size, the number of descriptors, and no other limit."""
        limit = {RLIMIT_STACK: self._process.options.stack_size, RLIMIT_NOFILE: MOST}.get(resource, UNLIMITED)
        self._space.write(address, struct.pack("<QQ", limit, limit))
        return 0

    def sched_getaffinity(self, _process: int, size: int, address: int) -> int:
        """One processor."""
        if size < 8:
            raise Failed(EINVAL)
        self._space.write(address, (1).to_bytes(8, "little"))
        return 8

    def sysinfo(self, address: int) -> int:
        """Free memory is the machine's, everything else unknown."""
        free = self._space.free_memory()
        self._space.write(
            address, struct.pack("<10QHH4xQQI4x", 0, 0, 0, 0, free, free, 0, 0, 0, 0, 1, 0, 0, 0, 1)[:112]
        )
        return 0

    def futex(self, address: int, operation: int, expected: int, timeout: int) -> int:
        """With one thread nobody is woken, and whoever waits waits for ever: EDEADLK rather than a hung program."""
        command = operation & 0x7F
        if command in {1, 10}:
            return 0
        if command not in {0, 9}:
            raise Failed(ENOSYS)
        if int.from_bytes(self._space.read(address, 4), "little") != expected & 0xFFFF_FFFF:
            raise Failed(EAGAIN)
        raise Failed(ETIMEDOUT if timeout else EDEADLK)
