"""The exercise by hand: tells a person what to type in which of two terminals, and checks what came of it.

The walk types nothing itself and dumps nothing itself. It finds the program's process, reads the log files that the
person's commands wrote, and says at each step whether that is what the step should show, and if not, what to do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from cloister.app.lab.memory import input_address, wait_for_input
from cloister.app.lab.program import DUMP_SCRIPT, EXPECTED_HASH, SECRET, compile_program
from cloister.observe.family import GUARD_COMM
from cloister.observe.report.record import Verdict
from cloister.observe.trace.processes import comm, tracer_of

__all__ = ["Conversation", "Stopped", "walk"]

Result = TypeVar("Result")

PROGRAM = "app"
REFUSED = b"Input/output error"


class Conversation(Protocol):
    """The person at the terminal."""

    def say(self, *lines: str) -> None:
        """Show lines of text."""

    def ask(self, prompt: str) -> None:
        """Wait until the person has done it; raise `Stopped` if they give up."""


class Stopped(Exception):
    """The person ended the walk."""


class NotYet(Exception):
    """A step did not show what it should; the message says what was seen and what to do."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One half of the walk: how the program is started, and what its log and its trace must show."""

    title: str
    start: str
    log: str
    enclaved: bool
    expect_traced: str


NATIVE = Scene(
    title="natively",
    start="./app",
    log="native.log",
    enclaved=False,
    expect_traced=f'The read() that takes your input shows its bytes, "{SECRET}\\n".',
)
ENCLAVED = Scene(
    title="in the software enclave",
    start="cloister run ./app",
    log="enclave.log",
    enclaved=True,
    expect_traced="The same read() shows a pointer into memory that the tracer cannot read.",
)


def walk(directory: Path, person: Conversation) -> Verdict:
    """Walk through both halves in `directory`, which is made if need be. The verdict is of what the dumps show."""
    directory.mkdir(exist_ok=True)
    program = compile_program(directory.resolve())
    person.say(f"The exercise's files are in {program.parent}: app.c, app (compiled), {DUMP_SCRIPT}.")
    person.say("Open two more terminals, and in both type:", f"    cd {program.parent}")
    try:
        person.ask("Press Enter here when they are open")
        native, enclaved = (half(scene, program.parent, person) for scene in (NATIVE, ENCLAVED))
    except Stopped:
        person.say("Stopped before the end: half an experiment shows nothing.")
        return Verdict.INCONCLUSIVE
    return conclude(native, enclaved, person)


def half(scene: Scene, directory: Path, person: Conversation) -> int:
    """One half: start, dump, search, end, trace. Returns how often the secret stood in the dump."""
    person.say("", f"=== {scene.title} ===")
    person.say("Terminal 1: start the program and type the secret; it prints the hash and waits.")
    person.say(f"    {scene.start}", f"    {SECRET}", f"    (it prints: Hash of your input: {EXPECTED_HASH})")
    pid = until_done(person, "Press Enter here when it waits", lambda: find_process(scene, directory))
    person.say(f"  ok: it is process {pid}, and it waits for a key.")
    person.say("Terminal 2: dump its memory as the administrator, then search the dump.")
    person.say(f"    sudo python3 {DUMP_SCRIPT} {pid} > {scene.log}", f"    grep -ao {SECRET} {scene.log}")
    log = directory / scene.log
    count, refused = until_done(person, "Press Enter here when grep is done", lambda: judge_dump(scene, log, pid))
    mark = "ok" if bool(count) is not scene.enclaved else "LEAK"
    person.say(f"  {mark}: {SECRET} stands {count} times in {log.name}; {refused} mappings refused the read.")
    person.say("Terminal 1: press Enter; the program ends.")
    until_done(person, "Press Enter here when it has ended", lambda: check_ended(pid))
    person.say("Terminal 1: now watch its system calls. Type the secret, Enter, and Enter again.")
    person.say(f"    cloister trace -- {scene.start}", scene.expect_traced)
    person.ask("Press Enter here when you have seen it")
    return count


def conclude(native: int, enclaved: int, person: Conversation) -> Verdict:
    """Say what the two dumps show together. That the native count is not 0 was checked on the way."""
    person.say("", f"The secret stood {native} times in the native dump and {enclaved} times in the enclave's.")
    if enclaved:
        person.say("LEAKED: the enclave did not protect it.")
        return Verdict.LEAKED
    person.say("PROTECTED (mode: software enclave): same program, same secret, same search.")
    return Verdict.PROTECTED


def until_done(person: Conversation, prompt: str, check: Callable[[], Result]) -> Result:
    """Ask and check, until the check is content or the person stops."""
    while True:
        person.ask(prompt)
        try:
            return check()
        except NotYet as problem:
            person.say(f"  not yet: {problem}")


def find_process(scene: Scene, directory: Path) -> int:
    """The process started in `directory` that waits for input; NotYet if there is not exactly one."""
    found = [pid for pid in pids() if belongs(pid, scene, directory)]
    if not found:
        raise NotYet(f"nothing runs that was started with `{scene.start}` in {directory}; is terminal 1 there?")
    if len(found) > 1:
        raise NotYet(f"there are {len(found)} of them ({', '.join(map(str, found))}); end all but one")
    if not waits(found[0]):
        raise NotYet(f"process {found[0]} does not wait for input")
    return found[0]


def belongs(pid: int, scene: Scene, directory: Path) -> bool:
    """Whether `pid` is the scene's program: by its name, by whether a guard traces it, and by where it was started.

    Only root may see where an enclaved process was started, so for others that is left out there.
    """
    try:
        proc = Path(f"/proc/{pid}")
        guarded = comm(tracer_of(pid)) == GUARD_COMM
        if comm(pid) != PROGRAM or guarded is not scene.enclaved:
            return False
        return (proc / "cwd").readlink() == directory
    except PermissionError:
        return scene.enclaved
    except OSError:
        return False


def waits(pid: int) -> bool:
    """Whether the program waits for input. True where only root may know: the dump, made as root, will show."""
    try:
        Path(f"/proc/{pid}/syscall").read_text(encoding="ascii")
    except PermissionError:
        return True
    except OSError:
        return False
    wait_for_input(pid)
    return input_address(pid) != 0


def judge_dump(scene: Scene, log: Path, pid: int) -> tuple[int, int]:
    """How often the secret is in the log, and how many mappings refused; NotYet if it is no whole dump of `pid`."""
    data = log.read_bytes() if log.exists() else b""
    if not data.startswith(f"PID = {pid}\n".encode()):
        raise NotYet(f"{log} is not a dump of process {pid}; type the two lines in terminal 2")
    if not data.endswith(b"\nEND\n"):
        raise NotYet(f"{log} has no END: the script still runs, or stopped early; did it run as root (sudo)?")
    count = data.count(SECRET.encode())
    if not scene.enclaved and not count:
        raise NotYet(f"{SECRET} is not in {log.name}, so it was not typed in terminal 1; type q and begin again")
    return count, data.count(REFUSED)


def check_ended(pid: int) -> None:
    """NotYet while the process is there."""
    if Path(f"/proc/{pid}").exists():
        raise NotYet(f"process {pid} is still there; press Enter in terminal 1")


def pids() -> list[int]:
    """Every process now."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
