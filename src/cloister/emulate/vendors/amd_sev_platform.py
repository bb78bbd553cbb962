"""The keys of an emulated SEV platform, before SNP: what its security processor holds, and what it signs with them.

    platform = SevPlatform.of(AmdManufacturer(Keystore(), "Milan"), chip_id)
    platform.chain                                    # PDH_CERT_EXPORT, with AMD's certificates behind it
    platform.attest(mnonce, launch_digest, policy)    # ATTESTATION

AMD 55766 (SEV API): the chip derives the CEK, which AMD certifies (the ASK signs it). The platform makes the PEK, the
PDH, and while nobody owns it the OCA; it keeps them until PEK_GEN or PDH_GEN.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cloister.emulate.vendors.amd import AmdManufacturer, rsa_key_of
from cloister.emulate.vendors.amd_keys import derived_p384, ec_signature
from cloister.emulate.vendors.amd_sev import (
    API,
    authority_record,
    certificate_record,
    changed,
    sign_authority,
    sign_certificate,
)
from cloister.emulate.vendors.x509 import p384
from cloister.errors import UsageError
from cloister.evidence.sev import SevReport
from cloister.evidence.sev_chain import Algorithm, CaCertificate, SevCertificate, SevChain, Usage

__all__ = ["SevPlatform", "sev_authorities"]

KEPT: Final = (Usage.OCA, Usage.PEK, Usage.PDH)
"""What a platform makes for itself and keeps; its CEK it derives."""


def sev_authorities(amd: AmdManufacturer) -> tuple[CaCertificate, CaCertificate]:
    """The certificates of the ASK and the ARK in the old format; the keys are those of SNP, as on Milan and later."""
    ark, ask = rsa_key_of(amd.ark), rsa_key_of(amd.ask)
    root = authority_record(Usage.ARK, ark.public_key())
    below = authority_record(Usage.ASK, ask.public_key(), issuer=root.key_id)
    return sign_authority(below, ark), sign_authority(root, ark)


@dataclass(frozen=True, kw_only=True)
class SevPlatform:
    """The private keys of one platform, by usage, and its certificates. Immutable: each change makes another.

    The key of its owner (OCA) is among `keys` only while the platform belongs to itself.
    """

    keys: Mapping[Usage, ec.EllipticCurvePrivateKey] = field(repr=False)
    chain: SevChain
    api: tuple[int, int] = API

    @classmethod
    def of(cls, amd: AmdManufacturer, chip_id: bytes, *, api: tuple[int, int] = API) -> "SevPlatform":
        """The platform with this chip. Its PEK, PDH and OCA are kept beside the factory's keys."""
        name = amd.chip_label(chip_id)
        keys = {usage: amd.keystore.key(f"{name}-{usage.name.lower()}", p384) for usage in KEPT}
        keys[Usage.CEK] = derived_p384(amd.chip_secret(chip_id), b"CEK")
        ask, ark = sev_authorities(amd)
        cek = certificate_record(Usage.CEK, keys[Usage.CEK].public_key(), api=api)
        cek = sign_certificate(cek, {Usage.ASK: rsa_key_of(amd.ask)})
        oca, pek, pdh = (certified(usage, keys, keys[Usage.OCA], api) for usage in KEPT)
        return cls(keys=keys, chain=SevChain(pdh=pdh, pek=pek, oca=oca, cek=cek, ask=ask, ark=ark), api=api)

    def with_new_pdh(self) -> "SevPlatform":
        """PDH_GEN (chapter 5): another PDH. Sessions that owners wrapped for the old one can no longer be opened."""
        keys = dict(self.keys) | {Usage.PDH: p384()}
        pdh = certified(Usage.PDH, keys, keys[Usage.PEK], self.api)
        return replace(self, keys=keys, chain=replace(self.chain, pdh=pdh))

    def with_new_pek(self) -> "SevPlatform":
        """PEK_GEN (chapter 5): another PEK, PDH and OCA; the platform belongs to itself again."""
        keys = dict(self.keys) | {usage: p384() for usage in KEPT}
        return self._certified(keys, keys[Usage.OCA])

    def owned_by(self, owner: ec.EllipticCurvePrivateKey) -> "SevPlatform":
        """PEK_CSR and PEK_CERT_IMPORT (chapter 5): the same PEK under an owner's OCA, and another PDH.

        The owner's private key signs here in the owner's place and is not kept.
        """
        keys = dict(self.keys) | {Usage.PDH: p384()}
        keys.pop(Usage.OCA, None)
        return self._certified(keys, owner)

    def _certified(
        self, keys: Mapping[Usage, ec.EllipticCurvePrivateKey], owner: ec.EllipticCurvePrivateKey
    ) -> "SevPlatform":
        oca, pek, pdh = (certified(usage, keys, owner, self.api) for usage in KEPT)
        return replace(self, keys=keys, chain=replace(self.chain, oca=oca, pek=pek, pdh=pdh))

    def attest(self, mnonce: bytes, launch_digest: bytes, policy: int) -> SevReport:
        """ATTESTATION's report (section 6.8): a nonce of 16 bytes, a launch digest of 32, signed by the PEK."""
        if (len(mnonce), len(launch_digest)) != (16, 32):
            raise UsageError("a SEV report has a nonce of 16 bytes and a launch digest of 32")
        unsigned = SevReport(
            mnonce=mnonce, launch_digest=launch_digest, policy=policy, sig_usage=Usage.PEK,
            sig_algo=Algorithm.ECDSA_SHA256, r=bytes(72), s=bytes(72),
        )  # fmt: skip
        signature = ec_signature(self.keys[Usage.PEK], unsigned.signed, hashes.SHA256())
        return changed(unsigned, r=signature.r, s=signature.s)


def certified(
    usage: Usage,
    keys: Mapping[Usage, ec.EllipticCurvePrivateKey],
    owner: ec.EllipticCurvePrivateKey,
    api: tuple[int, int],
) -> SevCertificate:
    """The certificate of an OCA (by itself), a PEK (by owner and chip) or a PDH (by the PEK)."""
    own = owner if usage is Usage.OCA else keys[usage]
    signers = {
        Usage.OCA: {Usage.OCA: owner},
        Usage.PEK: {Usage.OCA: owner, Usage.CEK: keys[Usage.CEK]},
        Usage.PDH: {Usage.PEK: keys[Usage.PEK]},
    }
    return sign_certificate(certificate_record(usage, own.public_key(), api=api), signers[usage])
