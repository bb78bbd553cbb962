"""Cloister's own runtime file: whether it is there, may run, and which capability it carries."""

import errno
import os
import shlex
import struct
from dataclasses import dataclass
from pathlib import Path

from cloister.doctor.check import Check, Command, Group, Topic
from cloister.doctor.machine import Machine, Text

__all__ = ["RUNTIME_PATH", "RuntimeFile", "look_at_runtime", "runtime_check"]

RUNTIME_PATH = Path(__file__).resolve().parents[1] / "_runtime" / "cloister-enclave"
"""Where the runtime should be, built or not. `cloister.launch` insists that it is built; a test compares the two."""

CAP_IPC_LOCK = 14  # linux/capability.h
EFFECTIVE = 0x000001  # VFS_CAP_FLAGS_EFFECTIVE
REVISIONS = {0x02000000: 20, 0x03000000: 24}  # VFS_CAP_REVISION_2 and _3, and their sizes in bytes

ALL_USERS = 0xFFFFFFFF  # the initial user namespace maps every user to itself (user_namespaces(7))

ADD_CAPABILITY = Command(text="docker run --cap-add IPC_LOCK ...   # this container may not lock memory")
RAISE_CONTAINER_LIMIT = Command(text="docker run --ulimit memlock=-1 ...   # a capability inside does not count")
RAISE_LIMIT = Command(text="sudo prlimit --pid $$ --memlock=unlimited   # for this shell and what it starts")

RUNTIME = Topic(
    name="runtime",
    group=Group.ENCLAVE,
    title="Cloister's runtime",
    matters="It is the program that loads yours into secret memory.",
    needed=True,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeFile:
    """The runtime as found. `capability` says in words what its file capabilities are.

    `more_room` is what would let it lock more memory here: mostly the file capability, elsewhere something else because
    the kernel would ignore that one.
    """

    path: Path
    present: bool
    executable: bool
    capability: str
    lifts_memory_lock: bool
    more_room: Command


def look_at_runtime(path: Path, machine: Machine) -> RuntimeFile:
    """Everything the file system says about the runtime; never raises for a missing file."""
    present = path.is_file()
    held, capability = _ipc_lock(path) if present else (False, "none")
    ignored = _ignored(path, machine) if present else None
    return RuntimeFile(
        path=path,
        present=present,
        executable=os.access(path, os.X_OK),
        capability=f"{capability}, ignored: {ignored.reason}" if held and ignored else capability,
        lifts_memory_lock=held and ignored is None,
        more_room=ignored.instead if ignored else Command(text=f"sudo setcap cap_ipc_lock+ep {shlex.quote(str(path))}"),
    )


def runtime_check(runtime: RuntimeFile) -> Check:
    """Present and executable; the capability is shown, and `memlock` judges it."""
    if not runtime.present:
        return RUNTIME.missing(f"{runtime.path} does not exist", Command(text="make runtime   # or: pip install ."))
    if not runtime.executable:
        return RUNTIME.denied(f"{runtime.path} is not executable", Command(text=f"chmod +x {runtime.path}"))
    return RUNTIME.ok(f"{runtime.path}; file capabilities: {runtime.capability}")


def _ipc_lock(path: Path) -> tuple[bool, str]:
    """Whether `security.capability` (capabilities(7)) grants CAP_IPC_LOCK, permitted and effective; and in words."""
    try:
        attribute = os.getxattr(path, "security.capability")
    except OSError as error:
        return False, "none" if error.errno == errno.ENODATA else f"unreadable ({error.strerror})"
    head = int.from_bytes(attribute[:4], "little")
    if REVISIONS.get(head & 0xFF000000) != len(attribute):
        return False, f"in an unknown format ({len(attribute)} bytes)"
    (permitted,) = struct.unpack_from("<I", attribute, 4)
    if permitted >> CAP_IPC_LOCK & 1 and head & EFFECTIVE:
        return True, "cap_ipc_lock+ep"
    return False, f"without cap_ipc_lock (permitted {permitted:#x})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ignored:
    """Why the kernel would not honour a file capability, and what lifts the limit instead."""

    reason: str
    instead: Command


def _ignored(path: Path, machine: Machine) -> Ignored | None:
    """The first reason found; None where file capabilities work."""
    if int(machine.status_field("CapBnd") or "0", 16) >> CAP_IPC_LOCK & 1 == 0:
        return Ignored(reason="CAP_IPC_LOCK is outside the bounding set", instead=ADD_CAPABILITY)
    identity = machine.read("/proc/self/uid_map")
    if isinstance(identity, Text) and identity.value.split() != ["0", "0", str(ALL_USERS)]:
        return Ignored(reason="this is a user namespace", instead=RAISE_CONTAINER_LIMIT)
    if machine.status_field("NoNewPrivs") == "1":
        return Ignored(reason="this process runs under no_new_privs", instead=RAISE_LIMIT)
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        return Ignored(reason="its file system is mounted nosuid", instead=RAISE_LIMIT)
    return None
