"""What a person may do as the administrator of a running emulated machine: one line of words at a time.

An address is hexadecimal, or a symbol of the program, whose binary the administrator has. Everything goes through the
machine's own ports and DRAM: it succeeds or fails as it does on real hardware.
"""

import contextlib
import inspect
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from cloister.emulate.host import Cause, HostView
from cloister.emulate.linux.messages import HostReply, Operation, split
from cloister.emulate.machine import Machine
from cloister.emulate.paging import IntegrityFault, Refused
from cloister.errors import UsageError
from cloister.measure.image import PAGE
from cloister.quantities import human_size

__all__ = ["COMMANDS", "Administrator"]

T = TypeVar("T")

SHOWN: Final = 64
"""Bytes of a page that are printed."""

INTERRUPTS: Final = 64
"""Interrupts whose registers are kept."""

NAMES: Final = 32
"""Pages that an administrator may keep by name."""

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
    "interrupt N": "interrupt the program after every N instructions; 0: never",
    "registers [BACK]": "the registers that the host saw at the last interrupt, or BACK interrupts before it",
    "forge COUNT": "answer the program's next read with COUNT, as a lying operating system",
    "dram ADDRESS": "what stands in DRAM",
    "search TEXT": "look for TEXT in all of DRAM: a cold boot",
    "flip ADDRESS BIT": "flip one bit of the page in DRAM",
    "keep ADDRESS NAME": "keep the page's DRAM, and what belongs to it, as NAME",
    "put ADDRESS NAME": "put NAME into the page's DRAM: replay, or relocation",
    "keep-as-host ADDRESS NAME": "keep what the host's CPU reads of the page as NAME",
    "put-as-host ADDRESS NAME": "write NAME into the page as the host's CPU",
}


