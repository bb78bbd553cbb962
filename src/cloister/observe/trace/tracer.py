"""Tracing from Python: `Tracer` with start and stop, and two functions for the simple cases.

tracer = Tracer.program(["./app"], secrets={"password": b"FUNFOO"}, stdin=read_end)
tracer.start()
...                      # feed the program; tracer.in_progress() shows what it waits in
tracer.stop(Stop.KILL)   # or Stop.DETACH, or let it end
trace = tracer.wait()
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cloister.errors import ObservationError
from cloister.observe.needles import Needles
from cloister.observe.trace.backlog import Backlog, LateMemory
from cloister.observe.trace.choose import Choice, choose_for_process, choose_for_program
from cloister.observe.trace.decode.look import Eyes
from cloister.observe.trace.descriptors import Descriptors
from cloister.observe.trace.engine import Engine, Outcome, Stop
from cloister.observe.trace.engine_ptrace import PtraceEngine
from cloister.observe.trace.engine_tracepoints import TracepointEngine
from cloister.observe.trace.memory_unsafe import ProcessMemory
from cloister.observe.trace.record import Call, EngineName, Event, Unfinished
from cloister.observe.trace.recorder import Recorder
from cloister.observe.trace.redact import Redactor
from cloister.observe.trace.starting import Program
from cloister.observe.trace.summary import Summarizer, Summary

__all__ = ["SHOWN_BYTES", "Trace", "Tracer", "trace_process", "trace_program"]

SHOWN_BYTES = 32
STOP_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A finished trace. `status` is the program's exit code, 128+N after signal N, or why it is not known.

    `complete` is false when the kernel dropped events, so that calls are missing.
    """

    engine: EngineName
    reason: str
    pid: int
    calls: list[Call]
    events: list[Event]
    summary: Summary
    status: int | Unfinished
    complete: bool
    notes: list[str]


@dataclass(kw_only=True)
class Sink:
    """Where records go: into the summary, into the lists if they are kept, and to whoever listens."""

    keep: bool
    on_call: Callable[[Call], None] | None
    on_event: Callable[[Event], None] | None
    summarizer: Summarizer
    calls: list[Call] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def call(self, call: Call) -> None:
        """Take a call."""
        self.summarizer.add(call)
        if self.keep:
            self.calls.append(call)
        if self.on_call is not None:
            self.on_call(call)

    def event(self, event: Event) -> None:
        """Take an event."""
        if self.keep:
            self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)


class Tracer:
    """One trace, observed in a thread of its own. Make it with `program` or `process`.

    `on_call` and `on_event` are called in that thread, for each record as it is complete; `keep=False` spares the
    memory for a long trace. Times are seconds, `shown` bytes per buffer.
    """

    def __init__(self, *, engine: Engine, recorder: Recorder, choice: Choice, sink: Sink, warnings: list[str]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._choice = choice
        self._sink = sink
        self._warnings = warnings
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="cloister-trace", daemon=True)

    @staticmethod
    def program(
        argv: Sequence[str],
        *,
        secrets: Mapping[str, bytes],
        env: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        cwd: str | None = None,
        options: "Options | None" = None,
    ) -> "Tracer":
        """Prepare to start and trace a program. Descriptors that are None are inherited.

        Raises `NotFound`, `NotExecutable`, `UsageError`, and `ObservationError` when no engine can work.
        """
        chosen = options or Options()
        found = Program.find(argv, env, cwd)
        started = replace(found, stdin=stdin, stdout=stdout, stderr=stderr)
        return assemble(choose_for_program(argv, chosen.engine), secrets, chosen, started, 0)

    @staticmethod
    def process(pid: int, *, secrets: Mapping[str, bytes], options: "Options | None" = None) -> "Tracer":
        """Prepare to trace a running process and its descendants. Raises `ObservationError`."""
        chosen = options or Options()
        return assemble(choose_for_process(pid, chosen.engine), secrets, chosen, None, pid)

    @property
    def choice(self) -> Choice:
        """The engine and why it was chosen."""
        return self._choice

    @property
    def pid(self) -> int:
        """The main process; 0 before it was started."""
        return self._engine.pid

    @property
    def summary(self) -> Summary:
        """What has been seen so far."""
        return self._sink.summarizer.summary

    def start(self) -> None:
        """Begin to trace."""
        self._thread.start()

    def in_progress(self) -> list[Call]:
        """The calls that the program is in now: what it waits for."""
        return self._recorder.in_progress(time.time())

    def stop(self, how: Stop) -> None:
        """End the trace before the program ends. Returns at once; `wait` tells when it is over."""
        self._engine.stop(how)

    def wait(self, timeout: float | None = None) -> Trace:
        """The finished trace. Raises what the engine raised, or `TimeoutError` after `timeout` seconds."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"the program is still being traced after {timeout} seconds")
        if self._error is not None:
            raise self._error
        if self._outcome is None:
            raise ObservationError("the trace was never started; call start() first")
        return Trace(
            engine=self._choice.engine,
            reason=self._choice.reason,
            pid=self._engine.pid,
            calls=self._sink.calls,
            events=self._sink.events,
            summary=self.summary,
            status=self._outcome.status,
            complete=self._outcome.complete,
            notes=[*self._warnings, *self._outcome.notes],
        )

    def _run(self) -> None:
        """The tracing thread."""
        try:
            self._outcome = self._engine.run()
            self._recorder.finish(time.time())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._error = error


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to trace: `engine` None means automatic."""

    engine: EngineName | None = None
    on_call: Callable[[Call], None] | None = None
    on_event: Callable[[Event], None] | None = None
    keep: bool = True
    shown: int = SHOWN_BYTES


