"""The trusted part inside the TEE that answers a program's system calls, alone or by asking the untrusted host.

    shim = Shim(space, gate, ShimOptions(console_key=key))
    entry, stack_pointer = shim.start(image, [b"program", b"argument"], [b"PATH=/bin"])
    result = shim.call(number, arguments)      # at each system call: an int for the result register, or Ended

The machine has loaded the image's pages before `start`. Four exceptions come out of `call` and end the program:
HostLied, IntegrityFault, a MemoryFault at an address that the program may use, and whatever the gate raises.
"""

import contextlib
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from cloister.emulate.paging import NEEDED, Access, MemoryFault
from cloister.measure.image import Image

from .console import Stream
from .descriptor_calls import DescriptorCalls
from .descriptors import Descriptors
from .file_calls import FileCalls
from .link import Gate, HostLink
from .memory_calls import MemoryCalls
from .messages import Operation
from .numbers import NAMES
from .outcome import Ended, Failed
from .path_calls import PathCalls
from .process import Process, ShimOptions
from .process_calls import ProcessCalls
from .provided import Read, Save
from .space import Space
from .start import lay_out
from .time_calls import TimeCalls

__all__ = ["Shim"]

ENOMEM, EACCES, EFAULT, EPIPE, ENOSYS = 12, 13, 14, 32, 38
Handler: TypeAlias = Callable[..., int | Ended]

CONSTANT: Final = {
    "process": ("getpid", "gettid", "getpgrp", "getpgid", "getsid"),
    "user": ("getuid", "geteuid", "getgid", "getegid"),
    "parent": ("getppid",),
    "forbidden": ("setsid", "setuid", "setgid", "setresuid", "setresgid", "setgroups", "chroot", "setrlimit"),
    "done": ("sched_yield", "set_robust_list", "getgroups", "sync", "setpgid"),
}
"""Calls that one method of ProcessCalls answers for all of them."""

OTHER_NAMES: Final = {
    "exit_group": "exit",
    "getresgid": "getresuid",
    "fdatasync": "fsync",
    "faccessat2": "faccessat",
}
"""Calls that another call's method answers."""

UNMOVED: Final = ("msync", "mlock", "munlock", "mlockall", "munlockall", "mlock2")


class Shim:
    """Serves one program. `refused` counts by name the calls that do not exist here (ENOSYS), `calls` counts all.

    `starved` counts the calls for which there was not enough memory (ENOMEM).
    """

    def __init__(self, space: Space, gate: Gate, options: ShimOptions) -> None:
        self._link = HostLink(gate)
        self._line = options.line()
        self._process = process = Process(space, self._link, options)
        self._names = NAMES[space.architecture]
        descriptors = Descriptors(self._link, self._line, process.provided, interactive=options.interactive)
        self._memory, times = MemoryCalls(process, descriptors), TimeCalls(process)
        self._signals = ProcessCalls(process)
        rooms = (
            self._memory,
            FileCalls(process, descriptors),
            PathCalls(process, descriptors),
            DescriptorCalls(process, descriptors, times),
            times,
            self._signals,
        )
        self._table = _table(self._names, rooms)
        self.refused: Counter[str] = Counter()
        self.starved = 0
        self.calls = 0

    @property
    def host_calls(self) -> int:
        """How often the host was asked."""
        return self._link.calls

    def provide(self, path: str, content: bytes | Read, *, save: Save | None = None, mount: str | None = None) -> None:
        """Let a file exist inside the TEE alone: fixed content, or what `content` makes whenever it is opened.

        `save` takes what the program writes to it. All of `mount` (the file's directory, if not given) is then the
        TEE's: the host is not asked about it. Works before `start` and while the program runs. ValueError for paths
        that are not absolute and normal.
        """
        self._process.provided.add(path.encode(), content, save=save, mount=None if mount is None else mount.encode())

    def start(self, image: Image, arguments: Sequence[bytes], environment: Sequence[bytes]) -> tuple[int, int]:
        """Prepare stack, heap and books: first program counter and stack pointer. CannotEnclave if it does not fit."""
        self._process.executable = arguments[0] if arguments else b"program"
        stack = lay_out(self._process, image, arguments, environment)
        self._memory.begin_heap(image.end)
        return image.entry, stack

    def call(self, number: int, arguments: Sequence[int]) -> int | Ended:
        """Answer one system call; arguments are the six registers. A failed call gives a negative errno."""
        self.calls += 1
        known = self._table.get(number)
        if known is None:
            return self._failed(number, ENOSYS)
        handler, count = known
        try:
            result = handler(*arguments[:count])
        except Failed as failure:
            return self._failed(number, failure.number)
        except MemoryFault as fault:
            if self.permits(fault.address, fault.access):
                raise  # the program may use this address: that it cannot is the host's doing
            return -EFAULT
        except MemoryError:
            return self._failed(number, ENOMEM)
        except PermissionError:
            return -EACCES
        return result if type(result) is int else self._finish(result)

    def permits(self, address: int, access: Access) -> bool:
        """Whether the program may do this at an address: if so, it is not the program's fault that it cannot."""
        return self._process.regions.permits(address, NEEDED[access])

    def _failed(self, number: int, reason: int) -> int | Ended:
        """An errno, kept in mind where it may be why the program fails later. A broken pipe is a signal first."""
        if reason == ENOSYS:
            self.refused[self._names.get(number, f"number {number}")] += 1
        elif reason == ENOMEM:
            self.starved += 1
        elif reason == EPIPE:
            return self._finish(self._signals.broken_pipe())
        return -reason

    def _finish(self, end: int | Ended) -> int | Ended:
        """The program's end is a console record too: on a sealed line, the host cannot cut the output short."""
        if isinstance(end, Ended):
            self.finish(end.status)
        return end

    def finish(self, status: int) -> None:
        """Tell the owner's terminal that the program is over. For a machine that stops it: 128 + signal.

        A host that does not carry the record leaves the owner without an end, which the owner sees.
        """
        record = self._line.wrap(Stream.END, status.to_bytes(4, "little"))
        with contextlib.suppress(Failed):
            self._link.ask(Operation.CONSOLE_WRITE, data=record)


def _table(names: dict[int, str], rooms: Sequence[object]) -> dict[int, tuple[Handler, int]]:
    """Number to method and how many registers it takes."""
    found: dict[str, Handler] = {}
    for room in rooms:
        methods = inspect.getmembers(room, inspect.ismethod)
        found |= {name: method for name, method in methods if not name.startswith("_")}
    for source, targets in (*CONSTANT.items(), ("nothing_to_do", UNMOVED)):
        found |= dict.fromkeys(targets, found[source])
    found |= {name: found[other] for name, other in OTHER_NAMES.items()}
    known = ((number, found.get(name)) for number, name in names.items())
    return {number: (method, len(inspect.signature(method).parameters)) for number, method in known if method}
