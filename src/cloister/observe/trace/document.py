"""A trace as one JSON document. Secrets appear as labels only: the records hold nothing else."""

from dataclasses import asdict
from typing import Any

from cloister.observe.trace.record import Argument, Call, Contents, Event, Seen, Signal, Unfinished, Unreadable
from cloister.observe.trace.summary import Summary
from cloister.observe.trace.tracer import Trace

__all__ = ["FORMAT", "trace_document"]

FORMAT = "cloister-trace-1"

Json = dict[str, Any]


def trace_document(trace: Trace) -> Json:
    """The document: `format, engine, reason, pid, status, complete, notes, calls, events, summary`.

    Sizes are bytes, times seconds since the epoch, durations seconds. What is not known is `{"unknown": reason}`.
    """
    return {
        "format": FORMAT,
        "engine": trace.engine.value,
        "reason": trace.reason,
        "pid": trace.pid,
        "status": known(trace.status),
        "complete": trace.complete,
        "notes": trace.notes,
        "calls": [call_document(call) for call in trace.calls],
        "events": [event_document(event) for event in trace.events],
        "summary": summary_document(trace.summary),
    }


def call_document(call: Call) -> Json:
    """One call."""
    return {
        "number": call.number,
        "pid": call.pid,
        "tid": call.tid,
        "time": call.time,
        "duration": call.duration,
        "name": call.name,
        "arguments": [argument_document(argument) for argument in call.arguments],
        "result": known(call.result),
        "result_text": call.result_text,
        "carried": [asdict(item) for item in call.carried],
        "transfers": [{**asdict(item), "direction": item.direction.value} for item in call.transfers],
        "names": [{"kind": item.kind.value, "text": item.text} for item in call.names],
        "unsearched": [{"kind": item.kind.value, "amount": item.amount} for item in call.unsearched],
    }


def argument_document(argument: Argument) -> Json:
    """One argument."""
    return {"name": argument.name, "raw": argument.raw, "text": argument.text, "contents": contents(argument.contents)}


def contents(value: Contents) -> Json | None:
    """`{"read": bytes}`, `{"unreadable": reason}`, or null for a plain value."""
    if isinstance(value, Unreadable):
        return {"unreadable": value.reason}
    return {"read": value.size} if isinstance(value, Seen) else None


def event_document(event: Event) -> Json:
    """A signal or an end."""
    base: Json = {"pid": event.pid, "tid": event.tid, "time": event.time}
    if isinstance(event, Signal):
        return {"event": "signal", **base, "signal": event.signal, "detail": event.detail}
    return {"event": "ended", **base, "status": known(event.status)}


def summary_document(summary: Summary) -> Json:
    """The summary."""
    return {
        "calls": summary.calls,
        "processes": summary.processes,
        "seconds": summary.seconds,
        "counts": {name: asdict(count) for name, count in summary.counts.items()},
        "flows": {channel: asdict(flow) for channel, flow in summary.flows.items()},
        "sought": list(summary.sought),
        "carried": [asdict(item) for item in summary.carried],
        "leaves_doubt": summary.leaves_doubt,
        "unreadable": summary.unreadable,
        "unsearched": [
            {"kind": kind.value, "amount": unseen.amount, "calls": unseen.calls, "names": sorted(unseen.names)}
            for kind, unseen in summary.unsearched.items()
        ],
        "visible": [{**asdict(name), "kind": name.kind.value} for name in summary.names],
    }


def known(value: int | Unfinished) -> int | Json:
    """A number, or why there is none."""
    return {"unknown": value.reason} if isinstance(value, Unfinished) else value
