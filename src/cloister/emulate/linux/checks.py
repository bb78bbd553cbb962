"""What the shim believes of the host's answers: nothing that can be checked.

Checkoway and Shacham, "Iago attacks: why the system call API is a bad untrusted RPC interface", ASPLOS 2013. A host
that lies is not an error that a program could handle: HostLied stops it before the lie reaches its memory. What cannot
be checked is the truth of file contents, names, sizes and wall-clock time; those take encryption and a trusted clock.
"""

from typing import Final

from cloister.errors import CloisterError

from .messages import FileStatus, HostReply, Operation

__all__ = [
    "HostLied",
    "check_count",
    "check_entry",
    "check_handle",
    "check_identity",
    "check_link",
    "check_reply",
    "check_status",
    "check_time",
]

WITH_DATA: Final = frozenset(
    {
        Operation.CONSOLE_READ,
        Operation.OPEN,
        Operation.READ,
        Operation.READ_AT,
        Operation.STATUS,
        Operation.HANDLE_STATUS,
        Operation.LIST,
        Operation.READ_LINK,
    }
)
"""What is answered with bytes."""

WITH_VALUE: Final = frozenset(
    {
        Operation.CONSOLE_READ,
        Operation.OPEN,
        Operation.READ,
        Operation.READ_AT,
        Operation.WRITE,
        Operation.WRITE_AT,
        Operation.LIST,
        Operation.LOCK,
        Operation.CLOCK,
        Operation.SLEEP,
    }
)
"""What is answered with a number."""

LARGEST_ERRNO: Final = 4095
"""Linux, include/linux/err.h, MAX_ERRNO."""

LARGEST_OFFSET: Final = (1 << 63) - 1
"""An off_t has 63 bits: what is above would be a negative size or time."""

FILE_TYPES: Final = frozenset({0o010000, 0o020000, 0o040000, 0o060000, 0o100000, 0o120000, 0o140000})
"""The system call stat: pipe, character device, directory, block device, regular file, link, socket."""


class HostLied(CloisterError):
    """The host gave an answer that no honest host gives. `call` is what was asked, `detail` what was wrong with it."""

    def __init__(self, call: str, detail: str) -> None:
        super().__init__(
            f"the untrusted host answered {call} with what cannot be true: {detail}. "
            "The program was stopped before it saw this; find out who changed the host or its shared memory"
        )
        self.call, self.detail = call, detail


def check_reply(operation: Operation, sequence: int, reply: HostReply) -> None:
    """An answer to this question and to no earlier one; errors are errno values and bring nothing else."""
    if reply.operation != operation or reply.sequence != sequence:
        raise HostLied(operation.name, f"the answer is to call {reply.sequence} ({reply.operation}), not to {sequence}")
    if reply.error > LARGEST_ERRNO:
        raise HostLied(operation.name, f"error number {reply.error} is not within 1 to {LARGEST_ERRNO}")
    if reply.error and (reply.value or reply.length):
        raise HostLied(operation.name, f"error number {reply.error} together with a result")
    if (reply.value and operation not in WITH_VALUE) or (reply.length and operation not in WITH_DATA):
        raise HostLied(operation.name, "a result where none belongs")


def check_count(call: str, count: int, asked: int, data: bytes | None = None) -> int:
    """At most as many bytes as were asked for, and as many as came."""
    if count > asked:
        raise HostLied(call, f"{count} bytes done; {asked} were asked for")
    if data is not None and len(data) != count:
        raise HostLied(call, f"{count} bytes announced, {len(data)} delivered")
    return count


def check_handle(call: str, handle: int, used: frozenset[int] | set[int]) -> int:
    """A new file's number is not one that is in use: else writing to one file would write to another."""
    if handle in used:
        raise HostLied(call, f"handle {handle} is already another open file's")
    return handle


def check_status(call: str, data: bytes) -> FileStatus:
    """A file's status: a known type, and numbers that are not negative for a program."""
    if len(data) != FileStatus.SIZE:
        raise HostLied(call, f"a file status of {len(data)} bytes; it has {FileStatus.SIZE}")
    status = FileStatus.parse(data)
    if status.mode >> 16 or status.mode & 0o170000 not in FILE_TYPES:
        raise HostLied(call, f"mode {status.mode:#o} is no kind of file")
    for name in ("size", "blocks", "accessed", "modified", "changed"):
        if getattr(status, name) > LARGEST_OFFSET:
            raise HostLied(call, f"{name} is negative")
    if not 0 < status.block_size <= 1 << 30 or max(status.user, status.group) >> 32:
        raise HostLied(call, "a block size or owner that no file has")
    return status


def check_identity(call: str, before: FileStatus, now: FileStatus) -> None:
    """An open file stays the same file: device, inode and kind never change while it is open."""
    for name, old, new in (
        ("device", before.device, now.device),
        ("inode", before.inode, now.inode),
        ("kind", before.mode & 0o170000, now.mode & 0o170000),
    ):
        if old != new:
            raise HostLied(call, f"the open file's {name} was {old:#o} and is now {new:#o}")


def check_time(call: str, now: int, earliest: int) -> int:
    """A clock that never goes back, in nanoseconds: `earliest` is what it showed last."""
    if now > LARGEST_OFFSET:
        raise HostLied(call, "a negative time")
    if now < earliest:
        raise HostLied(call, f"the clock went back by {earliest - now} ns")
    return now


def check_entry(call: str, name: bytes) -> bytes:
    """A directory entry is a name, not a path."""
    if not 0 < len(name) <= 255 or b"/" in name or b"\0" in name:
        raise HostLied(call, "a directory entry that is not a file name")
    return name


def check_link(call: str, target: bytes) -> bytes:
    """A link's target is a path that Linux could hold."""
    if not 0 < len(target) <= 4095 or b"\0" in target:
        raise HostLied(call, "a link target that is not a path")
    return target
