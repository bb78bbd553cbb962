"""The AR4SI trust vector: values, tiers, and which status they bear."""

import dataclasses

import pytest
from tests.forge.results import appraisal

from cloister.appraise import vector
from cloister.appraise.vector import MEANINGS, Tier, TrustVector, meaning_of, tier_of

EDGES = {
    Tier.CONTRAINDICATED: (-128, -97, 96, 127),
    Tier.WARNING: (-96, -33, 32, 95),
    Tier.AFFIRMING: (-32, -2, 2, 31),
    Tier.NONE: (-1, 0, 1),
}


@pytest.mark.parametrize(("tier", "value"), [(tier, value) for tier, values in EDGES.items() for value in values])
def test_the_ranges_of_the_draft(tier: Tier, value: int) -> None:
    assert tier_of(value) is tier


@pytest.mark.parametrize("value", [-129, 128, 1000])
def test_no_tier_beyond_a_signed_byte(value: int) -> None:
    with pytest.raises(ValueError, match=str(value)):
        tier_of(value)


def test_max_is_the_worst_and_no_conclusion_is_worse_than_affirming() -> None:
    assert sorted(Tier) == [Tier.AFFIRMING, Tier.NONE, Tier.WARNING, Tier.CONTRAINDICATED]
    assert max(Tier.NONE, Tier.AFFIRMING) is Tier.NONE


def test_a_tier_has_no_truth_value_and_no_order_among_strings() -> None:
    with pytest.raises(TypeError, match="compare"):
        bool(Tier.AFFIRMING)
    with pytest.raises(TypeError):
        _ = Tier.AFFIRMING < "none"
    assert str(Tier.WARNING) == "warning"


@pytest.mark.parametrize(
    ("claims", "worst"),
    [
        ({}, Tier.NONE),
        ({"hardware": 2}, Tier.AFFIRMING),
        ({"hardware": 2, "executables": 33}, Tier.WARNING),
        ({"hardware": 97, "executables": 33}, Tier.CONTRAINDICATED),
        ({"hardware": 2, "executables": vector.VERIFIER_MALFUNCTION}, Tier.NONE),
        ({"hardware": 2, "executables": vector.UNEXPECTED_EVIDENCE}, Tier.NONE),
        ({"hardware": 32, "executables": vector.VERIFIER_MALFUNCTION}, Tier.WARNING),
    ],
    ids=[
        "nothing",
        "good",
        "one warning",
        "one contraindication",
        "malfunction",
        "not understood",
        "warning and malfunction",
    ],
)
def test_worst(claims: dict[str, int], worst: Tier) -> None:
    made = TrustVector(**claims)
    assert made.worst() is worst
    assert made.claimed() == claims
    assert made.bears(Tier.CONTRAINDICATED)
    assert made.bears(Tier.AFFIRMING) == (worst is Tier.AFFIRMING or not claims)


@pytest.mark.parametrize("value", [128, -129, True, 2.0, "2", None])
def test_claims_are_signed_bytes(value: object) -> None:
    with pytest.raises(ValueError, match="hardware"):
        TrustVector(hardware=value)  # type: ignore[arg-type] # the point


def test_the_claims_have_the_order_of_the_draft_s_numbers() -> None:
    assert list(TrustVector().values()) == list(MEANINGS) == [one.name for one in dataclasses.fields(TrustVector)]


def test_every_constant_has_a_meaning_in_its_claim() -> None:
    prefixes = {
        "INSTANCE": "instance_identity", "CONFIGURATION": "configuration", "EXECUTABLES": "executables",
        "FILE_SYSTEM": "file_system", "HARDWARE": "hardware", "RUNTIME": "runtime_opaque",
        "STORAGE": "storage_opaque", "SOURCES": "sourced_data",
    }  # fmt: skip
    constants = {name: getattr(vector, name) for name in vector.__all__ if name.isupper()}
    told = {
        (claim, value)
        for name, value in constants.items()
        for prefix, claim in prefixes.items()
        if name.startswith(prefix)
    }
    assert told == {(claim, value) for claim, meanings in MEANINGS.items() for value in meanings}


def test_meanings() -> None:
    assert meaning_of("hardware", 97) == "unknown hardware or firmware, which should be known"
    assert meaning_of("hardware", 99) == "the evidence is not authentic"
    assert "own reason -5" in meaning_of("hardware", -5)
    assert "leaves open" in meaning_of("hardware", 55)


def test_an_appraisal_is_not_a_yes_and_not_better_than_its_vector() -> None:
    made = appraisal()
    with pytest.raises(TypeError, match="status"):
        bool(made)
    with pytest.raises(ValueError, match="better than the worst claim"):
        appraisal(vector=TrustVector(hardware=96))
    assert appraisal(vector=TrustVector(hardware=96), status=Tier.CONTRAINDICATED).status is Tier.CONTRAINDICATED
