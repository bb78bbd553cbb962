"""A private instance of the kernel's tracer, removed at the end whatever happens.

Source: Documentation/trace/ftrace.rst ("Instances"), events.rst. An instance has its own buffer, events and
filters, so nothing that others trace on this machine is touched. It survives its owner: its name carries
the owner's pid, and each new owner removes those whose owner has ended.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from cloister.errors import ObservationError
from cloister.observe.trace.mount_unsafe import detached_tracefs
from cloister.observe.trace.ring import Format, parse_format

__all__ = ["MOUNTED", "Instance", "open_instance", "open_tracefs", "why_unavailable"]

MOUNTED = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
INSTANCE = re.compile(r"cloister-(\d+)-[0-9a-f]+")
BUFFER_KB, BUFFER_KB_LEAST = 65536, 512  # for all CPUs together; for each
INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h
EVENTS = (
    "raw_syscalls/sys_enter",
    "raw_syscalls/sys_exit",
    "sched/sched_process_fork",
    "sched/sched_process_exec",
    "sched/sched_process_exit",
    "signal/signal_deliver",
)


class Instance:
    """One instance directory, used relative to a descriptor so that no mount point is needed."""

    def __init__(self, root: int, name: str) -> None:
        self._root = root
        self.name = name

    def write(self, file: str, text: str) -> None:
        """Write to a control file of the instance."""
        descriptor = os.open(f"instances/{self.name}/{file}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._root)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def format(self, event: str) -> Format:
        """The layout of one kind of event."""
        return parse_format(read_file(self._root, f"instances/{self.name}/events/{event}/format"))

    def follow(self, tids: Iterable[int]) -> None:
        """Record these tasks and everything they fork; several writes, because one is limited to a page."""
        self.write("options/event-fork", "1")
        for number, tid in enumerate(tids):
            descriptor = os.open(
                f"instances/{self.name}/set_event_pid",
                os.O_WRONLY | os.O_CLOEXEC | (os.O_TRUNC if number == 0 else os.O_APPEND),
                dir_fd=self._root,
            )
            try:
                os.write(descriptor, str(tid).encode())
            finally:
                os.close(descriptor)

    def record(self) -> None:
        """Start recording; call `follow` first, or everybody is recorded."""
        self.write("tracing_on", "1")

    def open_buffers(self) -> list[int]:
        """One non-blocking descriptor for each CPU's buffer."""
        names = os.listdir(directory := os.open(f"instances/{self.name}/per_cpu", os.O_RDONLY, dir_fd=self._root))
        os.close(directory)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        path = f"instances/{self.name}/per_cpu"
        return [os.open(f"{path}/{name}/trace_pipe_raw", flags, dir_fd=self._root) for name in sorted(names)]


@contextlib.contextmanager
def open_instance() -> Iterator[Instance]:
    """A fresh instance with the events enabled but following nobody yet. Raises `ObservationError`."""
    root = open_tracefs()
    try:
        remove_abandoned(root)
        name = f"cloister-{os.getpid()}-{secrets.token_hex(4)}"
        os.mkdir(f"instances/{name}", 0o700, dir_fd=root)
        try:
            instance = Instance(root, name)
            prepare(instance)
            yield instance
        finally:
            os.rmdir(f"instances/{name}", dir_fd=root)
    finally:
        os.close(root)


def prepare(instance: Instance) -> None:
    """Clock, size, wake-ups, events. Nothing is recorded before `record`."""
    instance.write("tracing_on", "0")
    instance.write("trace_clock", "mono")
    instance.write("buffer_size_kb", str(max(BUFFER_KB // (os.cpu_count() or 1), BUFFER_KB_LEAST)))
    instance.write("buffer_percent", "0")
    for event in EVENTS:
        instance.write(f"events/{event}/enable", "1")


def open_tracefs() -> int:
    """A descriptor of tracefs: the mounted one, or a detached mount of our own. Raises `ObservationError`."""
    for path in MOUNTED:
        with contextlib.suppress(PermissionError):  # raised by is_dir for who may not enter the directory
            if Path(path, "instances").is_dir():
                return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return detached_tracefs()
    except OSError as error:
        raise ObservationError(
            f"the kernel's tracefs cannot be opened: {error.strerror}; system calls of an enclaved program can only be"
            " listed by root (CAP_SYS_ADMIN) on a kernel with CONFIG_FTRACE_SYSCALLS"
        ) from error


def why_unavailable() -> str:
    """Why tracepoints cannot be used here; empty when they can."""
    if os.stat("/proc/self/ns/pid").st_ino != INITIAL_PID_NAMESPACE:
        return "this is a container with process numbers of its own, and the kernel's tracer counts in the host's"
    try:
        root = open_tracefs()
    except ObservationError as error:
        return str(error)
    try:
        if not os.access("instances", os.W_OK, dir_fd=root):
            return "tracefs is there but only root may make an instance of it"
        os.stat("events/raw_syscalls", dir_fd=root)
    except OSError:
        return "this kernel's tracefs has no raw_syscalls events (CONFIG_FTRACE_SYSCALLS)"
    finally:
        os.close(root)
    return ""


def remove_abandoned(root: int) -> None:
    """Remove instances whose owner was killed before it could."""
    directory = os.open("instances", os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    try:
        for name in os.listdir(directory):
            match = INSTANCE.fullmatch(name)
            if match and not Path(f"/proc/{match[1]}").exists():
                with contextlib.suppress(OSError):
                    os.rmdir(name, dir_fd=directory)
    finally:
        os.close(directory)


def read_file(root: int, path: str) -> str:
    """A small file of tracefs."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
    with os.fdopen(descriptor, encoding="utf-8") as file:
        return file.read()
