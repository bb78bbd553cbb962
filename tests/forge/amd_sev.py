"""Genuine-looking SEV evidence under test keys, in AMD's own formats: certificates, reports, launch measurements.

Everything is right unless an argument breaks it. The root is this file's own.
"""

import functools
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.forge.amd import ec_key, ec_signature, rsa_key

from cloister.emulate.vendors.amd_sev import (
    authority_record,
    certificate_record,
    changed,
    sign_authority,
    sign_certificate,
)
from cloister.endorse.anchors import TrustAnchors
from cloister.evidence.sev import MAGIC, LaunchMeasurement, SevAttestation, SevLaunch, SevReport
from cloister.evidence.sev_chain import Algorithm, CaCertificate, SevCertificate, SevChain, Usage
from cloister.measure.sev import launch_measure
from cloister.model import Digest
from cloister.verification.sev_chain import root_spki

__all__ = ["DIGEST", "TIK", "SevPlatform", "ca_certificate", "certificate", "sev_platform"]

TIK: Final = bytes(range(16))
DIGEST: Final = Digest("sha256", bytes(range(100, 132)))


@dataclass(frozen=True, kw_only=True)
class SevPlatform:
    """A platform: its certificates, and the PEK with which it signs."""

    chain: SevChain
    pek: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def anchors(self) -> TrustAnchors:
        """The ARK, as a root for tests."""
        return TrustAnchors.testing(root_spki(self.chain))

    def attestation(self, *, nonce: bytes = b"", signer: str = "pek", **fields: Any) -> SevAttestation:
        """A signed report; `fields` replaces whatever it has."""
        values: dict[str, Any] = {
            "mnonce": nonce.ljust(16, b"\0"), "launch_digest": DIGEST.value, "policy": 0x0F,
            "sig_usage": Usage.PEK, "sig_algo": Algorithm.ECDSA_SHA256, "r": bytes(72), "s": bytes(72),
        } | fields  # fmt: skip
        signature = ec_signature(ec_key(f"sev/{signer}"), SevReport(**values).signed, hashes.SHA256())
        if "r" not in fields:
            values |= {"r": signature.r, "s": signature.s}
        return SevAttestation(report=SevReport(**values), chain=self.chain)

    def launch(self, *, tik: bytes = TIK, digest: Digest = DIGEST, **fields: Any) -> SevLaunch:
        """A launch measurement; `fields` replaces whatever it has."""
        values: dict[str, Any] = {
            "magic": MAGIC, "version": 1, "measure": bytes(32), "mnonce": bytes(range(16)), "api_major": 1,
            "api_minor": 55, "build": 20, "policy": 0x0F,
        } | fields  # fmt: skip
        if "measure" not in fields:
            values["measure"] = launch_measure(LaunchMeasurement(**values), tik=tik, digest=digest)
        return SevLaunch(measurement=LaunchMeasurement(**values), chain=self.chain)


@functools.cache
def sev_platform(world: str = "") -> SevPlatform:
    """A platform; another `world` has another root, other keys above the PEK, and another PDH."""
    ark_key, ask_key = rsa_key(f"{world}/sev ARK"), rsa_key(f"{world}/sev ASK")
    chain = SevChain(
        pdh=certificate(Usage.PDH, ec_key(f"{world}/sev/pdh"), {Usage.PEK: ec_key("sev/pek")}),
        pek=certificate(
            Usage.PEK, ec_key("sev/pek"), {Usage.OCA: ec_key("sev/oca"), Usage.CEK: ec_key(f"{world}/sev/cek")}
        ),
        oca=certificate(Usage.OCA, ec_key("sev/oca"), {Usage.OCA: ec_key("sev/oca")}),
        cek=certificate(Usage.CEK, ec_key(f"{world}/sev/cek"), {Usage.ASK: ask_key}),
        ask=ca_certificate(Usage.ASK, ask_key, ark_key),
        ark=ca_certificate(Usage.ARK, ark_key, ark_key),
    )
    return SevPlatform(chain=chain, pek=ec_key("sev/pek"))


def ca_certificate(usage: Usage, key: rsa.RSAPrivateKey, signer: rsa.RSAPrivateKey, **fields: Any) -> CaCertificate:
    """An ARK's or ASK's certificate, with a key of 2048 bits; `fields` replaces what it says before it is signed."""
    said = authority_record(
        usage, key.public_key(), identifier=bytes([usage]) * 16, issuer=bytes([Usage.ARK]) * 16
    )  # fmt: skip
    said = changed(said, **fields)
    return said if "signature" in fields else sign_authority(said, signer)


def certificate(
    usage: Usage,
    key: ec.EllipticCurvePrivateKey,
    signers: dict[Usage, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey],
    **fields: Any,
) -> SevCertificate:
    """A CEK's, OCA's, PEK's or PDH's certificate; `fields` replaces what it says before it is signed."""
    return sign_certificate(changed(certificate_record(usage, key.public_key()), **fields), signers)
