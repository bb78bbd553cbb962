"""What the owner of a TrustZone platform signs: the chain of trust of Trusted Board Boot, as X.509 certificates.

TF-A, docs/design/trusted-board-boot.rst and include/tools_share/tbbr_oid.h; Arm DEN0006 (TBBR-CLIENT). A key
certificate hands on to the next key, a content certificate holds the hashes of images. Every one has a counter against
old software. Extensions are critical; keys are ECDSA P-256, hashes SHA-256.

    root of trust key -+- trusted boot firmware certificate: BL2
                       +- trusted key certificate: trusted world key
    trusted world key -+- SoC firmware key certificate -- SoC firmware content certificate: BL31
                       +- trusted OS key certificate -- trusted OS content certificate: BL32, and its application

The application stands where TF-A has the trusted OS's first extra image (tos-fw-extra1).
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from cryptography import x509

from cloister._x509 import Certificate
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.x509 import (
    Issuer,
    SigningKey,
    der_integer,
    der_of,
    der_oid,
    issue,
    p256,
    spki,
    subject,
)

__all__ = ["APPLICATION", "BL2", "BL31", "BL32", "FILES", "FirmwareSigner", "Oid", "digest_info"]

SEQUENCE, OCTET_STRING, NULL = 0x30, 4, b"\5\0"
SHA256: Final = "2.16.840.1.101.3.4.2.1"

BL2: Final = "tb-fw"
BL31: Final = "soc-fw"
BL32: Final = "tos-fw"
APPLICATION: Final = "tos-fw-extra1"
"""Images, by the names that TF-A's fiptool has for them."""


class Oid(StrEnum):
    """Extensions of these certificates: under Arm's arc 1.3.6.1.4.1.4128.2100 (tbbr_oid.h)."""

    COUNTER = "1.3.6.1.4.1.4128.2100.1"  # TRUSTED_FW_NVCOUNTER: INTEGER
    BL2_HASH = "1.3.6.1.4.1.4128.2100.201"  # hashes: DigestInfo
    TRUSTED_WORLD_KEY = "1.3.6.1.4.1.4128.2100.302"  # keys: SubjectPublicKeyInfo
    SOC_KEY = "1.3.6.1.4.1.4128.2100.501"
    BL31_HASH = "1.3.6.1.4.1.4128.2100.603"
    TRUSTED_OS_KEY = "1.3.6.1.4.1.4128.2100.901"
    BL32_HASH = "1.3.6.1.4.1.4128.2100.1001"
    APPLICATION_HASH = "1.3.6.1.4.1.4128.2100.1002"


FILES: Final = ("tb-fw-cert", "trusted-key-cert", "soc-fw-key-cert", "soc-fw-cert", "tos-fw-key-cert", "tos-fw-cert")
"""The certificates, in the order in which they are checked."""

ROOT, WORLD, SOC, TRUSTED_OS = "rot", "trusted-world", "soc-fw", "tos-fw"


def digest_info(content: bytes) -> bytes:
    """DigestInfo of an image (RFC 8017, section 9.2)."""
    algorithm = der_of(SEQUENCE, der_oid(SHA256), NULL)
    return der_of(SEQUENCE, algorithm, der_of(OCTET_STRING, hashlib.sha256(content).digest()))


class FirmwareSigner:
    """The owner's keys, kept in a keystore under `trustzone-`: who has them decides what boots."""

    def __init__(self, keystore: Keystore) -> None:
        self._keys = {name: keystore.key(f"trustzone-{name}", p256) for name in (ROOT, WORLD, SOC, TRUSTED_OS)}

    @property
    def root_hash(self) -> bytes:
        """SHA-256 of the root of trust's public key, as it is burnt into a chip's fuses."""
        return hashlib.sha256(spki(self._keys[ROOT])).digest()

    def sign(self, images: Mapping[str, bytes], counter: int) -> dict[str, bytes]:
        """Certificates for these images, as TF-A's cert_create makes them: file name -> DER."""
        world, soc, trusted_os = (spki(self._keys[name]) for name in (WORLD, SOC, TRUSTED_OS))
        contents: dict[str, tuple[str, dict[Oid, bytes]]] = {
            "tb-fw-cert": (ROOT, {Oid.BL2_HASH: digest_info(images[BL2])}),
            "trusted-key-cert": (ROOT, {Oid.TRUSTED_WORLD_KEY: world}),
            "soc-fw-key-cert": (WORLD, {Oid.SOC_KEY: soc}),
            "soc-fw-cert": (SOC, {Oid.BL31_HASH: digest_info(images[BL31])}),
            "tos-fw-key-cert": (WORLD, {Oid.TRUSTED_OS_KEY: trusted_os}),
            "tos-fw-cert": (
                TRUSTED_OS,
                {
                    Oid.BL32_HASH: digest_info(images[BL32]),
                    Oid.APPLICATION_HASH: digest_info(images[APPLICATION]),
                },
            ),
        }
        return {
            name: _certificate(name, self._keys[signer], extensions, counter).encoded
            for name, (signer, extensions) in contents.items()
        }


def _certificate(name: str, key: SigningKey, contents: Mapping[Oid, bytes], counter: int) -> Certificate:
    """cert_create's certificates are about the key that signs them, so that a boot loader needs no other."""
    values = {Oid.COUNTER: der_integer(counter), **contents}
    extensions = [
        (x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), True) for oid, value in values.items()
    ]
    title = subject(f"Emulated {name}")
    return issue(title, key.public_key(), Issuer(name=title, key=key), extensions=extensions)
