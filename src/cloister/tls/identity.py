"""Who this end of a connection is: a key that only this process has, with evidence over it, renewed before it is old.

Python's `ssl` loads keys from files only. They are handed over in a memfd (memfd_create(2)) that is named through
/proc/self/fd and closed at once: no file system has it. What stands in it is encrypted PKCS #8 under a random
passphrase, so that not even swapped pages of the memfd hold the key. OpenSSL's copy in memory is like any other secret
of this process: protect the process (`cloister run`, or a TEE).
"""

import os
import ssl
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cloister.errors import UsageError
from cloister.tls.certificate import Credentials, make_credentials, produced
from cloister.tls.ports import EvidenceProvider

__all__ = ["Identity", "load", "now"]

DAY: Final = timedelta(days=1)
SKEW: Final = timedelta(minutes=5)
"""How far a peer's clock may be behind."""


def now() -> datetime:
    """The clock where none is given."""
    return datetime.now(UTC)


class Identity:
    """Makes credentials with `provider` when they are first needed, and new ones, key and all, when they grow old.

    `names`: subjectAltName, for peers that want one; it proves nothing. `lifetime` of a certificate; the last third of
    it is for renewing. Safe for threads. What the provider raises comes out of the handshake that needed it, unless the
    certificate at hand is still valid; then it serves on and `renewal_error` keeps the reason.
    """

    def __init__(
        self,
        provider: EvidenceProvider,
        *,
        names: Sequence[str] = (),
        lifetime: timedelta = DAY,
        clock: Callable[[], datetime] = now,
    ) -> None:
        if lifetime <= timedelta(0):
            raise UsageError(f"a certificate's lifetime of {lifetime}: give more than nothing")
        self.provider, self.names, self.lifetime, self.clock = provider, tuple(names), lifetime, clock
        self.renewal_error: Exception | None = None
        self._credentials: Credentials | None = None
        self._lock = threading.Lock()

    def credentials(self) -> Credentials:
        """The present ones; renewed first if they are due."""
        with self._lock:
            held, at = self._credentials, self.clock()
            if held is not None and at < held.certificate.not_after - self.lifetime / 3:
                return held
            try:
                return self._renew(at)
            except Exception as error:
                if held is None or at >= held.certificate.not_after:
                    raise
                self.renewal_error = error
                return held

    def renew(self) -> Credentials:
        """New credentials at once: after the platform's TCB has changed, or from a thread of your own ahead of time."""
        with self._lock:
            return self._renew(self.clock())

    def evidence(self, digest: bytes) -> bytes:
        """Evidence over a digest of at most 64 bytes: the answer to a challenge."""
        return produced(self.provider, digest).evidence

    def _renew(self, at: datetime) -> Credentials:
        self._credentials = make_credentials(self.provider, names=self.names, valid=(at - SKEW, at + self.lifetime))
        self.renewal_error = None
        return self._credentials


def load(context: ssl.SSLContext, credentials: Credentials) -> None:
    """Give a context the certificate and its key, through memory."""
    file = os.memfd_create("ra-tls", os.MFD_CLOEXEC)
    try:
        with open(file, "wb", closefd=False) as writing:
            writing.write(credentials.pem)
        context.load_cert_chain(f"/proc/self/fd/{file}", password=credentials.passphrase)
    finally:
        os.close(file)
