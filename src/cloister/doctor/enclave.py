"""What the software enclave stands on. Each is measured by doing it, in a child, not read from a version number."""

import errno
import os
import resource
import struct

from cloister.doctor import kernel_unsafe
from cloister.doctor.check import Check, Command, Fix, Group, NoFix, Topic
from cloister.doctor.child import ProbeFailed, ask, hold
from cloister.doctor.machine import Machine, Text
from cloister.doctor.runtime import RuntimeFile
from cloister.quantities import counted, human_size

__all__ = ["enclave_checks"]

SMALL_PROGRAM = 64 << 20
"""Bytes of locked memory without which hardly any program starts."""

NEW_KERNEL = Command(text="sudo apt-get install linux-image-amd64   # a distribution with Linux 6.5 or later")
IN_CONTAINER = Command(text="docker run --security-opt seccomp=unconfined ...   # the container's filter refuses it")
ENABLE_SECRET_MEMORY = Command(
    text="""sudo sed -i 's/^GRUB_CMDLINE_LINUX="/&secretmem.enable=1 /' /etc/default/grub """
    "&& sudo update-grub && sudo reboot"
)
X86_ONLY = NoFix(reason="the runtime is written for 64-bit x86; an arm64 one does not exist yet")

PROCESSOR = Topic(
    name="x86_64",
    group=Group.ENCLAVE,
    title="64-bit x86 Linux",
    matters="The runtime loads x86-64 programs and intercepts their system calls.",
    needed=True,
)
KERNEL = Topic(
    name="kernel",
    group=Group.ENCLAVE,
    title="Linux 5.14 or later",
    matters="memfd_secret(2) appeared in 5.14 and is on by default from 6.5.",
    needed=True,
)
SECRET_MEMORY = Topic(
    name="memfd_secret",
    group=Group.ENCLAVE,
    title="secret memory",
    matters="Data, heap and stacks live in it: the kernel itself refuses to read it for anybody.",
    needed=True,
)
LOCKED_MEMORY = Topic(
    name="memlock",
    group=Group.ENCLAVE,
    title="room for secret memory",
    matters="Mapped secret memory counts as locked memory: RLIMIT_MEMLOCK bounds it unless CAP_IPC_LOCK lifts it.",
    needed=True,
)
SEALED_CODE = Topic(
    name="sealed_text",
    group=Group.ENCLAVE,
    title="sealed code",
    matters="Code runs from sealed shared memory, so that not even ptrace or /proc/PID/mem can change it.",
    needed=True,
)
SECCOMP = Topic(
    name="seccomp",
    group=Group.ENCLAVE,
    title="system-call filters",
    matters="The runtime must see every system call that manages memory or processes, and refuse to be bypassed.",
    needed=True,
)
PTRACE = Topic(
    name="ptrace",
    group=Group.ENCLAVE,
    title="guards",
    matters="A guard occupies the one tracer's place, so that no debugger can attach.",
    needed=True,
)
TID_ADDRESS = Topic(
    name="tid_address",
    group=Group.ENCLAVE,
    title="thread ends can be told",
    matters="The kernel cannot wake a waiter on secret memory when a thread ends; the runtime has to learn where to.",
    needed=True,
)


def enclave_checks(machine: Machine, runtime: RuntimeFile) -> list[Check]:
    """Every check the verdict depends on, but for the runtime file's own."""
    return [
        processor(),
        kernel(machine),
        secret_memory(),
        locked_memory(runtime),
        sealed_code(),
        seccomp(machine),
        ptrace(machine),
        tid_address(),
    ]


def processor() -> Check:
    """The runtime exists for one instruction set."""
    machine, bits = os.uname().machine, struct.calcsize("P") * 8
    if machine == "x86_64" and bits == 64:
        return PROCESSOR.ok(machine)
    return PROCESSOR.missing(f"{machine}, {bits}-bit Python", X86_ONLY)


def kernel(machine: Machine) -> Check:
    """The release, as text; what it can do is measured by the other checks."""
    release = machine.read("/proc/sys/kernel/osrelease")
    if not isinstance(release, Text):
        return KERNEL.unknown(release.reason, NoFix(reason="/proc is not mounted"))
    if _version(release.value) < (5, 14):
        return KERNEL.missing(f"Linux {release.value}", NEW_KERNEL)
    return KERNEL.ok(f"Linux {release.value}")


def secret_memory() -> Check:
    """Create, map, write; then be the administrator and read it through /proc/PID/mem, next to an ordinary page."""
    try:
        with hold(kernel_unsafe.map_secret_page) as held:
            return _read_both(held.pid, held.answer)
    except ProbeFailed as error:
        return _refused(SECRET_MEMORY, error, _enable_secret_memory())


def _read_both(pid: int, pages: kernel_unsafe.Answer) -> Check:
    """The ordinary page is the positive control: where it cannot be read, a refusal proves nothing."""
    try:
        kernel_unsafe.read_memory(pid, pages["ordinary"])
    except OSError as error:
        reason = f"created, mapped and written, but /proc/{pid}/mem refuses ordinary memory too ({error.strerror})"
        return SECRET_MEMORY.unknown(reason, Command(text="sudo cloister doctor"))
    try:
        kernel_unsafe.read_memory(pid, pages["secret"])
    except OSError as error:
        return SECRET_MEMORY.ok(
            f"mapped and written; /proc/PID/mem gave an ordinary page and refused the secret one ({error.strerror})"
        )
    return SECRET_MEMORY.missing(
        "/proc/PID/mem read a secret page", NoFix(reason="this kernel does not keep it secret")
    )


