"""What one connection goes through before the application may use it: handshake, check of its result, freshness."""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from cloister._x509 import Certificate
from cloister.errors import BindingInvalid, CloisterError, NotFresh, SignatureInvalid
from cloister.model import Unchecked
from cloister.tls.demands import Demands, with_checks
from cloister.tls.freshness import MARK, Exchange, Terms, steps
from cloister.tls.gate import Gate
from cloister.tls.identity import Identity
from cloister.tls.refusal import PeerRefused
from cloister.verification.recipe import Compared, Outcome, Recipe
from cloister.verifier import Verdict

__all__ = ["RECIPE", "Channel", "Course", "Ends", "Peer"]

RECIPE: Final = Recipe["Finished"]("TLS")
WITHOUT_KEY: Final = frozenset({"BAD_SIGNATURE", "DIGEST_CHECK_FAILED", "WRONG_SIGNATURE_LENGTH", "BAD_SIGNATURE_TYPE"})
"""OpenSSL's reasons for refusing a CertificateVerify message."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Who is at the other end: the verdict about the certificate's evidence, with the checks of the connection in it.

    `fresh` is the verdict about evidence made for this connection, where it was demanded. What was not checked, the
    peer's name for one, stands in `verdict.unchecked`.
    """

    certificate: Certificate = field(repr=False)
    verdict: Verdict = field(repr=False)
    fresh: Verdict | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Both ends of a connection: what is demanded of the peer, and what this side has to show."""

    server: bool
    gate: Gate | None
    demands: Demands | None
    identity: Identity | None
    own: Certificate | None
    report: Callable[[PeerRefused], None] | None = None


class Channel(Protocol):
    """What `ssl.SSLSocket` and `ssl.SSLObject` both tell about a connection."""

    @property
    def session_reused(self) -> bool | None:
        """Whether it resumed an earlier one."""

    def version(self) -> str | None:
        """`TLSv1.3`."""

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        """The client's Finished message, in TLS 1.3 without resumption."""


@dataclass(slots=True)
class Finished:
    """A connection whose handshake is over. `shown` is the peer's certificate by OpenSSL's word."""

    version: str
    resumed: bool
    shown: bytes
    appraised: Certificate
    fresh: Verdict | None


