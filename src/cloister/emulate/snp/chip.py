"""One emulated processor: its product, identity, patch level, and the secrets that only its security processor has.

What AMD's factory and key service do for it is in `emulate/vendors/amd.py`.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cloister.emulate.machine import Vouching
from cloister.emulate.snp.commands import PlatformInfo
from cloister.emulate.snp.guest_pages import CpuidEntry
from cloister.emulate.vendors.amd import AmdManufacturer, EndorsementKey, sign_report
from cloister.emulate.vendors.x509 import armoured
from cloister.evidence.snp import Product, SigningKey
from cloister.measure.vmsa import cpu_signature

__all__ = ["ASIDS", "BUILD", "MAJOR", "MINOR", "Chip", "PlatformConfig"]

ASIDS: Final = {Product.MILAN: 509, Product.GENOA: 1006, Product.TURIN: 1006}
"""How many guests with keys of their own each product can run (CPUID Fn8000_001F, ECX)."""

SNP_FEATURES: Final = 0b111011
"""CPUID Fn8000_001F, EAX: SME, SEV, SEV-ES, SEV-SNP, VMPL."""

C_BIT: Final = 51
VMPL_COUNT: Final = 4
MAJOR: Final = 1
MINOR: Final = 55
BUILD: Final = 29
"""The firmware's own version: 1.55, the first of those whose reports have version 3."""


@dataclass(frozen=True, kw_only=True)
class PlatformConfig:
    """What a platform's owner chooses with SNP_CONFIG: an older TCB version to report, and what reports leave out.

    `reported_tcb` None is the current one. Without the chip's name in it a report can come from any of the owner's
    machines; without a signature (`mask_chip_key`) it proves nothing.
    """

    reported_tcb: bytes | None = None
    mask_chip_id: bool = False
    mask_chip_key: bool = False


class Chip:
    """A processor of `product` from an emulated factory. `hiding`: ciphertext hiding, which Turin and later have.

    `provider` is set by SNP_VLEK_LOAD: the cloud provider in whose name reports are signed.
    """

    def __init__(self, manufacturer: AmdManufacturer, *, hiding: bool = False) -> None:
        self.manufacturer, self.model = manufacturer, manufacturer.model
        self.product = manufacturer.product
        self.identity = manufacturer.chip_id()
        self.tcb = manufacturer.model.tcb
        self.config = PlatformConfig()
        self.provider = ""
        self._keys: dict[tuple[SigningKey, bytes, str], EndorsementKey] = {}
        self.info = PlatformInfo.SMT_EN | PlatformInfo.ECC_EN
        if hiding:
            self.info |= PlatformInfo.CIPHERTEXT_HIDING_DRAM_EN

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

    @property
    def reported_tcb(self) -> bytes:
        """REPORTED_TCB, from which the keys that sign are derived."""
        return self.tcb if self.config.reported_tcb is None else self.config.reported_tcb

    def endorsed(self, kind: SigningKey, at: datetime) -> EndorsementKey:
        """The VCEK or the loaded VLEK at the reported TCB version, with a certificate of that time."""
        if kind is SigningKey.VLEK:
            return self.manufacturer.vlek(self.provider, self.reported_tcb, at=at)
        return self.manufacturer.vcek(self.identity, self.reported_tcb, at=at)

    def vouching(self, at: datetime) -> Vouching:
        """The manufacturer's root; certificates of the keys that may sign, the chains above, the revocation list."""
        kinds = [SigningKey.VCEK, *([SigningKey.VLEK] if self.provider else [])]
        roots = armoured(self.manufacturer.ark.certificate.encoded)
        keys = (self.endorsed(kind, at) for kind in kinds)
        return Vouching(roots=roots, collateral=self.manufacturer.collateral(*keys, at=at))

    def sign(self, body: bytes, kind: SigningKey) -> bytes:
        """A whole report: `body` of 0x2A0 bytes, signed with the VCEK or VLEK."""
        wanted = kind, self.reported_tcb, self.provider
        if wanted not in self._keys:
            self._keys[wanted] = self.endorsed(kind, datetime.now(UTC))
        return sign_report(body, self._keys[wanted].key)

    def derive(self, purpose: bytes, tcb: bytes, size: int = 32) -> bytes:
        """A secret of the chip at one TCB version, for one purpose. `size` at most 48 bytes."""
        secret = self.manufacturer.chip_secret(self.identity)
        return hmac.digest(secret, purpose + b"\0" + tcb, hashlib.sha384)[:size]
