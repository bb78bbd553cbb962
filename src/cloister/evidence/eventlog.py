"""TCG event logs: what firmware, boot loader and kernel say they extended into PCRs or RTMRs.

TCG PC Client Platform Firmware Profile 1.06, section 10 (events); UEFI 2.10, section 38 (confidential computing logs,
ACPI table CCEL). Little-endian, one event after the other, without a count:

    legacy event  u32 register | u32 type | 20 bytes SHA-1 | u32 size, data                  (TCG_PCClientPCREvent)
    event         u32 register | u32 type | u32 count, (u16 algorithm, digest) | u32 size, data    (TCG_PCR_EVENT2)

A crypto-agile log begins with one legacy event that names its algorithms ("Spec ID Event03"); every other event has a
digest in each of them. A log without it has legacy events only. Both stand in memory of fixed size, so the rest of a
log may be filled with 0xff or 0x00.

Nothing in a log is proven: `cloister.verification.eventlog` compares it with registers.
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from cloister._wire import Reader
from cloister.errors import ParseError

__all__ = ["ALGORITHMS", "EVENT_TYPES", "EV_NO_ACTION", "Event", "EventLog", "looks_like", "parse"]

ALGORITHMS: Final = {
    0x04: ("sha1", 20),
    0x0B: ("sha256", 32),
    0x0C: ("sha384", 48),
    0x0D: ("sha512", 64),
    0x12: ("sm3", 32),
    0x27: ("sha3_256", 32),
    0x28: ("sha3_384", 48),
    0x29: ("sha3_512", 64),
}
"""TPM_ALG_ID to hashlib's name and the digest's size (TCG Algorithm Registry 1.34, table 3)."""

EV_NO_ACTION: Final = 0x03
EV_IPL: Final = 0x0D
EV_EFI_VARIABLE_BOOT: Final = 0x80000002
EVENT_TYPES: Final = {
    0x00: "EV_PREBOOT_CERT",
    0x01: "EV_POST_CODE",
    EV_NO_ACTION: "EV_NO_ACTION",
    0x04: "EV_SEPARATOR",
    0x05: "EV_ACTION",
    0x06: "EV_EVENT_TAG",
    0x07: "EV_S_CRTM_CONTENTS",
    0x08: "EV_S_CRTM_VERSION",
    0x09: "EV_CPU_MICROCODE",
    0x0A: "EV_PLATFORM_CONFIG_FLAGS",
    0x0B: "EV_TABLE_OF_DEVICES",
    0x0C: "EV_COMPACT_HASH",
    EV_IPL: "EV_IPL",
    0x0E: "EV_IPL_PARTITION_DATA",
    0x0F: "EV_NONHOST_CODE",
    0x10: "EV_NONHOST_CONFIG",
    0x11: "EV_NONHOST_INFO",
    0x12: "EV_OMIT_BOOT_DEVICE_EVENTS",
    0x13: "EV_POST_CODE2",
    0x80000001: "EV_EFI_VARIABLE_DRIVER_CONFIG",
    EV_EFI_VARIABLE_BOOT: "EV_EFI_VARIABLE_BOOT",
    0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
    0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER",
    0x80000005: "EV_EFI_RUNTIME_SERVICES_DRIVER",
    0x80000006: "EV_EFI_GPT_EVENT",
    0x80000007: "EV_EFI_ACTION",
    0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB",
    0x80000009: "EV_EFI_HANDOFF_TABLES",
    0x8000000A: "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
    0x8000000B: "EV_EFI_HANDOFF_TABLES2",
    0x8000000C: "EV_EFI_VARIABLE_BOOT2",
    0x8000000D: "EV_EFI_GPT_EVENT2",
    0x80000010: "EV_EFI_HCRTM_EVENT",
    0x800000E0: "EV_EFI_VARIABLE_AUTHORITY",
    0x800000E1: "EV_EFI_SPDM_FIRMWARE_BLOB",
    0x800000E2: "EV_EFI_SPDM_FIRMWARE_CONFIG",
}
"""The profile's table of event types. The type is not measured: it is a hint."""

