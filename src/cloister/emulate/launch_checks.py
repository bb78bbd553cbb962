"""What each command of a launch makes its receiver check and do, in one line for people.

Sources: Intel SDM volume 3D, chapter 41 (ENCLS); AMD 56860 (SNP_*); Intel TDX Module 1.5 ABI specification (TDH.*);
Arm DEN0137, RMM specification 1.0 (RMI_*); Keystone, sm/src/enclave.c (SBI_SM_*).
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["CHECKS"]

CHECKS: Final[Mapping[str, str]] = {
    "ECREATE": "size, base and attributes can be; the measurement begins with the size",
    "EADD": "the EPC page is free, and belongs to this enclave from now on; its address and flags are measured",
    "EEXTEND": "256 bytes at a time, the content is measured as it stands in the EPC",
    "EINIT": "the author's SIGSTRUCT verifies and names this very measurement; nothing can be added any more",
    "SNP_GCTX_CREATE": "the page is the firmware's in the RMP; it holds the guest's context from now on",
    "SNP_LAUNCH_START": "the policy can be kept here; the guest gets keys that nobody else learns",
    "SNP_ACTIVATE": "the ASID is free; the memory controller gets the guest's key",
    "SNP_LAUNCH_UPDATE": "the page is this guest's in the RMP; content, address and kind are measured, then encrypted",
    "SNP_LAUNCH_FINISH": "an ID block, if there is one, names this measurement; nothing can be added any more",
    "TDH.MNG.CREATE": "the page and the key id are free; they are this TD's from now on",
    "TDH.MNG.KEY.CONFIG": "the memory controller makes a key that nobody ever sees",
    "TDH.MNG.ADDCX": "the page is free; the TD's control structure takes it",
    "TDH.MNG.INIT": "attributes and XFAM are allowed; the measurement begins",
    "TDH.MEM.SEPT.ADD": "the page is free; it becomes a table that only the module writes",
    "TDH.MEM.PAGE.ADD": "the page is free, the address unmapped; it is copied in, and the address measured",
    "TDH.MR.EXTEND": "256 bytes at a time, the content is measured as it stands in the TD's memory",
    "TDH.VP.CREATE": "the page is free; a virtual processor begins there",
    "TDH.VP.ADDCX": "the page is free; the processor's state takes it",
    "TDH.VP.INIT": "the processor gets its architectural initial state, which the host cannot choose",
    "TDH.MR.FINALIZE": "there is a processor; MRTD stands, no content can be added any more",
    "RMI_GRANULE_DELEGATE": "the granule is the host's; it passes into the realm world, and the host cannot reach it",
    "RMI_REALM_CREATE": "the parameters can be; the realm initial measurement begins with them",
    "RMI_RTT_CREATE": "the granule is delegated; it becomes a table that only the monitor writes",
    "RMI_DATA_CREATE": "the granule is delegated, the address empty; content and address are measured",
    "RMI_RTT_INIT_RIPAS": "the realm is new; which addresses are memory is measured",
    "RMI_REC_AUX_COUNT": "nothing: the host asks how many granules a processor takes",
    "RMI_REC_CREATE": "the realm is new; where the processor begins is measured",
    "RMI_REALM_ACTIVATE": "the realm is new; nothing can be measured any more",
    "SBI_SM_CREATE_ENCLAVE": "the regions are in order and nobody else's; PMP closes them, then all of it is measured",
    "SBI_SM_RUN_ENCLAVE": "the enclave is fresh; PMP opens its memory to this hart alone",
}
"""Command -> what is checked; commands that are not here check their operands only."""
