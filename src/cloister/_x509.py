"""X.509 certificates and revocation lists (RFC 5280), as far as attestation needs them.

Own code, over a strict DER reader, because the crypto library refuses certificates that TEEs really carry: a serial
number of 0 (AMD VCEK), NULL behind an ECDSA algorithm (Gramine), an object identifier with a tag in it (Gramine).
What is read here is only bytes; `cloister.verification.chains` decides what to believe.
"""

import base64
import binascii
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cloister import _der as der
from cloister._der import Der
from cloister.errors import ParseError

__all__ = ["Certificate", "Crl", "Extension", "SignatureAlgorithm", "common_name", "pem_blocks"]

SIGNATURE_ALGORITHMS: Final = {
    "1.2.840.10045.4.3.2": ("ecdsa", "sha256"),
    "1.2.840.10045.4.3.3": ("ecdsa", "sha384"),
    "1.2.840.10045.4.3.4": ("ecdsa", "sha512"),
    "1.2.840.113549.1.1.11": ("rsa-pkcs1", "sha256"),
    "1.2.840.113549.1.1.12": ("rsa-pkcs1", "sha384"),
    "1.2.840.113549.1.1.13": ("rsa-pkcs1", "sha512"),
    "1.3.101.112": ("ed25519", ""),
}
RSA_PSS: Final = "1.2.840.113549.1.1.10"
MGF1: Final = "1.2.840.113549.1.1.8"
NULL: Final = 0x05
LONGEST_SALT: Final = 64
HASHES: Final = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
COMMON_NAME: Final = "2.5.4.3"
BASIC_CONSTRAINTS: Final = "2.5.29.19"
KEY_USAGE: Final = "2.5.29.15"
PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----")
MAX_CERTIFICATE: Final = 65_536
"""Bytes. The longest seen, RA-TLS certificates with a quote and its chain inside, have about 8,000."""


MAX_CRL: Final = 2 << 20
"""Bytes. AMD's have 900, Intel's some 10,000; one of the shortest entries takes 4 microseconds to read."""
REMEMBERED: Final = 8_192
"""Bytes of the longest certificate that is kept. Longer ones carry evidence and come once."""


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """How something was signed: `scheme` is ecdsa, rsa-pkcs1, rsa-pss or ed25519; `salt` belongs to rsa-pss."""

    scheme: str
    digest: str
    salt: int = 0


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension: the DER inside its OCTET STRING. `offset` is where that stands in the certificate."""

    value: bytes
    critical: bool
    offset: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Certificate:
    """A certificate as it stands in the bytes; nothing in it has been verified. Equal if the bytes are."""

    encoded: bytes = field(repr=False)
    tbs: bytes = field(repr=False)
    algorithm: SignatureAlgorithm
    signature: bytes = field(repr=False)
    serial: int
    issuer: bytes
    subject: bytes
    not_before: datetime
    not_after: datetime
    spki: bytes = field(repr=False)
    extensions: Mapping[str, Extension] = field(repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and other.encoded == self.encoded

    def __hash__(self) -> int:
        return hash(self.encoded)

    @classmethod
    def parse(cls, data: bytes, *, base: int = 0) -> "Certificate":
        """Read one certificate from exactly these bytes (DER)."""
        if len(data) > MAX_CERTIFICATE:
            raise ParseError("Certificate", "length", base, f"{len(data)} bytes; at most {MAX_CERTIFICATE}")
        return _certificate(data, base) if len(data) <= REMEMBERED else _certificate.__wrapped__(data, base)

    @functools.cached_property
    def name(self) -> str:
        """The subject's common name, for people."""
        return common_name(self.subject)

    @property
    def is_ca(self) -> bool:
        """Whether it may issue certificates: basicConstraints says CA, and keyUsage, if there, allows signing them."""
        constraints, usage = self.extensions.get(BASIC_CONSTRAINTS), self.extensions.get(KEY_USAGE)
        if constraints is None:
            return False
        inside = Der(constraints.value, "basicConstraints").inside("sequence")
        allowed = inside.tag() == der.BOOLEAN and inside.boolean("cA")
        return allowed and (usage is None or bool(_bits(usage.value) & 1 << 5))

    @property
    def path_length(self) -> int | None:
        """How many more CAs may stand below this one; None if there is no limit."""
        constraints = self.extensions.get(BASIC_CONSTRAINTS)
        if constraints is None:
            return None
        inside = Der(constraints.value, "basicConstraints").inside("sequence")
        if inside.tag() == der.BOOLEAN:
            inside.boolean("cA")
        return None if inside.at_end else inside.integer("pathLenConstraint")


