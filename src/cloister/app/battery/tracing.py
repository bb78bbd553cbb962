"""Attacks by ptrace(2), by hand and by debuggers, and against the guards that stand in its way."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.memory import holds_secret, maps_of, mem_read
from cloister.app.battery.target import VICTIM, Arena, Start, Target, wait_for
from cloister.observe.prove.secret import Secret

__all__ = [
    "ORIG_RAX", "RAX", "RDI", "RDX", "RIP", "RSI", "SYSCALL", "SYS_WRITE",
    "TRACING", "attached", "attaching", "last_line", "nothing", "program", "run_tool",
]  # fmt: skip

RAX = 10
ORIG_RAX = 15
RIP = 16
RDI = 14
RSI = 13
RDX = 12
"""Places of registers in `struct user_regs_struct`, x86-64."""
SYSCALL = b"\x0f\x05"
SYS_WRITE = 1
LONGEST_WRITE = 1 << 24
DEBUGGER_SECONDS = 30.0
GUARDS_DIE_SECONDS = 1.0
FREEZER = Path("/sys/fs/cgroup/freezer")
"""cgroups(7), version 1; beside it, or in its place, version 2."""


def refusals(errors: list[OSError]) -> str:
    """How often, and with what words, the kernel refused."""
    words = sorted({error.strerror or str(error) for error in errors})
    return f"{len(errors)} threads: {', '.join(words) or 'none there'}"


def attached(tids: list[int], act: Callable[[int], object]) -> Attempt:
    """Attach to each thread and act on the first that can be had."""
    errors: list[OSError] = []
    for tid in tids:
        try:
            calls.attach(tid)
        except OSError as error:
            errors.append(error)
            continue
        try:
            act(tid)
            return succeeded("attached")
        except OSError as error:
            errors.append(error)
        finally:
            calls.detach(tid)
    return failed(refusals(errors))


def attaching(act: Callable[[int], object]) -> Callable[[Arena], Attempt]:
    """Attach to every thread of the program, its children and its guards."""

    def run(arena: Arena) -> Attempt:
        with arena.target() as target:
            return attached(target.threads(), act)

    return run


def nothing(_tid: int) -> None:
    """Attaching is the attack."""


def poke_text(tid: int) -> None:
    """Write the first word of code again."""
    at = next(mapping.start for mapping in maps_of(tid) if "x" in mapping.permissions)
    calls.poke(tid, at, calls.peek(tid, at))


def peek_secret(arena: Arena) -> Attempt:
    """PEEKDATA where the secret is, or, if that is not known, wherever there is memory."""
    with arena.target() as target:
        known = holds_secret(target)
        places = [known] if known else [mapping.start for mapping in maps_of(target.pid)]
        got = list[bytes]()
        outcome = attached(target.threads()[:1], lambda tid: got.extend(peeked(tid, places)))
        if known and got and got[0] == target.secret[:8]:
            return succeeded("the secret was read")
        return failed(f"{outcome.detail}; the secret is not in {len(got)} words")


def peeked(tid: int, places: list[int]) -> list[bytes]:
    """The words that could be read."""
    found = []
    for at in places:
        with contextlib.suppress(OSError):
            found.append(calls.peek(tid, at))
    return found


def seizing(arena: Arena) -> Attempt:
    """PTRACE_SEIZE of every thread."""
    with arena.target() as target:
        errors: list[OSError] = []
        for tid in target.threads():
            try:
                calls.seize(tid)
            except OSError as error:
                errors.append(error)
                continue
            calls.detach(tid, running=True)
            return succeeded("seized")
        return failed(refusals(errors))


def forced_write(arena: Arena) -> Attempt:
    """Make the program itself write(2) its memory to its standard output, by changed registers."""
    with arena.target() as target:
        outcome = attached([target.pid], lambda tid: write_out(tid, target))
        if target.said(target.secret):
            return succeeded("the program wrote the secret itself")
        return failed(f"{outcome.detail}; the secret was not written")


def write_out(tid: int, target: Target) -> None:
    """Write every mapping, from the system-call instruction at which the program waits."""
    before = calls.get_registers(tid)
    site = before[RIP] - len(SYSCALL)
    if mem_read(tid, site, len(SYSCALL)) != SYSCALL:
        raise NotTried("the program does not wait in a system call")
    for mapping in maps_of(tid):
        if mapping.permissions[0] != "r" or mapping.size > LONGEST_WRITE or "x" in mapping.permissions:
            continue
        now = list(before)
        now[RIP], now[RAX], now[ORIG_RAX] = site, SYS_WRITE, (1 << 64) - 1
        now[RDI], now[RSI], now[RDX] = 1, mapping.start, mapping.size
        calls.set_registers(tid, now)
        calls.step(tid)
        if target.said(target.secret):
            break
    calls.set_registers(tid, before)


def program(name: str) -> str:
    """Where a tool is; NotTried without it."""
    path = shutil.which(name)
    if path is None:
        raise NotTried(f"{name} is not installed")
    return path


def run_tool(command: list[str], place: Path, seconds: float = DEBUGGER_SECONDS, user: int | None = None) -> str:
    """What a tool prints, run as root or as this user.

    It and all that it starts are ended when its time is over: TimeoutExpired.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=place,
        start_new_session=True,
        user=user,
        group=user,
        extra_groups=None if user is None else (),
    ) as process:
        try:
            return process.communicate(timeout=seconds)[0].decode(errors="replace")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def gdb(arena: Arena) -> Attempt:
    """Attach and print registers."""
    tool = program("gdb")
    with arena.target() as target:
        shown = run_tool([tool, "-nx", "-batch", "-p", str(target.pid), "-ex", "info registers"], target.directory)
        return succeeded("registers were shown") if "rsp" in shown else failed("gdb could not attach")


