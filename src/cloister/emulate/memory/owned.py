"""TDX logical integrity: a TD-owner bit beside memory, which notices writes by software that is not a TD.

A write under a key that is not a TD's clears the bit; a TD that reads a cleared page consumes poison, a machine check.
Who reads a TD's page with another key gets zeros, not ciphertext (Intel TDX Module base specification, memory
integrity; "Intel TDX Demystified", arXiv 2303.15540). The bit is not cryptographic: who changes the chips can change
it too.

Model: one bit for a page of 4,096 bytes, where the processor has one for each line of 64. It lies in DRAM, as on real
parts, where spare ECC bits hold it.
"""

from typing import Final

from cloister.emulate.memory.cipher import MemoryCipher, PageData
from cloister.emulate.memory.dram_unsafe import OWNER, Dram
from cloister.emulate.paging import IntegrityFault
from cloister.measure.image import PAGE

__all__ = ["OwnedCipher"]

ZEROS: Final = bytes(PAGE)


class OwnedCipher:
    """`inner` with the TD-owner bit around it. `td` says whether the key is a TD's; install the host's key so as well.

    A page that no TD wrote raises IntegrityFault when a TD opens it; what else a page opens as is `inner`'s.
    """

    def __init__(self, inner: MemoryCipher, dram: Dram, *, td: bool) -> None:
        self._inner = inner
        self._dram = dram
        self._td = td
        self.name = f"{inner.name} + TD-owner bit"
        self.integrity = inner.integrity
        self.replay_protected = inner.replay_protected

    def seal(self, page: int, data: PageData) -> None:
        """Write a page, and set or clear its owner bit."""
        self._inner.seal(page, data)
        self._dram.metadata(page)[OWNER] = self._td

    def open(self, page: int, into: memoryview) -> None:
        """Read a page; raises IntegrityFault for a TD when somebody else wrote it."""
        owned = self._dram.metadata(page)[OWNER] & 1
        if self._td and not owned:
            raise IntegrityFault(page, "#MC: TD-owner bit mismatch: software that is not a TD wrote this page")
        if owned and not self._td:
            into[:] = ZEROS
            return
        self._inner.open(page, into)

    def describe(self) -> str:
        """One line for people."""
        return f"{self._inner.describe()}; writes by software outside a TD are noticed (owner bit)"

    def wipe(self) -> None:
        """Forget the key."""
        self._inner.wipe()
