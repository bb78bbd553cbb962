"""Probes of the kernel by doing: each makes the system call that the software enclave depends on.

Every function here is meant to run in a child (`cloister.doctor.child`). They answer with plain dictionaries and raise
OSError, whose message names the call that failed.
"""

import ctypes
import fcntl
import mmap
import os
import signal
import struct
from typing import Any

__all__ = [
    "has_tid_address",
    "kvm_version",
    "map_secret_page",
    "map_secret_span",
    "read_memory",
    "run_sealed_code",
    "sample_own_stack",
    "seize_child",
    "trap_system_call",
]

SYS_MEMFD_SECRET = 447  # the same on every architecture that has it (memfd_secret(2))
SYS_PERF_EVENT_OPEN_X86_64 = 298
SYS_UNUSED = 1000  # no kernel has a system call of this number, so trapping it harms nobody

MFD_EXEC = 0x10  # memfd_create(2), Linux 6.3: ask for an executable one, whatever vm.memfd_noexec defaults to
F_ADD_SEALS = 1033
F_SEALS_ALL = 0x1 | 0x2 | 0x4 | 0x8  # SEAL, SHRINK, GROW, WRITE

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
PR_GET_TID_ADDRESS = 40
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_TRAP = 0x00030000
SECCOMP_RET_ALLOW = 0x7FFF0000

PTRACE_SEIZE = 0x4206
PTRACE_O_EXITKILL = 0x100000

KVM_GET_API_VERSION = 0xAE00  # linux/kvm.h: _IO(KVMIO, 0x00)

MARKER = b"cloister doctor: this page is a probe"
NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.ptrace.restype = ctypes.c_long

Answer = dict[str, Any]

_held: list[mmap.mmap] = []
"""Mappings that a held child keeps until it ends: Python would unmap them when the probe returns."""


def map_secret_page() -> Answer:
    """Put the same marker into a page of secret memory and an ordinary page; answer their addresses."""
    secret = mmap.mmap(_secret_fd(mmap.PAGESIZE), mmap.PAGESIZE)
    ordinary = mmap.mmap(-1, mmap.PAGESIZE)
    for page in (secret, ordinary):
        page[: len(MARKER)] = MARKER
        _held.append(page)
    return {"secret": _address(secret), "ordinary": _address(ordinary), "kept": secret[: len(MARKER)] == MARKER}


def map_secret_span(size: int) -> Answer:
    """Map `size` bytes of secret memory without touching them: the memory-lock limit counts mapped bytes."""
    with mmap.mmap(_secret_fd(size), size) as span:
        return {"mapped": len(span)}


def read_memory(pid: int, address: int) -> bytes:
    """What `/proc/PID/mem` gives at `address`, as any administrator's tool would read it. Raises OSError."""
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(memory, len(MARKER), address)
    finally:
        os.close(memory)


def run_sealed_code() -> Answer:
    """Run `return 42` (x86-64) from a sealed memfd, then try to overwrite it through /proc/self/mem."""
    code = b"\xb8\x2a\x00\x00\x00\xc3"  # mov $42,%eax; ret
    text = _sealed(code)
    address = _map(text, len(code), mmap.PROT_READ | mmap.PROT_EXEC)
    returned = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(memory, code, address)
    except OSError as refused:
        return {"returned": returned, "writable": False, "refusal": refused.strerror}
    return {"returned": returned, "writable": True, "refusal": ""}


def trap_system_call() -> Answer:
    """Install a seccomp filter that answers one unused system call with SIGSYS, and make that call."""
    trapped: list[int] = []
    signal.signal(signal.SIGSYS, lambda number, _frame: trapped.append(number))
    _call("prctl(PR_SET_NO_NEW_PRIVS)", _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    filters = [
        struct.pack("HBBI", 0x20, 0, 0, 0),  # BPF_LD|BPF_W|BPF_ABS: the system call's number
        struct.pack("HBBI", 0x15, 0, 1, SYS_UNUSED),  # BPF_JMP|BPF_JEQ: this one?
        struct.pack("HBBI", 0x06, 0, 0, SECCOMP_RET_TRAP),
        struct.pack("HBBI", 0x06, 0, 0, SECCOMP_RET_ALLOW),
    ]
    instructions = ctypes.create_string_buffer(b"".join(filters))
    program = ctypes.create_string_buffer(struct.pack("H6xQ", len(filters), ctypes.addressof(instructions)))
    _call("prctl(PR_SET_SECCOMP)", _libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0))
    _libc.syscall(ctypes.c_long(SYS_UNUSED))
    return {"trapped": trapped == [signal.SIGSYS]}


