"""Hashing files by the processor's instructions: the same digests, and the program's registers are kept."""

import ctypes
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

RUNTIME = Path(__file__).parents[2] / "runtime"
SOURCES = [RUNTIME / "src" / name for name in ("sha256_file.c", "sha256_blocks.S", "sha2.c")]
LENGTHS = [*range(200), 1000, 4095, 4096, 4097, 65_536, 1_000_003]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    target = tmp_path_factory.mktemp("sha256") / "sha256.so"
    includes = [f"-I{RUNTIME / 'include'}", f"-I{RUNTIME / 'src'}"]
    command: list[str | Path] = [
        "cc",
        "-O2",
        "-std=gnu11",
        "-fPIC",
        "-shared",
        "-mno-red-zone",
        *includes,
        "-o",
        target,
        *SOURCES,
    ]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(target))


def test_digests_are_those_of_another_implementation(library: ctypes.CDLL) -> None:
    data = bytes(i * 7 % 251 for i in range(max(LENGTHS) + 16))
    for length in LENGTHS:
        for start in (0, 3):
            digest = ctypes.create_string_buffer(32)
            piece = data[start : start + length]
            library.sha256_file(piece, ctypes.c_size_t(length), digest)
            assert digest.raw == hashlib.sha256(piece).digest(), (length, start)


# ---- what `make check` looks for


def load_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inspect_vector", RUNTIME / "checks" / "inspect_binary.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


check = load_check()
PROGRAM = """
    .section .gate, "ax", @progbits
    .globl gate_start, gate_end, vector_start, vector_end, _start
gate_start: syscall
    ret
gate_end:
    .text
_start: hlt
vector_start:
    sub $32, %rsp
    {save}
    paddd %xmm1, %xmm2
    {body}
    {restore}
    add $32, %rsp
    ret
vector_end:
    .section .note.GNU-stack, "", @progbits
"""
SAVE = "movdqu %xmm1, (%rsp)\nmovdqu %xmm2, 16(%rsp)"
RESTORE = "movdqu (%rsp), %xmm1\nmovdqu 16(%rsp), %xmm2"


def found(place: Path, *, save: str = SAVE, body: str = "", restore: str = RESTORE) -> list[str]:
    source, target = place / "program.S", place / "program"
    source.write_text(PROGRAM.format(save=save, body=body, restore=restore))
    link = ["-nostdlib", "-static", "-no-pie", "-Wl,-z,noexecstack", "-Wl,--build-id=none", "-Wl,-z,separate-code"]
    subprocess.run(["cc", *link, "-o", target, source], check=True)
    findings: list[str] = check.findings(target)
    return findings


def test_a_routine_that_keeps_them_is_right(tmp_path: Path) -> None:
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"save": "movdqu %xmm1, (%rsp)\nnop"}, "%xmm2: the vector routine does not save it"),
        ({"restore": "movdqu (%rsp), %xmm1\nnop"}, "%xmm2: the vector routine restores something else"),
        ({"restore": "movdqu 16(%rsp), %xmm1\nmovdqu (%rsp), %xmm2"}, "%xmm1: the vector routine restores something"),
        ({"save": "movdqu %xmm1, (%rsp)\nmovdqu %xmm2, (%rsp)"}, "two registers in one place"),
        ({"body": "pxor %xmm3, %xmm3"}, "%xmm3: the vector routine does not save it"),
        ({"body": "vzeroupper"}, "a vector or floating-point register"),
        ({"body": "test %eax, %eax\njz 1f\nret\n1:"}, "does not end in one place"),
    ],
)
def test_a_routine_that_does_not(tmp_path: Path, change: dict[str, str], finding: str) -> None:
    assert any(finding in line for line in found(tmp_path, **change))
