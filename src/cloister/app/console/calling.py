"""The person's connection to a program's console: evidence is demanded and verified, the console's key is sealed.

`cloister attach` is a small broker: its nonce, its policy, and what it releases is a key for the console.
"""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cloister.attest.console_link import Call, Frames, LinkFrame, LinkKind, packed
from cloister.attest.console_start import parse_address
from cloister.attest.frames import Statement, refusal, report_data_of
from cloister.broker.sender import Sender
from cloister.errors import CloisterError, Denied, NotAttested, ParseError, Undecided, UsageError
from cloister.model import Challenge
from cloister.shield.console.block import console_block
from cloister.shield_policy.block import ShieldBlock

__all__ = ["Console", "Judge", "Wish", "attach"]

Judge = Callable[[bytes, Challenge], None]
"""Verifies and appraises evidence against a challenge; raises for whatever is not to be believed."""
SECONDS: Final = 60.0
KEY: Final = 32
SHA384: Final = 48


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the person wants. Without `command` the arguments are those that the host was given."""

    terminal: bool
    rows: int = 0
    columns: int = 0
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    shield: ShieldBlock = field(default_factory=lambda: ShieldBlock(strict=False, network=False), repr=False)


@dataclass(kw_only=True)
class Console:
    """A connection that is sealed from end to end. `already` was read of it before."""

    sock: socket.socket
    frames: Frames
    already: list[LinkFrame]
    key: bytes = field(repr=False)


def attach(address: str, wish: Wish, judge: Judge, sender: Sender) -> Console:
    """Call, verify, seal. CloisterError says why not; then the host is told too."""
    sock = _connected(address)
    try:
        return _converse(sock, wish, judge, sender)
    except BaseException as error:
        if isinstance(error, CloisterError) and not isinstance(error, Undecided):
            with contextlib.suppress(OSError):
                sock.sendall(packed(LinkKind.REFUSED, refusal(str(error), error.exit_code)))
        sock.close()
        raise


def _connected(address: str) -> socket.socket:
    where = parse_address(address)
    try:
        if not isinstance(where, str):
            return socket.create_connection(where, SECONDS)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(SECONDS)
        sock.connect(where)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(f"no console is waiting at {address}: {reason}") from None
    return sock


def _converse(sock: socket.socket, wish: Wish, judge: Judge, sender: Sender) -> Console:
    call = Call(
        nonce=secrets.token_bytes(32), terminal=wish.terminal, rows=min(wish.rows, 65535),
        columns=min(wish.columns, 65535),
    )  # fmt: skip
    sock.sendall(packed(LinkKind.CALL, call.serialize()))
    frames = Frames()
    answer, *already = _answer(sock, frames)
    enclave, evidence = answer.body[:KEY], answer.body[KEY:]
    if len(enclave) != KEY:
        raise ParseError("frame of the console", "EVIDENCE", 0, "has no key")
    statement = Statement(executable=b"", libraries=b"", key=enclave)
    judge(evidence, Challenge(report_data_of(call.question, statement)[:SHA384]))
    key = secrets.token_bytes(KEY)
    block = console_block(
        key, terminal=wish.terminal, rows=wish.rows, columns=wish.columns, argv=wish.command,
        environment=wish.environment, shield=wish.shield,
    )  # fmt: skip
    sock.sendall(packed(LinkKind.SEALED, sender.seal(statement.jwk, block)))
    sock.settimeout(None)
    return Console(sock=sock, frames=frames, already=already, key=key)


def _answer(sock: socket.socket, frames: Frames) -> list[LinkFrame]:
    """Evidence, and whatever came with it."""
    end = time.monotonic() + SECONDS
    found: list[LinkFrame] = []
    while not found:
        sock.settimeout(max(end - time.monotonic(), 0.001))
        try:
            data = sock.recv(1 << 16)
        except OSError as error:
            raise Undecided(f"the host does not answer: {error.strerror or error}") from None
        if not data:
            raise Undecided("the host hung up before it showed any evidence")
        found = frames.feed(data)
    if found[0].kind is LinkKind.REFUSED:
        text = found[0].body[4:].decode(errors="replace")
        code = int.from_bytes(found[0].body[:4], "little")
        kind = {Denied.exit_code: Denied, NotAttested.exit_code: NotAttested}.get(code, Undecided)
        raise kind(f"the host says: {text}")
    if found[0].kind is not LinkKind.EVIDENCE:
        raise ParseError("frame of the console", "kind", 0, f"is {found[0].kind.name}, not EVIDENCE")
    return found
