"""The verdict is a pure function of two records: each control, taken away alone, takes `protected` away."""

from dataclasses import replace
from typing import Any

import pytest

from cloister.observe.prove.plan import ArmName, Comparison
from cloister.observe.prove.record import ArmRecord, Check, Moment, Output, Place, SampleCounts, Surface, Trigger
from cloister.observe.prove.verdict import CANARY, Outcome, Verdict, judge

YES = Check(holds=True, detail="yes")
NO = Check(holds=False, detail="no")
MOMENT = Moment(sample=3, seconds=0.25, trigger=Trigger.LOOP)


def place(label: str, surface: Surface = Surface.MEMORY, where: str = "7f00-7f10 rw-p [heap]") -> Place:
    return Place(
        label=label,
        encoding="raw",
        surface=surface,
        process="7 (app, program)",
        where=where,
        first=MOMENT,
        last=MOMENT,
        samples=1,
    )


def arm(name: ArmName) -> ArmRecord:
    """An arm in which all went well; natively the secret is found, enclaved it is not."""
    native = name is ArmName.NATIVE
    return ArmRecord(
        name=name,
        secret_label=f"{name} secret",
        started=YES,
        fed=YES,
        ready=YES,
        access=YES,
        harness=YES,
        status="exited 0",
        samples=SampleCounts(total=12, fed=10, hits=10 if native else 0, checkpoints=0 if native else 2),
        read_bytes=1_000_000,
        unreadable={},
        places=(place("native secret"),) if native else (),
        output=Output(stdout_bytes=10, shape=("Hash of your input: #",), digest="d"),
    )


NATIVE, ENCLAVED = arm(ArmName.NATIVE), arm(ArmName.ENCLAVED)


def verdict(native: ArmRecord = NATIVE, enclaved: ArmRecord = ENCLAVED, **options: bool) -> Verdict:
    return judge(native, enclaved, comparison=Comparison.SHAPE, **options)


def test_protected_when_every_control_holds() -> None:
    result = verdict()
    assert result.outcome is Outcome.PROTECTED
    assert result.outcome.exit_code == 0
    assert not result.failed
    assert not result.leaks


@pytest.mark.parametrize("name", ["started", "fed", "ready", "access", "harness"])
@pytest.mark.parametrize("broken", [ArmName.NATIVE, ArmName.ENCLAVED])
def test_each_failed_check_is_inconclusive_and_named(name: str, broken: ArmName) -> None:
    change: Any = {name: NO}
    native = replace(NATIVE, **change) if broken is ArmName.NATIVE else NATIVE
    enclaved = replace(ENCLAVED, **change) if broken is ArmName.ENCLAVED else ENCLAVED
    result = verdict(native, enclaved)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.outcome.exit_code == 16
    assert [control.name for control in result.failed] == [f"{broken} {'prover' if name == 'harness' else name}"]


def failed_names(native: ArmRecord, enclaved: ArmRecord) -> list[str]:
    result = verdict(native, enclaved)
    assert result.outcome is Outcome.INCONCLUSIVE
    return [control.name for control in result.failed]


def test_secret_not_found_natively_fails_the_positive_control() -> None:
    native = replace(NATIVE, places=(), samples=replace(NATIVE.samples, hits=0))
    assert "positive control" in failed_names(native, ENCLAVED)


def test_native_find_outside_memory_is_no_positive_control() -> None:
    found = place("native secret", Surface.CMDLINE, "/proc/7/cmdline")
    native = replace(NATIVE, places=(found,), samples=replace(NATIVE.samples, hits=0))
    assert "positive control" in failed_names(native, ENCLAVED)


def test_no_sample_with_the_secret_inside() -> None:
    enclaved = replace(ENCLAVED, samples=SampleCounts(total=3))
    assert failed_names(NATIVE, enclaved) == ["enclaved sampled", "enough samples"]


def test_nothing_read_means_nothing() -> None:
    assert failed_names(NATIVE, replace(ENCLAVED, read_bytes=0)) == ["enclaved sampled"]


def test_few_enclaved_samples_do_not_outweigh_a_rare_native_hit() -> None:
    native = replace(NATIVE, samples=SampleCounts(total=100, fed=100, hits=5))
    assert failed_names(native, replace(ENCLAVED, samples=SampleCounts(total=3, fed=3))) == ["enough samples"]
    many = replace(ENCLAVED, samples=SampleCounts(total=300, fed=300))
    assert verdict(native, many).outcome is Outcome.PROTECTED


def test_different_end_is_inconclusive() -> None:
    assert failed_names(NATIVE, replace(ENCLAVED, status="killed by SIGSEGV")) == ["same exit status"]


def test_different_output_is_inconclusive() -> None:
    enclaved = replace(ENCLAVED, output=Output(stdout_bytes=10, shape=("out of memory",), digest="e"))
    assert failed_names(NATIVE, enclaved) == ["same output"]


def test_leak_is_named_and_outweighs_failed_controls() -> None:
    leak = place("enclaved secret", Surface.FILE, "/tmp/leak.txt")
    result = verdict(NATIVE, replace(ENCLAVED, places=(leak,), status="killed by SIGTERM", ready=NO))
    assert result.outcome is Outcome.LEAKED
    assert result.outcome.exit_code == 10
    assert result.leaks == (leak,)
    assert "/tmp/leak.txt" in str(leak)
    assert "sample 3" in str(leak)


@pytest.mark.parametrize("seen_in", list(ArmName))
def test_canary_outweighs_everything(seen_in: ArmName) -> None:
    leak = place("enclaved secret")
    native = replace(NATIVE, places=(*NATIVE.places, *([place(CANARY)] if seen_in is ArmName.NATIVE else [])))
    enclaved = replace(ENCLAVED, places=(leak, *([place(CANARY)] if seen_in is ArmName.ENCLAVED else [])))
    result = verdict(native, enclaved)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.failed[0].name == "canary absent"


def test_output_counts_unless_told_otherwise() -> None:
    enclaved = replace(ENCLAVED, places=(place("enclaved secret", Surface.OUTPUT, "standard output"),))
    assert verdict(NATIVE, enclaved).outcome is Outcome.LEAKED
    assert verdict(NATIVE, enclaved, unsafe_ignore_output=True).outcome is Outcome.PROTECTED


def test_native_secret_in_the_enclaved_arm_is_no_leak_of_the_enclave() -> None:
    assert verdict(NATIVE, replace(ENCLAVED, places=(place("native secret"),))).outcome is Outcome.PROTECTED
