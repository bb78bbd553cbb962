"""From what the two arms showed to a verdict, with the reason in words and, where there is one, the fix."""

from collections.abc import Iterator

from cloister.app.lab.program import EXPECTED_HASH, SECRET
from cloister.observe.report.record import ArmRecord, Outcome, Verdict

__all__ = ["judge"]


def judge(native: ArmRecord, enclaved: ArmRecord) -> tuple[Verdict, str]:
    """The verdict and its reason.

    A leak is a leak even where something else went wrong; then whatever takes the meaning out of "not found"
    makes the lab inconclusive; only a complete experiment says protected.
    """
    taken = _got_through(enclaved)
    if taken:
        return Verdict.LEAKED, f"the secret was read out of the software enclave: {taken}"
    doubt = _doubt(native, enclaved)
    if doubt:
        return Verdict.INCONCLUSIVE, doubt
    return Verdict.PROTECTED, (
        f"Natively the administrator found {SECRET}: the search works. The same program in the software enclave "
        "computed the same hash, and the same search and tools did not find it."
    )


def _got_through(arm: ArmRecord) -> str:
    """How the secret was obtained from this arm, empty if it was not."""
    ways = [f"{hit.where} of process {hit.pid} at {hit.address:#x}" for hit in arm.hits]
    ways += [attempt.tool for attempt in arm.attempts if attempt.outcome is Outcome.READ]
    return "; ".join(ways)


def _doubt(native: ArmRecord, enclaved: ArmRecord) -> str:
    """Why "not found in the enclave" would mean nothing here, empty if it does mean something."""
    doubts = (*_run_doubts(native), *_run_doubts(enclaved), *_search_doubts(native, enclaved))
    return next(iter(doubts), "")


def _run_doubts(arm: ArmRecord) -> Iterator[str]:
    """Whether the arm ran, and computed on the secret."""
    if arm.absent:
        yield f"the {arm.name} run did not take place: {arm.absent}"
    elif arm.hash_shown != EXPECTED_HASH:
        yield f"the {arm.name} run printed the hash {arm.hash_shown or '(none)'} instead of {EXPECTED_HASH}"


def _search_doubts(native: ArmRecord, enclaved: ArmRecord) -> Iterator[str]:
    """Whether the search works, looked at the enclave at all, and met its protection there."""
    if not native.hits:
        yield f"{SECRET} was not found natively, so not finding it in the enclave proves nothing; run the lab as root"
    if not enclaved.read_bytes:
        yield "this user may not look into the enclaved process at all, which says nothing of root; sudo cloister lab"
    if not enclaved.unreadable_bytes:
        yield "no memory of the enclaved process refused to be read: it is not in secret memory; run cloister doctor"
    if any(attempt.outcome is Outcome.ATTACHED for attempt in enclaved.attempts):
        yield "a tracer could attach to the enclaved program, so its guard was not in place; run cloister doctor"
