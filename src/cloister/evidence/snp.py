"""AMD SEV-SNP attestation reports, versions 2 to 5 (AMD document 56860, SEV-SNP Firmware ABI, section 7.3).

    0x000  head: versions, policy, identity, measurement, TCB
    0x188  version 2: reserved; from version 3 on: CPUID family, model, stepping
    0x1a0  chip, committed and launch TCB, firmware versions
    0x1f8  version 5: mitigation vectors; before: reserved
    0x2a0  signature over everything before it

Every number is little-endian. TCB versions are kept as their 8 bytes; `tcb_of` reads them in the layout of a product.
"""

import functools
from enum import IntEnum, StrEnum
from typing import ClassVar, Final

from cloister._wire import Record, nested, raw, reserved, u8, u32, u64
from cloister.errors import ParseError
from cloister.evidence.sev_keys import EcSignature
from cloister.model import Tee

__all__ = [
    "ECDSA_P384_SHA384",
    "REPORTS",
    "SIGNED",
    "MilanTcb",
    "Product",
    "Report",
    "ReportV2",
    "ReportV3",
    "ReportV4",
    "ReportV5",
    "SigningKey",
    "TcbVersion",
    "TurinTcb",
    "looks_like",
    "parse",
    "tcb_of",
]

SIZE: Final = 0x4A0
SIGNED: Final = 0x2A0
"""How many bytes, from the front, are under the signature."""

ECDSA_P384_SHA384: Final = 1
"""The only signature algorithm that is defined (AMD 56860, chapter 10)."""

TCBS: Final = ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb")
POLICY_RESERVED: Final = ((1 << 64) - 1) & ~((1 << 26) - 1)
POLICY_ONE: Final = 1 << 17
SIGNER_RESERVED: Final = 0xFFFF_FFE0


class Product(StrEnum):
    """Processor families by the names that AMD's Key Distribution Service has for them."""

    MILAN = "Milan"
    GENOA = "Genoa"  # also Bergamo and Siena
    TURIN = "Turin"


class SigningKey(IntEnum):
    """Which key signed a report: the chip's own, one that AMD loaded into it for a cloud provider, or none."""

    VCEK = 0
    VLEK = 1
    NONE = 7


class MilanTcb(Record, size=8):
    """TCB_VERSION of Milan and Genoa (AMD 56860, section 2.2): security patch levels of the firmware's parts."""

    bootloader: int = u8()
    tee: int = u8()
    reserved_2: bytes = reserved(4)
    snp: int = u8()
    microcode: int = u8()


class TurinTcb(Record, size=8):
    """TCB_VERSION of Turin (AMD 56860, section 2.2)."""

    fmc: int = u8()
    bootloader: int = u8()
    tee: int = u8()
    snp: int = u8()
    reserved_4: bytes = reserved(3)
    microcode: int = u8()


TcbVersion = MilanTcb | TurinTcb
"""The security patch levels of one platform, in the layout of its product."""


def tcb_of(value: bytes, product: Product, *, base: int = 0) -> TcbVersion:
    """Read a TCB version as that product lays it out."""
    record = TurinTcb if product is Product.TURIN else MilanTcb
    return record.parse(value, base=base)


class _Head(Record, size=0x188):
    """What every version has in front."""

    version: int = u32()
    guest_svn: int = u32()
    policy: int = u64()
    family_id: bytes = raw(16)
    image_id: bytes = raw(16)
    vmpl: int = u32()
    signature_algo: int = u32()
    current_tcb: bytes = raw(8)
    platform_info: int = u64()
    signer_info: int = u32()
    reserved_4c: bytes = reserved(4)
    report_data: bytes = raw(64)
    measurement: bytes = raw(48)
    host_data: bytes = raw(32)
    id_key_digest: bytes = raw(48)
    author_key_digest: bytes = raw(48)
    report_id: bytes = raw(32)
    report_id_ma: bytes = raw(32)
    reported_tcb: bytes = raw(8)


