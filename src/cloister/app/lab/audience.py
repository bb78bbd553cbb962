"""The table "who can still read this": Cloister's declaration, and over it what this run observed."""

from collections.abc import Sequence

from cloister.adversaries import ADVERSARIES, MODES, Adversary
from cloister.observe.report.record import Attempt, AudienceRow, Basis, Cell, Outcome

__all__ = ["audience"]

NATIVE, SOFTWARE, EMULATED, HARDWARE = (
    MODES.index(mode) for mode in ("native", "software enclave", "emulated TEE", "hardware TEE")
)
OPEN = {Outcome.READ, Outcome.ATTACHED}


def audience(native: Sequence[Attempt], enclaved: Sequence[Attempt], *, as_root: bool) -> tuple[AudienceRow, ...]:
    """One row per adversary. Attempts made without root count for the row of users, never for root's."""
    return tuple(
        AudienceRow(
            adversary=adversary.who,
            native=_cell(adversary, NATIVE, native, as_root=as_root),
            software_enclave=_cell(adversary, SOFTWARE, enclaved, as_root=as_root),
            emulated_tee=_declared(adversary, EMULATED),
            hardware_tee=_declared(adversary, HARDWARE),
        )
        for adversary in ADVERSARIES
    )


def _of(adversary: Adversary, attempts: Sequence[Attempt], *, as_root: bool) -> list[Attempt]:
    """The attempts that were really made and that speak for this adversary.

    The lab's user is the program's user too, so what it could read speaks for "same user" whoever that is.
    """
    keys = {"user": {"user", "root"}, "root": {"root"} if as_root else set()}.get(adversary.key, set())
    return [one for one in attempts if one.adversary in keys and one.outcome is not Outcome.NOT_TRIED]


def _cell(adversary: Adversary, mode: int, attempts: Sequence[Attempt], *, as_root: bool) -> Cell:
    made = _of(adversary, attempts, as_root=as_root)
    if not made:
        tryable = adversary.key in {"user", "root"}
        note = "run the lab as root to try this: sudo cloister lab" if tryable else ""
        return Cell(answer=adversary.reads[mode], basis=Basis.NOT_TRIED if tryable else Basis.DECLARED, note=note)
    answer = "reads" if any(one.outcome in OPEN for one in made) else "stopped"
    return Cell(answer=answer, basis=Basis.OBSERVED, note=_note(adversary, made, as_root=as_root))


def _note(adversary: Adversary, made: Sequence[Attempt], *, as_root: bool) -> str:
    """How many attempts got through; for users, another user's apart from the same user's."""
    if adversary.key != "user":
        return _tally(made)
    others = [one for one in made if one.adversary == "user"]
    same = [one for one in made if one.adversary != "user"]
    parts = (("another user", others), ("same user, who is root here" if as_root else "same user", same))
    return "; ".join(f"{who}: {_tally(attempts)}" for who, attempts in parts if attempts)


def _tally(made: Sequence[Attempt]) -> str:
    through = [one.tool for one in made if one.outcome in OPEN]
    names = f" ({', '.join(through)})" if 0 < len(through) < len(made) else ""
    return f"{len(through)} of {len(made)} attempts got through{names}"


def _declared(adversary: Adversary, mode: int) -> Cell:
    return Cell(answer=adversary.reads[mode], basis=Basis.DECLARED, note="")
