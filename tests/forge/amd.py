"""Genuine-looking SEV-SNP evidence under test keys: AMD's certificates, endorsement keys, reports, revocation lists.

Everything is right unless an argument breaks it; the roots are this file's own, so nothing here verifies against AMD's.
RSA keys have 2048 bits instead of 4096: making them is what takes time.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from cloister._x509 import Certificate, Crl
from cloister.emulate.vendors.amd_keys import ec_signature, new_rsa
from cloister.emulate.vendors.amd_products import MODELS
from cloister.emulate.vendors.amd_x509 import PSS, DerExtension, Signer, certify, ek_extensions, ia5
from cloister.emulate.vendors.x509 import der_integer, der_of
from cloister.endorse.amd import PRODUCT_NAME
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.evidence.sev_keys import EcSignature
from cloister.evidence.snp import REPORTS, Product, Report, SigningKey

__all__ = [
    "CHIPS",
    "NOW",
    "TCBS",
    "Authority",
    "Ek",
    "Platform",
    "der_integer",
    "ec_key",
    "ec_signature",
    "ia5",
    "issue",
    "platform",
    "rsa_key",
    "signed_report",
]

NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
"""When everything made here is valid."""

YEAR: Final = timedelta(days=365)
BASIC_CONSTRAINTS: Final = "2.5.29.19"
TCBS: Final = {product: model.tcb for product, model in MODELS.items()}
CHIPS: Final = {
    Product.MILAN: bytes(range(1, 65)), Product.GENOA: bytes(range(65, 129)), Product.TURIN: bytes(range(9, 17)),
}  # fmt: skip
"""hwID: 64 bytes, Turin 8."""


@functools.cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A key per name, made once."""
    del name
    return new_rsa(2048)


@functools.cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """A P-384 key per name, made once."""
    del name
    return ec.generate_private_key(ec.SECP384R1())


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate authority: an ARK, ASK or ASVK."""

    key: rsa.RSAPrivateKey = field(repr=False)
    name: str
    certificate: Certificate


@dataclass(frozen=True, kw_only=True)
class Ek:
    """An endorsement key and its certificate."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: Certificate


