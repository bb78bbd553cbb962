"""What tests of the emulated TDX machine stand on: a module over real DRAM, and a scene with the victim in a TD."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from cloister.emulate.attacks.scene import Act, Played, Scene
from cloister.emulate.attacks.victims import victim
from cloister.emulate.host import PhysicalMemory
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import HOST_KEY
from cloister.emulate.tdx.calls import CallFailed, Operand, Seamcall, Status, Tdcall
from cloister.emulate.tdx.keyed_memory import Integrity, KeyedMemory
from cloister.emulate.tdx.machine import TdxMachine
from cloister.emulate.tdx.module import TdxModule
from cloister.emulate.tdx.params import TdParams, default_params
from cloister.emulate.tdx.td import Td
from cloister.emulate.tdx.vmm import Vmm
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import PAGE

__all__ = ["CONTENT", "END", "PAGES", "SMALL", "SPARE", "ZERO", "Platform", "Stage", "platform", "refused"]

PAGES = 256
SPARE = 200
"""A physical page that the hypervisor has not given away."""

ZERO = bytes(PAGE)
CONTENT = bytes(range(256)) * 16


@dataclass
class Platform:
    """A module over real DRAM, and a hypervisor."""

    dram: Dram
    cache: FrameCache
    memory: KeyedMemory
    module: TdxModule
    vmm: Vmm

    @property
    def td(self) -> Td:
        return self.module.tds[self.vmm.tdr]

    def built(self, pages: list[tuple[int, bytes]], params: TdParams | None = None) -> "Platform":
        """Up to, not including, TDH.MR.FINALIZE."""
        self.vmm.create(params or default_params())
        self.vmm.load(pages)
        self.vmm.add_vcpu()
        return self

    def running(self, params: TdParams | None = None) -> "Platform":
        """With one page of CONTENT at guest-physical address 0, entered and left once."""
        self.built([(0, CONTENT)], params)
        self.vmm.finalize()
        return self

    def pages_hold(self, pattern: bytes) -> bool:
        self.memory.write_back()
        return any(pattern in bytes(self.dram.page(page)) for page in range(PAGES))


def platform(integrity: Integrity = "ci") -> Platform:
    dram = Dram(PAGES)
    controller = MemoryController(dram)
    cache = FrameCache([memoryview(bytearray(PAGE)) for _ in range(64)], controller, lambda: None)
    memory = KeyedMemory(controller, cache, integrity)
    module = TdxModule(memory, PAGES)

    def put(page: int, content: bytes) -> None:
        cache.put(page, HOST_KEY, content)

    def no_quotes(report: bytes) -> bytes:
        raise NotImplementedError(f"this platform has no quoting enclave for {len(report)} bytes")

    return Platform(dram, cache, memory, module, Vmm(module, PhysicalMemory(0, SPARE), put, no_quotes))


def refused(act: Callable[[], object]) -> tuple[Seamcall | Tdcall, Status, Operand | None]:
    """How the module refused."""
    with pytest.raises(CallFailed) as caught:
        act()
    return caught.value.call, caught.value.status, caught.value.operand


SMALL = Shape(memory=2048, frames=64)
END = Act(b"q\n")


class Stage(Scene):
    """A scene on a TDX machine."""

    def __init__(self, keystore: Keystore, settings: dict[str, Any]) -> None:
        def make(terminal: Terminal) -> Machine:
            return TdxMachine(SMALL, terminal, keystore, **settings)

        super().__init__(make, lambda machine: victim(machine.architecture))

    @property
    def tdx(self) -> TdxMachine:
        assert isinstance(self.machine, TdxMachine)
        return self.machine

    def meanwhile(self, action: Callable[[], object], before: bytes = b"") -> Played:
        """Launch, type `before`, do `action` while the program waits, and have it print its balance."""
        self.launch()
        first = [Act(before)] if before else []
        return self.play([*first, Act(b"b\n", action), END])
