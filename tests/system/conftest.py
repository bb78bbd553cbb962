"""What every system test gets: a random marker, an independent memory proof, and that nothing stays behind."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.system.arms import ROOT
from tests.system.emulated import Keyed
from tests.system.process_tree import Process, below, kill, reap, tree, wait_until_gone
from tests.system.reaper_unsafe import adopting_orphans

DUMP_SCRIPT = ROOT / "examples" / "dumpmem.py"
SUMMARY = re.compile(r"^(?P<pid>\d+): (?P<hits>\d+) hits, (?P<read>\d+) bytes read", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What the dump script found in one family of processes: bytes read and hits, by pid."""

    members: dict[int, Process]
    read: dict[int, int] = field(default_factory=dict)
    hits: dict[int, int] = field(default_factory=dict)
    text: str = ""

    @property
    def holders(self) -> set[int]:
        return {pid for pid, hits in self.hits.items() if hits}


@dataclass(frozen=True, kw_only=True)
class Proof:
    native: Search
    enclaved: Search


MemoryProof = Callable[[Iterable[int], Iterable[int], bytes], Proof]


def search(pids: Iterable[int], marker: bytes) -> Search:
    """Run the dump script, as a process of its own, on the whole family of `pids`."""
    members = tree(pids)
    assert set(pids) <= set(members), f"not running any more: {set(pids) - set(members)}"
    done = subprocess.run(
        [sys.executable, "-I", str(DUMP_SCRIPT), "--find", *map(str, members)],
        input=marker,
        capture_output=True,
        timeout=60,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    assert done.returncode in {0, 1}, f"the dump script failed on {members}: {done.stderr.decode()}"
    lines = {int(line["pid"]): line for line in SUMMARY.finditer(text)}
    assert set(lines) == set(members)
    return Search(
        members=members,
        read={pid: int(line["read"]) for pid, line in lines.items()},
        hits={pid: int(line["hits"]) for pid, line in lines.items()},
        text=text,
    )


def prove(native_pids: Iterable[int], enclaved_pids: Iterable[int], marker: bytes) -> Proof:
    """Root's dump finds `marker` in the native processes and nowhere in the enclaved ones, their guards included."""
    native, enclaved = search(list(native_pids), marker), search(list(enclaved_pids), marker)
    assert native.holders, (
        "the positive control failed: the marker is not in the native processes, so this proves nothing"
    )
    guards = [process for process in enclaved.members.values() if process.is_guard]
    assert len(guards) == 2, f"two guards belong to an enclave, here are {guards}"
    unguarded = [process for process in enclaved.members.values() if not process.tracer]
    assert not unguarded, f"nothing traces these, so anybody could: {unguarded}"
    unread = {pid for pid, size in enclaved.read.items() if size < 4096}
    assert not unread, f"the script read nothing of {unread}, so it proves nothing about them"
    assert not enclaved.holders, f"root can read the marker:\n{enclaved.text}"
    return Proof(native=native, enclaved=enclaved)


@pytest.fixture
def memory_proof() -> MemoryProof:
    """`memory_proof(native_pids, enclaved_pids, marker)`: call it while the marker is live in both."""
    return prove


@pytest.fixture
def marker() -> bytes:
    """A secret that no earlier process of this machine ever held."""
    return f"marker-{secrets.token_hex(12)}".encode()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where programs for emulated machines are linked."""
    return tmp_path_factory.mktemp("built")


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Keyed:
    """Emulated machines whose manufacturers' keys are the tests' own."""
    return Keyed(tmp_path_factory.mktemp("keys"))


@pytest.fixture(autouse=True)
def nothing_stays_behind() -> Iterator[None]:
    """No process of a test outlives it: not the program, not what it started, not its guards."""
    with adopting_orphans():
        before = set(below(os.getpid()))
        yield
        new = {pid: process for pid, process in below(os.getpid()).items() if pid not in before}
        left = wait_until_gone(list(new), seconds=3)
        kill(left)
        wait_until_gone(left, seconds=3)
        reap(new)
    assert not left, f"still running after the test: {[new[pid] for pid in left]}"
