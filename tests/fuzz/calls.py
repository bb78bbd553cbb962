"""Random programs of system calls, run natively and in the enclave: `python -m tests.fuzz.calls [--seconds 120]`.

What differs is made small and written down as a program, which `--again FILE` shows once more.
"""

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.launch.runtime_file import runtime_path

__all__ = [
    "ARMS", "FOUND", "HOW", "PROFILES", "SOURCES", "Difference", "Program", "Runner", "alike", "built", "compared",
    "generated", "main", "shrunk",
]  # fmt: skip

SOURCES: Final = Path(__file__).with_name("calls_program")
FOUND: Final = Path(__file__).with_name("calls_found")
"""Programs that once differed, each as small as it would get."""
HOW: Final = {
    "dynamic": ("cc", "-pthread"),
    "static": ("cc", "-static", "-pthread"),
    "musl": ("musl-gcc", "-static", "-pthread"),
}
ARMS: Final = {"guarded": (), "unguarded": ("--unsafe-no-guard",)}
"""How the enclave runs, by its options."""
SECONDS: Final = 10
PLACE: Final = "{place}"
"""In a command: the directory that a run has for itself."""
POLICY: Final = """
[shield]
unsafe_open_files = true
unsafe_open_network = true
[[shield.files]]
path = "{path}"
kind = "memory"
"""
SHIELDED: Final = (
    *(sys.executable, "-m", "cloister", "run", "--quiet", "--shield", f"{PLACE}/shield.toml", "--"),
    *("/bin/sh", "-c", 'cd "$0" && exec /usr/bin/env -i A=1 "$@"', f"{PLACE}/files"),
)
"""The program's files are those of a region: it works there, with the environment that it has natively."""
PROFILES: Final = {
    "memory": """
        map 30 unmap 10 protect 20 move 8 resize 8 away 4 advise 14 sync 4 residency 2 invalid 4 fill 20 look 2
        access 6 fork 2 futex 2 segment 3
    """,
    "places": """
        region 14 touch 24 trim 10 guard 8 grow 10 discard 8 break 12 stack 1 fork 2 map 5 fill 3 execute 1
    """,
    "files": """
        open 20 pipe 8 close 8 dup 10 flags 4 bytes 40 position 8 truncate 5 between 8 give 4 status 4 ready 3
        limit 1 files 1 map 16 unmap 4 protect 8 fill 12 fork 1 execute 1 sync 2 names 2
    """,
    "signals": """
        action 20 action_at 10 mask 14 raise 30 pending 4 suspend 8 take 5 other_stack 8 access 10 map 8 unmap 3
        protect 4 fork 3 borrow 3 execute 1 wait 4 child 2 under_fire 1
    """,
    "processes": """
        fork 14 child 6 borrow 8 execute 3 registers 4 waits 4 names 4 map 12 fill 10 protect 4 action 5 mask 3
        open 4 pipe 3 dup 2 region 4 touch 6 break 2 raise 3
    """,
    "children": """
        fork 30 bytes 16 open 10 pipe 6 position 4 map 14 fill 12 protect 6 unmap 3 move 3 write 8 access 4 touch 8
        region 6 trim 2 break 3 stack 2 action 6 mask 4 raise 8 take 2 other_stack 3 wait 3 under_fire 1 child 5
        borrow 4 execute 3 dup 3 close 3 files 1 ready 2 waits 3 names 2 registers 3 futex 5 threads 3 give 1
        limit 1 look 4 offspring 4
    """,
    "threads": """
        threads 14 map 20 unmap 6 protect 10 move 6 resize 4 away 4 write 14 region 8 touch 12 trim 6 guard 3
        grow 4 discard 4 raise 6 action 4 mask 3 futex 10 registers 2 fork 2 execute 1 invalid 1
        offspring 8
    """,
}
"""Operations, and how often they are drawn."""


