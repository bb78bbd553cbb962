"""Who is let in: the certificate that the client shows is appraised inside the handshake, by the service's verifier.

TLS 1.3, and 1.2, which is what Gramine's library speaks in most of its releases. No tickets, no resumption, no
renegotiation: each connection shows its certificate, and proves its key.
"""

import ssl
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from cloister._x509 import Certificate
from cloister.errors import CloisterError, NotAttested
from cloister.serve.appraiser import Appraised, Appraising
from cloister.tls.context import restrict, trusting
from cloister.tls.demands import CERTIFICATE_RECIPE, Shown, opened, with_checks
from cloister.tls.gate import Gate, watch
from cloister.tls.identity import now
from cloister.tls.refusal import PeerRefused
from cloister.verifier import Verdict

__all__ = ["CertificateJudge", "gated_context"]


class CertificateJudge:
    """Appraises one client's certificate.

    `appraised` is the result once there is one, whatever its status: what may be released on it is the broker's to say.
    """

    def __init__(self, appraiser: Appraising, clock: Callable[[], datetime] = now) -> None:
        self._appraiser, self._clock = appraiser, clock
        self.appraised: Appraised | None = None

    def appraise(self, certificates: Sequence[bytes]) -> Verdict:
        """As the gate asks. CloisterError refuses the client."""
        if not certificates:
            raise NotAttested("it shows no certificate, and so no evidence")
        leaf, *others = map(Certificate.parse, certificates)
        envelope = opened(leaf, others)
        try:
            checks = CERTIFICATE_RECIPE.explain(CERTIFICATE_RECIPE.follow(Shown(leaf, envelope, self._clock())))
            verdict, self.appraised = self._appraiser.of_envelope(envelope, leaf)
        except CloisterError as error:
            raise PeerRefused.because(error, envelope.path) from error
        return with_checks(verdict, checks)


def gated_context(judge: CertificateJudge, certificate: Path, key: Path) -> tuple[ssl.SSLContext, Gate]:
    """The context of one connection, whose client must be attested, and the gate that says what came of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    restrict(context, demanding=True)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    gate = Gate(judge, trusting(context), tls12=True)
    watch(context, gate)
    context.load_cert_chain(certificate, key)
    return context, gate
