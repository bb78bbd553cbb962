"""What a CoRIM's reference triples mean: reference values, once somebody who may say so has signed them.

Without a profile, a measurement's key is the name of the value (`mrenclave`, `rtmr1`), and an element without a key is
called `vendor/model`; a rule finds that with `named`. Security version numbers are called `<name>.svn`, integrity
registers by their own name. Arm's two CCA profiles are in `cloister.appraise.corim_cca`; any other is refused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from cloister import _crypto
from cloister._cbor import Tag
from cloister._cose_crypto import verify_sign1
from cloister.appraise import corim_cca
from cloister.appraise.corim import Comid, Corim, Measured, Triple, parse
from cloister.appraise.measured_values import compared, described
from cloister.appraise.reference import ReferenceValue, ReferenceValues
from cloister.errors import EndorsementUnavailable, ParseError, PolicyError, SignatureInvalid

__all__ = ["read_corim"]

UUID, OID = 37, 111
Profile = Callable[[Comid], Iterable[ReferenceValue]]


def read_corim(
    data: bytes, *, name: str, keys: Iterable[_crypto.PublicKey], at: datetime, unsafe_unsigned: bool = False
) -> ReferenceValues:
    """The reference values of a CoRIM that one of `keys` signed; `name` is the file in messages.

    PolicyError if it is malformed, signed by nobody known, or means something that is not understood;
    EndorsementUnavailable if it is not valid at that time. `unsafe_unsigned` believes what nobody signed.
    """
    try:
        corim = parse(data)
    except ParseError as error:
        raise PolicyError(f"{name}: is not a CoRIM that can be used: {error.field}: {error.reason}") from error
    signed_by_known(corim, name, tuple(keys), unsafe_unsigned=unsafe_unsigned)
    check_windows(corim, name, at)
    profile = PROFILES.get(corim.profile)
    if profile is None:
        known = ", ".join(one for one in PROFILES if one)
        raise PolicyError(
            f"{name}: the profile {corim.profile} is not understood, so its values may mean anything; known are {known}"
        )
    origin = f"CoRIM {corim.corim_id}" + (f" signed by {corim.signer}" if corim.signature else ", unsigned")
    try:
        values = ReferenceValues(_from(value, origin) for comid in corim.comids for value in profile(comid))
    except ParseError as error:
        raise PolicyError(f"{name}: {error.field}: {error.reason}") from error
    if not values:
        raise PolicyError(f"{name}: holds no reference value that could be compared with a claim")
    return values


def _from(value: ReferenceValue, origin: str) -> ReferenceValue:
    return ReferenceValue(
        name=value.name, operand=value.operand, operator=value.operator, tee=value.tee, given=value.given,
        label=value.label, provenance=origin,
    )  # fmt: skip


def signed_by_known(corim: Corim, name: str, keys: tuple[_crypto.PublicKey, ...], *, unsafe_unsigned: bool) -> None:
    """One of the keys made the signature, or the caller believes unsigned manifests and there is none."""
    if corim.signature is None:
        if not unsafe_unsigned:
            raise PolicyError(
                f"{name}: is not signed: anybody may have written it; have it signed, or set unsafe_unsigned"
            )
        return
    if not keys:
        raise PolicyError(
            f"{name}: is signed by {corim.signer!r}, but no key was given that may sign; name it in signers"
        )
    for key in keys:
        try:
            verify_sign1(corim.signature, key, what=name)
        except SignatureInvalid:
            continue
        return
    raise PolicyError(
        f"{name}: the signature by {corim.signer!r} does not verify under any of the {len(keys)} given keys"
    )


def check_windows(corim: Corim, name: str, at: datetime) -> None:
    """The manifest and its signature are valid at that time."""
    for start, end in corim.windows:
        if (start is not None and at < start) or (end is not None and at > end):
            raise EndorsementUnavailable(
                f"{name}: is not valid at {at:%Y-%m-%d}: ask its author for the current one",
                expected=(start, end), actual=at, set_by=name,
            )  # fmt: skip


def plain_profile(comid: Comid) -> Iterator[ReferenceValue]:
    """A manifest without a profile: names are what the measurements' keys say."""
    for triple in comid.references:
        if triple.environment.instance is not None or triple.environment.group is not None:
            raise ParseError("CoMID", "environment", 0, "is about one instance or group, which no claim here can tell")
        for one in triple.measurements:
            if one.authorized_by:
                raise ParseError("CoMID", "authorized-by", 0, "demands keys for evidence, which is not understood")
            yield from _values(triple, one)


def _values(triple: Triple, one: Measured) -> Iterator[ReferenceValue]:
    about = triple.environment
    name = _name(one.key) or "/".join(part for part in (about.vendor, about.model) if part)
    label = described(one.values) or about.model
    for suffix, operator, operand in compared(one.values):
        full = suffix.removeprefix("=") if suffix.startswith("=") else f"{name}{suffix}"
        yield ReferenceValue(name=full, operator=operator, operand=operand, label=label)


def _name(key: object) -> str:
    """The key of a measured element as a name."""
    if isinstance(key, Tag) and key.tag in {UUID, OID} and isinstance(key.value, bytes):
        return key.value.hex()
    if isinstance(key, str) or type(key) is int:
        return str(key)
    if key is None:
        return ""
    raise ParseError("CoMID", "mkey", 0, "is neither text, a number, a UUID nor an OID")


PROFILES: Final[Mapping[str, Profile]] = {
    "": plain_profile,
    corim_cca.PLATFORM: corim_cca.platform,
    corim_cca.REALM: corim_cca.realm,
}
