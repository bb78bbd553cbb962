"""The runtime's own calls, which a program makes with ECALL as it makes Linux's.

Keystone, runtime/include/call/syscall_nums.h: 1003 attests, 1004 gives a sealing key, 1101 ends the enclave. 1001 and
1002 (calls to functions of the host's program, and its shared memory) are refused: there is no such program here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cloister.emulate.keystone.monitor import LONGEST_DATA
from cloister.emulate.keystone.sbi import Code, SbiError
from cloister.emulate.keystone.software_ports import KeystonePorts
from cloister.emulate.machine import Ending
from cloister.emulate.paging import MemoryFault

__all__ = ["ATTEST", "CALLS", "EXIT", "GET_SEALING_KEY", "OCALL", "SHARED_COPY"]

OCALL: Final = 1001
SHARED_COPY: Final = 1002
ATTEST: Final = 1003
GET_SEALING_KEY: Final = 1004
EXIT: Final = 1101

Call = Callable[[KeystonePorts, Sequence[int]], Ending | None]


def attest(machine: KeystonePorts, arguments: Sequence[int]) -> None:
    """a0: where the report goes, a1 and a2: data and its size. a0 becomes 0 or the monitor's code."""
    _answer(machine, arguments, machine.runtime.attest)


def get_sealing_key(machine: KeystonePorts, arguments: Sequence[int]) -> None:
    """a0: where the key of 192 bytes goes, a1 and a2: identifier and its size."""
    _answer(machine, arguments, machine.runtime.sealing_key)


def end(machine: KeystonePorts, arguments: Sequence[int]) -> Ending:
    """a0: the status."""
    status = arguments[0] & 0xFF
    machine.shim.finish(status)
    return Ending(status)


def refuse(machine: KeystonePorts, _arguments: Sequence[int]) -> None:
    """There is nobody to call."""
    machine.engine.set_result(Code.NOT_IMPLEMENTED)


def _answer(machine: KeystonePorts, arguments: Sequence[int], ask: Callable[[bytes], bytes]) -> None:
    """Copy in, ask, copy out: addresses are the program's, and checked as it would be."""
    target, source, size = arguments[:3]
    try:
        if size > LONGEST_DATA:
            code = Code.ILLEGAL_ARGUMENT
        else:
            machine.write(target, ask(machine.read(source, size)))
            code = Code.SUCCESS
    except SbiError as refused:
        code = refused.code
    except MemoryFault:
        code = Code.NOT_ACCESSIBLE
    machine.engine.set_result(code)


CALLS: Final[Mapping[int, Call]] = {
    OCALL: refuse,
    SHARED_COPY: refuse,
    ATTEST: attest,
    GET_SEALING_KEY: get_sealing_key,
    EXIT: end,
}
"""Number to what answers it."""
