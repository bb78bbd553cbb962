"""What a person may do as the administrator of a running emulated machine: one line of words at a time.

An address is hexadecimal, or a symbol of the program, whose binary the administrator has. Everything goes through the
machine's own ports and DRAM: it succeeds or fails as it does on real hardware.
"""

from collections.abc import Callable, Mapping
from typing import Final

from cloister.emulate.host import Cause, HostView
from cloister.emulate.machine import Machine
from cloister.emulate.paging import IntegrityFault, Refused
from cloister.errors import UsageError
from cloister.measure.image import PAGE

__all__ = ["COMMANDS", "Administrator"]

SHOWN: Final = 64
"""Bytes of a page that are printed."""

COMMANDS: Final[Mapping[str, str]] = {
    "help": "this list",
    "symbols": "the program's symbols and their addresses",
    "read ADDRESS": "read the page as the host's CPU",
    "write ADDRESS HEX": "write these bytes at the page's start, zeros behind them, as the host's CPU",
    "dma-read ADDRESS": "read the page as a device",
    "dma-write ADDRESS HEX": "write it as a device",
    "debug ADDRESS": "read the page through the TEE's debug interface",
    "remap ADDRESS OTHER": "lead ADDRESS to the physical page of OTHER, in the host's page tables",
    "trace ADDRESS...": "take these pages away, one at a time present, and note who is asked for",
    "faults": "the addresses of page faults since `trace`",
    "registers": "the registers that the host saw at the last interrupt",
    "interrupt N": "interrupt the program after every N instructions; 0: never",
    "dram ADDRESS": "what stands in DRAM",
    "search TEXT": "look for TEXT in all of DRAM: a cold boot",
    "flip ADDRESS BIT": "flip one bit of the page in DRAM",
    "keep ADDRESS NAME": "keep the page's DRAM, and what belongs to it, as NAME",
    "put ADDRESS NAME": "put NAME into the page's DRAM: replay, or relocation",
    "keep-as-host ADDRESS NAME": "keep what the host's CPU reads of the page as NAME",
    "put-as-host ADDRESS NAME": "write NAME into the page as the host's CPU",
}


