"""Inspects the built runtime as a stranger would: from its bytes alone.

1. No segment is writable and executable; the stack is not executable; nothing is relocated or loaded dynamically.
2. The kernel is entered only from the gate (entry.S): every `syscall` stands between the symbols gate_start and
   gate_end, and there no bytes of another instruction are one. The seccomp filter exempts exactly that range: one more
   inside it would be a way around the filter. Outside it the bytes may stand inside other instructions, as they do by
   chance in a large program: whoever jumps there is trapped, as the program itself is.
3. No other way into the kernel (`int`, `sysenter`; the filter kills who makes a 32-bit system call), no vector, mask
   or floating-point register: the runtime runs between two instructions of a program, whose registers it does not save.
   Three exceptions. What stands between the symbols vector_start and vector_end saves each that it uses before anything
   else, and restores it after everything else. The section vector_text (volume/aes_gcm.c) uses those of SSE and no
   others, so the upper halves survive; nothing goes there but the code between vector_doors_start and vector_doors_end,
   which saves all of them before it calls, and restores them after it. And between the symbols vector_back_start and
   vector_back_end they are loaded as the kernel saved them for a signal's handler, and nothing else is done with them.
4. The entry point is text, and the whole stays small enough to read.
5. What it can write begins as zeros, not as bytes of the file: the guard recognises the runtime by what it cannot write
   (guard_key.c).

The build keeps its symbols (some KB), so that this can be asked of the very file that ships.
What it does not do: prove that the gate is called with the right arguments. Sources: System V ABI, ELF-64 object file
format; Intel SDM volume 2 for encodings.

usage: python3 inspect_binary.py RUNTIME      exit status: 0 nothing found, 1 findings on standard output, 2 usage
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

SIZE_LIMIT = 512 << 10
"""Bytes of the file, symbols included. Reaching it is no fault in itself; it asks for a look at what grew."""

READ, WRITE, EXECUTE = 4, 2, 1
SYSCALL = b"\x0f\x05"
DYNAMIC_SECTIONS = {"SHT_REL", "SHT_RELA", "SHT_RELR", "SHT_DYNAMIC", "SHT_DYNSYM", "SHT_HASH", "SHT_GNU_HASH"}
DYNAMIC_SEGMENTS = {"PT_DYNAMIC", "PT_INTERP", "PT_TLS"}
INSTRUCTION = re.compile(
    r"^ *([0-9a-f]+):\t(?:(?:lock|rep|repz|repnz|bnd|notrack|data16|cs|ds|es|ss) )*([a-z0-9().]+)(.*)"
)
OTHER_ENTRIES = re.compile(r"(int|int1|int3|into|sysenter|sysexit|sysret[lq]?|iret[wlq]?|lcall|ljmp|vmcall|vmmcall)")
VECTOR_REGISTER = re.compile(r"%(?:[xyz]?mm\d+|st\b|st\(\d\)|k[0-7]\b|tmm\d)")
SAVE = re.compile(r"movdqu (%xmm\d+),(0x[0-9a-f]+)?\(%rsp\)")
RESTORE = re.compile(r"movdqu (0x[0-9a-f]+)?\(%rsp\),(%xmm\d+)")
XMM = [f"%xmm{number}" for number in range(16)]
TARGET = re.compile(r"(?:^|# )([0-9a-f]+) <")
GIVES_BACK = re.compile(r"f?xrstor64 \(%rdi\)")
VECTOR_STATE = re.compile(r"f[a-z0-9]+|v[a-z0-9]+|emms|xsave\w*|xrstor\w*|ldmxcsr|stmxcsr|wait")


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One line of the disassembly."""

    address: int
    mnemonic: str
    operands: str


@dataclass(frozen=True, kw_only=True)
class Text:
    """One executable segment's bytes as the file holds them."""

    address: int
    data: bytes

    def holds(self, address: int) -> bool:
        """Whether `address` stands in it."""
        return self.address <= address < self.address + len(self.data)


@dataclass(frozen=True, kw_only=True)
class Binary:
    """What is inspected. The ranges are [start, end), empty if the file has no such symbols or section."""

    size: int
    entry: int
    segments: list[tuple[str, int]]  # p_type, p_flags
    written: int  # bytes of the file in writable segments
    sections: list[str]  # sh_type
    texts: list[Text]
    gate: range
    vector: range
    doors: range
    back: range
    vector_text: range
    instructions: list[Instruction]


