"""Verdicts in words: what `cloister verify` prints on standard error."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from cloister.appraise.vector import Tier, meaning_of
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
SHORTEST = 64
"""Characters of a value in the overview; --explain and --json show all of it."""

SHOWN = ("measurement", "mrenclave", "mrsigner", "mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "rim", "enclave_hash",
         "sm_hash", "report_data", "host_data", "mrconfigid", "challenge", "debug")  # fmt: skip
"""The claims that the overview shows, where the evidence has them."""


def verdict_lines(name: str, verdict: Verdict, *, explain: bool) -> Iterator[str]:
    """A verdict: the answer first, then what led to it, last what was not checked."""
    yield f"{name}: {', in '.join(reversed(verdict.authentic.envelope.path))}"
    yield f"{str(verdict.status).upper()}: {_meaning(verdict)}"
    yield ""
    yield from _overview(verdict)
    bad = [one for one in verdict.checks if one.state in {CheckState.FAILED, CheckState.UNDECIDED}]
    for check in bad:
        yield ""
        yield from _in_full(check)
    if explain:
        yield from _table(verdict.checks)
    yield from _not_checked(verdict.unchecked)


def failure_lines(name: str, error: CloisterError, *, explain: bool) -> Iterator[str]:
    """Why there is no verdict."""
    word = "NOT UNDERSTOOD"
    if isinstance(error, VerificationError):
        word = "NOT AUTHENTIC"
    elif isinstance(error, EndorsementUnavailable):
        word = "COULD NOT DECIDE"
    yield f"{name}: {word}: {error}"
    checks: tuple[Check, ...] = getattr(error, "checks", ())
    for check in checks:
        if check.state in {CheckState.FAILED, CheckState.UNDECIDED}:
            yield ""
            yield from _in_full(replace(check, detail=""))  # the first line has said it
    if explain and checks:
        yield from _table(checks)
    if checks:
        later = sum(one.state is CheckState.NOT_REACHED for one in checks)
        lines = [f"{one.title}: {one.detail}" for one in checks if one.state is CheckState.UNCHECKED]
        yield from _not_checked([*lines, *([f"the {later} steps after the one that failed"] if later else [])])


def _meaning(verdict: Verdict) -> str:
    """One sentence for the status."""
    if verdict.status is Tier.AFFIRMING:
        return "authentic, and everything that the policy demands holds"
    if not verdict.appraisals[0].policy_id:
        return "authentic, but nobody said which program it should be: give --policy"
    if verdict.status is Tier.CONTRAINDICATED:
        return "authentic, but not what the policy demands"
    return "authentic, with reservations"


def _overview(verdict: Verdict) -> Iterator[str]:
    primary = verdict.appraisals[0]
    rows = [("evidence", f"{verdict.tee} under {primary.anchor} ({primary.anchor_kind})"),
            ("verified for", f"{primary.at:%Y-%m-%d %H:%M:%S} UTC")]  # fmt: skip
    if verdict.tcb_status:
        rows.append(("TCB status", f"{verdict.tcb_status}  {' '.join(verdict.advisories)}".rstrip()))
    rows += [(name, _short(verdict.claims[name])) for name in SHOWN if name in verdict.claims]
    rows += [
        ("trust vector", f"{name} {value}: {meaning_of(name, value)}")
        for name, value in primary.vector.claimed().items()
    ]
    last = ""
    for label, value in rows:
        yield f"  {label if label != last else '':<14}{value}"
        last = label


def _short(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= SHORTEST else f"{text[:SHORTEST]}… ({len(text) // 2} bytes)"


def _in_full(check: Check) -> Iterator[str]:
    """A check that did not hold: what was compared, who demanded it, what mends it, what ignoring it would cost."""
    yield f"  {check.number} {check.title}: {check.state}"
    rows = (("why", check.detail), ("expected", check.expected), ("found", check.actual), ("set by", check.set_by),
            ("to mend", check.fix), ("its price", check.cost))  # fmt: skip
    for label, value in rows:
        if value and value != "-":
            yield f"      {label:<10}{value}"


def _table(checks: Iterable[Check]) -> Iterator[str]:
    """Every check in order, with its values."""
    yield from ("", "checks:")
    for check in checks:
        yield f"  {MARKS[check.state]} {check.number:<10} {check.title}"
        if check.state is CheckState.PASSED:
            yield f"{'':16}expected {check.expected}"
            yield f"{'':16}found    {check.actual}"
            yield f"{'':16}set by   {check.set_by}"
        elif check.detail:
            yield f"{'':16}{check.detail}"


def _not_checked(lines: Iterable[str]) -> Iterator[str]:
    found = list(dict.fromkeys(lines))
    yield from ("", "NOT checked:")
    yield from (f"  {line}" for line in found or ["nothing was left out"])
