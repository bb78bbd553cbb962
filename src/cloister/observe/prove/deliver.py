"""Feeding the secret to a running program, and finding out whether it took it."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cloister.errors import UsageError
from cloister.observe.prove.kernel_unsafe import waiting_bytes
from cloister.observe.prove.plan import (
    AfterDelay,
    Feed,
    FeedFile,
    FeedSend,
    FeedStdin,
    FeedTerminal,
    OnOutput,
    OnPort,
    Plan,
    Tls,
)
from cloister.observe.prove.program import Program
from cloister.observe.prove.record import Check
from cloister.observe.prove.secret import Secret, fill
from cloister.observe.prove.tls_feed import WrongKey, leave, over_tls

__all__ = ["Delivery", "place_file", "port_open", "wait_for_prompt", "wait_until_ready"]

STEP = 0.02  # seconds between two looks at a condition
REPLY_TIMEOUT = 10.0
ON_ITS_WAY = 0.2  # seconds that a record takes at most from a person to a program's console
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
    tls: Tls | None = None
    """What a port is spoken to with."""
    inside: Callable[[], int] = lambda: 0
    """Bytes that wait at the standard input of a program behind a console."""
    delivered: Check = field(default_factory=lambda: Check(holds=False, detail="not fed yet"))
    latched: bool = False
    empty_since: float | None = None
    flow: Flow | None = None
    """What was sent to a port went from here to there."""

    def deliver(self) -> None:
        """Feed by standard input or by port; environment, arguments and files were there from the start."""
        if isinstance(self.feed, FeedStdin | FeedTerminal):
            done = self.program.write(fill(self.feed.template, self.secret))
            if isinstance(self.feed, FeedStdin) and self.feed.close:
                self.program.streams.keyboard.end()
            self.delivered = Check(holds=done, detail="written" if done else self.too_late)
        elif isinstance(self.feed, FeedSend):
            self.delivered = self.send(self.feed)
        else:
            self.delivered = Check(holds=True, detail="given at the start")

    @property
    def too_late(self) -> str:
        """Why nothing could be fed."""
        return f"the program ended before it was fed{self.program.refusal}"

    def send(self, feed: FeedSend) -> Check:
        """Send the filled template and wait for a reply that matches."""
        reply = b""
        try:
            with self.connected(feed) as connection:
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
        how = "" if self.tls is None else f" over TLS to sha256:{self.tls.pins[0].hex()}"
        return Check(holds=True, detail=f"sent to {feed.host}:{feed.port}{how}, reply of {len(reply)} bytes matched")

    def connected(self, feed: FeedSend) -> socket.socket:
        """A connection to the port. What is sent in the clear is noted as the prover's own; what TLS carries is not."""
        connection = socket.create_connection((feed.host, feed.port), REPLY_TIMEOUT)
        try:
            if self.tls is not None:
                return over_tls(connection, self.tls)
            self.flow = (connection.getsockname()[:2], connection.getpeername()[:2])
        except BaseException:
            connection.close()
            raise
        return connection

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
            return self.look_at_input()
        if isinstance(self.feed, FeedFile):
            return file_read(self.feed.path, self.feed_file)
        if self.start_pipe >= 0 and waiting_bytes(self.start_pipe):
            return Check(holds=False, detail="the runtime never read the arguments and environment it was given")
        return self.delivered

    def look_at_input(self) -> Check:
        """Standard input is empty; behind a console at both ends, for as long as something may be on its way."""
        now = time.monotonic()
        left = self.program.streams.keyboard.unread or self.inside()
        self.empty_since = now if left or self.empty_since is None else self.empty_since
        if left or (self.program.person is not None and now < self.empty_since + ON_ITS_WAY):
            return Check(holds=False, detail=f"{left} bytes of standard input were never read{self.program.refusal}")
        return Check(holds=True, detail="read from standard input")

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


def wait_for_prompt(plan: Plan, program: Program) -> Check:
    """Wait until the program asks for what it will be fed, if the plan says how that looks."""
    begun = time.monotonic()
    while plan.prompt is not None and not program.matches(plan.prompt):
        if not program.alive or time.monotonic() - begun > plan.ready_timeout:
            return Check(holds=False, detail=f"it never asked: nothing that it printed matches ({program.status})")
        time.sleep(STEP)
    return Check(holds=True, detail="")


def wait_until_ready(plan: Plan, program: Program, tls: Tls | None = None) -> Check:
    """Wait for the plan's readiness, at most its ready_timeout. `tls`: what the port that is fed is spoken to with."""
    begun = time.monotonic()
    readiness = plan.readiness
    while (passed := time.monotonic() - begun) < plan.ready_timeout:
        if isinstance(readiness, AfterDelay):
            if passed >= readiness.seconds or not program.alive:
                return after_delay(program, readiness.seconds)
        elif isinstance(readiness, OnOutput):
            if program.matches(readiness.pattern):
                return Check(holds=True, detail=f"output matched after {passed:.2f} s")
        elif program.alive and port_open(readiness.host, readiness.port, tls if is_fed(plan, readiness) else None):
            return Check(holds=True, detail=f"port {readiness.port} open after {passed:.2f} s")
        if not program.alive and not isinstance(readiness, AfterDelay):
            return last_look(plan, program)
        time.sleep(STEP)
    return Check(holds=False, detail=f"never became ready within {plan.ready_timeout:g} s")


def last_look(plan: Plan, program: Program) -> Check:
    """The program has ended: its last output may still bring the pattern."""
    program.finish(1.0)
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


def is_fed(plan: Plan, place: OnPort) -> bool:
    """Whether this is where the secret will be sent."""
    return isinstance(plan.feed, FeedSend) and (plan.feed.host, plan.feed.port) == (place.host, place.port)


def port_open(host: str, port: int, tls: Tls | None = None) -> bool:
    """Whether a connection is accepted. With TLS it begins and ends in good order: a program may mind if not."""
    try:
        with socket.create_connection((host, port), 1.0) as connection:
            if tls is not None:
                leave(over_tls(connection, tls))
    except WrongKey:
        return True  # which whoever feeds it will be told
    except OSError:
        return False
    return True
