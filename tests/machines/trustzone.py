"""A TrustZone machine with a trusted application in it that has services, and code for its normal world."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from tests.machines.build import program

from cloister.emulate.attacks.victims import victim
from cloister.emulate.machine import Ending, Shape
from cloister.emulate.terminal import sealed_terminal
from cloister.emulate.trustzone.machine import TrustZoneMachine
from cloister.emulate.vendors.keystore import Keystore
from cloister.measure.image import Architecture, Image, Permission, read_image

__all__ = ["BRK", "CODE", "LOAD", "SHAPE", "SMC", "STORE", "Application", "Bank", "bank", "code", "victim_application"]

SHAPE = Shape(memory=4096, frames=256)
CODE = 0x10000
LOAD, STORE, SMC, BRK = 0xF940_0001, 0xF900_0001, 0xD400_0003, 0xD420_0000
"""ldr x1, [x0]; str x1, [x0]; smc #0; brk #0 (Arm ARM, C6.2)."""

SOURCE = r"""
#include <stdio.h>
#include <unistd.h>
volatile long balance = 1000;
__attribute__((used)) long pay(long amount) { return amount > balance ? -1 : (balance -= amount); }
__attribute__((used)) long crash(void) { return *(volatile long *)8; }
__attribute__((used)) long forever(void) { for (;;) __asm__ volatile(""); }
__attribute__((used)) long ask(void) { return write(1, "x", 1); }
__attribute__((used)) long fetch(long *from) { return *from; }
__attribute__((used)) long secret(void) {
    register long kept __asm__("x9") = 0x6b65707453616665;
    __asm__ volatile("fmov d20, %0" : "+r"(kept) : : "v20");
    return 7;
}
__attribute__((used)) long vector(void) {
    long found;
    __asm__ volatile("fmov %0, d20" : "=r"(found));
    return found;
}
__attribute__((used)) long level(void) {
    long found;
    __asm__ volatile("mrs %0, CurrentEL" : "=r"(found));
    return found;
}
int main(void) {
    char line[64];
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) { printf("%ld\n", balance); fflush(stdout); }
    return 0;
}
"""
SERVICES = ("pay", "crash", "forever", "ask", "fetch", "secret", "vector", "level")


@dataclass(frozen=True)
class Application:
    """An image, its symbols, and the commands of its services: 1 for the first name."""

    image: Image
    symbols: dict[str, int]
    names: tuple[str, ...] = ()

    @property
    def services(self) -> dict[int, int]:
        return {self.command(name): self.symbols[name] for name in self.names}

    def command(self, name: str) -> int:
        return self.names.index(name) + 1


def bank(directory: Path) -> Application:
    """The program above."""
    source = directory / "bank.c"
    source.write_text(SOURCE)
    data = program(source, Architecture.ARM64)
    table: Any = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
    symbols = {one.name: int(one["st_value"]) for one in table.iter_symbols() if one.name}
    return Application(read_image(data), symbols, SERVICES)


def victim_application() -> Application:
    """The project's own victim of attacks."""
    found = victim(Architecture.ARM64)
    return Application(found.image, dict(found.symbols))


def code(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


@dataclass
class Bank:
    """A machine, and what is done while its program waits for each line; then the line is typed."""

    application: Application
    keystore: Keystore
    settings: dict[str, Any] = field(default_factory=dict)
    shape: Shape = SHAPE
    output: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._acts: list[tuple[Callable[[], object], bytes]] = []
        terminal = sealed_terminal(self._read, self.output.extend)
        self.machine = TrustZoneMachine(self.shape, terminal, self.keystore, **self.settings)

    def _read(self, _size: int) -> bytes:
        if not self._acts:
            return b""
        act, line = self._acts.pop(0)
        act()
        return line

    def run(self, *acts: Callable[[], object], line: bytes = b"\n", steps: int = 0) -> Ending:
        self._acts += [(act, line) for act in acts]
        self.machine.sign(self.application.image, self.application.services)
        self.machine.launch(self.application.image)
        self.machine.start(["bank"], {})
        return self.machine.run(steps)

    @property
    def lines(self) -> list[str]:
        return self.output.decode().splitlines()

    def page(self, symbol: str) -> int:
        return self.machine.physical_page(self.application.symbols[symbol] & ~0xFFF)

    def within(self, symbol: str) -> int:
        return self.application.symbols[symbol] & 0xFFF

    def map_secure(self, symbol: str, address: int) -> int:
        """The normal world's tables lead an address to a page of the program; where the symbol then is."""
        self.machine.normal.map(address, self.page(symbol), Permission.READ | Permission.WRITE)
        return address + self.within(symbol)