class Administrator:
    """The administrator of one machine. `do` is called while the program waits for something."""

    def __init__(self, machine: Machine, symbols: Mapping[str, int]) -> None:
        self.machine, self.symbols = machine, symbols
        self._kept: dict[str, tuple[bytes, bytes, bytes]] = {}
        self._kept_as_host: dict[str, bytes] = {}
        self._traced: set[int] = set()
        self._away: set[int] = set()
        self.faults: list[int] = []
        self._last_interrupt: HostView | None = None
        machine.host.on_exit = self._look
        self._doing: dict[str, Callable[..., str]] = {
            name.split()[0]: getattr(self, f"_{name.split()[0].replace('-', '_')}") for name in COMMANDS
        }

    def do(self, words: list[str]) -> str:
        """Obey, and say what came of it; a refusal is an answer. UsageError for words that mean nothing."""
        doing = self._doing.get(words[0]) if words else None
        if doing is None:
            raise UsageError(f"{' '.join(words) or 'nothing'}: no such command; `help` lists them")
        try:
            return doing(*words[1:])
        except Refused as refused:
            return f"refused: {refused}"
        except IntegrityFault as fault:
            return f"machine check: {fault}"
        except TypeError as error:
            raise UsageError(f"{words[0]}: wrong number of words; `help` shows what it takes") from error

    # ---- addresses

    def _address(self, word: str) -> int:
        if word in self.symbols:
            return self.machine.host_address(self.symbols[word])
        try:
            return int(word, 16) & ~(PAGE - 1)
        except ValueError as error:
            raise UsageError(f"{word} is neither a symbol of the program nor a hexadecimal address") from error

    def _page(self, word: str) -> int:
        try:
            return self.machine.physical_page(self._address(word))
        except KeyError as error:
            raise UsageError(f"the host has no page at {word}") from error

    # ---- commands

    def _help(self) -> str:
        return "\n".join(f"{name:<28} {what}" for name, what in COMMANDS.items())

    def _symbols(self) -> str:
        return "\n".join(f"{self._address(name):#14x}  {name}" for name in sorted(self.symbols))

    def _read(self, word: str) -> str:
        return shown(self.machine.host_read(self._page(word)))

    def _write(self, word: str, data: str) -> str:
        self.machine.host_write(self._page(word), page_of(data))
        return "written"

    def _dma_read(self, word: str) -> str:
        return shown(self.machine.device_read(self._page(word)))

    def _dma_write(self, word: str, data: str) -> str:
        self.machine.device_write(self._page(word), page_of(data))
        return "written"

    def _debug(self, word: str) -> str:
        return shown(self.machine.debug_read(self._address(word)))

    def _remap(self, word: str, other: str) -> str:
        self.machine.remap(self._address(word), self._page(other))
        return f"{word} now leads to physical page {self._page(other):#x}"

    def _trace(self, *words: str) -> str:
        self.faults.clear()
        self._traced = {self._address(word) for word in words}
        self.machine.host.on_fault = self._fault
        for address in self._traced - self._away:
            self.machine.withhold(address)
            self._away.add(address)
        return f"{len(self._traced)} pages taken away"

    def _faults(self) -> str:
        names = {self.machine.host_address(place): name for name, place in self.symbols.items()}
        known = [names.get(address, "") if address in self._traced else "" for address in self.faults]
        return "\n".join(f"{a:#x} {n}".rstrip() for a, n in zip(self.faults, known, strict=True)) or "none"

    def _registers(self) -> str:
        view = self._last_interrupt
        if view is None:
            return "the program has not been interrupted; `interrupt 500` does that"
        return "\n".join(f"{name:<10} {value:#018x}" for name, value in view.registers.items()) or "none are shown"

    def _interrupt(self, count: str) -> str:
        if not count.isdecimal():
            raise UsageError("interrupt takes a number of instructions")
        self.machine.interval = int(count)
        return f"every {count} instructions" if int(count) else "never"

    # ---- DRAM

    def _dram(self, word: str) -> str:
        self.machine.settle()
        return shown(bytes(self.machine.dram.page(self._page(word))))

    def _search(self, *words: str) -> str:
        self.machine.settle()
        pattern, dram = " ".join(words).encode(), self.machine.dram
        found = [page for page in range(dram.pages) if pattern in bytes(dram.page(page))]
        return f"in physical page {found[0]:#x}" if found else "not in DRAM"

    def _flip(self, word: str, bit: str) -> str:
        page, number = self._page(word), int(bit)
        self.machine.settle()
        self.machine.dram.page(page)[number // 8] ^= 1 << number % 8
        self.machine.dram_changed(page)
        return f"bit {number} of physical page {page:#x} is flipped"

    def _keep(self, word: str, name: str) -> str:
        self.machine.settle()
        dram, page = self.machine.dram, self._page(word)
        self._kept[name] = (bytes(dram.page(page)), bytes(dram.metadata(page)), bytes(dram.nodes))
        return f"kept as {name}"

    def _put(self, word: str, name: str) -> str:
        if name not in self._kept:
            raise UsageError(f"nothing was kept as {name}")
        self.machine.settle()
        dram, page = self.machine.dram, self._page(word)
        dram.page(page)[:], dram.metadata(page)[:], dram.nodes[:] = self._kept[name]
        self.machine.dram_changed(page)
        return f"{name} is in physical page {page:#x}"

    def _keep_as_host(self, word: str, name: str) -> str:
        self._kept_as_host[name] = self.machine.host_read(self._page(word))
        return f"kept as {name}"

    def _put_as_host(self, word: str, name: str) -> str:
        if name not in self._kept_as_host:
            raise UsageError(f"nothing was kept as {name}")
        self.machine.host_write(self._page(word), self._kept_as_host[name])
        return "written"

    # ---- what the host is told

    def _look(self, view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            self._last_interrupt = view

    def _fault(self, address: int) -> bool:
        if address not in self._away:
            return False
        self.faults.append(address)
        self.machine.give_back(address)
        self._away.discard(address)
        for other in self._traced - self._away - {address}:
            self.machine.withhold(other)
            self._away.add(other)
        return True


def page_of(text: str) -> bytes:
    """Hexadecimal digits as a page, zeros behind them."""
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise UsageError(f"{text} is not hexadecimal digits, two for each byte") from error
    if len(data) > PAGE:
        raise UsageError(f"a page has {PAGE} bytes, not {len(data)}")
    return data.ljust(PAGE, b"\0")


def shown(data: bytes) -> str:
    """The first bytes of a page, in hexadecimal and as characters; how much of it is what."""
    lines = []
    for start in range(0, SHOWN, 16):
        part = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:04x}  {part.hex(' ')}  {text}")
    rest = len(data) - SHOWN
    return "\n".join([*lines, f"... {rest:,} more bytes"])
