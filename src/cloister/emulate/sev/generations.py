"""The AMD generations that are emulated: how many guests have a key, where the C-bit stands, how memory is encrypted.

CPUID Fn8000_001F says the first three (AMD APM volume 3, appendix E.4.17). Slots as real machines show them: 15 on the
first parts (OpenStack Nova's manual, num_memory_encrypted_guests), 509 on Rome and Milan, 1006 on Genoa (issues 187
and 193 of virtee/snphost). How many of them are for SEV-ES is a setting of the firmware (MIN_SEV_ASID); here a fifth,
as on a Milan machine with 410 and 99.
"""

from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from cloister.emulate.memory.cipher import MemoryCipher
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.memory.xex import XexCipher
from cloister.emulate.memory.xts import XtsCipher
from cloister.errors import UsageError
from cloister.evidence.snp import Product

__all__ = ["GENERATIONS", "Generation", "GenerationName", "generation_of"]

XEX_BITS: Final = 128

GenerationName: TypeAlias = Literal["naples", "rome", "milan", "genoa"]


class Generation(NamedTuple):
    """One generation.

    ASIDs 1 to `es_asids` are for SEV-ES guests, those behind up to `asids` for SEV guests (Fn8000_001F, EDX and ECX).
    `c_bit` is the bit of a page table entry that asks for encryption, `reduction` how many physical address bits go
    with it. `key_bits` of a memory key: 128 is XEX with the first parts' linear tweak, 256 and 512 are AES-128-XTS and
    AES-256-XTS, which stand for the later parts' tweaks: what AMD made of them is not published.
    `product` is whose authorities certify its chips here: AMD's earlier ones differ from Milan's only by their keys.
    """

    name: str
    asids: int
    es_asids: int
    c_bit: int
    reduction: int
    key_bits: int
    product: Product

    def cipher(self, dram: Dram, key: bytes) -> MemoryCipher:
        """The memory controller's cipher under one guest's key, of `key_bits`."""
        if self.key_bits == XEX_BITS:
            return XexCipher(dram, key=key)
        return XtsCipher(dram, bits=self.key_bits // 2, key=key)

    def asids_for(self, *, encrypted_state: bool) -> range:
        """The ASIDs that a guest may have (AMD 55766, ACTIVATE): SEV-ES guests the low ones, SEV guests the rest."""
        return range(1, self.es_asids + 1) if encrypted_state else range(self.es_asids + 1, self.asids + 1)


GENERATIONS: Final = {
    "naples": Generation("naples", 15, 3, 47, 5, 128, Product.MILAN),
    "rome": Generation("rome", 509, 99, 47, 5, 256, Product.MILAN),
    "milan": Generation("milan", 509, 99, 51, 5, 256, Product.MILAN),
    "genoa": Generation("genoa", 1006, 200, 51, 6, 512, Product.GENOA),
}


def generation_of(name: GenerationName | str) -> Generation:
    """The generation of that name. UsageError if there is none."""
    if name not in GENERATIONS:
        raise UsageError(f"{name!r} is no generation with SEV; known are {', '.join(get_args(GenerationName))}")
    return GENERATIONS[name]
