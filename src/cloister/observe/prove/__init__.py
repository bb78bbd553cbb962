"""A controlled experiment: whether a program's secret is readable by the machine's administrator.

    Plan ─▶ run_arm (native) ─▶ ArmRecord ┐
    Plan ─▶ run_arm (enclaved) ─▶ ArmRecord ┴─▶ judge ─▶ Verdict

`cloister.app.prove` makes the arms; nothing here knows how a program is enclaved.
"""

from cloister.observe.prove.account import not_run
from cloister.observe.prove.plan import Arm, ArmName, Comparison, Plan
from cloister.observe.prove.record import ArmRecord
from cloister.observe.prove.runner import run_arm
from cloister.observe.prove.secret import Secret
from cloister.observe.prove.verdict import CANARY, Outcome, Verdict, judge

__all__ = [
    "CANARY",
    "Arm",
    "ArmName",
    "ArmRecord",
    "Comparison",
    "Outcome",
    "Plan",
    "Secret",
    "Verdict",
    "judge",
    "not_run",
    "run_arm",
]
