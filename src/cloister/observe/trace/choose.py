"""Which engine can observe this program, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from cloister.errors import ObservationError
from cloister.observe.trace.processes import comm, tracer_of
from cloister.observe.trace.record import EngineName
from cloister.observe.trace.tracefs import why_unavailable

__all__ = ["Choice", "choose_for_process", "choose_for_program", "starts_enclave"]

RUNTIME = "cloister-enclave"
PTRACE_SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
NO_PTRACE = "3"  # Documentation/admin-guide/LSM/Yama.rst


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The engine, and the reason a person is given."""

    engine: EngineName
    reason: str


def choose_for_program(argv: Sequence[str], wanted: EngineName | None = None) -> Choice:
    """The engine for a program that is to be started. Raises `ObservationError` when none can work."""
    if wanted is not None:
        return checked(Choice(engine=wanted, reason="asked for"))
    if starts_enclave(argv):
        return checked(tracepoints("the program runs in a software enclave, whose guard must hold ptrace itself"))
    if ptrace_forbidden():
        return checked(tracepoints("this machine forbids ptrace (kernel.yama.ptrace_scope = 3)"))
    return Choice(
        engine=EngineName.PTRACE, reason="the program may be traced, so buffers are read while it stands still"
    )


def choose_for_process(pid: int, wanted: EngineName | None = None) -> Choice:
    """The engine for a running process. Raises `ObservationError` when none can work."""
    if not Path(f"/proc/{pid}").exists():
        raise ObservationError(f"process {pid} does not exist; check the number with `ps`")
    if wanted is not None:
        return checked(Choice(engine=wanted, reason="asked for"))
    tracer = tracer_of(pid)
    if tracer:
        return checked(tracepoints(f"ptrace refused: the program's guard holds it ({comm(tracer)}, process {tracer})"))
    if ptrace_forbidden():
        return checked(tracepoints("this machine forbids ptrace (kernel.yama.ptrace_scope = 3)"))
    return Choice(
        engine=EngineName.PTRACE, reason="nobody traces the process, so buffers are read while it stands still"
    )


def tracepoints(reason: str) -> Choice:
    """Engine B, for a reason."""
    return Choice(engine=EngineName.TRACEPOINTS, reason=reason)


def checked(choice: Choice) -> Choice:
    """The choice, if the engine can work here."""
    missing = why_unavailable() if choice.engine is EngineName.TRACEPOINTS else ""
    if missing:
        raise ObservationError(
            f"cannot trace: {choice.reason}, and the kernel's tracepoints are not available: {missing}"
        )
    return choice


def starts_enclave(argv: Sequence[str]) -> bool:
    """True for `cloister-enclave ...`, `cloister run ...` and `python -m cloister run ...`."""
    words = list(argv)
    if words and PurePath(words[0]).name == RUNTIME:
        return True
    if words and PurePath(words[0]).name == "cloister":
        return words[1:2] == ["run"]
    return any(words[index : index + 3] == ["-m", "cloister", "run"] for index in range(1, 4))


def ptrace_forbidden() -> bool:
    """True when the Yama security module refuses ptrace to everyone, root included."""
    try:
        return PTRACE_SCOPE.read_text(encoding="ascii").strip() == NO_PTRACE
    except OSError:
        return False
