"""`cloister attack` without --tee: what root may try against a running program, natively and in the software enclave.

    Attack.run(Arena: native)   ─▶ Attempt ┐
    Attack.run(Arena: enclaved) ─▶ Attempt ┴─▶ judge ─▶ Finding ─▶ table, JSON, who can still read

One file per family of attacks. An attack starts its own target with a fresh secret, and touches nothing else. Targets
of the shields have files of their own: `keeping` a file, `serving` clients, `talking` to a person.
"""

from cloister.app.battery.attack import Attack, Attempt
from cloister.app.battery.battery import attacks_named, run_battery
from cloister.app.battery.target import Setting
from cloister.app.battery.verdict import Finding, Outcome, judge

__all__ = ["Attack", "Attempt", "Finding", "Outcome", "Setting", "attacks_named", "judge", "run_battery"]
