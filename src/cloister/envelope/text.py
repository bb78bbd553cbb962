"""Text around bytes as a container: hexadecimal, base64 and PEM."""

from typing import Final

from cloister._x509 import Certificate
from cloister.envelope import ratls
from cloister.envelope.contents import Envelope, Opening, join
from cloister.envelope.encoding import WHITE, decode, encoding_of, pem_blocks
from cloister.errors import ParseError

__all__ = ["looks_like", "open_container"]

LATER: Final = "a later certificate carries evidence and the first does not: whose key it speaks of would be mistaken"


def looks_like(data: bytes) -> bool:
    """Whether it is hexadecimal, base64 or PEM text and nothing else."""
    return bool(encoding_of(data.strip(WHITE)))


def open_container(data: bytes, opening: Opening) -> Envelope:
    """What the text encodes."""
    start = len(data) - len(data.lstrip(WHITE))
    stripped = data.strip(WHITE)
    kind = encoding_of(stripped)
    if kind == "PEM":
        return open_pem(stripped, opening, start)
    return opening.inside(decode(stripped, kind, kind, base=start), kind)


def open_pem(data: bytes, opening: Opening, base: int) -> Envelope:
    """Certificates: the evidence in them; those without come along. Any other label: what is in the block.

    The first certificate is the one whose key a connection uses. Evidence further down the chain speaks of another key.
    """
    found: list[Envelope] = []
    certificates: list[Certificate] = []
    for label, block in pem_blocks(data, base):
        if label != "CERTIFICATE":
            found.append(opening.inside(block, f"PEM {label}"))
            continue
        certificate = Certificate.parse(opening.spend(block))
        certificates.append(certificate)
        if ratls.has_evidence(certificate):
            if not ratls.has_evidence(certificates[0]):
                raise ParseError("PEM", "CERTIFICATE", base, LATER)
            found.append(ratls.open_certificate(certificate, opening).within("PEM CERTIFICATE"))
    if not found:
        raise ParseError("PEM", "CERTIFICATE", base, ratls.NO_EVIDENCE)
    return join(*found, Envelope(certificates=tuple(certificates)))
