"""CoRIM (draft-ietf-rats-corim-11): a manifest of reference values, unsigned (tag 501) or signed (COSE_Sign1, tag 18).

Read here as far as reference values and attestation keys go; `cloister.appraise.corim_values` says what they mean.
What is not understood is never skipped where it could narrow what a value is good for: an unknown profile, a key of a
measurement without meaning here, a triple for one instance only. The reader keeps them, the meaning refuses them.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn

from cloister import _cbor
from cloister._cbor import Tag
from cloister._cose import CoseSign1
from cloister.errors import ParseError

__all__ = ["Comid", "Corim", "Environment", "Measured", "Triple", "looks_like", "parse"]

RECORD: Final = "CoRIM"
UNSIGNED, SIGNED, COMID = 501, 18, 506
OTHER_TAGS: Final = frozenset({505, 508})
"""CoSWID and CoTL: nothing in them is a reference value of a measurement."""
URI, UUID, OID, TIME = 32, 37, 111, 1
CONTENT_TYPES: Final = frozenset({"application/rim+cbor", "application/corim-unsigned+cbor"})
LONGEST: Final = 1 << 20
"""Bytes of a whole manifest. Those seen have 0.2 to 3 kB."""
LATEST: Final = 253_402_300_799
"""Seconds: the end of the year 9999."""
META: Final = 8
"""The protected header with the corim-meta-map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a triple is about (section 5.1.4.1). None: the manifest does not say."""

    class_id: object = None
    vendor: str = ""
    model: str = ""
    instance: object = None
    group: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measurement-map: `key` names the measured element, `values` are those of its measurement-values-map."""

    key: object
    values: Mapping[object, object]
    authorized_by: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Triple:
    """A subject and what is said of it: measurements in a reference triple, keys in an attest-key triple."""

    environment: Environment
    measurements: tuple[Measured, ...] = ()
    keys: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comid:
    """One concise module identifier: its reference triples and attest-key triples."""

    tag_id: str
    references: tuple[Triple, ...]
    keys: tuple[Triple, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corim:
    """A manifest. `windows` are the periods in which it, and its signature, are valid: both ends may be open."""

    corim_id: str
    profile: str
    comids: tuple[Comid, ...]
    windows: tuple[tuple[datetime | None, datetime | None], ...]
    signature: CoseSign1 | None
    signer: str
    """What the signer calls itself; empty if it is unsigned. Worth nothing until the signature was verified."""


def looks_like(data: bytes) -> bool:
    """Whether this begins as a CoRIM does, rather than as JSON."""
    return data.startswith((b"\xd9\x01\xf5", b"\xd2\x84"))


def parse(data: bytes) -> Corim:
    """Read a manifest of exactly these bytes; ParseError for anything else. Verifies nothing."""
    if len(data) > LONGEST:
        raise ParseError(RECORD, "length", 0, f"{len(data)} bytes; at most {LONGEST}")
    value = _cbor.loads(data, RECORD, longest=LONGEST)
    if not isinstance(value, Tag) or value.tag not in {UNSIGNED, SIGNED}:
        refuse("tag", f"is neither {UNSIGNED} (unsigned CoRIM) nor {SIGNED} (signed)")
    if value.tag == UNSIGNED:
        return _manifest(value.value, None, {})
    message = CoseSign1.parse(data, record=RECORD, longest=LONGEST)
    headers = _cbor.loads(message.protected, RECORD)
    if _cbor.text(_cbor.member(headers, 3, RECORD, "content-type"), RECORD, "content-type") not in CONTENT_TYPES:
        refuse("content-type", f"is not {' or '.join(sorted(CONTENT_TYPES))}")
    meta = _cbor.loads(_cbor.octets(_cbor.member(headers, META, RECORD, "corim-meta"), RECORD, "corim-meta"), RECORD)
    inner = _cbor.loads(message.payload, RECORD, longest=LONGEST)
    if not isinstance(inner, Tag) or inner.tag != UNSIGNED:
        refuse("payload", f"is not tagged {UNSIGNED} (unsigned CoRIM)")
    return _manifest(inner.value, message, mapping(meta, "corim-meta"))


def _manifest(value: object, signature: CoseSign1 | None, meta: Mapping[object, object]) -> Corim:
    corim = mapping(value, "corim-map")
    tags = listed(corim.get(1), "tags")
    signer = mapping(_cbor.member(meta, 0, RECORD, "signer"), "signer") if signature else {}
    return Corim(
        corim_id=identifier(corim.get(0), "id"),
        profile=_profile(corim.get(3)),
        comids=tuple(comid for comid in map(_comid, tags) if comid is not None),
        windows=tuple(_window(one) for one in (corim.get(4), meta.get(1)) if one is not None),
        signature=signature,
        signer=_cbor.text(signer.get(0), RECORD, "signer-name") if signature else "",
    )


def _profile(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Tag) and value.tag == URI:
        return _cbor.text(value.value, RECORD, "profile")
    if isinstance(value, Tag) and value.tag == OID:
        return f"oid:{_cbor.octets(value.value, RECORD, 'profile').hex()}"
    return refuse("profile", "is neither a URI (tag 32) nor an OID (tag 111)")


def _window(value: object) -> tuple[datetime | None, datetime | None]:
    window = mapping(value, "validity")
    return _time(window.get(0)), _time(_cbor.member(window, 1, RECORD, "not-after"))


def _time(value: object) -> datetime | None:
    if value is None:
        return None
    seconds = value.value if isinstance(value, Tag) and value.tag == TIME else None
    if type(seconds) is not int or not 0 <= seconds <= LATEST:
        refuse("validity", "is not a time in seconds (tag 1)")
    return datetime.fromtimestamp(seconds, UTC)


def _comid(tag: object) -> Comid | None:
    """The CoMID in a tag; None if it is one of the other two kinds."""
    if not isinstance(tag, Tag) or tag.tag not in {COMID, *OTHER_TAGS}:
        refuse("tags", "hold something that is no CoMID, CoSWID or CoTL")
    if tag.tag != COMID:
        return None
    comid = mapping(_cbor.loads(_cbor.octets(tag.value, RECORD, "comid"), RECORD, longest=LONGEST), "comid")
    identity = mapping(comid.get(1), "tag-identity")
    triples = mapping(comid.get(4), "triples")
    return Comid(
        tag_id=identifier(identity.get(0), "tag-id"),
        references=tuple(_reference(one) for one in listed(triples.get(0, ()), "reference-triples", least=0)),
        keys=tuple(_keys(one) for one in listed(triples.get(3, ()), "attest-key-triples", least=0)),
    )


def _pair(value: object, field: str) -> tuple[Environment, list[object]]:
    parts = listed(value, field)
    if len(parts) != 2:
        refuse(field, "is not an environment and a list")
    return _environment(parts[0]), listed(parts[1], field)


def _reference(value: object) -> Triple:
    environment, measurements = _pair(value, "reference-triple")
    return Triple(environment=environment, measurements=tuple(_measured(one) for one in measurements))


def _keys(value: object) -> Triple:
    environment, keys = _pair(value, "attest-key-triple")
    return Triple(environment=environment, keys=tuple(keys))


def _environment(value: object) -> Environment:
    parts = mapping(value, "environment")
    about = mapping(parts.get(0, {}), "class")
    if not parts.keys() <= {0, 1, 2}:
        refuse("environment", "holds something other than class, instance and group")
    return Environment(
        class_id=about.get(0), vendor=_cbor.text(about.get(1, ""), RECORD, "vendor"),
        model=_cbor.text(about.get(2, ""), RECORD, "model"), instance=parts.get(1), group=parts.get(2),
    )  # fmt: skip


def _measured(value: object) -> Measured:
    parts = mapping(value, "measurement")
    values = mapping(parts.get(1), "measurement-values")
    if not values or not parts.keys() <= {0, 1, 2}:
        refuse("measurement", "has no values, or something other than key, values and authorized-by")
    return Measured(key=parts.get(0), values=values, authorized_by=2 in parts)


def mapping(value: object, field: str) -> Mapping[object, object]:
    """`value` as a map."""
    return value if isinstance(value, Mapping) else refuse(field, "is missing, or not a map")


def listed(value: object, field: str, *, least: int = 1) -> list[object]:
    """`value` as an array of at least so many elements."""
    if not isinstance(value, list | tuple) or len(value) < least:
        refuse(field, "is missing, empty, or not an array")
    return list(value)


def identifier(value: object, field: str) -> str:
    """Text, or 16 bytes as a UUID."""
    if isinstance(value, Tag) and value.tag == UUID:
        value = value.value
    if isinstance(value, bytes) and len(value) == 16:
        return str(uuid.UUID(bytes=value))
    return _cbor.text(value, RECORD, field)


def refuse(field: str, reason: str) -> NoReturn:
    """Raise the ParseError about a field. Manifests are nested encodings, so an offset would say little."""
    raise ParseError(RECORD, field, 0, reason)
