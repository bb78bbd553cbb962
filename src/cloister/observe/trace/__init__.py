"""Tracing: every system call of a process tree, decoded; which calls carried a secret; what stays visible anyway.

    trace_program(argv, secrets=...) -> Trace      trace_process(pid, secrets=...) -> Trace      Tracer: start, stop

Two engines write the same records (`record`): ptrace, which reads buffers while the program stands still, and the
kernel's tracepoints, which also work on a software enclave whose guard holds ptrace. `choose` picks one and says why.
"""

from cloister.observe.trace.choose import Choice
from cloister.observe.trace.document import trace_document
from cloister.observe.trace.engine import Stop
from cloister.observe.trace.record import (
    Argument,
    Call,
    Carried,
    Direction,
    Ended,
    EngineName,
    Event,
    Name,
    NameKind,
    Scalar,
    Seen,
    Signal,
    Transfer,
    Unfinished,
    Unreadable,
)
from cloister.observe.trace.render import call_line, event_line, summary_lines
from cloister.observe.trace.summary import Summary
from cloister.observe.trace.tracer import Options, Trace, Tracer, trace_process, trace_program

__all__ = [
    "Argument",
    "Call",
    "Carried",
    "Choice",
    "Direction",
    "Ended",
    "EngineName",
    "Event",
    "Name",
    "NameKind",
    "Options",
    "Scalar",
    "Seen",
    "Signal",
    "Stop",
    "Summary",
    "Trace",
    "Tracer",
    "Transfer",
    "Unfinished",
    "Unreadable",
    "call_line",
    "event_line",
    "summary_lines",
    "trace_document",
    "trace_process",
    "trace_program",
]
