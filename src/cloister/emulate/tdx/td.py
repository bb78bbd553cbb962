"""What the module keeps of a TD and of its virtual processors.

Intel TDX Module 1.5 base specification, chapters "TD life cycle" and "Virtual processors"; intel/tdx-module,
src/common/data_structures/td_control_structures.h and tdx_tdvps.h.

Two things really lie in memory, encrypted under the TD's key: TDINFO with the measurement registers in the first page
of TDCS, and the registers of a stopped processor in TDVPS (tdvps.py). Whoever can change DRAM can try to change them.
Model: the rest of TDR, TDCS and TDVPS stands on die, here.
"""

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cloister.emulate.tdx.keyed_memory import KeyedMemory
from cloister.emulate.tdx.params import TdParams
from cloister.emulate.tdx.sept import SecureEpt
from cloister.emulate.tdx.stepping import SteppingGuard
from cloister.measure.tdx import TdInfo

__all__ = ["FEWEST_TDCX", "MOST_TDCX", "TDVPS_PAGES", "Lifecycle", "OpState", "Td", "Vcpu", "VcpuState"]

FEWEST_TDCX: Final = 6
MOST_TDCX: Final = 9
"""Pages of TDCS; those beyond the sixth are for L2 TDs."""

TDVPS_PAGES: Final = 6
"""Pages of a virtual processor, TDVPR among them."""


class Lifecycle(IntEnum):
    """TDR.LIFECYCLE_STATE."""

    HKID_ASSIGNED = 0
    KEYS_CONFIGURED = 1
    BLOCKED = 2
    TEARDOWN = 3


class OpState(IntEnum):
    """TDCS.OP_STATE, without those of migration."""

    UNINITIALIZED = 0
    INITIALIZED = 1
    RUNNABLE = 2


class VcpuState(IntEnum):
    """TDVPS.VCPU_STATE."""

    UNINITIALIZED = 0x0
    READY = 0x2
    ACTIVE = 0x4
    DISABLED = 0x8


@dataclass(slots=True, eq=False)
class Vcpu:
    """One virtual processor. `pages` are those of TDVPS, TDVPR first. `epoch` is the TD's when it was last entered.

    `exposed` names the registers that the guest passed at its last VMCALL, which the host may answer in.
    """

    td: "Td"
    pages: list[int]
    state: VcpuState = VcpuState.UNINITIALIZED
    index: int = 0
    epoch: int = 0
    associated: bool = False
    exposed: tuple[str, ...] = ()
    guard: SteppingGuard = field(default_factory=SteppingGuard)


@dataclass(slots=True, eq=False)
class Td:
    """One TD. `tdr` and `tdcx` are physical pages. `digest` is MRTD while the TD is built."""

    tdr: int
    hkid: int
    lifecycle: Lifecycle = Lifecycle.HKID_ASSIGNED
    op_state: OpState = OpState.UNINITIALIZED
    fatal: bool = False
    tdcx: list[int] = field(default_factory=list)
    params: TdParams | None = None
    sept: SecureEpt = field(default_factory=SecureEpt)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha384)
    vcpus: list[Vcpu] = field(default_factory=list)
    epoch: int = 1
    written_back: bool = False

    @property
    def attributes(self) -> int:
        """As the host asked for them at TDH.MNG.INIT."""
        return self.params.attributes if self.params else 0

    def info(self, memory: KeyedMemory) -> TdInfo:
        """TDINFO, from TDCS. IntegrityFault."""
        return TdInfo.parse(memory.read(self.tdcx[0], self.hkid, 0, TdInfo.SIZE))

    def set_info(self, memory: KeyedMemory, **changed: bytes) -> None:
        """Change fields of TDINFO in TDCS. IntegrityFault."""
        fields = {name: value for name, value in self.info(memory).fields() if not name.startswith("reserved")}
        memory.write(self.tdcx[0], self.hkid, 0, TdInfo(**fields | changed).serialize())

    def tracked(self, epoch: int) -> bool:
        """Whether no processor can still hold a translation that was made before the TD's epoch passed `epoch`."""
        running = (vcpu.epoch for vcpu in self.vcpus if vcpu.state is VcpuState.ACTIVE)
        return self.epoch > epoch and all(entered > epoch for entered in running)