class Report(_Head, size=0x188):
    """An attestation report of any version, and what its bits say. The tail is the subclass's."""

    tee: ClassVar[Tee] = Tee.SNP

    # The tail: the same names in every version, declared here for readers and type checkers.
    chip_id: bytes
    committed_tcb: bytes
    current_build: int
    current_minor: int
    current_major: int
    committed_build: int
    committed_minor: int
    committed_major: int
    launch_tcb: bytes
    signature: EcSignature

    @property
    def products(self) -> tuple[Product, ...]:
        """The products that this report can be of. Version 2 does not say: AMD's certificate will."""
        if self.chip_id[8:] == bytes(56) and self.chip_id[:8] != bytes(8):
            return (Product.TURIN,)  # its chip identifiers have 8 bytes
        return (Product.MILAN, Product.GENOA)

    @property
    def debug(self) -> bool:
        """Whether the host may read and change the guest's memory (policy bit 19)."""
        return bool(self.policy & 1 << 19)

    @property
    def migration_agent(self) -> bool:
        """Whether the guest may be associated with a migration agent, which can read all of it (policy bit 18)."""
        return bool(self.policy & 1 << 18)

    @functools.cached_property
    def signing_key(self) -> SigningKey:
        """Which key signed."""
        return SigningKey(self.signer_info >> 2 & 7)

    @property
    def mask_chip_key(self) -> bool:
        """Whether the host had the firmware write zeros instead of a signature."""
        return bool(self.signer_info & 2)

    @property
    def author_key_en(self) -> bool:
        """Whether an author key vouched for the ID key at launch."""
        return bool(self.signer_info & 1)

    @functools.cached_property
    def signed(self) -> bytes:
        """The bytes under the signature."""
        return self.serialize()[:SIGNED]


class ReportV2(Report, size=SIZE):
    """Version 2: without the processor's family and model."""

    version: int = u32(equals=2)
    reserved_188: bytes = reserved(24)
    chip_id: bytes = raw(64)
    committed_tcb: bytes = raw(8)
    current_build: int = u8()
    current_minor: int = u8()
    current_major: int = u8()
    reserved_1eb: bytes = reserved(1)
    committed_build: int = u8()
    committed_minor: int = u8()
    committed_major: int = u8()
    reserved_1ef: bytes = reserved(1)
    launch_tcb: bytes = raw(8)
    reserved_1f8: bytes = reserved(168)
    signature: EcSignature = nested(EcSignature)


class _CpuidReport(Report, size=0x1F8):
    cpuid_fam_id: int = u8()
    cpuid_mod_id: int = u8()
    cpuid_step: int = u8()
    reserved_18b: bytes = reserved(21)
    chip_id: bytes = raw(64)
    committed_tcb: bytes = raw(8)
    current_build: int = u8()
    current_minor: int = u8()
    current_major: int = u8()
    reserved_1eb: bytes = reserved(1)
    committed_build: int = u8()
    committed_minor: int = u8()
    committed_major: int = u8()
    reserved_1ef: bytes = reserved(1)
    launch_tcb: bytes = raw(8)

    @property
    def products(self) -> tuple[Product, ...]:
        """The product, by family and model; none if that is not known here."""
        return products_of(self.cpuid_fam_id, self.cpuid_mod_id)


class ReportV3(_CpuidReport, size=SIZE):
    """Version 3: with the processor's family, model and stepping."""

    version: int = u32(equals=3)
    reserved_1f8: bytes = reserved(168)
    signature: EcSignature = nested(EcSignature)


class ReportV4(ReportV3, size=SIZE):
    """Version 4, laid out as version 3."""

    version: int = u32(equals=4)


class ReportV5(_CpuidReport, size=SIZE):
    """Version 5: with the mitigations of the firmware, at launch and now, as bit vectors."""

    version: int = u32(equals=5)
    launch_mit_vector: int = u64()
    current_mit_vector: int = u64()
    reserved_208: bytes = reserved(152)
    signature: EcSignature = nested(EcSignature)


