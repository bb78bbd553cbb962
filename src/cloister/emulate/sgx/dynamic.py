"""Memory that the enclave gets, changes and gives back while it runs: the shim's part of SGX2 (Intel SDM 3D, 39.5).

The shim asks the host, leaving the enclave for it, and accepts what the host did, page by page. It has a book of its
own of what it accepted, because only the processor can read the EPCM.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from cloister.emulate.host import Cause
from cloister.emulate.paging import Access, MemoryFault, Stage
from cloister.emulate.sgx import grow
from cloister.emulate.sgx.enclave_machine import EnclaveMachine
from cloister.emulate.sgx.outcomes import Code, EnclaveLost, Fault
from cloister.emulate.sgx.structures import PageType, SecInfo
from cloister.emulate.sgx.swap import Refusal
from cloister.emulate.tables import pages_of
from cloister.measure.enclave import ELRANGE_END
from cloister.measure.image import PAGE, Permission
from cloister.measure.sgx import SecinfoFlags

__all__ = ["DynamicEnclave"]

REG: Final = int(SecinfoFlags.REG)
TRIM: Final = PageType.TRIM << 8
READ_WRITE: Final = Permission.READ | Permission.WRITE


@contextmanager
def lost_if_refused() -> Iterator[None]:
    """A page that cannot be accepted is the end: the program would go on with memory that is not what it asked for."""
    try:
        yield
    except MemoryFault as fault:
        if fault.stage is Stage.TEE:
            raise EnclaveLost(str(fault)) from fault
        raise


class DynamicEnclave(EnclaveMachine):
    """`granted` is the shim's book: which permissions each page has in the EPCM, by number."""

    granted: dict[int, Permission]

    def map(self, address: int, size: int, permission: Permission) -> None:
        """Promise memory. MemoryError beyond the end of ELRANGE."""
        if address + size > ELRANGE_END:
            raise MemoryError(f"{address + size:#x} is beyond the enclave's end, {ELRANGE_END:#x}")
        super().map(address, size, permission)

    def commit(self, address: int, permission: Permission) -> None:
        """EACCEPT a page that the host added, which is zeros; EMODPE if instructions are to be fetched from it."""
        self._accept(address, REG | int(READ_WRITE) | int(SecinfoFlags.PENDING))
        self.granted[address >> 12] = READ_WRITE
        self._extend(address >> 12, permission)

    def release(self, address: int) -> None:
        """Give one page back."""
        self._give_back([address >> 12])

    def change(self, address: int, permission: Permission) -> None:
        """Change one page."""
        self._change([address >> 12], permission)

    def unmap(self, address: int, size: int) -> None:
        """Give memory back: EMODT, EACCEPT, EREMOVE for pages that are there."""
        numbers = [place >> 12 for place in pages_of(address, size)]
        promised = {number for number in numbers if self.reserved.pop(number, None) is not None}
        with lost_if_refused():
            for number in filter(self.driver.knows, promised):  # the host has added it: it is trimmed as any other
                self.commit(number * PAGE, READ_WRITE)
            self._give_back([number for number in numbers if number not in promised or self.driver.knows(number)])

    def protect(self, address: int, size: int, permission: Permission) -> None:
        """Change what memory may be used for: EMODPR and EACCEPT to take, EMODPE to give."""
        numbers = [place >> 12 for place in pages_of(address, size)]
        promised = self.reserved.keys() & numbers
        self.reserved |= dict.fromkeys(promised, permission)
        self.driver.allow([number for number in promised if self.driver.knows(number)], permission)
        with lost_if_refused():
            self._change([number for number in numbers if number not in promised], permission)

    def _give_back(self, numbers: Iterable[int]) -> None:
        own = [number for number in numbers if number in self.granted]
        if not own:
            return
        self._ask(lambda: self.driver.trim(own))
        for number in own:
            self._accept(number * PAGE, TRIM | int(SecinfoFlags.MODIFIED))
            del self.granted[number]
        self._ask(lambda: self.driver.remove(own))

    def _change(self, numbers: Iterable[int], permission: Permission) -> None:
        """EACCEPT reads the page's entry, so READ stays in the EPCM: without it, the host's table alone forbids."""
        own = [number for number in numbers if number in self.granted]
        kept = permission | Permission.READ
        lessened = [number for number in own if self.granted[number] & ~kept]
        if own:
            self._ask(lambda: self._changed_by_host(own, permission, lessened, kept))
        for number in lessened:
            self.granted[number] &= kept
            self._accept(number * PAGE, REG | int(self.granted[number]) | int(SecinfoFlags.RESTRICTED))
        for number in own:
            self._extend(number, permission)

    def _changed_by_host(
        self, numbers: list[int], permission: Permission, lessened: list[int], kept: Permission
    ) -> None:
        """mprotect, and the ioctl for EMODPR."""
        self.driver.allow(numbers, permission)
        if lessened:
            self.driver.restrict(lessened, kept)

    def _ask(self, request: Callable[[], object]) -> None:
        """Leave, have the host's driver do something, and come back. EnclaveLost if the processor refuses."""
        self.leave(Cause.SYSTEM_CALL)
        try:
            request()
        except (Fault, Refusal) as refusal:
            raise EnclaveLost(str(refusal)) from refusal
        finally:
            self.forget_translations()
            self.enter(Cause.SYSTEM_CALL)

    def _accept(self, address: int, flags: int) -> None:
        """EACCEPT, or the end: the host did not do what it was asked."""
        try:
            code = grow.eaccept(self.cpu, SecInfo(flags=flags), address, self.walk(address))
        except Fault as fault:
            raise MemoryFault(address, Access.WRITE, Stage.TEE, str(fault)) from fault
        if code is not Code.SUCCESS:
            raise MemoryFault(address, Access.WRITE, Stage.TEE, f"EACCEPT refuses: {code}")

    def _extend(self, number: int, permission: Permission) -> None:
        """EMODPE, if a page lacks a permission."""
        if permission & ~self.granted[number]:
            address = number * PAGE
            secinfo = SecInfo(flags=REG | int(permission | self.granted[number]))
            grow.emodpe(self.cpu, secinfo, address, self.walk(address))
            self.granted[number] |= permission
