"""What the carrier answers: one conversation per connection, begun by the kind of its first frame.

    HELLO            the program's start: manifest, statement, challenge, evidence, what the broker sealed; once
    REFRESH          the same again for a program that runs: a statement with a new key, and what the broker seals now
    EVIDENCE_WANTED  a program inside asks for evidence over report data of its own
    ROOT             the runtime reports the newest root of a volume, which the broker keeps and acknowledges

Whatever goes wrong is told by REFUSED, in words for a person, and ends the conversation. Its code tells a program that
runs whether its access has ended (4 denied, 5 not attested) or is only undecided (6).
"""

import contextlib
import hmac
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from cloister.attest.attester import Attester
from cloister.attest.broker_client import Challenge
from cloister.attest.flow import Flow
from cloister.attest.frames import Frame, Hangup, Hello, Kind, Statement, receive, refusal, report_data_of, send
from cloister.attest.peer import Process, connected
from cloister.errors import (
    CloisterError,
    Denied,
    EndorsementUnavailable,
    NotAttested,
    ParseError,
    Undecided,
    VerificationError,
)

__all__ = ["Conversations", "Source", "words"]

T = TypeVar("T")
SECONDS: Final = 60.0
"""For each frame: the runtime measures its program and all its libraries between two of them."""
FIRST_SECONDS: Final = 5.0
"""For the first frame: who connects has something to say."""
PAUSE: Final = 5.0
"""Seconds in which a broker that did not answer is left alone."""
LINGER_SECONDS: Final = 0.5
MOST_DRAINED: Final = 16


class Source(Protocol):
    """Where secrets come from (`broker_client.Provider`)."""

    def challenge(self) -> Challenge:
        """Begin."""

    def provision(self, challenge: Challenge, statement: Statement, evidence: bytes) -> bytes:
        """What is sealed to the statement's key."""

    def report_root(self, report: bytes) -> bytes:
        """What acknowledges a report of a volume's root."""


@dataclass(slots=True)
class Line:
    """One connection; every frame is noted. `other` is who is at its other end."""

    sock: socket.socket
    flow: Flow
    other: str = "runtime"
    seconds: float = SECONDS

    def hear(self, *wanted: Kind) -> Frame:
        """The next frame."""
        frame = receive(self.sock, self.seconds, *wanted)
        self.flow.note(self.other, "carrier", frame.kind.name, frame.body)
        return frame

    def say(self, kind: Kind, body: bytes) -> None:
        """Send a frame."""
        self.flow.note("carrier", self.other, kind.name, body)
        send(self.sock, kind, body, self.seconds)


