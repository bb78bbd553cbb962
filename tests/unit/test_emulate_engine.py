"""The CPU engine: runs instructions, asks for every translation, and says why it stopped."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.machines.build import ARCHITECTURES, assembled

from cloister.emulate.engine_unsafe import Engine, Stop
from cloister.emulate.frames_unsafe import FramePool
from cloister.emulate.paging import NEEDED, Access, IntegrityFault, MemoryFault, Stage
from cloister.measure.image import PAGE, Architecture, read_image

CALL = {
    Architecture.X86_64: (
        "mov $39, %eax; mov $7, %edi; mov $8, %esi; mov $9, %edx; mov $10, %r10; mov $11, %r8; mov $12, %r9; syscall"
    ),
    Architecture.ARM64: "mov x8, 172; mov x0, 7; mov x1, 8; mov x2, 9; mov x3, 10; mov x4, 11; mov x5, 12; svc 0",
    Architecture.RISCV64: "li a7, 172; li a0, 7; li a1, 8; li a2, 9; li a3, 10; li a4, 11; li a5, 12; ecall",
}
NUMBER = {Architecture.X86_64: 39, Architecture.ARM64: 172, Architecture.RISCV64: 172}
ILLEGAL = {
    Architecture.X86_64: ".byte 0x0f, 0x01, 0xd7",
    Architecture.ARM64: ".word 0",
    Architecture.RISCV64: ".word 0",
}
SPIN = {Architecture.X86_64: "1: jmp 1b", Architecture.ARM64: "1: b 1b", Architecture.RISCV64: "1: j 1b"}
LOAD = {
    Architecture.X86_64: "mov 0x7000000, %rax",
    Architecture.ARM64: "mov x1, 0x7000000; ldr x0, [x1]",
    Architecture.RISCV64: "li a1, 0x7000000; ld a0, 0(a1)",
}

Make = Callable[[Architecture, str], "Flat"]


class Flat:
    """An engine over a few frames without any check."""

    def __init__(self, image_bytes: bytes) -> None:
        image = read_image(image_bytes)
        self.pool, self.where, self.asked = FramePool(32), {}, list[tuple[int, Access]]()
        for number, page in enumerate(image.pages):
            self.pool.views[number][:] = page.content
            self.where[page.address >> 12] = (number, int(page.permission))
        self.fault: Exception | None = None
        self.engine = Engine(image.architecture, self.pool, self.fill)
        self.engine.begin(image.entry, 0)

    def fill(self, address: int, access: Access) -> tuple[int, int] | None:
        self.asked.append((address, access))
        if self.fault is not None:
            raise self.fault
        found = self.where.get(address >> 12)
        if found is None or not found[1] & NEEDED[access]:
            raise MemoryFault(address, access, Stage.PROGRAM, "not mapped")
        return found

    def close(self) -> None:
        self.engine.close()
        del self.engine
        self.pool.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Flat] = []

    def flat(architecture: Architecture, text: str) -> Flat:
        made.append(Flat(assembled(tmp_path, f".globl _start\n_start: {text}\n", architecture)))
        return made[-1]

    yield flat
    for one in made:
        one.close()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_system_call_stops_behind_itself_with_number_and_arguments(make: Make, architecture: Architecture) -> None:
    flat = make(architecture, f"{CALL[architecture]}; {CALL[architecture]}")
    for _ in range(2):  # the second only if the program counter stands behind the first
        assert flat.engine.run().stop is Stop.SYSTEM_CALL
        assert flat.engine.system_call() == (NUMBER[architecture], [7, 8, 9, 10, 11, 12])
        flat.engine.set_result(-38)
    assert flat.engine.registers()[flat.engine.names.index(RESULT[architecture])] == 2**64 - 38


RESULT = {Architecture.X86_64: "rax", Architecture.ARM64: "x0", Architecture.RISCV64: "x10"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_unknown_instruction_is_reported_where_it_stands(make: Make, architecture: Architecture) -> None:
    flat = make(architecture, f"{ILLEGAL[architecture]}")
    start = flat.engine.program_counter
    event = flat.engine.run()
    assert event.stop in {Stop.INSTRUCTION, Stop.EXCEPTION}
    assert flat.engine.program_counter in range(start, start + 5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fault_carries_address_and_access_and_the_load_can_be_repeated(make: Make, architecture: Architecture) -> None:
    flat = make(architecture, f"{LOAD[architecture]}; {CALL[architecture]}")
    event = flat.engine.run()
    assert event.stop is Stop.FAULT
    assert isinstance(event.fault, MemoryFault)
    assert (event.fault.address, event.fault.access) == (0x7000000, Access.READ)
    flat.where[0x7000] = (31, 1)
    assert flat.engine.run().stop is Stop.SYSTEM_CALL


def test_integrity_fault_is_its_own_event(make: Make) -> None:
    flat = make(Architecture.X86_64, "nop")
    flat.fault = IntegrityFault(5, "a bit was flipped")
    event = flat.engine.run()
    assert (event.stop, event.fault) == (Stop.INTEGRITY, flat.fault)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_steps_interrupt_an_endless_loop(make: Make, architecture: Architecture) -> None:
    flat = make(architecture, SPIN[architecture])
    assert flat.engine.run(1000).stop is Stop.STEPS


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_state_is_gone_until_it_is_restored(make: Make, architecture: Architecture) -> None:
    flat = make(architecture, CALL[architecture])
    flat.engine.run()
    before = flat.engine.registers()
    flat.engine.save()
    assert flat.engine.registers() != before
    assert 11 not in flat.engine.registers()
    flat.engine.restore()
    assert flat.engine.registers() == before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_registers_can_all_be_set(make: Make, architecture: Architecture) -> None:
    flat = make(architecture, CALL[architecture])
    values = flat.engine.registers()
    place = flat.engine.names.index(RESULT[architecture])
    values[place] = 0x1122334455667788
    flat.engine.set_registers(values)
    assert flat.engine.read(RESULT[architecture]) == 0x1122334455667788
    flat.engine.write(RESULT[architecture], -1)
    assert flat.engine.registers()[place] == 2**64 - 1


def test_code_that_was_changed_runs_changed_after_it_was_forgotten(make: Make) -> None:
    flat = make(Architecture.X86_64, "1: mov $1, %eax; syscall; jmp 1b")
    flat.engine.run()
    assert flat.engine.system_call()[0] == 1
    code = flat.engine.program_counter & (PAGE - 1)
    view = flat.pool.views[flat.where[flat.engine.program_counter >> 12][0]]
    view[bytes(view).find(b"\xb8\x01") + 1] = 2
    flat.engine.flush_translations()
    flat.engine.forget_code()
    flat.engine.run()
    assert (flat.engine.system_call()[0], flat.engine.program_counter & (PAGE - 1)) == (2, code)


def test_a_fill_that_asks_to_forget_code_is_asked_again(make: Make) -> None:
    flat = make(Architecture.X86_64, "mov $1, %eax; syscall")
    answers = [None]
    fill = flat.fill
    flat.engine._fill = lambda address, access: answers.pop() if answers else fill(address, access)
    assert flat.engine.run().stop is Stop.SYSTEM_CALL
    assert not answers


def test_another_exception_in_a_fill_comes_out_of_run(make: Make) -> None:
    flat = make(Architecture.X86_64, "nop")
    flat.fault = MemoryError("all pages are in use")
    with pytest.raises(MemoryError, match="in use"):
        flat.engine.run()


def test_frames_are_wiped_when_they_are_given_back() -> None:
    pool = FramePool(2)
    pool.views[1][:6] = b"secret"
    pool.wipe()
    assert not any(pool.views[1])
    pool.close()


@pytest.mark.parametrize("answer", [None, MemoryFault(0x1000, Access.FETCH, Stage.PROGRAM, "gone")])
def test_what_the_engine_looks_up_when_it_stops_counting_steps_is_no_end(
    make: Make, answer: MemoryFault | None
) -> None:
    flat = make(
        Architecture.X86_64, "nop; nop; jmp 1f; .balign 4096; 1: nop; mov $1, %eax; syscall; mov $2, %eax; syscall"
    )
    first, fill, asked = flat.engine.program_counter >> 12, flat.fill, list[int]()
    for _ in range(4):
        assert flat.engine.run(1).stop is Stop.STEPS

    def without_the_first_page(address: int, access: Access) -> tuple[int, int] | None:
        if address >> 12 != first:
            return fill(address, access)
        asked.append(address)
        if answer is not None:
            raise answer
        return None

    flat.engine._fill = without_the_first_page
    flat.engine.flush_translations()
    assert (flat.engine.run().stop, flat.engine.system_call()[0]) == (Stop.SYSTEM_CALL, 1)
    assert (flat.engine.run().stop, flat.engine.system_call()[0]) == (Stop.SYSTEM_CALL, 2)
    assert asked
