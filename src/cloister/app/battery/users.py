"""Attacks by the program's own user: an ordinary one, who needs no right of root to read what is his natively."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.cores import cores_in, die, open_limits, plain_pattern
from cloister.app.battery.kernel import in_samples
from cloister.app.battery.memory import arena_directory, holds_secret
from cloister.app.battery.procfs import not_here
from cloister.app.battery.registers import holder_program, words_of
from cloister.app.battery.target import VICTIM, Arena, Start, Target, settle
from cloister.app.battery.tracing import attached, nothing, program, run_tool
from cloister.observe.prove.secret import Secret

__all__ = ["USERS"]

NOBODY = 65534
VARIABLE = "TOKEN"
LONGEST_ANSWER = 4096
TOOL_SECONDS = 20.0


@contextlib.contextmanager
def program_of_nobody(arena: Arena, words: Sequence[str] = VICTIM) -> Iterator[Target]:
    """A program of an ordinary user with a secret; enclaved as such a user does it, by the file capability."""
    if os.geteuid():
        raise NotTried("it takes root to become another user")
    secret = Secret.fresh("battery").value
    with arena_directory(arena) as place:
        command = list(words) if not arena.enclaved else with_capability(arena.command(words), place)
        command = [program("prlimit"), "--core=unlimited", *command]  # not every root may lift it later
        how = Start(raw=True, user=NOBODY, environment={VARIABLE: secret.decode()})
        with arena.started(command, secret, how=how) as target:
            target.tell(secret.decode())
            settle(target, ours=True, seconds=0)
            yield target


def with_capability(command: list[str], place: Path) -> list[str]:
    """The same, by a copy of the runtime that has the file capability. NotTried where that is not possible."""
    tool = program("setcap")
    copy = Path(shutil.copy(command[0], place / "cloister-enclave"))
    copy.chmod(0o755)
    said = run_tool([tool, "cap_ipc_lock+ep", str(copy)], place, TOOL_SECONDS)
    if said:
        raise NotTried(f"file capabilities do not work here: {said.strip()[:80]}")
    return [str(copy), *command[1:]]


def as_nobody(act: Callable[[], Attempt]) -> Attempt:
    """Do it in a child that is that user, with no rights left."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b"-it broke"
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            outcome = act()
            answer = (b"+" if outcome.worked else b"-") + outcome.detail.encode()
        os.write(writer, answer[:LONGEST_ANSWER])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    detail = answer[1:].decode()
    return succeeded(detail) if answer.startswith(b"+") else failed(detail)


def memory(arena: Arena) -> Attempt:
    """Read all memory."""
    with program_of_nobody(arena) as target:
        return as_nobody(lambda: succeeded("the secret was read") if holds_secret(target) else failed("not readable"))


def tracing(arena: Arena) -> Attempt:
    """Attach to every thread."""
    with program_of_nobody(arena) as target:
        return as_nobody(lambda: attached(target.threads(), nothing))


def core(arena: Arena) -> Attempt:
    """Root lifts the limit of core files, and ends it with a signal."""
    plain_pattern()
    with program_of_nobody(arena) as target:
        open_limits(target)
        die(target, signal.SIGSEGV)
        found = cores_in(target.directory)
        if any(target.secret in one for one in found):
            return succeeded("the secret is in the core file")
        return failed(f"{len(found)} core files, the secret is in none")


def core_registers(arena: Arena) -> Attempt:
    """The same of a program with words of its secret in registers."""
    plain_pattern()
    with arena_directory(arena) as place, program_of_nobody(arena, (holder_program(place),)) as target:
        open_limits(target)
        die(target, signal.SIGSEGV)
        found = cores_in(target.directory)
        if any(word in one for one in found for word in words_of(target)):
            return succeeded("a word of the secret is in the core file")
        return failed(f"{len(found)} core files, the secret is in none")


def samples(arena: Arena) -> Attempt:
    """Perf record by the same user."""
    return in_samples(lambda: program_of_nobody(arena), "cpu-clock:u", NOBODY)


CORE = "core(5)"
USERS = (
    Attack(name="user-mem", what="the same user reads memory", source="proc_pid_mem(5)", reader="user", run=memory),
    Attack(name="user-ptrace", what="the same user attaches", source="ptrace(2)", reader="user", run=tracing),
    Attack(
        name="user-namespace",
        what="the same user, root of a namespace",
        source="user_namespaces(7)",
        reader="user",
        run=not_here("root of a namespace below has fewer rights over it than its own user: refused natively, too"),
    ),
    Attack(
        name="user-perf",
        what="the same user samples the stack",
        source="perf_event_open(2)",
        reader="user",
        run=samples,
        declared="perf, for ordinary users",
    ),
    Attack(name="user-core", what="core file of a user's program", source=CORE, run=core),
    Attack(
        name="user-registers",
        what="registers in that core file",
        source=CORE,
        run=core_registers,
        declared="registers that the kernel shows",
    ),
)
