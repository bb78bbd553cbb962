"""Random ELF files, run natively and in the enclave: `python -m tests.fuzz.elf_files [--seconds 120]`.

No file may crash the loader: what it gets is a clear refusal, or the program runs as it does natively. What differs is
written down, and `--again DIRECTORY` shows it once more.
"""

import argparse
import contextlib
import errno
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tests.fuzz.calls import ARMS, say
from tests.fuzz.elf_changes import changed

from cloister.launch.command import RuntimeOptions
from cloister.launch.runtime_file import runtime_path
from cloister.measure.software import Manifest

__all__ = [
    "BASES", "STRICT", "Case", "Verdict", "arm_of", "bases", "complaint", "generated", "main", "run", "wrong_in",
]  # fmt: skip

SOURCES: Final = Path(__file__).with_name("elf_program")
OWN: Final = "-Wl,--dynamic-linker=./interpreter"
BASES: Final[dict[str, tuple[str, ...]]] = {
    "bare": ("cc", "-nostdlib", "-static", "-fno-stack-protector", "bare.c"),
    "bare-pie": ("cc", "-nostdlib", "-static-pie", "-fpie", "-fno-stack-protector", "bare.c"),
    "dynamic": ("cc", OWN, "told.c"),
    "fixed": ("cc", "-no-pie", OWN, "told.c"),
    "static": ("cc", "-static", "told.c"),
    "musl": ("musl-gcc", "-static", "told.c"),
    "opens": ("cc", "opens.c"),
}
LIBRARY: Final = ("cc", "-shared", "-fPIC", "library.c")
LOADER: Final = Path("/lib64/ld-linux-x86-64.so.2")
LIBRARIES: Final = (LOADER, Path("/lib/x86_64-linux-gnu/libc.so.6"), Path("/etc/ld.so.cache"))
STRICT: Final = "strict"
"""An arm besides those of calls.py: everything is measured."""
SECONDS: Final = 10
USER: Final = 64001
"""Nobody's: whatever a broken program does, it does to nothing."""
SETPRIV: Final = [
    "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--bounding-set=-all,+ipc_lock",
    "--inh-caps=-all,+ipc_lock", "--ambient-caps=-all,+ipc_lock", "--",
]  # fmt: skip
"""The same with what secret memory needs."""
REFUSALS: Final = {121, 126, 127}
"""docs/exit-codes.md: what is said of a program that is not started."""
STACK: Final = "cannot enable executable stack"
"""glibc's words when a library asks for one, which an enclave does not give."""
MOST_OUTPUT: Final = 1 << 16
DONE: Final = 7


@dataclass(frozen=True)
class Case:
    """The files of a directory: a program, and what it is interpreted by or loads. `changed` is one of them."""

    base: str
    files: dict[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a start ended: refused, by which error; or the status (negative: a signal) and the output.

    `began` is false if the process had the seccomp filters of its parent to its end: then the enclave's loader has not
    come as far as the program.
    """

    refused: int = 0
    status: int = 0
    output: str = ""
    errors: str = ""
    hangs: bool = False
    began: bool = True

    @property
    def ran(self) -> bool:
        """To its end, as programs here do."""
        return not self.refused and self.status == DONE


def bases(directory: Path) -> dict[str, bytes]:
    """The files that are changed, by name."""
    made = {}
    for name, words in {**BASES, "library.so": LIBRARY}.items():
        if shutil.which(words[0]):
            target = directory / name
            source = str(SOURCES / words[-1])
            done = subprocess.run(
                [*words[:-1], "-O1", "-o", str(target), source], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise AssertionError(done.stderr)
            made[name] = target.read_bytes()
    made["interpreter"] = LOADER.read_bytes()
    return made


def generated(seed: int, whole: dict[str, bytes]) -> Case:
    """The files of a seed."""
    chance = random.Random(f"elf {seed}")  # noqa: S311 - repeatable is what it must be
    base = chance.choice([name for name in BASES if name in whole])
    files = {"program": whole[base], "script": b"#!./other\n", "other": whole["bare"]}
    if base in {"dynamic", "fixed"}:
        files["interpreter"] = whole["interpreter"]
    if base == "opens":
        files["library.so"] = whole["library.so"]
    inner = files.keys() & {"interpreter", "library.so"}
    name = next(iter(inner)) if inner and (base == "opens" or chance.random() < 0.5) else "program"
    files[name] = changed(files[name], chance)
    return Case(base, files)


def limits() -> None:
    """In the child: no core file and no endless loop."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (2, 3))


def become_nobody() -> None:
    """In the child."""
    limits()
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)


def command_of(arm: str | None, manifest: int) -> list[str]:
    """Natively if no arm is named."""
    if arm is None:
        return ["./program"]
    who = [] if os.geteuid() else SETPRIV
    options = RuntimeOptions(manifest_fd=manifest).words() if arm == STRICT else ARMS[arm]
    return [*who, str(runtime_path()), *options, "--", "./program", "./program"]


def manifest_of(place: Path) -> bytes:
    """All files of a case, and what the C library reads."""
    listed = [*place.iterdir(), *(path for path in LIBRARIES if path.exists())]
    return Manifest({str(path): hashlib.sha256(path.read_bytes()).digest() for path in listed}).serialize()