def strace_attach(arena: Arena) -> Attempt:
    """Strace's -p for half a second, while the program reads a line."""
    tool = program("strace")
    with arena.target() as target:
        output = target.directory / "trace"
        command = [tool, "-f", "-s", "200", "-o", str(output), "-p", str(target.pid)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            wait_for(lambda: process.poll() is not None, 0.5)
            target.tell("check")
            wait_for(lambda: process.poll() is not None, 0.5)
            process.terminate()
            _, said = process.communicate(timeout=DEBUGGER_SECONDS)
        seen = output.exists() and output.stat().st_size > 0
        return succeeded("system calls were shown") if seen else failed(last_line(said.decode(errors="replace")))


def strace_start(arena: Arena) -> Attempt:
    """Start the victim under strace, which shows what it reads."""
    tool = program("strace")
    secret = Secret.fresh("battery").value
    with arena.started(words_under(arena, tool), secret, how=Start(raw=True)) as target:
        target.tell(secret.decode())
        wait_for(lambda: target.is_ready() or not target.alive(), DEBUGGER_SECONDS)
        if secret in letters(target.directory / "trace"):
            return succeeded("the secret was shown")
        return failed("the runtime does not start under a tracer")


def words_under(arena: Arena, tool: str) -> tuple[str, ...]:
    """The victim under strace; an arena that encloses must enclose the victim, not strace."""
    inner = arena.command(VICTIM)
    return (tool, "-f", "-s", "200", "-o", "trace", "-e", "trace=read", *inner)


def letters(trace: Path) -> bytes:
    """What reads of single bytes, as a shell makes them, delivered."""
    if not trace.exists():
        return b""
    lines = trace.read_text(errors="replace").splitlines()
    return "".join(line.split('"')[1] for line in lines if 'read(0, "' in line).encode()


def last_line(said: str) -> str:
    """The last line that a tool wrote, or the one with the kernel's refusal."""
    lines = said.strip().splitlines()
    refused = [line for line in lines if "not permitted" in line]
    return (refused or lines)[-1].split(": ", 1)[-1] if lines else "it saw nothing"


Act = Callable[[list[int]], contextlib.AbstractContextManager[None] | None]


def against_guards(act: Act) -> Callable[[Arena], Attempt]:
    """Do something to the guards, then try to attach to the program and to read it."""

    def run(arena: Arena) -> Attempt:
        with contextlib.ExitStack() as lasting, arena.target() as target:
            guards = target.guards()
            if (during := act(guards)) is not None:
                lasting.enter_context(during)
            limit = time.monotonic() + GUARDS_DIE_SECONDS
            outcome = failed("the program ended at once")
            while target.alive() and time.monotonic() < limit:
                outcome = attached(target.threads(), nothing)
                if outcome.worked or (target.alive() and holds_secret(target)):
                    return succeeded("attached to the program" if guards else "nothing guards it: attached")
            ended = "" if target.alive() else "; the program ended with its guards"
            return failed(outcome.detail + ended)

    return run


def kill(guards: list[int], number: int = signal.SIGKILL) -> None:
    """A signal to these."""
    for guard in guards:
        with contextlib.suppress(ProcessLookupError):
            os.kill(guard, number)


def kill_first(guards: list[int]) -> None:
    """One of two."""
    kill(guards[:1])


def stop(guards: list[int]) -> None:
    """SIGSTOP."""
    kill(guards, signal.SIGSTOP)


def stop_and_kill(guards: list[int]) -> None:
    """Stop one, kill the other."""
    stop(guards[:1])
    kill(guards[1:])


@contextlib.contextmanager
def frozen(guards: list[int]) -> Iterator[None]:
    """Both in the freezer, where not even SIGKILL moves them before they are let go."""
    place, stop, go = freezer()
    try:
        place.mkdir()
        for guard in guards:
            (place / "cgroup.procs").write_text(str(guard))
        (place / stop[0]).write_text(stop[1])
    except OSError as error:
        raise NotTried(f"no cgroup can be made here: {error.strerror}") from error
    try:
        yield
    finally:
        (place / go[0]).write_text(go[1])
        kill(guards)
        wait_for(lambda: not (place / "cgroup.procs").read_text(), 3.0)
        place.rmdir()


def freezer() -> tuple[Path, tuple[str, str], tuple[str, str]]:
    """A cgroup's directory to be made, the file and word that freeze it, and those that let it go."""
    name = f"cloister-battery-freezer-{os.getpid()}"
    if (FREEZER / "cgroup.procs").exists():
        return FREEZER / name, ("freezer.state", "FROZEN"), ("freezer.state", "THAWED")
    if (FREEZER.parent / "cgroup.controllers").exists():
        return FREEZER.parent / name, ("cgroup.freeze", "1"), ("cgroup.freeze", "0")
    raise NotTried("there is no freezer here")


def other_signals(guards: list[int]) -> None:
    """Everything that can be caught."""
    for number in sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}):
        kill(guards, number)