@dataclass(frozen=True)
class Program:
    """Lines of a name and numbers."""

    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first line that two logs do not share."""

    arm: str
    native: str
    enclaved: str

    @property
    def operation(self) -> str:
        """What was done there: shrinking keeps to it, so that one difference does not turn into another."""
        words = (self.native or self.enclaved).replace("|", " ").split()
        return next((word for word in words if word.endswith(":")), "")


def built(directory: Path, how: str, sources: Path = SOURCES) -> Path:
    """The program, compiled once."""
    target = directory / f"calls-{how}"
    if not target.exists():
        files = [str(path) for path in sorted(sources.glob("*.c"))]
        command = [*HOW[how], "-O1", "-g", "-Wall", "-o", str(target), *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(done.stderr)
    return target


def generated(seed: int, profile: str, count: int = 40, *, shielded: bool = False) -> Program:
    """The program of a seed; for shielded files it leaves out what is known to differ there."""
    chance = random.Random(f"{profile} {seed}")  # noqa: S311 - repeatable is what it must be
    words = PROFILES[profile].split()
    names = chance.choices(words[::2], [int(weight) for weight in words[1::2]], k=count)
    lines = [" ".join([name, *(str(number(chance)) for _ in range(6))]) for name in names]
    return Program((f"arena {seed % 2}{' 1' * shielded}", *lines))


def number(chance: random.Random) -> int:
    """Small ones are more likely: they meet each other."""
    return chance.randrange(chance.choice((4, 16, 64, 4096, 1 << 20)))


def limits() -> None:
    """In the child: no core file, no endless loop. A limit of file sizes would hold for secret memory, too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))