@contextlib.contextmanager
def descriptor_of(data: bytes) -> Iterator[int]:
    """A descriptor that delivers these bytes."""
    descriptor = os.memfd_create("manifest")
    try:
        os.write(descriptor, data)
        yield descriptor
    finally:
        os.close(descriptor)


def placed(case: Case, place: Path) -> None:
    """Writes the files where everybody may execute them."""
    place.chmod(0o755)
    for name, data in case.files.items():
        (place / name).write_bytes(data)
        (place / name).chmod(0o755)


def run(case: Case, arm: str | None) -> Verdict:
    """In an arm, or natively if it is None; as a user without rights where that is possible."""
    begin = become_nobody if arm is None and os.geteuid() == 0 else limits
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="elf-")))
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        placed(case, place)
        manifest = stack.enter_context(descriptor_of(manifest_of(place) if arm == STRICT else b""))
        try:
            process = subprocess.Popen(
                command_of(arm, manifest), stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=place, env={},
                pass_fds=[manifest], start_new_session=True,
                preexec_fn=begin,  # noqa: PLW1509 - this program has one thread
            )  # fmt: skip
        except OSError as error:
            return Verdict(refused=error.errno or errno.EIO)
        hangs = not has_ended(process.pid)
        began = filters(process.pid) > filters(os.getpid())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return Verdict(status=process.returncode, output=told(out), errors=told(err), hangs=hangs, began=began)


def has_ended(pid: int) -> bool:
    """Waits for that, but leaves what /proc has about it."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            return True
        time.sleep(0.002)
    return False


def filters(pid: int) -> int:
    """How many seccomp filters a process has or had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("Seccomp_filters:")[2].split()[0])


def told(file: IO[bytes]) -> str:
    """What was written there, as far as it is worth reading."""
    file.seek(0)
    return file.read(MOST_OUTPUT).decode(errors="replace")


def complaint(native: Verdict, enclaved: Verdict) -> str:
    """What is wrong with the enclave's verdict; empty if nothing is.

    A clear refusal always will do: the runtime is stricter than the kernel about headers that contradict each other,
    and a strict enclave about what it may execute. What fails natively may do anything of its own: broken files mean
    what happens to stand beside them, and in an enclave other things do.
    """
    told = "cloister: " in enclaved.errors or STACK in enclaved.output
    if not enclaved.began and not (told and enclaved.status in REFUSALS):
        return "ended in the loader, without a documented refusal"
    if enclaved.hangs and not native.hangs:
        return "hangs"
    if native.refused and enclaved.began and not enclaved.ran:
        return "refused natively, but started"
    if not native.ran or (told and enclaved.status >= 0):
        return ""
    return (
        "" if (enclaved.status, enclaved.output) == (native.status, native.output) else "runs natively, but otherwise"
    )


def main() -> int:
    """Until the time is over, or something is found."""
    made = argparse.ArgumentParser(prog="python -m tests.fuzz.elf_files", description="Fuzz the runtime's loader.")
    made.add_argument("--seconds", type=float, default=120)
    made.add_argument("--seed", type=int, default=None, help="the first seed (default: by the clock)")
    made.add_argument("--found", type=Path, default=Path(), help="the directory for what was found")
    made.add_argument("--most", type=int, default=1, help="stop after so many (default: 1)")
    made.add_argument("--again", type=Path, help="a directory that was found")
    args = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="elf-") as place:
        if args.again:
            return again(Case("found", {path.name: path.read_bytes() for path in args.again.iterdir()}))
        return search(bases(Path(place)), args)


def again(case: Case) -> int:
    """All verdicts on the files of a directory."""
    native = run(case, None)
    say(f"natively: {native}")
    wrong = ""
    for arm in (*ARMS, STRICT):
        enclaved = run(case, arm)
        wrong = wrong or complaint(native, enclaved)
        say(f"{arm}: {enclaved}", complaint(native, enclaved) or "as it must be")
    return 1 if wrong else 0


def wrong_in(case: Case, arm: str) -> str:
    """The complaint about a case, if it is there twice."""
    native = run(case, None)
    found = complaint(native, run(case, arm))
    if found and run(case, None) == native and complaint(native, run(case, arm)) == found:
        return found
    return ""


def search(whole: dict[str, bytes], args: argparse.Namespace) -> int:
    """One case after the other, in each arm by turns."""
    first = Case("bare", {"program": whole["bare"]})
    for arm in (None, *ARMS, STRICT):
        if not run(first, arm).ran:
            sys.exit(f"an unchanged program does not run ({arm or 'natively'}): {run(first, arm)}")
    end, seed, tried, found = time.monotonic() + args.seconds, args.seed or int(time.time()) << 12, 0, 0
    while time.monotonic() < end and found < args.most:
        case, arm = generated(seed, whole), arm_of(seed)
        wrong = wrong_in(case, arm)
        if wrong:
            found += 1
            path = args.found / f"crash-{seed}-{case.base}-{arm}"
            path.mkdir(exist_ok=True)
            placed(case, path)
            say(f"seed {seed} {case.base} {arm}: {wrong}", f"Test unit written to {path}")
        seed += 1
        tried += 1
    say(f"stat::number_of_executed_units: {tried}")
    return 1 if found else 0


def arm_of(seed: int) -> str:
    """Mostly the quick one."""
    return {0: "guarded", 1: STRICT}.get(seed % 5, "unguarded")


if __name__ == "__main__":
    sys.exit(main())
