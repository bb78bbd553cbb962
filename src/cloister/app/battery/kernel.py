"""Attacks through the kernel itself, against which the software enclave claims nothing; and from below it."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, NotTried, failed, succeeded
from cloister.app.battery.memory import own_libc, readable
from cloister.app.battery.procfs import not_here
from cloister.app.battery.target import VICTIM, Arena, Target
from cloister.app.battery.tracing import program, run_tool

__all__ = ["KERNEL"]

VARIABLE = "TOKEN"
SAMPLE_SECONDS = "0.5"
TOOL_SECONDS = 30.0
UPROBE = Path("/sys/bus/event_source/devices/uprobe/type")
FUNCTION = "malloc"
KNOWN_BYTES = 32


def sampled(options: list[str], arena: Arena) -> Attempt:
    """Perf record of a program that has its secret among its variables, which stand on the stack."""
    tool = program("perf")
    with arena.target(variable=VARIABLE, built_in=True) as target:
        target.tell("spin")
        output = target.directory / "perf.data"
        command = [
            tool,
            "record",
            "-q",
            "-o",
            str(output),
            "-p",
            str(target.pid),
            *options,
            "--",
            "sleep",
            SAMPLE_SECONDS,
        ]
        said = run_tool(command, target.directory)
        if not output.exists():
            raise NotTried(f"perf does not work here: {said.strip()[:100]}")
        return looked(target, output.read_bytes(), options)


def looked(target: Target, data: bytes, options: list[str]) -> Attempt:
    """For stacks, whether the secret is in them; for registers, whether any came."""
    if "--call-graph" in options:
        return succeeded("the secret is in the samples") if target.secret in data else failed("not in the samples")
    return succeeded("registers were sampled") if len(data) > 1 << 16 else failed("no samples came")


def stacks(arena: Arena) -> Attempt:
    """Copies of the stack, as large as they can be."""
    return sampled(["-e", "cpu-clock", "-c", "2000000", "--call-graph", "dwarf,65528"], arena)


def registers(arena: Arena) -> Attempt:
    """Registers, ten thousand times a second."""
    return sampled(["-e", "cpu-clock", "-F", "9999", "--user-regs=ax,bx,cx,dx,si,di,sp,ip"], arena)


def uprobe(arena: Arena) -> Attempt:
    """Count calls of malloc, in libc's file, or in the sealed copy of it."""
    if not UPROBE.exists():
        raise NotTried("this kernel has no uprobes")
    with arena.target(built_in=True) as target:
        path, offset = function_in(target)
        try:
            fd = calls.perf_uprobe(int(UPROBE.read_text()), os.fsencode(path), offset, target.pid)
        except OSError as error:
            return failed(f"perf_event_open: {error.strerror}")
        try:
            target.tell("fork")
            time.sleep(0.5)
            count = int.from_bytes(os.read(fd, 8), "little")
        finally:
            os.close(fd)
        return succeeded("calls were seen") if count else failed("no call was seen")


def function_in(target: Target) -> tuple[str, int]:
    """The file that the code of malloc is mapped from, as root can name it, and the place in it."""
    code = code_of(FUNCTION)
    for mapping, at, data in readable(target.pid):
        place = data.find(code)
        if place >= 0 and "x" in mapping.permissions:
            link = f"/proc/{target.pid}/map_files/{mapping.start:x}-{mapping.end:x}"
            return link, mapping.offset + at + place - mapping.start
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


PERF = "perf_event_open(2)"
KERNEL = (
    Attack(name="perf-stacks", what="perf: samples of the stack", source=PERF, reader="kernel", run=stacks),
    Attack(name="perf-registers", what="perf: samples of registers", source=PERF, reader="kernel", run=registers),
    Attack(name="uprobe", what="a uprobe in its code", source=PERF, reader="kernel", run=uprobe),
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
