"""Bad pointers, numbers and lengths in every call that the shields see: an error, never a crash."""

import re
from pathlib import Path

import pytest
from tests.security.shielded_runs import PYTHON, Policy
from tests.security.test_shield_calls import RULES, calls

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root, pytest.mark.needs_program(PYTHON)]

MAY_WAIT = ["accept", "accept4", "recvfrom", "recvmsg", "recvmmsg", "flock", "read", "readv", "splice", "tee"]
FILLS_WITHOUT_BOUND = ["ioctl", "preadv", "preadv2", "keyctl"]
"""Into memory whose size the call does not say: the program would destroy its own heap, natively too."""
PROGRAM = """
import ctypes, os, random, sys
libc = ctypes.CDLL(None)
libc.syscall.restype = ctypes.c_long
chance = random.Random(int(sys.argv[1]))
numbers = [int(number) for number in sys.argv[2].split()]
os.chdir("/data")
os.mkdir("d")
rooms = [ctypes.create_string_buffer(path, 1 << 16) for path in (b"/data/f", b"f", b"d/new", b"x" * 5000)]
vectors = (ctypes.c_uint64 * 2048)(ctypes.addressof(rooms[0]), 100, 1, 100, ctypes.addressof(rooms[0]), 1 << 62)
good = [ctypes.addressof(room) for room in (*rooms, vectors)]
bad = [0, 1, 7, 0xDEAD0000, 0x7FFFFFFFEFFF, 0x7FFFFFFFFFFF, 1 << 47, 0xFFFF800000000000, (1 << 64) - 1]
bad += [0x6F0000000000, 0x6F0000060000]  # the runtime itself
for _ in range(300):
    file, directory = os.open("f", os.O_RDWR | os.O_CREAT), os.open("d", os.O_RDONLY)
    number = chance.choice(numbers)
    choices = [file, directory, file, directory, -100, 99999, 0xFFFFFFFF, 4096, 1 << 31, 1 << 40, *bad, *good, *good]
    words = [chance.choice(choices) for _ in range(6)]
    if number in (3, 33, 292, 32, 72):  # close, dup2, dup3, dup, fcntl: not of the standard streams
        words[0], words[1] = chance.choice((file, directory, 100000)), chance.choice((file, directory, 50, 1 << 20))
    if number == 72: words[1] = chance.choice((0, 1, 2, 3, 4, 5, 6, 36, 37, 1024, 1030, 1033))
    if number == 436: words[0] = file  # close_range
    libc.syscall(ctypes.c_long(number), *[ctypes.c_uint64(word % (1 << 64)) for word in words])
    for fd in (file, directory):
        try: os.close(fd)
        except OSError: pass
    for again in (lambda: os.chdir("/data"), lambda: os.mkdir("d")):
        try: again()
        except OSError: pass
print("alive", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("seed", range(1, 7))
def test_bad_arguments_are_errors(tmp_path: Path, seed: int) -> None:
    known = calls()
    seen = re.findall(r"\{__NR_(\w+), CALL_", RULES)
    numbers = [str(known[name]) for name in seen if name in known and name not in MAY_WAIT + FILLS_WITHOUT_BOUND]
    assert len(numbers) > 90
    policy = Policy(directory=tmp_path, memory=("/data",), read_only=("/usr", "/lib", "/etc"))
    assert policy.python(PROGRAM, str(seed), " ".join(numbers)).splitlines()[-1] == "alive"
