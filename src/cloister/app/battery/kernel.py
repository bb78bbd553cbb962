"""Attacks through the kernel itself, against which the software enclave claims nothing; and from below it."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.bpf_unsafe import stack_samples
from cloister.app.battery.memory import maps_of, own_libc, readable
from cloister.app.battery.procfs import not_here
from cloister.app.battery.target import VICTIM, Arena, Start, Target
from cloister.app.battery.tracing import program, run_tool
from cloister.observe.trace.tracefs import MOUNTED, open_instance, why_unavailable

__all__ = ["KERNEL", "in_samples"]

VARIABLE = "TOKEN"
SAMPLE_SECONDS = "0.5"
TOOL_SECONDS = 30.0
UPROBE = Path("/sys/bus/event_source/devices/uprobe/type")
FUNCTION = "malloc"
KNOWN_BYTES = 32
MANY_SAMPLES, STARTS = 1 << 16, 5
TRACE_PAGE, TRACE_SIZE = 4096, 0xFFFFF
"""events/header_page of tracefs; the upper bits of the size say whether events were lost."""
STACKS = ("-c", "2000000", "--call-graph", "dwarf,65528")
BREAKPOINT, EXECUTED = 5, 4
"""PERF_TYPE_BREAKPOINT, HW_BREAKPOINT_X."""
FILLER = {"FILLER": "-" * 1024}
"""Lies above the secret, so that this is in no piece that reaches past the end of the stack."""


def perf_samples(target: Target, options: list[str], user: int | None = None) -> bytes:
    """What perf record keeps of the program. NotTried where perf cannot."""
    output = target.directory / "perf.data"
    command = [program("perf"), "record", "-q", "-o", str(output), "-p", str(target.pid), *options]
    said = run_tool([*command, "--", "sleep", SAMPLE_SECONDS], target.directory, user=user)
    if not output.exists():
        raise NotTried(f"perf does not work here: {said.strip()[:100]}")
    return output.read_bytes()


def stacks(arena: Arena) -> Attempt:
    """Copies of the stack, as large as they can be, of a program that has its secret among its variables."""
    return in_samples(lambda: arena.target(variable=VARIABLE, built_in=True), "cpu-clock")


def in_samples(
    program_of: Callable[[], AbstractContextManager[Target]], event: str, user: int | None = None
) -> Attempt:
    """Whether the secret comes by in samples of the stack of the busy program.

    It is started anew some times: samples end at the first page that was never touched, and chance puts one between
    the stack pointer and the variables or not.
    """
    for _ in range(STARTS):
        with program_of() as target:
            target.tell("spin")
            samples = perf_samples(target, ["-e", event, *STACKS], user)
            if target.secret in samples:
                return succeeded("the secret is in the samples")
            if not samples:
                return failed("perf was refused")
    return failed(f"not in the samples of {STARTS} starts")


def registers(arena: Arena) -> Attempt:
    """Registers, ten thousand times a second."""
    with arena.target(built_in=True) as target:
        target.tell("spin")
        data = perf_samples(target, ["-e", "cpu-clock", "-F", "9999", "--user-regs=ax,bx,cx,dx,si,di,sp,ip"])
        return succeeded("registers were sampled") if len(data) > MANY_SAMPLES else failed("no samples came")


def uprobe(arena: Arena) -> Attempt:
    """Count calls of malloc, in libc's file, or in the sealed copy of it."""
    if not UPROBE.exists():
        raise NotTried("this kernel has no uprobes")
    with arena.target(built_in=True) as target:
        path, offset = function_in(target)
        try:
            fd = calls.perf_uprobe(int(UPROBE.read_text()), os.fsencode(path), offset, target.pid)
        except PermissionError as error:
            if arena.enclaved:
                return failed(str(error.strerror))
            raise NotTried(f"{error.strerror}") from error
        try:
            target.tell("fork")
            time.sleep(0.5)
            count = int.from_bytes(os.read(fd, 8), "little")
        finally:
            os.close(fd)
        return succeeded("calls were seen") if count else failed("no call was seen")


def function_in(target: Target) -> tuple[str, int]:
    """The file that the code of malloc is mapped from, as root can name it, and the place in it."""
    at = address_of(FUNCTION, target)
    mapping = next(one for one in maps_of(target.pid) if one.start <= at < one.end)
    return f"/proc/{target.pid}/map_files/{mapping.start:x}-{mapping.end:x}", mapping.offset + at - mapping.start


def address_of(name: str, target: Target) -> int:
    """Where a function of the C library stands in the program's code."""
    code = code_of(name)
    for mapping, at, data in readable(target.pid):
        place = data.find(code)
        if place >= 0 and "x" in mapping.permissions:
            return at + place
    raise NotTried("the function was not found in the program's code")


def code_of(name: str) -> bytes:
    """The first bytes of a function of this machine's C library."""
    libc = own_libc()
    with contextlib.suppress(OSError, ELFError), Path(libc).open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".dynsym")
        symbols = table.get_symbol_by_name(name) if isinstance(table, SymbolTableSection) else None
        for symbol in symbols or []:
            offset = next(iter(elf.address_offsets(symbol["st_value"])))
            file.seek(offset)
            if code := file.read(KNOWN_BYTES):
                return code
    raise NotTried("this machine's C library was not found")


