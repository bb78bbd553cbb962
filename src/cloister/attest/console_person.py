"""Whoever called `cloister attach`: where an enclave with a shielded console gets its start block from.

The person plays the broker's part: the nonce is theirs, the evidence goes to them, and what they seal for the enclave
goes to it. Then their connection is the relay's (`console_relay`).
"""

import contextlib
import select
import socket
import time
from collections import deque
from typing import Final

from cloister.attest.broker_client import Challenge
from cloister.attest.console_link import Call, Frames, LinkFrame, LinkKind, packed
from cloister.attest.console_relay import Relay
from cloister.attest.frames import Statement, refusal
from cloister.errors import CloisterError, Denied, NotAttested, ParseError, Undecided

__all__ = ["Person", "wait_for_person"]

CALL_SECONDS: Final = 5.0
"""Who calls says at once what they want."""
ANSWER_SECONDS: Final = 60.0
"""For verifying the evidence."""


class Person:
    """One connection, and the `Source` of one program."""

    def __init__(self, sock: socket.socket) -> None:
        """Hear what the person wants. ParseError, Undecided."""
        self._sock, self._frames, self._frames_read = sock, Frames(), deque[LinkFrame]()
        self.relay: Relay | None = None
        """Who gets the connection when the start block is sealed."""
        self.begun = False
        self.call = Call.parse(self._hear(CALL_SECONDS, LinkKind.CALL).body)

    def challenge(self) -> Challenge:
        """The person's nonce."""
        return Challenge(self.call.question, "")

    def provision(self, challenge: Challenge, statement: Statement, evidence: bytes) -> bytes:
        """What the person seals for the enclave, once they believe the evidence. Denied, Undecided."""
        del challenge  # it is the same always, and answered once
        if self.begun:
            raise Undecided("the person at the console seals one start block, and has")
        self._say(LinkKind.EVIDENCE, statement.key + evidence)
        sealed = self._hear(ANSWER_SECONDS, LinkKind.SEALED).body
        self.begun = True
        if self.relay is not None:
            self.relay.begin(self._sock, self._frames, list(self._frames_read))
        return sealed

    def report_root(self, report: bytes) -> bytes:
        """Denied: a person at a console keeps no roots of volumes."""
        del report
        raise Denied("nobody keeps roots of volumes for a program whose console is shielded by a person")

    def end(self) -> None:
        """The program has ended: the last records are sent; or, if it never began, the person is told."""
        if self.begun and self.relay is not None:
            self.relay.end()
            return
        text = "the program did not start; `cloister run` says why, on its own standard error"
        with contextlib.suppress(OSError):
            self._say(LinkKind.REFUSED, refusal(text, Undecided.exit_code))
        self._sock.close()

    def _say(self, kind: LinkKind, body: bytes) -> None:
        self._sock.settimeout(CALL_SECONDS)
        self._sock.sendall(packed(kind, body))

    def _hear(self, seconds: float, wanted: LinkKind) -> LinkFrame:
        end = time.monotonic() + seconds
        while not self._frames_read:
            self._sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self._sock.recv(1 << 16)
            except OSError as error:
                raise Undecided(f"the person at the console does not answer: {error.strerror or error}") from None
            if not data:
                raise Undecided("the person at the console hung up")
            self._frames_read.extend(self._frames.feed(data))
        frame = self._frames_read.popleft()
        if frame.kind is LinkKind.REFUSED:
            code, text = int.from_bytes(frame.body[:4], "little"), frame.body[4:].decode(errors="replace")
            kind = {Denied.exit_code: Denied, NotAttested.exit_code: NotAttested}.get(code, Undecided)
            raise kind(f"the person at the console says: {text}")
        if frame.kind is not wanted:
            raise ParseError("frame of the console", "kind", 0, f"is {frame.kind.name}, not {wanted.name}")
        return frame


def wait_for_person(listener: socket.socket, gone: int) -> Person | None:
    """The first who calls in good order. None if `gone`, a pidfd, ends before."""
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    waiting.register(gone, select.POLLIN)
    while True:
        if gone in {descriptor for descriptor, _ in waiting.poll()}:
            return None
        try:
            sock, _ = listener.accept()
        except OSError:
            time.sleep(0.01)
            continue
        try:
            return Person(sock)
        except CloisterError:
            sock.close()
