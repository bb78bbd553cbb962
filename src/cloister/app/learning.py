"""A configuration from a run: what a program opened, executed, wrote, listened on, and which variables it may read.

The run is in the software enclave, whose runtime records files (runtime/src/learn.c). Where the kernel's tracepoints
can be used, its system calls tell ports and threads, too. Reading a variable is no system call: a variable counts as
read if its name stands in a file that the program loaded or read.
"""

import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cloister.app.measuring import Found, Seen, found_in, run_learning
from cloister.frameworks.danger import called_like_a_secret
from cloister.frameworks.model import Backing, Configuration, Item, MeasuredFile, Mount, Variable
from cloister.launch.command import find_program
from cloister.observe.trace import NameKind, Options, Stop, Trace, Tracer
from cloister.observe.trace.tracefs import why_unavailable
from cloister.quantities import counted, human_size

__all__ = ["Learned", "Network", "describe", "learn_configuration", "variables_in", "without_digests"]

PASSING: Final = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108 - directories that hold nothing for long
DEVICES: Final = re.compile(r"/(proc|sys|dev(?!/shm/))/")
SEALED: Final = "_sgx_mrenclave"
"""Gramine's key that only this program on this processor gets."""
OWN_THREADS: Final = 4
GRACE_SECONDS: Final = 10.0
"""What a program has to end after SIGTERM."""
LEAST_MEMORY: Final = 256 << 20
LARGEST_FILE: Final = 64 << 20
STARTS_TASKS: Final = frozenset({"clone", "clone3", "fork", "vfork"})
WORD: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
NEVER_NEEDED: Final = frozenset({"_", "OLDPWD", "PWD", "SHLVL"})


@dataclass(kw_only=True)
class Network:
    """What was seen of ports; `unseen` says why nothing could be."""

    listening: tuple[str, ...] = ()
    spoken: tuple[str, ...] = ()
    tasks: int | None = None
    unseen: str = ""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What came of a run: the configuration with a note for each item, and what no configuration has a place for."""

    configuration: Configuration
    found: Found
    network: Network
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Variables that are not in it, by why."""

    def remarks(self) -> Iterator[str]:
        """What a person must know beside the configuration, a line each."""
        for where in self.network.listening:
            yield f"listens on {where}: no framework restricts ports; a shield policy does (--to cloister-shield)"
        for where in self.network.spoken:
            yield f"spoke with {where}: what goes there must be TLS, with certificates that are measured"
        if self.network.unseen:
            yield f"ports were not observed: {self.network.unseen}"
        for name, why in self.left_out.items():
            yield f"the variable {name} is left out: {why}"


def learn_configuration(
    name: str, arguments: Sequence[str], *, trace: bool, stdout: int | None = None, timeout: float | None = None
) -> Learned:
    """Run a program to its end, or end it after `timeout` seconds, and describe what it used."""
    network = Network(unseen="" if trace else "not asked for")
    if trace and (missing := why_unavailable()):
        network.unseen = missing
    before = _peak()

    def start(command: Sequence[str]) -> int:
        with _outliving_the_terminal():
            if network.unseen:
                return _untraced(command, stdout, timeout)
            return _traced(command, network, stdout, timeout)

    status, seen = run_learning(name, arguments, start)
    found = found_in(name, seen, status, read_files=True)
    return describe(name, arguments, seen, found, network, peak=_peak() if _peak() > before else 0)


@contextmanager
def _outliving_the_terminal() -> Iterator[None]:
    """Ctrl-C is the program's, which ends by it: what it used is written nevertheless.

    Not ignored, for a program inherits what is ignored: a handler that does nothing becomes the default in it.
    """
    keys = (signal.SIGINT, signal.SIGQUIT)
    former = {key: signal.getsignal(key) for key in keys}
    for key in keys:
        if former[key] is not signal.SIG_IGN:
            signal.signal(key, lambda *_: None)
    try:
        yield
    finally:
        for key in keys:
            signal.signal(key, former[key])


def _untraced(command: Sequence[str], stdout: int | None, timeout: float | None) -> int:
    with subprocess.Popen(command, stdout=stdout) as running:
        try:
            return running.wait(timeout)
        except subprocess.TimeoutExpired:
            running.terminate()
        try:
            return running.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            return running.wait()


def _traced(command: Sequence[str], network: Network, stdout: int | None, timeout: float | None) -> int:
    tracer = Tracer.program(list(command), secrets={}, stdout=stdout, options=Options(keep=False))
    tracer.start()
    try:
        trace = tracer.wait(timeout)
    except TimeoutError:
        os.kill(tracer.pid, signal.SIGTERM)
        try:
            trace = tracer.wait(GRACE_SECONDS)
        except TimeoutError:
            tracer.stop(Stop.KILL)
            trace = tracer.wait(GRACE_SECONDS)
    _see(trace, network)
    return trace.status if isinstance(trace.status, int) else 0


def _see(trace: Trace, network: Network) -> None:
    places = [one.text for one in trace.summary.of_kind(NameKind.DESTINATION) if not one.text.startswith("unix:[")]
    network.listening = tuple(sorted({one.removesuffix(" (listening)") for one in places if "(listening)" in one}))
    network.spoken = tuple(sorted({one for one in places if "->" in one}))
    if not places and "listen" in trace.summary.counts:
        network.unseen = "the program listened, and ended before anybody could look where; learn from a longer run"
    elif not network.spoken and "connect" in trace.summary.counts:
        network.unseen = "the program connected, and was through before anybody could look where; add where that was"
    network.tasks = sum(count.calls for name, count in trace.summary.counts.items() if name in STARTS_TASKS)


