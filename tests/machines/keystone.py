"""Keystone without a processor, where calls and registers are given by hand; and a stage for attacks on a whole one."""

from collections.abc import Callable
from pathlib import Path

from cloister.emulate.attacks.scene import Act, Played, Scene
from cloister.emulate.attacks.victims import victim
from cloister.emulate.keystone.boot import measured_boot
from cloister.emulate.keystone.bus import BASE, Bus, address_of
from cloister.emulate.keystone.machine import KeystoneMachine
from cloister.emulate.keystone.monitor import SecurityMonitor
from cloister.emulate.keystone.pmp import Pmp
from cloister.emulate.keystone.sbi import CreateArguments, Function
from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.paging import HOST_KEY, Access
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystone import KeystoneManufacturer
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE

__all__ = ["ARGUMENTS", "EPM", "PAGES", "UTM", "Board", "Stage", "arguments"]

PAGES = 2048
ARGUMENTS, UTM, EPM = address_of(600), address_of(608), address_of(640)
"""Where the host lays the arguments of CREATE; the first buffers: 8 pages each; the first enclaves: 16 pages each."""


def arguments(number: int = 0, **changes: int) -> CreateArguments:
    """What the host asks for: an enclave with one page each of loader, runtime and program, and 13 of free memory."""
    start = EPM + number * 16 * PAGE
    values = {
        "epm_start": start, "epm_size": 16 * PAGE, "utm_start": BASE + (1024 + 8 * number) * PAGE, "utm_size": 8 * PAGE,
        "runtime": start + PAGE, "user": start + 2 * PAGE, "free": start + 3 * PAGE, "free_requested": 13 * PAGE,
    }  # fmt: skip
    return CreateArguments(**(values | changes))


class Board:
    """DRAM, a cache, two harts and an IOPMP, and the monitor that was booted on it. `flushes` counts SFENCE.VMA."""

    def __init__(self, keys: Path, image: bytes = b"a monitor") -> None:
        self.dram = Dram(PAGES)
        controller = MemoryController(self.dram)
        controller.install(HOST_KEY, PlainCipher(self.dram))
        self.cache = FrameCache([memoryview(bytearray(PAGE)) for _ in range(16)], controller, lambda: None)
        self.bus = Bus(self.dram, self.cache)
        self.harts = (Pmp(), Pmp())
        self.iopmp = Pmp()
        self.flushes = 0
        self.booted = measured_boot(self.bus, KeystoneManufacturer(Keystore(keys)), image)
        self.monitor = SecurityMonitor(self.bus, self.harts, self.booted, self._flush, (self.iopmp,))

    def _flush(self) -> None:
        self.flushes += 1

    def create(self, wanted: CreateArguments | None = None, *, at: int = ARGUMENTS) -> int:
        """CREATE with arguments that the host has laid down."""
        self.bus.write(ARGUMENTS, (wanted or arguments()).serialize())
        return self.monitor.ecall(Function.CREATE, at)

    def reaches(self, address: int) -> tuple[bool, bool, bool]:
        """Whether the enclaves' hart, the other one, and a device may write there."""
        first, second, device = (unit.check(address, PAGE, Access.WRITE).allowed for unit in (*self.harts, self.iopmp))
        return first, second, device


class Stage(Scene):
    """A scene of an attack on a Keystone machine."""

    def __init__(self, make: Callable[[Terminal], KeystoneMachine]) -> None:
        super().__init__(make, lambda machine: victim(machine.architecture))

    @property
    def board(self) -> KeystoneMachine:
        """The machine, by its own class."""
        assert isinstance(self.machine, KeystoneMachine)
        return self.machine

    def shown(self, *acts: Act, steps: int = 0) -> Played:
        """Launch and play to the victim's end. `steps`: the host interrupts after so many instructions."""
        self.launch()
        return self.play([*acts, Act(b"q\n")], steps=steps)