class Administrator:
    """The administrator of one machine. `do` is called while the program waits for something.

    `watch`, if it is set, sees each whole page that a command read, before it is shortened for people.
    """

    def __init__(self, machine: Machine, symbols: Mapping[str, int]) -> None:
        self.machine, self.symbols = machine, symbols
        self.watch: Callable[[bytes], None] = _nobody
        self._kept: dict[str, tuple[bytes, bytes, bytes]] = {}
        self._kept_as_host: dict[str, bytes] = {}
        self._traced: dict[int, str] = {}
        self._away: set[int] = set()
        self.faults: list[int] = []
        self.traced_faults: list[str] = []
        self._interrupts: deque[HostView] = deque(maxlen=INTERRUPTS)
        self._repair = machine.host.on_fault
        machine.host.on_fault = self._fault
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
            inspect.signature(doing).bind(*words[1:])
        except TypeError as error:
            usage = next(name for name in COMMANDS if name.split()[0] == words[0])
            raise UsageError(f"{words[0]} takes other words: `{usage}`") from error
        try:
            return doing(*words[1:])
        except Refused as refused:
            return f"refused: {refused}"
        except IntegrityFault as fault:
            return f"machine check: {fault}"

    # ---- addresses

    def address(self, word: str) -> int:
        """The page that a word means, as the host calls it, in bytes. UsageError."""
        if word in self.symbols:
            try:
                return self.machine.host_address(self.symbols[word])
            except KeyError as error:
                raise UsageError(f"{word} is not in the program's memory") from error
        try:
            return int(word, 16) & ~(PAGE - 1)
        except ValueError as error:
            raise UsageError(f"{word} is neither a symbol of the program nor a hexadecimal address") from error

    def _page(self, word: str) -> int:
        try:
            return self.machine.physical_page(self.address(word))
        except KeyError as error:
            raise UsageError(f"the host has no page at {word}") from error

    # ---- commands

    def _help(self) -> str:
        return "\n".join(f"{name:<28} {what}" for name, what in COMMANDS.items())

    def _symbols(self) -> str:
        return "\n".join(f"{address:#14x}  {name}" for name, address in sorted(self._places().items()))

    def _places(self) -> dict[str, int]:
        """Symbols of the program that have a page, and what the host calls it."""
        places = {}
        for name, address in self.symbols.items():
            try:
                places[name] = self.machine.host_address(address)
            except KeyError:
                continue  # a symbol that the linker made up
        return places

    def _read(self, word: str) -> str:
        return self._show(self.machine.host_read(self._page(word)))

    def _write(self, word: str, data: str) -> str:
        self.machine.host_write(self._page(word), page_of(data))
        return "written"

    def _dma_read(self, word: str) -> str:
        return self._show(self.machine.device_read(self._page(word)))

    def _dma_write(self, word: str, data: str) -> str:
        self.machine.device_write(self._page(word), page_of(data))
        return "written"

    def _debug(self, word: str) -> str:
        return self._show(self.machine.debug_read(self.address(word)))

    def _remap(self, word: str, other: str) -> str:
        page = self._page(other)
        self.machine.remap(self.address(word), page)
        return f"{word} now leads to physical page {page:#x}"

    def _trace(self, *words: str) -> str:
        if not words:
            raise UsageError("trace takes the addresses of pages, such as `trace bit_set bit_clear walk`")
        addresses = {self.address(word): word for word in words}
        for address, word in addresses.items():
            if address not in self._away:
                self._page(word)  # there must be one
        self.faults, self.traced_faults, self._traced = [], [], addresses
        for address in self._traced.keys() - self._away:
            self.machine.withhold(address)
            self._away.add(address)
        return f"{len(self._traced)} pages taken away"

    def _faults(self) -> str:
        lines = [f"{address:#x} {name}".rstrip() for address, name in zip(self.faults, self.traced_faults, strict=True)]
        return "\n".join(lines) or "none"

    def _interrupt(self, count: str) -> str:
        self.machine.interval = number_of(count, "instructions")
        return f"every {count} instructions" if self.machine.interval else "never"

    def _registers(self, back: str = "0") -> str:
        place = number_of(back, "interrupts")
        if not self._interrupts:
            return "the program has not been interrupted; `interrupt 500` does that"
        if place >= len(self._interrupts):
            raise UsageError(
                f"{len(self._interrupts)} interrupts are kept: the furthest is {len(self._interrupts) - 1}"
            )
        view = self._interrupts[-1 - place]
        for value in view.registers.values():
            self.watch(eight_bytes(value))
        lines = [f"{name:<10} {value:#018x}  {characters(value)}" for name, value in view.registers.items()]
        return "\n".join(lines) or "none are shown: the TEE was left with the program's registers hidden"

    def _forge(self, count: str) -> str:
        """The read at which the program waits now is answered truly: it was asked before the lie."""
        number = number_of(count, "bytes")
        host = self.machine.host
        if self.machine.shielded:
            honest = host.serve

            def lie(request: bytes) -> bytes:
                reply = honest(request)
                header, data = split(HostReply, reply)
                if header.operation != Operation.CONSOLE_READ:
                    return reply
                host.serve = honest
                return HostReply.message(header.operation, header.sequence, header.error, number, data)

            host.serve = lie
        else:
            true, calls = host.on_result, itertools.count()

            def lie_once(result: int) -> int:
                if next(calls) == 0:
                    return true(result)
                host.on_result = true
                return number

            host.on_result = lie_once
        return f"the read after this one is answered with {number:,}"

    # ---- DRAM

    def _dram(self, word: str) -> str:
        page = self._page(word)
        self.machine.settle()
        return self._show(bytes(self.machine.dram.page(page)))

    def _search(self, *words: str) -> str:
        self.machine.settle()
        pattern, dram = " ".join(words).encode(), self.machine.dram
        if not pattern:
            raise UsageError("search takes a text, such as `search PIN`")
        for number in range(dram.pages):
            page = bytes(dram.page(number))
            place = page.find(pattern)
            if place >= 0:
                self.watch(page)
                return f"in physical page {number:#x}:\n{shown(page[place & ~15 :])}"
        return f"not in the {human_size(dram.pages * PAGE)} of DRAM"

    def _flip(self, word: str, bit: str) -> str:
        page, number = self._page(word), number_of(bit, "a bit")
        if number >= 8 * PAGE:
            raise UsageError(f"a page has the bits 0 to {8 * PAGE - 1:,}")
        self.machine.settle()
        self.machine.dram.page(page)[number // 8] ^= 1 << number % 8
        self.machine.dram_changed(page)
        return f"bit {number} of physical page {page:#x} is flipped"

    def _keep(self, word: str, name: str) -> str:
        page, dram = self._page(word), self.machine.dram
        self.machine.settle()
        room_for(name, self._kept)
        self._kept[name] = (bytes(dram.page(page)), bytes(dram.metadata(page)), bytes(dram.nodes))
        return f"kept as {name}"

    def _put(self, word: str, name: str) -> str:
        kept, page, dram = kept_as(name, self._kept), self._page(word), self.machine.dram
        self.machine.settle()
        dram.page(page)[:], dram.metadata(page)[:], dram.nodes[:] = kept
        self.machine.dram_changed(page)
        return f"{name} is in physical page {page:#x}"

    def _keep_as_host(self, word: str, name: str) -> str:
        room_for(name, self._kept_as_host)
        self._kept_as_host[name] = self.machine.host_read(self._page(word))
        return f"kept as {name}"

    def _put_as_host(self, word: str, name: str) -> str:
        self.machine.host_write(self._page(word), kept_as(name, self._kept_as_host))
        return "written"

    # ---- what the host is told

    def _show(self, page: bytes) -> str:
        self.watch(page)
        return shown(page)

    def _look(self, view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            self._interrupts.append(view)

    def _fault(self, address: int) -> bool:
        if address not in self._away:
            return self._repair(address)
        self.faults.append(address)
        self.traced_faults.append(self._traced.get(address, ""))
        try:
            self.machine.give_back(address)
        except Refused:
            return False  # this TEE lets nobody give a page back: the program meets the fault
        self._away.discard(address)
        for other in self._traced.keys() - self._away - {address}:
            with contextlib.suppress(Refused, KeyError):  # the program may have given the page up
                self.machine.withhold(other)
                self._away.add(other)
        return True


def _nobody(_page: bytes) -> None:
    """Nobody watches."""


def number_of(text: str, what: str) -> int:
    """A decimal number. UsageError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise UsageError(f"{text} is no number of {what}")
    return int(text)


def room_for(name: str, kept: Mapping[str, object]) -> None:
    """UsageError if no more names can be kept."""
    if name not in kept and len(kept) == NAMES:
        raise UsageError(f"{NAMES} pages are kept already; keep this one under a name that is used")


def kept_as(name: str, kept: Mapping[str, T]) -> T:
    """What was kept under a name. UsageError."""
    if name not in kept:
        raise UsageError(f"nothing was kept as {name}; kept are: {', '.join(kept) or 'none'}")
    return kept[name]


def page_of(text: str) -> bytes:
    """Hexadecimal digits as a page, zeros behind them."""
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise UsageError(f"{text} is not hexadecimal digits, two for each byte") from error
    if len(data) > PAGE:
        raise UsageError(f"a page has {PAGE} bytes, not {len(data)}")
    return data.ljust(PAGE, b"\0")


def characters(value: int) -> str:
    """The bytes of a register as characters, the lowest first, dots for what cannot be printed."""
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in eight_bytes(value))


def eight_bytes(value: int) -> bytes:
    """A register as it would stand in memory; of a wider one the lowest eight bytes."""
    return (value & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little")


def shown(data: bytes) -> str:
    """The first bytes of a page, in hexadecimal and as characters; how much of it is what."""
    lines = []
    for start in range(0, min(SHOWN, len(data)), 16):
        part = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:04x}  {part.hex(' '):<47}  {text}")
    rest = len(data) - SHOWN
    return "\n".join([*lines, f"... {rest:,} more bytes"] if rest > 0 else lines)