def seize_child() -> Answer:
    """Attach to a child of this process the way the guard attaches to a program."""
    program = os.fork()
    if program == 0:
        signal.pause()
        os._exit(0)
    try:
        options = ctypes.c_void_p(PTRACE_O_EXITKILL)
        _call("ptrace(PTRACE_SEIZE)", _libc.ptrace(ctypes.c_long(PTRACE_SEIZE), program, None, options))
    finally:
        os.kill(program, signal.SIGKILL)
        os.waitpid(program, 0)
    return {"seized": True}


def has_tid_address() -> Answer:
    """Ask for this thread's clear_child_tid pointer (prctl(2), PR_GET_TID_ADDRESS)."""
    pointer = ctypes.c_void_p()
    _call("prctl(PR_GET_TID_ADDRESS)", _libc.prctl(PR_GET_TID_ADDRESS, ctypes.byref(pointer), 0, 0, 0))
    return {"address": pointer.value or 0}


def sample_own_stack() -> Answer:
    """As an ordinary user, ask perf for samples with copies of the user stack (perf_event_open(2), x86-64)."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    attributes = struct.pack(
        "<IIQQQQQIIQQQQIi16x",
        *(1, 112, 0),  # type PERF_TYPE_SOFTWARE, size PERF_ATTR_SIZE_VER5, config PERF_COUNT_SW_CPU_CLOCK
        *(1_000_000, 1 << 13, 0),  # sample_period, sample_type PERF_SAMPLE_STACK_USER, read_format
        0b1100001,  # disabled, exclude_kernel, exclude_hv
        *(0, 0, 0, 0, 0, 0),  # wakeup, breakpoint, config1, config2, branch and register selection
        *(4096, 0),  # sample_stack_user, clockid
    )
    anything, nobody = ctypes.c_long(-1), ctypes.c_long(0)
    number = ctypes.c_long(SYS_PERF_EVENT_OPEN_X86_64)
    opened = _libc.syscall(number, attributes, nobody, anything, anything, ctypes.c_long(0))
    os.close(_call("perf_event_open", opened))
    return {"opened": True}


def kvm_version(device: str) -> Answer:
    """The KVM API version, from the device itself: the right to open it is part of the answer."""
    opened = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        return {"version": fcntl.ioctl(opened, KVM_GET_API_VERSION, 0)}
    finally:
        os.close(opened)


def _secret_fd(size: int) -> int:
    opened = _libc.syscall(ctypes.c_long(SYS_MEMFD_SECRET), ctypes.c_long(os.O_CLOEXEC))
    descriptor = _call("memfd_secret", opened)
    os.ftruncate(descriptor, size)
    return descriptor


def _sealed(content: bytes) -> int:
    try:
        memory = os.memfd_create("cloister-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | MFD_EXEC)
    except OSError:  # before Linux 6.3 the flag is unknown, and every memfd is executable
        memory = os.memfd_create("cloister-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(memory, content)
    fcntl.fcntl(memory, F_ADD_SEALS, F_SEALS_ALL)
    return memory


def _map(descriptor: int, size: int, protection: int) -> int:
    """Map by mmap(2) itself: Python's mmap object cannot give the address of a read-only mapping."""
    map_pages = _libc.mmap
    map_pages.restype = ctypes.c_void_p
    map_pages.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    address: int = map_pages(None, size, protection, mmap.MAP_SHARED, descriptor, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), f"mmap: {os.strerror(ctypes.get_errno())}")
    return address


def _address(mapping: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def _call(name: str, result: int) -> int:
    """Turn the C convention (-1 and errno) into OSError with the call's name."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result