def assemble(
    choice: Choice, secrets: Mapping[str, bytes], options: Options, program: Program | None, attach: int
) -> Tracer:
    """Connect engine, decoders and sink."""
    needles = Needles.of(secrets)
    redactor = Redactor(needles)
    backlog = Backlog()
    late = choice.engine is EngineName.TRACEPOINTS
    eyes = Eyes(
        memory=LateMemory(backlog) if late else ProcessMemory(),
        descriptors=Descriptors(redactor, backlog.volatile),
        redactor=redactor,
        limit=options.shown,
        late=late,
    )
    sink = Sink(
        keep=options.keep,
        on_call=options.on_call,
        on_event=options.on_event,
        summarizer=Summarizer(sought=tuple(secrets)),
    )
    recorder = Recorder(eyes=eyes, on_call=sink.call, on_event=sink.event)
    engine: Engine = (
        TracepointEngine(recorder=recorder, backlog=backlog, program=program, attach=attach)
        if late
        else PtraceEngine(recorder=recorder, program=program, attach=attach)
    )
    return Tracer(engine=engine, recorder=recorder, choice=choice, sink=sink, warnings=list(needles.warnings))


def trace_program(  # noqa: PLR0913 - like subprocess.run: what to start, with what, for how long
    argv: Sequence[str],
    *,
    secrets: Mapping[str, bytes],
    env: Mapping[str, str] | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    cwd: str | None = None,
    on_call: Callable[[Call], None] | None = None,
    timeout: float | None = None,
    options: Options | None = None,
) -> Trace:
    """Start a program, trace it to its end and return the trace; after `timeout` seconds it is killed."""
    chosen = listening(options, on_call)
    tracer = Tracer.program(
        argv, secrets=secrets, env=env, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, options=chosen
    )
    return finish(tracer, timeout, Stop.KILL)


def trace_process(
    pid: int,
    *,
    secrets: Mapping[str, bytes],
    until: Callable[[Call], bool] | None = None,
    on_call: Callable[[Call], None] | None = None,
    timeout: float | None = None,
    options: Options | None = None,
) -> Trace:
    """Trace a running process until it ends, `until(call)` is true, or `timeout` seconds passed; then it goes on."""
    chosen = listening(options, on_call)
    holder: list[Tracer] = []

    def watch(call: Call) -> None:
        """Hand the call on, and stop when it is the one waited for."""
        if chosen.on_call is not None:
            chosen.on_call(call)
        if until is not None and until(call):
            holder[0].stop(Stop.DETACH)

    holder.append(Tracer.process(pid, secrets=secrets, options=replace(chosen, on_call=watch)))
    return finish(holder[0], timeout, Stop.DETACH)


def listening(options: Options | None, on_call: Callable[[Call], None] | None) -> Options:
    """The options, with `on_call` put in if it is given."""
    chosen = options or Options()
    return chosen if on_call is None else replace(chosen, on_call=on_call)


def finish(tracer: Tracer, timeout: float | None, how: Stop) -> Trace:
    """Run a tracer to its end, or stop it after `timeout` seconds."""
    tracer.start()
    try:
        return tracer.wait(timeout)
    except TimeoutError:
        tracer.stop(how)
        return tracer.wait(STOP_SECONDS)
    except KeyboardInterrupt:
        tracer.stop(how)
        tracer.wait(STOP_SECONDS)
        raise
