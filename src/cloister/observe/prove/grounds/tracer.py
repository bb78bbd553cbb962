"""The tracing process: follows one process and all it starts, and reports as lines of JSON what their calls carried.

A process of its own, since who is traced with ptrace(2) can be waited for by one process only, and since it has to be
quick. It is told the secrets on standard input, and ends when nothing that it follows is left, or that is closed.
"""

import json
import sys
import threading
from typing import Any

from cloister.errors import CloisterError
from cloister.observe.trace import Call, EngineName, Options, Seen, Stop, Trace, Tracer

__all__ = ["main"]

SHOWN = 0
ELSEWHERE = {"copy_file_range", "sendfile"}
"""What these move comes from a file: sendfile(2), copy_file_range(2). Files that were written are searched."""


def main() -> None:
    """Read the order, trace, report."""
    order = json.loads(sys.stdin.readline())
    secrets = {label: value.encode() for label, value in order["secrets"].items()}
    report = Report()
    engine = EngineName(order["engine"]) if order["engine"] else None
    try:
        options = Options(engine=engine, on_call=report.call, keep=False, shown=SHOWN)
        tracer = Tracer.process(order["pid"], secrets=secrets, options=options)
        threading.Thread(target=until_closed, args=(tracer,), daemon=True).start()
        tracer.start()
        report.end(tracer.wait())
    except (CloisterError, OSError) as error:
        report.say(kind="failed", reason=str(error))


def until_closed(tracer: Tracer) -> None:
    """Stop the trace when whoever asked for it goes away, or closes the input."""
    sys.stdin.read()
    tracer.stop(Stop.DETACH)


class Report:
    """What is written to standard output: each finding once, and at the end what was looked at."""

    def __init__(self) -> None:
        self.known: set[tuple[Any, ...]] = set()
        self.size = 0
        self.calls = 0

    def say(self, **facts: Any) -> None:  # noqa: ANN401 -- what JSON can hold
        """One line."""
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()

    def call(self, call: Call) -> None:
        """One system call."""
        self.calls += 1
        self.size += sum(item.contents.size for item in call.arguments if isinstance(item.contents, Seen))
        channel = call.transfers[0].channel if call.transfers else ""
        for found in call.carried:
            key = (found.label, found.encoding, call.pid, call.name, channel)
            if key not in self.known:
                self.known.add(key)
                self.say(
                    kind="hit",
                    label=found.label,
                    encoding=found.encoding,
                    pid=call.pid,
                    call=call.name,
                    channel=channel,
                )

    def end(self, trace: Trace) -> None:
        """The trace is over."""
        summary = trace.summary
        unsearched = [
            [kind.value, unseen.amount, sorted(unseen.names), bool(unseen.names - ELSEWHERE)]
            for kind, unseen in summary.unsearched.items()
        ]
        self.say(
            kind="end",
            engine=trace.engine.value,
            calls=self.calls,
            size=self.size,
            processes=summary.processes,
            complete=trace.complete,
            unsearched=unsearched,
            unreadable=summary.unreadable,
            notes=trace.notes,
        )
