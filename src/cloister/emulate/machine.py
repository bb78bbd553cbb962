"""An emulated machine: CPU, caches, memory controller, DRAM, a host, and one program in a TEE.

What is the same for every TEE is here; a TEE's package overrides the rest: the page walk with its checks, what leaves
and enters the TEE, how memory is added, launch and evidence.

    machine = SgxMachine(Shape(), ...)
    machine.launch(image)                  # measured as the vendor's firmware does
    machine.start(["program"], {})         # the shim lays out the stack
    ending = machine.run()                 # until the program ends, or the machine stops it
"""

import contextlib
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final

from cloister.emulate.endings import (
    BUS_ERROR,
    KILLED,
    SEGMENTATION_FAULT,
    Ending,
    of_exception,
    of_instruction,
)
from cloister.emulate.engine_unsafe import Engine, Event, Stop
from cloister.emulate.frames_unsafe import FramePool
from cloister.emulate.host import Cause, Host, HostView, PhysicalMemory
from cloister.emulate.linux.checks import HostLied
from cloister.emulate.linux.host import LinuxHost
from cloister.emulate.linux.outcome import Ended
from cloister.emulate.linux.shim import Shim
from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.controller import KeySlotError, MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.paging import HOST_KEY, Access, IntegrityFault, MemoryFault, Stage, Translation, allows
from cloister.emulate.ports import AdministratorPorts
from cloister.emulate.shared import BOUNCE_PAGES, BounceBuffer
from cloister.emulate.tables import pages_of
from cloister.emulate.terminal import Terminal
from cloister.errors import UsageError
from cloister.measure.image import PAGE, Architecture, Image, Permission
from cloister.model import Digest, Tee

__all__ = ["Ending", "Machine", "Shape", "Vouching"]

PROMISES: Final = 8
"""How many times its memory a machine promises: Linux overcommits too, but a promise takes memory of the emulator's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes, in pages of 4 KiB: `memory` is DRAM, `frames` what the CPU's caches hold. `dram` is DRAM's file.

    With `profile` the controller adds up the seconds that it spends in ciphers.
    """

    memory: int = 65536
    frames: int = 2048
    dram: Path | None = None
    profile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouching:
    """What the emulated manufacturer gives a verifier: roots in PEM, and collateral by file name.

    The collateral is in forms that `cloister verify --endorsement` takes; the roots prove nothing.
    """

    roots: bytes
    collateral: Mapping[str, bytes]


