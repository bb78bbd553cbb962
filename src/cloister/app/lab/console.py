"""The traced run with a shielded console: the secret is typed at `cloister attach`, outside of what is traced.

Traced are the program and the relay, through which all that is typed and printed passes. Attached is by evidence: the
person expects the program that was compiled, on this host.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from cloister.app.lab.program import PROMPT, SECRET
from cloister.app.lab.terminal import Terminal
from cloister.app.lab.tracing import absent_trace, call_record, let_catch_up
from cloister.app.measuring import measure_program
from cloister.attest.host_key import FileHostKey, default_path
from cloister.errors import CloisterError, ObservationError
from cloister.observe.report.record import TraceRecord
from cloister.observe.trace import EngineName, Options, Stop, Trace, Tracer
from cloister.observe.trace.processes import tree

__all__ = ["COMMAND", "trace_console"]

COMMAND = "cloister run --console ./console ./app"
CLOISTER = (sys.executable, "-m", "cloister")
RELAY = b"cloister.attest.carrier"
SECONDS = 60.0
T = TypeVar("T")


def trace_console(_argv: Sequence[str], command: str, directory: Path) -> TraceRecord:
    """Trace the exercise's program in `directory` with a shielded console; absent with its reason if that fails."""
    try:
        program, relay = _traces(directory)
    except (CloisterError, OSError, TimeoutError) as error:
        return absent_trace(command, str(error))
    calls = (*map(call_record, program.calls), *map(call_record, relay.calls))
    whose = (
        f"the first {len(program.calls)} calls are the program's, from its prompt on; the other {len(relay.calls)} are "
        f"those of the relay outside, which nothing guards ({relay.engine.value})"
    )
    notes = (f"{program.engine.value}: the guard holds ptrace of the program itself", *program.notes, whose)
    return TraceRecord(engine=program.engine.value, command=command, calls=calls, notes=notes, absent="")


def _traces(directory: Path) -> tuple[Trace, Trace]:
    """Of the program and of the relay."""
    program, address, key = directory / "app", directory / "console", directory / "host.pem"
    key.write_bytes(FileHostKey(default_path()).public_pem())
    expected = measure_program(str(program)).measured.measurement.hex()
    words = [*CLOISTER, "run", "--quiet", "--console", str(address), "--", str(program)]
    person = [*CLOISTER, "attach", str(address), "--measurement", expected, "--trust-host-key", str(key)]
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(words, cwd=directory, stdin=nowhere, stdout=nowhere, stderr=nowhere) as waiting:
        try:
            _until(address.exists, "nobody waits at the console")
            with Terminal(person, directory) as terminal:
                terminal.expect(PROMPT)
                return _typed(terminal, waiting.pid)
        finally:
            waiting.terminate()


def _typed(terminal: Terminal, waiting: int) -> tuple[Trace, Trace]:
    program = _until(lambda: next((pid for pid in tree(waiting) if pid != waiting), 0), "there is no program")
    relay = _until(lambda: next(_relays(program), 0), "there is no relay")
    tracers = (
        Tracer.process(program, secrets={}, options=Options(engine=EngineName.TRACEPOINTS)),
        Tracer.process(relay, secrets={}, options=Options(engine=EngineName.PTRACE, shown=256)),
    )
    for one in tracers:
        one.start()
    try:
        for one in tracers:
            let_catch_up(one, "read", "poll")
        terminal.enter(SECRET)
        terminal.expect(r"input: \d+\n")
        let_catch_up(tracers[0], "read")
        terminal.enter("")
        _require_end(terminal)
        return tracers[0].wait(SECONDS), tracers[1].wait(SECONDS)
    except BaseException:
        for one in tracers:
            one.stop(Stop.DETACH)
            with contextlib.suppress(Exception):
                one.wait(SECONDS)
        raise


def _require_end(terminal: Terminal) -> None:
    if code := terminal.exit_code():
        raise ObservationError(f"cloister attach ended with status {code}: {terminal.transcript}")


def _relays(program: int) -> Iterator[int]:
    """The carrier beside a program: it has left the tree, and holds the program by a pidfd."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            held = "".join(one.read_text() for one in (entry / "fdinfo").iterdir())
            if RELAY in (entry / "cmdline").read_bytes().split(b"\0") and f"Pid:\t{program}\n" in held:
                yield int(entry.name)


def _until(look: Callable[[], T], otherwise: str) -> T:
    deadline = time.monotonic() + SECONDS
    while not (found := look()):
        if time.monotonic() > deadline:
            raise ObservationError(otherwise)
        time.sleep(0.02)
    return found