SHA1: Final = 0x04
SPEC_ID: Final = b"Spec ID Event03\0"
LONGEST: Final = 4 << 20
"""Bytes. Firmware reserves 64 kB to 1 MB."""

MOST_ALGORITHMS: Final = 16
REGISTERS: Final = 32
"""No TPM has more PCRs than 32; events that extend nothing may name any register (0xffffffff does occur)."""


LEGACY_HEAD: Final = struct.Struct("<II20sI")
AGILE_HEAD: Final = struct.Struct("<III")


class Event(NamedTuple):
    """One line of a log. `digests` are (TPM_ALG_ID, value) as they stand; `offset` is where it stands in the log."""

    register: int
    type: int
    digests: tuple[tuple[int, bytes], ...]
    data: bytes
    offset: int

    @property
    def type_name(self) -> str:
        """The profile's name of the type, or its number."""
        return EVENT_TYPES.get(self.type, f"{self.type:#x}")

    def digest(self, algorithm: str) -> bytes:
        """The digest in one algorithm, hashlib's name; empty if the log has none."""
        for number, value in self.digests:
            if ALGORITHMS.get(number, ("", 0))[0] == algorithm:
                return value
        return b""

    def serialize(self, *, legacy: bool) -> bytes:
        """The event's bytes."""
        head = self.register.to_bytes(4, "little") + self.type.to_bytes(4, "little")
        if legacy:
            digests = self.digests[0][1]
        else:
            each = (number.to_bytes(2, "little") + value for number, value in self.digests)
            digests = len(self.digests).to_bytes(4, "little") + b"".join(each)
        return head + digests + len(self.data).to_bytes(4, "little") + self.data


@dataclass(frozen=True, kw_only=True, slots=True)
class EventLog:
    """A whole log. `algorithms` are (TPM_ALG_ID, digest size); `filler` and `filled` describe what stands behind it."""

    crypto_agile: bool
    algorithms: tuple[tuple[int, int], ...]
    events: tuple[Event, ...]
    filler: int = 0
    filled: int = 0

    @property
    def banks(self) -> tuple[str, ...]:
        """The algorithms that are known, by hashlib's names."""
        return tuple(ALGORITHMS[number][0] for number, _ in self.algorithms if number in ALGORITHMS)

    def serialize(self) -> bytes:
        """The log's bytes."""
        legacy = 1 if self.crypto_agile else len(self.events)
        events = (one.serialize(legacy=i < legacy) for i, one in enumerate(self.events))
        return b"".join(events) + bytes([self.filler]) * self.filled


def looks_like(data: bytes) -> bool:
    """Whether this begins as a crypto-agile log does."""
    return data[4:8] == b"\x03\0\0\0" and data[32:48] == SPEC_ID


def parse(data: bytes, *, base: int = 0) -> EventLog:
    """Read a log of exactly these bytes; a filled rest belongs to it. ParseError for anything else."""
    reader = Reader(data, "event log", base=base)
    if not data or len(data) > LONGEST:
        raise reader.error("length", f"{len(data)} bytes; 1 to {LONGEST} are understood")
    first = _legacy_event(reader)
    agile = first.type == EV_NO_ACTION and first.data.startswith(SPEC_ID)
    algorithms = _spec_id(first, base) if agile else ((SHA1, 20),)
    digests, events = _Digests(algorithms), [first]
    end = _end(data)
    while reader.offset < end:
        events.append(_event(reader, digests) if agile else _legacy_event(reader))
    return EventLog(
        crypto_agile=agile, algorithms=algorithms, events=tuple(events),
        filler=data[-1] if reader.left else 0, filled=reader.left,
    )  # fmt: skip


def _end(data: bytes) -> int:
    """Where filling may begin: behind the last byte that is not the last one over again, if that is 0xff or 0x00.

    Found once, in one pass. An event that reaches into the filling is still read; none can begin in it, because it
    would have no digest, or a register beyond all.
    """
    return len(data.rstrip(data[-1:])) if data[-1] in {0, 0xFF} else len(data)


