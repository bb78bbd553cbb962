"""Event logs against registers: what the log says, extended again, must give what the TEE or TPM signed.

TCG PC Client Platform Firmware Profile 1.06, sections 10.2 and 10.4.5; Intel TDX Virtual Firmware Design Guide,
section 8 (register 0 of a confidential-computing log is MRTD, which no log extends; 1 to 4 are RTMR 0 to 3).

    register = H(register || digest), from zeros, for every event but EV_NO_ACTION; PCR 0 starts with the startup
    locality in its last byte where the log has such an event

What a matching replay proves is the sequence of digests in each register compared, not what the events mean: the type
and the data are the log's word, except where the data's own hash is the digest (`explained`). A register that the log
does not mention is proven by nothing here.
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import Final

from cloister.errors import BindingInvalid
from cloister.evidence.eventlog import ALGORITHMS, EV_EFI_VARIABLE_BOOT, EV_IPL, EV_NO_ACTION, Event, EventLog
from cloister.model import Unchecked
from cloister.verification.recipe import Compared, Outcome

__all__ = ["CC_REGISTERS", "check_replay", "explained", "matched", "replay"]

CC_REGISTERS: Final = {1: "rtmr0", 2: "rtmr1", 3: "rtmr2", 4: "rtmr3"}
"""Register numbers of a confidential-computing log and the quote's names for them."""

HASHES: Final = {
    name: (number, getattr(hashlib, name))
    for number, (name, _) in ALGORITHMS.items()
    if name in hashlib.algorithms_guaranteed
}
"""By hashlib's name: TPM_ALG_ID and the function."""

STARTUP_LOCALITY: Final = b"StartupLocality\0"
VARIABLE_HEAD: Final = 32
"""Bytes before the name in UEFI_VARIABLE_DATA: GUID, name's length in characters, data's length."""


def replay(log: EventLog, algorithm: str) -> dict[int, bytes]:
    """The registers that the log's events extend, with the values they give; hashlib's name of the algorithm.

    Empty if the log has no digests in it. BindingInvalid if the log contradicts itself about the startup locality.
    """
    if algorithm not in log.banks or algorithm not in HASHES:
        return {}
    number, hashed = HASHES[algorithm]
    registers: dict[int, bytes] = {}
    zeros, start = bytes(hashed().digest_size), b""
    for event in log.events:
        register = event.register
        if event.type == EV_NO_ACTION:
            if register == 0 and event.data.startswith(STARTUP_LOCALITY):
                if start or 0 in registers:
                    raise BindingInvalid("the event log sets the startup locality twice, or after PCR 0 was extended")
                start = zeros[:-1] + event.data[len(STARTUP_LOCALITY) :][:1]
            continue
        before = registers.get(register) or (start or zeros if register == 0 else zeros)
        registers[register] = hashed(before + dict(event.digests).get(number, b"")).digest()
    return registers


def check_replay(
    log: EventLog,
    registers: Mapping[int, bytes],
    algorithm: str,
    *,
    index_names: Mapping[int, str],
    complete: Collection[int] = (),
) -> Outcome:
    """Compare, as a step: every register that the log extends and that was signed has the value that the log gives.

    `registers` are the signed ones by the log's numbering, `index_names` their names for people. Those in `complete`
    must not have been extended by anything that the log leaves out: unmentioned means zero. Raises BindingInvalid,
    naming the first register that differs.
    """
    found = matched(log, registers, algorithm, index_names=index_names, complete=complete)
    if isinstance(found, Unchecked):
        return found
    return Compared(tuple(registers.values()), tuple(found.items()), "the signed registers")


def matched(
    log: EventLog,
    registers: Mapping[int, bytes],
    algorithm: str,
    *,
    index_names: Mapping[int, str],
    complete: Collection[int] = (),
) -> dict[str, bytes] | Unchecked:
    """What `check_replay` compares: by name, the registers that the log explains. Raises as it does."""
    said = replay(log, algorithm)
    if not said:
        return Unchecked(
            f"the event log has nothing in {algorithm}: it has {', '.join(log.banks) or 'no known algorithm'}"
        )
    compared: dict[str, bytes] = {}
    for index in sorted(registers):
        if index not in said and index not in complete:
            continue
        given, name = said.get(index, bytes(len(registers[index]))), index_names.get(index, str(index))
        if given != registers[index]:
            raise BindingInvalid(
                f"the event log does not give the value of {name} that was signed",
                expected=registers[index], actual=given, set_by=f"the signed {name}",
            )  # fmt: skip
        compared[name] = given
    return compared or Unchecked("the event log mentions none of the registers that were signed")


def explained(event: Event, algorithm: str) -> bytes | None:
    """The part of the event's data that was measured: the one whose hash is the digest. None if there is none.

    What stands around that part (a label, a variable's name) is the log's word.
    """
    digest = event.digest(algorithm)
    if not digest or algorithm not in hashlib.algorithms_guaranteed:
        return None
    for part in _candidates(event):
        if hashlib.new(algorithm, part).digest() == digest:
            return part
    return None


def _candidates(event: Event) -> list[bytes]:
    """What writers of events are known to hash: the data, or part of it.

    Boot loaders' strings: without the final NUL, and without the label before. Boot variables: the value alone.
    """
    data = event.data
    parts = [data]
    if event.type == EV_IPL:
        text = data.removesuffix(b"\0")
        _, label, rest = text.partition(b": ")
        parts += [text, rest] if label else [text]
    if event.type == EV_EFI_VARIABLE_BOOT and len(data) >= VARIABLE_HEAD:
        name, size = int.from_bytes(data[16:24], "little"), int.from_bytes(data[24:32], "little")
        if VARIABLE_HEAD + 2 * name + size == len(data):
            parts.append(data[len(data) - size :])
    return parts
