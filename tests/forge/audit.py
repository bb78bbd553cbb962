"""Audit logs for tests: events of every kind, logs made of them, and entries that an attacker signs."""

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloister.appraise.vector import Tier
from cloister.broker.audit import (
    AuditLog,
    Change,
    Checkpoint,
    Event,
    Evidence,
    KeyChange,
    KeyEncryptionChanged,
    Released,
    ReleaseDenied,
    ReleaseUnattested,
    ReleaseUndecided,
    RootRefused,
    RootTaken,
    SecretChanged,
    SecretName,
    SessionChanged,
    SessionName,
)
from cloister.broker.audit.entry import Entry, sign_entry
from cloister.model import Digest, Measurement, MeasurementKind, Tee, Unchecked
from cloister.result.algorithms import Algorithm
from cloister.result.signing import SigningKey

KEY = SigningKey.generate(Algorithm.EDDSA)
"""The broker's."""
MALLORY = SigningKey.generate(Algorithm.EDDSA)
START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

SESSION = SessionName(name="payroll", version="3", sha256=bytes(range(32)))
LAUNCH = Measurement("measurement", MeasurementKind.LAUNCH, Digest("sha384", b"\x4d" * 48))
CPU = Evidence(name="cpu0", tee=Tee.SNP, sha256=b"\xe0" * 32, measurements=(LAUNCH,), verdict=Tier.AFFIRMING)
FOREIGN = Evidence(
    name="gpu0", tee=Unchecked("the verifier does not say"), sha256=Unchecked("the verifier does not say"),
    measurements=(), verdict=Tier.WARNING,
)  # fmt: skip
DENIED = ReleaseDenied(
    request="request-1",
    session=SESSION,
    secrets=("db-password", "löschen \u2713"),
    evidence=(CPU, FOREIGN),
    result=b"\xa7" * 32,
    code="policy-deny",
    reason='the measurement is not "payroll\'s"',
)


def ticking(start: datetime = START) -> Callable[[], datetime]:
    """A clock that goes on by a second each time it is asked."""
    seconds = itertools.count()
    return lambda: start + timedelta(seconds=next(seconds))


def release(number: int = 1, name: str = "db-password", session: SessionName = SESSION) -> Released:
    return Released(
        request=f"request-{number}", session=session, secrets=(SecretName(name=name, version=2),), evidence=(CPU,),
        result=b"\xa7" * 32, recipient=b"\x1c" * 32,
    )  # fmt: skip


def every_event() -> tuple[Event, ...]:
    """One of each kind that a broker records, with and without what can be missing."""
    nothing = Unchecked("no evidence was sent")
    owners, request = (b"\x01" * 32, b"\x02" * 32), "request-1"
    return (
        release(),
        DENIED,
        ReleaseUnattested(
            request=request, session=Unchecked("no such session"), secrets=(), evidence=nothing,
            result=Unchecked("no token was presented"), code="not-attested", reason="no token was presented",
        ),
        ReleaseUndecided(
            request=request, session=SESSION, secrets=("db-password",), evidence=nothing,
            result=Unchecked("none was issued"), code="collateral-missing", reason="no revocation list is at hand",
        ),
        SessionChanged(
            request=request, session=SESSION, change=Change.UPDATED, predecessor=b"\x09" * 32, by=owners
        ),
        SessionChanged(
            request=request, session=SESSION, change=Change.CREATED, predecessor=Unchecked("the first"), by=owners[:1]
        ),
        SecretChanged(
            request=request, session=SESSION, secret=SecretName(name="db-password", version=3), change=Change.UPDATED,
            by=(),
        ),
        KeyEncryptionChanged(
            request=request, change=KeyChange.FINISHED, before="file 00", after="tpm 11", keys=12
        ),
        RootTaken(
            request=request, session=SESSION, volume="/data", start="00" * 12, generation=7, digest=b"\x07" * 32
        ),
        RootRefused(request=request, session=SESSION, volume="/data", code="policy-deny", reason="an earlier start"),
        RootRefused(
            request=request, session=nothing, volume=Unchecked("not told"), code="not-attested", reason="forged"
        ),
    )  # fmt: skip


def make_log(path: Path, events: Sequence[Event], *, key: SigningKey = KEY, segment_bytes: int = 1 << 20) -> Checkpoint:
    """A log of these events after its first entry, and the checkpoint of its end."""
    with AuditLog.open(path, key, ticking(), segment_bytes=segment_bytes) as log:
        for event in events:
            log.append(event)
        return log.checkpoint()


def releases(count: int, first: int = 1) -> list[Released]:
    return [release(number) for number in range(first, first + count)]


def resigned(entries: Sequence[Entry], key: SigningKey) -> list[bytes]:
    """The same events in a chain of their own, signed with another key: lines of a log, with line feeds."""
    previous, lines = bytes(32), []
    for number, entry in enumerate(entries, 1):
        made = sign_entry(entry.event, sequence=number, time=entry.time, previous=previous, key=key)
        previous = made.hash
        lines.append(made.line() + b"\n")
    return lines