def _legacy_event(reader: Reader) -> Event:
    offset = reader.offset
    register, kind, digest, size = LEGACY_HEAD.unpack(reader.take(LEGACY_HEAD.size, "register, type, digest, size"))
    _check_register(reader, register, kind)
    return Event(register, kind, ((SHA1, digest),), reader.take(size, "event data"), offset)


class _Digests:
    """How the digests of an event are laid out in one log, the data's size behind them; `sizes` are by TPM_ALG_ID."""

    __slots__ = ("layout", "numbers", "sizes")

    def __init__(self, algorithms: tuple[tuple[int, int], ...]) -> None:
        self.sizes, self.numbers = dict(algorithms), tuple(number for number, _ in algorithms)
        self.layout = struct.Struct("<" + "".join(f"H{size}s" for _, size in algorithms) + "I")


def _event(reader: Reader, digests: _Digests) -> Event:
    offset = reader.offset
    register, kind, count = AGILE_HEAD.unpack(reader.take(AGILE_HEAD.size, "register, type, digest count"))
    _check_register(reader, register, kind)
    if count != len(digests.numbers):
        raise reader.error("digest count", f"is {count}; this log has {len(digests.numbers)} algorithms")
    start = reader.offset
    taken = reader.take(digests.layout.size, "digests")
    *values, size = digests.layout.unpack(taken)
    if tuple(values[::2]) == digests.numbers:
        found = tuple(zip(values[::2], values[1::2], strict=True))
    else:
        found = _in_another_order(Reader(taken[:-4], "event log", base=reader.base + start), digests.sizes)
    return Event(register, kind, found, reader.take(size, "event data"), offset)


def _in_another_order(reader: Reader, sizes: dict[int, int]) -> tuple[tuple[int, bytes], ...]:
    """All digests of an event, each algorithm once, as they stand: the log's order is usual, not demanded."""
    found: dict[int, bytes] = {}
    while reader.left:
        algorithm = reader.u16("algorithm")
        if algorithm not in sizes or algorithm in found:
            raise reader.error("algorithm", f"{algorithm:#x} is not one of this log's, or stands twice in one event")
        found[algorithm] = reader.take(sizes[algorithm], "digest")
    return tuple(found.items())


def _check_register(reader: Reader, register: int, kind: int) -> None:
    if register >= REGISTERS and kind != EV_NO_ACTION:
        raise reader.error("register", f"{register:#x} does not exist")


def _spec_id(event: Event, base: int) -> tuple[tuple[int, int], ...]:
    """The algorithms that a crypto-agile log's first event names (TCG_EfiSpecIdEvent)."""
    if event.digests[0][1] != bytes(20):
        raise ParseError(
            "event log", "digest", base + event.offset + 8, "the first event extends nothing: must be zero"
        )
    reader = Reader(event.data, "event log", base=base + event.offset + 32)
    reader.take(len(SPEC_ID) + 4, "platform class")
    version = reader.take(4, "version")
    if version[1] != 2:
        raise reader.error("version", f"{version[1]}.{version[0]}: only version 2 is understood")
    count = reader.u32("number of algorithms")
    if not 1 <= count <= MOST_ALGORITHMS:
        raise reader.error("number of algorithms", f"{count}; 1 to {MOST_ALGORITHMS} are understood")
    algorithms = tuple((reader.u16("algorithm"), reader.u16("digest size")) for _ in range(count))
    for number, size in algorithms:
        if size != ALGORITHMS.get(number, ("", size))[1] or not 1 <= size <= 128:
            raise reader.error("digest size", f"algorithm {number:#x} has no digests of {size} bytes")
    if len(dict(algorithms)) < count:
        raise reader.error("algorithm", "stands twice")
    reader.take(reader.u8("vendor information size"), "vendor information")
    reader.finish()
    return algorithms
