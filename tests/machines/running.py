"""Runs a program in an emulated machine inside the test's process."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cloister.emulate.catalogue import kind_of, native_kind
from cloister.emulate.machine import Ending, Machine, Shape
from cloister.emulate.terminal import Terminal, sealed_terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import Image

__all__ = ["SMALL", "Run", "machine_for"]

SMALL = Shape(memory=8192, frames=512)


@dataclass
class Run:
    """What is typed, line by line, what was printed, and what happens while the program waits for the next line."""

    typed: Iterable[bytes] = ()
    directory: Path = Path("/")
    waiting: Callable[[int], object] = lambda _: None
    output: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._lines, self._left, self._count = iter(self.typed), bytearray(), 0

    def terminal(self) -> Terminal:
        """The owner's terminal."""
        return sealed_terminal(self._read, self.output.extend, self.errors.extend, directory=self.directory)

    def _read(self, size: int) -> bytes:
        if not self._left:
            self.waiting(self._count)
            self._count += 1
            self._left += next(self._lines, b"")
        given = bytes(self._left[:size])
        del self._left[:size]
        return given

    def of(self, machine: Machine, image: Image, *words: str, environment: dict[str, str] | None = None) -> Ending:
        """Launch and run to the end."""
        machine.launch(image)
        machine.start(["program", *words], environment or {})
        return machine.run()


def machine_for(
    name: str, run: Run, keys: Path, image: Image | None = None, *, shape: Shape = SMALL, debug: bool = False
) -> Machine:
    """A machine by its name; the native one for the image's instruction set."""
    kind = native_kind(image.architecture) if name == "native" and image is not None else kind_of(name)
    return kind.make(shape, run.terminal(), Keystore(keys), debug=debug)
