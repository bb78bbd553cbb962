"""The lab, end to end: compile the exercise's program, run both arms, judge, and fill the record.

Nothing but the record leaves this module: the working directory, with whatever dumps it held, is deleted.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cloister.app.lab.arm import Arm, Progress, absent_arm, run_arm
from cloister.app.lab.audience import audience
from cloister.app.lab.by_hand import commands
from cloister.app.lab.console import COMMAND, trace_console
from cloister.app.lab.costs import costs
from cloister.app.lab.machine import describe_machine
from cloister.app.lab.program import EXPECTED_HASH, SECRET, compile_program, source_of
from cloister.app.lab.verdict import judge
from cloister.errors import CloisterError
from cloister.launch.command import RuntimeOptions, enclave_command
from cloister.observe.report.record import ArmRecord, LabRecord

__all__ = ["MODE", "Enclose", "run_lab"]

MODE = "software enclave"

Enclose = Callable[[str, Sequence[str], RuntimeOptions], list[str]]
"""Turns a program, its arguments and the runtime's options into the command that runs it enclaved."""


def run_lab(progress: Progress, enclose: Enclose = enclave_command, *, console: bool = False) -> LabRecord:
    """Run the whole exercise and return what it showed; what could not be done stands in the record with its reason.

    `console`: the enclaved program's console is shielded while it is traced.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    native = Arm(name="native", command="./app", argv=lambda program: [str(program)])
    enclaved = Arm(
        name=MODE, command="cloister run ./app", argv=lambda program: enclose(str(program), [], RuntimeOptions())
    )
    if console:
        enclaved = replace(enclaved, traced=COMMAND, trace=trace_console)
    with tempfile.TemporaryDirectory(prefix="cloister-lab-") as directory:
        progress("compiling the exercise's program")
        try:
            program = compile_program(Path(directory))
        except CloisterError as error:
            return _record(started, absent_arm(native, str(error)), absent_arm(enclaved, str(error)))
        return _record(started, run_arm(native, program, progress), run_arm(enclaved, program, progress))


def _record(started: str, native: ArmRecord, enclaved: ArmRecord) -> LabRecord:
    verdict, reason = judge(native, enclaved)
    return LabRecord(
        mode=MODE,
        started=started,
        verdict=verdict,
        reason=reason,
        secret=SECRET,
        expected_hash=EXPECTED_HASH,
        source=source_of("app.c"),
        native=native,
        enclaved=enclaved,
        audience=audience(native.attempts, enclaved.attempts, as_root=os.geteuid() == 0),
        commands=commands(),
        machine=describe_machine(),
        costs=costs(),
    )
