"""The built runtime is what runtime/checks/inspect_binary.py asks for, and that check finds what it is for."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cloister.launch.runtime_file import runtime_path

CHECK = Path(__file__).parents[2] / "runtime" / "checks" / "inspect_binary.py"
RUNTIME = Path(runtime_path.__code__.co_filename).parents[1] / "_runtime" / "cloister-enclave"


def load_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inspect_binary", CHECK)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


check = load_check()

GOOD = """
    .section .gate, "ax", @progbits
    .globl gate_start, gate_end
gate_start: syscall
    ret
gate_end:
    .text
    .globl _start
_start: call gate_start
    xor %eax, %eax
    hlt
    .section .note.GNU-stack, "", @progbits
"""
LINK = ["-nostdlib", "-static", "-no-pie", "-Wl,-z,noexecstack", "-Wl,--build-id=none", "-Wl,-z,separate-code"]


def build(directory: Path, text: str, link: list[str]) -> Path:
    source, target = directory / "program.S", directory / "program"
    source.write_text(text)
    done = subprocess.run(["cc", *link, "-o", target, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.skipif(not RUNTIME.is_file(), reason="the runtime is not built: make -C runtime")
def test_the_runtime_is_as_it_must_be() -> None:
    assert check.findings(RUNTIME) == []


@pytest.mark.skipif(not RUNTIME.is_file(), reason="the runtime is not built: make -C runtime")
def test_its_gate_is_small_and_does_enter_the_kernel() -> None:
    binary = check.read_binary(RUNTIME)
    entries = [one.address for one in binary.instructions if one.mnemonic == "syscall"]
    assert entries
    assert all(address in binary.gate for address in entries)
    assert len(binary.gate) < 512
    assert len(binary.instructions) > 1000, "the disassembly was read"


def test_a_clean_program_has_no_findings(tmp_path: Path) -> None:
    assert check.findings(build(tmp_path, GOOD, LINK)) == []


def with_code(code: str) -> str:
    return GOOD.replace("    xor %eax, %eax", f"    {code}")


BAD_CODE = [
    ("syscall", "a syscall instruction outside the gate"),
    ("int $0x80", "int"),
    ("sysenter", "sysenter"),
    ("int3", "int3"),
    ("movups %xmm0, (%rax)", "vector or floating-point"),
    ("vaddps %ymm1, %ymm2, %ymm3", "vector or floating-point"),
    ("vmovdqu64 %zmm1, (%rax)", "vector or floating-point"),
    ("kmovq %k1, %rax", "vector or floating-point"),
    ("movq %mm0, %rax", "vector or floating-point"),
    ("fld1", "vector or floating-point"),
    ("fxsave (%rax)", "vector or floating-point"),
    (".byte 0x06", "no instruction"),
]


@pytest.mark.parametrize(("code", "finding"), BAD_CODE, ids=[code for code, _ in BAD_CODE])
def test_bad_code_is_found(tmp_path: Path, code: str, finding: str) -> None:
    found = check.findings(build(tmp_path, with_code(code), LINK))
    assert any(finding in line for line in found), found


def test_a_syscall_hidden_in_the_gate_is_found(tmp_path: Path) -> None:
    found = check.findings(build(tmp_path, GOOD.replace("    ret\n", "    mov $0x050f, %eax\n    ret\n", 1), LINK))
    assert any("inside another instruction of the gate" in line for line in found), found


@pytest.mark.parametrize(
    ("text", "link", "finding"),
    [
        (GOOD, [*LINK, "-Wl,-N"], "writable and executable"),
        (GOOD, [word for word in LINK if "noexecstack" not in word] + ["-Wl,-z,execstack"], "the stack is executable"),
        (GOOD, ["-nostdlib", "-static-pie", "-Wl,-z,noexecstack"], "PT_DYNAMIC"),
        (GOOD, [*LINK, "-s"], "the gate cannot be found"),
        (GOOD, [*LINK, "-Wl,--entry=0x10"], "entry point"),
        (GOOD + '\n .section .data, "aw"\n .quad 1\n', LINK, "bytes of the file are writable"),
        (GOOD + '\n .section .rodata, "a"\n .skip 600000\n', LINK, "are more than"),
    ],
    ids=[
        "writable text",
        "executable stack",
        "position independent",
        "stripped",
        "entry elsewhere",
        "initialised data",
        "too large",
    ],
)
def test_bad_layout_is_found(tmp_path: Path, text: str, link: list[str], finding: str) -> None:
    found = check.findings(build(tmp_path, text, link))
    assert any(finding in line for line in found), found


SAVES = "\n".join(f"movdqu %xmm{n}, {16 * n + 16}(%rsp)" for n in range(16))
RESTORES = "\n".join(f"movdqu {16 * n + 16}(%rsp), %xmm{n}" for n in range(16))
VECTORS = GOOD.replace(
    "    .section .note",
    """    .globl vector_doors_start, vector_doors_end
vector_doors_start:
    lea inside(%rip), %rax
    {save}
    call *%rax
    {restore}
    ret
vector_doors_end:
    {past}
    .section vector_text, "ax", @progbits
inside:
    aesenc %xmm1, %xmm15
    {body}
    ret
    .section .note""",
)


def vectors(
    directory: Path, *, save: str = SAVES, restore: str = RESTORES, past: str = "", body: str = ""
) -> list[str]:
    text = VECTORS.format(save=save, restore=restore, past=past, body=body)
    findings: list[str] = check.findings(build(directory, text, LINK))
    return findings


def test_vectors_behind_doors_are_right(tmp_path: Path) -> None:
    assert vectors(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"save": SAVES.replace("movdqu %xmm7, 128(%rsp)", "nop")}, "%xmm7: the doors of vector_text do not save it"),
        ({"save": SAVES.replace("32(%rsp)", "16(%rsp)")}, "save two registers in one place"),
        ({"restore": RESTORES.replace("movdqu 128(%rsp), %xmm7", "nop")}, "%xmm7: the doors of vector_text restore"),
        ({"restore": RESTORES.replace("32(%rsp)", "48(%rsp)")}, "%xmm1: the doors of vector_text restore"),
        ({"past": "call inside"}, "goes past the doors"),
        ({"past": "lea inside(%rip), %rdx"}, "goes past the doors"),
        ({"save": SAVES + "\npxor %xmm1, %xmm1"}, "does more than save and restore"),
        ({"body": "vpxor %ymm1, %ymm1, %ymm1"}, "a vector or floating-point register"),
        ({"body": "movq %mm0, %mm1"}, "a vector or floating-point register"),
        ({"body": "fld1"}, "a vector or floating-point register"),
    ],
)
def test_vectors_that_would_be_lost(tmp_path: Path, change: dict[str, str], finding: str) -> None:
    assert any(finding in line for line in vectors(tmp_path, **change))


def test_as_a_command(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    for directory, text, status in ((good, GOOD, 0), (bad, with_code("syscall"), 1)):
        path = build(directory, text, LINK)
        done = subprocess.run([sys.executable, CHECK, path], capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout
    assert subprocess.run([sys.executable, CHECK], capture_output=True, check=False).returncode == 2
