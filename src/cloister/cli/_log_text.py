"""Audit logs in words and as JSON, for `cloister log`."""

import hashlib
from collections.abc import Iterator
from datetime import datetime

from cloister.broker.audit import (
    Entry,
    Event,
    Evidence,
    KeyEncryptionChanged,
    LogReport,
    LogStarted,
    Released,
    ReleaseDenied,
    ReleaseUnattested,
    ReleaseUndecided,
    RootRefused,
    RootTaken,
    SecretChanged,
    SessionChanged,
    SessionName,
    TornTail,
)
from cloister.broker.audit.event_json import json_of_event
from cloister.cli._lines import labelled, width_of_terminal
from cloister.cli._terminal import clean
from cloister.model import Unchecked

__all__ = ["document", "entry_document", "entry_lines", "report_lines"]


def report_lines(report: LogReport) -> Iterator[str]:
    """What verifying came to."""
    width = width_of_terminal()
    yield f"{report.grade.title}: {clean(report.reason)}"
    yield from labelled("meaning", report.grade.meaning, width=width)
    if report.first and report.last:
        span = (
            f"{report.first.sequence} to {report.last.sequence}, {when(report.first.time)} to {when(report.last.time)}"
        )
        yield from labelled("entries", f"{report.entries} verified: {span}", width=width)
    if report.key:
        yield from labelled("key", f"SHA-256 {hashlib.sha256(report.key).hexdigest()}", width=width)
    for sequence, time in report.clock_went_back:
        yield from labelled("clock", f"went back to {when(time)} at entry {sequence}", width=width)
    for reason in report.unchecked:
        yield from labelled("not checked", reason, width=width)


def document(report: LogReport) -> dict[str, object]:
    """The same as one JSON object."""
    return {
        "grade": report.grade.name.lower().replace("_", "-"),
        "exit_code": report.grade.code,
        "reason": report.reason,
        "entries": report.entries,
        "first": _place(report.first),
        "last": _place(report.last),
        "key_sha256": hashlib.sha256(report.key).hexdigest() if report.key else None,
        "torn_bytes": report.torn,
        "clock_went_back": [{"sequence": one, "time": time.isoformat()} for one, time in report.clock_went_back],
        "unchecked": list(report.unchecked),
    }


def _place(entry: Entry | None) -> dict[str, object] | None:
    if entry is None:
        return None
    return {"sequence": entry.sequence, "time": entry.time.isoformat(), "hash": entry.hash.hex()}


def entry_document(entry: Entry) -> dict[str, object]:
    """One entry as JSON, with its hash."""
    return {
        "sequence": entry.sequence, "time": entry.time.isoformat(), "hash": entry.hash.hex(),
        "event": json_of_event(entry.event),
    }  # fmt: skip


def entry_lines(entry: Entry) -> Iterator[str]:
    """One entry in words: what happened on the first line, the circumstances below."""
    what, *circumstances = (clean(one) for one in _told(entry.event))
    yield f"{entry.sequence:>6}  {when(entry.time)}  {what}"
    yield from (f"        {one}" for one in circumstances)


def _told(event: Event) -> Iterator[str]:
    match event:
        case LogStarted():
            yield f"log-started     log {event.log.hex()}"
            yield f"broker's key {hashlib.sha256(event.key).hexdigest()}"
        case TornTail():
            yield f"torn-tail       {event.size} bytes of an entry that was never confirmed were put aside"
        case Released():
            secrets = ", ".join(f"{one.name} (version {one.version})" for one in event.secrets)
            yield f"released        {secrets}"
            yield f"{_session(event.session)}, request {event.request}"
            yield from map(_evidence, event.evidence)
            yield f"to key {event.recipient.hex()}"
        case ReleaseDenied() | ReleaseUnattested() | ReleaseUndecided():
            yield f"{event.kind:<15} {', '.join(event.secrets) or 'nothing named'}: {event.code}"
            yield event.reason
            yield f"{_session(event.session)}, request {event.request}"
            yield from _all_evidence(event.evidence)
        case SessionChanged():
            yield f"session-changed {event.session.name}: {event.change}"
            yield f"{_session(event.session)}, request {event.request}"
            yield from _by(event.by)
        case SecretChanged():
            yield f"secret-changed  {event.secret.name} (version {event.secret.version}): {event.change}"
            yield f"{_session(event.session)}, request {event.request}"
            yield from _by(event.by)
        case KeyEncryptionChanged():
            yield f"{event.kind} {event.change}, {event.keys} keys"
            yield f"from {event.before} to {event.after}, request {event.request}"
        case RootTaken():
            yield f"root-taken      {event.volume}: generation {event.generation}, {event.digest.hex()}"
            yield f"start {event.start}"
            yield f"{_session(event.session)}, request {event.request}"
        case RootRefused():
            volume = f"no volume: {event.volume.reason}" if isinstance(event.volume, Unchecked) else event.volume
            yield f"root-refused    {volume}: {event.code}"
            yield event.reason
            yield f"{_session(event.session)}, request {event.request}"


def _session(session: SessionName | Unchecked) -> str:
    if isinstance(session, Unchecked):
        return f"no session: {session.reason}"
    return f"session {session.name} (version {session.version}, {session.sha256.hex()[:16]}...)"


def _all_evidence(evidence: tuple[Evidence, ...] | Unchecked) -> Iterator[str]:
    if isinstance(evidence, Unchecked):
        yield f"no evidence: {evidence.reason}"
    else:
        yield from map(_evidence, evidence)


def _evidence(evidence: Evidence) -> str:
    measured = "".join(f", {one.name} {one.digest}" for one in evidence.measurements)
    tee = "TEE not known" if isinstance(evidence.tee, Unchecked) else evidence.tee
    sent = "" if isinstance(evidence.sha256, Unchecked) else f", evidence {evidence.sha256.hex()[:16]}..."
    return f"{evidence.name}: {tee}, {evidence.verdict}{sent}{measured}"


def _by(keys: tuple[bytes, ...]) -> Iterator[str]:
    yield from (f"by the owner's key {one.hex()}" for one in keys)


def when(time: datetime) -> str:
    """To the second; `--json` has the rest."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")