@dataclass(frozen=True, kw_only=True)
class Platform:
    """All that stands behind reports of one product."""

    product: Product
    ark: Authority
    ask: Authority
    asvk: Authority

    @property
    def anchors(self) -> TrustAnchors:
        """The ARK, as a root for tests."""
        return TrustAnchors.testing(self.ark.certificate.spki)

    @property
    def authorities(self) -> tuple[Certificate, ...]:
        """The certificates above endorsement keys."""
        return (self.ask.certificate, self.asvk.certificate, self.ark.certificate)

    def endorsements(self, *eks: Ek, crls: tuple[Crl, ...] | None = None) -> Endorsements:
        """The certificates of these keys, those above, and a current revocation list."""
        lists = (self.crl(),) if crls is None else crls
        return Endorsements(certificates=(*(ek.certificate for ek in eks), *self.authorities), crls=lists)

    def crl(self, *revoked: int, at: datetime = NOW, signer: Authority | None = None) -> Crl:
        """The ARK's list of these serial numbers, valid for 30 days around `at`."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name_of(self.ark.name))
            .last_update(at - timedelta(days=15))
            .next_update(at + timedelta(days=15))
        )
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at - timedelta(days=20))
            builder = builder.add_revoked_certificate(entry.build())
        made = builder.sign((signer or self.ark).key, hashes.SHA384(), rsa_padding=PSS)
        return Crl.parse(made.public_bytes(serialization.Encoding.DER))

    def ek(  # noqa: PLR0913 - each breaks one thing
        self,
        kind: SigningKey = SigningKey.VCEK,
        *,
        key: str = "ek",
        tcb: bytes | None = None,
        hw_id: bytes | None = None,
        csp_id: str = "CN=cloud.example",
        product_name: str | None = None,
        issuer: Authority | None = None,
        start: datetime = NOW - YEAR,
        end: datetime = NOW + 6 * YEAR,
        extensions: Mapping[str, bytes | None] | None = None,
    ) -> Ek:
        """A VCEK or VLEK. `extensions` replaces DER values by identifier, or leaves them out (None)."""
        above = issuer or (self.asvk if kind is SigningKey.VLEK else self.ask)
        provider = csp_id if kind is SigningKey.VLEK else ""
        values: dict[str, bytes | None] = {
            **ek_extensions(
                self.product, tcb or TCBS[self.product], hw_id=hw_id or CHIPS[self.product], csp_id=provider
            )
        }
        if product_name:
            values[PRODUCT_NAME] = ia5(product_name)
        values |= extensions or {}
        private = ec_key(key)
        certificate = issue(
            f"SEV-{kind.name}", private.public_key(), above.name, above.key, start=start, end=end,
            extensions={oid: value for oid, value in values.items() if value is not None},
        )  # fmt: skip
        return Ek(key=private, certificate=certificate)


@functools.cache
def platform(product: Product = Product.MILAN, world: str = "") -> Platform:
    """The authorities of a product; another `world` has other keys behind the same names."""

    def authority(name: str, above: Authority | None, path_length: int | None) -> Authority:
        key = rsa_key(f"{world}/{name}")
        issuer, issuer_key = (above.name, above.key) if above else (name, key)
        made = issue(name, key.public_key(), issuer, issuer_key, ca=True, path_length=path_length)
        return Authority(key=key, name=name, certificate=made)

    ark = authority(f"ARK-{product}", None, None)
    ask, asvk = (authority(f"{kind}-{product}", ark, 0) for kind in ("SEV", "SEV-VLEK"))
    return Platform(product=product, ark=ark, ask=ask, asvk=asvk)


def signed_report(
    ek: Ek | None,
    *,
    product: Product = Product.MILAN,
    version: int = 3,
    nonce: bytes = b"",
    vlek: bool = False,
    tcb: bytes | None = None,
    **fields: Any,
) -> Report:
    """A report signed by the key (with None: signature zero). `fields` replaces whatever a version has."""
    level = tcb or TCBS[product]
    chip = b"" if vlek else CHIPS[product]
    values: dict[str, Any] = {
        "version": version, "guest_svn": 1, "policy": 0x30000, "family_id": bytes(16), "image_id": bytes(16),
        "vmpl": 0, "signature_algo": 1, "current_tcb": level, "platform_info": 0x25,
        "signer_info": SigningKey.VLEK << 2 if vlek else 0, "report_data": nonce.ljust(64, b"\0"),
        "measurement": bytes(range(48)), "host_data": bytes(32), "id_key_digest": bytes(48),
        "author_key_digest": bytes(48), "report_id": bytes(range(32)), "report_id_ma": b"\xff" * 32,
        "reported_tcb": level, "chip_id": chip.ljust(64, b"\0"), "committed_tcb": level,
        "current_build": 29, "current_minor": 55, "current_major": 1,
        "committed_build": 29, "committed_minor": 55, "committed_major": 1, "launch_tcb": level,
        "signature": EcSignature(r=bytes(72), s=bytes(72)),
    }  # fmt: skip
    if version > 2:
        model = MODELS[product]
        values |= {"cpuid_fam_id": model.family, "cpuid_mod_id": model.model, "cpuid_step": model.stepping}
    if version > 4:
        values |= {"launch_mit_vector": 1, "current_mit_vector": 3}
    values |= fields
    record = REPORTS[version]
    unsigned = record(**values)
    if ek is None or "signature" in fields:
        return unsigned
    return record(**values | {"signature": ec_signature(ek.key, unsigned.signed, hashes.SHA384())})


def issue(  # noqa: PLR0913 - what a certificate consists of
    name: str,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    issuer: str,
    issuer_key: rsa.RSAPrivateKey,
    *,
    start: datetime = NOW - 2 * YEAR,
    end: datetime = NOW + 20 * YEAR,
    ca: bool = False,
    path_length: int | None = None,
    extensions: Mapping[str, bytes] | None = None,
) -> Certificate:
    """A certificate signed as AMD signs. Its serial number comes from its name, so that lists can have it."""
    given = [DerExtension(oid, value) for oid, value in (extensions or {}).items()]
    if ca:
        length = b"" if path_length is None else der_integer(path_length)
        given.insert(0, DerExtension(BASIC_CONSTRAINTS, der_of(0x30, der_of(0x01, b"\xff"), length), critical=True))
    return certify(
        name_of(name), key, Signer(name_of(issuer), issuer_key), start=start, end=end, serial=sum(name.encode()),
        extensions=given,
    )  # fmt: skip


def name_of(common_name: str) -> x509.Name:
    """A name as AMD's are, shortened."""
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Micro Devices"),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ])  # fmt: skip