def locked_memory(runtime: RuntimeFile) -> Check:
    """Map as much as a small program needs, untouched; a capability on the runtime's file lifts the limit as well."""
    limit = _limit()
    try:
        ask(lambda: kernel_unsafe.map_secret_span(SMALL_PROGRAM))
    except ProbeFailed as error:
        if error.errno not in (errno.EAGAIN, errno.ENOMEM):
            return _refused(LOCKED_MEMORY, error, _enable_secret_memory())
        if runtime.lifts_memory_lock:
            return LOCKED_MEMORY.ok(f"RLIMIT_MEMLOCK is {limit}; the runtime's file carries cap_ipc_lock")
        return LOCKED_MEMORY.denied(f"RLIMIT_MEMLOCK is {limit}, and this user may not exceed it", runtime.more_room)
    return LOCKED_MEMORY.ok(f"mapped {human_size(SMALL_PROGRAM)} of secret memory (RLIMIT_MEMLOCK is {limit})")


def sealed_code() -> Check:
    """Run code from a sealed memfd, and fail to overwrite it."""
    if os.uname().machine != "x86_64":
        return SEALED_CODE.unknown("the probe is x86-64 code", X86_ONLY)
    try:
        answer = ask(kernel_unsafe.run_sealed_code)
    except ProbeFailed as error:
        return _refused(SEALED_CODE, error, Command(text="sudo sysctl -w vm.memfd_noexec=0"))
    if answer["writable"]:
        return SEALED_CODE.missing(
            "/proc/self/mem overwrote sealed code", NoFix(reason="this kernel's seals do not hold")
        )
    return SEALED_CODE.ok(f"ran from a sealed memfd; writing it through /proc/PID/mem failed ({answer['refusal']})")


def seccomp(machine: Machine) -> Check:
    """Install a filter and be trapped by it. Filters already there (a container's) are mentioned."""
    try:
        answer = ask(kernel_unsafe.trap_system_call)
    except ProbeFailed as error:
        return _refused(SECCOMP, error, NoFix(reason="the kernel is built without CONFIG_SECCOMP_FILTER"))
    if not answer["trapped"]:
        return SECCOMP.missing("a filter was installed, but did not trap", IN_CONTAINER)
    inherited = int(machine.status_field("Seccomp_filters") or 0)
    also = f"; {counted(inherited, 'filter')} inherited" if inherited else ""
    return SECCOMP.ok(f"a filtered system call arrived as SIGSYS{also}")


def ptrace(machine: Machine) -> Check:
    """Attach to an own child as the guard will. Yama's scope explains a refusal."""
    scope = machine.read("/proc/sys/kernel/yama/ptrace_scope")
    yama = f"Yama scope {scope.value}" if isinstance(scope, Text) else "no Yama"
    try:
        ask(kernel_unsafe.seize_child)
    except ProbeFailed as error:
        if yama == "Yama scope 3":
            return PTRACE.denied(f"{error}; {yama}", NoFix(reason="scope 3 lasts until the next boot"))
        fix = (
            IN_CONTAINER
            if yama in ("no Yama", "Yama scope 0")
            else Command(text="sudo sysctl kernel.yama.ptrace_scope=1")
        )
        return PTRACE.denied(f"{error}; {yama}", fix)
    return PTRACE.ok(f"seized a child with PTRACE_O_EXITKILL; {yama}")


def tid_address() -> Check:
    """PR_GET_TID_ADDRESS exists only in kernels built for checkpoint and restore."""
    try:
        ask(kernel_unsafe.has_tid_address)
    except ProbeFailed as error:
        return _refused(TID_ADDRESS, error, NoFix(reason="the kernel is built without CONFIG_CHECKPOINT_RESTORE"))
    return TID_ADDRESS.ok("prctl(PR_GET_TID_ADDRESS) answers")


def _refused(topic: Topic, error: ProbeFailed, absent: Fix) -> Check:
    """Tell "there is none" (ENOSYS, EINVAL) from "not for you" (EPERM, EACCES) from "it broke"."""
    if error.errno in (errno.ENOSYS, errno.EINVAL):
        return topic.missing(str(error), absent)
    if error.errno in (errno.EPERM, errno.EACCES):
        return topic.denied(str(error), IN_CONTAINER)
    return topic.unknown(str(error), NoFix(reason="an unexpected failure: the evidence names the call"))


def _enable_secret_memory() -> Fix:
    version = _version(os.uname().release)
    if version < (5, 14):
        return NEW_KERNEL
    if version < (6, 5):
        return ENABLE_SECRET_MEMORY
    return NoFix(reason="the kernel is built without CONFIG_SECRETMEM, or started with secretmem.enable=0")


def _limit() -> str:
    soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return "unlimited" if soft == resource.RLIM_INFINITY else human_size(soft)


def _version(release: str) -> tuple[int, int]:
    """Major and minor of a release such as 6.1.0-18-amd64; (0, 0) for text that has none."""
    parts = release.split(".")
    if len(parts) > 1 and parts[0].isdigit() and parts[1].split("-")[0].isdigit():
        return int(parts[0]), int(parts[1].split("-")[0])
    return 0, 0
