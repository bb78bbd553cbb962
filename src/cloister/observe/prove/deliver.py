"""Feeding the secret to a running program, and finding out whether it took it."""

import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from cloister.errors import UsageError
from cloister.observe.prove.plan import AfterDelay, Feed, FeedFile, FeedSend, FeedStdin, FeedTerminal, OnOutput, Plan
from cloister.observe.prove.program import Program, waiting_bytes
from cloister.observe.prove.record import Check
from cloister.observe.prove.secret import Secret, fill

__all__ = ["Delivery", "place_file", "port_open", "wait_until_ready"]

STEP = 0.02  # seconds between two looks at a condition
REPLY_TIMEOUT = 10.0
Flow = tuple[tuple[str, int], tuple[str, int]]
LONG_AGO = 1  # access time given to the feed file: any read then moves it, relatime included (mount(8))


@dataclass(kw_only=True)
class Delivery:
    """Brings the secret to the program and sees it taken. `start_pipe` and `feed_file`: -1 where there is none.

    Once the secret was taken it stays taken: what is written to standard input later is not the secret.
    """

    feed: Feed
    secret: Secret
    program: Program
    start_pipe: int
    feed_file: int
    delivered: Check = field(default_factory=lambda: Check(holds=False, detail="not fed yet"))
    latched: bool = False
    flow: Flow | None = None
    """What was sent to a port went from here to there."""

    def deliver(self) -> None:
        """Feed by standard input or by port; environment, arguments and files were there from the start."""
        if isinstance(self.feed, FeedStdin | FeedTerminal):
            done = self.program.write(fill(self.feed.template, self.secret))
            if isinstance(self.feed, FeedStdin) and self.feed.close:
                self.program.close_input()
            self.delivered = Check(holds=done, detail="written" if done else "the program ended before it was fed")
        elif isinstance(self.feed, FeedSend):
            self.delivered = self.send(self.feed)
        else:
            self.delivered = Check(holds=True, detail="given at the start")

    def send(self, feed: FeedSend) -> Check:
        """Send the filled template and wait for a reply that matches."""
        reply = b""
        try:
            with socket.create_connection((feed.host, feed.port), REPLY_TIMEOUT) as connection:
                self.flow = (connection.getsockname()[:2], connection.getpeername()[:2])
                connection.sendall(fill(feed.template, self.secret))
                deadline = time.monotonic() + REPLY_TIMEOUT
                while not feed.expect.search(reply):
                    connection.settimeout(max(0.01, deadline - time.monotonic()))
                    part = connection.recv(65536)
                    if not part:
                        unmatched = f"the port closed after {len(reply)} bytes of reply that did not match"
                        return Check(holds=False, detail=unmatched)
                    reply += part
        except OSError as error:
            return Check(holds=False, detail=f"sending to {feed.host}:{feed.port} failed: {error}")
        return Check(holds=True, detail=f"sent to {feed.host}:{feed.port}, reply of {len(reply)} bytes matched")

    def taken(self) -> Check:
        """Whether the secret reached the program, as far as the kernel tells: the pipe is empty, the file was read."""
        if not self.delivered.holds or self.latched:
            return self.delivered
        check = self.look()
        if check.holds:
            self.delivered, self.latched = check, True
        return check

    def look(self) -> Check:
        """One look at the place the secret was put."""
        if isinstance(self.feed, FeedStdin | FeedTerminal):
            left = waiting_bytes(self.program.input_reader)
            detail = f"{left} bytes of standard input were never read" if left else "read from standard input"
            return Check(holds=left == 0, detail=detail)
        if isinstance(self.feed, FeedFile):
            return file_read(self.feed.path, self.feed_file)
        if self.start_pipe >= 0 and waiting_bytes(self.start_pipe):
            return Check(holds=False, detail="the runtime never read the arguments and environment it was given")
        return self.delivered

    def wait(self, seconds: float) -> Check:
        """Wait until the secret was taken; no longer than the program lives."""
        deadline = time.monotonic() + seconds
        while not (check := self.taken()).holds and self.program.alive and time.monotonic() < deadline:
            time.sleep(STEP)
        return check if check.holds else self.taken()


def place_file(feed: FeedFile, secret: Secret) -> int:
    """Write the feed file with mode 0600 and return a descriptor of it, which tells later whether it was read.

    Never overwrites: UsageError if the file exists or cannot be written.
    """
    try:
        descriptor = os.open(feed.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"cannot create the feed file {feed.path}: {error.strerror}; name one that does not exist"
        ) from error
    os.write(descriptor, fill(feed.template, secret))
    os.utime(descriptor, ns=(LONG_AGO, os.fstat(descriptor).st_mtime_ns))
    return descriptor


def file_read(path: Path, descriptor: int) -> Check:
    """Whether the file's access time moved. On a file system that keeps none, nobody can tell."""
    if os.fstat(descriptor).st_atime_ns > LONG_AGO:
        return Check(holds=True, detail="the file was read")
    if os.fstatvfs(descriptor).f_flag & os.ST_NOATIME:
        return Check(
            holds=False, detail=f"{path} is mounted noatime, so a read does not show: use --feed file:PATH elsewhere"
        )
    return Check(holds=False, detail="the file was never read")


def wait_until_ready(plan: Plan, program: Program) -> Check:
    """Wait for the plan's readiness, at most its ready_timeout."""
    begun = time.monotonic()
    readiness = plan.readiness
    while (passed := time.monotonic() - begun) < plan.ready_timeout:
        if isinstance(readiness, AfterDelay):
            if passed >= readiness.seconds or not program.alive:
                return after_delay(program, readiness.seconds)
        elif isinstance(readiness, OnOutput):
            if program.matches(readiness.pattern):
                return Check(holds=True, detail=f"output matched after {passed:.2f} s")
        elif program.alive and port_open(readiness.host, readiness.port):
            return Check(holds=True, detail=f"port {readiness.port} open after {passed:.2f} s")
        if not program.alive and not isinstance(readiness, AfterDelay):
            return last_look(plan, program)
        time.sleep(STEP)
    return Check(holds=False, detail=f"never became ready within {plan.ready_timeout:g} s")


def last_look(plan: Plan, program: Program) -> Check:
    """The program has ended: its last output may still bring the pattern."""
    program.stdout.finish(1.0)
    program.stderr.finish(1.0)
    matched = isinstance(plan.readiness, OnOutput) and program.matches(plan.readiness.pattern)
    detail = "output matched before it ended" if matched else f"ended before it was ready: {program.status}"
    return Check(holds=matched, detail=detail)


def after_delay(program: Program, seconds: float) -> Check:
    """Alive after the delay, or done with success before."""
    if program.alive:
        return Check(holds=True, detail=f"alive {seconds:g} s after the feed")
    return Check(
        holds=program.process.poll() == 0, detail=f"ended by itself before {seconds:g} s were over: {program.status}"
    )


def port_open(host: str, port: int) -> bool:
    """Whether a connection is accepted."""
    try:
        socket.create_connection((host, port), 1.0).close()
    except OSError:
        return False
    return True
