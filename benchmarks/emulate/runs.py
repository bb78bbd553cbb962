"""One run of a program: natively as a process, or in an emulated machine inside this process."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.benchmark import NotMeasured

from cloister.emulate.catalogue import kind_of
from cloister.emulate.machine import Shape
from cloister.emulate.terminal import sealed_terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import read_image

__all__ = ["EmulatedRun", "emulated", "native"]

MEMORY: Final = 65536
"""Pages of DRAM: 256 MiB."""

NATIVE_SECONDS: Final = 60


@dataclass(frozen=True, kw_only=True)
class EmulatedRun:
    """Seconds of the run without the launch, of the launch, and in ciphers; and what the caches did."""

    seconds: float
    launch: float
    ciphers: float
    fills: int
    misses: int
    exits: int
    output: str


def native(program: Path, size: int) -> tuple[float, str]:
    """Seconds and output of the process."""
    begun = time.perf_counter()
    done = subprocess.run(
        [str(program), str(size)], capture_output=True, text=True, timeout=NATIVE_SECONDS, check=False
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise NotMeasured(f"{program.name} failed natively: {done.stderr.strip() or done.returncode}")
    return seconds, done.stdout


def emulated(name: str, program: Path, size: int, frames: int, keys: Path) -> EmulatedRun:
    """Launch and run in a machine."""
    output = bytearray()
    image = read_image(program.read_bytes(), program.name)
    terminal = sealed_terminal(lambda _: b"", output.extend)
    machine = kind_of(name).make(Shape(memory=MEMORY, frames=frames, profile=True), terminal, Keystore(keys))
    try:
        begun = time.perf_counter()
        machine.launch(image)
        launched = time.perf_counter()
        machine.start([program.name, str(size)], {})
        before = (machine.controller.seconds, machine.cache.fills, machine.cache.misses, machine.host.exits)
        started = time.perf_counter()
        ending = machine.run()
        seconds = time.perf_counter() - started
        after = (machine.controller.seconds, machine.cache.fills, machine.cache.misses, machine.host.exits)
    finally:
        machine.close()
    if ending.status:
        raise NotMeasured(f"{program.name} on {name} ended with {ending.status}: {ending.stopped}")
    ciphers, fills, misses, exits = (later - earlier for later, earlier in zip(after, before, strict=True))
    return EmulatedRun(
        seconds=seconds,
        launch=launched - begun,
        ciphers=ciphers,
        fills=int(fills),
        misses=int(misses),
        exits=int(exits),
        output=output.decode(),
    )
