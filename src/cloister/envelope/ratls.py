"""RA-TLS: X.509 certificates that carry evidence, and what the evidence must say about the certificate's key.

    2.23.133.5.4.9               CBOR 60000([quote, claims])     report data SHA-256(claims), a claim names the key
                                 or a message wrapper (CMW)      report data SHA-256(SubjectPublicKeyInfo)
    1.2.840.113741.1.13.1        the quote                       report data SHA-256(SubjectPublicKeyInfo)
    0.6.9.42.840.113741.1337.6   the same; Gramine's, with a tag and a length inside the identifier
    1.2.840.113741.1337.6        the same; rats-tls, report data SHA-256 of the key without its header
    1.3.6.1.4.1.311.105.1, 1.2.840.113556.10.1.1    Open Enclave report (EGo too)
    1.3.6.1.4.1.311.105.2, 1.2.840.113556.10.1.2    Open Enclave evidence

(CCC interoperable RA-TLS; Gramine ra_tls.h; Open Enclave internal/report.h, internal/evidence.h.) Where one quote
stands under two identifiers, it is one part, and the claims are what binds it.
"""

from typing import Final

from cloister import _cbor
from cloister._cbor import Tag
from cloister._x509 import Certificate
from cloister.envelope import cmw, openenclave
from cloister.envelope.bindings import ClaimsBinding, KeyBinding, KeyForm
from cloister.envelope.contents import Envelope, Opening, join
from cloister.envelope.kinds import evidence_in, looks_like_evidence
from cloister.errors import ParseError
from cloister.model import Digest

__all__ = ["NO_EVIDENCE", "has_evidence", "looks_like", "open_certificate", "open_container"]

NO_EVIDENCE: Final = "no certificate here carries evidence: these are endorsements at best"
DICE: Final = "2.23.133.5.4.9"
DICE_ENDORSEMENTS: Final = "2.23.133.5.4.2"
SGX_QUOTE: Final = "1.2.840.113741.1.13.1"
QUOTES: Final = {
    SGX_QUOTE: (KeyForm.SPKI,),
    "0.6.9.42.840.113741.1337.6": (KeyForm.SPKI,),
    "1.2.840.113741.1337.6": (KeyForm.BARE, KeyForm.SPKI),
}
OPEN_ENCLAVE: Final = {
    "1.3.6.1.4.1.311.105.1": (KeyForm.PEM, KeyForm.SPKI),
    "1.2.840.113556.10.1.1": (KeyForm.PEM, KeyForm.SPKI),
    "1.3.6.1.4.1.311.105.2": (KeyForm.PEM,),
    "1.2.840.113556.10.1.2": (KeyForm.PEM,),
}
QUOTE_AND_CLAIMS: Final = 60000
UNSUPPORTED_TAGS: Final = {60001: "a TEE report for local attestation", 60002: "an SGX report for local attestation"}
HASHES: Final = {1: ("sha256", 32), 7: ("sha384", 48), 8: ("sha512", 64)}
"""Named Information Hash Algorithm Registry: identifier, hashlib's name, size in bytes."""

DER_SEQUENCE: Final = 0x30


def looks_like(data: bytes) -> bool:
    """Whether this is a DER certificate, with evidence or not."""
    try:
        Certificate.parse(data)
    except ParseError:
        return False
    return True


def has_evidence(certificate: Certificate) -> bool:
    """Whether one of the extensions is known to carry evidence."""
    return bool(carriers(certificate))


def carriers(certificate: Certificate) -> list[str]:
    """The extensions that carry evidence, the one that says most about itself first."""
    known = [oid for oid in (DICE, *QUOTES, *OPEN_ENCLAVE) if oid in certificate.extensions]
    # PCK certificates have Intel's platform data under the identifier that RA-TLS uses for quotes.
    return [oid for oid in known if oid != SGX_QUOTE or certificate.extensions[oid].value[:1] != bytes([DER_SEQUENCE])]


def open_container(data: bytes, opening: Opening) -> Envelope:
    """The evidence in a DER certificate."""
    certificate = Certificate.parse(data)
    if not has_evidence(certificate):
        raise ParseError("Certificate", "extensions", 0, NO_EVIDENCE)
    return open_certificate(certificate, opening)