def read_binary(path: Path) -> Binary:
    """Read and disassemble `path`; ELFError if it is no ELF file."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        segments = list(elf.iter_segments())
        loads = [s for s in segments if s["p_type"] == "PT_LOAD" and s["p_flags"] & EXECUTE]
        return Binary(
            size=path.stat().st_size,
            entry=elf["e_entry"],
            segments=[(s["p_type"], s["p_flags"]) for s in segments],
            written=sum(s["p_filesz"] for s in segments if s["p_type"] == "PT_LOAD" and s["p_flags"] & WRITE),
            sections=[s["sh_type"] for s in elf.iter_sections()],
            texts=[Text(address=s["p_vaddr"], data=s.data()) for s in loads],
            gate=between(elf, "gate_start", "gate_end"),
            vector=between(elf, "vector_start", "vector_end"),
            doors=between(elf, "vector_doors_start", "vector_doors_end"),
            back=between(elf, "vector_back_start", "vector_back_end"),
            vector_text=section_range(elf, "vector_text"),
            instructions=disassemble(path),
        )


def between(elf: ELFFile, start: str, end: str) -> range:
    """The addresses between two symbols."""
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return range(0)
    at = {s.name: s["st_value"] for s in table.iter_symbols() if s.name in {start, end}}
    return range(at[start], at[end]) if len(at) == 2 else range(0)


def section_range(elf: ELFFile, name: str) -> range:
    """The addresses of a section."""
    section = elf.get_section_by_name(name)
    return range(section["sh_addr"], section["sh_addr"] + section["sh_size"]) if section else range(0)


def disassemble(path: Path) -> list[Instruction]:
    """Every instruction of the executable sections, by objdump."""
    command = ["objdump", "--disassemble", "--no-show-raw-insn", "--wide", str(path)]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = (INSTRUCTION.match(line) for line in listing.splitlines())
    return [Instruction(address=int(m[1], 16), mnemonic=m[2], operands=m[3].strip()) for m in found if m]


def layout_findings(binary: Binary) -> Iterator[str]:
    """Segments and sections that must not be there."""
    for kind, flags in binary.segments:
        if kind == "PT_LOAD" and flags & WRITE and flags & EXECUTE:
            yield "a segment is writable and executable"
        if kind == "PT_GNU_STACK" and flags & EXECUTE:
            yield "the stack is executable"
        if kind in DYNAMIC_SEGMENTS:
            yield f"a {kind} segment: the kernel or another program would take part in loading"
    if not any(kind == "PT_GNU_STACK" for kind, _ in binary.segments):
        yield "no PT_GNU_STACK segment, so the stack is executable"
    for kind in sorted(DYNAMIC_SECTIONS & set(binary.sections)):
        yield f"a {kind} section: there is something to relocate or to resolve"
    if binary.written:
        yield f"{binary.written} bytes of the file are writable: initialised data, which the guard does not compare"
    if not any(text.holds(binary.entry) for text in binary.texts):
        yield f"the entry point {binary.entry:#x} is not in text"
    if binary.size > SIZE_LIMIT:
        yield f"{binary.size} bytes are more than {SIZE_LIMIT}"


def raw_places(binary: Binary, pattern: bytes) -> Iterator[int]:
    """Every address of the executable segments where these bytes stand, instruction or not."""
    for text in binary.texts:
        at = text.data.find(pattern)
        while at >= 0:
            yield text.address + at
            at = text.data.find(pattern, at + 1)


def entry_findings(binary: Binary) -> Iterator[str]:
    """Ways into the kernel that are not the gate's."""
    if not binary.gate:
        yield "no gate_start and gate_end symbols, so the gate cannot be found"
    declared = {i.address for i in binary.instructions if i.mnemonic == "syscall"}
    for address in raw_places(binary, SYSCALL):
        if address in binary.gate and address not in declared:
            yield f"{address:#x}: the bytes of a syscall inside another instruction of the gate"
        elif address not in binary.gate and address in declared:
            yield f"{address:#x}: a syscall instruction outside the gate"
    for address in sorted(declared - set(raw_places(binary, SYSCALL))):
        yield f"{address:#x}: a syscall instruction outside every loaded executable segment"


def other_entry_findings(binary: Binary) -> Iterator[str]:
    """Interrupts and the like."""
    for one in binary.instructions:
        if OTHER_ENTRIES.fullmatch(one.mnemonic):
            yield f"{one.address:#x}: {one.mnemonic} {one.operands}".rstrip()
        if "(bad)" in one.mnemonic:
            yield f"{one.address:#x}: bytes in text that are no instruction"


