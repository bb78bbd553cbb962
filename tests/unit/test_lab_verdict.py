"""The lab's verdict: protected only when nothing is in doubt, leaked whenever the secret was obtained."""

from dataclasses import replace

import pytest

from cloister.app.lab.arm import Arm, absent_arm
from cloister.app.lab.verdict import judge
from cloister.observe.report.record import ArmRecord, Attempt, HitRecord, Outcome, Verdict

HIT = HitRecord(pid=7, where="[heap]", address=4096, length=6, encoding="raw", context_start=4096, context_hex="")


def attempt(outcome: Outcome) -> Attempt:
    return Attempt(adversary="root", tool="gdb", command="", outcome=outcome, detail="")


def arm(name: str, **changes: object) -> ArmRecord:
    """An arm that ran and computed the right hash, with `changes`."""
    ran = replace(
        absent_arm(Arm(name=name, command="", argv=lambda _: []), ""), hash_shown="2084933351", read_bytes=4096
    )
    return replace(ran, **changes)  # type: ignore[arg-type]


NATIVE = arm("native", hits=(HIT,))
ENCLAVED = arm("software enclave", unreadable_bytes=4096, attempts=(attempt(Outcome.REFUSED),))


def test_a_complete_experiment_says_protected() -> None:
    assert judge(NATIVE, ENCLAVED)[0] is Verdict.PROTECTED


@pytest.mark.parametrize(
    ("native", "enclaved", "reason"),
    [
        (replace(NATIVE, absent="no compiler"), ENCLAVED, "no compiler"),
        (NATIVE, replace(ENCLAVED, absent="memfd_secret is off"), "memfd_secret is off"),
        (replace(NATIVE, hash_shown="1"), ENCLAVED, "the native run printed the hash 1"),
        (NATIVE, replace(ENCLAVED, hash_shown=""), "printed the hash (none)"),
        (replace(NATIVE, hits=()), ENCLAVED, "was not found natively"),
        (NATIVE, replace(ENCLAVED, read_bytes=0), "may not look into the enclaved process at all"),
        (NATIVE, replace(ENCLAVED, unreadable_bytes=0), "refused to be read"),
        (NATIVE, replace(ENCLAVED, attempts=(attempt(Outcome.ATTACHED),)), "a tracer could attach"),
    ],
)
def test_what_takes_the_meaning_out_of_not_found_is_inconclusive(
    native: ArmRecord, enclaved: ArmRecord, reason: str
) -> None:
    verdict, words = judge(native, enclaved)
    assert verdict is Verdict.INCONCLUSIVE
    assert reason in words


@pytest.mark.parametrize(
    "enclaved", [replace(ENCLAVED, hits=(HIT,)), replace(ENCLAVED, attempts=(attempt(Outcome.READ),))]
)
def test_a_leak_is_a_leak_even_in_a_broken_experiment(enclaved: ArmRecord) -> None:
    for native in (NATIVE, replace(NATIVE, hits=())):
        for one in (enclaved, replace(enclaved, hash_shown="")):
            assert judge(native, one)[0] is Verdict.LEAKED