def _peak() -> int:
    """The largest resident set of any child so far, in bytes (getrusage(2))."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10


def describe(name: str, arguments: Sequence[str], seen: Seen, found: Found, network: Network, *, peak: int) -> Learned:
    """The configuration of what was seen."""
    program = os.path.abspath(find_program(name))  # noqa: PTH100 - links are followed when it is opened, not here
    notes: dict[Item, str] = {
        ("program", ""): "what was run",
        ("arguments", ""): "as they were given; nobody else can give others",
        ("debug", ""): "a debug enclave protects nothing",
        ("attestation", ""): "so that others can verify what runs",
        ("log_level", ""): "more would tell the host what happens inside",
        ("working_directory", ""): "where it was run",
    }
    files = {program: MeasuredFile((program,), found.measured.executable.hex())}
    listed = sorted(found.measured.manifest.files.items(), key=lambda one: (found.notes.get(one[0], ""), one[0]))
    files |= {path: MeasuredFile((path,), digest.hex()) for path, digest in listed}
    notes |= {("measured_files", path): found.notes.get(path, "the program itself") for path in files}
    variables, left_out = _variables(files, notes)
    configuration = Configuration(
        program=program,
        argument_zero=None if name == program else name,
        arguments=tuple(arguments),
        working_directory=str(Path.cwd()),
        environment=variables,
        measured_files=files,
        mounts=_mounts(seen.written, files, notes),
        memory=_memory(peak, notes),
        threads=_threads(network, notes),
        debug=False,
        attestation="dcap",
        log_level="error",
        notes=notes,
    )
    return Learned(configuration=configuration, found=found, network=network, left_out=left_out)


def _memory(peak: int, notes: dict[Item, str]) -> int:
    size = max(LEAST_MEMORY, 1 << max(0, 2 * peak - 1).bit_length())
    seen = f"{human_size(peak)} were in use at most" if peak else "what was in use is not known"
    notes["memory", ""] = f"{seen}; take more if other input needs it"
    return size


def _threads(network: Network, notes: dict[Item, str]) -> int | None:
    if network.tasks is None:
        return None
    started = counted(network.tasks, "thread or process", "threads or processes")
    notes["threads", ""] = f"{started} started, and {OWN_THREADS} for the program and its framework"
    return OWN_THREADS + network.tasks


def _mounts(written: Iterable[str], files: Mapping[str, MeasuredFile], notes: dict[Item, str]) -> dict[str, Mount]:
    """A place for everything that was written: memory, or encrypted files."""
    mounts = {"/": Mount(Backing.MAPPED, "/")}
    notes["mounts", "/"] = "paths are those of the host; only what is listed below can be opened"
    for path in sorted(written):
        if DEVICES.match(path):
            continue
        where, passing = _place(path, files)
        if where not in mounts:
            mounts[where] = Mount(Backing.MEMORY) if passing else Mount(Backing.ENCRYPTED, where, SEALED)
            why = "what is there goes with the program" if passing else "the host sees ciphertext"
            notes["mounts", where] = f"written: {path}; {why}"
    return mounts


def _place(path: str, files: Iterable[str]) -> tuple[str, bool]:
    """What to mount so that `path` can be written, hiding no listed file; and whether it may be memory."""
    passing = next((one for one in PASSING if path.startswith(f"{one}/")), None)
    directory = str(Path(path).parent)
    for where in (passing, directory):
        if where not in {None, "/"} and not any(one.startswith(f"{where}/") for one in files):
            return str(where), passing is not None
    return path, False


def _variables(files: Iterable[str], notes: dict[Item, str]) -> tuple[dict[str, Variable], dict[str, str]]:
    """The variables that some file of the program names, with their values of now; those left out, and why."""
    names = [name for name in os.environ if name not in NEVER_NEEDED]
    mentioned = variables_in(files, names)
    kept: dict[str, Variable] = {}
    left_out: dict[str, str] = {}
    for name, path in mentioned.items():
        if called_like_a_secret(name):
            left_out[name] = "it is called like a secret; release it by attestation (cloister serve)"
            continue
        kept[name] = Variable(os.environ[name])
        notes["environment", name] = f"named in {path}; the value of this run"
    return kept, left_out


def variables_in(files: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Which of these names stand in a file as a word, and in which first."""
    found: dict[str, str] = {}
    for path in files:
        wanted = [name for name in names if name not in found]
        if not wanted:
            break
        try:
            data = Path(path).read_bytes() if Path(path).stat().st_size <= LARGEST_FILE else b""
        except OSError:
            continue
        found |= {name: path for name in wanted if _is_word(os.fsencode(name), data)}
    return {name: found[name] for name in names if name in found}


def _is_word(name: bytes, data: bytes) -> bool:
    at = data.find(name)
    while at >= 0:
        end = at + len(name)
        if data[at - 1 : at] not in LETTERS and data[end : end + 1] not in LETTERS:
            return True
        at = data.find(name, end)
    return False


LETTERS: Final = frozenset(bytes([one]) for one in WORD)


def without_digests(configuration: Configuration) -> Configuration:
    """The same with files by path only: signing tools of the frameworks compute the digests."""
    files = {path: replace(file, sha256=None) for path, file in configuration.measured_files.items()}
    return replace(configuration, measured_files=files)
