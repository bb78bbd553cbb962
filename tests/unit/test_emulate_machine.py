"""The core of every machine, on the one without a TEE: memory, exits, the bounce buffer, how a run ends."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machines.build import ARCHITECTURES, LAB_PROGRAM, assembled, program
from tests.machines.running import SMALL, Run, machine_for

from cloister.emulate.host import Cause, PhysicalMemory
from cloister.emulate.linux.messages import HostCall, HostReply
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.paging import Access, MemoryFault, Stage
from cloister.errors import UsageError
from cloister.measure.image import PAGE, Architecture, Image, Permission, read_image

SECRET = b"FUNFOO"
DATA = 0x20_0000_0000


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[Machine, Image, Run]]:
    image = read_image(program(LAB_PROGRAM))
    run = Run([SECRET + b"\n", b"\n"])
    machine = machine_for("native", run, tmp_path, image)
    yield machine, image, run
    machine.close()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_exercise_runs(tmp_path: Path, architecture: Architecture) -> None:
    image = read_image(program(LAB_PROGRAM, architecture))
    run = Run([SECRET + b"\n", b"\n"])
    machine = machine_for("native", run, tmp_path, image)
    ending = run.of(machine, image)
    machine.close()
    assert (ending.status, ending.stopped) == (0, "")
    assert bytes(run.output) == b"Enter a secret: Hash of your input: 2084933351\n"


def test_few_frames_give_the_same_result(tmp_path: Path) -> None:
    image = read_image(program(LAB_PROGRAM))
    run = Run([SECRET + b"\n", b"\n"])
    machine = machine_for("native", run, tmp_path, image, shape=Shape(memory=8192, frames=16))
    ending = run.of(machine, image)
    assert machine.cache.misses > 100
    machine.close()
    assert ending.status == 0
    assert b"2084933351" in run.output


def test_promised_memory_is_committed_at_its_first_touch(lab: tuple[Machine, Image, Run]) -> None:
    machine, image, _ = lab
    machine.launch(image)
    left = machine.pages.left
    machine.map(DATA, 100 * PAGE, Permission.READ | Permission.WRITE)
    assert machine.pages.left == left
    machine.write(DATA + 5 * PAGE - 2, b"abcd")
    assert machine.read(DATA + 5 * PAGE - 3, 6) == b"\0abcd\0"
    assert machine.pages.left == left - 2


def test_unmapped_memory_is_gone_and_comes_back_as_zeros(lab: tuple[Machine, Image, Run]) -> None:
    machine, image, _ = lab
    machine.launch(image)
    machine.map(DATA, PAGE, Permission.READ | Permission.WRITE)
    machine.write(DATA, SECRET)
    machine.unmap(DATA, PAGE)
    with pytest.raises(MemoryFault):
        machine.read(DATA, 1)
    machine.map(DATA, PAGE, Permission.READ | Permission.WRITE)
    assert machine.read(DATA, PAGE) == bytes(PAGE)


def test_protection_holds_for_promised_and_for_committed_memory(lab: tuple[Machine, Image, Run]) -> None:
    machine, image, _ = lab
    machine.launch(image)
    machine.map(DATA, 2 * PAGE, Permission.READ | Permission.WRITE)
    machine.write(DATA, b"x")
    machine.protect(DATA, 2 * PAGE, Permission.READ)
    for place in (DATA, DATA + PAGE):
        assert machine.read(place, 1) in {b"x", b"\0"}
        with pytest.raises(MemoryFault) as caught:
            machine.write(place, b"y")
        assert caught.value.access is Access.WRITE


def test_memory_runs_out_with_a_reason(tmp_path: Path) -> None:
    promise = (
        "mov $9, %eax; xor %edi, %edi; mov $4096, %esi; mov $3, %edx; mov $0x22, %r10; mov $-1, %r8; xor %r9d, %r9d"
    )
    wait = "xor %eax, %eax; xor %edi, %edi; mov %rsp, %rsi; mov $1, %edx; syscall"
    touch = "movq $1, (%rbx); mov $60, %eax; xor %edi, %edi; syscall"
    image = read_image(
        assembled(tmp_path, f".globl _start\n_start: {promise}; syscall; mov %rax, %rbx; {wait}; {touch}\n")
    )
    endings = []
    for others_take_all in (False, True):
        run = Run([b"\n"])
        machine = machine_for("native", run, tmp_path, image)

        def take_all(_: int, machine: Machine = machine) -> None:
            while machine.pages.left:
                machine.pages.allocate()

        run.waiting = take_all if others_take_all else run.waiting
        endings.append(run.of(machine, image))
        machine.close()
    assert endings[0].status == 0
    assert endings[1].status == 128 + 9
    assert "out of memory" in endings[1].stopped


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_wild_access_ends_the_program_as_a_signal_does(tmp_path: Path, architecture: Architecture) -> None:
    load = {
        Architecture.X86_64: "mov 0x7000000, %rax",
        Architecture.ARM64: "mov x1, 0x7000000; ldr x0, [x1]",
        Architecture.RISCV64: "li a1, 0x7000000; ld a0, 0(a1)",
    }
    image = read_image(assembled(tmp_path, f".globl _start\n_start: {load[architecture]}\n", architecture))
    run = Run()
    machine = machine_for("native", run, tmp_path, image)
    ending = run.of(machine, image)
    machine.close()
    assert (ending.status, ending.stopped) == (128 + 11, "")
    assert "0x7000000" in ending.mistake


def test_an_illegal_instruction_ends_the_program(tmp_path: Path) -> None:
    image = read_image(assembled(tmp_path, ".globl _start\n_start: .byte 0x0f, 0x01, 0xd7\n"))
    run = Run()
    machine = machine_for("native", run, tmp_path, image)
    ending = run.of(machine, image)
    machine.close()
    assert ending.status == 128 + 4
    assert "illegal instruction" in ending.stopped


def test_the_host_sees_every_exit_and_its_cause(lab: tuple[Machine, Image, Run]) -> None:
    machine, image, run = lab
    machine.launch(image)
    machine.start(["program"], {})
    assert machine.run(steps=2000).status == 0
    causes = [view.cause for view in machine.host.seen]
    assert Cause.SYSTEM_CALL in causes
    assert Cause.INTERRUPT in causes
    assert bytes(run.output).endswith(b"2084933351\n")


def test_a_withheld_page_is_asked_for_and_the_program_goes_on(lab: tuple[Machine, Image, Run]) -> None:
    machine, image, run = lab
    machine.launch(image)
    machine.start(["program"], {})
    entry = machine.host_address(image.entry)
    machine.withhold(entry)
    asked: list[int] = []

    def give(address: int) -> bool:
        asked.append(address)
        machine.give_back(address)
        return True

    machine.host.on_fault = give
    assert machine.run().status == 0
    assert asked == [entry]
    assert [view.address for view in machine.host.seen if view.cause is Cause.PAGE_FAULT] == [entry]
    assert run.output.endswith(b"2084933351\n")


def test_a_page_that_the_host_keeps_back_ends_the_program(lab: tuple[Machine, Image, Run]) -> None:
    machine, image, _ = lab
    machine.launch(image)
    machine.start(["program"], {})
    machine.withhold(machine.host_address(image.entry))
    assert machine.run().stopped.startswith(Stage.HOST.value)


def test_a_sealed_console_shows_the_host_nothing_and_a_plain_one_everything(lab: tuple[Machine, Image, Run]) -> None:
    machine, image, _ = lab
    passed: list[bytes] = []
    serve = machine.host.serve

    def listening(request: bytes) -> bytes:
        reply = serve(request)
        passed.extend((request, reply))
        return reply

    machine.host.serve = listening
    machine.launch(image)
    machine.start(["program"], {})
    assert machine.run().status == 0
    assert passed
    assert not [one for one in passed if SECRET in one or b"2084933351" in one]


def test_a_lying_host_stops_the_program(lab: tuple[Machine, Image, Run]) -> None:
    machine, image, _ = lab
    machine.launch(image)
    machine.host.serve = lambda request: request[:7]
    machine.start(["program"], {})
    ending = machine.run()
    assert ending.status == 128 + 9
    assert "host" in ending.stopped


def test_no_tee_no_measurement_no_evidence(lab: tuple[Machine, Image, Run]) -> None:
    machine, image, _ = lab
    machine.launch(image)
    with pytest.raises(UsageError, match="nothing could vouch"):
        machine.evidence(b"nonce")
    with pytest.raises(UsageError, match="nothing could vouch"):
        _ = machine.measurement


def test_physical_memory_ends() -> None:
    memory = PhysicalMemory(10, 2)
    assert [memory.allocate(), memory.allocate()] == [10, 11]
    with pytest.raises(MemoryError, match="in use"):
        memory.allocate()
    memory.free(10)
    assert (memory.left, memory.allocate()) == (1, 10)


def test_registers_are_cleared_for_the_host_between_exit_and_entry(lab: tuple[Machine, Image, Run]) -> None:
    machine, image, _ = lab
    machine.launch(image)
    machine.start(["program"], {})
    held: list[bool] = []
    machine.host.on_exit = lambda _: held.append(any(machine.engine.registers()[:15]))
    machine.run()
    assert held
    assert not any(held)


def test_shape_is_what_was_asked_for(lab: tuple[Machine, Image, Run]) -> None:
    assert lab[0].dram.pages == SMALL.memory


def test_floating_point_begins_as_the_abi_says(tmp_path: Path) -> None:
    """System V ABI for x86-64, 3.4.1: the x87 control word is 0x37f, MXCSR is 0x1f80."""
    stores = "sub $16, %rsp; fnstcw (%rsp); stmxcsr 4(%rsp)"
    write = "mov $1, %eax; mov $1, %edi; mov %rsp, %rsi; mov $8, %edx; syscall"
    text = f".globl _start\n_start: movq $0, -16(%rsp); {stores}; {write}; mov $60, %eax; xor %edi, %edi; syscall\n"
    image = read_image(assembled(tmp_path, text))
    run = Run()
    machine = machine_for("native", run, tmp_path, image)
    assert run.of(machine, image).status == 0
    machine.close()
    assert bytes(run.output) == (0x37F).to_bytes(4, "little") + (0x1F80).to_bytes(4, "little")


def test_a_host_that_does_not_carry_the_last_record_leaves_the_owner_without_an_end(tmp_path: Path) -> None:
    image = read_image(assembled(tmp_path, ".globl _start\n_start: mov $60, %eax; xor %edi, %edi; syscall\n"))
    run = Run()
    machine = machine_for("native", run, tmp_path, image)
    machine.host.serve = lambda request: HostReply.message(
        HostCall.parse(request[: HostCall.SIZE]).operation, HostCall.parse(request[: HostCall.SIZE]).sequence, errno.EIO
    )
    ending = run.of(machine, image)
    machine.close()
    assert ending.status == 0
