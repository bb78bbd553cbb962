"""The port on which Gramine's clients are served: a thread that accepts, and one for each of a few connections."""

import contextlib
import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cloister.app.gramine.gate import CertificateJudge, gated_context
from cloister.app.gramine.protocol import answer, read_request
from cloister.broker.flow import Broker
from cloister.errors import CloisterError, NotAttested
from cloister.seal.wiping import wiped
from cloister.serve.appraiser import Appraised, Appraising
from cloister.tls.identity import now

__all__ = ["Gramine", "serving"]

PATIENCE: Final = 10.0
"""Seconds that a client has for the handshake, and again for its request."""
CONNECTIONS: Final = 16
"""At once. Each costs a verification; whoever comes when there are so many waits in the kernel's queue."""
POLL: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Gramine:
    """What is served: the newest version of the secret `name`, to whom its rule allows it.

    `as_string` puts a zero byte behind it, as the library wants that runs before a program's main. `tell` takes an
    event and its members, for the server's log.
    """

    appraiser: Appraising
    broker: Broker
    certificate: Path
    key: Path
    name: str
    as_string: bool
    tell: Callable[..., None]
    clock: Callable[[], datetime] = now

    def serve(self, connection: socket.socket) -> None:
        """One client, from its handshake to its secret. Raises nothing: what goes wrong is told to the log."""
        request = str(uuid.uuid4())
        try:
            connection.settimeout(PATIENCE)
            self._attested(connection, request)
        except CloisterError as error:
            self.tell("gramine", request=request, verdict="refused", kind=type(error).__name__)
        except (OSError, ValueError) as error:  # the peer went, or speaks no TLS
            self.tell("gramine", request=request, verdict="broken", kind=type(error).__name__)
        finally:
            connection.close()

    def _attested(self, connection: socket.socket, request: str) -> None:
        judge = CertificateJudge(self.appraiser, self.clock)
        context, gate = gated_context(judge, self.certificate, self.key)
        try:
            with context.wrap_socket(connection, server_side=True) as tls:
                if gate.certificate is None or judge.appraised is None or tls.session_reused:
                    raise NotAttested("the handshake ended without a certificate")
                read_request(tls)
                self._hand_over(tls, request, judge.appraised)
                with contextlib.suppress(OSError):
                    tls.unwrap()
        except ssl.SSLError:
            if gate.refusal is not None:
                self._note_stranger(request)
                raise gate.refusal from None
            raise

    def _hand_over(self, tls: ssl.SSLSocket, request: str, appraised: Appraised) -> None:
        self.broker.remember(appraised.token, appraised.result)
        handed = self.broker.hand_over(request=request, token=appraised.token, name=self.name)
        with wiped(handed.secret):
            answer(tls, handed.secret, as_string=self.as_string)
        self.tell("gramine", request=request, verdict="released", secret=handed.name, version=handed.version)

    def _note_stranger(self, request: str) -> None:
        """The audit log has those who were refused, too, as many as it takes of strangers."""
        with contextlib.suppress(CloisterError):
            self.broker.hand_over(request=request, token=b"", name=self.name)


@contextlib.contextmanager
def serving(gramine: Gramine, listener: socket.socket) -> Iterator[None]:
    """Serve in the background while the block runs; connections that have begun are ended with it."""
    stop, slots = threading.Event(), threading.Semaphore(CONNECTIONS)
    pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="gramine")

    def one(connection: socket.socket) -> None:
        try:
            gramine.serve(connection)
        finally:
            slots.release()

    def accept() -> None:
        listener.settimeout(POLL)
        while not stop.is_set():
            if not slots.acquire(timeout=POLL):
                continue
            try:
                pool.submit(one, listener.accept()[0])
            except OSError:  # nobody came, or nobody can
                slots.release()

    thread = threading.Thread(target=accept, name="gramine-accept")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        pool.shutdown(wait=True)
