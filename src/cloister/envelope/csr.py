"""Certification requests (PKCS #10, RFC 2986) that carry evidence, as Enarx's attester sends them to its authority.

    1.3.6.1.4.1.58270.1.2    SGX    SEQUENCE {OCTET STRING quote, ...}
    1.3.6.1.4.1.58270.1.3    SNP    SEQUENCE {SEQUENCE {certificate, ...}, OCTET STRING report}

The report data is SHA-256 of the key for SGX, SHA-384 for SNP; the key is the request's SubjectPublicKeyInfo.
Revocation lists and Intel's statements that come along are not used: they are in a form of Enarx's own.
"""

from typing import Final

from cloister import _x509
from cloister._der import OCTET_STRING, SEQUENCE, SET, Der
from cloister._x509 import Certificate, SignatureAlgorithm
from cloister.envelope.bindings import KeyBinding, KeyForm, SignedRequest
from cloister.envelope.contents import Envelope, Opening, join
from cloister.errors import ParseError

__all__ = ["looks_like", "open_container"]

NAME: Final = "certification request"
EXTENSION_REQUEST: Final = "1.2.840.113549.1.9.14"
EVIDENCE: Final = {
    "1.3.6.1.4.1.58270.1.2": ("Intel SGX quote", "sha256"),
    "1.3.6.1.4.1.58270.1.3": ("AMD SEV-SNP report", "sha384"),
}
LONGEST: Final = 65_536
MOST_ATTRIBUTES: Final = 16
ALGORITHMS: Final = _x509.SIGNATURE_ALGORITHMS


def looks_like(data: bytes) -> bool:
    """Whether this is a request: a sequence whose first member is a sequence that begins with version 0."""
    try:
        outer = Der(data, NAME).inside("request")
        return outer.inside("certificationRequestInfo").integer("version") == 0
    except ParseError:
        return False


def open_container(data: bytes, opening: Opening) -> Envelope:
    """The evidence in a request, bound to the key that signed it."""
    if len(data) > LONGEST:
        raise ParseError(NAME, "length", 0, f"{len(data)} bytes; at most {LONGEST}")
    outer = Der(data, NAME)
    whole = outer.inside("request")
    outer.finish()
    start = whole.base + whole.offset
    tbs = whole.whole("certificationRequestInfo", SEQUENCE)
    algorithm, signature = algorithm_of(whole), whole.bits("signature")
    whole.finish()
    info = Der(tbs, NAME, base=start).inside("certificationRequestInfo")
    if info.integer("version"):
        raise info.error("version", "is not 0")
    info.whole("subject", SEQUENCE)
    spki = info.whole("subjectPKInfo", SEQUENCE)
    oid, value = evidence_extension(info.inside("attributes", 0xA0))
    holder = SignedRequest(tbs=tbs, algorithm=algorithm, signature=signature, spki=spki)
    return open_extension(oid, value, holder, opening).within(f"{NAME}, extension {oid}")


def algorithm_of(reader: Der) -> SignatureAlgorithm:
    """The signature algorithm, of those that certificates have and that need no parameters."""
    inside = reader.inside("signatureAlgorithm")
    oid = inside.oid("algorithm")
    if oid not in ALGORITHMS:
        raise inside.error("algorithm", f"{oid} is not understood")
    if not inside.at_end:
        inside.element("parameters", 0x05)
    inside.finish()
    return SignatureAlgorithm(*ALGORITHMS[oid])


def evidence_extension(attributes: Der) -> tuple[str, Der]:
    """Identifier and content of the one requested extension that has evidence."""
    found: list[tuple[str, Der]] = []
    for count, attribute in enumerate(attributes.each("attribute")):
        if count == MOST_ATTRIBUTES:
            raise attribute.error("attributes", f"more than {MOST_ATTRIBUTES}")
        if attribute.oid("type") != EXTENSION_REQUEST:
            continue
        for extension in attribute.inside("values", SET).inside("extensions").each("extension"):
            oid = extension.oid("extnID")
            if oid in EVIDENCE:
                found.append((oid, extension.inside("extnValue", OCTET_STRING)))
    if len(found) != 1:
        raise attributes.error("extensions", f"{len(found)} with evidence that is understood; one is needed")
    return found[0]


def open_extension(oid: str, value: Der, holder: SignedRequest, opening: Opening) -> Envelope:
    """The evidence and, for SNP, the certificate of its key."""
    kind, algorithm = EVIDENCE[oid]
    content = value.inside("evidence")
    certificates: tuple[Certificate, ...] = ()
    if algorithm == "sha384":
        chain = content.inside("endorsements")
        certificates = (Certificate.parse(opening.spend(chain.whole("certificate", SEQUENCE))),)
    found = opening.inside(content.octets("report"), kind)
    if not found.path[-1].startswith(kind):
        raise content.error("report", f"is {found.path[-1]}; this extension has an {kind}")
    found = Envelope(parts=found.parts, leftovers=found.leftovers, path=found.path[1:])
    bindings = tuple(
        KeyBinding(evidence=one, holder=holder, forms=(KeyForm.SPKI,), algorithm=algorithm) for one in found.parts
    )
    notes = (f"{NAME}: revocation lists and statements in it are not used",)
    return join(found, Envelope(certificates=certificates, bindings=bindings, leftovers=notes))
