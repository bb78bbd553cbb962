"""Arm CCA attestation tokens: a platform token and a realm token, each a COSE_Sign1 over CBOR claims.

draft-ffm-rats-cca-token, sections 4.1 to 4.8, and the Realm Management Monitor specification (Arm DEN0137, "Realm
attestation"). Two collections are in use: CBOR tag 399 with the tokens in byte strings, and tag 907 (a CMW collection,
draft-ietf-rats-msg-wrap) whose members are [263, token]. Two profiles of the realm token differ in how the realm's
public key is written: older ones name no profile and hold the raw point, newer ones a COSE_Key.

Claims that are not understood are kept, not refused: the draft forbids refusing them (section 4.11.3).
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from cloister import _cbor
from cloister._cose import CoseSign1
from cloister.errors import ParseError
from cloister.evidence.cca_claims import PlatformClaims, RealmClaims, platform_claims, realm_claims
from cloister.model import Tee

__all__ = ["CcaToken", "looks_like", "parse"]

EAT_COLLECTION: Final = 399
CMW_COLLECTION: Final = 907
PLATFORM: Final = 44234
REALM: Final = 44241
EAT_CWT: Final = 263
"""The content format application/eat+cwt (IANA "CoAP Content-Formats")."""
STARTS: Final = (b"\xd9\x01\x8f\xa2", b"\xd9\x03\x8b\xa2")
"""The tag, and a map of two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CcaToken:
    """A CCA attestation token (draft-ffm-rats-cca-token, section 4.1).

    `collection` is the tag, 399 or 907. `embedded`: the two tokens stand in it as they are instead of in byte strings.
    `platform_claims` and `realm_claims` are what the payloads of `platform` and `realm` say. `variant` holds the bytes
    as received where they are not in the shortest encoding, which the draft allows (section 4.11.1); else it is empty.
    """

    tee: ClassVar[Tee] = Tee.CCA

    collection: int
    embedded: bool
    platform: CoseSign1
    realm: CoseSign1
    platform_claims: PlatformClaims
    realm_claims: RealmClaims
    variant: bytes = field(default=b"", repr=False)

    def serialize(self) -> bytes:
        """The bytes that `parse` would read as this token."""
        value = _collection(self.collection, self.embedded, self.platform, self.realm)
        return self.variant or _cbor.dumps_as_ordered(value)


def _collection(tag: int, embedded: bool, platform: CoseSign1, realm: CoseSign1) -> _cbor.Tag:  # noqa: FBT001
    members: dict[int, object] = {}
    for label, token in ((PLATFORM, platform), (REALM, realm)):
        encoded: object = token.serialize()
        if embedded:
            parts = [token.protected, token.unprotected, token.payload, token.signature]
            encoded = _cbor.Tag(18, parts) if token.tagged else parts
        members[label] = encoded if tag == EAT_COLLECTION else [EAT_CWT, encoded]
    return _cbor.Tag(tag, members)


def looks_like(data: bytes) -> bool:
    """Whether this begins as a CCA token does."""
    return data[:4] in STARTS


def parse(data: bytes, *, base: int = 0) -> CcaToken:
    """Read a CCA token of exactly these bytes."""
    outer = _cbor.loads(data, "CcaToken", base=base)
    tag = outer.tag if isinstance(outer, _cbor.Tag) else None
    if not isinstance(outer, _cbor.Tag) or tag not in {EAT_COLLECTION, CMW_COLLECTION}:
        raise ParseError(
            "CcaToken", "tag", base, f"is {tag}; only {EAT_COLLECTION} and {CMW_COLLECTION} are understood"
        )
    members = outer.value
    if not isinstance(members, Mapping) or members.keys() != {PLATFORM, REALM}:
        raise ParseError("CcaToken", "members", base, f"are not exactly {PLATFORM} (platform) and {REALM} (realm)")
    platform_member, realm_member = (_unwrapped(members[label], outer.tag, base) for label in (PLATFORM, REALM))
    if isinstance(platform_member, bytes) and isinstance(realm_member, bytes):
        embedded = False
        platform, platform_said = _platform(platform_member, base + data.index(platform_member))
        realm = CoseSign1.parse(realm_member, record="CcaRealmToken", base=base + data.index(realm_member))
    else:
        embedded = True
        platform = CoseSign1.from_value(platform_member, b"", record="CcaPlatformToken", base=base)
        platform_said = platform_claims(platform.payload, base + data.index(platform.payload))
        realm = CoseSign1.from_value(realm_member, b"", record="CcaRealmToken", base=base)
    realm_said = realm_claims(realm.payload, platform_said.profile, base + data.index(realm.payload))
    made = CcaToken(
        collection=outer.tag, embedded=embedded, platform=platform, realm=realm,
        platform_claims=platform_said, realm_claims=realm_said,
    )  # fmt: skip
    if made.serialize() != data:
        object.__setattr__(made, "variant", data)
    return made


def _unwrapped(value: object, tag: int, base: int) -> object:
    """What a member of the collection holds: a byte string, or a token as it is."""
    if tag == EAT_COLLECTION:
        return value
    if not isinstance(value, list) or len(value) != 2 or value[0] != EAT_CWT:
        raise ParseError("CcaToken", "member", base, f"is not [{EAT_CWT}, token]")
    return value[1]


@functools.lru_cache(maxsize=128)
def _platform(member: bytes, base: int) -> tuple[CoseSign1, PlatformClaims]:
    """The platform token. Remembered: a platform sends the same one with every realm token until it is restarted."""
    token = CoseSign1.parse(member, record="CcaPlatformToken", base=base)
    return token, platform_claims(token.payload, base + member.index(token.payload))