@functools.lru_cache(maxsize=1024)
def _certificate(data: bytes, base: int) -> Certificate:
    outer = Der(data, "Certificate", base=base)
    whole = outer.inside("certificate")
    outer.finish()
    start = whole.offset
    tbs = whole.whole("tbsCertificate", der.SEQUENCE)
    algorithm, outside = _algorithm(whole, "signatureAlgorithm")
    signature = whole.bits("signatureValue")
    whole.finish()
    inside = Der(tbs, "Certificate", base=whole.base + start).inside("tbsCertificate")
    if inside.tag() == 0xA0:
        version = inside.inside("version", 0xA0)
        if version.integer("version") != 2:
            raise version.error("version", "only X.509 version 3 is understood")
    serial = inside.integer("serialNumber")
    if _algorithm(inside, "signature")[1] != outside:
        raise inside.error("signature", "names another algorithm than the certificate's outside")
    issuer = inside.whole("issuer", der.SEQUENCE)
    validity = inside.inside("validity")
    not_before, not_after = validity.time("notBefore"), validity.time("notAfter")
    validity.finish()
    subject = inside.whole("subject", der.SEQUENCE)
    spki = inside.whole("subjectPublicKeyInfo", der.SEQUENCE)
    extensions = _extensions(inside.inside("extensions", 0xA3)) if inside.tag() == 0xA3 else {}
    inside.finish()
    return Certificate(
        encoded=data, tbs=tbs, algorithm=algorithm, signature=signature, serial=serial, issuer=issuer, subject=subject,
        not_before=not_before, not_after=not_after, spki=spki, extensions=extensions,
    )  # fmt: skip


def _algorithm(reader: Der, field_name: str) -> tuple[SignatureAlgorithm, bytes]:
    """An AlgorithmIdentifier, and its bytes: those in the signed part must be the same as those outside."""
    start, encoded = reader.base + reader.offset, reader.whole(field_name, der.SEQUENCE)
    inside = Der(encoded, reader.record, base=start).inside(field_name)
    oid = inside.oid("algorithm")
    if oid == RSA_PSS:
        return _pss(inside), encoded
    if oid not in SIGNATURE_ALGORITHMS:
        raise inside.error("algorithm", f"{oid} is not a signature algorithm that TEE vendors use")
    if not inside.at_end:
        inside.element("parameters", NULL)  # right for RSA, wrong for ECDSA, and in real certificates of both
    inside.finish()
    return SignatureAlgorithm(*SIGNATURE_ALGORITHMS[oid]), encoded


def _pss(reader: Der) -> SignatureAlgorithm:
    """RSASSA-PSS-params (RFC 4055, section 3.1). The defaults are SHA-1, so everything must be said."""
    parameters = reader.inside("parameters")
    reader.finish()
    digest = _hash(parameters.inside("hashAlgorithm", 0xA0))
    mask = parameters.inside("maskGenAlgorithm", 0xA1).inside("algorithm")
    if mask.oid("algorithm") != MGF1:
        raise mask.error("maskGenAlgorithm", "is not MGF1")
    if _hash(mask) != digest:
        raise mask.error("hashAlgorithm", "MGF1 uses another hash than the signature")
    salt = parameters.inside("saltLength", 0xA2).integer("saltLength")
    if not parameters.at_end and parameters.inside("trailerField", 0xA3).integer("trailerField") != 1:
        raise parameters.error("trailerField", "is not 1")
    parameters.finish()
    if not 0 <= salt <= LONGEST_SALT:
        raise parameters.error("saltLength", f"is {salt}; 0 to {LONGEST_SALT} bytes are used")
    return SignatureAlgorithm("rsa-pss", digest, salt)


def _hash(reader: Der) -> str:
    inside = reader.inside("algorithm")
    oid = inside.oid("hash")
    if oid not in HASHES:
        raise inside.error("hashAlgorithm", f"{oid} is not SHA-256, SHA-384 or SHA-512")
    if not inside.at_end:
        inside.element("parameters", NULL)
    inside.finish()
    reader.finish()
    return HASHES[oid]


