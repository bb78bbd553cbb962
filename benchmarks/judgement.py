"""Whether a goal was reached, and how that is written."""

from dataclasses import dataclass

from benchmarks.goals import Aim, Goal
from benchmarks.ratios import Summary

from cloister.quantities import figure, ratio

__all__ = ["Judgement", "judge"]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """`text` is what the table shows: the goal, and "reached" or what was measured instead."""

    measured: float
    reached: bool
    text: str


def judge(goal: Goal, summary: Summary, unit: str) -> Judgement:
    """Compare medians with the limit, unrounded: 0.979 does not reach 0.98."""
    measured = {
        Aim.SPEED: summary.ratio,
        Aim.AT_MOST: summary.candidate,
        Aim.EXTRA: summary.extra,
        Aim.TIMES: 1 / summary.ratio,
    }[goal.aim]
    reached = measured >= goal.limit if goal.aim is Aim.SPEED else measured <= goal.limit
    limit, found = shown(goal.aim, goal.limit, unit), shown(goal.aim, measured, unit)
    if found == limit:
        found = f"{measured:.4g}"
    return Judgement(
        measured=measured, reached=reached, text=f"{limit} reached" if reached else f"{limit} not: {found}"
    )


def shown(aim: Aim, value: float, unit: str) -> str:
    """A limit or a figure in the words of its goal."""
    if aim is Aim.SPEED:
        return ratio(value)
    if aim is Aim.TIMES:
        return f"{ratio(value)}x"
    plain = f"{value:.0f}" if value == int(value) else figure(abs(value))
    sign = ("-" if value < 0 else "+") if aim is Aim.EXTRA else ""
    return f"{sign}{plain.lstrip('-')} {unit}"
