"""Where the machine cannot protect, nothing runs: the runtime says what is missing and how to get it, and exits 120."""

import ctypes
import errno
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from cloister.launch import _abi
from cloister.launch.command import enclave_command

pytestmark = pytest.mark.needs_runtime

SYS_PTRACE, SYS_SECCOMP, SYS_MEMFD_SECRET, SYS_MEMFD_CREATE = 101, 317, 447, 319

DENY = """
import ctypes, os, struct, sys
number, error = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *rule) for rule in rules))
fprog = struct.pack("<HxxxxxxQ", len(rules), ctypes.addressof(program))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, fprog) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[3], sys.argv[3:])
"""


def run_denied(number: int, error: int, marker: Path) -> subprocess.CompletedProcess[str]:
    """Start a program that would create `marker`, with one system call answered by `error`, as a container does."""
    command = enclave_command("/bin/sh", ["-c", f"echo ran > {marker}"])
    return subprocess.run(
        [sys.executable, "-c", DENY, str(number), str(error), *command],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize(
    ("number", "error", "says"),
    [
        pytest.param(SYS_MEMFD_SECRET, errno.ENOSYS, "secretmem.enable=1", id="old kernel"),
        pytest.param(SYS_MEMFD_SECRET, errno.EPERM, "seccomp=unconfined", id="memfd_secret denied"),
        pytest.param(SYS_MEMFD_SECRET, errno.ENOMEM, "setcap cap_ipc_lock", id="no locked memory"),
        pytest.param(SYS_PTRACE, errno.EPERM, "SYS_PTRACE", id="ptrace denied"),
        pytest.param(SYS_SECCOMP, errno.EPERM, "seccomp", id="seccomp denied"),
        pytest.param(SYS_MEMFD_CREATE, errno.EPERM, "memfd_noexec", id="sealing denied"),
    ],
)
def test_denied_mechanism_runs_nothing(tmp_path: Path, number: int, error: int, says: str) -> None:
    marker = tmp_path / "ran"
    outcome = run_denied(number, error, marker)
    assert outcome.returncode == _abi.EXIT_CANNOT_PROTECT, outcome.stderr
    assert says in outcome.stderr
    assert outcome.stderr.startswith("cloister: ")
    assert not marker.exists()


def test_control_the_same_program_runs_when_nothing_is_denied(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    outcome = run_denied(499, errno.EPERM, marker)
    assert outcome.returncode == 0, outcome.stderr
    assert marker.read_text() == "ran\n"


def test_traced_process_is_not_started(tmp_path: Path) -> None:
    """A debugger that was there first could read registers and force system calls; the guard cannot take hold."""
    marker = tmp_path / "ran"
    libc = ctypes.CDLL(None, use_errno=True)
    release, hold = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(release, 1)
        command = enclave_command("/bin/sh", ["-c", f"echo ran > {marker}"])
        os.execv(command[0], command)
    assert libc.ptrace(0x4206, child, 0, 0) == 0, os.strerror(ctypes.get_errno())  # PTRACE_SEIZE
    os.write(hold, b"x")
    _, status = os.waitpid(child, 0)
    while os.WIFSTOPPED(status):
        libc.ptrace(7, child, 0, 0)  # PTRACE_CONT
        _, status = os.waitpid(child, 0)
    os.close(release)
    os.close(hold)
    assert os.waitstatus_to_exitcode(status) == _abi.EXIT_CANNOT_PROTECT
    assert not marker.exists()


def test_32_bit_program_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "old"
    program.write_bytes(b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 3, 1) + bytes(64))
    program.chmod(0o755)
    outcome = subprocess.run(enclave_command(str(program), []), capture_output=True, text=True, timeout=20, check=False)
    assert outcome.returncode == _abi.EXIT_CANNOT_ENCLAVE
    assert str(program) in outcome.stderr
    assert "32-bit" in outcome.stderr


OTHER_ENTRIES = {
    "int $0x80": ("movl $20, %eax; int $0x80", {-signal.SIGSYS}),  # getpid of 32-bit programs
    "sysenter": ("movl $20, %eax; mov %rsp, %rbp; sysenter", {-signal.SIGSYS, -signal.SIGILL, -signal.SIGSEGV}),
    "x32": (
        "movl $0x40000027, %eax; syscall; cmp $-38, %rax; jne 1f; mov $60, %eax; xor %edi, %edi; syscall; 1: ud2",
        {0},
    ),
}


@pytest.mark.needs_program("cc")
@pytest.mark.parametrize("entry", OTHER_ENTRIES)
def test_other_ways_into_the_kernel_lead_nowhere(tmp_path: Path, entry: str) -> None:
    code, ended = OTHER_ENTRIES[entry]
    source = tmp_path / "other.S"
    source.write_text(f".globl _start\n_start: {code}; mov $60, %eax; mov $33, %edi; syscall\n")
    subprocess.run(
        ["cc", "-nostdlib", "-static", "-z", "noexecstack", "-o", tmp_path / "other", source], check=True, timeout=60
    )
    natively = subprocess.run([tmp_path / "other"], timeout=20, check=False).returncode
    done = subprocess.run(enclave_command(str(tmp_path / "other"), []), timeout=20, check=False, capture_output=True)
    assert done.returncode in ended, done.stderr
    if entry == "int $0x80":
        assert natively == 33, "this kernel has no 32-bit system calls at all"
