"""One program in one emulated TEE, as a process: what `cloister run --tee` starts inside the software enclave.

    python -m cloister.emulate.inside '{"tee": "sgx", ...}' PROGRAM [ARGS...]

Standard input and output are the owner's terminal. Everything that a real machine keeps on its die is in this process's
memory, which the software enclave keeps from the administrator; DRAM is a file, which the administrator may read.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Sequence
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
from cloister.errors import CannotEnclave, CloisterError, NotFound
from cloister.measure.image import PAGE, Architecture, Image, read_image

__all__ = ["Request", "launched", "load_program", "main"]

MEBIBYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to run it in. `memory` is DRAM in MiB, `frames` pages of on-die memory.

    `dram`, `keys` and `host` are paths or empty; `host` is a socket on which the machine's administrator is heard.
    """

    tee: str
    memory: int = 256
    frames: int = 2048
    dram: str = ""
    keys: str = ""
    host: str = ""
    debug: bool = False
    unsafe_plain_console: bool = False

    def words(self) -> str:
        """As the one argument that `main` reads."""
        return json.dumps(asdict(self))

    @property
    def shape(self) -> Shape:
        """Sizes in pages."""
        return Shape(
            memory=self.memory * MEBIBYTE // PAGE, frames=self.frames, dram=Path(self.dram) if self.dram else None
        )


def main(arguments: Sequence[str]) -> int:
    """Run a program and return its exit status, or the exit code of the error that kept it from running."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # the program has no signals; the machine ends with it
    try:
        ending = run(Request(**json.loads(arguments[0])), arguments[1:])
    except CloisterError as error:
        print(f"cloister run: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return error.exit_code
    if ending.stopped:
        print(f"cloister: the machine stopped the program: {ending.stopped}", file=sys.stderr)  # noqa: T201
    return ending.status


def run(request: Request, words: Sequence[str]) -> Ending:
    """Launch and run to the end."""
    kind = kind_of(request.tee)
    make_terminal = unsafe_plain_terminal if request.unsafe_plain_console else sealed_terminal

    def read_input(size: int) -> bytes:
        """What is typed, as it comes. While nobody types, the caches drain into DRAM, and the host is heard."""
        if not select.select([0], [], [], 0)[0]:
            machine.settle()
        while control is not None and not control.serve_until(lambda: False, [0]):
            pass
        return os.read(0, size)

    terminal = make_terminal(
        read_input,
        lambda data: write_all(1, data),
        lambda data: write_all(2, data),
        directory=Path.cwd(),
        interactive=os.isatty(0) and os.isatty(1),
    )
    machine = launched(kind, request, load_program(words[0]), terminal)
    control = administered(machine, request, words[0])
    try:
        machine.start(words, os.environ)
        ending = machine.run()
        if not ending.stopped:
            machine.settle()  # who looks at DRAM's file afterwards finds what the program left
    finally:
        if control is not None:
            control.close()
        machine.close()
    return ending


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


def load_program(name: str) -> Image:
    """The image of a program file. NotFound, CannotEnclave."""
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise NotFound(f"{name}: {error.strerror}; emulated machines take the program's path") from error
    return read_image(data, name)


def write_all(descriptor: int, data: bytes) -> None:
    """What is printed."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