def bpf(arena: Arena) -> Attempt:
    """Bpftrace copies what the program reads, from the buffer in its memory."""
    tool = program("bpftrace")
    with arena.started(VICTIM, os.urandom(14).hex().encode()) as target:
        script = (
            f"tracepoint:syscalls:sys_enter_read /pid == {target.pid}/ {{ @b[tid] = args->buf; }} "
            f'tracepoint:syscalls:sys_exit_read /@b[tid]/ {{ printf("%c", *(uint8*)uptr(@b[tid])); }}'
        )
        with subprocess.Popen([tool, "-e", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            time.sleep(3.0)
            target.tell(target.secret.decode())
            time.sleep(0.5)
            process.terminate()
            said, _ = process.communicate(timeout=TOOL_SECONDS)
        return succeeded("the secret was copied") if target.secret in said else failed("not copied")


def bpf_stacks(arena: Arena) -> Attempt:
    """A BPF program of the battery's own copies the stack at each tick of the clock."""
    with arena.target(variable=VARIABLE, built_in=True, start=Start(environment=FILLER)) as target:
        target.tell("spin")
        try:
            seen = stack_samples(target.pid, float(SAMPLE_SECONDS), target.secret)
        except OSError as error:
            raise NotTried(f"{error.strerror or error}") from error
        return succeeded("the secret was copied from the stack") if seen else failed("not in what was copied")


def tracepoints(arena: Arena) -> Attempt:
    """The kernel's tracer lists the program's system calls: numbers, arguments, results, no memory."""
    if why := why_unavailable():
        raise NotTried(why)
    with arena.target() as target, open_instance() as instance:
        instance.follow([target.pid])
        instance.record()
        target.tell("check")
        time.sleep(float(SAMPLE_SECONDS))
        size = sum(map(traced, instance.open_buffers()))
        return succeeded(f"{size:,} bytes about its calls") if size else failed("nothing was traced")


def traced(descriptor: int) -> int:
    """How many bytes of events a buffer of the tracer has, by its pages' headers; and close it."""
    found = 0
    try:
        with contextlib.suppress(BlockingIOError):
            while page := os.read(descriptor, TRACE_PAGE):
                found += int.from_bytes(page[8:16], "little") & TRACE_SIZE
    finally:
        os.close(descriptor)
    return found


def kprobe(_arena: Arena) -> Attempt:
    """A probe in the kernel that copies what a system call is given."""
    if not any(os.access(f"{place}/kprobe_events", os.W_OK) for place in MOUNTED):
        raise NotTried("no kprobe can be made here")
    raise NotTried("a BPF program shows the same: bpf-stacks")


def hardware_breakpoint(arena: Arena) -> Attempt:
    """A breakpoint of the processor, by perf, at a function of the program."""
    with arena.target(built_in=True) as target:
        try:
            fd = calls.perf_event(target.pid, BREAKPOINT, 0, (1, 1 << 5, EXECUTED, address_of(FUNCTION, target), 8))
        except OSError as error:
            raise NotTried(f"perf_event_open: {error.strerror or error}") from error
        try:
            target.tell("fork")
            time.sleep(0.5)
            count = int.from_bytes(os.read(fd, 8), "little")
        finally:
            os.close(fd)
        return succeeded("calls were seen") if count else failed("no call was seen")


PERF = "perf_event_open(2)"
KERNEL = (
    Attack(name="perf-stacks", what="perf: samples of the stack", source=PERF, reader="kernel", run=stacks),
    Attack(name="perf-registers", what="perf: samples of registers", source=PERF, reader="kernel", run=registers),
    Attack(name="uprobe", what="a uprobe in its code", source=PERF, reader="kernel", run=uprobe),
    Attack(
        name="tracepoints",
        what="list its system calls by tracepoints",
        source="ftrace.rst, events.rst",
        run=tracepoints,
        declared="system calls",
    ),
    Attack(name="kprobe", what="a kprobe copies arguments", source="kprobetrace.rst", reader="kernel", run=kprobe),
    Attack(
        name="breakpoint",
        what="a hardware breakpoint in its code",
        source=PERF,
        reader="kernel",
        run=hardware_breakpoint,
    ),
    Attack(
        name="bpf-stacks",
        what="a BPF program copies its stack",
        source="bpf(2), bpf-helpers(7)",
        reader="kernel",
        run=bpf_stacks,
    ),
    Attack(name="bpf", what="bpftrace copies what it reads", source="bpf(2)", reader="kernel", run=bpf),
    Attack(
        name="module",
        what="a kernel module",
        source="init_module(2)",
        reader="kernel",
        run=not_here("it would change the kernel of this machine"),
    ),
    Attack(
        name="hypervisor",
        what="read the guest's memory",
        source="KVM API",
        reader="kernel",
        run=not_here("it is beneath this machine"),
    ),
    Attack(
        name="cold-boot",
        what="cool the chips and read them",
        source="Halderman et al., USENIX Security 2008",
        reader="physical",
        run=not_here("it takes hands"),
    ),
)
