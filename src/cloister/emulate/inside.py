"""One program in one emulated TEE, as a process: what `cloister run --tee` starts inside the software enclave.

    python -m cloister.emulate.inside '{"tee": "sgx", ...}' PROGRAM [ARGS...]

Standard input and output are the owner's terminal. Everything that a real machine keeps on its die is in this process's
memory, which the software enclave keeps from the administrator; DRAM is a file, which the administrator may read.
"""

import contextlib
import errno
import json
import os
import select
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cloister.emulate.administration import Administrator
from cloister.emulate.attestation_files import provide_attestation
from cloister.emulate.catalogue import NATIVE, Kind, kind_of, native_kind
from cloister.emulate.control import ControlSocket
from cloister.emulate.machine import Ending, Machine, Shape
from cloister.emulate.symbols import symbols_of
from cloister.emulate.terminal import Terminal, sealed_terminal, unsafe_plain_terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import CannotEnclave, CloisterError, LaunchError, NotExecutable, NotFound, UsageError
from cloister.measure.image import PAGE, Architecture, Image, read_image
from cloister.quantities import human_size

__all__ = ["Request", "launched", "load_program", "main"]

MEBIBYTE: Final = 1 << 20
FEWEST_FRAMES: Final = 64
"""Pages of on-die memory below which a machine does nothing but move pages."""

NAMED: Final = 6
"""How many refused calls are named at the end."""

DISPENSABLE: Final = frozenset(
    {"clone3", "copy_file_range", "fadvise64", "membarrier", "rseq", "sendfile", "riscv_hwprobe", "riscv_flush_icache"}
)
"""Calls that C libraries and programs try, and do without where a kernel does not have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to run it in. `memory` is DRAM in MiB, `frames` pages of on-die memory.

    `dram`, `keys` and `host` are paths or empty; `host` is a socket on which the machine's administrator is heard.
    `quiet`: say nothing about how the program ended.
    """

    tee: str
    memory: int = 256
    frames: int = 2048
    dram: str = ""
    keys: str = ""
    host: str = ""
    debug: bool = False
    unsafe_plain_console: bool = False
    quiet: bool = False

    def words(self) -> str:
        """As the one argument that `main` reads."""
        return json.dumps(asdict(self))

    def command(self, words: Sequence[str], *options: str) -> list[str]:
        """The command line of the emulator that runs a program and its arguments; `options` are the interpreter's."""
        return [sys.executable, *options, "-m", "cloister.emulate.inside", self.words(), *words]

    @property
    def shape(self) -> Shape:
        """Sizes in pages. UsageError if they are no machine's."""
        if self.memory < 1:
            raise UsageError(f"--memory {self.memory}: give the machine at least 1 MiB of DRAM")
        if self.frames < FEWEST_FRAMES:
            raise UsageError(
                f"--frames {self.frames}: give the machine at least {FEWEST_FRAMES} pages of on-die memory"
            )
        return Shape(
            memory=self.memory * MEBIBYTE // PAGE, frames=self.frames, dram=Path(self.dram) if self.dram else None
        )


