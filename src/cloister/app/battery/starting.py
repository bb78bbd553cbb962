"""Attacks at the start: code that is slipped in from outside, and tracers that come before the guards do."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.compiling import build
from cloister.app.battery.memory import arena_directory, maps_of, mem_read, mem_write
from cloister.app.battery.procfs import shown
from cloister.app.battery.target import VICTIM, Arena, Start, Target, wait_for
from cloister.app.measuring import measure_program
from cloister.errors import LaunchError
from cloister.measure.software import Manifest
from cloister.observe.prove.secret import Secret

__all__ = ["STARTING"]

RUN_SECONDS = 5.0
RACE_SECONDS = 2.0
ATTEMPTS = 30
TEXT_ATTEMPTS = 10
MOMENT = 0.0003
MARK, RAN = "slipped-in", "ran without it"
WALL = 0x40000000  # __WALL, waitpid(2)

PROGRAM = """
#include <stdio.h>
int own(void);
int main(void)
{ char s[64]; if (own() || !fgets(s, sizeof s, stdin)) return 1; puts("ready"); fflush(stdout); getchar(); return 0; }
"""
OWN = "int own(void) { return 0; }"
LIBRARY = """
#include <unistd.h>
int own(void) { return 0; }
unsigned la_version(unsigned version) { return version; }
__attribute__((constructor)) static void start(void) { (void)!write(1, "slipped-in\\n", 11); }
"""
LOADER = """
static long call(long n, long a, const void *b, long c)
{ long r; __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory"); return r; }
void _start(void) { call(1, 1, "slipped-in\\n", 11); call(231, 0, 0, 0); }
"""


@contextlib.contextmanager
def measured(arena: Arena, path: Path, more: Sequence[Path] = ()) -> Iterator[int | None]:
    """The descriptor of the program's manifest, with some files more, for a strict enclave."""
    if not arena.enclaved or arena.setting.unsafe_no_guard:
        yield None
        return
    descriptor = os.memfd_create("battery-manifest")
    try:
        known = measure_program(str(path)).measured.started()
        listed = {**known.files, **{str(one): hashlib.sha256(one.read_bytes()).digest() for one in more}}
        os.write(descriptor, Manifest(listed).serialize())
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def slipping(environment: Callable[[Path], dict[str, str]]) -> Callable[[Arena], Attempt]:
    """Start a measured program, in a directory of the attacker's, with an environment of his."""

    def run(arena: Arena) -> Attempt:
        with arena_directory(arena) as place:
            path = build_program(place)
            hostile = place / "hostile"
            hostile.mkdir()
            build(hostile, "libown.so", LIBRARY, "-shared", "-fPIC")
            with measured(arena, path) as manifest:
                check_control(arena, path, manifest)
                return slipped(arena, path, environment(hostile), manifest, hostile)

    return run


def build_program(place: Path, *flags: str) -> Path:
    """The program, with a library of its own that it finds by itself."""
    build(place, "libown.so", OWN, "-shared", "-fPIC")
    return build(place, "program", PROGRAM, f"-L{place}", f"-Wl,--enable-new-dtags,-rpath,{place}", *flags, "-lown")


def check_control(arena: Arena, path: Path, manifest: int | None) -> None:
    """The program does start before anything is slipped in; else that it does not afterwards would say nothing."""
    if RAN not in slipped(arena, path, {}, manifest, path.parent).detail:
        raise LaunchError("the program does not even start without an attack")


def slipped(arena: Arena, path: Path, environment: dict[str, str], manifest: int | None, place: Path) -> Attempt:
    """Whether foreign code ran in the program."""
    if manifest is not None:
        os.lseek(manifest, 0, os.SEEK_SET)
    with arena.started((str(path),), b"", how=Start(environment=environment, manifest=manifest, cwd=place)) as target:
        target.tell("a line")
        wait_for(lambda: not target.alive() or target.is_ready() or target.said(MARK.encode()), RUN_SECONDS)
        if target.said(MARK.encode()):
            return succeeded("foreign code ran in it")
        ended = RAN if target.is_ready() else "was not started"
        return failed(f"measured, the program {ended}")


def interpreter(arena: Arena) -> Attempt:
    """The program's loader, as its file names it, is replaced after it was measured."""
    genuine = Path("/lib64/ld-linux-x86-64.so.2")
    if not genuine.exists():
        raise NotTried(f"no {genuine} here")
    with arena_directory(arena) as place:
        (place / "usual").mkdir()
        usual, loader = build_program(place / "usual"), place / "ld.so"
        loader.write_bytes(genuine.read_bytes())
        loader.chmod(0o755)
        path = build_program(place, f"-Wl,--dynamic-linker={loader}")
        listed = (loader, path, place / "libown.so")
        foreign = build(place, "foreign", LOADER, "-shared", "-fPIC", "-nostdlib", "-Wl,-e,_start")
        with measured(arena, usual, listed) as manifest:
            check_control(arena, path, manifest)
            loader.unlink()
            loader.write_bytes(foreign.read_bytes())
            loader.chmod(0o755)
            return slipped(arena, path, {}, manifest, place)


def race_start(arena: Arena) -> Attempt:
    """Seize it at many moments of its start; it counts if it runs although it is traced."""
    won = 0
    for attempt in range(ATTEMPTS):
        secret = Secret.fresh("battery").value
        with arena.started(VICTIM, secret) as target:
            target.tell(secret.decode())
            time.sleep(attempt * MOMENT)
            try:
                calls.seize(target.pid)
            except OSError:
                continue
            won += 1
            if runs_on(target):
                return succeeded("it took its secret while it was traced")
    return failed(f"{ATTEMPTS} starts: {won} times first, and then nothing ran; else refused")


def runs_on(target: Target) -> bool:
    """Let a traced process go on at each stop; whether it gets as far as taking its secret."""
    limit = time.monotonic() + RACE_SECONDS
    while time.monotonic() < limit:
        try:
            found, status = os.waitpid(target.pid, WALL | os.WNOHANG)
        except ChildProcessError:
            return False
        if found and not os.WIFSTOPPED(status):
            return False
        if found:
            number = os.WSTOPSIG(status)
            with contextlib.suppress(OSError):
                calls.continued(target.pid, 0 if number == 5 else number)
        elif target.is_ready():
            return True
        time.sleep(0.002)
    return False


def race_text(arena: Arena) -> Attempt:
    """Write into code from the first moment; it counts if a write was taken and the program then runs."""
    taken = 0
    for _ in range(TEXT_ATTEMPTS):
        secret = Secret.fresh("battery").value
        with arena.started(VICTIM, secret) as target:
            target.tell(secret.decode())
            won = wait_for(lambda target=target: writes_text(target) or target.is_ready(), RACE_SECONDS, 0.0)  # type: ignore[misc]
            if not won or (target.is_ready() and not writes_text(target)):
                continue
            taken += 1
            if wait_for(target.is_ready, RACE_SECONDS):
                return succeeded("code was written before it was sealed")
    return failed(f"{TEXT_ATTEMPTS} starts, {taken} writes taken, after which nothing ran")


def writes_text(target: Target) -> bool:
    """Write the first word of each mapping of code once more; whether a write was taken."""
    for mapping in maps_of(target.pid):
        if "x" in mapping.permissions and not mapping.path.startswith("["):
            with contextlib.suppress(OSError, OverflowError):
                word = mem_read(target.pid, mapping.start, 8)
                if mem_write(target.pid, mapping.start, word) > 0:
                    return True
    return False


def race_fork(arena: Arena) -> Attempt:
    """Seize children as they come."""
    with arena.target(built_in=True) as target:
        target.tell("fork")
        tried, limit = set[int](), time.monotonic() + RACE_SECONDS
        while time.monotonic() < limit and not target.said(b"forked"):
            for word in shown(target.pid, f"task/{target.pid}/children").decode().split():
                tried.add(int(word))
                try:
                    calls.seize(int(word))
                except OSError:
                    continue
                calls.detach(int(word), running=True)
                return succeeded("a child was seized")
        if not tried:
            raise NotTried("no child was seen")
        return failed(f"{len(tried)} children, none could be seized")


def preload(place: Path) -> dict[str, str]:
    """LD_PRELOAD."""
    return {"LD_PRELOAD": str(place / "libown.so")}


def audit(place: Path) -> dict[str, str]:
    """LD_AUDIT."""
    return {"LD_AUDIT": str(place / "libown.so")}


def nothing_but_the_directory(_place: Path) -> dict[str, str]:
    """An empty entry of LD_LIBRARY_PATH means the working directory."""
    return {"LD_LIBRARY_PATH": ":"}


def library_path(place: Path) -> dict[str, str]:
    """LD_LIBRARY_PATH."""
    return {"LD_LIBRARY_PATH": str(place)}


LD = "ld.so(8)"
STARTING = (
    Attack(name="ld-preload", what="LD_PRELOAD of a strict program", source=LD, run=slipping(preload)),
    Attack(name="ld-audit", what="LD_AUDIT of a strict program", source=LD, run=slipping(audit)),
    Attack(name="library-path", what="LD_LIBRARY_PATH with a foreign library", source=LD, run=slipping(library_path)),
    Attack(
        name="hostile-directory",
        what="a library in the working directory",
        source=LD,
        run=slipping(nothing_but_the_directory),
    ),
    Attack(name="interpreter", what="replace the loader's file", source="elf(5), PT_INTERP", run=interpreter),
    Attack(name="race-start", what="seize it before the guard does", source="ptrace(2)", run=race_start),
    Attack(
        name="race-text",
        what="write into code before it is sealed",
        source="proc_pid_mem(5)",
        run=race_text,
        declared="the first milliseconds",
    ),
    Attack(name="race-fork", what="seize children before the guard does", source="ptrace(2)", run=race_fork),
)
