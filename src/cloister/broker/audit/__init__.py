"""The audit log: append-only, hash-chained, signed. docs/formats/audit-log.md has the format.

    with AuditLog.open(Path("audit.log"), key, clock) as log:
        log.append(Released(...))       # on the disk when it returns; only then may the secret leave
        keep_elsewhere(log.checkpoint())

`verify_log` grades a log from the outside. Nothing here holds or sees a secret.
"""

from cloister.broker.audit.active import LogBusy, LogUnusable
from cloister.broker.audit.checkpoint import Checkpoint, parse_checkpoint
from cloister.broker.audit.entry import Entry
from cloister.broker.audit.events import (
    Change,
    Event,
    Evidence,
    KeyChange,
    KeyEncryptionChanged,
    LogStarted,
    NotReleased,
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
    TornTail,
)
from cloister.broker.audit.last import last_checkpoint
from cloister.broker.audit.log import AuditLog
from cloister.broker.audit.report import Grade, LogReport
from cloister.broker.audit.segments import read_entries
from cloister.broker.audit.verify import verify_log

__all__ = [
    "AuditLog",
    "Change",
    "Checkpoint",
    "Entry",
    "Event",
    "Evidence",
    "Grade",
    "KeyChange",
    "KeyEncryptionChanged",
    "LogBusy",
    "LogReport",
    "LogStarted",
    "LogUnusable",
    "NotReleased",
    "ReleaseDenied",
    "ReleaseUnattested",
    "ReleaseUndecided",
    "Released",
    "RootRefused",
    "RootTaken",
    "SecretChanged",
    "SecretName",
    "SessionChanged",
    "SessionName",
    "TornTail",
    "last_checkpoint",
    "parse_checkpoint",
    "read_entries",
    "verify_log",
]
