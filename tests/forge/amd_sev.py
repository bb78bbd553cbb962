"""Genuine-looking SEV evidence under test keys, in AMD's own formats: certificates, reports, launch measurements.

Everything is right unless an argument breaks it. The root is this file's own.
"""

import functools
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from tests.forge.amd import ec_key, ec_signature, rsa_key

from cloister.endorse.anchors import TrustAnchors
from cloister.evidence.sev import MAGIC, LaunchMeasurement, SevAttestation, SevLaunch, SevReport
from cloister.evidence.sev_chain import (
    Algorithm,
    CaCertificate,
    CaCertificate2048,
    SevCertificate,
    SevChain,
    Usage,
)
from cloister.evidence.sev_keys import EcKey
from cloister.measure.sev import launch_measure
from cloister.model import Digest
from cloister.verification.sev_chain import root_spki

__all__ = ["DIGEST", "TIK", "SevPlatform", "ca_certificate", "certificate", "sev_platform"]

TIK: Final = bytes(range(16))
DIGEST: Final = Digest("sha256", bytes(range(100, 132)))
SHA256_PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
EMPTY: Final = bytes(512)


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
    """A platform; another `world` has another root and other keys above the PEK."""
    ark_key, ask_key = rsa_key(f"{world}/sev ARK"), rsa_key(f"{world}/sev ASK")
    chain = SevChain(
        pdh=certificate(Usage.PDH, ec_key("sev/pdh"), {Usage.PEK: ec_key("sev/pek")}),
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
    """An ARK's or ASK's certificate, with a key of 2048 bits."""
    numbers = key.public_key().public_numbers()
    values: dict[str, Any] = {
        "version": 1, "key_id": bytes([usage]) * 16, "certifying_id": bytes([Usage.ARK]) * 16, "key_usage": usage,
        "pubexp_size": 2048, "modulus_size": 2048, "pubexp": numbers.e.to_bytes(256, "little"),
        "modulus": numbers.n.to_bytes(256, "little"), "signature": bytes(256),
    } | fields  # fmt: skip
    if "signature" not in fields:
        signed = CaCertificate2048(**values).signed
        values["signature"] = signer.sign(signed, SHA256_PSS, hashes.SHA256())[::-1]
    return CaCertificate2048(**values)


def certificate(
    usage: Usage,
    key: ec.EllipticCurvePrivateKey,
    signers: dict[Usage, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey],
    **fields: Any,
) -> SevCertificate:
    """A CEK's, OCA's, PEK's or PDH's certificate, signed by each of the signers in a place of its own."""
    numbers = key.public_key().public_numbers()
    algorithm = Algorithm.ECDH_SHA256 if usage is Usage.PDH else Algorithm.ECDSA_SHA256
    values: dict[str, Any] = {
        "version": 1, "api_major": 1, "api_minor": 55, "pubkey_usage": usage, "pubkey_algo": algorithm,
        "pubkey": EcKey.of(numbers.x.to_bytes(48) + numbers.y.to_bytes(48)).serialize(),
        "sig_1_usage": Usage.INVALID, "sig_1_algo": Algorithm.INVALID, "sig_1": EMPTY,
        "sig_2_usage": Usage.INVALID, "sig_2_algo": Algorithm.INVALID, "sig_2": EMPTY,
    } | fields  # fmt: skip
    signed = SevCertificate(**values).signed
    for place, (signer, signing) in zip(("sig_1", "sig_2"), signers.items(), strict=False):
        values |= {f"{place}_usage": signer, f"{place}_algo": Algorithm.ECDSA_SHA256}
        if isinstance(signing, rsa.RSAPrivateKey):
            values[f"{place}_algo"] = Algorithm.RSA_SHA256
            values[place] = signing.sign(signed, SHA256_PSS, hashes.SHA256())[::-1].ljust(512, b"\0")
        else:
            values[place] = ec_signature(signing, signed, hashes.SHA256()).serialize()
    return SevCertificate(**values)
