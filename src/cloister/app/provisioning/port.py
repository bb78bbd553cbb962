"""A port on which attested clients are served: a thread that accepts, and one for each of a few connections."""

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
from typing import Final, Protocol

from cloister.app.provisioning.gate import CertificateJudge, gated_context
from cloister.broker.flow import Broker, Handed
from cloister.errors import CloisterError, NotAttested
from cloister.serve.appraiser import Appraised, Appraising
from cloister.tls.identity import now

__all__ = ["PATIENCE", "Ask", "Port", "Speaks", "serving"]

PATIENCE: Final = 10.0
"""Seconds that a client has for the handshake, and again for its request."""
CONNECTIONS: Final = 16
"""At once. Each costs a verification; whoever comes when there are so many waits in the kernel's queue."""
POLL: Final = 0.5

Ask = Callable[[str], Handed]
"""Asks the broker for a secret by its name: for this client, or the reason why not. What comes must be wiped."""


class Speaks(Protocol):
    """What is said on a connection that has begun."""

    @property
    def event(self) -> str:
        """What the server's log calls it."""

    @property
    def asked(self) -> str:
        """The secret that clients are noted to have asked for if they were refused before they could name one."""

    def answer(self, tls: ssl.SSLSocket, ask: Ask) -> None:
        """One request and its answer. CloisterError if there was none."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """What is served, in what protocol. `tell` takes an event and its members, for the server's log."""

    appraiser: Appraising
    broker: Broker
    certificate: Path
    key: Path
    speaks: Speaks
    tell: Callable[..., None]
    clock: Callable[[], datetime] = now

    def serve(self, connection: socket.socket) -> None:
        """One client, from its handshake to its secret. Raises nothing: what goes wrong is told to the log."""
        request = str(uuid.uuid4())
        try:
            connection.settimeout(PATIENCE)
            self._attested(connection, request)
        except CloisterError as error:
            self.tell(self.speaks.event, request=request, verdict="refused", kind=type(error).__name__)
        except (OSError, ValueError) as error:  # the peer went, or speaks no TLS
            self.tell(self.speaks.event, request=request, verdict="broken", kind=type(error).__name__)
        finally:
            connection.close()

    def _attested(self, connection: socket.socket, request: str) -> None:
        judge = CertificateJudge(self.appraiser, self.clock)
        context, gate = gated_context(judge, self.certificate, self.key)
        try:
            with context.wrap_socket(connection, server_side=True) as tls:
                appraised = judge.appraised
                if gate.certificate is None or appraised is None or tls.session_reused:
                    raise NotAttested("the handshake ended without a certificate")
                self.speaks.answer(tls, lambda name: self._hand_over(request, appraised, name))
                with contextlib.suppress(OSError):
                    tls.unwrap()
        except ssl.SSLError:
            if gate.refusal is not None:
                self._note_stranger(request)
                raise gate.refusal from None
            raise

    def _hand_over(self, request: str, appraised: Appraised, name: str) -> Handed:
        self.broker.remember(appraised.token, appraised.result)
        handed = self.broker.hand_over(request=request, token=appraised.token, name=name)
        self.tell(self.speaks.event, request=request, verdict="released", secret=handed.name, version=handed.version)
        return handed

    def _note_stranger(self, request: str) -> None:
        """The audit log has those who were refused, too, as many as it takes of strangers."""
        with contextlib.suppress(CloisterError):
            self.broker.hand_over(request=request, token=b"", name=self.speaks.asked)


@contextlib.contextmanager
def serving(port: Port, listener: socket.socket) -> Iterator[None]:
    """Serve in the background while the block runs; connections that have begun are ended with it."""
    stop, slots = threading.Event(), threading.Semaphore(CONNECTIONS)
    pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix=port.speaks.event)

    def one(connection: socket.socket) -> None:
        try:
            port.serve(connection)
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

    thread = threading.Thread(target=accept, name=f"{port.speaks.event}-accept")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        pool.shutdown(wait=True)
