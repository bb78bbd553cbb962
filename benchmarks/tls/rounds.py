"""Rounds: a plain handshake, an attested one, and the evidence's verification alone, right after each other."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from unittest import mock

from benchmarks.tls.shaking import shake
from benchmarks.tls.subjects import Subject
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cloister import _crypto

__all__ = ["SPARE", "Outcome", "Spread", "measure"]

SPARE = 21
"""Certificates beyond those of the rounds: for the unmeasured round, and for looking into handshakes."""

VERIFIERS = ("verify_ecdsa", "verify_rsa_pkcs1", "verify_rsa_pss", "verify_ed25519")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Milliseconds of processor time: median, quartiles, extremes."""

    median: float
    lower_quartile: float
    upper_quartile: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        """Of at least two measurements."""
        values = [1000 * one for one in seconds]
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median=median, lower_quartile=lower, upper_quartile=upper, lowest=min(values), highest=max(values))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one subject. `added` is what attestation adds beside the evidence's verification, round by round.

    `signatures` is the part of the attested handshake that goes into signing and verifying signatures.
    """

    subject: str
    plain: Spread
    attested: Spread
    verification: Spread
    added: Spread
    signatures: float
    rounds: int


def measure(subject: Subject, rounds: int) -> Outcome:
    """Measure after an unmeasured round. Making evidence is taken out of the attested handshake's time."""
    plain: list[float] = []
    attested: list[float] = []
    verification: list[float] = []
    for number in range(-1, rounds):
        for work, times in one_round(subject, number):
            seconds = timed(work, subject.making)
            if number >= 0:
                {"plain": plain, "attested": attested, "verification": verification}[times].append(seconds)
    added = [two - one - three for one, two, three in zip(plain, attested, verification, strict=True)]
    return Outcome(
        subject=subject.name, plain=Spread.of(plain), attested=Spread.of(attested),
        verification=Spread.of(verification), added=Spread.of(added),
        signatures=in_signatures(subject) / statistics.median(attested), rounds=rounds,
    )  # fmt: skip


def one_round(subject: Subject, number: int) -> Iterator[tuple[Callable[[], object], str]]:
    """Who goes when: forwards and backwards in turn, so that nobody always finds the caches as another left them."""
    parts: list[tuple[Callable[[], object], str]] = [
        (lambda: shake(*subject.plain), "plain"),
        (lambda: shake(*subject.attested[number]), "attested"),
        (subject.verify[number], "verification"),
    ]
    return iter(parts[:: -1 if number % 2 else 1])


def timed(work: Callable[[], object], making: list[float]) -> float:
    """Seconds of this process's processor time, without those for making evidence."""
    made, begun = making[0], time.process_time()
    work()
    return time.process_time() - begun - (making[0] - made)


def in_signatures(subject: Subject, times: int = SPARE - 1) -> float:
    """Median seconds that one attested handshake spends in signatures.

    The evidence's and the certificate's are timed where they are verified. OpenSSL's own, a signature made and verified
    for each certificate shown, are timed by the crypto library with a key of the same kind.
    """
    spent = []
    for number in range(times):
        seconds = [0.0]
        with contextlib.ExitStack() as stack:
            for name in VERIFIERS:
                stack.enter_context(mock.patch.object(_crypto, name, watched(getattr(_crypto, name), seconds)))
            shake(*subject.attested[-2 - number])
        spent.append(seconds[0])
    key, message = ec.generate_private_key(ec.SECP256R1()), b"CertificateVerify"
    signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    own = [timed(lambda: key.sign(message, ec.ECDSA(hashes.SHA256())), [0.0]) for _ in range(50)]
    theirs = [timed(lambda: key.public_key().verify(signature, message, ec.ECDSA(hashes.SHA256())), [0.0])
              for _ in range(50)]  # fmt: skip
    openssl = statistics.median(own) + statistics.median(theirs)
    return statistics.median(spent) + subject.signatures * openssl


def watched(function: Callable[..., None], seconds: list[float]) -> Callable[..., None]:
    """The function, with its time added up; those that call each other are counted once."""

    def called(*args: object, **settings: object) -> None:
        begun = time.process_time()
        try:
            function(*args, **settings)
        finally:
            seconds[0] += time.process_time() - begun

    return called
