"""Root has copies of a shielded program's pipes: it reads, takes out, puts in, changes and exchanges."""

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.security.shielded_runs import ENVIRONMENT, PYTHON, Policy, compiled

from cloister.observe.prove.kernel_unsafe import copy_descriptor

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root, pytest.mark.needs_program(PYTHON)]

EIO = "5"
TEXT = 16  # of each record
# Commands, a line each: `w NUMBER TEXT` writes, `r NUMBER SIZE` reads; pipes 2 and 3 are socket pairs.
PROGRAM = """
import os, socket, sys
pipes = [os.pipe(), os.pipe()]
for a, b in (socket.socketpair(), socket.socketpair()): pipes.append((b.detach(), a.detach()))
for r, w in pipes: os.set_blocking(r, False)
print(os.getpid(), *(number for pair in pipes for number in pair), flush=True)
for line in sys.stdin:
    what, number, word = line.split()
    r, w = pipes[int(number)]
    try:
        if what == "w": print(os.write(w, word.encode()), flush=True)
        elif what == "c": print(os.close(w), flush=True)
        else: print(os.read(r, int(word)).decode() or "end", flush=True)
    except OSError as error: print("error", error.errno, flush=True)
"""
AGAIN = "error 11"
KINDS = pytest.mark.parametrize("kind", [0, 2], ids=["pipe", "socketpair"])


@dataclass
class Victim:
    """The program, and root's copies of its descriptors: `reads` and `writes` by the pipe's number."""

    process: "subprocess.Popen[str]"
    reads: list[int]
    writes: list[int]

    def do(self, what: str, number: int, word: str | int = "-") -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{what} {number} {word}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def write(self, number: int, text: str) -> None:
        assert self.do("w", number, text) == str(len(text))

    def take(self, number: int, size: int = 65536) -> bytes:
        """Root takes out what is there."""
        return os.read(self.reads[number], size)

    def put(self, number: int, content: bytes) -> None:
        assert os.write(self.writes[number], content) == len(content)


@contextlib.contextmanager
def running(directory: Path, *, strict: bool = True) -> Iterator[Victim]:
    shield = Policy(directory=directory, strict=strict, memory=("/secret",), plain=("/usr", "/etc", "/lib", "/lib64"))
    words = shield.words([PYTHON, "-S", "-c", PROGRAM])
    copies: list[int] = []
    with (
        (directory / "said").open("wb") as said,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=ENVIRONMENT
        ) as process,
    ):
        try:
            assert process.stdout
            pid, *numbers = map(int, process.stdout.readline().split())
            copies += [copy_descriptor(pid, number) for number in numbers]
            yield Victim(process, copies[0::2], copies[1::2])
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(20)
            for copy in copies:
                os.close(copy)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    with running(tmp_path) as one:
        yield one


