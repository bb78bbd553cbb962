"""No memory encryption: DRAM holds what programs wrote.

So it is with TrustZone (the base architecture has no encryption), with Keystone's security monitor, and natively: a
cold boot or bus probe reads everything (CaSE, S&P 2016; Keystone, EuroSys 2020, threat model).
"""

from typing import Final

from cloister.emulate.memory.cipher import PageData
from cloister.emulate.memory.dram_unsafe import Dram

__all__ = ["PlainCipher"]


class PlainCipher:
    """Copies. A page never written opens as zeros, which is what this DRAM starts with."""

    name: Final = "none"
    integrity: Final = False
    replay_protected: Final = False

    def __init__(self, dram: Dram) -> None:
        self._dram = dram

    def seal(self, page: int, data: PageData) -> None:
        """Copy 4,096 bytes to a physical page."""
        self._dram.page(page)[:] = data

    def open(self, page: int, into: memoryview) -> None:
        """Copy a physical page."""
        into[:] = self._dram.page(page)

    def describe(self) -> str:
        """One line for people."""
        return "DRAM is not encrypted: whoever reads the chips or the bus reads everything, and may change it unnoticed"

    def wipe(self) -> None:
        """There is no key."""
