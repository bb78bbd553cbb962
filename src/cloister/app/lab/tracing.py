"""One run of the program under the system-call tracer, with the secret typed as before.

No secret is named to the tracer, because it would then show the label in its place: the lab's secret is public, and
to see it go by is the exercise.
"""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from cloister.app.lab.program import PROMPT, SECRET
from cloister.app.lab.terminal import Screen
from cloister.errors import CloisterError
from cloister.observe.report.record import Attempt, CallRecord, Outcome, TraceRecord
from cloister.observe.trace import Call, Stop, Trace, Tracer, call_line

__all__ = ["absent_trace", "call_record", "let_catch_up", "trace_attempt", "trace_run"]

SECONDS = 30.0
CATCH_UP_SECONDS = 5.0


def trace_run(argv: Sequence[str], command: str, directory: Path) -> TraceRecord:
    """Trace `argv` in `directory` from its start to its end; a trace that cannot be had is absent with its reason."""
    try:
        trace = _trace(argv, directory)
    except (CloisterError, OSError) as error:
        return absent_trace(command, str(error))
    calls = tuple(call_record(call) for call in trace.calls if call.pid == trace.pid)
    notes = (f"{trace.engine.value}: {trace.reason}", *trace.notes)
    return TraceRecord(engine=trace.engine.value, command=command, calls=calls, notes=notes, absent="")


def absent_trace(command: str, reason: str) -> TraceRecord:
    """A trace that could not be had."""
    return TraceRecord(engine="", command=command, calls=(), notes=(), absent=reason)


def trace_attempt(trace: TraceRecord) -> Attempt:
    """The trace as one of the administrator's attempts: it succeeds where a call shows the secret."""
    if trace.absent:
        outcome, detail = Outcome.NOT_TRIED, trace.absent
    else:
        telling = [call for call in trace.calls if call.secret]
        outcome = Outcome.READ if telling else Outcome.NOTHING_FOUND
        detail = telling[0].text if telling else f"not in what {len(trace.calls)} calls showed"
    return Attempt(adversary="root", tool="system-call trace", command=trace.command, outcome=outcome, detail=detail)


def _trace(argv: Sequence[str], directory: Path) -> Trace:
    with Screen() as screen:
        side = screen.program_side
        tracer = Tracer.program(argv, secrets={}, stdin=side, stdout=side, stderr=side, cwd=str(directory))
        tracer.start()
        try:
            screen.expect(PROMPT)
            screen.enter(SECRET)
            screen.expect(r"input: \d+\n")
            let_catch_up(tracer, "read")
            screen.enter("")
            return tracer.wait(SECONDS)
        except BaseException:
            tracer.stop(Stop.KILL)
            with contextlib.suppress(Exception):
                tracer.wait(SECONDS)
            raise


def let_catch_up(tracer: Tracer, *calls: str) -> None:
    """Wait until the tracer has seen the program wait: tracepoints look into buffers later than the calls are made."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while time.monotonic() < deadline and not any(call.name in calls for call in tracer.in_progress()):
        time.sleep(0.02)


def call_record(call: Call) -> CallRecord:
    """A call, and whether the secret is to be seen in it."""
    text = call_line(call)
    return CallRecord(name=call.name, text=text, secret=SECRET in text)
