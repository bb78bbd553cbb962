"""What a cipher leaves of the plaintext in the memory of its own process, once the frames are wiped: nothing.

A child gets a secret straight into a frame, seals it, opens it into another, wipes both and waits. The test then reads
all of the child's memory, as an administrator would, and looks for pieces of the secret.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloister.emulate.memory.xex import tweak_of
from cloister.measure.image import PAGE

PIECE = 16
STARTS = range(0, PAGE, 64)

CHILD = """
import os
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.memory.owned import OwnedCipher
from cloister.emulate.memory.tree import TreeCipher
from cloister.emulate.memory.xex import XexCipher
from cloister.emulate.memory.xts import XtsCipher

dram = Dram(16)
cipher = {cipher}
controller = MemoryController(dram)
controller.install(1, cipher)
frame, other = memoryview(bytearray(4096)), memoryview(bytearray(4096))
assert os.readv(0, [frame]) == 4096
controller.store(3, 1, frame)
controller.load(3, 1, other)
assert frame == other
{extra}
frame[:] = other[:] = bytes(4096)
os.write(1, b"r")
os.read(0, 1)
"""

SILENT = {
    "xex": "XexCipher(dram)",
    "xts": "XtsCipher(dram)",
    "xts-mac": "XtsCipher(dram, mac=True)",
    "tdx": "OwnedCipher(XtsCipher(dram, mac=True, owner=True), dram, td=True)",
    "mee": "TreeCipher(dram)",
}


def pieces_left(cipher: str, extra: str = "") -> int:
    """How many of 64 pieces of a secret are in the child's memory, as bytes, as an integer's digits, or tweaked."""
    secret = os.urandom(PAGE)
    command = [sys.executable, "-c", CHILD.format(cipher=cipher, extra=extra)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(secret)
            assert child.stdout.read(1) == b"r"
            memory = read_memory(child.pid)
        finally:
            child.kill()
    assert len(memory) > 1 << 20, "a Python has more memory than this: the reading went wrong"
    forms = (secret, as_digits(secret), tweaked(secret))
    return sum(form[at : at + PIECE] in memory for form in forms for at in STARTS)


def tweaked(data: bytes) -> bytes:
    """Page 3 under the tweaks of XEX, which are no secret."""
    tweaks = b"".join(tweak_of(3 * PAGE + at).to_bytes(16, "little") for at in range(0, PAGE, 16))
    return bytes(a ^ b for a, b in zip(data, tweaks, strict=True))


def as_digits(data: bytes) -> bytes:
    """Bytes as a Python integer holds them: 30 bits in each 32 (Include/cpython/longintrepr.h)."""
    number = int.from_bytes(data, "little")
    return b"".join(
        (number >> at & (1 << sys.int_info.bits_per_digit) - 1).to_bytes(sys.int_info.sizeof_digit, "little")
        for at in range(0, len(data) * 8, sys.int_info.bits_per_digit)
    )


def read_memory(pid: int) -> bytes:
    """All readable, writable memory of a process."""
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, permissions, *_ = line.split()
            if permissions.startswith("rw"):
                start, end = (int(part, 16) for part in span.split("-"))
                memory.seek(start)
                parts.append(memory.read(end - start))
    return b"".join(parts)


@pytest.mark.parametrize("name", SILENT)
def test_nothing_is_left(name: str) -> None:
    assert pieces_left(SILENT[name]) == 0


@pytest.mark.parametrize("extra", ["copy = bytes(frame)", "copy = int.from_bytes(frame, 'little')"])
def test_the_search_finds_a_copy_where_there_is_one(extra: str) -> None:
    assert pieces_left("XtsCipher(dram)", extra=extra) == len(STARTS)
