"""One arm of the lab: run the program, bring it to where it waits with the secret, do what an administrator does.

1. Start it on a terminal, type the secret, wait for the hash and for the wait.
2. Scan its whole family, map its memory.
3. Try every tool of the administrator; the last one lets it die with a core dump.
4. Run it once more under a system-call tracer.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cloister.app.lab.attempts import Target, core_dump, try_everything
from cloister.app.lab.memory import look_at, wait_for_input
from cloister.app.lab.program import PROMPT, SECRET
from cloister.app.lab.terminal import Terminal
from cloister.app.lab.tracing import trace_attempt, trace_run
from cloister.errors import CloisterError
from cloister.observe.needles import Needles
from cloister.observe.report.record import ArmRecord, TraceRecord

__all__ = ["Arm", "Progress", "absent_arm", "run_arm"]

HASH_LINE = re.compile(r"Hash of your input: (\d+)\n")

Progress = Callable[[str], None]
"""Called with a few words before each step that takes a noticeable time."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """An arm's name, its command as a person types it, and from the program's path the command that is really run.

    Building the command may raise `CloisterError`, when this machine cannot protect. `traced` is the command of the
    traced run, `trace` makes it.
    """

    name: str
    command: str
    argv: Callable[[Path], list[str]]
    traced: str = ""
    trace: Callable[[Sequence[str], str, Path], TraceRecord] = trace_run


def run_arm(arm: Arm, program: Path, progress: Progress) -> ArmRecord:
    """Run the arm in the program's directory; if it cannot run, its record says why."""
    progress(f"{arm.name}: running the program, dumping its memory")
    try:
        argv = arm.argv(program)
        record = _observe(arm, argv, program.parent, progress)
    except (CloisterError, OSError) as error:
        return absent_arm(arm, str(error))
    progress(f"{arm.name}: tracing its system calls")
    trace = arm.trace(argv, f"cloister trace -- {arm.traced or arm.command}", program.parent)
    return replace(record, trace=trace, attempts=(*record.attempts, trace_attempt(trace)))


def absent_arm(arm: Arm, reason: str) -> ArmRecord:
    """The record of an arm that did not run."""
    return ArmRecord(
        name=arm.name,
        command=arm.command,
        terminal="",
        hash_shown="",
        members=(),
        regions=(),
        hits=(),
        read_bytes=0,
        unreadable_bytes=0,
        buffer_address=0,
        attempts=(),
        trace=TraceRecord(engine="", command="", calls=(), notes=(), absent="the program did not run"),
        absent=reason,
    )


def _observe(arm: Arm, argv: list[str], directory: Path, progress: Progress) -> ArmRecord:
    with Terminal(argv, directory) as terminal:
        terminal.expect(PROMPT)
        terminal.enter(SECRET)
        terminal.expect(HASH_LINE.pattern)
        wait_for_input(terminal.pid)
        look = look_at(terminal.pid, Needles.of({"lab secret": SECRET.encode()}))
        transcript = terminal.transcript
        progress(f"{arm.name}: trying the administrator's tools")
        target = Target(pid=terminal.pid, address=look.buffer_address, secret=SECRET.encode(), directory=directory)
        attempts = (*try_everything(target), core_dump(target, terminal))
    return replace(
        absent_arm(arm, ""),
        terminal=transcript,
        hash_shown="".join(HASH_LINE.findall(transcript)[:1]),
        members=look.members,
        regions=look.regions,
        hits=look.hits,
        read_bytes=look.read_bytes,
        unreadable_bytes=look.unreadable_bytes,
        buffer_address=look.buffer_address,
        attempts=attempts,
    )