def register_findings(binary: Binary) -> Iterator[str]:
    """Uses of registers that the runtime does not save."""
    yield from unsaved_findings([one for one in binary.instructions if one.address in binary.vector])
    yield from door_findings(binary)
    yield from passing_findings(binary)
    for one in binary.instructions:
        gives_back = one.address in binary.back and GIVES_BACK.fullmatch(f"{one.mnemonic} {one.operands}")
        if (VECTOR_STATE.fullmatch(one.mnemonic) and not gives_back) or forbidden_registers(binary, one):
            yield f"{one.address:#x}: {one.mnemonic} {one.operands}: a vector or floating-point register"


def forbidden_registers(binary: Binary, one: Instruction) -> set[str]:
    """The vector registers that `one` must not use where it stands."""
    if one.address in binary.vector or one.address in binary.doors:
        return set()
    allowed = set(XMM) if one.address in binary.vector_text else set()
    return set(VECTOR_REGISTER.findall(one.operands)) - allowed


def unsaved_findings(routine: list[Instruction]) -> Iterator[str]:
    """Registers that the vector routine does not save at its start or restore at its end, each in its place."""
    used = {register for one in routine for register in VECTOR_REGISTER.findall(one.operands)}
    saved, restored = {}, {}
    for one in routine[1 : 1 + len(used)]:
        if found := SAVE.fullmatch(f"{one.mnemonic} {one.operands}"):
            saved[found[1]] = found[2]
    for one in routine[-2 - len(used) : -2]:
        if found := RESTORE.fullmatch(f"{one.mnemonic} {one.operands}"):
            restored[found[2]] = found[1]
    yield from (f"{name}: the vector routine does not save it at its start" for name in sorted(used - saved.keys()))
    yield from (
        f"{name}: the vector routine restores something else"
        for name in sorted(used)
        if saved.get(name) != restored.get(name)
    )
    if len(set(saved.values())) != len(saved):
        yield "the vector routine saves two registers in one place"
    ends = [one for one in routine if one.mnemonic in {"ret", "call", "jmp"}]
    if len(ends) != bool(routine) or any(one.mnemonic != "ret" for one in ends):
        yield "the vector routine does not end in one place"


def door_findings(binary: Binary) -> Iterator[str]:
    """Ways into vector_text that do not keep the registers."""
    doors = [one for one in binary.instructions if one.address in binary.doors]
    calls = [number for number, one in enumerate(doors) if one.mnemonic == "call"]
    middle = calls[0] if calls else len(doors)
    saved, restored = {}, {}
    for number, one in enumerate(doors):
        line = f"{one.mnemonic} {one.operands}"
        if number < middle and (found := SAVE.fullmatch(line)):
            saved[found[1]] = found[2]
        elif number > middle and (found := RESTORE.fullmatch(line)):
            restored[found[2]] = found[1]
        elif VECTOR_REGISTER.search(one.operands):
            yield f"{one.address:#x}: {line}: a door that does more than save and restore"
    if binary.vector_text:
        yield from (f"{name}: the doors of vector_text do not save it" for name in XMM if name not in saved)
        wrong = (name for name in XMM if saved.get(name) != restored.get(name))
        yield from (f"{name}: the doors of vector_text restore something else" for name in wrong)
    if len(set(saved.values())) != len(saved):
        yield "the doors of vector_text save two registers in one place"


def passing_findings(binary: Binary) -> Iterator[str]:
    """What goes into vector_text, or takes an address in it, and is no door."""
    for one in binary.instructions:
        target = TARGET.search(one.operands)
        inside = one.address in binary.doors or one.address in binary.vector_text
        if not inside and target and int(target[1], 16) in binary.vector_text:
            yield f"{one.address:#x}: {one.mnemonic} {one.operands}: goes past the doors of vector_text"


def findings(path: Path) -> list[str]:
    """Everything wrong with the runtime at `path`; empty if it is as it must be."""
    binary = read_binary(path)
    checks = (layout_findings, entry_findings, other_entry_findings, register_findings)
    return [finding for check in checks for finding in check(binary)]


def main(words: list[str]) -> int:
    """Print what is wrong with the runtime named on the command line."""
    if len(words) != 2:
        sys.stderr.write("usage: inspect_binary.py RUNTIME\n")
        return 2
    found = findings(Path(words[1]))
    sys.stdout.write("\n".join(found or [f"{words[1]}: as it must be"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