class Course:
    """The way of one connection. `peer` is there at the end if something was demanded of it."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self.done = False
        self.peer: Peer | None = None
        self.refusal: PeerRefused | None = None
        self._shaken = False
        self._exchange: Exchange | None = None

    def run(
        self,
        channel: Channel,
        shown: Callable[[], bytes],
        agreed: Callable[[], str | None],
        shake: Callable[[], None],
        read: Callable[[int], bytes],
        write: Callable[[bytes], int],
    ) -> None:
        """Go on until the application may speak; ssl.SSLWantReadError where bytes must come first. PeerRefused."""
        if self.refusal is not None:
            raise self.refusal.again()
        if self.done:
            return
        try:
            self._shake(shake)
            fresh = self._freshen(channel, shown, agreed, read, write)
            self.peer = self._conclude(channel, shown, fresh)
        except PeerRefused as refusal:
            self._remember(refusal)
            raise
        except CloisterError as error:
            made = PeerRefused.because(error)
            self._remember(made)
            raise made from error
        self.done = True

    def _remember(self, refusal: PeerRefused) -> None:
        self.refusal = refusal.again()
        if self.ends.report is not None:
            self.ends.report(self.refusal)

    def _shake(self, shake: Callable[[], None]) -> None:
        if self._shaken:
            return
        gate = self.ends.gate
        try:
            shake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if gate is not None and gate.refusal is not None:
                raise gate.refusal.again() from error
            reason = str(getattr(error, "reason", ""))  # absent where Python raised it, not OpenSSL
            if gate is not None and gate.certificate is not None and reason in WITHOUT_KEY:
                raise SignatureInvalid("the peer does not hold the key of the certificate that it shows") from error
            if gate is not None and "PEER_DID_NOT_RETURN" in reason:
                raise PeerRefused("the TLS peer shows no certificate, so it is not attested") from error
            raise
        self._shaken = True

    def _freshen(
        self,
        channel: Channel,
        shown: Callable[[], bytes],
        agreed: Callable[[], str | None],
        read: Callable[[int], bytes],
        write: Callable[[bytes], int],
    ) -> Verdict | None:
        """The exchange that both ends agreed on; refused if this side demands it and the other does not know it."""
        demands = self.ends.demands
        if agreed() != MARK:
            if demands is not None and demands.fresh:
                raise NotFresh("the peer offers no evidence for this connection", expected=MARK, actual="not agreed")
            return None
        if self._exchange is None:
            self._check(channel, shown, None)
            self._exchange = Exchange(steps(self._terms(channel)))
        return self._exchange.advance(read, write)

    def _terms(self, channel: Channel) -> Terms:
        ends, binding = self.ends, channel.get_channel_binding("tls-unique")
        if not binding:
            raise NotFresh("this connection has no Finished message that evidence could speak of")
        return Terms(
            role="server" if ends.server else "client", demands=ends.demands, identity=ends.identity, own=ends.own,
            peer=None if ends.gate is None else ends.gate.certificate, finished=binding,
        )  # fmt: skip

    def _check(self, channel: Channel, shown: Callable[[], bytes], fresh: Verdict | None) -> Sequence[Outcome]:
        """The recipe about the connection; nothing where nothing is demanded."""
        gate = self.ends.gate
        if gate is None:
            return ()
        if gate.certificate is None or gate.refusal is not None:
            refused = gate.refusal or PeerRefused("the handshake ended without a certificate that was appraised")
            raise refused.again()
        version, resumed = channel.version() or "", bool(channel.session_reused)
        return RECIPE.follow(Finished(version, resumed, shown(), gate.certificate, fresh))

    def _conclude(self, channel: Channel, shown: Callable[[], bytes], fresh: Verdict | None) -> Peer | None:
        outcomes, gate = self._check(channel, shown, fresh), self.ends.gate
        if gate is None or gate.certificate is None or gate.verdict is None:
            return None
        after = (*RECIPE.explain(outcomes), *(fresh.checks if fresh is not None else ()))
        return Peer(certificate=gate.certificate, verdict=with_checks(gate.verdict, after=after), fresh=fresh)


@RECIPE.step(
    "TLS 1.3, from a full handshake",
    source="RFC 8446",
    fix="let both ends speak TLS 1.3, and resume no sessions",
    cost="older versions can be renegotiated, and a resumed session shows no certificate",
)
def full_handshake(finished: Finished) -> Outcome:
    """Both are switched on already; this looks at what came of it."""
    said = (finished.version, "resumed" if finished.resumed else "full handshake")
    expected = ("TLSv1.3", "full handshake")
    if said != expected:
        raise BindingInvalid("the connection is not what was asked for", expected=expected, actual=said)
    return Compared(expected, said)


@RECIPE.step(
    "the peer holds the key of the certificate that was appraised",
    source="RFC 8446, section 4.4.3",
    fix="connect to the attester itself",
    cost="anybody can record a certificate and show it",
)
def same_certificate(finished: Finished) -> Outcome:
    """OpenSSL has checked CertificateVerify under the certificate that it says is the peer's: it must be this one."""
    if finished.shown != finished.appraised.encoded:
        raise BindingInvalid("the handshake ended with another certificate than the one that was appraised")
    return Compared(finished.appraised.spki, finished.appraised.spki, "the handshake's CertificateVerify")


@RECIPE.step(
    "the peer's name",
    source="RFC 9525",
    fix="put what tells one instance from another into the policy or into the evidence",
    cost="any instance that satisfies the policy may answer in place of another",
)
def name(finished: Finished) -> Outcome:
    """Never checked: nobody but the peer vouches for the names in a certificate that it signed itself."""
    del finished
    return Unchecked(
        "names in a certificate that signs itself prove nothing; the evidence and the policy say who it is"
    )


@RECIPE.step(
    "evidence made for this connection",
    source="RFC 9334, section 10; cloister-fresh/1",
    fix="ask for it: fresh=True, or --fresh",
    cost="the TEE may be gone or out of date since the certificate was made, or its key may have been stolen",
)
def made_for_this(finished: Finished) -> Outcome:
    """What the exchange came to."""
    if finished.fresh is None:
        return Unchecked("it was not asked for: the evidence is as old as the certificate")
    return Compared("evidence over nonce, key and handshake", str(finished.fresh.status), "this side's nonce")