@dataclass(slots=True)
class Away:
    """Until when the broker is not asked again."""

    until: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Conversations:
    """What all conversations of one carrier share. `manifest` are the bytes that the runtime reads.

    A program that runs waits for its refreshed files in open(2): it is served by `again`, which has less patience than
    `source`, and if that does not answer, by nobody for a while.
    """

    attester: Attester
    source: Source
    again: Source | None = None
    manifest: bytes = field(repr=False)
    flow: Flow = field(default_factory=Flow)
    seconds: float = SECONDS
    first_seconds: float = FIRST_SECONDS
    pause: float = PAUSE
    away: Away = field(default_factory=Away)

    def stranger(self, sock: socket.socket) -> tuple[str, int] | None:
        """What to tell who is neither the process that was started nor of its tree; None for who may speak."""
        try:
            with connected(sock) as peer:
                self.attester.expect(peer)
        except CloisterError as error:
            return words(error), error.exit_code
        except OSError as error:
            return f"undecided: the attester failed: {error.strerror or error}", Undecided.exit_code
        return None

    def serve(self, sock: socket.socket) -> None:
        """Answer one connection, and close it."""
        with sock:
            line = Line(sock, self.flow, seconds=self.seconds)
            try:
                with connected(sock) as peer:
                    self._converse(line, peer)
            except Hangup:
                pass
            except CloisterError as error:
                self._refuse(line, words(error), error.exit_code)
            except OSError as error:
                self._refuse(line, f"undecided: the attester failed: {error.strerror or error}")
            except Exception as error:  # noqa: BLE001 - the runtime waits for an answer, whatever is wrong here
                self._refuse(line, f"undecided: the attester failed: {type(error).__name__}")

    def _converse(self, line: Line, peer: Process) -> None:
        frame = receive(line.sock, self.first_seconds, Kind.HELLO, Kind.REFRESH, Kind.EVIDENCE_WANTED, Kind.ROOT)
        line.other = "program" if frame.kind is Kind.EVIDENCE_WANTED else "runtime"
        self.flow.note(line.other, "carrier", frame.kind.name, frame.body)
        if frame.kind is Kind.HELLO:
            self._start(line, peer, Hello.parse(frame.body))
        elif frame.kind is Kind.REFRESH:
            self._refresh(line, peer, Statement.parse(frame.body))
        elif frame.kind is Kind.ROOT:
            self.attester.check(peer)
            line.say(Kind.ROOTED, self._asking_again(lambda source: source.report_root(frame.body)))
        else:
            self.attester.check(peer)
            line.say(Kind.EVIDENCE, self.attester.evidence(frame.body))

    def _start(self, line: Line, peer: Process, hello: Hello) -> None:
        self.attester.begin(peer, guarded=hello.guarded)
        try:
            line.say(Kind.MANIFEST, self.manifest)
            statement = Statement.parse(line.hear(Kind.STATEMENT).body)
            self.attester.believe(statement)
            self._provision(line, peer, statement, self.source)
        except BaseException:
            self.attester.end()  # the runtime ends without its secrets, and nothing else may speak in its place
            raise

    def _refresh(self, line: Line, peer: Process, statement: Statement) -> None:
        self._asking_again(lambda source: self._provision(line, peer, statement, source))

    def _asking_again(self, work: Callable[[Source], T]) -> T:
        """For a program that runs, and waits: Undecided at once if the broker did not answer a moment ago."""
        if time.monotonic() < self.away.until:
            raise Undecided("the broker did not answer a moment ago")
        try:
            return work(self.again or self.source)
        except Undecided:
            self.away.until = time.monotonic() + self.pause
            raise

    def _provision(self, line: Line, peer: Process, statement: Statement, source: Source) -> None:
        """From the statement on, the first conversation and all later ones are the same."""
        self.attester.check(peer, statement)
        challenge = source.challenge()
        line.say(Kind.NONCE, challenge.nonce.encode())
        report_data = line.hear(Kind.QUOTE).body
        if not hmac.compare_digest(report_data, report_data_of(challenge.nonce, statement)):
            raise NotAttested("the report data do not bind this challenge to this key")
        evidence = self.attester.evidence(report_data)
        line.say(Kind.SEALED, source.provision(challenge, statement, evidence))

    def _refuse(self, line: Line, text: str, code: int = Undecided.exit_code) -> None:
        line.seconds = self.first_seconds
        with contextlib.suppress(OSError):
            line.say(Kind.REFUSED, refusal(text, code))
            # Who is refused while it still writes shall find the refusal, not a broken pipe.
            line.sock.shutdown(socket.SHUT_WR)
            line.sock.settimeout(LINGER_SECONDS)
            for _ in range(MOST_DRAINED):
                if not line.sock.recv(1 << 16):
                    break


def words(error: CloisterError) -> str:
    """What a person reads first: denied, not attested, or undecided, which are three different things to do about."""
    for kind, word in (
        (Denied, "denied"),
        (VerificationError, "not attested"),
        (EndorsementUnavailable, "undecided"),
        (ParseError, "not understood"),
    ):
        if isinstance(error, kind):
            return f"{word}: {error}"
    return str(error)
