"""SIGHUP: policy, collateral and trusted keys are read again, without a request noticing.

Requests that are being answered end as they began. What cannot be read changes nothing: what was in force stays, and
the log says so; the words of the error go to standard error, as they would at the start.
"""

import contextlib
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from cloister._x509 import Certificate
from cloister.envelope import Envelope
from cloister.errors import CloisterError
from cloister.result.signing import SigningKey
from cloister.serve.appraiser import Appraised, Appraiser
from cloister.serve.kbs_messages import Attestation
from cloister.verifier import Verdict

__all__ = ["LiveAppraiser", "Reloading"]

Maker = Callable[[SigningKey], Appraiser]


class LiveAppraiser:
    """The appraiser that is in force; each request has one from its beginning to its end."""

    def __init__(self, first: Appraiser) -> None:
        self.now = first

    @property
    def key(self) -> SigningKey:
        """It signs the results, and stays."""
        return self.now.key

    def of_attestation(self, message: Attestation, nonce: bytes) -> Appraised:
        """As `Appraiser` has it."""
        return self.now.of_attestation(message, nonce)

    def of_evidence(self, evidence: bytes, nonce: bytes) -> Appraised:
        """As `Appraiser` has it."""
        return self.now.of_evidence(evidence, nonce)

    def of_envelope(self, envelope: Envelope, certificate: Certificate) -> tuple[Verdict, Appraised]:
        """As `Appraiser` has it."""
        return self.now.of_envelope(envelope, certificate)


class Reloading:
    """Reads the files with `read`, now and at each SIGHUP. `tell` takes an event's name and its members, for the log.

    Raises what `read` raises, this first time.
    """

    def __init__(self, read: Callable[[], Maker], tell: Callable[..., None]) -> None:
        self._read, self._tell = read, tell
        self._maker = read()
        self._live: list[LiveAppraiser] = []

    def appraiser(self, key: SigningKey) -> LiveAppraiser:
        """One that signs with this key, and follows."""
        made = LiveAppraiser(self._maker(key))
        self._live.append(made)
        return made

    def reload(self) -> bool:
        """Read again. False, and nothing has changed, if that does not succeed."""
        try:
            maker = self._read()
            made = [(live, maker(live.key)) for live in self._live]
        except Exception as error:  # noqa: BLE001 - whatever it is, what was in force stays
            if isinstance(error, CloisterError):
                sys.stderr.write(f"cloister serve: not reloaded: {error}\n")
            self._tell("reload", verdict="refused", kind=type(error).__name__)
            return False
        self._maker = maker
        for live, one in made:
            live.now = one
        self._tell("reload", verdict="in force")
        return True

    @contextlib.contextmanager
    def on_hangup(self) -> Iterator[None]:
        """Reload at SIGHUP, in a thread of its own, one after the other. For the main thread."""
        asked: queue.SimpleQueue[str] = queue.SimpleQueue()  # its `put` may be interrupted by another

        def work() -> None:
            while asked.get():
                self.reload()

        thread = threading.Thread(target=work, name="reload", daemon=True)
        before = signal.signal(signal.SIGHUP, lambda _number, _frame: asked.put("again"))
        thread.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # a worker begins with it blocked
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)
            asked.put("")
            thread.join()
