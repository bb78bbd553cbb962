"""fcntl, dup, ioctl, poll and select: the descriptor table and what waits on it."""

import struct
from typing import Final

from .checks import HostLied
from .descriptors import CLOSE_ON_EXEC, Descriptors
from .messages import Operation
from .open_files import ConsoleFile
from .outcome import Failed
from .pipes import pipe
from .process import Process
from .time_calls import TimeCalls
from .words import signed

__all__ = ["DescriptorCalls"]

EBADF, EINVAL, ENOTTY = 9, 22, 25
F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL = 0, 1, 2, 3, 4
F_GETLK, F_SETLK, F_SETLKW = 5, 6, 7
F_DUPFD_CLOEXEC: Final = 1030
MAY_WAIT: Final = 16
"""Operation.LOCK: with F_SETLKW."""

FLOCK: Final = struct.Struct("<hh4xqqi4x")
"""struct flock: type (0 read, 1 write, 2 unlock), whence, start, length, process."""

TCGETS, TCSETS, TCSETSW, TCSETSF, TIOCGWINSZ = 0x5401, 0x5402, 0x5403, 0x5404, 0x5413
TERMINAL: Final = struct.pack("<IIII", 0o2400, 0o5, 0o277, 0o100003) + bytes(20)
"""struct termios of a terminal in line mode, without echo (asm-generic/termbits.h): 36 bytes, no control characters.

The owner's own terminal edits lines and echoes. Programs that bring a line editor see that this is not theirs to do.
"""

SIZE: Final = struct.pack("<HHHH", 24, 80, 0, 0)
POLLIN_OUT: Final = 0x001 | 0x004 | 0x040 | 0x100
POLLNVAL: Final = 0x020
SETTABLE: Final = 0o6000
"""O_APPEND and O_NONBLOCK."""


