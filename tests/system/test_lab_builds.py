"""The exercise's C program, built in every way a C program can be linked, and what it says."""

import contextlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.system.arms import ARMS, ROOT, command
from tests.system.conftest import MemoryProof
from tests.system.conversation import Conversation

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

SOURCE = ROOT / "src" / "cloister" / "app" / "lab" / "exercise" / "app.c"


@dataclass(frozen=True, kw_only=True)
class Build:
    name: str
    compiler: str
    flags: tuple[str, ...]


BUILDS = (
    Build(name="glibc-dynamic", compiler="cc", flags=()),
    Build(name="glibc-no-pie", compiler="cc", flags=("-no-pie", "-O2")),
    Build(name="glibc-static", compiler="cc", flags=("-static",)),
    Build(name="glibc-static-pie", compiler="cc", flags=("-static-pie",)),
    Build(name="glibc-hardened", compiler="cc", flags=("-O2", "-fstack-protector-all", "-Wl,-z,relro,-z,now")),
    Build(name="musl-dynamic", compiler="musl-gcc", flags=()),
    Build(name="musl-static", compiler="musl-gcc", flags=("-static",)),
)


def simple_hash(text: bytes) -> int:
    """What the exercise defines: h = 31 h + byte, in 32 bits."""
    value = 0
    for byte in text:
        value = (31 * value + byte) & 0xFFFFFFFF
    return value


def test_the_hash_is_the_exercises() -> None:
    assert simple_hash(b"FUNFOO") == 2084933351


@pytest.mark.parametrize(
    "build", [pytest.param(one, id=one.name, marks=pytest.mark.needs_program(one.compiler)) for one in BUILDS]
)
def test_the_lab_program(build: Build, memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    subprocess.run([build.compiler, *build.flags, "-o", "app", SOURCE], cwd=tmp_path, check=True, timeout=60)
    with contextlib.ExitStack() as stack:
        talks = [stack.enter_context(Conversation(command(arm, [str(tmp_path / "app")]), cwd=tmp_path)) for arm in ARMS]
        for talk in talks:
            talk.expect(b"Enter a secret: ")
            talk.send(marker + b"\n")
            talk.expect(b"Hash of your input: %d\n" % simple_hash(marker))
        memory_proof([talks[0].pid], [talks[1].pid], marker)
        native, enclaved = (talk.finish(b"\n") for talk in talks)
    assert native.status == 0
    assert enclaved == native
