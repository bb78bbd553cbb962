"""A trace as text: lines in strace's manner, and the summary."""

from collections.abc import Iterator
from time import localtime, strftime

from cloister.observe.trace.decode.scalars import signal_name
from cloister.observe.trace.record import Call, Ended, Event, NameKind, Signal, Unfinished
from cloister.observe.trace.summary import Summary
from cloister.quantities import counted

__all__ = ["call_line", "event_line", "summary_lines"]

KILLED = 128
LISTED = 20
HEADINGS = {
    NameKind.PROGRAM: "programs executed",
    NameKind.FILE: "file names",
    NameKind.DESTINATION: "network destinations",
}


def call_line(call: Call, *, task: bool = False, times: bool = False) -> str:
    """`read(0</dev/pts/1>, "x", 1024) = 7`, with the task's number and times when asked for."""
    arguments = ", ".join(argument.text for argument in call.arguments)
    took = f" <{call.duration:.6f}>" if times and isinstance(call.result, int) else ""
    marks = "".join(f"  <== carries {item.label} ({item.encoding})" for item in call.carried)
    start = prefix(call.tid, call.time, task=task, times=times)
    return f"{start}{call.name}({arguments}) = {call.result_text}{took}{marks}"


def event_line(event: Event, *, task: bool = False, times: bool = False) -> str:
    """`--- SIGINT {...} ---`, `+++ exited with 0 +++`."""
    start = prefix(event.tid, event.time, task=task, times=times)
    if isinstance(event, Signal):
        return f"{start}--- {signal_name(event.signal)} {event.detail} ---"
    return f"{start}+++ {ending(event)} +++"


def ending(event: Ended) -> str:
    """How a task ended."""
    if isinstance(event.status, Unfinished):
        return f"ended (exit code not known: {event.status.reason})"
    if event.status > KILLED and event.status - KILLED <= 64 and signal_name(event.status - KILLED).startswith("SIG"):
        return f"killed by {signal_name(event.status - KILLED)}"
    return f"exited with {event.status}"


def prefix(tid: int, moment: float, *, task: bool, times: bool) -> str:
    """What stands before a line."""
    clock = strftime("%H:%M:%S", localtime(moment)) + f".{int(moment % 1 * 1e6):06d} " if times else ""
    return (f"[pid {tid}] " if task else "") + clock


def summary_lines(summary: Summary) -> Iterator[str]:
    """The summary, for a person."""
    processes = counted(summary.processes, "process", "processes")
    yield f"{counted(summary.calls, 'system call')} of {processes} in {summary.seconds:.3f} s"
    yield from count_lines(summary)
    yield from flow_lines(summary)
    yield from carried_lines(summary)
    yield from visible_lines(summary)


def count_lines(summary: Summary) -> Iterator[str]:
    """Calls by number."""
    yield ""
    yield "   calls  errors    seconds  name"
    ordered = sorted(summary.counts.items(), key=lambda item: (-item[1].calls, item[0]))
    for name, count in ordered[:LISTED]:
        yield f"{count.calls:>8} {count.errors or '':>7} {count.seconds:>10.6f}  {name}"
    yield from more(len(ordered))


def flow_lines(summary: Summary) -> Iterator[str]:
    """Bytes by channel."""
    yield ""
    yield "bytes in  bytes out   calls  from or to"
    ordered = sorted(summary.flows.items(), key=lambda item: -(item[1].bytes_in + item[1].bytes_out))
    for channel, flow in ordered[:LISTED]:
        yield f"{flow.bytes_in:>8} {flow.bytes_out:>10} {flow.calls:>7}  {channel}"
    yield from more(len(ordered))


def carried_lines(summary: Summary) -> Iterator[str]:
    """The calls that carried a secret, and what could not be looked at."""
    yield ""
    if not summary.sought:
        yield "calls that carried a secret: not looked for (name one with --secret-file)"
    else:
        yield f"calls that carried a secret: {len(summary.carried)}"
    for item in summary.carried[:LISTED]:
        where = f" on {item.channel}" if item.channel else ""
        pieces = ", completed here" if item.carried.pieces else ""
        what = f"{item.carried.label} as {item.carried.encoding} in `{item.carried.argument}`"
        yield f"  call {item.call} {item.name}: {what}{where}{pieces}"
    yield from more(len(summary.carried))
    for reason, count in sorted(summary.unreadable.items()):
        yield f"arguments whose contents were unreadable: {count} ({reason})"
    for kind, unseen in summary.unsearched.items():
        names = ", ".join(sorted(unseen.names))
        yield f"{kind.value}, contents not looked at: {unseen.amount} in {counted(unseen.calls, 'call')} ({names})"
    yield "never looked at: files mapped into memory, memory shared with others, what is shown as a plain address"


def visible_lines(summary: Summary) -> Iterator[str]:
    """The metadata."""
    yield ""
    yield "metadata still visible: the name, time, duration and result of every call, the size of every transfer, and"
    for kind, heading in HEADINGS.items():
        names = summary.of_kind(kind)
        yield f"  {heading}: {len(names)}"
        for name in names[:LISTED]:
            yield f"    {name.text}" + ("" if name.succeeded else "  (failed)")
        yield from more(len(names))


def more(count: int) -> Iterator[str]:
    """Says that a list was cut."""
    if count > LISTED:
        yield f"    ... and {count - LISTED} more (--json lists all)"
