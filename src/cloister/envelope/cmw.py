"""Conceptual message wrappers (draft-ietf-rats-msg-wrap): records, tags and collections, in JSON and CBOR.

    record       [type, value]  or  [type, value, ind]      type: media type, in CBOR also a CoAP Content-Format number
    CBOR tag     1668546817 + ... (bytes)                   the TN() transform of RFC 9277, appendix B
    collection   {label: any of these, ...}                 "__cmwc_t" names its kind
    tunnel       ["#cmw-c2j-tunnel", ...], ["#cmw-j2c-tunnel", ...]      CBOR inside JSON and the reverse

A media type that is known must be told the truth by what is inside. One that is not known says nothing: what is inside
is recognised by itself. `ind` must not say that the message is something else than evidence or endorsements.
"""

from collections.abc import Mapping
from typing import Final

from cloister import _cbor
from cloister._cbor import Tag
from cloister._x509 import Certificate, Crl
from cloister.envelope import encoding
from cloister.envelope.contents import Envelope, Opening, join
from cloister.errors import ParseError

__all__ = ["looks_like_cbor", "looks_like_json", "open_cbor", "open_json"]

RECORD: Final = "CMW record"
COLLECTION: Final = "CMW collection"
TYPE_LABEL: Final = "__cmwc_t"
TUNNELS: Final = {"#cmw-c2j-tunnel", "#cmw-j2c-tunnel"}
FIRST_TAG, LAST_TAG = 1_668_546_817, 1_668_612_095
COLLECTION_TAG: Final = 907
"""Around a collection, as Arm's newer CCA tokens have it."""

MOST_MEMBERS: Final = 64
"""Members of a collection. A composite device has some ten."""

LONGEST_CBOR: Final = 256 << 10
"""Bytes. Quotes and an event log have 60 kB. The time for maps whose keys are made to collide grows with the square."""

ENDORSEMENTS, EVIDENCE = 2, 4
"""Bits of `ind`; 1 is reference values, 8 attestation results."""

MEDIA_TYPES: Final = {
    "application/vnd.veraison.configfs-tsm+cbor": "configfs-tsm report",
    "application/vnd.veraison.configfs-tsm+json": "configfs-tsm report",
    "application/vnd.veraison.tsm-report+cbor": "configfs-tsm report",
    "application/vnd.veraison.tsm-report+json": "configfs-tsm report",
    "application/eat-collection": "Arm CCA token",
}
"""Media type without parameters: a layer that must then be inside."""

MEDIA_TYPE: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$&-^_.+/")
LONGEST_TYPE: Final = 127 + 1 + 127
"""Characters of a media type (RFC 6838, section 4.2), in lower case. Nothing else stands in reports."""

CERTIFICATE_TYPES: Final = {"application/pkix-cert", "application/pem-certificate-chain"}
CRL_TYPE: Final = "application/pkix-crl"
CONTENT_FORMATS: Final = {287: "application/pkix-cert"}
"""CoAP Content-Format: media type (IANA CoRE parameters)."""


def looks_like_json(value: object) -> bool:
    """Whether a JSON value is a record, a tunnel or a collection."""
    return is_record(value) or is_tunnel(value) or (isinstance(value, Mapping) and is_collection(value))


def looks_like_cbor(value: object) -> bool:
    """Whether a CBOR value is a record, a tag, a tunnel or a collection."""
    if isinstance(value, Tag) and value.tag == COLLECTION_TAG:
        value = value.value
    return looks_like_json(value) or is_tag(value)


def is_record(value: object) -> bool:
    """Two or three members: a type, a value, and perhaps what it is."""
    if not isinstance(value, list) or not 2 <= len(value) <= 3 or is_tunnel(value):
        return False
    kind, content = value[:2]
    number = type(kind) is int and isinstance(content, bytes)
    return number or (isinstance(kind, str) and "/" in kind and isinstance(content, str | bytes))


