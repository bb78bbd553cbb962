"""An SNP platform without a CPU, for tests: DRAM, caches, RMP, firmware, hypervisor; and machines with quick keys."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cloister.emulate.attacks.scene import Act, Played, Scene
from cloister.emulate.attacks.victims import victim
from cloister.emulate.host import PhysicalMemory
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.paging import HOST_KEY
from cloister.emulate.snp.chip import Chip
from cloister.emulate.snp.firmware import Firmware
from cloister.emulate.snp.firmware_core import FIRMWARE_PAGE
from cloister.emulate.snp.hypervisor import Hypervisor
from cloister.emulate.snp.machine import SnpMachine
from cloister.emulate.snp.rmp import ReverseMap, RmpEntry
from cloister.emulate.snp.rmp_instructions import Result, rmpupdate
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.keystore import Keystore
from cloister.evidence.snp import Product
from cloister.measure.image import PAGE, Architecture, Image, ImagePage, Permission

__all__ = ["POLICY", "Stage", "Stand", "program", "quick_keystore", "stages", "stand_with"]

SMALL = Shape(memory=2048, frames=64)

POLICY = 0x30000
"""SMT allowed, and the bit that is always 1."""


def quick_keystore(directory: Path, *products: Product) -> Keystore:
    """A keystore whose AMD authorities have 2048 bits: those are made once, and 4096 take seconds."""
    keystore = Keystore(directory)
    for product in products or (Product.MILAN,):
        _ = AmdManufacturer(keystore, product, key_bits=2048).ask
    return keystore


@dataclass(frozen=True)
class Stand:
    """One platform after SNP_INIT."""

    dram: Dram
    controller: MemoryController
    cache: FrameCache
    rmp: ReverseMap
    chip: Chip
    firmware: Firmware
    hypervisor: Hypervisor

    def page(self, entry: RmpEntry | None = None, content: bytes = bytes(PAGE)) -> int:
        """A fresh page with this content, then given away by RMPUPDATE."""
        page = self.hypervisor.pages.allocate()
        self.cache.put(page, HOST_KEY, content)
        if entry is not None:
            assert rmpupdate(self.rmp, page, entry) is Result.SUCCESS
        return page

    def context(self, *, policy: int = POLICY, asid: int = 1, started: bool = True) -> int:
        """A guest's context, with SNP_LAUNCH_START and SNP_ACTIVATE done."""
        page = self.page(FIRMWARE_PAGE)
        self.firmware.gctx_create(page)
        if started:
            self.firmware.launch_start(page, policy=policy)
            self.firmware.activate(page, asid=asid)
        return page

    def pre_guest(self, gpa: int, content: bytes = bytes(PAGE), *, asid: int = 1) -> int:
        """A page that is ready for SNP_LAUNCH_UPDATE at a guest-physical address."""
        return self.page(RmpEntry(assigned=True, immutable=True, gpa=gpa // PAGE, asid=asid), content)

    def settle(self) -> None:
        """What the caches hold is in DRAM."""
        self.cache.write_back()


def stand_with(
    keystore: Keystore, product: Product = Product.MILAN, *, pages: int = 1024, hiding: bool = False
) -> Stand:
    """A platform of one product."""
    dram = Dram(pages)
    controller = MemoryController(dram)
    controller.install(HOST_KEY, PlainCipher(dram))
    cache = FrameCache([memoryview(bytearray(PAGE)) for _ in range(64)], controller, lambda: None)
    rmp = ReverseMap(dram)
    chip = Chip(AmdManufacturer(keystore, product, key_bits=2048), hiding=hiding)
    firmware = Firmware(chip, rmp, cache, controller)
    firmware.snp_init()
    free = PhysicalMemory(rmp.size, pages - rmp.size)
    hypervisor = Hypervisor(chip, firmware, rmp, cache, free, lambda: None)
    return Stand(dram, controller, cache, rmp, chip, firmware, hypervisor)


def program(*contents: bytes, architecture: Architecture = Architecture.X86_64) -> Image:
    """An image of these pages, from 0x400000 on; it is measured, not run."""
    allowed = Permission.READ | Permission.EXECUTE
    pages = tuple(
        ImagePage(0x40_0000 + number * PAGE, allowed, content.ljust(PAGE, b"\0"))
        for number, content in enumerate(contents)
    )
    return Image(
        architecture=architecture, entry=0x40_0000, headers=0, header_count=0, end=pages[-1].address + PAGE, pages=pages
    )


class Stage(Scene):
    """A scene on an SNP machine."""

    def __init__(self, keystore: Keystore, settings: dict[str, object]) -> None:
        def make(terminal: Terminal) -> Machine:
            return SnpMachine(SMALL, terminal, keystore, **settings)  # type: ignore[arg-type]

        super().__init__(make, lambda machine: victim(machine.architecture))

    @property
    def snp(self) -> SnpMachine:
        assert isinstance(self.machine, SnpMachine)
        return self.machine

    def shown(self, action: Callable[[], object], before: bytes = b"") -> Played:
        """Launch, type `before`, do `action` while the program waits, and have it print its balance."""
        self.launch()
        head = [Act(before)] if before else []
        return self.play([*head, Act(b"b\n", action), Act(b"q\n")])


@contextlib.contextmanager
def stages(keystore: Keystore) -> Iterator[Callable[..., Stage]]:
    """Makes scenes, with the machine's settings, and closes them all."""
    made: list[Stage] = []

    def one(**settings: object) -> Stage:
        made.append(Stage(keystore, settings))
        return made[-1]

    yield one
    for stage in made:
        stage.close()
