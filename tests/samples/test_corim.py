"""CoRIMs of other implementations: what is well-formed is read, each negative is refused for its reason."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloister import _cbor
from cloister._crypto import load_spki
from cloister._x509 import pem_blocks
from cloister.appraise.corim import parse
from cloister.appraise.corim_values import read_corim
from cloister.errors import EndorsementUnavailable, PolicyError

EVIDENCE = Path(__file__).parents[3] / "shared" / "evidence"
FOLDER = EVIDENCE / "corim"
AT = datetime(2024, 1, 1, tzinfo=UTC)
EXPECTED = {
    path.parent / name: verdict
    for path in sorted(FOLDER.glob("*/meta.json"))
    for name, verdict in json.loads(path.read_text())["expected"].items()
}
WELL_FORMED = [path for path, verdict in EXPECTED.items() if "well-formed" in verdict or "signed CoRIM" in verdict]
REASONS = {
    "platform-bad-no-class": "class-id",
    "platform-bad-refval-cryptokeys": "signer ID",
    "platform-bad-refval-instance": "profile",
    "platform-bad-refval-mkey-string": "cca.bad-component",
    "platform-bad-refval-mkey": "mkey: is 7",
    "platform-bad-refval-no-digests": "cca.software-component",
    "platform-bad-refval-no-mkey": "mkey: is None",
    "platform-bad-refval-no-raw-value": "cca.platform-config",
    "platform-bad-ta-cert": "public key in PEM",
    "platform-bad-ta-instance": "UEID",
    "platform-bad-ta-no-instance": "UEID",
    "realm-bad-instance": "class-id",
    "realm-bad-no-instance": "class-id",
    "realm-bad-no-integ-regs": "cca.rim",
    "realm-bad-no-raw-value": "cca.rpv",
    "realm-bad-no-rim": "cca.rim is missing",
}
"""The meaning of each upstream negative, by the end of its file name."""


def name_of(path: Path) -> str:
    return path.stem


def read(path: Path, **options: object) -> dict[str, set[str]]:
    values = read_corim(path.read_bytes(), name=path.name, **{"keys": (), "at": AT, "unsafe_unsigned": True} | options)  # type: ignore[arg-type]
    found: dict[str, set[str]] = {}
    for one in values.values:
        found.setdefault(one.name, set()).add(str(one.operand))
    return found


def test_the_corpus_is_there() -> None:
    assert len(EXPECTED) == 30
    assert len(WELL_FORMED) == 13
    assert sum("upstream negative" in verdict for verdict in EXPECTED.values()) == len(REASONS)


@pytest.mark.parametrize("path", WELL_FORMED, ids=name_of)
def test_what_is_well_formed_is_read(path: Path) -> None:
    corim = parse(path.read_bytes())
    assert corim.corim_id
    assert corim.comids
    assert (corim.signature is not None) == ("signed-" in path.name and "unsigned" not in path.name)


@pytest.mark.parametrize("end", REASONS)
def test_every_upstream_negative_is_refused_for_its_reason(end: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read(FOLDER / "veraison-services" / f"corim-cca-{end}.cbor")
    assert REASONS[end] in str(caught.value)


def test_a_token_is_no_manifest() -> None:
    with pytest.raises(PolicyError, match="neither 501"):
        read(FOLDER / "veraison-services" / "cca-good.cbor")


def test_values_of_a_platform() -> None:
    path = FOLDER / "veraison-services" / "corim-cca-platform-valid.cbor"
    found = read(path)
    assert len(found["software_components"]) == 4
    assert found["config"] == {"('010203', '010203')"}
    values = read_corim(path.read_bytes(), name="x", keys=(), at=AT, unsafe_unsigned=True).values
    assert isinstance(values[0].operand, tuple)
    assert {one.given for one in values} == {(("implementation_id", values[0].given[0][1]),)}
    line = "type=BL, version=3.5, measurement={}, signer_id={}, hash_algorithm=sha-256"
    parts = dict(str(part).split("=") for part in values[0].operand)
    assert parts["measurement"].startswith("07060504")
    assert values[0].matches(line.format(parts["measurement"], parts["signer_id"]))
    assert not values[0].matches(line.format(parts["measurement"], "00" * 32))
    assert not values[0].matches(line.format("00" * 32, parts["signer_id"]))


def test_values_of_a_realm() -> None:
    found = read(FOLDER / "veraison-services" / "corim-cca-realm-valid.cbor")
    assert found["rim"] == {"43" * 64}
    assert found.keys() == {"rim", "rem0", "rem1", "rem2", "rem3", "rpv"}
    assert found["rpv"] == {"4144" * 32}


def test_values_without_a_profile() -> None:
    found = read(FOLDER / "veraison-corim" / "unsigned-good-corim.cbor")
    assert {one[:8] for one in found["31fb5abf023e4992aa4e95f9c1503bfa"]} == {"87428fc5", "02638299", "a3a5e715"}
    assert read(FOLDER / "veraison-corim" / "corim-1.cbor").keys() == {"ACME Inc./ACME RoadRunner"}


@pytest.mark.parametrize("name", ["corim-design-cd", "unsigned-corim-with-extensions", "unsigned-example-corim"])
def test_profiles_that_are_not_understood_are_refused(name: str) -> None:
    with pytest.raises(PolicyError, match=r"profile .* is not understood"):
        read(FOLDER / "veraison-corim" / f"{name}.cbor")


def test_a_manifest_that_only_describes_has_no_reference_values() -> None:
    with pytest.raises(PolicyError, match="no reference value"):
        read(FOLDER / "veraison-corim" / "corim-roles.cbor")


def published_key() -> bytes:
    """The published example key with which upstream signs its samples; one of its own samples endorses it."""
    corim = parse((FOLDER / "veraison-services" / "corim-cca-platform-valid.cbor").read_bytes())
    (triple,) = corim.comids[1].keys
    (key,) = triple.keys
    assert isinstance(key, _cbor.Tag)
    return pem_blocks(key.value.encode(), "PUBLIC KEY")[0]


def test_a_signed_manifest_needs_its_key() -> None:
    path = FOLDER / "veraison-corim" / "signed-good-corim.cbor"
    key = load_spki(published_key())
    assert read(path, keys=(key,), unsafe_unsigned=False)
    with pytest.raises(PolicyError, match="no key was given"):
        read(path, unsafe_unsigned=True)
    altered = bytearray(path.read_bytes())
    altered[-70] ^= 1
    with pytest.raises(PolicyError):
        read_corim(bytes(altered), name="x", keys=(key,), at=AT)


def test_an_unsigned_manifest_is_refused_by_default() -> None:
    with pytest.raises(PolicyError, match="is not signed"):
        read(FOLDER / "veraison-corim" / "unsigned-good-corim.cbor", unsafe_unsigned=False)


def test_a_manifest_counts_only_while_it_is_valid() -> None:
    path = FOLDER / "veraison-corim" / "signed-good-corim.cbor"
    key = load_spki(published_key())
    for at in (datetime(2021, 12, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)):
        with pytest.raises(EndorsementUnavailable):
            read(path, keys=(key,), at=at)
