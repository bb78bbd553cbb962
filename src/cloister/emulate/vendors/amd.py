"""An emulated AMD: what its factory and Key Distribution Service (KDS) do for SEV-SNP, under a root of this machine.

    amd = AmdManufacturer(Keystore(), "Milan")
    vcek = amd.vcek(amd.chip_id(), amd.model.tcb, at=now)
    report = sign_report(body, vcek.key)
    amd.collateral(vcek, at=now)                  # files for `cloister collateral import`
    amd.publish_root()                            # what `cloister verify --unsafe-trust-root` may be pointed to

AMD 57230, VCEK Certificate and KDS Interface Specification: the ARK signs the ASK and the ASVK, these sign VCEKs and
VLEKs, each with RSA-4096. Common names are AMD's, since verifiers go by them; the organisation says "emulated".
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cloister._x509 import Certificate, Crl
from cloister.emulate.vendors.amd_keys import derived_p384, ec_signature, new_rsa
from cloister.emulate.vendors.amd_products import MODELS, Model
from cloister.emulate.vendors.amd_x509 import Signer, certify, ek_extensions
from cloister.emulate.vendors.keystore import WARNING, Keystore
from cloister.emulate.vendors.x509 import PSS_SHA384, Authority, armoured, revocation_list, subject
from cloister.errors import UsageError
from cloister.evidence.snp import SIGNED, Product, SigningKey

__all__ = ["AmdManufacturer", "EndorsementKey", "rsa_key_of", "sign_report"]

RSA_BITS: Final = 4096
QUICK_BITS: Final = 2048
"""As Naples' authorities had; keys of this size are made in a tenth of the time."""
YEAR: Final = timedelta(days=365)
EK_VALID: Final = {SigningKey.VCEK: timedelta(days=7 * 365 + 2), SigningKey.VLEK: YEAR}
"""From when the certificate is asked for, as the KDS does: seven years, one year."""
TCB_SIZE: Final = 8