def main(arguments: Sequence[str]) -> int:
    """Run a program and return its exit status, or the exit code of the error that kept it from running."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # the program has no signals; the machine ends with it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # `cloister run` blocks it while this is starting
    closed = occupied_streams()
    request = Request(**json.loads(arguments[0]))
    try:
        ending, notes = run(request, arguments[1:], closed)
    except CloisterError as error:
        say(f"cloister run: {error}")
        return error.exit_code
    except OSError as error:  # of the emulator's own: the program's are answered inside the machine
        say(f"cloister run: the system refuses what the emulator needs: {error}; see `ulimit -a` and `df`")
        return LaunchError.exit_code
    if ending.stopped:
        say(f"cloister: the machine stopped the program: {ending.stopped}")
    if not request.quiet:
        for note in notes:
            say(f"cloister: {note}")
    return ending.status


def run(request: Request, words: Sequence[str], closed: frozenset[int] = frozenset()) -> tuple[Ending, list[str]]:
    """Launch and run to the end: how it ended, and what a person should know of that."""
    kind, program = kind_of(request.tee), located(words[0])
    make_terminal = unsafe_plain_terminal if request.unsafe_plain_console else sealed_terminal

    def read_input(size: int) -> bytes:
        """What is typed, as it comes. While nobody types, the caches drain into DRAM, and the host is heard."""
        refuse_closed(0, closed)
        if not select.select([0], [], [], 0)[0]:
            machine.settle()
        while control is not None and not control.serve_until(lambda: False, [0]):
            pass
        return os.read(0, size)

    terminal = make_terminal(
        read_input,
        lambda data: write_all(1, data, closed),
        lambda data: write_all(2, data, closed),
        directory=working_directory(),
        interactive=os.isatty(0) and os.isatty(1),
    )
    image = load_program(program)
    with enough_memory(request, image):
        machine = launched(kind, request, image, terminal)
    control = None
    try:
        control = administered(machine, request, program)
        with enough_memory(request, image):
            machine.start(words, os.environ)
        ending = machine.run()
        if not ending.stopped:
            machine.settle()  # who looks at DRAM's file afterwards finds what the program left
        return ending, list(notes(ending, machine, request))
    finally:
        if control is not None:
            control.close()
        machine.close()


def working_directory() -> Path:
    """Where the program starts. UsageError if it has been removed."""
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageError(f"the working directory is gone ({error.strerror}); cd to another") from error


def notes(ending: Ending, machine: Machine, request: Request) -> Iterator[str]:
    """What may have been the reason of a failure, in words; nothing after a success."""
    if ending.status == 0:
        return
    if ending.mistake:
        name = signal.Signals(ending.status - 128).name
        yield f"the program was ended by {name}: {ending.mistake}"
    refused = [name for name, _ in machine.shim.refused.most_common() if name not in DISPENSABLE]
    if refused:
        more = f" and {len(refused) - NAMED} more" if len(refused) > NAMED else ""
        yield (
            f"the program failed, and had asked for what emulated machines do not have: {', '.join(refused[:NAMED])}"
            f"{more} (there are no threads, processes, signal handlers or sockets)"
        )
    if machine.shim.starved:
        yield f"the program failed, and had been refused memory: give the machine more than --memory {request.memory}"


@contextlib.contextmanager
def enough_memory(request: Request, image: Image) -> Iterator[None]:
    """A program that does not fit: CannotEnclave says what to do about it."""
    try:
        yield
    except MemoryError as error:
        size = human_size(len(image.pages) * PAGE)
        raise CannotEnclave(
            f"the program takes {size} and does not fit, with its stack, into this machine ({error}): "
            f"give it more than --memory {request.memory}"
        ) from error


def administered(machine: Machine, request: Request, program: str) -> ControlSocket | None:
    """The socket of the machine's administrator, who knows the program's symbols. UsageError if it cannot be made."""
    if not request.host:
        return None
    return ControlSocket(Path(request.host), Administrator(machine, symbols_of(Path(program).read_bytes())))


def launched(kind: Kind, request: Request, image: Image, terminal: Terminal) -> Machine:
    """A machine with the image in it, and its attestation files. CannotEnclave if it is for another instruction set."""
    if kind is NATIVE:
        kind = native_kind(image.architecture)
    if image.architecture is not kind.architecture:
        raise CannotEnclave(
            f"this program is for {image.architecture}, and {kind.title} machines run {kind.architecture} programs: "
            f"compile it with {COMPILER[kind.architecture]} -static"
        )
    machine = kind.make(
        request.shape, terminal, Keystore(Path(request.keys)) if request.keys else Keystore(), debug=request.debug
    )
    try:
        machine.launch(image)
        provide_attestation(machine)
    except BaseException:
        machine.close()
        raise
    return machine


COMPILER: Final = {
    Architecture.X86_64: "gcc",
    Architecture.ARM64: "aarch64-linux-gnu-gcc",
    Architecture.RISCV64: "riscv64-linux-gnu-gcc",
}


def located(name: str) -> str:
    """The path of a program: a name without a slash is looked up in PATH. NotFound, NotExecutable."""
    path = name if "/" in name else shutil.which(name)
    if path is None:
        raise NotFound(f"{name}: no such program in PATH; give its path, for example ./{name}")
    if Path(path).is_file() and not os.access(path, os.X_OK):
        raise NotExecutable(f"{path}: you may not execute it; chmod +x {path}")
    return path


def load_program(name: str) -> Image:
    """The image of a program file. NotFound, CannotEnclave."""
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise NotFound(f"{name}: {error.strerror}; emulated machines take the program's path") from error
    if data.startswith(b"#!"):
        raise CannotEnclave(
            f"{name} is a script, and emulated machines run static programs: run one that interprets it, "
            f"for example /bin/busybox sh {name}"
        )
    return read_image(data, name)


def occupied_streams() -> frozenset[int]:
    """Which of the descriptors 0 to 2 are closed. They are taken, lest DRAM's file gets such a number."""
    closed = set[int]()
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            closed.add(number)
    return frozenset(closed)


def refuse_closed(descriptor: int, closed: frozenset[int]) -> None:
    """OSError EBADF, as natively, where the program was started without this descriptor."""
    if descriptor in closed:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def write_all(descriptor: int, data: bytes, closed: frozenset[int] = frozenset()) -> None:
    """What is printed."""
    refuse_closed(descriptor, closed)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def say(text: str) -> None:
    """One line on standard error, if there is anybody to read it."""
    with contextlib.suppress(OSError):
        write_all(2, f"{text}\n".encode(errors="replace"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
