"""Trusted boot: BL1 checks BL2, BL2 checks everything else, and nothing runs that its owner has not signed.

TF-A, docs/design/auth-framework.rst and trusted-board-boot.rst. BL1 is in ROM; what it believes is in fuses: the hash
of the root of trust's public key, and a counter that only grows. Files come from flash, which the normal world writes.

There is no evidence of all this for others: the base architecture ends with "it booted, so it was signed".
"""

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloister._crypto import equal, load_spki, verify_ecdsa
from cloister._der import INTEGER, Der
from cloister._x509 import Certificate
from cloister.emulate.trustzone.certificates import APPLICATION, BL2, BL31, BL32, Oid, digest_info
from cloister.errors import LaunchError, ParseError, SignatureInvalid
from cloister.measure.image import Image

__all__ = ["BootRefused", "BootStep", "Flash", "Fuses", "application_bytes", "boot", "firmware_images"]

HEADER: Final = struct.Struct("<QQQQQQ")
PAGE_HEADER: Final = struct.Struct("<QQ")
SERVICE: Final = struct.Struct("<QQ")


class BootRefused(LaunchError):
    """A boot loader did not believe what it found in flash; the machine does not start."""


@dataclass(frozen=True, slots=True)
class BootStep:
    """One thing that a boot loader did: who, and what it checked, in words."""

    loader: str
    checked: str


@dataclass(slots=True)
class Fuses:
    """What the chip itself knows: the hash of the root of trust's key (SHA-256 of its DER), and the counter."""

    root_hash: bytes
    counter: int = 0


@dataclass(slots=True)
class Flash:
    """What the normal world stores: images and certificates by name. Whoever owns the machine can exchange them.

    `services` belong to the application: command -> address; they are signed with it.
    """

    images: dict[str, bytes] = field(default_factory=dict)
    certificates: dict[str, bytes] = field(default_factory=dict)
    services: dict[int, int] = field(default_factory=dict)


def application_bytes(image: Image, services: Mapping[int, int]) -> bytes:
    """The trusted application as it is hashed: entry, headers, end; command -> address of each service; its pages."""
    parts = [HEADER.pack(image.entry, image.headers, image.header_count, image.end, len(services), len(image.pages))]
    parts += [SERVICE.pack(command, address) for command, address in sorted(services.items())]
    for page in image.pages:
        parts += [PAGE_HEADER.pack(page.address, int(page.permission)), page.content]
    return b"".join(parts)


def firmware_images() -> dict[str, bytes]:
    """BL2, BL31 and BL32: on this machine, the sources that play their parts."""
    here = Path(__file__)
    sources = {BL2: here, BL31: here.with_name("worlds.py"), BL32: here.with_name("secure_os.py")}
    return {name: path.read_bytes() for name, path in sources.items()}


def boot(fuses: Fuses, flash: Flash, application: Callable[[], bytes]) -> list[BootStep]:
    """Boot from flash. `application` loads the trusted application into secure memory and gives what now stands there.

    It is loaded first and hashed where it lies, so that nobody can exchange it in between. BootRefused at the first
    thing that does not fit. What is done is returned; the counter in the fuses follows the certificates'.
    """
    chain = _Chain(fuses, flash)
    root = chain.certificate("BL1", "tb-fw-cert", None)
    chain.image("BL1", root, Oid.BL2_HASH, BL2, flash.images.get(BL2, b""))
    trusted = chain.certificate("BL2", "trusted-key-cert", None)
    world = chain.extension(trusted, Oid.TRUSTED_WORLD_KEY)
    soc = chain.extension(chain.certificate("BL2", "soc-fw-key-cert", world), Oid.SOC_KEY)
    content = chain.certificate("BL2", "soc-fw-cert", soc)
    chain.image("BL2", content, Oid.BL31_HASH, BL31, flash.images.get(BL31, b""))
    trusted_os = chain.extension(chain.certificate("BL2", "tos-fw-key-cert", world), Oid.TRUSTED_OS_KEY)
    content = chain.certificate("BL2", "tos-fw-cert", trusted_os)
    chain.image("BL2", content, Oid.BL32_HASH, BL32, flash.images.get(BL32, b""))
    chain.image("BL2", content, Oid.APPLICATION_HASH, APPLICATION, application())
    fuses.counter = max(fuses.counter, chain.counter)
    return chain.steps


class _Chain:
    """Checks certificates and images, and writes down what it did."""

    def __init__(self, fuses: Fuses, flash: Flash) -> None:
        self._fuses, self._flash = fuses, flash
        self.steps: list[BootStep] = []
        self.counter = 0

    def certificate(self, loader: str, name: str, key: bytes | None) -> tuple[str, Certificate]:
        """A certificate signed by `key` (DER SubjectPublicKeyInfo), or by the key whose hash is in the fuses."""
        data = self._flash.certificates.get(name)
        if data is None:
            raise BootRefused(f"{loader}: flash holds no {name}; the owner of the platform makes one by signing")
        try:
            found = Certificate.parse(data)
        except ParseError as error:
            raise BootRefused(f"{loader}: {name} is damaged: {error}") from error
        self._signed(loader, name, found, key)
        self._fresh(loader, name, found)
        self.steps.append(BootStep(loader, f"{name}: signature and counter"))
        return name, found

    def _signed(self, loader: str, name: str, found: Certificate, key: bytes | None) -> None:
        if key is None and not equal(hashlib.sha256(found.spki).digest(), self._fuses.root_hash):
            raise BootRefused(f"{loader}: {name} is signed by a key that is not the one in this chip's fuses")
        signer = found.spki if key is None else key
        if found.algorithm.scheme != "ecdsa" or found.algorithm.digest != "sha256":
            raise BootRefused(f"{loader}: {name} is signed with {found.algorithm.scheme}, not with ECDSA and SHA-256")
        try:
            verify_ecdsa(load_spki(signer), found.signature, found.tbs, "sha256", what=f"the signature of {name}")
        except SignatureInvalid as error:
            raise BootRefused(f"{loader}: {error}: it was changed, or somebody else signed it") from error

    def _fresh(self, loader: str, name: str, found: Certificate) -> None:
        """TF-A, auth_nvctr: a certificate's counter must not be lower than the chip's."""
        try:
            counter = Der(self.extension((name, found), Oid.COUNTER), name).integer("counter", INTEGER)
        except ParseError as error:
            raise BootRefused(f"{loader}: {name} has no readable counter: {error}") from error
        if counter < self._fuses.counter:
            raise BootRefused(
                f"{loader}: {name} is of version {counter}, and this chip has run version {self._fuses.counter}: "
                "old software does not come back"
            )
        self.counter = max(self.counter, counter)

    def extension(self, certificate: tuple[str, Certificate], oid: Oid) -> bytes:
        """What a certificate holds under a name."""
        name, found = certificate
        held = found.extensions.get(oid)
        if held is None:
            raise BootRefused(f"{name} lacks its {oid.name.lower().replace('_', ' ')} ({oid})")
        return held.value

    def image(self, loader: str, certificate: tuple[str, Certificate], oid: Oid, name: str, content: bytes) -> None:
        """Compare an image with the hash in a certificate that was believed."""
        if not equal(self.extension(certificate, oid), digest_info(content)):
            raise BootRefused(f"{loader}: {name} is not what its owner signed: the hash in {certificate[0]} differs")
        self.steps.append(BootStep(loader, f"{name}: hash as in {certificate[0]}"))