@dataclass(frozen=True, kw_only=True)
class EndorsementKey:
    """A VCEK or VLEK with its certificate: what signs reports."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: Certificate
    kind: SigningKey


class AmdManufacturer:
    """AMD for one product. Its authorities' keys are made on first use (RSA-4096: seconds each), then kept.

    `key_bits`: of the authorities; verifiers here also accept 2048, which is quicker to make.
    """

    def __init__(self, keystore: Keystore, product: Product | str = Product.MILAN, *, key_bits: int = RSA_BITS) -> None:
        if product not in list(Product):
            raise UsageError(f"{product} is not emulated; one of {', '.join(Product)} is")
        if key_bits not in {RSA_BITS, QUICK_BITS}:
            raise UsageError(f"AMD's authorities have keys of {RSA_BITS} or {QUICK_BITS} bits, not {key_bits}")
        self.keystore, self.product, self.key_bits = keystore, Product(product), key_bits
        self.label = f"amd-{self.product.lower()}"

    @property
    def model(self) -> Model:
        """What the emulated processor of this product says of itself."""
        return MODELS[self.product]

    @functools.cached_property
    def ark(self) -> Authority:
        """The AMD root key."""
        return self._authority("ark", f"ARK-{self.product}", None)

    @functools.cached_property
    def ask(self) -> Authority:
        """The AMD SEV key, which signs VCEKs."""
        return self._authority("ask", f"SEV-{self.product}", self.ark)

    @functools.cached_property
    def asvk(self) -> Authority:
        """The AMD SEV-VLEK key, which signs VLEKs."""
        return self._authority("asvk", f"SEV-VLEK-{self.product}", self.ark)

    def _authority(self, label: str, name: str, issuer: Authority | None) -> Authority:
        return self.keystore.authority(
            f"{self.label}-{label}", subject(name), make=lambda: new_rsa(self.key_bits), issuer=issuer,
            signing=PSS_SHA384, path_length=0 if issuer else None,
        )  # fmt: skip

    def chip_id(self, name: str = "chip") -> bytes:
        """The identifier of one chip from this factory, 64 bytes (Turin 8); chips of other names have others."""
        return self.keystore.secret(f"{self.label}-{name}.id", self.model.chip_id_size)

    def chip_label(self, chip_id: bytes) -> str:
        """The name under which the keystore has what belongs to one chip."""
        return f"{self.label}-{self._checked(chip_id).hex()[:32]}"

    def chip_secret(self, chip_id: bytes) -> bytes:
        """The 32 bytes in a chip's fuses that its keys are derived from; only its security processor may ask."""
        return self.keystore.secret(self.chip_label(chip_id))

    def vcek(self, chip_id: bytes, tcb: bytes, *, at: datetime) -> EndorsementKey:
        """The key of one chip at one TCB version, with a certificate that is issued at that time.

        `chip_id` as `chip_id()` gives it or as reports have it (64 bytes), `tcb` the 8 bytes of a TCB version.
        """
        key = derived_p384(self.chip_secret(chip_id), b"VCEK" + _checked_tcb(tcb))
        extensions = ek_extensions(self.product, tcb, hw_id=self._checked(chip_id))
        return self._endorsed(SigningKey.VCEK, key, self.ask, at, extensions)

    def vlek(self, csp_id: str, tcb: bytes, *, at: datetime) -> EndorsementKey:
        """The key of a cloud provider at one TCB version, which AMD gives out to be loaded into its chips."""
        secret = self.keystore.secret(f"{self.label}-vlek")
        key = derived_p384(secret, b"VLEK" + _checked_tcb(tcb) + csp_id.encode("ascii"))
        extensions = ek_extensions(self.product, tcb, csp_id=csp_id)
        return self._endorsed(SigningKey.VLEK, key, self.asvk, at, extensions)

    def _endorsed(
        self,
        kind: SigningKey,
        key: ec.EllipticCurvePrivateKey,
        above: Authority,
        at: datetime,
        extensions: dict[str, bytes],
    ) -> EndorsementKey:
        certificate = certify(
            subject(f"SEV-{kind.name}"), key.public_key(), Signer(above.name, rsa_key_of(above)),
            start=at, end=at + EK_VALID[kind], extensions=extensions,
        )  # fmt: skip
        return EndorsementKey(key=key, certificate=certificate, kind=kind)

    def crl(self, *, at: datetime, revoked: Sequence[Certificate] = ()) -> Crl:
        """The ARK's revocation list, about ASKs and ASVKs; valid for a year, as AMD's."""
        return revocation_list(self.ark, revoked, at=at, valid=YEAR)

    def collateral(self, *keys: EndorsementKey, at: datetime, revoked: Sequence[Certificate] = ()) -> dict[str, bytes]:
        """What the KDS has, by file name: the keys' certificates and the list in DER, the chains above in PEM.

        Each file is in a form that `cloister collateral import` takes (57230, chapter 4: vcek, cert_chain, crl).
        """
        files = {f"{self.label}-crl.crl": self.crl(at=at, revoked=revoked).encoded}
        for number, one in enumerate(keys):
            above = self.asvk if one.kind is SigningKey.VLEK else self.ask
            chain = armoured(above.certificate.encoded) + armoured(self.ark.certificate.encoded)
            files[f"{self.label}-{one.kind.name.lower()}-{number}.der"] = one.certificate.encoded
            files[f"{self.label}-{one.kind.name.lower()}-cert_chain.pem"] = chain
        return files

    def publish_root(self) -> Path:
        """Write the ARK's certificate in PEM, behind a warning that readers of PEM skip, beside the keys; its path."""
        pem = f"{WARNING}\n".encode() + armoured(self.ark.certificate.encoded)
        return self.keystore.publish(f"{self.label}-ark.pem", pem)

    def _checked(self, chip_id: bytes) -> bytes:
        """A chip identifier without the zeros that reports have behind it."""
        size = self.model.chip_id_size
        if len(chip_id) not in {size, 64} or any(chip_id[size:]) or not any(chip_id):
            raise UsageError(f"{len(chip_id)} bytes are no {self.product} chip identifier, which has {size}")
        return chip_id[:size]


def rsa_key_of(one: Authority) -> rsa.RSAPrivateKey:
    """The key of one of AMD's authorities, all of which are RSA; UsageError if the keystore holds another kind."""
    if not isinstance(one.key, rsa.RSAPrivateKey):
        raise UsageError("the keystore has a key of another kind than RSA in the place of an AMD authority's")
    return one.key


def _checked_tcb(tcb: bytes) -> bytes:
    if len(tcb) != TCB_SIZE:
        raise UsageError(f"{len(tcb)} bytes are no TCB version, which has {TCB_SIZE}")
    return tcb


def sign_report(body: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A report of 1184 bytes: `body`, its first 0x2A0 bytes, with the endorsement key's signature behind it.

    AMD 56860, section 7.3 (SIGNATURE: ECDSA over P-384 with SHA-384). UsageError if the body has another length. What
    stands in the body is the firmware's business.
    """
    if len(body) != SIGNED:
        raise UsageError(f"the signed part of an SNP report has {SIGNED} bytes, this one {len(body)}")
    return body + ec_signature(key, body, hashes.SHA384()).serialize()
