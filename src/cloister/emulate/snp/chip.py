"""One emulated processor: its product, identity, patch level, and the secrets that only its security processor has.

What AMD's factory and key service do for it is in `emulate/vendors/amd.py`.
"""

import functools
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Final

from cloister.emulate.machine import Vouching
from cloister.emulate.snp.commands import PlatformInfo
from cloister.emulate.snp.guest_pages import CpuidEntry
from cloister.emulate.vendors.amd import AmdManufacturer, EndorsementKey, sign_report
from cloister.emulate.vendors.x509 import armoured
from cloister.evidence.snp import Product
from cloister.measure.vmsa import cpu_signature

__all__ = ["ASIDS", "Chip"]

ASIDS: Final = {Product.MILAN: 509, Product.GENOA: 1006, Product.TURIN: 1006}
"""How many guests with keys of their own each product can run (CPUID Fn8000_001F, ECX)."""

SNP_FEATURES: Final = 0b111011
"""CPUID Fn8000_001F, EAX: SME, SEV, SEV-ES, SEV-SNP, VMPL."""

C_BIT: Final = 51
VMPL_COUNT: Final = 4
BUILD, MINOR, MAJOR = 29, 55, 1
"""The firmware's own version: 1.55, the first of those whose reports have version 3."""


class Chip:
    """A processor of `product` from an emulated factory. `hiding`: ciphertext hiding, which Turin and later have."""

    def __init__(self, manufacturer: AmdManufacturer, *, hiding: bool = False, alias_check: bool = False) -> None:
        self.manufacturer, self.model = manufacturer, manufacturer.model
        self.product = manufacturer.product
        self.identity = manufacturer.chip_id()
        self.tcb = manufacturer.model.tcb
        self.info = PlatformInfo.SMT_EN | PlatformInfo.ECC_EN
        if hiding:
            self.info |= PlatformInfo.CIPHERTEXT_HIDING_DRAM_EN
        if alias_check:
            self.info |= PlatformInfo.ALIAS_CHECK_COMPLETE

    @property
    def chip_id(self) -> bytes:
        """CHIP_ID as reports have it, 64 bytes."""
        return self.identity.ljust(64, b"\0")

    @property
    def signature(self) -> int:
        """CPUID Fn0000_0001, EAX: family, model and stepping."""
        return cpu_signature(self.model.family, self.model.model, self.model.stepping)

    @property
    def cpuid(self) -> list[CpuidEntry]:
        """The CPUID functions that the firmware checks, as this processor answers them."""
        ebx = VMPL_COUNT << 12 | C_BIT
        return [
            CpuidEntry(0x1, 0, self.signature, 0, 0, 0),
            CpuidEntry(0x8000_001F, 0, SNP_FEATURES, ebx, ASIDS[self.product], 1),
        ]

    @functools.cached_property
    def vcek(self) -> EndorsementKey:
        """The key that signs reports, with its certificate, issued when it is first asked for."""
        return self.manufacturer.vcek(self.identity, self.tcb, at=datetime.now(UTC))

    def vouching(self, at: datetime) -> Vouching:
        """The manufacturer's root; this chip's certificate, the chain above it, and the revocation list of a time."""
        vcek = self.manufacturer.vcek(self.identity, self.tcb, at=at)
        roots = armoured(self.manufacturer.ark.certificate.encoded)
        return Vouching(roots=roots, collateral=self.manufacturer.collateral(vcek, at=at))

    def sign(self, body: bytes) -> bytes:
        """A whole report: `body` of 0x2A0 bytes, signed with the VCEK."""
        return sign_report(body, self.vcek.key)

    def derive(self, purpose: bytes, tcb: bytes, size: int = 32) -> bytes:
        """A secret of the chip at one TCB version, for one purpose. `size` at most 48 bytes."""
        secret = self.manufacturer.chip_secret(self.identity)
        return hmac.digest(secret, purpose + b"\0" + tcb, hashlib.sha384)[:size]
