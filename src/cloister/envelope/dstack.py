"""dstack's attestations: JSON from its agent, and the SCALE encoding of version 0.

    {"quote": hex, "event_log": JSON text, "report_data": hex, "vm_config": JSON text}
    {"attestation": hex}
    0x00, 0x00 (TDX), quote, event log, runtime events, report data 64, configuration
    0x00, 0x03 (SEV-SNP), report, certificates, configuration

In SCALE a length is a compact number: its two low bits say whether it has 1, 2 or 4 bytes. (dstack-attest,
attestation.rs.) Event logs leave here as JSON, as the agent writes them.
"""

import json
from collections.abc import Mapping
from typing import Final

from cloister._wire import Reader
from cloister.envelope.bindings import DataBinding
from cloister.envelope.cert_table import certificates_in
from cloister.envelope.contents import MOST_ENDORSEMENTS, Envelope, Opening, join
from cloister.envelope.json_members import has, ignored, octets
from cloister.envelope.kinds import looks_like_evidence
from cloister.errors import ParseError

__all__ = ["looks_like", "looks_like_json", "open_container", "open_json"]

NAME: Final = "dstack attestation"
TDX, SNP = 0, 3
MOST: Final = 65_536
"""Events in a log."""


def looks_like_json(value: object) -> bool:
    """Whether a JSON value is an answer of dstack's agent."""
    return has(value, "quote", "event_log") or (
        has(value, "attestation") and isinstance(value, Mapping) and len(value) == 1
    )


def open_json(value: object, opening: Opening) -> Envelope:
    """The quote and its event log."""
    assert isinstance(value, Mapping)  # noqa: S101 - looks_like_json has nothing else
    if "attestation" in value:
        return opening.inside(octets(value["attestation"], NAME, "attestation"), "dstack JSON")
    found = opening.inside(octets(value["quote"], NAME, "quote"), "dstack JSON")
    log = value["event_log"]
    if not isinstance(log, str):
        raise ParseError(NAME, "event_log", 0, "is not text")
    notes = ignored(value, NAME, "quote", "event_log", "report_data")
    bindings: tuple[DataBinding, ...] = ()
    if value.get("report_data"):
        said = octets(value["report_data"], NAME, "report_data")
        bindings = (DataBinding(evidence=found.primary, what="report_data beside the quote", data=said, algorithm=""),)
    logs = (opening.spend(log.encode("utf-8", "surrogatepass")),) if log else ()
    return join(found, Envelope(event_logs=logs, bindings=bindings, leftovers=notes))


def looks_like(data: bytes) -> bool:
    """Whether this begins as a version 0 attestation: version, platform, and evidence with its length before it."""
    if len(data) < 6 or data[0] != 0 or data[1] not in {TDX, SNP} or data[2] & 3 not in {1, 2}:
        return False
    head = 2 if data[2] & 3 == 1 else 4
    length = int.from_bytes(data[2 : 2 + head], "little") >> 2
    return bool(looks_like_evidence(data[2 + head : 2 + head + length]))


def open_container(data: bytes, opening: Opening) -> Envelope:
    """The evidence in a version 0 attestation."""
    reader = Reader(data, NAME)
    reader.take(1, "version")
    if reader.u8("platform") == SNP:
        return open_snp(reader, opening)
    found = opening.inside(reader.take(compact(reader, "quote"), "quote"), NAME)
    log = [event(reader) for _ in range(counted(reader, "event_log"))]
    events = counted(reader, "runtime_events")
    for _ in range(events):
        reader.take(compact(reader, "event"), "event")
        reader.take(compact(reader, "payload"), "payload")
    said = reader.take(64, "report_data")
    reader.take(compact(reader, "config"), "config")
    reader.finish()
    binding = DataBinding(evidence=found.primary, what="report_data beside the quote", data=said, algorithm="")
    notes = (f"{NAME}: config is not used", *([f"{NAME}: {events} runtime events are not used"] if events else []))
    logs = (opening.spend(json.dumps(log, separators=(",", ":")).encode()),) if log else ()
    return join(found, Envelope(event_logs=logs, bindings=(binding,), leftovers=notes))


def open_snp(reader: Reader, opening: Opening) -> Envelope:
    """The report; what follows the certificates differs between versions of dstack and is not used."""
    found = opening.inside(reader.take(compact(reader, "report"), "report"), NAME)
    chain = [
        reader.take(compact(reader, "certificate"), "certificate")
        for _ in range(counted(reader, "cert_chain", MOST_ENDORSEMENTS))
    ]
    certificates = tuple(one for block in chain for one in certificates_in(opening.spend(block), 0))
    rest = (f"{NAME}: {reader.left} bytes of configuration and events are not used",) if reader.left else ()
    return join(found, Envelope(certificates=certificates, leftovers=rest))


def compact(reader: Reader, field: str) -> int:
    """A compact number of at most four bytes."""
    first = reader.u8(field)
    mode = first & 3
    if mode == 3:
        raise reader.error(field, "has a length of more than four bytes")
    more = reader.take((0, 1, 3)[mode], field)
    return int.from_bytes(bytes([first]) + more, "little") >> 2


def counted(reader: Reader, field: str, most: int = MOST) -> int:
    """How many elements follow."""
    count = compact(reader, field)
    if count > most:
        raise reader.error(field, f"{count} elements; at most {most}")
    return count


def event(reader: Reader) -> dict[str, object]:
    """One event of the log, as the agent's JSON has it."""
    imr, kind = reader.u32("imr"), reader.u32("event_type")
    digest = reader.take(compact(reader, "digest"), "digest").hex()
    name, payload = (
        reader.take(compact(reader, "event"), "event"),
        reader.take(compact(reader, "event_payload"), "event_payload"),
    )
    return {
        "imr": imr,
        "event_type": kind,
        "digest": digest,
        "event": name.decode("utf-8", "replace"),
        "event_payload": payload.hex(),
    }
