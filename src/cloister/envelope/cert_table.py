"""AMD's certificate table, alone or behind a report (GHCB specification, section 4.1.8.1, SNP extended guest request).

    report 1184 | entries of GUID 16, u32 offset, u32 length; the last all zero | certificates, DER or PEM

Offsets count from the start of the table. GUIDs stand in the byte order of their text (RFC 4122), or as Windows writes
them; both are found, and no GUID is another one's turned over.
"""

import uuid
from dataclasses import dataclass
from typing import Final

from cloister._wire import Reader
from cloister._x509 import Certificate, Crl
from cloister.envelope.contents import Envelope, Opening, join
from cloister.envelope.encoding import BEGIN, WHITE, pem_blocks
from cloister.envelope.kinds import evidence_in, looks_like_evidence
from cloister.errors import ParseError

__all__ = ["looks_like", "open_container", "open_table"]

REPORT: Final = 1184
ENTRY: Final = 24
MOST_ENTRIES: Final = 32
NAME: Final = "certificate table"
SNP: Final = "AMD SEV-SNP report"
GUIDS: Final = {
    "63da758d-e664-4564-adc5-f4b93be8accd": "VCEK",
    "a8074bc2-a25a-483e-aae6-39c045a0b8a1": "VLEK",
    "4ab7b379-bbac-4fe4-a02f-05aef327c782": "ASK",
    "c0b406a4-a803-4952-9743-3fb6014cd0ae": "ARK",
    "92f81bc3-5811-4d3d-97ff-d19f88dc67ea": "CRL",
}
NAMES: Final = {
    written: name for guid, name in GUIDS.items() for written in (uuid.UUID(guid).bytes, uuid.UUID(guid).bytes_le)
}


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one certificate stands in the table."""

    name: str
    offset: int
    length: int


def looks_like(data: bytes) -> bool:
    """Whether an SNP report stands before something else than zeros."""
    return len(data) > REPORT and looks_like_evidence(data[:REPORT]) == SNP


def open_container(data: bytes, opening: Opening) -> Envelope:
    """The report, and the certificates in the table behind it. Zeros only behind it are no table."""
    report, rest = opening.spend(data)[:REPORT], data[REPORT:]
    found = evidence_in(report, SNP)
    if not rest.strip(b"\0"):
        return join(found, Envelope(leftovers=(f"{len(rest)} zero bytes after the {SNP}",)))
    return join(found, open_table(rest, opening, base=REPORT)).within("SNP extended report")


def open_table(table: bytes, opening: Opening, *, base: int = 0) -> Envelope:
    """The certificates and revocation lists in a table."""
    certificates: list[Certificate] = []
    crls: list[Crl] = []
    notes: list[str] = []
    for entry in entries(table, base):
        content, at = opening.spend(table[entry.offset : entry.offset + entry.length]), base + entry.offset
        if entry.name == "CRL":
            crls.append(Crl.parse(content, base=at))
        elif entry.name in GUIDS.values():
            certificates.extend(certificates_in(content, at))
        else:
            notes.append(f"{NAME}: entry {entry.name} is not used")
    return Envelope(certificates=tuple(certificates), crls=tuple(crls), leftovers=tuple(notes))


def entries(table: bytes, base: int) -> list[Entry]:
    """The table's entries up to the one that is all zero."""
    reader = Reader(table, NAME, base=base)
    made: list[Entry] = []
    while len(made) < MOST_ENTRIES:
        guid, offset, length = reader.take(16, "guid"), reader.u32("offset"), reader.u32("length")
        if guid == bytes(16):
            if offset or length:
                raise reader.error("end", "the last entry is not all zero")
            check_places(made, reader, len(table))
            return made
        made.append(Entry(NAMES.get(guid, str(uuid.UUID(bytes=guid))), offset, length))
    raise reader.error("entries", f"more than {MOST_ENTRIES}")


def check_places(made: list[Entry], reader: Reader, size: int) -> None:
    """Every entry lies behind the entries and within the table."""
    for entry in made:
        if entry.offset < reader.offset or entry.offset + entry.length > size:
            where = f"{entry.offset} with {entry.length} bytes"
            raise ParseError(NAME, entry.name, reader.base, f"stands at {where}; the table has {size} bytes")


def certificates_in(content: bytes, at: int) -> list[Certificate]:
    """One certificate in DER, or some in PEM."""
    if not content.startswith(BEGIN):
        return [Certificate.parse(content, base=at)]
    found = pem_blocks(content.rstrip(b"\0").strip(WHITE), at)
    return [Certificate.parse(block) for label, block in found if label == "CERTIFICATE"]
