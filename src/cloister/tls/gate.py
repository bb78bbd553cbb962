"""The check inside the handshake: the peer's certificate is appraised when it arrives, before OpenSSL decides about it.

Python's `ssl` has no verify callback. It has what one can be made of: a callback that sees each handshake message
before OpenSSL processes it (`SSLContext._msg_callback`, in CPython since 3.8), and a trust store that may grow. Each
connection has a context of its own, whose store is empty. When the Certificate message comes, the gate appraises it,
and only if that succeeds puts this one certificate into the store. OpenSSL, told to require a trusted certificate, then
goes on: it checks that the peer holds the key (CertificateVerify) and finishes. Otherwise it sends an alert, and the
handshake fails on this side before a byte of the application was sent or read.

Whatever goes wrong here leaves the store empty: a callback that is never called, an exception in it, a message that
cannot be read, a resumed session without a certificate.
"""

import ssl
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from cloister._x509 import Certificate
from cloister.errors import CloisterError
from cloister.tls.messages import CERTIFICATE, certificates_in
from cloister.tls.refusal import PeerRefused
from cloister.verifier import Verdict

__all__ = ["Gate", "Judge", "watch"]

HANDSHAKE: Final = 22
"""ContentType (RFC 8446, section 5.1)."""

Trust = Callable[[bytes], None]
"""Puts one certificate (DER) into the connection's trust store."""


class Judge(Protocol):
    """What decides about a peer: `Demands`, or another way to a verdict."""

    def appraise(self, certificates: Sequence[bytes]) -> Verdict:
        """The verdict about the peer's certificates (DER), its own first. CloisterError refuses it."""


class Gate:
    """Appraises the peer's certificate in one handshake.

    With `tls12` messages of TLS 1.2 are read too, for peers that speak nothing newer. `certificate` and `verdict` are
    set if it was accepted, `refusal` if it was not; none of them before it has come.
    """

    def __init__(self, demands: Judge, trust: Trust, *, tls12: bool = False) -> None:
        self.demands, self._trust, self._tls12 = demands, trust, tls12
        self.certificate: Certificate | None = None
        self.verdict: Verdict | None = None
        self.refusal: PeerRefused | None = None

    def receive(self, message: bytes, *, tls12: bool = False) -> None:
        """Decide about a Certificate message. Raises nothing: OpenSSL refuses what is not in the store."""
        if self.certificate is not None or self.refusal is not None:
            self.refusal = PeerRefused("the TLS peer sent a second Certificate message")
            return
        try:
            certificates = certificates_in(message, tls12=tls12 and self._tls12)
            verdict = self.demands.appraise(certificates)
            self._trust(certificates[0])
        except PeerRefused as refusal:
            self.refusal = refusal.again()
        except CloisterError as error:
            self.refusal = PeerRefused.because(error).again()
        except Exception as error:  # noqa: BLE001 - what nobody foresaw must refuse too, and be told to whoever connects
            self.refusal = PeerRefused(f"the TLS peer's certificate could not be handled: {error!r}")
        else:
            self.certificate, self.verdict = Certificate.parse(certificates[0]), verdict


def watch(context: ssl.SSLContext, gate: Gate) -> None:
    """Show the gate each Certificate message that arrives on this context's one connection."""

    def seen(
        _connection: object, direction: str, version: object, content: object, message: object, data: bytes
    ) -> None:
        if direction == "read" and content == HANDSHAKE and message == CERTIFICATE:
            gate.receive(data, tls12=version == ssl.TLSVersion.TLSv1_2)

    if not hasattr(ssl.SSLContext, "_msg_callback"):
        return  # the store then stays empty, and every peer is refused
    context._msg_callback = seen  # type: ignore[attr-defined] # noqa: SLF001 - the module's docstring says why