def log_of(command: Sequence[str], program: Program, *more: str) -> list[str]:
    """What a run says, in a directory of its own, and how it ended."""
    with tempfile.TemporaryDirectory(prefix="calls-") as place:
        text = Path(place) / "program"
        text.write_text(program.text)
        (Path(place) / "files").mkdir()
        (Path(place) / "shield.toml").write_text(POLICY.format(path=f"{place}/files"))
        words = [word.replace(PLACE, place) for word in command]
        is_shielded = words != list(command)
        with subprocess.Popen(
            [*words, str(text), "0", "0", *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd=f"{place}/files", env=dict(os.environ) if is_shielded else {"A": "1"},
            start_new_session=True,
            preexec_fn=limits,  # noqa: PLW1509 - this program has one thread
        ) as process:  # fmt: skip
            try:
                output, _ = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                end_all(process.pid)
                output = process.communicate()[0] + b"hangs\n"
            end_all(process.pid)
    return [*output.decode(errors="replace").split("\n"), f"status: {process.returncode}"]


def end_all(session: int) -> None:
    """What a run has left behind, should it have left anything."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Runner:
    """A compiled program, and the commands that run it natively and otherwise."""

    binary: Path
    arms: Mapping[str, Sequence[str]]

    @classmethod
    def enclaved(cls, binary: Path, *arms: str) -> "Runner":
        """In these arms, or in all."""
        words = [str(binary), str(binary)]
        return cls(
            binary=binary, arms={arm: [str(runtime_path()), *ARMS[arm], "--", *words] for arm in arms or tuple(ARMS)}
        )

    @classmethod
    def shielded(cls, binary: Path) -> "Runner":
        """In a directory that is shielded."""
        return cls(binary=binary, arms={"shielded": [*SHIELDED, str(binary)]})

    def native_log(self, program: Program, *more: str) -> list[str]:
        """Of a run without an enclave."""
        return log_of([str(self.binary)], program, *more)

    def log(self, arm: str, program: Program, *more: str) -> list[str]:
        """Of a run in this arm."""
        return log_of(self.arms[arm], program, *more)

    def difference(self, program: Program) -> Difference | None:
        """The first difference to the native log. A native log that is not always the same says nothing."""
        native = self.native_log(program)
        for arm in self.arms:
            found = compared(arm, native, self.log(arm, program))
            if found is not None:
                return None if compared(arm, native, self.native_log(program)) else found
        return None


def compared(arm: str, native: Sequence[str], enclaved: Sequence[str]) -> Difference | None:
    """Line by line."""
    for one, other in zip(native, enclaved, strict=False):
        if one != other:
            return Difference(arm=arm, native=one, enclaved=other)
    if len(native) == len(enclaved):
        return None
    return Difference(arm=arm, native="(ends)", enclaved="(ends elsewhere)")


def shrunk(program: Program, differs: Callable[[Program], bool]) -> Program:
    """A program with fewer lines and smaller numbers that still differs."""
    size = max(1, len(program.lines) // 2)
    while size:
        at = 1
        while at < len(program.lines):
            fewer = Program(program.lines[:at] + program.lines[at + size :])
            if differs(fewer):
                program = fewer
            else:
                at += size
        size //= 2
    for index, line in enumerate(program.lines[1:], 1):  # the first says what all others leave out
        for shorter in simpler(line):
            changed = Program((*program.lines[:index], shorter, *program.lines[index + 1 :]))
            if differs(changed):
                program = changed
                break
    return program


def simpler(line: str) -> Iterator[str]:
    """The line with fewer numbers."""
    words = line.split()
    for count in range(1, len(words)):
        yield " ".join(words[:count])


def main() -> int:
    """Until the time is over, or something is found."""
    made = argparse.ArgumentParser(prog="python -m tests.fuzz.calls", description="Fuzz the runtime's system calls.")
    made.add_argument("--seconds", type=float, default=120)
    made.add_argument("--seed", type=int, default=None, help="the first seed (default: by the clock)")
    made.add_argument("--found", type=Path, default=Path(), help="the directory for programs that differ")
    made.add_argument("--again", type=Path, help="run this one program, and show where the logs part")
    made.add_argument("--most", type=int, default=1, help="stop after so many differences (default: 1)")
    made.add_argument("--profiles", type=lambda text: text.split(","), default=[*PROFILES])
    made.add_argument("--how", type=lambda text: text.split(","), default=[*HOW])
    args = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="calls-") as place:
        binaries = [built(Path(place), how) for how in args.how if shutil.which(HOW[how][0])]
        if args.again:
            return again(binaries, Program(tuple(args.again.read_text().splitlines())))
        return search(binaries, args)


def again(binaries: Sequence[Path], program: Program) -> int:
    """Everything that is seen in both arms, up to where they part."""
    for binary in binaries:
        runner = Runner.enclaved(binary)
        native = runner.native_log(program, "verbose")
        for arm in runner.arms:
            enclaved = runner.log(arm, program, "verbose")
            if compared(arm, native, enclaved) is None:
                say(f"{binary.name} {arm}: the same")
                continue
            at = next(i for i, lines in enumerate(zip(native, enclaved, strict=False)) if lines[0] != lines[1])
            say(f"{binary.name} {arm}:", *native[:at], "natively:", native[at], "enclaved:", enclaved[at])
            return 1
    return 0


def search(binaries: Sequence[Path], args: argparse.Namespace) -> int:
    """One program after the other; under the guard, where every signal takes long, each fifth."""
    end, seed, tried, found = time.monotonic() + args.seconds, args.seed or int(time.time()) << 12, 0, 0
    while time.monotonic() < end and found < args.most:
        profile = args.profiles[seed % len(args.profiles)]
        binary = binaries[seed // len(args.profiles) % len(binaries)]
        runner = Runner.enclaved(binary, "guarded" if seed % 5 == 0 else "unguarded")
        program = generated(seed, profile)
        seen = runner.difference(program)
        if seen:
            found += 1
            path = args.found / f"crash-{profile}-{seed}-{binary.name}"
            path.write_text(shrunk(program, alike(runner, seen)).text)
            say(str(seen), f"Test unit written to {path}")  # as libFuzzer has it
        seed += 1
        tried += 1
    say(f"stat::number_of_executed_units: {tried}")
    return 1 if found else 0


def say(*lines: str) -> None:
    """For a person, and for the log."""
    print(*lines, sep="\n", flush=True)  # noqa: T201 - what was asked for


def alike(runner: Runner, seen: Difference) -> Callable[[Program], bool]:
    """Whether a program differs where another did."""

    def differs(program: Program) -> bool:
        found = runner.difference(program)
        return found is not None and found.operation == seen.operation

    return differs


if __name__ == "__main__":
    sys.exit(main())
