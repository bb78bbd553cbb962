"""What the monitor knows of every granule that the host may delegate: its state, and what still refers to it.

RMM specification 1.0, "Granule state machine"; TF-RMM, lib/granule. Model: this table is the monitor's own and small;
it is not kept in DRAM.
"""

from collections import Counter
from enum import IntEnum

from cloister.emulate.cca.rmi import CallFailed, Rmi, RmiStatus
from cloister.measure.image import PAGE

__all__ = ["GranuleState", "Granules"]


class GranuleState(IntEnum):
    """What a granule is used for. NS: not the monitor's."""

    NS = 0
    DELEGATED = 1
    RD = 2
    REC = 3
    REC_AUX = 4
    DATA = 5
    RTT = 6


class Granules:
    """The granules from page 0 on that the host may delegate, `count` of them."""

    def __init__(self, count: int) -> None:
        self._states = bytearray(count)
        self.references: Counter[int] = Counter()
        """By page: entries of a table that are in use, processors of a realm, and so on."""

    def __len__(self) -> int:
        return len(self._states)

    def state(self, page: int) -> GranuleState:
        """The state of a page. IndexError beyond what may be delegated."""
        return GranuleState(self._states[page])

    def set(self, page: int, state: GranuleState) -> None:
        """A granule changes its state."""
        self._states[page] = state

    def pages(self, state: GranuleState) -> list[int]:
        """All pages in a state."""
        return [page for page, one in enumerate(self._states) if one == state]

    def page_of(self, address: int) -> int | None:
        """The page of an address, or None if it is no granule's."""
        page, offset = divmod(address, PAGE)
        return page if offset == 0 and 0 <= page < len(self._states) else None

    def require(self, call: Rmi, address: int, state: GranuleState) -> int:
        """The page of an address whose granule must be in a state. CallFailed."""
        page = self.page_of(address)
        if page is None:
            reason = f"{address:#x} is the address of no granule that may be delegated"
            raise CallFailed(call, RmiStatus.ERROR_INPUT, reason)
        if self.state(page) is not state:
            reason = f"granule {address:#x} is {self.state(page).name}, not {state.name}"
            raise CallFailed(call, RmiStatus.ERROR_INPUT, reason)
        return page
