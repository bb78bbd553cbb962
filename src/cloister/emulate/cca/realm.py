"""A realm as the monitor keeps it: the realm descriptor (RD), in a granule that the host gave and cannot reach.

RMM specification 1.0, "Realm", and "RmiRealmParams" for what the host asks for. The RD's layout is the monitor's own
business: here it is this project's. It is read again at every call, so what DRAM holds counts.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

from cloister._wire import Record, raw, reserved, u8, u16, u64
from cloister.emulate.cca.memory import MONITOR_MECID, PasMemory, key_of
from cloister.emulate.cca.rmi import MonitorPanic
from cloister.measure.cca import RealmInitialMeasurement, RealmParameters, extend
from cloister.model import Digest

__all__ = ["REGISTERS", "RealmDescriptor", "RealmParamsPage", "RealmState", "load_realm", "save_realm", "state_of"]

Algorithm = Literal["sha256", "sha512"]
ALGORITHMS: Final[tuple[Algorithm, Algorithm]] = ("sha256", "sha512")
"""By the number in the parameters."""

SIZES: Final = {"sha256": 32, "sha512": 64}
REGISTERS: Final = 4
"""Extensible measurements (REM) of a realm."""

FIELD: Final = 64


class RealmState(IntEnum):
    """RMM specification 1.0, "Realm lifecycle"."""

    NEW = 0
    ACTIVE = 1
    SYSTEM_OFF = 2


class RealmParamsPage(Record, size=4096):
    """`struct rmi_realm_params`, which the host puts into a page of its own."""

    flags: int = u64()
    s2sz: int = u8()
    reserved_9: bytes = reserved(7)
    sve_vl: int = u8()
    reserved_17: bytes = reserved(7)
    num_bps: int = u8()
    reserved_25: bytes = reserved(7)
    num_wps: int = u8()
    reserved_33: bytes = reserved(7)
    pmu_num_ctrs: int = u8()
    reserved_41: bytes = reserved(7)
    hash_algo: int = u8()
    reserved_49: bytes = reserved(0x400 - 49)
    rpv: bytes = raw(FIELD)
    reserved_440: bytes = reserved(0x800 - 0x440)
    vmid: int = u16()
    reserved_802: bytes = reserved(6)
    rtt_base: int = u64()
    rtt_level_start: int = u64()
    rtt_num_start: int = u64()
    reserved_820: bytes = reserved(0x1000 - 0x820)

    @classmethod
    def of(
        cls, measured: RealmParameters, *, rpv: bytes, vmid: int, rtt_base: int, rtt_level: int
    ) -> "RealmParamsPage":
        """The page for measured parameters, and for what is not measured. One root table."""
        return cls(
            flags=measured.flags, s2sz=measured.s2sz, sve_vl=measured.sve_vl, num_bps=measured.num_bps,
            num_wps=measured.num_wps, pmu_num_ctrs=measured.pmu_num_ctrs,
            hash_algo=ALGORITHMS.index(measured.hash_algorithm), rpv=rpv.ljust(FIELD, b"\0"), vmid=vmid,
            rtt_base=rtt_base, rtt_level_start=rtt_level, rtt_num_start=1,
        )  # fmt: skip

    @property
    def algorithm(self) -> Algorithm | None:
        """The hash that measures the realm, or None if there is none of that number."""
        return ALGORITHMS[self.hash_algo] if self.hash_algo < len(ALGORITHMS) else None

    def measured(self, algorithm: Algorithm) -> RealmParameters:
        """The part that the realm's initial measurement covers."""
        return RealmParameters(
            flags=self.flags, s2sz=self.s2sz, sve_vl=self.sve_vl, num_bps=self.num_bps, num_wps=self.num_wps,
            pmu_num_ctrs=self.pmu_num_ctrs, hash_algorithm=algorithm,
        )  # fmt: skip


@dataclass(slots=True)
class RealmDescriptor:
    """What the monitor knows of a realm. `root` is the page of its root table, `processors` how many it has."""

    state: RealmState
    s2sz: int
    level: int
    root: int
    vmid: int
    mecid: int
    processors: int
    rim: RealmInitialMeasurement
    rems: list[Digest]
    rpv: bytes

    @classmethod
    def new(cls, params: RealmParamsPage, algorithm: Algorithm, root: int, mecid: int) -> "RealmDescriptor":
        """As RMI_REALM_CREATE makes it: the parameters are measured, the registers are zero."""
        zero = Digest(algorithm, bytes(SIZES[algorithm]))
        return cls(
            state=RealmState.NEW, s2sz=params.s2sz, level=params.rtt_level_start, root=root, vmid=params.vmid,
            mecid=mecid, processors=0, rim=RealmInitialMeasurement.create(params.measured(algorithm)),
            rems=[zero] * REGISTERS, rpv=params.rpv,
        )  # fmt: skip

    @property
    def key(self) -> int:
        """The memory controller's key id for the realm's memory."""
        return key_of(self.mecid)

    @property
    def half(self) -> int:
        """The first address that is unprotected, in bytes: the upper half of addresses is shared with the host."""
        return 1 << (self.s2sz - 1)

    def protected(self, ipa: int) -> bool:
        """Whether an address is in the realm's own half."""
        return 0 <= ipa < self.half

    def extend(self, index: int, value: bytes) -> None:
        """RSI_MEASUREMENT_EXTEND of register 0 to 3."""
        self.rems[index] = extend(self.rems[index], value)


LAYOUT: Final = struct.Struct("<8Q" + f"{FIELD}s" * (2 + REGISTERS))
STATE, MECID = 0, 5
"""The numbers of the words that hold the realm's state, and its MECID."""


def save_realm(memory: PasMemory, page: int, realm: RealmDescriptor) -> None:
    """Put a realm into its RD."""
    algorithm = ALGORITHMS.index("sha256" if realm.rim.digest.algorithm == "sha256" else "sha512")
    numbers = (realm.state, realm.s2sz, realm.level, realm.root, realm.vmid, realm.mecid, realm.processors, algorithm)
    content = LAYOUT.pack(*numbers, realm.rim.digest.value, *(one.value for one in realm.rems), realm.rpv)
    memory.write(page, key_of(MONITOR_MECID), 0, content)


def load_realm(memory: PasMemory, page: int) -> RealmDescriptor:
    """The realm of an RD. MonitorPanic if that is not what a monitor wrote."""
    content = memory.read(page, key_of(MONITOR_MECID), 0, LAYOUT.size)
    state, s2sz, level, root, vmid, mecid, processors, number, rim, *rems, rpv = LAYOUT.unpack(content)
    if state > RealmState.SYSTEM_OFF or number >= len(ALGORITHMS) or not 0 < s2sz <= 48 or level > 3:
        raise MonitorPanic(f"the realm descriptor in granule {page:#x} is not one: DRAM was changed")
    algorithm = ALGORITHMS[number]
    digests = [Digest(algorithm, one[: SIZES[algorithm]]) for one in (rim, *rems)]
    return RealmDescriptor(
        state=RealmState(state), s2sz=s2sz, level=level, root=root, vmid=vmid, mecid=mecid, processors=processors,
        rim=RealmInitialMeasurement(digests[0]), rems=digests[1:], rpv=rpv,
    )  # fmt: skip


def state_of(memory: PasMemory, page: int) -> int:
    """Only the state, for the hot path of RMI_REC_ENTER."""
    return memory.word(page, key_of(MONITOR_MECID), STATE)


def mecid_of(memory: PasMemory, page: int) -> int:
    """Only the MECID, for the hot path of REC entry and exit."""
    return memory.word(page, key_of(MONITOR_MECID), MECID)
