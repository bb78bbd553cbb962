"""No combination of missing controls gives `protected`."""

from dataclasses import fields, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.observe.prove.compare import reduce_output
from cloister.observe.prove.plan import ArmName, Comparison
from cloister.observe.prove.record import ArmRecord, Check, Moment, Output, Place, SampleCounts, Surface, Trigger
from cloister.observe.prove.secret import Secret
from cloister.observe.prove.verdict import CANARY, Outcome, judge

CHECKS = [field.name for field in fields(ArmRecord) if field.type is Check or field.type == "Check"]
assert len(CHECKS) == 5
LABELS = ["native secret", "enclaved secret", CANARY]

checks = st.builds(Check, holds=st.sampled_from([True, True, True, False]), detail=st.just(""))
moments = st.builds(Moment, sample=st.integers(1, 99), seconds=st.floats(0, 9), trigger=st.sampled_from(Trigger))
places = st.builds(
    Place,
    label=st.sampled_from(LABELS),
    encoding=st.just("raw"),
    surface=st.sampled_from(Surface),
    process=st.just("-"),
    where=st.just("somewhere"),
    first=moments,
    last=moments,
    samples=st.just(1),
)
outputs = st.sampled_from([Output(shape=("a",), digest="a"), Output(shape=("b",), digest="b")])


@st.composite
def counts(draw: st.DrawFn) -> SampleCounts:
    total = draw(st.integers(0, 20))
    fed = draw(st.integers(0, total))
    return SampleCounts(total=total, fed=fed, hits=draw(st.integers(0, fed)))


def records(name: ArmName) -> st.SearchStrategy[ArmRecord]:
    parts: dict[str, Any] = dict.fromkeys(CHECKS, checks)
    return st.builds(
        ArmRecord,
        name=st.just(name),
        secret_label=st.just(f"{name} secret"),
        status=st.sampled_from(["exited 0", "exited 0", "killed by SIGKILL"]),
        samples=counts(),
        read_bytes=st.sampled_from([0, 4096, 1 << 30]),
        unreadable=st.just({}),
        places=st.lists(places, max_size=3).map(tuple),
        output=outputs,
        **parts,
    )


def good(record: ArmRecord) -> bool:
    """Independently of `judge`: everything one arm needs for a verdict."""
    checked = all(getattr(record, name).holds for name in CHECKS)
    return checked and record.samples.fed > 0 and record.read_bytes > 0 and not record.places_of(CANARY)


@settings(max_examples=600)
@given(records(ArmName.NATIVE), records(ArmName.ENCLAVED))
def test_protected_only_if_every_control_holds(native: ArmRecord, enclaved: ArmRecord) -> None:
    result = judge(native, enclaved, comparison=Comparison.SHAPE)
    if result.outcome is Outcome.PROTECTED:
        assert good(native)
        assert good(enclaved)
        assert native.samples.hits > 0
        assert any(place.surface is Surface.MEMORY for place in native.places_of("native secret"))
        assert native.status == enclaved.status
        assert native.output.shape == enclaved.output.shape
        assert not enclaved.places_of("enclaved secret")
        assert (1 - native.samples.hits / native.samples.fed) ** enclaved.samples.fed <= 0.01
    if result.outcome is Outcome.INCONCLUSIVE:
        assert result.failed


@settings(max_examples=300)
@given(records(ArmName.NATIVE), records(ArmName.ENCLAVED), st.lists(places, min_size=1, max_size=3))
def test_an_enclaved_find_is_never_protected(native: ArmRecord, enclaved: ArmRecord, found: list[Place]) -> None:
    own = tuple(replace(place, label="enclaved secret") for place in found)
    result = judge(native, replace(enclaved, places=own), comparison=Comparison.NONE)
    assert result.outcome is (Outcome.INCONCLUSIVE if native.places_of(CANARY) else Outcome.LEAKED)


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_output_that_differs_only_in_the_secret_is_equal(before: bytes, after: bytes) -> None:
    first, second = Secret.fresh("a"), Secret.fresh("b")
    outputs = [reduce_output(before + secret.value + after, b"", secret) for secret in (first, second)]
    assert outputs[0].digest == outputs[1].digest
    assert outputs[0].shape == outputs[1].shape
