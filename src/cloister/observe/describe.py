"""Scans and dumps as JSON documents and as lines for people. A secret appears as its label only.

Addresses are hexadecimal strings, since JSON numbers lose precision beyond 53 bits; sizes are numbers of bytes.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from cloister.observe.dump import MappingDump, ProcessDump
from cloister.observe.findings import Absent, Finding, FoundKey, Reason, Scan
from cloister.observe.maps import Mapping
from cloister.quantities import counted, human_size

__all__ = ["dump_document", "dump_lines", "scan_document", "scan_lines"]

Document = dict[str, Any]
RESERVED = "not accessible to the program either"


def mapping_document(mapping: Mapping) -> Document:
    """One mapping."""
    return {
        "start": hex(mapping.start),
        "end": hex(mapping.end),
        "permissions": mapping.permissions,
        "path": mapping.path,
        "kind": mapping.kind.value,
    }


def absence_document(absent: Absent) -> Document:
    """One place that was not looked at."""
    return {"where": absent.where, "reason": absent.reason.value, "bytes": absent.size, "detail": absent.detail}


def place_document(found: Finding | FoundKey) -> Document:
    """Where something was found."""
    return {
        "pid": found.pid,
        "owner": found.owner,
        "where": found.where,
        "address": hex(found.address),
        "mapping": mapping_document(found.mapping) if found.mapping else None,
    }


def scan_document(scan: Scan, verdict: str) -> Document:
    """A whole scan."""
    return {
        "verdict": verdict,
        "findings": [
            {
                "label": finding.label,
                "encoding": finding.encoding,
                **place_document(finding),
                "matched_bytes": finding.matched,
                "encoded_bytes": finding.length,
                "crosses_mappings": finding.crosses,
            }
            for finding in scan.findings
        ],
        "unlisted_findings": scan.unlisted,
        "aes_keys": [{"bits": key.key_bits, "layout": key.layout, **place_document(key)} for key in scan.keys],
        "coverage": {
            "read_bytes": scan.coverage.read_bytes,
            "untouched_bytes": scan.coverage.untouched_bytes,
            "reserved_bytes": scan.coverage.reserved_bytes,
            "unreadable_bytes": scan.coverage.unreadable_bytes,
            "unreadable_by_reason": {reason.value: size for reason, size in scan.unreadable_by_reason().items()},
            "expected_chance_hits": scan.coverage.expected_chance_hits,
        },
        "absences": [absence_document(absent) for absent in scan.absences],
    }


def scan_lines(scan: Scan, verdict: str) -> Iterator[str]:
    """A whole scan for people: what was found, what was covered, the verdict last."""
    for finding in scan.findings:
        part = f", {finding.matched} of {finding.length} bytes before or after unreadable memory" * finding.partial
        crossing = ", across two mappings" * finding.crosses
        yield f"FOUND {finding.label} ({finding.encoding}{part}{crossing}) {located(finding)}"
    if scan.unlisted:
        yield f"... and {scan.unlisted} more of the same"
    for key in scan.keys:
        yield f"FOUND expanded AES-{key.key_bits} key ({key.layout} byte order) {located(key)}"
    yield f"read        {human_size(scan.coverage.read_bytes)}"
    if scan.coverage.untouched_bytes:
        yield f"zeros       {human_size(scan.coverage.untouched_bytes)} never written"
    if scan.coverage.reserved_bytes:
        yield f"reserved    {human_size(scan.coverage.reserved_bytes)}, {RESERVED}"
    yield from (f"not read    {line}" for line in absence_lines(scan.absences))
    if scan.coverage.expected_chance_hits:
        yield f"by chance   {scan.coverage.expected_chance_hits:.1g} finds expected if the secrets were random bytes"
    yield f"verdict     {verdict}"


def located(found: Finding | FoundKey) -> str:
    """Where something was found."""
    place = f"at {found.address:#x} in {found.where}" + (f" of {found.owner}" if found.owner else "")
    return f"{place}: {found.mapping} ({found.mapping.kind.value})" if found.mapping else place


def absence_lines(absences: Iterable[Absent]) -> Iterator[str]:
    """Absences summed by reason; a place without a size is named."""
    sizes: dict[Reason, list[Absent]] = {}
    for absent in absences:
        sizes.setdefault(absent.reason, []).append(absent)
    for group in sizes.values():
        total = sum(absent.size for absent in group)
        if total:
            yield f"{human_size(total)} in {counted(len(group), 'place')}: {group[0].why}"
        else:
            more = f" and {len(group) - 1} more" * (len(group) > 1)
            yield f"{group[0].where}{more}: {group[0].why}"


def dump_document(dumps: list[ProcessDump]) -> Document:
    """The map of a dump: every mapping of every process, and totals."""
    return {
        "format": "cloister-dump-1",
        "processes": [process_document(dump) for dump in dumps],
        "totals": totals(mapping for dump in dumps for mapping in dump.mappings),
    }


def process_document(dump: ProcessDump) -> Document:
    """One process of a dump."""
    return {
        "pid": dump.member.pid,
        "name": dump.member.comm,
        "role": dump.member.role,
        "core": str(dump.core) if dump.core else None,
        "threads_with_registers": list(dump.threads),
        "absences": [absence_document(absent) for absent in dump.absences],
        "mappings": [mapping_document(one.mapping) | totals([one]) for one in dump.mappings],
        "totals": totals(dump.mappings),
    }


def totals(mappings: Iterable[MappingDump]) -> Document:
    """Bytes read, never written, reserved without access, and unreadable by reason."""
    read = untouched = reserved = 0
    unreadable: dict[str, int] = {}
    for one in mappings:
        read += one.read_bytes
        if one.mapping.reserved:
            reserved += one.untouched_bytes
        else:
            untouched += one.untouched_bytes
        for reason, size in one.unreadable.items():
            unreadable[reason.value] = unreadable.get(reason.value, 0) + size
    return {
        "read_bytes": read,
        "untouched_bytes": untouched,
        "reserved_bytes": reserved,
        "unreadable_bytes": sum(unreadable.values()),
        "unreadable_by_reason": unreadable,
    }


def dump_lines(dumps: list[ProcessDump]) -> Iterator[str]:
    """A dump for people: per process what was readable, what was not and why."""
    for dump in dumps:
        sums = totals(dump.mappings)
        yield f"{dump.member}: {dump.core or 'no core'}"
        yield f"  readable    {human_size(sums['read_bytes'])}"
        if sums["untouched_bytes"]:
            yield f"  zeros       {human_size(sums['untouched_bytes'])} never written"
        if sums["reserved_bytes"]:
            yield f"  reserved    {human_size(sums['reserved_bytes'])}, {RESERVED}"
        for reason, size in sums["unreadable_by_reason"].items():
            yield f"  unreadable  {human_size(size)}: {reason}"
        if dump.threads:
            yield f"  registers   of {counted(len(dump.threads), 'thread')}"
        yield from (f"  missing     {line}" for line in absence_lines(dump.absences))
