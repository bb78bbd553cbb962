"""Builds the runtime's pure C files for tests (a shared library, or a program with sanitizers), and their types."""

import atexit
import ctypes
import functools
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RUNTIME = HERE.parents[2] / "runtime"
FLAGS = ["-std=gnu11", "-g", "-w", f"-I{RUNTIME / 'include'}", f"-I{RUNTIME / 'src'}"]
FREESTANDING = ["-O2", "-ffreestanding", "-fno-builtin", "-fno-tree-loop-distribute-patterns", "-fPIC", "-shared"]
PURE = [
    "program.c",
    "areas.c",
    "extents.c",
    "idle.c",
    "guard_table.c",
    "guard_families.c",
    "guard_pipes.c",
    "text.c",
    "elf_file.c",
    "patch.c",
    "state.c",
    "fail.c",
]

Word = ctypes.c_uint64


class Area(ctypes.Structure):
    """struct area (areas.h)."""

    _fields_ = [
        ("start", Word),
        ("end", Word),
        ("protection", ctypes.c_uint8),
        ("kind", ctypes.c_uint8),
        ("untouched", ctypes.c_uint8),
        ("unused", ctypes.c_uint8 * 5),
    ]


class Extent(ctypes.Structure):
    """struct extent (extents.h)."""

    _fields_ = [("start", Word), ("end", Word)]


class Moment(ctypes.Structure):
    """struct moment (idle.h)."""

    _fields_ = [("clock", Word), ("processor", Word)]


class PipeNumbers(ctypes.Structure):
    """struct pipe_numbers (guard_pipes.h)."""

    _fields_ = [*((name, Word) for name in ("first", "count", "least")), ("crowded", ctypes.c_bool)]


class PipeClaim(ctypes.Structure):
    """struct pipe_claim (guard_pipes.h); `start` and `end` are its `from` and `to`."""

    _fields_ = [(name, Word) for name in ("first", "count", "least", "start", "end")]


class PatchTarget(ctypes.Structure):
    """struct patch_target (patch.h)."""

    _fields_ = [(name, Word) for name in ("text", "length", "stubs", "text_from_base", "stubs_from_base", "used")]


class Instruction(ctypes.Structure):
    """struct sock_filter (linux/filter.h)."""

    _fields_ = [
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    ]


