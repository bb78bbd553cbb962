"""Verdicts in words: what `cloister verify` prints on standard error. `--json` has every value in full."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from cloister.appraise.appraisal import Appraisal
from cloister.appraise.vector import Tier, meaning_of
from cloister.cli._lines import labelled, prose
from cloister.cli._result_text import WORTH
from cloister.errors import CloisterError, EndorsementUnavailable, VerificationError
from cloister.verification.recipe import Check, CheckState
from cloister.verifier import Verdict

__all__ = ["failure_lines", "verdict_lines"]

MARKS = {
    CheckState.PASSED: "ok",
    CheckState.FAILED: "NO",
    CheckState.UNDECIDED: "??",
    CheckState.UNCHECKED: "--",
    CheckState.NOT_REACHED: "  ",
}
BAD = frozenset({CheckState.FAILED, CheckState.UNDECIDED})

SHOWN = (
    *("measurement", "launch_digest", "mrenclave", "mrsigner", "mrtd", *(f"rtmr{index}" for index in range(4))),
    *(
        "rim",
        *(f"rem{index}" for index in range(4)),
        "enclave_hash",
        "sm_hash",
        *(f"pcr{index}" for index in range(24)),
    ),
    *("report_data", "challenge", "extra_data", "data", "host_data", "mrconfigid", "lifecycle", "mode", "debug"),
)
"""The claims that the overview shows, where the evidence has them."""

ONLY_IF_EXTENDED = ("rem", "pcr")
"""Registers of which there are many: those that nothing was extended into are left out."""


def verdict_lines(name: str, verdict: Verdict, *, explain: bool, width: int) -> Iterator[str]:
    """A verdict: the answer first, then what led to it, last what was not checked."""
    yield from _heading(name, verdict.authentic.envelope.path, width)
    yield from prose(f"{str(verdict.status).upper()}: {_meaning(verdict)}", width=width, later="  ")
    for one in verdict.appraisals:
        yield ""
        yield from _overview(one, width)
    for check in verdict.checks:
        if check.state in BAD:
            yield ""
            yield from _in_full(check, "", width)
    if explain:
        yield from _table(verdict.checks, width)
    yield from _not_checked(verdict.unchecked, width)


def failure_lines(
    name: str, error: CloisterError, *, container: Sequence[str], explain: bool, hint: str, width: int
) -> Iterator[str]:
    """Why there is no verdict. `container` is what was opened before that; `hint` an option that may help."""
    word = "NOT UNDERSTOOD"
    if isinstance(error, VerificationError):
        word = "NOT AUTHENTIC"
    elif isinstance(error, EndorsementUnavailable):
        word = "COULD NOT DECIDE"
    if container:
        yield from _heading(name, container, width)
    yield from prose(f"{'' if container else f'{name}: '}{word}: {error}", width=width, later="  ")
    checks: tuple[Check, ...] = getattr(error, "checks", ())
    bad = [one for one in checks if one.state in BAD]
    for check in bad:
        yield ""
        yield from _in_full(replace(check, detail=""), hint, width)  # the first line has said it
    if hint and not bad:
        yield from prose(hint, width=width, first="  ", later="  ")
    if explain and checks:
        yield from _table(checks, width)
    if checks:
        lines = [f"{one.title}: {one.detail}" for one in checks if one.state is CheckState.UNCHECKED]
        yield from _not_checked([*lines, *_what_came_later(checks)], width)


def _heading(name: str, path: Sequence[str], width: int) -> Iterator[str]:
    yield from prose(f"{name}: {', in '.join(reversed(path))}", width=width, later="  ")


def _meaning(verdict: Verdict) -> str:
    """One sentence for the status."""
    if verdict.status is Tier.AFFIRMING:
        return "authentic, and everything that the policy demands holds"
    failed = [one.number for one in verdict.checks if one.state is CheckState.FAILED]
    where = f" ({', '.join(dict.fromkeys(failed))} below)" if failed else ""
    if verdict.appraisals[0].policy_id:
        bad = verdict.status is Tier.CONTRAINDICATED
        return f"authentic, but not what the policy demands{where}" if bad else f"authentic, with reservations{where}"
    if verdict.status is Tier.CONTRAINDICATED:
        return f"authentic, but not to be relied on whatever the policy is{where}"
    nobody = "nobody said which program it should be: give --policy"
    return f"authentic, with reservations{where}; and {nobody}" if failed else f"authentic, but {nobody}"


def _overview(one: Appraisal, width: int) -> Iterator[str]:
    """One piece of evidence: who vouches, its measurements, and what was concluded."""
    worth = f"{one.anchor_kind}, {WORTH[one.anchor_kind]}"
    yield from labelled("evidence", f"{one.tee}, under {one.anchor} ({worth})", width=width)
    yield from labelled("verified for", f"{one.at:%Y-%m-%d %H:%M:%S} UTC", width=width)
    if one.tcb.status:
        yield from labelled("TCB status", ", ".join([one.tcb.status, *one.tcb.advisories]), width=width)
    for name in SHOWN:
        if name in one.claims and not _untouched(name, one.claims[name]):
            yield from labelled(name, _plain(one.claims[name]), width=width)
    label = "trust vector"
    for name, value in one.vector.claimed().items():
        yield from labelled(label, f"{name} {value}: {meaning_of(name, value)}", width=width)
        label = ""


def _untouched(name: str, value: object) -> bool:
    return name.startswith(ONLY_IF_EXTENDED) and (not str(value).strip("0") or not str(value).strip("f"))


def _plain(value: object) -> str:
    return (str(value).lower() if isinstance(value, bool) else str(value)) or "none"


def _in_full(check: Check, hint: str, width: int) -> Iterator[str]:
    """A check that did not hold: what was compared, who demanded it, what mends it, what ignoring it would cost."""
    yield from prose(f"{check.number} {check.title}: {check.state}", width=width, first="  ", later="    ")
    rows = (("why", check.detail), *_compared(check), ("to fix", check.fix), ("option", hint),
            ("at stake", check.cost))  # fmt: skip
    for label, value in rows:
        if value and value != "-":
            yield from labelled(label, value, width=width, indent=6, column=15)


def _compared(check: Check) -> tuple[tuple[str, str], ...]:
    return ("expected", check.expected), ("found", check.actual), ("set by", check.set_by)


def _table(checks: Iterable[Check], width: int) -> Iterator[str]:
    """Every check in order, with its values."""
    yield from ("", "checks:")
    for check in checks:
        title = f"{check.title}: {check.state}" if check.state in BAD else check.title
        yield from prose(title, width=width, first=f"  {MARKS[check.state]} {check.number:<10} ", later=" " * 16)
        for label, value in (*_compared(check), ("why", check.detail)):
            if value and check.state is not CheckState.NOT_REACHED:
                yield from labelled(label, value, width=width, indent=6, column=15)


def _what_came_later(checks: Iterable[Check]) -> Iterator[str]:
    """The steps that the recipe did not reach, and what stands outside it."""
    later = [one.number for one in checks if one.state is CheckState.NOT_REACHED]
    if later:
        yield f"what comes after that: {later[0]}{f' to {later[-1]}' if later[1:] else ''} (--explain lists them)"
    yield "what the evidence says: a policy is applied only to what is authentic"


def _not_checked(lines: Iterable[str], width: int) -> Iterator[str]:
    found = list(dict.fromkeys(lines))
    yield from ("", "NOT checked:")
    for line in found or ["nothing was left out"]:
        yield from prose(line, width=width, first="  ", later="    ")