def trace_guards(arena: Arena) -> Attempt:
    """Attach to the guards; natively there are none, so to the program."""
    with arena.target() as target:
        guards = target.guards()
        if arena.enclaved and not guards:
            return failed("there are no guards to trace")
        return attached(guards or [target.pid], nothing)


PTRACE = "ptrace(2)"
GUARD = "ptrace(2), PTRACE_O_EXITKILL"
TRACING = (
    Attack(name="ptrace-attach", what="PTRACE_ATTACH", source=PTRACE, run=attaching(nothing)),
    Attack(name="ptrace-seize", what="PTRACE_SEIZE", source=PTRACE, run=seizing),
    Attack(name="ptrace-peek", what="PEEKDATA of the secret", source=PTRACE, run=peek_secret),
    Attack(name="ptrace-poke", what="POKEDATA into code", source=PTRACE, run=attaching(poke_text)),
    Attack(name="ptrace-getregs", what="GETREGS", source=PTRACE, run=attaching(calls.get_registers)),
    Attack(name="ptrace-setregs", what="SETREGS: a write() of the secret", source=PTRACE, run=forced_write),
    Attack(name="gdb", what="gdb -p", source="gdb(1)", run=gdb),
    Attack(name="strace-attach", what="strace -p", source="strace(1)", run=strace_attach),
    Attack(name="strace-start", what="start it under strace", source="strace(1)", run=strace_start),
    Attack(name="guard-kill", what="kill one guard, attach", source=GUARD, run=against_guards(kill_first)),
    Attack(name="guards-kill", what="kill both guards, attach", source=GUARD, run=against_guards(kill)),
    Attack(name="guards-stop", what="stop the guards, attach", source=GUARD, run=against_guards(stop)),
    Attack(name="guards-freeze", what="freeze the guards, attach", source="cgroups(7)", run=against_guards(frozen)),
    Attack(
        name="guards-stop-kill", what="stop one guard, kill the other", source=GUARD, run=against_guards(stop_and_kill)
    ),
    Attack(
        name="guards-signal",
        what="every other signal to the guards",
        source="signal(7)",
        run=against_guards(other_signals),
    ),
    Attack(name="guards-trace", what="trace the guards", source=PTRACE, run=trace_guards),
)
