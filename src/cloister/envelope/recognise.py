"""Which layer comes next: one format is chosen by how the bytes begin, and its parser has the last word.

Nothing is tried in turn until something fits: a parser that refuses what looks like its format ends the matter,
because its reason is what the user needs, and because bytes that are read as two formats are an attack. Evidence is
never looked for in the middle of unknown bytes.
"""

from collections.abc import Callable
from typing import Final, NoReturn

from cloister import _cbor, _json
from cloister.envelope import (
    cert_table,
    cmw,
    collateral,
    csr,
    dstack,
    openenclave,
    ratls,
    refusals,
    text,
    trustee,
    tsm,
    vtpm,
)
from cloister.envelope.contents import Container, Envelope, Opening
from cloister.envelope.encoding import WHITE
from cloister.envelope.kinds import EVIDENCE, evidence_in, looks_like_evidence
from cloister.errors import ParseError

__all__ = ["recognise"]

BINARY: Final[tuple[tuple[str, Container], ...]] = (
    ("Open Enclave evidence", openenclave),
    ("Intel collateral", collateral),
    ("SNP report with certificate table", cert_table),
    ("vTPM evidence (Azure, go-tpm-tools)", vtpm),
)
LAST: Final[tuple[tuple[str, Container], ...]] = (
    ("dstack attestation", dstack),
    ("DER certificate", ratls),
    ("certification request", csr),
    ("hexadecimal, base64 or PEM text", text),
)
JSON: Final[tuple[tuple[Callable[[object], bool], Callable[[object, Opening], Envelope]], ...]] = (
    (tsm.looks_like, tsm.open_value),
    (dstack.looks_like_json, dstack.open_json),
    (trustee.looks_like, trustee.open_value),
    (collateral.looks_like_json, collateral.open_json),
    (cmw.looks_like_json, cmw.open_json),
)
CBOR: Final[tuple[tuple[Callable[[object], bool], Callable[[object, Opening], Envelope]], ...]] = (
    (tsm.looks_like, tsm.open_value),
    (cmw.looks_like_cbor, cmw.open_cbor),
)
COSE_SIGN1: Final = 18
FRAMED: Final = ("Intel SGX quote", "Intel TDX quote", "AMD SEV-SNP report", "Keystone report")
"""Formats of fixed layout: how far their parsers get says how near they are."""

MOST_MARKS: Final = 200_000
"""Members, objects and lists in a JSON document. Each costs a hundred times the memory and time of its few bytes; an
event log of 10,000 events has 60,000."""

CBOR_STARTS: Final = frozenset({*range(0x82, 0x84), *range(0xA1, 0xBC), *range(0xC0, 0xDC)})
"""First bytes of CBOR arrays of two or three, maps and tags."""


def recognise(data: bytes, opening: Opening) -> Envelope:
    """What `data` contains: the one format that it looks like, opened."""
    if not data.strip(b"\0"):
        raise ParseError("Envelope", "bytes", 0, f"{len(data)} bytes, nothing but zeros" if data else "is empty")
    refused = refusals.name_of(data)
    if refused:
        raise ParseError("Envelope", "format", 0, f"is {refused}")
    is_json = looks_like_json(data)
    for _, container in BINARY:
        if container.looks_like(data):
            return container.open_container(data, opening)
    name = looks_like_evidence(data)
    if name:
        return evidence_in(data, name)
    if is_json:
        return open_json(data, opening)
    for _, container in LAST:
        if container.looks_like(data):
            return container.open_container(data, opening)
    if data[0] not in CBOR_STARTS:
        nothing_fits(data)
    return open_cbor(data, opening)


def looks_like_json(data: bytes) -> bool:
    """Whether it begins as JSON does; ParseError if it does and would be too much work to read."""
    if data.lstrip(WHITE)[:1] not in {b"{", b"["}:
        return False
    if sum(map(data.count, (b":", b"[", b"{"))) > MOST_MARKS:
        raise ParseError("JSON", "members", 0, f"more than {MOST_MARKS} members, objects and lists")
    return True


def open_json(data: bytes, opening: Opening) -> Envelope:
    """The JSON container that the members of the document say it is."""
    value = _json.loads(data, "JSON")
    for looks_like, open_value in JSON:
        if looks_like(value):
            return open_value(value, opening)
    keys = ", ".join(sorted(str(key)[:32] for key in value)[:12]) if isinstance(value, dict) else "a list"
    tried = "CMW, configfs-tsm, dstack, Trustee (SGX, TDX, SNP, CCA), Azure vTPM, TPM quote, Intel collateral"
    raise ParseError("JSON", "members", 0, f"no known container has these: {keys}. Tried: {tried}")


def open_cbor(data: bytes, opening: Opening) -> Envelope:
    """The CBOR container that the value says it is."""
    try:
        value = _cbor.loads(data, "CBOR", longest=cmw.LONGEST_CBOR)
    except ParseError as error:  # one byte is little to recognise it by
        nothing_fits(data, ("CBOR", error))
    for looks_like, open_value in CBOR:
        if looks_like(value):
            return open_value(value, opening)
    what = f"tag {value.tag}" if isinstance(value, _cbor.Tag) else f"a {type(value).__name__}"
    if what == f"tag {COSE_SIGN1}":
        what = "a COSE_Sign1 message: hand over the evidence that it has inside; as it is, it"
    raise ParseError(
        "CBOR", "value", 0, f"{what} is no known container. Tried: CMW record, tag and collection, configfs-tsm"
    )


def nothing_fits(data: bytes, *tried: tuple[str, ParseError]) -> NoReturn:
    """The error for bytes that begin like nothing known, with the parser that understood most of them."""
    errors = [*(why_not(name, data) for name in FRAMED), *tried]
    name, nearest = max(errors, key=lambda one: one[1].offset)
    names = ", ".join([*EVIDENCE, *(name for name, _ in (*BINARY, *LAST)), "JSON", "CBOR"])
    hint = f" Nearest: {name}: {nearest}." if nearest.offset else ""
    begin = f"{len(data)} bytes that begin with {data[:8].hex()}"
    raise ParseError("Envelope", "format", 0, f"{begin} are no known evidence or container.{hint} Tried: {names}")


def why_not(name: str, data: bytes) -> tuple[str, ParseError]:
    """Why `data` is not evidence of that format."""
    try:
        EVIDENCE[name].parse(data)
    except ParseError as error:
        return name, error
    return name, ParseError(name, "recognition", 0, "is this format, but was not recognised")