def word() -> str:
    return secrets.token_hex(TEXT // 2)


@KINDS
def test_control_without_strictness_root_reads_and_writes_pipes(tmp_path: Path, kind: int) -> None:
    with running(tmp_path, strict=False) as open_victim:
        text = word()
        open_victim.write(kind, text)
        assert open_victim.take(kind) == text.encode()
        open_victim.put(kind, b"of root's")
        assert open_victim.do("r", kind, 99) == "of root's"


@KINDS
def test_root_reads_ciphertext_only(victim: Victim, kind: int) -> None:
    texts = [word() for _ in range(5)]
    for text in texts:
        victim.write(kind, text)
    content = victim.take(kind)
    assert len(content) > 5 * TEXT
    assert not any(text.encode()[:6] in content for text in texts)


def test_control_what_nobody_touches_arrives(victim: Victim) -> None:
    for kind in range(4):
        texts = [word() for _ in range(3)]
        for text in texts:
            victim.write(kind, text)
        assert victim.do("r", kind, TEXT + 3) == texts[0] + texts[1][:3]
        assert victim.do("r", kind, 999) == texts[1][3:] + texts[2]
        assert victim.do("r", kind, 1) == AGAIN


def flipped(content: bytes) -> Iterator[bytes]:
    for at in (0, 9, 12, 14, 20, len(content) - 1):
        yield content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_one_changed_bit_is_an_error(tmp_path: Path) -> None:
    for changed in range(6):
        with running(tmp_path) as victim:
            kind = 2 * (changed % 2)
            victim.write(kind, word())
            victim.put(kind, list(flipped(victim.take(kind)))[changed])
            assert victim.do("r", kind, 99) in {f"error {EIO}", AGAIN}, "cut short, it waits for the rest"
            victim.write(kind, word())
            assert victim.do("r", kind, 99) == f"error {EIO}"


@KINDS
def test_plaintext_that_root_puts_in_is_an_error(victim: Victim, kind: int) -> None:
    victim.put(kind, b"of root's" * 40)
    assert victim.do("r", kind, 99) == f"error {EIO}"


@KINDS
def test_what_was_read_and_is_put_in_again_is_not_read_again(victim: Victim, kind: int) -> None:
    text = word()
    victim.write(kind, text)
    sealed = victim.take(kind)
    victim.put(kind, sealed)
    assert victim.do("r", kind, 99) == text
    victim.put(kind, sealed)
    assert victim.do("r", kind, 99) in {AGAIN, f"error {EIO}"}


@KINDS
def test_a_record_that_root_kept_is_missed_at_the_next(victim: Victim, kind: int) -> None:
    victim.write(kind, word())
    victim.take(kind)
    victim.write(kind, word())
    assert victim.do("r", kind, 99) == f"error {EIO}"


def test_the_last_record_is_missed_at_the_end(victim: Victim) -> None:
    victim.write(0, word())
    victim.write(0, word())
    record = victim.take(0)
    victim.put(0, record[: len(record) // 2])
    os.dup2(victim.writes[3], victim.writes[0])  # or the pipe would never end
    assert victim.do("c", 0) == "None"
    assert len(victim.do("r", 0, 99)) == TEXT
    assert victim.do("r", 0, 99) == f"error {EIO}"


@KINDS
def test_records_that_were_exchanged_are_an_error(victim: Victim, kind: int) -> None:
    victim.write(kind, word())
    first = victim.take(kind)
    victim.write(kind, word())
    victim.put(kind, victim.take(kind) + first)
    assert victim.do("r", kind, 99) == f"error {EIO}"


@KINDS
def test_a_record_of_another_pipe_is_an_error(victim: Victim, kind: int) -> None:
    victim.write(kind, word())
    victim.put(kind + 1, victim.take(kind))
    assert victim.do("r", kind + 1, 99) == f"error {EIO}"


def test_what_goes_one_way_cannot_be_sent_back(victim: Victim) -> None:
    """The two directions of a socket pair are two."""
    victim.write(2, word())
    sealed = victim.take(2)
    os.write(victim.reads[2], sealed)
    assert os.read(victim.writes[2], 65536) == sealed, "it stands where the writer would read"
    os.write(victim.writes[2], sealed[:10] + bytes(len(sealed) - 10))
    assert victim.do("r", 2, 99) == f"error {EIO}"


@pytest.mark.parametrize("strict", [True, False])
def test_what_root_finds_by_proc_is_ciphertext(tmp_path: Path, *, strict: bool) -> None:
    """The links in /proc/PID/fd lead to the pipes themselves."""
    text, found = word().encode(), b""
    with running(tmp_path, strict=strict) as victim:
        victim.write(0, text.decode())
        for link in Path(f"/proc/{victim.process.pid}/fd").iterdir():
            if os.readlink(link).startswith("pipe:"):
                copy = os.open(link, os.O_RDWR | os.O_NONBLOCK)
                with contextlib.suppress(BlockingIOError):
                    found += os.read(copy, 65536)
                os.close(copy)
    assert len(found) >= TEXT
    assert (text in found) is not strict


def test_signals_that_jump_out_of_reading_and_writing_leave_a_pipe_whole(tmp_path: Path) -> None:
    program = compiled("pipe_jumps", tmp_path)
    shield = Policy(directory=tmp_path, memory=("/secret",), plain=(str(tmp_path),))
    done = shield.run([str(program)])
    assert done.stdout == "reader 0, jumps out of read 0\n", done.stderr
