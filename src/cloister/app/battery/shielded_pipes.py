"""Attacks on what a program's processes say to one another through pipes: take it out, and put something else in."""

import contextlib
import os
from collections.abc import Iterator

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, deception, failed, succeeded
from cloister.app.battery.target import Arena, Start, Target, wait_for
from cloister.errors import LaunchError
from cloister.observe.prove.secret import Secret
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import FilesEntry
from cloister.shield_policy.words import FileKind

__all__ = ["SHIELDED_PIPES"]

SECONDS = 30.0
GETFD = "pidfd_getfd(2), proc_pid_fd(5)"
LARGEST = 1 << 16
# What the one process says waits in the pipe until the attacker is done: then the other one is told to read it.
TALK = (
    'read -r S; exec 8<&0 9>&1; { printf "%s\n" "$S"; echo ready >&9; read -r Y <&8; } | '
    "{ read -r Y <&8; cat >&9 || echo noticed >&9; echo done >&9; }"
)
WORDS = ("/bin/sh", "-c", TALK)


def strict() -> Start:
    """All of the host's files in the open, so that nothing is refused, and pipes sealed."""
    everything = FilesEntry(kind=FileKind.PLAIN, path="/")
    return Start(shield=ShieldBlock(strict=True, network=False, entries=(everything,)).serialize())


@contextlib.contextmanager
def talking(arena: Arena) -> Iterator[Target]:
    """Processes of which one has said the secret to another that has not listened yet."""
    secret = Secret.fresh("battery").value
    with arena.started(WORDS, secret, how=strict() if arena.enclaved else Start()) as target:
        target.tell(secret.decode())
        wait_for(lambda: target.is_ready() or not target.alive(), SECONDS)
        if not target.is_ready():
            raise LaunchError(f"the target did not get ready: {target.output.read_text(errors='replace')[-200:]}")
        yield target


def copies(target: Target) -> Iterator[int]:
    """Of each pipe that its processes have among themselves, as far as they can be copied."""
    outer = {os.readlink(f"/proc/{target.pid}/fd/{number}") for number in (0, 1, 2)}
    for pid in target.family():
        pidfd = os.pidfd_open(pid)
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    link = os.readlink(f"/proc/{pid}/fd/{name}")
                    if link in outer or not link.startswith("pipe:"):
                        continue
                    copy = calls.take_descriptor(pidfd, int(name))
                    try:
                        yield copy
                    finally:
                        os.close(copy)
        finally:
            os.close(pidfd)


def taken(copy: int) -> bytes:
    """What waits there; nothing at the end that writes."""
    os.set_blocking(copy, False)
    try:
        return os.read(copy, LARGEST)
    except OSError:
        return b""
    finally:
        os.set_blocking(copy, True)


def read_there(arena: Arena) -> Attempt:
    """Copy the descriptors of every process, and take out what waits in a pipe."""
    with talking(arena) as target:
        found = [taken(copy) for copy in copies(target)]
        if any(target.secret in data for data in found):
            return succeeded("read what waited there")
        return failed(f"{sum(map(len, found)):,} bytes taken out, the secret is not among them")


def put_there(arena: Arena) -> Attempt:
    """Take out what waits, put something else in, and have it read."""
    other = Secret.fresh("battery").value
    with talking(arena) as target:
        for copy in copies(target):
            taken(copy)
        for copy in copies(target):
            with contextlib.suppress(OSError):
                os.write(copy, other + b"\n")
                break
        for _ in range(2):
            target.tell("go on")
        wait_for(lambda: b"done" in target.output.read_bytes() or not target.alive(), SECONDS)
        said = target.output.read_bytes()
        if other in said:
            return succeeded("the other process read it, and took it")
        if target.secret in said:
            raise ValueError("what was taken out was read all the same")
        return failed("the other process noticed it" if b"noticed" in said else "the other process read nothing")


SHIELDED_PIPES = (
    Attack(name="pipe-read", what="read what its processes say by pipes", source=GETFD, run=read_there),
    deception("pipe-write", "put something into its pipes", GETFD, put_there),
)
