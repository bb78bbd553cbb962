"""TZPC, the protection controller: one bit for each peripheral says whether the normal world may use it.

CoreLink TrustZone Protection Controller (BP147, Arm DTO 0015): TZPCDECPROTxStat, Set and Clr, at 0x800, 0x804, 0x808
and every 12 bytes. A set bit makes a peripheral non-secure; at reset all are secure.
"""

from collections.abc import Callable, Mapping
from typing import Final

from cloister.emulate.paging import Refused

__all__ = ["DECPROT", "Peripheral", "Tzpc"]

DECPROT: Final = 0x800
"""TZPCDECPROT0Stat; Set is 4 bytes further, Clr 8."""
STRIDE: Final = 12
BITS: Final = 8
REGISTERS: Final = 3

Peripheral = Callable[[], bytes]
"""What it answers when it is read."""


class Tzpc:
    """Peripherals by name, in the order of their bits. Raises ValueError for more than there are bits."""

    def __init__(self, peripherals: Mapping[str, Peripheral]) -> None:
        if len(peripherals) > BITS * REGISTERS:
            raise ValueError(f"{len(peripherals)} peripherals; there are {BITS * REGISTERS} bits")
        self._peripherals = dict(peripherals)
        self._open = 0

    def read_register(self, offset: int, *, secure: bool) -> int:
        """TZPCDECPROTxStat. Refused for the normal world."""
        number, place = self._place(offset, secure=secure)
        return self._open >> (BITS * number) & 0xFF if place == 0 else 0

    def write_register(self, offset: int, value: int, *, secure: bool) -> None:
        """TZPCDECPROTxSet or Clr. Refused for the normal world."""
        number, place = self._place(offset, secure=secure)
        bits = (value & 0xFF) << (BITS * number)
        if place == 4:
            self._open |= bits
        elif place == 8:
            self._open &= ~bits

    def open_to_normal(self, name: str) -> None:
        """Make one peripheral non-secure, by its register."""
        number, bit = divmod(list(self._peripherals).index(name), BITS)
        self.write_register(DECPROT + STRIDE * number + 4, 1 << bit, secure=True)

    def read(self, name: str, *, secure: bool) -> bytes:
        """Read a peripheral. Refused where it is secure and the reader is not; KeyError if there is none."""
        peripheral = self._peripherals[name]
        if not secure and not self._open >> list(self._peripherals).index(name) & 1:
            raise Refused(f"{name} is a secure peripheral (TZPC): the bus answers the normal world with an error")
        return peripheral()

    @staticmethod
    def _place(offset: int, *, secure: bool) -> tuple[int, int]:
        if not secure:
            raise Refused(f"the TZPC's register at {offset:#x} answers secure accesses only")
        return divmod(offset - DECPROT, STRIDE)
