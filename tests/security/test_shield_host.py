"""Root changes a volume's file while the program has it open: what the program reads is what it wrote, or an error."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.security.shielded_runs import ENVIRONMENT, PYTHON, Policy

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root, pytest.mark.needs_program(PYTHON)]

SIZE = 15_000 * 4096
WRITER = f"""
import hashlib, os, sys
os.chdir("/data")
want = bytes(range(256)) * ({SIZE} // 256)
with open("file", "wb") as file:
    file.write(want)
    os.fsync(file.fileno())
print("ready", flush=True)
right = wrong = refused = 0
number = os.open("file", os.O_RDONLY)
for line in sys.stdin:
    for at in range(0, {SIZE}, 4096):
        try: piece = os.pread(number, 4096, at)
        except OSError: refused += 1
        else:
            right += piece == want[at:at + 4096]
            wrong += piece != want[at:at + 4096]
    print(right, wrong, refused, flush=True)
"""
READER = f"""
want = bytes(range(256)) * ({SIZE} // 256)
try: print("right" if open("/data/file", "rb").read() == want[:{SIZE}] else "wrong")
except OSError as error: print(error.errno)
"""
SUPERBLOCKS = 16384


def change(volume: Path) -> None:
    content = bytearray(volume.read_bytes())
    content[SUPERBLOCKS::512] = bytes(byte ^ 1 for byte in content[SUPERBLOCKS::512])
    with volume.open("r+b") as file:
        file.write(content)


def zero(volume: Path) -> None:
    with volume.open("r+b") as file:
        file.seek(SUPERBLOCKS)
        file.write(bytes(volume.stat().st_size - SUPERBLOCKS))


def swap_halves(volume: Path) -> None:
    content = volume.read_bytes()
    middle = (len(content) - SUPERBLOCKS) // 8192 * 4096 + SUPERBLOCKS
    with volume.open("r+b") as file:
        file.write(content[:SUPERBLOCKS] + content[middle:] + content[SUPERBLOCKS:middle])


def cut_off(volume: Path) -> None:
    os.truncate(volume, SUPERBLOCKS)


def started(policy: Policy) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        policy.words([PYTHON, "-S", "-c", WRITER]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def small(tmp_path: Path) -> Policy:
    """With less cache than the file needs, so that most of it is read again."""
    more = 'cache = "1 MiB"'
    return Policy(directory=tmp_path, strict=False, encrypted=Path("/data"), more=more)


@pytest.mark.parametrize("attack", [change, zero, swap_halves, cut_off])
def test_nothing_wrong_is_read_while_root_changes_the_volume(tmp_path: Path, attack: Callable[[Path], None]) -> None:
    policy = small(tmp_path)
    with started(policy) as process:
        assert process.stdin
        assert process.stdout
        print("look", file=process.stdin, flush=True)
        blocks = -(-SIZE // 4096)
        assert process.stdout.readline() == f"{blocks} 0 0\n", "control"
        os.kill(process.pid, signal.SIGSTOP)
        attack(policy.volume)
        os.kill(process.pid, signal.SIGCONT)
        print("look", file=process.stdin, flush=True)
        _, wrong, refused = map(int, process.stdout.readline().split())
        process.stdin.close()
        process.wait(60)
    assert wrong == 0
    assert refused > blocks // 4
    assert policy.python(READER).strip() not in ("right", "wrong")


def test_a_volume_that_is_exchanged_is_not_what_the_program_reads(tmp_path: Path) -> None:
    """It has the file open: another one of the same name is nobody's."""
    policy = small(tmp_path)
    with started(policy) as process:
        assert process.stdin
        assert process.stdout
        shutil.copy(policy.volume, tmp_path / "copy")
        change(tmp_path / "copy")
        (tmp_path / "copy").replace(policy.volume)
        print("look", file=process.stdin, flush=True)
        assert process.stdout.readline().split()[1:] == ["0", "0"]
        process.stdin.close()
        process.wait(60)


def test_a_program_that_is_killed_leaves_what_it_made_durable(tmp_path: Path) -> None:
    policy = small(tmp_path)
    with started(policy) as process:
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
    assert policy.python(READER) == "right\n"


def test_two_programs_do_not_have_one_volume(tmp_path: Path) -> None:
    policy = small(tmp_path)
    with started(policy) as process:
        assert process.stdin
        done = policy.run([PYTHON, "-S", "-c", READER])
        assert done.returncode == 120
        assert "another program has the volume" in done.stderr
        process.stdin.close()
        process.wait(60)
