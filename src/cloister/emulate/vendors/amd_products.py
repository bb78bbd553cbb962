"""The AMD products that are emulated: what a processor of each says of itself in reports and certificates.

Names, layouts of TCB versions and sizes of chip identifiers are AMD's (57230, VCEK Certificate and KDS Interface
Specification, chapter 3; 56860, SEV-SNP Firmware ABI, section 2.2). Families and models are those of AMD's Processor
Programming References. The patch levels are ones that real processors had in 2024.
"""

from typing import Final, NamedTuple

from cloister.evidence.snp import MilanTcb, Product, TurinTcb

__all__ = ["MODELS", "Model"]


class Model(NamedTuple):
    """One model of a product.

    `product_name` as endorsement key certificates have it; `family`, `model`, `stepping` as CPUID and reports have
    them; `chip_id_size` in bytes, without the zeros that follow in reports; `tcb` the 8 bytes of its TCB version.
    """

    product_name: str
    family: int
    model: int
    stepping: int
    chip_id_size: int
    tcb: bytes


MODELS: Final = {
    Product.MILAN: Model(
        "Milan-B0", 0x19, 0x01, 1, 64, MilanTcb(bootloader=4, tee=0, snp=24, microcode=219).serialize()
    ),
    Product.GENOA: Model("Genoa", 0x19, 0x11, 1, 64, MilanTcb(bootloader=10, tee=0, snp=23, microcode=84).serialize()),
    Product.TURIN: Model(
        "Turin", 0x1A, 0x02, 1, 8, TurinTcb(fmc=1, bootloader=2, tee=1, snp=4, microcode=80).serialize()
    ),
}
"""The model that is emulated of each product."""
