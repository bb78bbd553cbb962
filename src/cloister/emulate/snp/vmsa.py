"""The VM save area: a page of the guest's own encrypted memory where its registers stand while it does not run.

AMD APM volume 2, table B-4, for the offsets. The processor saves all registers there at every exit and takes them from
there at entry; the hypervisor sees none. The RMP's VMSA bit says that a page may be used so.

With register protection (SEV_FEATURES bit 14) the registers are masked by a nonce that is new at each exit, so that
equal registers are not equal ciphertext: the answer to CIPHERLEAKS (USENIX Security 2021). Real parts mask what the
secrets page's bitmap says; here it is all that is saved.
"""

import os
from collections.abc import Sequence
from typing import Final

from cloister.emulate.sev.save_area import OFFSETS

__all__ = ["REGISTER_PROTECTION", "load_registers", "places_of", "save_registers"]

REGISTER_PROTECTION: Final = 1 << 14
"""SEV_FEATURES: VMSA register protection."""

WORD: Final = 8
FEATURES: Final = 0x3B0 // WORD
NONCE: Final = 0x300 // WORD


def places_of(names: Sequence[str]) -> tuple[int, ...]:
    """The places of registers in a save area, in words of 64 bits: what the other functions take."""
    return tuple(OFFSETS[name] // WORD for name in names)


def save_registers(page: memoryview, places: Sequence[int], values: Sequence[int]) -> None:
    """Write registers into a save area of 4,096 bytes, under a new nonce if its features say so."""
    words = page.cast("Q")
    if words[FEATURES] & REGISTER_PROTECTION:
        words[NONCE] = nonce = int.from_bytes(os.urandom(WORD), "little")
        values = [value ^ nonce for value in values]
    for place, value in zip(places, values, strict=True):
        words[place] = value


def load_registers(page: memoryview, places: Sequence[int]) -> list[int]:
    """Read registers back, whatever stands there now."""
    words = page.cast("Q")
    if words[FEATURES] & REGISTER_PROTECTION:
        nonce = words[NONCE]
        return [words[place] ^ nonce for place in places]
    return [words[place] for place in places]
