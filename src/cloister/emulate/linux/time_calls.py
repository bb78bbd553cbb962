"""Clocks and sleep. Time comes from the host: it may be wrong, but what must never go back does not go back."""

import struct
from typing import Final

from .checks import HostLied, check_time
from .messages import Operation
from .outcome import Failed
from .process import Process

__all__ = ["TimeCalls"]

EINVAL: Final = 22
SECOND: Final = 1_000_000_000
REALTIME, MONOTONIC = 0, 1
SAME: Final = {5: REALTIME, 6: MONOTONIC}
"""The coarse clocks are the others'."""

KNOWN: Final = frozenset({0, 1, 2, 3, 4, 7})
"""Real time, monotonic, the CPU time of process and thread, raw monotonic, boot time."""

ABSOLUTE: Final = 1
PAIR: Final = struct.Struct("<QQ")


class TimeCalls:
    """All clocks but real time must ascend; a sleep must take as long as was asked."""

    def __init__(self, process: Process) -> None:
        self._space, self._ask = process.space, process.link.ask
        self._latest: dict[int, int] = {}

    def now(self, clock: int) -> int:
        """Nanoseconds on a clock. HostLied if it went back."""
        clock = SAME.get(clock, clock)
        if clock not in KNOWN:
            raise Failed(EINVAL)
        value, _ = self._ask(Operation.CLOCK, clock)
        return self._seen(clock, value)

    def _seen(self, clock: int, value: int) -> int:
        self._latest[clock] = check_time("CLOCK", value, 0 if clock == REALTIME else self._latest.get(clock, 0))
        return value

    def clock_gettime(self, clock: int, address: int) -> int:
        """The system call clock_gettime."""
        self._space.write(address, PAIR.pack(*divmod(self.now(clock), SECOND)))
        return 0

    def clock_getres(self, clock: int, address: int) -> int:
        """One nanosecond, as the host's numbers have; how fine they really are cannot be known."""
        if SAME.get(clock, clock) not in KNOWN:
            raise Failed(EINVAL)
        if address:
            self._space.write(address, PAIR.pack(0, 1))
        return 0

    def gettimeofday(self, address: int) -> int:
        """The system call gettimeofday."""
        if address:
            seconds, rest = divmod(self.now(REALTIME), SECOND)
            self._space.write(address, PAIR.pack(seconds, rest // 1000))
        return 0

    def time(self, address: int) -> int:
        """The system call time."""
        seconds = self.now(REALTIME) // SECOND
        if address:
            self._space.write(address, seconds.to_bytes(8, "little"))
        return seconds

    def times(self, address: int) -> int:
        """The system call times, in hundredths of a second."""
        used = self.now(2) // (SECOND // 100)
        if address:
            self._space.write(address, struct.pack("<QQQQ", used, 0, 0, 0))
        return self.now(MONOTONIC) // (SECOND // 100)

    def getrusage(self, who: int, address: int) -> int:
        """CPU time as user time; everything else is 0."""
        if who not in {0, 1, (1 << 64) - 1, (1 << 32) - 1}:
            raise Failed(EINVAL)
        seconds, rest = divmod(self.now(2), SECOND)
        self._space.write(address, PAIR.pack(seconds, rest // 1000) + bytes(128))
        return 0

    def nanosleep(self, address: int) -> int:
        """The system call nanosleep."""
        self.let_pass(self._duration(address))
        return 0

    def clock_nanosleep(self, clock: int, flags: int, address: int) -> int:
        """The system call clock_nanosleep: relative, or until a time on that clock."""
        duration = self._duration(address)
        self.let_pass(max(duration - self.now(clock), 0) if flags & ABSOLUTE else duration)
        return 0

    def _duration(self, address: int) -> int:
        seconds, rest = PAIR.unpack(self._space.read(address, PAIR.size))
        if seconds >> 32 or rest >= SECOND:
            raise Failed(EINVAL)
        return int(seconds * SECOND + rest)

    def let_pass(self, duration: int) -> None:
        """Wait for so many nanoseconds. HostLied if less time passed."""
        before = self.now(MONOTONIC)
        value, _ = self._ask(Operation.SLEEP, duration)
        if self._seen(MONOTONIC, value) - before < duration:
            raise HostLied("SLEEP", f"{duration} ns were to pass, {value - before} did")
