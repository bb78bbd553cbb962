"""SGX machines for one test, closed at its end."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.machines.build import assembled, program
from tests.machines.running import Run

from cloister.emulate.attacks.scene import Scene
from cloister.emulate.attacks.victims import victim
from cloister.emulate.machine import Shape
from cloister.emulate.sgx.machine import SgxMachine
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import Image, read_image

__all__ = ["Scenes", "Session"]

SMALL, MEDIUM = Shape(memory=2048, frames=256), Shape(memory=4096, frames=256)


@dataclass
class Session:
    """Machines with programs: `keys` is their keystore's directory, `folder` where programs are compiled."""

    keys: Path
    folder: Path
    machines: list[SgxMachine] = field(default_factory=list)

    def machine(self, run: Run, shape: Shape = MEDIUM, **options: Any) -> SgxMachine:
        """A machine for a run."""
        made = SgxMachine(shape, run.terminal(), Keystore(self.keys), **options)
        self.machines.append(made)
        return made

    def compiled(self, source: str, flags: tuple[str, ...] = ("-O1", "-static")) -> Image:
        """A C program."""
        path = self.folder / f"{hashlib.sha256(source.encode()).hexdigest()[:8]}.c"
        path.write_text(source)
        return read_image(program(path, flags=flags))

    def assembled(self, text: str) -> Image:
        """A program of a few instructions."""
        return read_image(assembled(self.folder, f".globl _start\n_start:\n{text}\n"))

    def close(self) -> None:
        """Close all machines."""
        for machine in self.machines:
            machine.close()


@dataclass
class Scenes:
    """Machines with the victim of the attacks."""

    keystore: Keystore
    shape: Shape = SMALL
    scenes: list[Scene] = field(default_factory=list)
    machines: list[SgxMachine] = field(default_factory=list)

    def scene(self, **options: Any) -> Scene:
        """A machine, before its launch."""

        def make(terminal: Terminal) -> SgxMachine:
            self.machines.append(SgxMachine(self.shape, terminal, self.keystore, **options))
            return self.machines[-1]

        self.scenes.append(Scene(make, lambda machine: victim(machine.architecture)))
        return self.scenes[-1]

    def launched(self, **options: Any) -> tuple[Scene, SgxMachine]:
        """A machine, launched."""
        scene = self.scene(**options)
        scene.launch()
        return scene, self.machines[-1]

    def close(self) -> None:
        """Close all machines."""
        for scene in self.scenes:
            scene.close()
