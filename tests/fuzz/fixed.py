"""What must be the same in the process that forges seeds and in the one that reads them: keys, clocks, a log.

All of it is public: nothing that anybody uses has these keys.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tests.forge.audit import every_event
from tests.forge.sealing import MemoryKey, program

from cloister.broker.audit import LogStarted, TornTail
from cloister.broker.audit.checkpoint import Checkpoint
from cloister.broker.audit.entry import FIRST_PREVIOUS, Entry, sign_entry
from cloister.broker.nonces import Challenges
from cloister.broker.session.request_signature import Asked
from cloister.result.signing import SigningKey
from cloister.seal import Sealer

__all__ = ["ASKED", "AT", "LABEL", "OTHER_OWNER", "OWNER", "challenges", "checkpoint", "log", "sealer"]

AT: Final = datetime(2026, 6, 1, tzinfo=UTC)
OWNER: Final = SigningKey(ed25519.Ed25519PrivateKey.from_private_bytes(b"o" * 32))
"""Of the sessions, and of the audit log."""
OTHER_OWNER: Final = SigningKey(ec.derive_private_key(0xFEED, ec.SECP256R1()))
ASKED: Final = Asked(method="PUT", target="/admin/v1/sessions/team/app", body=b"{}")
LABEL: Final = "a label"


def challenges() -> Challenges:
    """Of a broker whose key everybody knows, and whose clock stands."""
    return Challenges(b"c" * 32, lambda: AT, lifetime=timedelta(minutes=5))


def sealer() -> Sealer:
    """Seals and unseals for one program."""
    return Sealer(MemoryKey(), program())


@cache
def log() -> tuple[Entry, ...]:
    """An audit log with an event of every kind."""
    started = LogStarted(key=OWNER.spki, log=bytes(16))
    entries: list[Entry] = []
    previous = FIRST_PREVIOUS
    for number, event in enumerate((started, *every_event(), TornTail(size=7, sha256=bytes(32))), 1):
        time = AT + timedelta(seconds=number)
        entries.append(sign_entry(event, sequence=number, time=time, previous=previous, key=OWNER))
        previous = entries[-1].hash
    return tuple(entries)


def checkpoint() -> Checkpoint:
    """Of the log's last entry."""
    return Checkpoint.of(log()[-1], OWNER.spki)