def _extensions(explicit: Der) -> dict[str, Extension]:
    found: dict[str, Extension] = {}
    for one in explicit.inside("list").each("extension"):
        oid = one.oid("extnID")
        critical = one.boolean("critical") if one.tag() == der.BOOLEAN else False
        value = one.octets("extnValue")
        one.finish()
        if oid in found:
            raise one.error("extnID", f"the extension {oid} stands twice")
        found[oid] = Extension(value, critical, one.base + one.offset - len(value))
    return found


def _bits(value: bytes) -> int:
    """A BIT STRING of named bits as a number in which bit n is bit n."""
    content = Der(value, "keyUsage").element("bits", der.BIT_STRING)[1]
    return sum(1 << (8 * i + b) for i, byte in enumerate(content[1:]) for b in range(8) if byte & 0x80 >> b)


def common_name(name: bytes) -> str:
    """The common name in a DER Name, or an empty string. For people: only whole names may be compared."""
    for relative in Der(name, "Name").inside("name").each("relative", der.SET):
        for attribute in relative.each("attribute"):
            if attribute.oid("type") == COMMON_NAME:
                return attribute.element("value")[1].decode("utf-8", "replace")
    return ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Crl:
    """A certificate revocation list as it stands in the bytes; nothing in it has been verified."""

    encoded: bytes = field(repr=False)
    tbs: bytes = field(repr=False)
    algorithm: SignatureAlgorithm
    signature: bytes = field(repr=False)
    issuer: bytes
    this_update: datetime
    next_update: datetime | None
    revoked: frozenset[int] = field(repr=False)

    @classmethod
    def parse(cls, data: bytes, *, base: int = 0) -> "Crl":
        """Read one revocation list from exactly these bytes (DER; RFC 5280, section 5.1)."""
        if len(data) > MAX_CRL:
            raise ParseError("CertificateList", "length", base, f"{len(data)} bytes; at most {MAX_CRL}")
        outer = Der(data, "CertificateList", base=base)
        whole = outer.inside("list")
        outer.finish()
        start = whole.offset
        tbs = whole.whole("tbsCertList", der.SEQUENCE)
        algorithm, outside = _algorithm(whole, "signatureAlgorithm")
        signature = whole.bits("signatureValue")
        whole.finish()
        inside = Der(tbs, "CertificateList", base=whole.base + start).inside("tbsCertList")
        if inside.tag() == der.INTEGER and inside.integer("version") != 1:
            raise inside.error("version", "only version 2 is understood")
        if _algorithm(inside, "signature")[1] != outside:
            raise inside.error("signature", "names another algorithm than the list's outside")
        issuer, this_update = inside.whole("issuer", der.SEQUENCE), inside.time("thisUpdate")
        next_update = inside.time("nextUpdate") if inside.tag() in {der.UTC_TIME, der.GENERALIZED_TIME} else None
        revoked = _revoked(inside.inside("revokedCertificates")) if inside.tag() == der.SEQUENCE else frozenset()
        if inside.tag() == 0xA0:
            _refuse_critical(_extensions(inside.inside("crlExtensions", 0xA0)), inside)
        inside.finish()
        return cls(
            encoded=data, tbs=tbs, algorithm=algorithm, signature=signature, issuer=issuer,
            this_update=this_update, next_update=next_update, revoked=revoked,
        )  # fmt: skip


def _revoked(entries: Der) -> frozenset[int]:
    return frozenset(entry.integer("userCertificate") for entry in entries.each("revokedCertificate"))


def _refuse_critical(extensions: Mapping[str, Extension], reader: Der) -> None:
    """A critical extension (a delta list, a partial scope) changes what absence from the list means."""
    critical = [oid for oid, extension in extensions.items() if extension.critical]
    if critical:
        raise reader.error("crlExtensions", f"critical and not understood: {', '.join(critical)}")


def pem_blocks(text: bytes, label: str, *, base: int = 0) -> list[bytes]:
    """The DER of every PEM block (RFC 7468) with this label, in order. What stands between blocks is ignored."""
    blocks = []
    for match in PEM.finditer(text):
        if match[1].decode("ascii") != label:
            continue
        try:
            blocks.append(base64.b64decode(b"".join(match[2].split()), validate=True))
        except binascii.Error as error:
            raise ParseError("PEM", label, base + match.start(), f"is not base64: {error}") from error
    return blocks
