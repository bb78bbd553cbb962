"""The proof itself: it fails when it should, and it holds for secrets that come as argument or in the environment."""

import contextlib
from pathlib import Path

import pytest
from tests.system.arms import ARMS, CLOISTER_ENVIRONMENT, cloister_run, command
from tests.system.conftest import MemoryProof
from tests.system.conversation import Conversation

from cloister.launch.command import RuntimeOptions

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.needs_program("/usr/bin/python3")]

SHARING = """
import mmap, sys
secret = sys.stdin.readline().strip().encode()
with open("shared", "w+b") as file:
    file.truncate(4096)
    shared = mmap.mmap(file.fileno(), 4096)
    shared[100 : 100 + len(secret)] = secret
print("ready", flush=True)
sys.stdin.readline()
"""
KEEPING = "import sys; kept = sys.stdin.readline(); print('ready', flush=True); sys.stdin.readline()"


def holding(stack: contextlib.ExitStack, words: list[str], marker: bytes, cwd: Path) -> int:
    talk = stack.enter_context(Conversation(words, cwd=cwd))
    talk.send(marker + b"\n")
    talk.expect(b"ready")
    return talk.pid


def test_it_fails_on_a_program_that_shares_the_secret(memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    """A file mapped shared cannot be secret memory: the honest answer is that root reads it."""
    with contextlib.ExitStack() as stack:
        argv = ["/usr/bin/python3", "-c", SHARING]
        native, enclaved = (holding(stack, command(arm, argv), marker, tmp_path) for arm in ARMS)
        with pytest.raises(AssertionError, match=r"root can read the marker:\n(?s:.)*FOUND at [0-9a-f]+ in .*/shared"):
            memory_proof([native], [enclaved], marker)


def test_it_fails_without_the_positive_control(memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        argv = ["/usr/bin/python3", "-c", KEEPING]
        native, enclaved = (holding(stack, command(arm, argv), marker, tmp_path) for arm in ARMS)
        with pytest.raises(AssertionError, match="the positive control failed"):
            memory_proof([native], [enclaved], marker[::-1])


def test_it_fails_on_a_native_program_and_on_one_without_guards(
    memory_proof: MemoryProof, marker: bytes, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        argv = ["/usr/bin/python3", "-c", KEEPING]
        native = holding(stack, argv, marker, tmp_path)
        bare = holding(stack, command("enclaved", argv, RuntimeOptions(unsafe_no_guard=True)), marker, tmp_path)
        for other in (native, bare):
            with pytest.raises(AssertionError, match="two guards belong to an enclave"):
                memory_proof([native], [other], marker)


@pytest.mark.parametrize("place", ["argument", "environment"])
def test_a_secret_given_at_the_start(place: str, memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    """Until the runtime has wiped them, arguments and environment do stand in ordinary memory; afterwards no more."""
    argv = ["sh", "-c", "echo ready; read -r _; :", "name"] + ([marker.decode()] if place == "argument" else [])
    env = {**CLOISTER_ENVIRONMENT} | ({"SECRET": marker.decode()} if place == "environment" else {})
    with contextlib.ExitStack() as stack:
        talks = [stack.enter_context(Conversation(cloister_run(arm, argv), cwd=tmp_path, env=env)) for arm in ARMS]
        for talk in talks:
            talk.expect(b"ready")
        memory_proof([talks[0].pid], [talks[1].pid], marker)
        for name in ("cmdline", "environ"):
            assert marker not in Path(f"/proc/{talks[1].pid}/{name}").read_bytes()
        assert [talk.finish(b"\n").status for talk in talks] == [0, 0]
