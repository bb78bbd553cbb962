"""The exercise's own dump script against an emulated machine: what root reads of the emulator, and what of DRAM.

The control is the same machine outside the software enclave, whose emulator root reads.
"""

import contextlib
import sys
from pathlib import Path

import pytest
from tests.machines.build import LAB_PROGRAM, program
from tests.system.arms import CLOISTER_ENVIRONMENT
from tests.system.conftest import MemoryProof
from tests.system.conversation import Conversation

from cloister.emulate.catalogue import KINDS, kind_of

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.slow]

IN_THE_CLEAR = {"trustzone", "keystone"}
"""DRAM is not encrypted there."""


def command(tee: str, path: Path, tmp_path: Path, *options: str) -> list[str]:
    keys = ["--keys", str(tmp_path / "keys")]
    return [sys.executable, "-m", "cloister", "run", "--tee", tee, "--memory", "64", *keys, *options, "--", str(path)]


@pytest.mark.parametrize("tee", KINDS)
def test_the_dump_script_reads_the_emulator_outside_and_not_inside(
    tee: str, memory_proof: MemoryProof, marker: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "app"
    path.write_bytes(program(LAB_PROGRAM, kind_of(tee).architecture))
    path.chmod(0o755)
    with contextlib.ExitStack() as stack:
        talks = []
        for options in (["--unsafe-outside"], ["--dram", str(tmp_path / "dram")]):
            words = command(tee, path, tmp_path, *options)
            talk = stack.enter_context(Conversation(words, cwd=tmp_path, env={**CLOISTER_ENVIRONMENT}))
            talk.expect(b"Enter a secret: ")
            talk.send(marker + b"\n")
            talk.expect(b"Hash of your input: ")
            talks.append(talk)
        if tee in IN_THE_CLEAR:
            with pytest.raises(AssertionError, match=r"FOUND at [0-9a-f]+ in .*/dram"):
                memory_proof([talks[0].pid], [talks[1].pid], marker)
        else:
            memory_proof([talks[0].pid], [talks[1].pid], marker)
        assert (marker in (tmp_path / "dram").read_bytes()) == (tee in IN_THE_CLEAR)
        assert [talk.finish(b"\n").status for talk in talks] == [0, 0]