class RuleRecord(ctypes.Structure):
    """struct rule (filter_rules.h)."""

    _fields_ = [
        ("number", ctypes.c_uint16),
        ("test", ctypes.c_uint8),
        ("arg", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


Text = ctypes.c_char_p
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "areas_have_room": (ctypes.c_bool, [Word]),
    "areas_count": (Word, []),
    "areas_get": (ctypes.POINTER(Area), [Word]),
    "areas_first_ending_after": (Word, [Word]),
    "areas_put": (None, [Word, Word, ctypes.c_int, ctypes.c_int]),
    "areas_reserve": (None, [Word, Word]),
    "areas_hold": (ctypes.c_bool, [Word, Word]),
    "areas_drop": (None, [Word, Word]),
    "areas_protect": (None, [Word, Word, ctypes.c_int]),
    "areas_cover": (ctypes.c_bool, [Word, Word]),
    "areas_any": (ctypes.c_bool, [Word, Word]),
    "areas_find": (ctypes.POINTER(Area), [Word]),
    "extents_bytes": (Word, []),
    **{f"extents_{name}": (ctypes.c_bool, [Word, ctypes.POINTER(Extent)]) for name in ("find", "next")},
    **{f"extents_{name}": (None, [ctypes.POINTER(Extent)]) for name in ("put", "drop")},
    "extents_is_idle": (ctypes.c_bool, [ctypes.POINTER(Extent)]),
    "extents_set_idle": (None, [ctypes.POINTER(Extent), ctypes.c_bool]),
    "extents_highest_idle": (ctypes.c_bool, [ctypes.POINTER(Extent)]),
    "extents_dropped_again": (ctypes.c_bool, [ctypes.POINTER(Extent), Word]),
    "idle_bytes": (Word, []),
    "idle_limit": (Word, [Word]),
    **{f"idle_{name}": (None, [Word]) for name in ("add", "remove", "review")},
    **{f"idle_{name}": (None, [Word, Moment]) for name in ("gave_back", "took_new")},
    "pieces_guard_table": (None, []),
    "guard_table_seen": (None, [ctypes.c_uint32]),
    "guard_table_announced": (None, [ctypes.c_uint32]),
    "guard_table_ended": (None, [ctypes.c_uint32]),
    "guard_table_live": (ctypes.c_bool, []),
    "guard_families_began": (None, [ctypes.c_uint32]),
    "guard_families_joined": (None, [ctypes.c_uint32, ctypes.c_uint32]),
    "guard_families_executed": (None, [ctypes.c_uint32, ctypes.c_uint32]),
    "guard_families_ended": (None, [ctypes.c_uint32]),
    "guard_families_executing": (None, [ctypes.c_uint32, ctypes.c_bool]),
    "guard_families_alive": (Word, []),
    "guard_pipes_new": (ctypes.c_long, [Word]),
    "guard_pipes_send": (ctypes.c_long, [Word, ctypes.c_uint32, ctypes.POINTER(PipeNumbers)]),
    "guard_pipes_sent": (ctypes.c_long, [Word, ctypes.c_uint32]),
    "guard_pipes_unsent": (ctypes.c_long, [Word, ctypes.c_uint32, ctypes.POINTER(PipeNumbers), ctypes.c_bool]),
    "guard_pipes_take": (ctypes.c_long, [Word, ctypes.POINTER(PipeClaim)]),
    "guard_pipes_end": (ctypes.c_long, [Word]),
    "guard_pipes_look": (ctypes.c_long, [Word, ctypes.POINTER(Word), ctypes.POINTER(Word)]),
    "guard_pipes_ended": (None, [ctypes.c_uint32, ctypes.c_bool]),
    "append": (Word, [Text, Word, Word, Text]),
    "append_number": (Word, [Text, Word, Word, Word]),
    "copy_bounded": (Word, [Text, Word, Text]),
    "strlen": (Word, [Text]),
    "memcmp": (ctypes.c_int, [Text, Text, Word]),
    "memcpy": (ctypes.c_void_p, [Text, Text, Word]),
    "memset": (ctypes.c_void_p, [Text, ctypes.c_int, Word]),
    "same_string": (ctypes.c_bool, [Text, Text]),
    "starts_with": (ctypes.c_bool, [Text, Text]),
    "patch_sites": (None, [ctypes.POINTER(PatchTarget)]),
    "pieces_watch_opens": (None, [ctypes.c_bool]),
    "patch_is_right": (ctypes.c_bool, [ctypes.POINTER(PatchTarget), ctypes.c_void_p, ctypes.POINTER(Word)]),
    "patch_stubs_are_right": (ctypes.c_bool, [ctypes.c_void_p, Word]),
    "pieces_script": (ctypes.c_long, [ctypes.c_int, ctypes.POINTER(Text), ctypes.POINTER(Text)]),
    "pieces_files_base": (ctypes.c_uint32, []),
    "pieces_wide_filter": (ctypes.POINTER(Instruction), [ctypes.POINTER(ctypes.c_uint16)]),
    "pieces_filter": (ctypes.POINTER(Instruction), [*[ctypes.c_bool] * 4, ctypes.POINTER(ctypes.c_uint16)]),
    "pieces_rules": (ctypes.POINTER(RuleRecord), [*[ctypes.c_bool] * 4, ctypes.POINTER(Word)]),
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of the filter's table."""

    number: int
    test: str
    arg: int
    value: int


@functools.cache
def build_directory() -> Path:
    """A directory that goes when the tests end."""
    path = Path(tempfile.mkdtemp(prefix="cloister-pieces-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def compile_c(output: str, sources: list[Path], flags: list[str]) -> Path:
    """Compile `sources` into `output`; the compiler's complaints are the test's failure."""
    path = build_directory() / output
    command = ["cc", *FLAGS, *flags, "-o", str(path), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return path


@functools.cache
def pieces() -> ctypes.CDLL:
    """The pure files as one library; its own memcpy and strlen are used, not libc's."""
    shields = [HERE / "unshielded.c", RUNTIME / "shield" / "rules.c"]
    sources = [HERE / "hosted.c", *shields, *(RUNTIME / "src" / name for name in PURE)]
    library = ctypes.CDLL(str(compile_c("pieces.so", sources, [*FREESTANDING, "-Wl,-Bsymbolic"])))
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    for name, record in (("area", Area), ("rule", RuleRecord), ("patch_target", PatchTarget)):
        assert Word.in_dll(library, f"pieces_{name}_size").value == ctypes.sizeof(record), f"struct {name} has changed"
    library.pieces_guard_table()
    return library


def address_of(symbol: str) -> int:
    """Where a symbol of the library stands."""
    return ctypes.addressof(ctypes.c_char.in_dll(pieces(), symbol))


def filter_program(
    *, observed: bool, limited: bool, opens: bool, files: bool = False
) -> list[tuple[int, int, int, int]]:
    """The generated BPF program as (code, jt, jf, k)."""
    size = ctypes.c_uint16()
    program = pieces().pieces_filter(observed, limited, opens, files, ctypes.byref(size))
    return [(program[i].code, program[i].jt, program[i].jf, program[i].k) for i in range(size.value)]


def wide_filter_program() -> list[tuple[int, int, int, int]]:
    """The second filter, of processes that have injected files at any number."""
    size = ctypes.c_uint16()
    program = pieces().pieces_wide_filter(ctypes.byref(size))
    return [(program[i].code, program[i].jt, program[i].jf, program[i].k) for i in range(size.value)]


def filter_rules(tests: list[str], *, observed: bool, limited: bool, opens: bool, files: bool = False) -> list[Rule]:
    """The rules that hold, in order; `tests` are the names of their `enum test`."""
    count = Word()
    table = pieces().pieces_rules(observed, limited, opens, files, ctypes.byref(count))
    return [
        Rule(number=table[i].number, test=tests[table[i].test], arg=table[i].arg, value=table[i].value)
        for i in range(count.value)
    ]


def script_line(content: bytes) -> tuple[int, bytes, bytes | None]:
    """What program_script says of a file: its result, and the interpreter and argument if that is 1."""
    file = os.memfd_create("script")
    try:
        os.write(file, content)
        interpreter, argument = Text(), Text()
        result = int(pieces().pieces_script(file, ctypes.byref(interpreter), ctypes.byref(argument)))
    finally:
        os.close(file)
    return result, (interpreter.value or b"") if result == 1 else b"", argument.value if result == 1 else None


def elf_reader() -> Path:
    """The program that reads ELF files under the address and undefined-behaviour sanitizers."""
    sources = [HERE / "elf_reader.c", RUNTIME / "src" / "elf_file.c", HERE / "gate.c"]
    flags = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return compile_c("elf-reader", sources, flags)


def sanitized(name: str, pure: list[str]) -> Path:
    """A program of this directory with files of the runtime, under the address and undefined-behaviour sanitizers."""
    sources = [HERE / f"{name}.c", *(RUNTIME / "src" / file for file in pure), HERE / "gate.c", HERE / "unshielded.c"]
    flags = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-D_GNU_SOURCE"]
    return compile_c(name, sources, flags)


@functools.cache
def kernel_constants() -> dict[str, int]:
    """The kernel headers' own numbers: `__NR_mmap`, `CLONE_VM`, `PR_SET_DUMPABLE`, `O_DIRECT`."""
    headers = "".join(
        f"#include <{name}>\n" for name in ("asm/unistd_64.h", "linux/sched.h", "linux/prctl.h", "linux/fcntl.h")
    )
    command = ["cc", "-E", "-dM", "-x", "c", "-"]
    text = subprocess.run(command, input=headers, capture_output=True, text=True, check=True).stdout
    return {name: int(value, 0) for name, value in re.findall(r"#define (\w+) (0x[0-9a-fA-F]+|[1-9]\d*|0)\b", text)}
