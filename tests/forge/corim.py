"""CoRIMs, unsigned and signed with test keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from tests.forge.cose import PrivateKey, signed

from cloister import _cbor
from cloister._cbor import Tag
from cloister._cose import CoseSign1

__all__ = ["manifest", "measured", "signed_manifest"]


def measured(key: object, **values: object) -> dict[int, object]:
    """One measurement-map: `digests`, `svn`, `raw`, `mask`, `name`, `registers`, or `extra` keys by number."""
    numbers = {"svn": 1, "digests": 2, "raw": 4, "mask": 5, "name": 11, "registers": 14}
    extra = values.pop("extra", {})
    assert isinstance(extra, Mapping)
    content = {numbers[name]: value for name, value in values.items()} | dict(extra)
    return {1: content} if key is None else {0: key, 1: content}


def manifest(
    measurements: Sequence[object],
    *,
    environment: object = None,
    profile: object = None,
    until: datetime | None = None,
    **changes: object,
) -> bytes:
    """An unsigned CoRIM with one CoMID with one reference triple; `changes` are keys of the map, by `k<number>`."""
    about = {0: {1: "ACME", 2: "Rocket"}} if environment is None else environment
    comid = {1: {0: "comid"}, 4: {0: [[about, list(measurements)]]}}
    content: dict[int | str, object] = {0: "corim", 1: [Tag(506, _cbor.dumps(comid))]}
    if profile is not None:
        content[3] = profile
    if until is not None:
        content[4] = {1: Tag(1, int(until.timestamp()))}
    content |= {int(name[1:]): value for name, value in changes.items()}
    return _cbor.dumps(Tag(501, content))


def signed_manifest(
    payload: bytes, key: PrivateKey, *, until: datetime | None = None, kind: str = "application/rim+cbor"
) -> bytes:
    """The manifest signed by `Test signer`."""
    meta: dict[int | str, object] = {0: {0: "Test signer"}}
    if until is not None:
        meta[1] = {1: Tag(1, int(until.timestamp()))}
    headers = _cbor.dumps({1: -7, 3: kind, 8: _cbor.dumps(meta)})
    message = CoseSign1(protected=headers, unprotected={}, payload=payload, signature=b"", tagged=True)
    return signed(message, key).serialize()
