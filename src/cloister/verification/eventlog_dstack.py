"""dstack's event log against a TDX quote's RTMRs.

    digest of an application's event = SHA-384(type, little-endian || ":" || name || ":" || payload)
    RTMR = SHA-384(RTMR || digest), from zeros, for every event of that register

A colon in a name makes the hashed text ambiguous: "a:b" with payload "c" and "a" with payload "b:c" have one digest.
Such names are refused. Events of the boot (other types) carry digests that nothing here explains.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from cloister.errors import BindingInvalid
from cloister.evidence.eventlog_dstack import DstackEvent, DstackLog
from cloister.model import Unchecked
from cloister.verification.recipe import Compared, Outcome

__all__ = ["check_replay", "replay"]

START: Final = bytes(48)


def replay(log: DstackLog) -> dict[int, bytes]:
    """The RTMRs that the log extends, by number. BindingInvalid if an event is not what its digest says."""
    registers: dict[int, bytes] = {}
    for event in log.events:
        before = registers.get(event.register, START)
        registers[event.register] = hashlib.sha384(before + digest_of(event)).digest()
    return registers


def digest_of(event: DstackEvent) -> bytes:
    """What the event extended its register with."""
    if not event.is_runtime:
        return event.digest
    if ":" in event.name:
        raise BindingInvalid(f"the event {event.name!r} has a colon in its name: its payload is ambiguous")
    digest = hashlib.sha384(event.measured).digest()
    if event.digest not in {b"", digest}:
        raise BindingInvalid(
            f"the event {event.name!r} is not what its digest says", expected=event.digest, actual=digest,
            set_by="the log's digest",
        )  # fmt: skip
    return digest


def check_replay(log: DstackLog, registers: Mapping[int, bytes]) -> Outcome:
    """Compare, as a step: the quote's RTMRs, by number, are what the log's events give.

    A register that the log does not mention is not compared. BindingInvalid names the first that differs.
    """
    said = replay(log)
    compared = []
    for index in sorted(registers.keys() & said.keys()):
        if said[index] != registers[index]:
            raise BindingInvalid(
                f"the event log does not give the value of rtmr{index} that was signed",
                expected=registers[index], actual=said[index], set_by=f"the signed rtmr{index}",
            )  # fmt: skip
        compared.append((f"rtmr{index}", said[index]))
    if not compared:
        return Unchecked("the event log mentions none of the registers that were signed")
    return Compared(tuple(registers.values()), tuple(compared), "the signed registers")
