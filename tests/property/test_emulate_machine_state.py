"""A machine's memory against a plain model, whatever program, host and caches do in between.

Memory is reached in both ways: by the CPU, through its TLB, and by the trusted part that serves system calls. There are
few frames, so that pages go to DRAM and come back all the time.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.machines.build import assembled
from tests.machines.running import Run, machine_for

from cloister.emulate.catalogue import KINDS
from cloister.emulate.engine_unsafe import Stop
from cloister.emulate.host import Cause
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.paging import MemoryFault, Refused
from cloister.measure.image import PAGE, Architecture, Permission, read_image

CODE = {
    Architecture.X86_64: "mov (%rsi), %rax; ud2; ud2; store: mov %rax, (%rsi); ud2; ud2",
    Architecture.ARM64: "ldr x0, [x1]; .word 0; store: str x0, [x1]; .word 0",
    Architecture.RISCV64: ".option norvc; ld x10, 0(x11); .word 0; store: sd x10, 0(x11); .word 0",
}
NAMES = {
    Architecture.X86_64: ("rip", "rax", "rsi"),
    Architecture.ARM64: ("pc", "x0", "x1"),
    Architecture.RISCV64: ("pc", "x10", "x11"),
}
BASE = 0x20_0000_0000
PAGES = 8
SHAPE = Shape(memory=2048, frames=16)
READ, WRITE = Permission.READ, Permission.WRITE
BOTH = READ | WRITE
EVERYWHERE = st.integers(0, PAGES * PAGE - 8)
PAGE_NUMBERS = st.integers(0, PAGES - 1)
COUNTS = st.integers(1, 4)
PERMISSIONS = st.sampled_from([READ, BOTH, BOTH, Permission.NONE])
IRREVERSIBLE = {"cca"}
"""Here a page that the host takes away is gone."""

KEYS = Path(mkdtemp(prefix="cloister-keys-"))


class MemoryModel(RuleBasedStateMachine):
    """`model` has what the program may see: page number to permission and content."""

    name = "native"
    directory = Path()

    def __init__(self) -> None:
        super().__init__()
        architecture = KINDS[self.name].architecture if self.name in KINDS else Architecture.X86_64
        text = f".globl _start, store\n_start: {CODE[architecture]}\n"
        image = read_image(assembled(self.directory, text, architecture))
        self.machine: Machine = machine_for(self.name, Run(), KEYS, image, shape=SHAPE)
        self.machine.launch(image)
        self.machine.start(["program"], {})
        self.load = image.entry
        self.store = image.entry + {Architecture.X86_64: 7}.get(architecture, 8)
        self.model: dict[int, tuple[Permission, bytearray]] = {}
        self.away: set[int] = set()
        self.machine.host.on_fault = self.repair

    def repair(self, address: int) -> bool:
        if address not in self.away:
            return False
        self.away.discard(address)
        self.machine.give_back(address)
        return True

    # ---- the model

    def allowed(self, place: int, needed: Permission) -> bool:
        touched = {place // PAGE, (place + 7) // PAGE}
        return all(needed in self.model.get(number, (Permission.NONE, b""))[0] for number in touched)

    def seen(self, place: int) -> bytes:
        return bytes(self.model[at // PAGE][1][at % PAGE] for at in range(place, place + 8))

    def put(self, place: int, data: bytes) -> None:
        for at, byte in enumerate(data, place):
            self.model[at // PAGE][1][at % PAGE] = byte

    # ---- the program

    @rule(first=PAGE_NUMBERS, count=COUNTS, permission=PERMISSIONS)
    def map(self, first: int, count: int, permission: Permission) -> None:
        numbers = range(first, min(first + count, PAGES))
        if permission and not self.model.keys() & set(numbers):
            self.machine.map(BASE + first * PAGE, len(numbers) * PAGE, permission)
            self.model |= {number: (permission, bytearray(PAGE)) for number in numbers}

    @rule(first=PAGE_NUMBERS, count=COUNTS, away=st.booleans())
    def unmap(self, first: int, count: int, *, away: bool) -> None:
        """Give memory up; `away`: memory that the host has just taken away."""
        if away and self.name not in IRREVERSIBLE:
            self.the_host_takes_a_page_away(first)
        for start, end in self.runs(first, count):
            self.machine.unmap(BASE + start * PAGE, (end - start) * PAGE)
            for number in range(start, end):
                del self.model[number]

    @rule(first=PAGE_NUMBERS, count=COUNTS, permission=PERMISSIONS)
    def protect(self, first: int, count: int, permission: Permission) -> None:
        for start, end in self.runs(first, count):
            self.machine.protect(BASE + start * PAGE, (end - start) * PAGE, permission)
            for number in range(start, end):
                self.model[number] = permission, self.model[number][1]

    @rule(number=PAGE_NUMBERS, away=st.booleans())
    def memory_that_was_used_before(self, number: int, *, away: bool) -> None:
        """A page is filled, given up and asked for again."""
        if WRITE in self.model.get(number, (Permission.NONE,))[0]:
            self.the_shim_writes(number * PAGE, b"\xee" * 8)
            self.unmap(number, 1, away=away)
            self.map(number, 1, READ)
            self.the_cpu_loads(number * PAGE)
            self.the_cpu_stores(number * PAGE, 1)

    def runs(self, first: int, count: int) -> list[tuple[int, int]]:
        """Mapped stretches, as the shim hands them in: whole pages that are mapped."""
        return [(number, number + 1) for number in range(first, min(first + count, PAGES)) if number in self.model]

    @rule(place=EVERYWHERE, data=st.binary(min_size=8, max_size=8))
    def the_shim_writes(self, place: int, data: bytes) -> None:
        if self.allowed(place, WRITE):
            self.machine.write(BASE + place, data)
            self.put(place, data)
        elif not self.allowed(place, WRITE):
            try:
                self.machine.write(BASE + place, data)
            except MemoryFault:
                self.resynchronise(place, data)
            else:
                pytest.fail(f"written at {place:#x}, where the program may not write")

    def resynchronise(self, place: int, data: bytes) -> None:
        """A write across two pages stops at the second: the first has changed."""
        if place // PAGE != (place + 7) // PAGE and WRITE in self.model.get(place // PAGE, (Permission.NONE,))[0]:
            self.put(place, data[: PAGE - place % PAGE])

    @rule(place=EVERYWHERE)
    def the_shim_reads(self, place: int) -> None:
        self.check(lambda: self.machine.read(BASE + place, 8), place)

    @rule(place=EVERYWHERE)
    def the_cpu_loads(self, place: int) -> None:
        def load() -> bytes:
            self.step(self.load, place)
            return self.machine.engine.read(NAMES[self.machine.architecture][1]).to_bytes(8, "little")

        self.check(load, place)

    @rule(place=EVERYWHERE, value=st.integers(0, (1 << 64) - 1))
    def the_cpu_stores(self, place: int, value: int) -> None:
        if self.allowed(place, WRITE):
            self.step(self.store, place, value)
            self.put(place, value.to_bytes(8, "little"))
        elif place // PAGE == (place + 7) // PAGE:
            with pytest.raises(MemoryFault):
                self.step(self.store, place, value)

    def check(self, read: Callable[[], bytes], place: int) -> None:
        if self.allowed(place, READ):
            assert read() == self.seen(place)
        else:
            with pytest.raises(MemoryFault):
                read()

    def step(self, code: int, place: int, value: int = 0) -> None:
        """One load or store on the machine's CPU, with the host's repairs."""
        engine = self.machine.engine
        names = NAMES[self.machine.architecture]
        for name, number in zip(names, (code, value, BASE + place), strict=True):
            engine.write(name, number)
        while True:
            event = engine.run()
            if event.stop is not Stop.FAULT:
                assert event.stop in {Stop.INSTRUCTION, Stop.EXCEPTION}
                return
            assert isinstance(event.fault, MemoryFault)
            if not self.machine._repaired(event.fault):
                raise event.fault

    # ---- the host, and what happens by itself

    @rule(number=PAGE_NUMBERS)
    def the_host_looks(self, number: int) -> None:
        self.at_the_host(number, lambda address: self.machine.host_read(self.machine.physical_page(address)))

    @precondition(lambda self: self.name not in IRREVERSIBLE)
    @rule(number=PAGE_NUMBERS)
    def the_host_takes_a_page_away(self, number: int) -> None:
        def take(address: int) -> None:
            if address not in self.away:
                self.machine.withhold(address)
                self.away.add(address)

        self.at_the_host(number, take)

    def at_the_host(self, number: int, action: Callable[[int], Any]) -> None:
        try:
            action(self.machine.host_address(BASE + number * PAGE))
        except (Refused, KeyError):
            return  # there is nothing yet, or this TEE lets nobody

    @rule()
    def everything_goes_to_dram(self) -> None:
        self.machine.settle()

    @rule()
    def an_interrupt(self) -> None:
        before = self.machine.engine.registers()
        self.machine.leave(Cause.INTERRUPT)
        self.machine.enter(Cause.INTERRUPT)
        assert self.machine.engine.registers() == before

    @invariant()
    def promises_are_kept_apart(self) -> None:
        assert all(
            number < BASE >> 12 or number - (BASE >> 12) in self.model or number >= (BASE >> 12) + PAGES
            for number in self.machine.reserved
        )

    def teardown(self) -> None:
        self.machine.close()


@pytest.mark.parametrize("name", ["native", *KINDS])
def test_memory_is_what_the_program_made_it(name: str, tmp_path: Path) -> None:
    kind = type("Kind", (MemoryModel,), {"name": name, "directory": tmp_path})
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=25, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
