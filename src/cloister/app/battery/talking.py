"""A program and the person at its console, with the host's relay between both, which is the attacker's.

Natively the relay carries bytes, as a pseudoterminal or a pipe does; in the enclave's arm records, which the person
seals and opens as `cloister attach` does.
"""

import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from cloister.app.battery.keeping import check_guard
from cloister.app.battery.target import Arena, Start, Target
from cloister.errors import LaunchError
from cloister.observe.prove.grounds.gate import Gate
from cloister.shield.console.records import ConsoleBroken, InputRecords, OutputKind, OutputRecords, Piece
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import ConsoleEntry

__all__ = ["Talk", "talk"]

SECONDS: Final = 20.0
LARGEST: Final = 1 << 17
TALKER: Final = ("/bin/sh", "-c", 'echo hello; while read -r L; do echo "took $L"; done; echo bye')


@dataclass(kw_only=True)
class Person:
    """What is typed and read; without a key in the clear."""

    key: bytes = field(repr=False)
    read: bytes = b""
    ended: bool = False

    def __post_init__(self) -> None:
        if self.key:
            self.typed = InputRecords(self.key, terminal=False)
            self.printed = OutputRecords(self.key)

    def messages(self, line: bytes) -> list[bytes]:
        """A line as it is sent."""
        return list(self.typed.records(line)) if self.key else [line]

    def end(self) -> list[bytes]:
        """That no more comes, as it is sent; in the clear it is the end of the connection."""
        return [self.typed.end()] if self.key else []

    def take(self, message: bytes) -> None:
        """What came. ConsoleBroken."""
        if not self.key:
            self.read += message
            return
        for piece in self.printed.take(message):
            self.take_piece(piece)

    def take_piece(self, piece: Piece) -> None:
        """One record."""
        if piece.kind is OutputKind.ALERT:
            raise ConsoleBroken(piece.data.decode(errors="replace"))
        if piece.kind in {OutputKind.STDOUT, OutputKind.STDERR}:
            self.read += piece.data
        self.ended = self.ended or piece.kind is OutputKind.END

    def close(self) -> None:
        """Nothing more comes. ConsoleBroken if that is not the end of the program's own."""
        if self.key and not self.ended:
            raise ConsoleBroken("the program's end was not confirmed, or output is missing")


@dataclass(kw_only=True)
class Talk:
    """One conversation. `relayed` is all that passed the relay."""

    target: Target
    person: Person
    into: socket.socket
    out: socket.socket
    relayed: list[bytes] = field(default_factory=list, repr=False)
    change: Callable[[bytes], list[bytes]] = lambda message: [message]
    """What the relay gives the person in place of a message."""

    def type(self, line: bytes) -> list[bytes]:
        """A line, typed and relayed: the messages."""
        sent = self.person.messages(line)
        self.relay(sent)
        return sent

    def relay(self, messages: list[bytes]) -> None:
        """Give the program these messages, whoever made them."""
        for message in messages:
            self.relayed.append(message)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.into.sendall(message)

    def hear(self, what: bytes) -> None:
        """Until the person has read this. ConsoleBroken; LaunchError if it does not come."""
        while what not in self.person.read:
            if not self.receive():
                raise LaunchError("the program ended early")

    def receive(self) -> bool:
        """One message to the person; false at the end."""
        try:
            message = self.out.recv(LARGEST)
        except TimeoutError:
            raise LaunchError("the program says nothing") from None
        except ConnectionResetError:
            message = b""
        if message:
            self.relayed.append(message)
            for one in self.change(message):
                self.person.take(one)
        return bool(message)

    def finish(self) -> bytes:
        """No more is typed; all that the person read. ConsoleBroken."""
        self.relay(self.person.end())
        with contextlib.suppress(OSError):
            self.into.shutdown(socket.SHUT_WR)
        while self.receive():
            pass
        self.person.close()
        return self.person.read


@contextlib.contextmanager
def talk(
    arena: Arena, secret: bytes, gate: Gate | None = None, follow: Callable[[Target], object] = lambda _: None
) -> Iterator[Talk]:
    """A new one; the program has said hello."""
    check_guard(arena)
    key = console_key(arena)
    kind = socket.SOCK_SEQPACKET if key else socket.SOCK_STREAM
    into, out = socket.socketpair(socket.AF_UNIX, kind), socket.socketpair(socket.AF_UNIX, kind)
    how = replace(shielded(key), streams=(into[1].fileno(), out[1].fileno()), gate=gate)
    with into[0], out[0], contextlib.ExitStack() as stack:
        for ours in (into[0], out[0]):
            ours.settimeout(SECONDS)
        with into[1], out[1]:
            target = stack.enter_context(arena.started(TALKER, secret, how=how))
        follow(target)
        made = Talk(target=target, person=Person(key=key), into=into[0], out=out[0])
        made.hear(b"hello\n")
        yield made


def console_key(arena: Arena) -> bytes:
    """In the enclave's arm, a new one."""
    return secrets.token_bytes(32) if arena.enclaved else b""


def shielded(key: bytes) -> Start:
    """How the program is started."""
    if not key:
        return Start()
    block = ShieldBlock(strict=False, network=False, entries=(ConsoleEntry(key=key),))
    return Start(shield=block.serialize(), console=True)