def open_certificate(certificate: Certificate, opening: Opening) -> Envelope:
    """The evidence in a certificate that has some, and what binds it to the key."""
    found: list[Envelope] = []
    for oid in carriers(certificate):
        opened = open_extension(certificate, oid, opening)
        if not any(part in one.parts for one in found for part in opened.parts):
            found.append(opened.within(f"RA-TLS certificate, extension {oid}"))
    return join(*found, Envelope(certificates=(certificate,), leftovers=unused(certificate)))


def unused(certificate: Certificate) -> tuple[str, ...]:
    """A note about endorsements in the certificate, whose format nobody has settled."""
    there = DICE_ENDORSEMENTS in certificate.extensions
    return (f"endorsements in the certificate, extension {DICE_ENDORSEMENTS}",) if there else ()


def open_extension(certificate: Certificate, oid: str, opening: Opening) -> Envelope:
    """The evidence in one extension, with its binding."""
    value = opening.spend(certificate.extensions[oid].value)
    if oid == DICE:
        return open_tagged(certificate, value, opening)
    if oid in OPEN_ENCLAVE:
        found, forms = openenclave.open_container(value, opening), OPEN_ENCLAVE[oid]
    else:
        name = looks_like_evidence(value)
        if not name.startswith("Intel"):
            raise ParseError(
                "RA-TLS certificate", oid, certificate.extensions[oid].offset, "holds no quote of version 3, 4 or 5"
            )
        found, forms = evidence_in(value, name), QUOTES[oid]
    binding = KeyBinding(evidence=found.primary, holder=certificate, forms=forms)
    return join(found, Envelope(bindings=(binding,)))


def open_tagged(certificate: Certificate, value: bytes, opening: Opening) -> Envelope:
    """Tagged evidence: a quote and claims, or a message wrapper (TCG DICE Attestation Architecture, section 6.1)."""
    record = "tagged evidence"
    offset = certificate.extensions[DICE].offset
    tagged = _cbor.loads(value, record, base=offset, longest=len(value))
    if cmw.looks_like_cbor(tagged):
        return bound_to_key(cmw.open_cbor(tagged, opening.deeper()), certificate)
    if not isinstance(tagged, Tag):
        raise ParseError(record, "tag", offset, "is not tagged CBOR")
    if tagged.tag != QUOTE_AND_CLAIMS:
        what = UNSUPPORTED_TAGS.get(tagged.tag, "not a format that is understood here")
        raise ParseError(record, "tag", offset, f"{tagged.tag} is {what}; {QUOTE_AND_CLAIMS} is understood")
    if not isinstance(tagged.value, list) or len(tagged.value) != 2:
        raise ParseError(record, "value", offset, "is not a quote and its claims")
    quote, claims = (
        _cbor.octets(one, record, name, base=offset)
        for one, name in zip(tagged.value, ("quote", "claims"), strict=True)
    )
    name = looks_like_evidence(quote)
    if not name:
        raise ParseError(record, "quote", offset, "is no evidence format that is known")
    found = evidence_in(quote, name)
    return join(found, Envelope(bindings=(claims_binding(found.primary, certificate, claims),)))


def bound_to_key(found: Envelope, certificate: Certificate) -> Envelope:
    """What a wrapper contains: every piece of evidence must speak of the certificate's key, like a quote alone.

    Whoever has evidence can put it into a certificate of his own; the wrapper has nothing that would prevent that.
    """
    spoken = tuple(KeyBinding(evidence=one, holder=certificate, forms=(KeyForm.SPKI,)) for one in found.parts)
    return join(found, Envelope(bindings=spoken))


def claims_binding(evidence: object, certificate: Certificate, claims: bytes) -> ClaimsBinding:
    """What the claims say about the certificate's key."""
    record = "evidence claims"
    said = _cbor.loads(claims, record)
    entry = _cbor.octets(_cbor.member(said, "pubkey-hash", record, "pubkey-hash"), record, "pubkey-hash")
    pair = _cbor.loads(entry, record)
    if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) is not int or pair[0] not in HASHES:
        raise ParseError(record, "pubkey-hash", 0, f"is not [hash algorithm, hash] with one of {sorted(HASHES)}")
    algorithm, size = HASHES[pair[0]]
    nonce = said.get("nonce") if isinstance(said, dict) else None
    return ClaimsBinding(
        evidence=evidence, holder=certificate, claims=claims,
        key_digest=Digest(algorithm, _cbor.octets(pair[1], record, "pubkey-hash", size)),
        nonce=None if nonce is None else _cbor.octets(nonce, record, "nonce"),
    )  # fmt: skip
