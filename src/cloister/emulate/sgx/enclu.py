"""ENCLU as a program executes it: bytes 0F 01 D7, the leaf in RAX, operands in RBX, RCX, RDX (Intel SDM 3D, 41.4).

    EREPORT 0    RBX TARGETINFO, RCX REPORTDATA, RDX where the REPORT goes
    EGETKEY 1    RBX KEYREQUEST, RCX where the key goes; RAX and ZF tell whether there is one
    EEXIT   4    RBX target
    EACCEPT 5    RBX SECINFO, RCX page; RAX and ZF
    EMODPE  6    RBX SECINFO, RCX page
    EACCEPTCOPY 7    RBX SECINFO, RCX page, RDX page to copy; RAX and ZF

EENTER and ERESUME are the host's.
"""

from typing import Final, Protocol

from cloister.emulate.paging import Access
from cloister.emulate.sgx import grow, keys
from cloister.emulate.sgx.enter import Registers
from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.processor import Processor
from cloister.emulate.sgx.structures import KeyRequest, SecInfo
from cloister.emulate.vendors.intel_reports import TargetInfo
from cloister.errors import ParseError

__all__ = ["EEXIT", "ENCLU", "EnclaveSpace", "execute"]

ENCLU: Final = b"\x0f\x01\xd7"
EEXIT: Final = 4
ZERO_FLAG: Final = 0x40
STATUS_FLAGS: Final = 0x1 | 0x4 | 0x10 | ZERO_FLAG | 0x80 | 0x800


class EnclaveSpace(Protocol):
    """The running enclave's memory, as its own instructions reach it. MemoryFault."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address."""

    def write(self, address: int, data: bytes) -> None:
        """Set bytes at an address."""

    def walk(self, address: int) -> int:
        """Where the host's page tables lead."""


def execute(cpu: Processor, space: EnclaveSpace, registers: Registers) -> Registers:
    """Execute any leaf but EEXIT; returns the registers after it. Fault, MemoryFault."""
    cpu.inside("ENCLU")
    leaf = registers["rax"] & 0xFFFFFFFF
    leaves = {0: _ereport, 1: _egetkey, 5: _eaccept, 6: _emodpe, 7: _eacceptcopy}
    if leaf not in leaves:
        raise Fault("ENCLU", f"leaf {leaf} is not for programs in an enclave of this processor")
    code = leaves[leaf](cpu, space, registers)
    after = {**registers, "rip": registers["rip"] + len(ENCLU)}
    if code is not None:
        after["rax"] = code
        after["rflags"] = registers["rflags"] & ~STATUS_FLAGS | (ZERO_FLAG if code else 0)
    return after


def _ereport(cpu: Processor, space: EnclaveSpace, registers: Registers) -> None:
    target_at, data_at, output = registers["rbx"], registers["rcx"], registers["rdx"]
    _check("EREPORT", {"TARGETINFO": (target_at, 512), "REPORTDATA": (data_at, 128), "the output": (output, 512)})
    try:
        target = TargetInfo.parse(space.read(target_at, TargetInfo.SIZE))
    except ParseError as error:
        raise Fault("EREPORT", f"TARGETINFO: {error.field}: {error.reason}") from error
    secs = cpu.secs(cpu.inside("EREPORT"))
    space.write(output, keys.ereport(cpu.fuses, secs, target, space.read(data_at, 64)).serialize())


def _egetkey(cpu: Processor, space: EnclaveSpace, registers: Registers) -> Code:
    request_at, output = registers["rbx"], registers["rcx"]
    _check("EGETKEY", {"KEYREQUEST": (request_at, 512), "the output": (output, 16)})
    try:
        request = KeyRequest.parse(space.read(request_at, KeyRequest.SIZE))
    except ParseError as error:
        raise Fault("EGETKEY", f"KEYREQUEST: {error.field}: {error.reason}") from error
    key = keys.egetkey(cpu.fuses, cpu.secs(cpu.inside("EGETKEY")), request)
    if isinstance(key, Code):
        return key
    space.write(output, key)
    return Code.SUCCESS


def _eaccept(cpu: Processor, space: EnclaveSpace, registers: Registers) -> Code:
    address = registers["rcx"]
    secinfo = _secinfo("EACCEPT", space, registers)
    return grow.eaccept(cpu, secinfo, address, space.walk(address))


def _eacceptcopy(cpu: Processor, space: EnclaveSpace, registers: Registers) -> Code:
    address, source = registers["rcx"], registers["rdx"]
    secinfo = _secinfo("EACCEPTCOPY", space, registers)
    _check("EACCEPTCOPY", {"the source": (source, 4096)})
    page, origin = space.walk(address), space.walk(source)
    cpu.epcm.check(origin, source, Access.READ, cpu.inside("EACCEPTCOPY"))
    return grow.eacceptcopy(cpu, secinfo, address, page, origin)


def _emodpe(cpu: Processor, space: EnclaveSpace, registers: Registers) -> None:
    address = registers["rcx"]
    secinfo = _secinfo("EMODPE", space, registers)
    grow.emodpe(cpu, secinfo, address, space.walk(address))


def _secinfo(name: str, space: EnclaveSpace, registers: Registers) -> SecInfo:
    _check(name, {"SECINFO": (registers["rbx"], 64), "the page": (registers["rcx"], 4096)})
    try:
        return SecInfo.parse(space.read(registers["rbx"], SecInfo.SIZE))
    except ParseError as error:
        raise Fault(name, f"SECINFO: {error.field}: {error.reason}") from error


def _check(name: str, operands: dict[str, tuple[int, int]]) -> None:
    for what, (address, aligned) in operands.items():
        if address % aligned:
            raise Fault(name, f"{what} at {address:#x} must be aligned to {aligned} bytes")
