"""The measurements of an Arm CCA realm: initial (RIM) and extensible (REM), as the Realm Management Monitor makes them.

Realm Management Monitor specification 1.0 (Arm DEN0137), "Realm measurement"; TF-RMM, lib/measurement. A RIM depends
on the order in which the host adds memory, and on where: it is computed by repeating the host's calls.

    rim = RealmInitialMeasurement.create(RealmParameters(s2sz=40))
    rim = rim.add_data(0x8000_0000, page).add_rec(pc=0x8000_0000).set_ram(0x8000_0000, 0x8020_0000)
    rim.digest
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cloister.measure.guest import GuestLayout
from cloister.measure.image import Architecture
from cloister.model import Digest

__all__ = [
    "BLOCK",
    "GRANULE",
    "RealmInitialMeasurement",
    "RealmParameters",
    "extend",
    "guest_digest",
    "table_entries",
]

GRANULE: Final = 4096
BLOCK: Final = 2 << 20
"""What one entry of a level-2 table maps."""

DESCRIPTOR: Final = 256
DIGEST_FIELD: Final = 64
DATA, REC, RIPAS = 0, 1, 2
"""Types of measurement descriptors."""
HASH_NUMBERS: Final = {"sha256": 0, "sha512": 1}
REC_REGISTERS: Final = 8
RUNNABLE: Final = 1
MEASURE: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RealmParameters:
    """What the host gives to RMI_REALM_CREATE and is measured (`struct rmi_realm_params`).

    `s2sz` is the width of the realm's addresses in bits. The personalisation value, VMID and translation tables are
    not measured.
    """

    flags: int = 0
    s2sz: int = 0
    sve_vl: int = 0
    num_bps: int = 0
    num_wps: int = 0
    pmu_num_ctrs: int = 0
    hash_algorithm: Literal["sha256", "sha512"] = "sha256"

    def image(self) -> bytes:
        """The 4,096 bytes of the structure with its measured fields only."""
        fields = (
            self.flags, self.s2sz, self.sve_vl, self.num_bps, self.num_wps, self.pmu_num_ctrs,
            HASH_NUMBERS[self.hash_algorithm],
        )  # fmt: skip
        return b"".join(map(word, fields)).ljust(GRANULE, b"\0")


@dataclass(frozen=True, slots=True)
class RealmInitialMeasurement:
    """A RIM as far as the realm is built. Every method gives the next one."""

    digest: Digest

    @classmethod
    def create(cls, parameters: RealmParameters) -> "RealmInitialMeasurement":
        """After RMI_REALM_CREATE."""
        return cls(Digest(parameters.hash_algorithm, hashed(parameters.hash_algorithm, parameters.image())))

    def add_data(self, ipa: int, content: bytes | None) -> "RealmInitialMeasurement":
        """RMI_DATA_CREATE of a granule of 4,096 bytes at an address; None where the host asks not to measure it."""
        if content is not None and len(content) != GRANULE:
            raise ValueError(f"a granule has {GRANULE} bytes, this one has {len(content)}")
        flags = 0 if content is None else MEASURE
        inner = b"" if content is None else hashed(self.digest.algorithm, content)
        return self._next(DATA, word(ipa) + word(flags) + inner)

    def add_rec(self, *, pc: int, gprs: Sequence[int] = (), flags: int = RUNNABLE) -> "RealmInitialMeasurement":
        """RMI_REC_CREATE of a virtual processor with its start address and first registers (x0 to x7)."""
        if len(gprs) > REC_REGISTERS:
            raise ValueError(f"{REC_REGISTERS} registers are measured, {len(gprs)} were given")
        image = bytearray(GRANULE)
        image[:8], image[0x200:0x208] = word(flags), word(pc)
        for number, value in enumerate(gprs):
            image[0x300 + 8 * number : 0x308 + 8 * number] = word(value)
        return self._next(REC, hashed(self.digest.algorithm, bytes(image)))

    def set_ram(self, base: int, top: int) -> "RealmInitialMeasurement":
        """RMI_RTT_INIT_RIPAS of one range, as the monitor processes it: one call for each table entry."""
        return self._next(RIPAS, word(base) + word(top))

    def _next(self, kind: int, content: bytes) -> "RealmInitialMeasurement":
        header = word(kind) + word(DESCRIPTOR) + self.digest.value.ljust(DIGEST_FIELD, b"\0")
        descriptor = (header + content).ljust(DESCRIPTOR, b"\0")
        return RealmInitialMeasurement(Digest(self.digest.algorithm, hashed(self.digest.algorithm, descriptor)))


def table_entries(base: int, top: int) -> Iterator[tuple[int, int]]:
    """The ranges, one for each table entry, as which the monitor gives [base, top) a state.

    Where the host has made level-3 tables only where it must: granules up to a boundary of 2 MiB, then blocks of
    2 MiB, then granules. ValueError unless the addresses are multiples of 4,096 bytes.
    """
    if base % GRANULE or top % GRANULE or base > top:
        raise ValueError(f"[{base:#x}, {top:#x}) is no range of granules of {GRANULE} bytes")
    while base < top:
        size = GRANULE if base % BLOCK or top - base < BLOCK else BLOCK
        yield base, base + size
        base += size


PROGRAM_REALM: Final = RealmParameters(s2sz=40)
"""The realm that a program is launched in, unless somebody asks for another."""

PROGRAM_MEMORY: Final = 1 << 30
"""Bytes of realm addresses that may become memory: the same whatever the host has, because RIPAS is measured."""


def guest_digest(
    guest: GuestLayout, *, parameters: RealmParameters = PROGRAM_REALM, memory: int = PROGRAM_MEMORY
) -> Digest:
    """The RIM of a program as a realm with `memory` bytes. CannotEnclave if it is not for arm64.

    In this order: the realm, the guest's pages (measured), free memory behind them as RAM (`table_entries`), and one
    runnable processor whose PC is the program's entry and whose registers are zero.
    """
    guest.require(Architecture.ARM64, "a CCA machine")
    running = RealmInitialMeasurement.create(parameters)
    for ipa, content in guest.pages:
        running = running.add_data(ipa, content)
    for base, top in table_entries(guest.end, memory):
        running = running.set_ram(base, top)
    return running.add_rec(pc=guest.parameters.start.entry).digest


def extend(register: Digest, value: bytes) -> Digest:
    """A REM after RSI_MEASUREMENT_EXTEND with 1 to 64 bytes. Registers begin as zeros of the hash's size."""
    if not 1 <= len(value) <= DIGEST_FIELD:
        raise ValueError(f"a register is extended with 1 to {DIGEST_FIELD} bytes, not {len(value)}")
    return Digest(register.algorithm, hashed(register.algorithm, register.value + value))


def hashed(algorithm: str, data: bytes) -> bytes:
    """The hash of data."""
    return hashlib.new(algorithm, data).digest()


def word(value: int) -> bytes:
    """64 bits, little-endian."""
    return value.to_bytes(8, "little")
