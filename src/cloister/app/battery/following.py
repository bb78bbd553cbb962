"""A trace of every system call of a program and all that it starts, as `cloister prove --traces` makes it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from cloister.app.battery.attack import Attempt, NotTried, failed, succeeded
from cloister.app.battery.target import Arena, Start, Target
from cloister.observe.prove.grounds.tracing import Traces
from cloister.observe.prove.plan import ArmName
from cloister.observe.prove.secret import Secret
from cloister.quantities import counted

__all__ = ["found_by", "traced", "tracer"]

LABEL = "battery"


def traced(arena: Arena, words: Sequence[str], secret: bytes, how: Start, act: Callable[[Target], object]) -> Attempt:
    """Start the program with these words, let it `act`, and look for the secret in what its calls carried."""
    with tracer(arena, secret) as traces:
        gate = traces.gate()
        with arena.started(words, secret, how=replace(how, gate=gate)) as target:
            traces.follow(target.pid, gate)
            act(target)
        return found_by(traces, secret)


def found_by(traces: Traces, secret: bytes) -> Attempt:
    """The program has ended: what was seen of it."""
    traces.finish()
    looked = traces.report()
    if traces.hits:
        first = traces.hits[0].where.replace(secret.decode(), "SECRET")
        return succeeded(f"the secret was seen in {counted(len(traces.hits), 'call')}, such as {first}")
    if not looked.whole.holds:
        raise NotTried(f"not everything could be traced: {looked.whole.detail}")
    return failed(f"the secret is in none of its calls: {looked.amount}")


@contextlib.contextmanager
def tracer(arena: Arena, secret: bytes) -> Iterator[Traces]:
    """The tracing process, before there is anything to trace."""
    arm = ArmName.ENCLAVED if arena.enclaved else ArmName.NATIVE
    traces = Traces(arm=arm, secrets=(Secret(label=LABEL, value=secret),))
    traces.start()
    try:
        yield traces
    finally:
        traces.close()