class DescriptorCalls:
    """Everything counts as ready: the read that follows waits, and one thread has nothing else to do."""

    def __init__(self, process: Process, descriptors: Descriptors, times: TimeCalls) -> None:
        self._space, self._link, self._files = process.space, process.link, descriptors
        self._times = times
        self._interactive = process.options.interactive

    def dup(self, descriptor: int) -> int:
        """The system call dup."""
        return self._files.duplicate(descriptor, 0)

    def dup2(self, descriptor: int, new: int) -> int:
        """The system call dup2."""
        return self._files.replace(descriptor, new & 0xFFFF_FFFF)

    def dup3(self, descriptor: int, new: int, flags: int) -> int:
        """The system call dup3."""
        if flags & ~CLOSE_ON_EXEC or descriptor == new:
            raise Failed(EINVAL)
        return self._files.replace(descriptor, new & 0xFFFF_FFFF, closing=bool(flags))

    def pipe(self, address: int) -> int:
        """The system call pipe."""
        return self.pipe2(address, 0)

    def pipe2(self, address: int, flags: int) -> int:
        """The system call pipe2."""
        if flags & ~(CLOSE_ON_EXEC | SETTABLE):
            raise Failed(EINVAL)
        self._space.write(address, bytes(8))  # before anything is opened: the address may be bad
        ends = [self._files.add(end, closing=bool(flags & CLOSE_ON_EXEC)) for end in pipe(flags & SETTABLE)]
        self._space.write(address, struct.pack("<II", *ends))
        return 0

    def fcntl(self, descriptor: int, command: int, argument: int) -> int:
        """The system call fcntl: duplicates, flags, and advisory locks, which the host keeps."""
        files, file = self._files, self._files.file(descriptor)
        if command in {F_DUPFD, F_DUPFD_CLOEXEC}:
            return files.duplicate(descriptor, argument & 0xFFFF_FFFF, closing=command == F_DUPFD_CLOEXEC)
        if command == F_GETFD:
            return int(files.closes_on_exec(descriptor))
        if command == F_SETFD:
            files.set_closing(descriptor, closing=bool(argument & 1))
        elif command == F_GETFL:
            return file.flags
        elif command == F_SETFL:
            file.flags = file.flags & ~SETTABLE | argument & SETTABLE
        elif command in {F_GETLK, F_SETLK, F_SETLKW}:
            self._lock(descriptor, command, argument)
        else:
            raise Failed(EINVAL)
        return 0

    def _lock(self, descriptor: int, command: int, address: int) -> None:
        """A lock's range is told to the host from the file's beginning."""
        file = self._files.file(descriptor)
        kind, whence, start, length, _ = FLOCK.unpack(self._space.read(address, FLOCK.size))
        if whence:
            start += file.status().size if whence == 2 else file.seek(0, 1)
        if length < 0:
            start, length = start + length, -length
        if start < 0 or kind not in {0, 1, 2} or whence not in {0, 1, 2}:
            raise Failed(EINVAL)
        what = kind | (MAY_WAIT if command == F_SETLKW else 0) | (32 if command == F_GETLK else 0)
        data = length.to_bytes(8, "little")
        holder, _ = self._link.ask(Operation.LOCK, file.handle(), what, start, data)
        if command == F_GETLK:
            if holder >> 31:
                raise HostLied("LOCK", f"process {holder} holds the lock")
            answer = FLOCK.pack(kind if holder else 2, 0, start, length, holder)
            self._space.write(address, answer)

    def ioctl(self, descriptor: int, request: int, address: int) -> int:
        """What asks whether this is a terminal, and how large; made up inside the TEE."""
        file = self._files.file(descriptor)
        if not self._interactive or not isinstance(file, ConsoleFile):
            raise Failed(ENOTTY)
        if request == TCGETS:
            self._space.write(address, TERMINAL)
        elif request == TIOCGWINSZ:
            self._space.write(address, SIZE)
        elif request not in {TCSETS, TCSETSW, TCSETSF}:
            raise Failed(ENOTTY)
        return 0

    def poll(self, address: int, count: int, timeout: int) -> int:
        """The system call poll."""
        milliseconds = signed(timeout << 32) >> 32
        return self._poll(address, count, milliseconds * 1_000_000)

    def ppoll(self, address: int, count: int, timeout: int) -> int:
        """The system call ppoll; signals never come."""
        return self._poll(address, count, self._duration(timeout, 1))

    def select(self, count: int, read: int, write: int, other: int, timeout: int) -> int:
        """The system call select."""
        return self._select(count, (read, write, other), self._duration(timeout, 1000))

    def pselect6(self, count: int, read: int, write: int, other: int, timeout: int) -> int:
        """The system call pselect; signals never come."""
        return self._select(count, (read, write, other), self._duration(timeout, 1))

    def _duration(self, address: int, unit: int) -> int:
        """Nanoseconds of a timespec (unit 1) or timeval (unit 1000); -1 for ever."""
        if not address:
            return -1
        seconds, rest = struct.unpack("<QQ", self._space.read(address, 16))
        return min(int(seconds * 1_000_000_000 + rest * unit), (1 << 62) - 1)

    def _poll(self, address: int, count: int, timeout: int) -> int:
        if count > 1024:
            raise Failed(EINVAL)
        ready = 0
        raw = self._space.read(address, 8 * count) if count else b""
        answer: list[bytes] = []
        for descriptor, events, _ in struct.iter_unpack("<ihh", raw):
            found = self._ready(descriptor, events) if descriptor >= 0 else 0
            ready += bool(found)
            answer.append(struct.pack("<ihh", descriptor, events, found))
        if not ready and timeout > 0:
            self._times.let_pass(timeout)
        if answer:
            self._space.write(address, b"".join(answer))
        return ready

    def _ready(self, descriptor: int, events: int) -> int:
        try:
            self._files.file(descriptor)
        except Failed:
            return POLLNVAL
        return events & POLLIN_OUT

    def _select(self, count: int, addresses: tuple[int, int, int], timeout: int) -> int:
        """The sets stay as they are, but exceptional conditions never occur."""
        if count > 1024:
            raise Failed(EINVAL)
        size, ready = -(-count // 64) * 8, 0
        for address in addresses[:2]:
            if address:
                bits = int.from_bytes(self._space.read(address, size), "little") & ((1 << count) - 1)
                for descriptor in (one for one in range(count) if bits >> one & 1):
                    self._files.file(descriptor)
                ready += bits.bit_count()
        if addresses[2]:
            self._space.write(addresses[2], bytes(size))
        if not ready and timeout > 0:
            self._times.let_pass(timeout)
        return ready
