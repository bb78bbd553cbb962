"""The exception for a peer that did not prove what was demanded. The peer gets a TLS alert, or a closed connection.

It is an `ssl.SSLError` too, because asyncio, anyio and httpcore end a connection in good order only on those.
"""

import ssl
from collections.abc import Iterator, Sequence

from cloister.errors import CloisterError, EndorsementUnavailable, VerificationError
from cloister.verification.recipe import Check
from cloister.verifier import Verdict
from cloister.verifier.many import EXIT_CODES

__all__ = ["PeerRefused", "refusal_in"]


class PeerRefused(CloisterError, ssl.SSLError):
    """The peer was refused before any byte of the application was accepted from it or given to it.

    `error` is what the verifier raised, or None where the evidence is authentic and the policy is not satisfied: then
    `verdict` says how. `checks` are all that were made, in both cases. `exit_code` is that of `cloister verify`.
    `container` says what the evidence was in, outermost first, as far as it could be opened.
    """

    def __init__(
        self,
        reason: str,
        *,
        error: CloisterError | None = None,
        verdict: Verdict | None = None,
        container: Sequence[str] = (),
    ) -> None:
        super().__init__(reason)
        self.container = tuple(container)
        self.refused, self.error, self.verdict = reason, error, verdict
        if verdict is not None:
            self.exit_code = EXIT_CODES[str(verdict.status)]
        elif error is not None:
            self.exit_code = error.exit_code

    def __str__(self) -> str:
        return self.refused

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check that was made or not reached, the failed ones among them; none if nothing could be parsed."""
        if self.verdict is not None:
            return self.verdict.checks
        found: tuple[Check, ...] = getattr(self.error, "checks", ())
        return found

    @property
    def undecided(self) -> bool:
        """Whether an endorsement was missing, so that trying again with it is sensible."""
        return isinstance(self.error, EndorsementUnavailable)

    def again(self) -> "PeerRefused":
        """The same refusal, to be kept or raised anew: without tracebacks.

        A traceback holds the frames, and so the connection and its keys; one that the connection holds itself would
        keep all of it in memory until Python looks for circles.
        """
        if self.error is not None:
            for one in chain_of(self.error):
                one.__traceback__ = None
        return PeerRefused(self.refused, error=self.error, verdict=self.verdict, container=self.container)

    @classmethod
    def because(cls, error: CloisterError, container: Sequence[str] = ()) -> "PeerRefused":
        """The refusal for what the verifier raised."""
        word = "is not attested" if isinstance(error, VerificationError) else "cannot be verified"
        return cls(f"the TLS peer {word}: {error}", error=error, container=container)


def refusal_in(error: BaseException) -> PeerRefused | None:
    """The refusal behind another library's exception (httpx.ConnectError, for one), or None if there is none."""
    return next((one for one in chain_of(error) if isinstance(one, PeerRefused)), None)


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from, and so on."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__
