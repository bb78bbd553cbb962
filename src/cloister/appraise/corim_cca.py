"""Arm's CoRIM profiles for CCA platforms and realms (draft-ydb-rats-cca-endorsements, sections 3.1 and 3.2).

A platform's values count only for the implementation that they name; a realm is named by its initial measurement.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from cloister._cbor import Tag
from cloister.appraise.corim import Comid, Environment, Measured, Triple
from cloister.appraise.measured_values import DIGESTS, NAME, RAW, RAW_MASK, VERSION, described, digests, raw_value
from cloister.appraise.reference import ReferenceValue
from cloister.appraise.rules import Operator
from cloister.errors import ParseError
from cloister.model import Tee

__all__ = ["PLATFORM", "REALM", "platform", "realm"]

PLATFORM: Final = "tag:arm.com,2025:cca_platform#1.0.0"
REALM: Final = "tag:arm.com,2025:cca_realm#1.0.0"
BYTES, UEID, KEY = 560, 550, 554
SIGNER: Final = 13
DIGEST_SIZES: Final = frozenset({32, 48, 64})
COMPONENT, CONFIG = "cca.software-component", "cca.platform-config"
REGISTERS: Final[Mapping[str, str]] = {"cca.rim": "rim"} | {f"cca.rem{number}": f"rem{number}" for number in range(4)}
"""A realm's measurements, and the claims that they are."""
PERSONALIZATION: Final = "cca.rpv"


def platform(comid: Comid) -> Iterator[ReferenceValue]:
    """Software components and configuration of one platform implementation."""
    for triple in comid.keys:
        _key_triple(triple)
    for triple in comid.references:
        implementation = _class_id(triple.environment, {32}, "an implementation ID of 32 bytes")
        _no_instance(triple)
        if sum(one.key == CONFIG for one in triple.measurements) > 1:
            raise _refusal("mkey", f"{CONFIG} stands twice in one triple")
        given = (("implementation_id", implementation.hex()),)
        for one in triple.measurements:
            yield from _platform_values(one, given)


def _platform_values(one: Measured, given: tuple[tuple[str, object], ...]) -> Iterator[ReferenceValue]:
    if one.authorized_by:
        raise _refusal("authorized-by", "has no place in this profile")
    if one.key == CONFIG:
        _only(one, {RAW, RAW_MASK}, RAW)
        operator, operand = raw_value(one.values)
        yield ReferenceValue(tee=Tee.CCA, name="config", operator=operator, operand=operand, given=given)
    elif one.key == COMPONENT:
        _only(one, {VERSION, DIGESTS, NAME, SIGNER}, DIGESTS)
        fixed = [f"signer_id={_signer(one.values.get(SIGNER))}", *_told(one.values)]
        for digest in digests(one.values[DIGESTS]):
            yield ReferenceValue(
                tee=Tee.CCA, name="software_components", operator=Operator.PARTS,
                operand=(f"measurement={digest}", *fixed), given=given, label=described(one.values),
            )  # fmt: skip
    else:
        raise _refusal("mkey", f"is {one.key!r}; a CCA platform has {COMPONENT} and {CONFIG}")


def _told(values: Mapping[object, object]) -> list[str]:
    """The component's type and version as the claim has them, where the reference value gives them."""
    version = values.get(VERSION)
    told = {"type": values.get(NAME), "version": version.get(0) if isinstance(version, Mapping) else None}
    return [f"{key}={value}" for key, value in told.items() if value is not None]


def _signer(value: object) -> str:
    one = value[0] if isinstance(value, list) and len(value) == 1 else None
    if (
        not isinstance(one, Tag)
        or one.tag != BYTES
        or not isinstance(one.value, bytes)
        or len(one.value) not in DIGEST_SIZES
    ):
        raise _refusal("cryptokeys", "are not one signer ID of 32, 48 or 64 bytes (tag 560)")
    return one.value.hex()


def realm(comid: Comid) -> Iterator[ReferenceValue]:
    """The measurements of one realm. All but the initial one count only together with it."""
    for triple in comid.references:
        rim = _class_id(triple.environment, DIGEST_SIZES, "the realm's initial measurement")
        _no_instance(triple)
        if not any(one.key == "cca.rim" for one in triple.measurements):
            raise _refusal("mkey", "cca.rim is missing: the realm's initial measurement")
        for one in triple.measurements:
            yield from _realm_values(one, rim)


def _realm_values(one: Measured, rim: bytes) -> Iterator[ReferenceValue]:
    if one.key == PERSONALIZATION:
        _only(one, {RAW, RAW_MASK}, RAW)
        operator, operand = raw_value(one.values)
        yield ReferenceValue(tee=Tee.CCA, name="rpv", operator=operator, operand=operand, given=(("rim", rim.hex()),))
        return
    name = REGISTERS.get(one.key) if isinstance(one.key, str) else None
    if name is None:
        raise _refusal("mkey", f"is {one.key!r}; a realm has {', '.join([*REGISTERS, PERSONALIZATION])}")
    _only(one, {DIGESTS}, DIGESTS)
    for digest in digests(one.values[DIGESTS]):
        if name == "rim" and digest != rim.hex():
            raise _refusal("cca.rim", "is not the initial measurement that the triple is about")
        given = () if name == "rim" else (("rim", rim.hex()),)
        yield ReferenceValue(tee=Tee.CCA, name=name, operator=Operator.EQUAL, operand=digest, given=given)


def _only(one: Measured, allowed: set[int], needed: int) -> None:
    if needed not in one.values or not one.values.keys() <= allowed:
        raise _refusal("measurement-values", f"of {one.key!r} lack {needed}, or hold others than {sorted(allowed)}")


def _class_id(environment: Environment, sizes: set[int] | frozenset[int], what: str) -> bytes:
    value = environment.class_id
    if isinstance(value, Tag) and value.tag == BYTES and isinstance(value.value, bytes) and len(value.value) in sizes:
        return value.value
    raise _refusal("class-id", f"is not {what} (tag 560)")


def _no_instance(triple: Triple) -> None:
    if triple.environment.instance is not None or triple.environment.group is not None:
        raise _refusal("environment", "names an instance or group; reference values are for an implementation or realm")


def _key_triple(triple: Triple) -> None:
    """Attestation keys are no reference values; a manifest with malformed ones is refused all the same."""
    _class_id(triple.environment, {32}, "an implementation ID of 32 bytes")
    instance = triple.environment.instance
    if not isinstance(instance, Tag) or instance.tag != UEID or not _is_ueid(instance.value):
        raise _refusal("instance", "is not a UEID of type RAND (tag 550)")
    key = triple.keys[0] if len(triple.keys) == 1 else None
    if not isinstance(key, Tag) or key.tag != KEY or not isinstance(key.value, str):
        raise _refusal("attest-key", "is not exactly one public key in PEM (tag 554)")


def _is_ueid(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == 33 and value[0] == 1


def _refusal(field: str, reason: str) -> ParseError:
    return ParseError("CCA CoMID", field, 0, reason)