MODELS: Final = (
    (Product.MILAN, 0x19, range(0x10)),
    (Product.GENOA, 0x19, range(0x10, 0x20)),
    (Product.GENOA, 0x19, range(0xA0, 0xB0)),
    (Product.TURIN, 0x1A, range(0x12)),
)
"""Product, CPUID family, models (AMD Processor Programming References; the same ranges as virtee/sev has)."""


@functools.lru_cache(maxsize=256)
def products_of(family: int, model: int) -> tuple[Product, ...]:
    """The product of a CPUID family and model; none if that is not known here."""
    return tuple(product for product, known, models in MODELS if family == known and model in models)


REPORTS: Final[dict[int, type[Report]]] = {2: ReportV2, 3: ReportV3, 4: ReportV4, 5: ReportV5}
"""The record of each version."""


def looks_like(data: bytes) -> bool:
    """Whether this may be an SNP report: its size, a known version, the policy bit that is always 1."""
    return len(data) == SIZE and int.from_bytes(data[:4], "little") in REPORTS and bool(data[0x0A] & 2)


def parse(data: bytes, *, base: int = 0) -> Report:
    """Read a report of exactly 1184 bytes.

    Refused as reserved: bytes, policy bits and signer bits. Bits of PLATFORM_INFO are not: firmware has added some
    without a new report version, and they are the platform's own words; the appraisal names those it does not know.
    """
    if len(data) != SIZE:
        raise ParseError("SNP report", "length", base, f"{len(data)} bytes; a report has exactly {SIZE}")
    version = int.from_bytes(data[:4], "little")
    if version not in REPORTS:
        raise ParseError("SNP report", "version", base, f"is {version}; {sorted(REPORTS)} are understood")
    report = REPORTS[version].parse(data, base=base)
    _check_bits(report, base)
    if not report.products:
        raise ParseError(
            type(report).__name__, "cpuid_fam_id", base + 0x188,
            f"family {data[0x188]:#x}, model {data[0x189]:#x} is no product whose TCB layout is known",
        )  # fmt: skip
    _check_tcbs(report, base)
    report.__dict__["signed"] = data[:SIGNED]  # what the cached property would make again from the fields
    return report


def _check_bits(report: Report, base: int) -> None:
    name, reason = wrong_bits(report.policy, report.signer_info)
    if name:
        raise ParseError(type(report).__name__, name, base + report.OFFSETS[name], reason)


@functools.lru_cache(maxsize=256)
def wrong_bits(policy: int, signer_info: int) -> tuple[str, str]:
    """The field with bits that no report has, and why; both empty if there is none."""
    refused = [
        ("policy", not policy & POLICY_ONE, "bit 17 must be 1"),
        ("policy", bool(policy & POLICY_RESERVED), "reserved bits must be zero"),
        ("signer_info", bool(signer_info & SIGNER_RESERVED), "reserved bits must be zero"),
        ("signer_info", signer_info >> 2 & 7 not in {0, 1, 7}, "names a signing key that is not defined"),
    ]
    return next(((name, reason) for name, bad, reason in refused if bad), ("", ""))


def _check_tcbs(report: Report, base: int) -> None:
    """The bytes that the product's layout reserves are zero in all four, which usually are one and the same."""
    product = report.products[0]
    for value in {report.current_tcb, report.reported_tcb, report.committed_tcb, report.launch_tcb}:
        if not laid_out(value, product):
            for name in TCBS:
                tcb_of(getattr(report, name), product, base=base + report.OFFSETS[name])


@functools.lru_cache(maxsize=1024)
def laid_out(value: bytes, product: Product) -> bool:
    """Whether this can be read as a TCB version of that product."""
    try:
        tcb_of(value, product)
    except ParseError:
        return False
    return True