def is_tunnel(value: object) -> bool:
    """Two members, the first of which says it."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in TUNNELS


def is_tag(value: object) -> bool:
    """A tag that was made from a CoAP Content-Format."""
    return isinstance(value, Tag) and FIRST_TAG <= value.tag <= LAST_TAG


def is_collection(value: Mapping[object, object]) -> bool:
    """At least one member, and all members wrappers themselves."""
    members = [member for label, member in value.items() if label != TYPE_LABEL]
    shaped = all(is_record(one) or is_tunnel(one) or is_tag(one) or isinstance(one, Mapping) for one in members)
    return bool(members) and shaped and (TYPE_LABEL in value or not all(isinstance(one, Mapping) for one in members))


def open_json(value: object, opening: Opening) -> Envelope:
    """What a JSON wrapper contains."""
    if isinstance(value, Mapping):
        return open_collection(value, opening, "JSON")
    if not isinstance(value, list) or not (is_record(value) or is_tunnel(value)):
        raise ParseError(COLLECTION, "member", 0, "is neither a record nor a tunnel nor a collection")
    content = value[1]
    if not isinstance(content, str):
        raise ParseError(RECORD, "value", 0, "is not base64url text")
    encoded = content.encode("utf-8", "surrogatepass")
    if is_tunnel(value):
        return opening.inside(encoding.decode(encoded, "base64url", "tunnel"), "CMW tunnel")
    return open_record(value[0], encoding.decode(encoded, "base64url", "value"), value[2:], opening, "JSON")


def open_cbor(value: object, opening: Opening) -> Envelope:
    """What a CBOR wrapper contains."""
    if isinstance(value, Tag) and value.tag == COLLECTION_TAG:
        return open_cbor(value.value, opening.deeper())
    if isinstance(value, Mapping):
        return open_collection(value, opening, "CBOR")
    if isinstance(value, Tag) and is_tag(value):
        content = _cbor.octets(value.value, "CMW tag", "value")
        return open_record(value.tag - FIRST_TAG, content, [], opening, "CBOR")
    if not isinstance(value, list) or not (is_record(value) or is_tunnel(value)):
        raise ParseError(COLLECTION, "member", 0, "is neither a record nor a tag nor a tunnel nor a collection")
    content = _cbor.octets(value[1], RECORD, "value")
    if is_tunnel(value):
        return opening.inside(content, "CMW tunnel")
    return open_record(value[0], content, value[2:], opening, "CBOR")


def open_record(kind: object, content: bytes, ind: list[object], opening: Opening, form: str) -> Envelope:
    """The message in a record, of this media type or Content-Format number."""
    said = whole_ind(ind)
    media = media_type(kind)
    step = f"CMW {form} record {media}"
    if media in CERTIFICATE_TYPES or media == CRL_TYPE:
        return endorsement(media, opening.spend(content), step)
    if said and not said & (EVIDENCE | ENDORSEMENTS):
        raise ParseError(RECORD, "ind", 0, f"is {said}: neither evidence nor endorsements")
    found = opening.inside(content, step)
    if said and not said & (EVIDENCE if found.parts else ENDORSEMENTS):
        raise ParseError(RECORD, "ind", 0, f"is {said}, inside is {found.path[-1]}")
    expected = MEDIA_TYPES.get(media, "")
    if not any(layer.startswith(expected) for layer in found.path[1:]):
        raise ParseError(RECORD, "type", 0, f"is {media}, inside is {found.path[-1]}")
    return found


def media_type(kind: object) -> str:
    """A record's type without its parameters, in lower case. Text of any other form stands in no report."""
    if isinstance(kind, int):
        return CONTENT_FORMATS.get(kind, f"Content-Format {kind}")
    media = str(kind).split(";")[0].strip().lower()
    if len(media) > LONGEST_TYPE or not MEDIA_TYPE.issuperset(media):
        raise ParseError(RECORD, "type", 0, "is no media type (RFC 6838, section 4.2)")
    return media


def whole_ind(ind: list[object]) -> int:
    """The bits of `ind`, 0 if it is not there."""
    if not ind:
        return 0
    value = ind[0]
    if type(value) is not int or not 1 <= value <= 15:
        raise ParseError(RECORD, "ind", 0, "is not a number from 1 to 15")
    return value


def endorsement(media: str, content: bytes, step: str) -> Envelope:
    """Certificates or a revocation list that came along."""
    if media == CRL_TYPE:
        return Envelope(crls=(Crl.parse(content),), path=(step,))
    if not content.startswith(encoding.BEGIN):
        return Envelope(certificates=(Certificate.parse(content),), path=(step,))
    parsed = tuple(
        Certificate.parse(block) for label, block in encoding.pem_blocks(content, 0) if label == "CERTIFICATE"
    )
    return Envelope(certificates=parsed, path=(step,))


def open_collection(value: Mapping[object, object], opening: Opening, form: str) -> Envelope:
    """The contents of all members, in their order."""
    if len(value) > MOST_MEMBERS:
        raise ParseError(COLLECTION, "members", 0, f"{len(value)} members; at most {MOST_MEMBERS}")
    step, deeper = f"CMW {form} collection", opening.deeper()
    open_member = open_cbor if form == "CBOR" else open_json
    found = [open_member(one, deeper).within(step) for label, one in value.items() if label != TYPE_LABEL]
    found.sort(key=lambda one: not one.parts)
    if not found or not found[0].parts:
        raise ParseError(COLLECTION, "members", 0, "none is evidence")
    return join(*found)