class Machine(AdministratorPorts):
    """One machine with one program. Not thread-safe: there is one CPU."""

    tee: ClassVar[Tee | None]
    """Whose evidence it emits; None if this architecture has no attestation."""

    architecture: ClassVar[Architecture]

    shielded: ClassVar[bool] = True
    """Whether a trusted part inside the TEE answers system calls. Without one the operating system sets the results."""

    image: Image
    """What was launched; set by `launch`."""

    bounce: BounceBuffer
    """Set by `start`."""

    def __init__(self, shape: Shape, console: Terminal) -> None:
        self.shape = shape
        self.dram = Dram(shape.memory, shape.dram)
        self.controller = MemoryController(self.dram, profile=shape.profile)
        self.frames = FramePool(shape.frames)
        self.engine = Engine(self.architecture, self.frames, self._fill)
        self.cache = FrameCache(self.frames.views, self.controller, self.engine.flush_translations)
        self.pages = PhysicalMemory(0, shape.memory)
        self.host = Host(serve=LinuxHost(console.console).serve)
        self.shim = Shim(self, self._to_host, console.options)
        self.inside = False
        self.interval = 0
        self.reserved: dict[int, Permission] = {}
        self._known: dict[int, Translation] = {}

    # ---- what each TEE defines

    @abstractmethod
    def translate(self, address: int, access: Access) -> Translation:
        """Walk the page tables and apply the TEE's checks, as hardware does on a TLB miss. MemoryFault."""

    @abstractmethod
    def launch(self, image: Image) -> None:
        """Load and measure the image as this TEE's firmware does."""

    def sign(self, image: Image) -> None:
        """What the owner does with a program before the host gets it, where a boot checks signatures. Else nothing."""
        del image

    @property
    @abstractmethod
    def measurement(self) -> Digest:
        """What the launch measured."""

    @abstractmethod
    def evidence(self, report_data: bytes) -> bytes:
        """Evidence in the vendor's format, with `report_data` in it. UsageError where there is no attestation."""

    def vouching(self, at: datetime) -> Vouching:
        """What a verifier needs to believe the evidence, issued at a time. UsageError without attestation."""
        raise UsageError(f"{type(self).__name__} makes no evidence, so nothing vouches for it at {at}")

    @abstractmethod
    def commit(self, address: int, permission: Permission) -> None:
        """Give the program one page of zeroed private memory, at its first touch. MemoryError if there is none.

        A MemoryFault that the host repairs leads to a second call, which must go on where the first one stopped.
        """

    @abstractmethod
    def release(self, address: int) -> None:
        """Take one page away again; if it is not the program's, do nothing."""

    @abstractmethod
    def change(self, address: int, permission: Permission) -> None:
        """Change what one page may be used for; if it is not the program's, do nothing."""

    @abstractmethod
    def save(self, cause: Cause) -> Mapping[str, int]:
        """Save the program's registers as the TEE does on the way out; returns those that the host sees."""

    @abstractmethod
    def resume(self, cause: Cause) -> None:
        """Take the program's registers back on the way in."""

    def host_address(self, address: int) -> int:
        """What the host calls a page of the program: its virtual address, or a guest-physical one. In bytes."""
        return address & ~(PAGE - 1)

    def instruction(self, event: Event) -> Ending | None:
        """The program met an instruction that is not its instruction set's; a TEE may know it. None: go on."""
        del event
        at = self.engine.program_counter
        return of_instruction(self.architecture, at, self.read(at, 2))

    # ---- the bus

    def settle(self) -> None:
        """DRAM holds everything that the caches hold: what a bus or cold-boot adversary may hope for at best."""
        self.cache.write_back()

    def dram_changed(self, page: int) -> None:
        """DRAM was changed from outside: the caches no longer hold that page."""
        self.cache.invalidate(page)
        self.engine.flush_translations()

    # ---- life of a program

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Lay out the program's stack and stand before its first instruction."""
        self.bounce = BounceBuffer([self.pages.allocate() for _ in range(BOUNCE_PAGES)], self.host_frame)
        self.inside = True
        words = [os.fsencode(word) for word in arguments]
        settings = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
        entry, stack = self.shim.start(self.image, words, settings)
        self.engine.begin(entry, stack)

    def run(self, steps: int = 0) -> Ending:
        """Run the program to its end. `steps`: the host's timer interrupts after so many instructions (0: never)."""
        self.interval = steps
        try:
            while True:
                if self.cache.stale_code:  # the shim or the host wrote code that the TLB still leads to
                    self.cache.stale_code = False
                    self.engine.forget_code()
                ending = self._react(self.engine.run(self.interval))
                if ending is not None:
                    return ending
        except HostLied as lie:
            ending = Ending(KILLED, str(lie))
        except IntegrityFault as fault:
            ending = self.integrity_stop(fault)
        except MemoryFault as fault:
            ending = self.stopped(fault)
        except MemoryError as error:
            ending = Ending(KILLED, f"out of memory: {error}")
        except KeySlotError as error:  # the host had the key removed while the program was away
            ending = Ending(BUS_ERROR, f"memory: {error}")
        with contextlib.suppress(HostLied, IntegrityFault, MemoryFault, KeySlotError):
            self.shim.finish(ending.status)
        return ending

    def _react(self, event: Event) -> Ending | None:
        if event.stop is Stop.SYSTEM_CALL:
            return self._system_call()
        if event.fault is not None:
            if isinstance(event.fault, MemoryFault) and self._repaired(event.fault):
                return None
            raise event.fault
        if event.stop is Stop.STEPS:
            self.leave(Cause.INTERRUPT)
            self.enter(Cause.INTERRUPT)
            return None
        if event.stop is Stop.INSTRUCTION:
            return self.instruction(event)
        return of_exception(self.architecture, event.number, self.engine.program_counter)

    def _system_call(self) -> Ending | None:
        number, arguments = self.engine.system_call()
        result = self.shim.call(number, arguments)
        if isinstance(result, Ended):
            return Ending(result.status)
        self.engine.set_result(result if self.shielded else self.host.on_result(result))
        return None

    def stopped(self, fault: MemoryFault) -> Ending:
        """A fault that nobody repairs ends the program: its own mistake by a signal, another by the machine."""
        wild = fault.stage is Stage.HOST and not self.shim.permits(fault.address, fault.access)
        if wild or fault.stage is Stage.PROGRAM:  # without a TEE, the program's own mappings are the host's tables
            return Ending(SEGMENTATION_FAULT, mistake=str(fault))
        return Ending(SEGMENTATION_FAULT, f"{fault.stage.value}: {fault}")

    def integrity_stop(self, fault: IntegrityFault) -> Ending:
        """The memory controller found a change: no program may go on from there."""
        return Ending(BUS_ERROR, f"integrity: {fault}")

    def close(self) -> None:
        """Wipe what is on die, and close DRAM."""
        self.engine.close()
        self.cache.wipe()
        del self.engine
        self.cache.frames.clear()
        self.frames.close()
        self.dram.close()

    # ---- leaving and entering

    def leave(self, cause: Cause, address: int | None = None) -> None:
        """Out of the TEE: its registers are saved, the host runs with a clean processor, and looks."""
        seen = self.save(cause)
        self.engine.save()
        self.inside = False
        self.host.sees(HostView(cause, seen, address))

    def enter(self, cause: Cause) -> None:
        """Back into the TEE."""
        self.inside = True
        self.engine.restore()
        self.resume(cause)

    def _to_host(self, request: bytes) -> bytes:
        """One system call through the bounce buffer, which is ordinary memory: the host may read and forge it."""
        self.leave(Cause.SYSTEM_CALL)
        self.bounce.put(request)
        self.bounce.put(self.host.serve(self.bounce.take()))
        reply = self.bounce.take()
        self.enter(Cause.SYSTEM_CALL)
        return reply

    def _repaired(self, fault: MemoryFault) -> bool:
        """Whether the host mapped a page that its own tables lack. Any other fault is nobody's to repair."""
        if fault.stage is not Stage.HOST:
            return False
        told = self.host_address(fault.address)
        self.leave(Cause.PAGE_FAULT, told)
        repaired = self.host.on_fault(told)
        self.enter(Cause.PAGE_FAULT)
        return repaired

    # ---- memory as the program and its shim see it

    def _fill(self, address: int, access: Access) -> tuple[int, int] | None:
        """A translation that the engine's TLB lacks: the hot path, a few microseconds."""
        number = address >> 12
        found = self._known.get(number)
        if found is None or not allows(found[1], access):
            found = self._known[number] = self._translated(address, access)
        cache, fetch = self.cache, access is Access.FETCH
        if fetch and cache.stale_code:
            cache.stale_code = False
            return None
        frame = cache.frame(found[0], found[2], write=access is Access.WRITE, fetch=fetch)
        return frame, cache.granted(frame, found[1].value)

    def _translated(self, address: int, access: Access) -> Translation:
        """`translate`, after memory that was only promised has been committed."""
        promised = self.reserved.get(address >> 12)
        if promised is not None and allows(promised, access):
            self.commit(address & ~(PAGE - 1), promised)
            del self.reserved[address >> 12]  # not before: what the host interrupts is done again
        return self.translate(address, access)

    def frame_of(self, address: int, access: Access) -> memoryview:
        """The cached page that holds an address, as the program would reach it. MemoryFault, IntegrityFault."""
        while True:
            try:
                found = self._translated(address, access)
                frame = self.cache.frame(found.page, found.key, write=access is Access.WRITE, fetch=False)
                return self.frames.views[frame]
            except MemoryFault as fault:
                if not self._repaired(fault):
                    raise

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the program's memory, as the shim reads them. MemoryFault."""
        offset = address & (PAGE - 1)
        if offset + size <= PAGE:
            return bytes(self.frame_of(address, Access.READ)[offset : offset + size])
        parts = bytearray()
        while size:
            offset = address & (PAGE - 1)
            part = min(size, PAGE - offset)
            parts += self.frame_of(address, Access.READ)[offset : offset + part]
            address, size = address + part, size - part
        return bytes(parts)

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Write to the program's memory, as the shim does. MemoryFault."""
        done, whole = 0, len(data)
        while done < whole:
            offset = (address + done) & (PAGE - 1)
            part = min(whole - done, PAGE - offset)
            self.frame_of(address + done, Access.WRITE)[offset : offset + part] = data[done : done + part]
            done += part

    def put_page(self, address: int, content: bytes) -> None:
        """Fill one whole page of the program's memory, whatever DRAM holds there. MemoryFault."""
        found = self.translate(address, Access.WRITE)
        self.cache.put(found.page, found.key, content)

    def map(self, address: int, size: int, permission: Permission) -> None:
        """Promise memory: each page is committed at its first touch. Both page-aligned, in bytes. MemoryError."""
        if len(self.reserved) + size // PAGE > PROMISES * self.shape.memory:
            raise MemoryError(f"{len(self.reserved):,} pages are promised already, and the machine has fewer")
        for place in pages_of(address, size):
            self.reserved[place >> 12] = permission

    def unmap(self, address: int, size: int) -> None:
        """Take memory away again; what is not mapped is passed over."""
        for place in pages_of(address, size):
            self.reserved.pop(place >> 12, None)
            self.release(place)  # also what was only promised: its commit may have been interrupted
        self.forget_translations()

    def protect(self, address: int, size: int, permission: Permission) -> None:
        """Change what memory may be used for."""
        for place in pages_of(address, size):
            if place >> 12 in self.reserved:
                self.reserved[place >> 12] = permission
            else:
                self.change(place, permission)
        self.forget_translations()

    def free_memory(self) -> int:
        """Bytes that can still be committed."""
        return self.pages.left * PAGE

    def set_thread_pointer(self, value: int) -> None:
        """What the shim does for the program's thread-local memory."""
        self.engine.set_thread_pointer(value)

    def forget_translations(self) -> None:
        """What a TLB shootdown does: page tables or checks have changed."""
        self._known.clear()
        self.engine.flush_translations()

    # ---- ordinary memory

    def host_frame(self, page: int, *, write: bool) -> memoryview:
        """A page under the host's own key: plaintext where it is the host's, ciphertext where it is a TEE's."""
        return self.frames.views[self.cache.frame(page, HOST_KEY, write=write, fetch=False)]
