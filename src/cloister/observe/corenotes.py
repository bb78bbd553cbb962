"""The notes of a core file: who the process was, its threads' registers, its auxiliary vector, its mapped files.

Layouts: `struct elf_prstatus` and `elf_prpsinfo` (linux/elfcore.h), NT_FILE (`fill_files_note` in
fs/binfmt_elf.c). gdb finds the program's load address through NT_AUXV and its libraries through memory.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cloister.observe.elflayout import NOTE_ALIGNMENT, NOTE_HEADER, NoteType, pad
from cloister.observe.maps import Mapping
from cloister.observe.registers_unsafe import Thread

__all__ = ["Identity", "build_notes", "read_identity"]

# info (signo, code, errno), cursig, pad, sigpend, sighold, pid, ppid, pgrp, sid, four struct timeval; registers follow.
PRSTATUS = struct.Struct("<iiih2xQQiiii64x")
PRSTATUS_END = struct.Struct("<i4x")
# state, sname, zomb, nice, flag, uid, gid, pid, ppid, pgrp, sid, fname, psargs.
PRPSINFO = struct.Struct("<bcbb4xQIIiiii16s80s")
PROCESS_STATES = "RSDTZW"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What /proc tells about a process beyond its memory; `auxv` and `arguments` are as the kernel holds them."""

    pid: int
    parent: int
    group: int
    session: int
    user: int
    user_group: int
    state: str
    nice: int
    flags: int
    name: bytes
    arguments: bytes
    auxv: bytes


def read_identity(pid: int) -> Identity:
    """Read it from /proc (proc_pid_stat(5)); raises OSError when the process is gone or refuses."""
    directory = Path(f"/proc/{pid}")
    stat = (directory / "stat").read_bytes()
    # The name may hold spaces and brackets: it ends at the last closing bracket.
    name = stat[stat.index(b"(") + 1 : stat.rindex(b")")]
    fields = stat[stat.rindex(b")") + 2 :].split()
    owner = directory.stat()
    return Identity(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        user=owner.st_uid,
        user_group=owner.st_gid,
        state=fields[0].decode(),
        nice=int(fields[16]),
        flags=int(fields[6]),
        name=name,
        arguments=(directory / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" "),
        auxv=(directory / "auxv").read_bytes(),
    )


def build_notes(identity: Identity, threads: Iterable[Thread], mappings: Iterable[Mapping]) -> bytes:
    """The content of the PT_NOTE segment; the first thread is the one that gdb shows first."""
    return b"".join(
        [
            *thread_notes(identity, threads),
            note(NoteType.PRPSINFO, process_info(identity)),
            note(NoteType.AUXV, identity.auxv),
            note(NoteType.FILE, file_table([mapping for mapping in mappings if mapping.path.startswith("/")])),
        ]
    )


def note(kind: int, content: bytes, owner: bytes = b"CORE") -> bytes:
    """One note: header, owner's name, content, each padded."""
    name = owner + b"\0"
    return NOTE_HEADER.pack(len(name), len(content), kind) + pad(name, NOTE_ALIGNMENT) + pad(content, NOTE_ALIGNMENT)


def thread_notes(identity: Identity, threads: Iterable[Thread]) -> Iterator[bytes]:
    """The registers of each thread: general, then the other sets, which belong to the general ones before them."""
    for thread in threads:
        general = thread.registers.get(NoteType.PRSTATUS)
        if general is None:
            continue
        yield note(NoteType.PRSTATUS, thread_status(identity, thread.tid, general))
        for kind, content in thread.registers.items():
            if kind == NoteType.FPREGSET:
                yield note(kind, content)
            elif kind != NoteType.PRSTATUS:
                yield note(kind, content, b"LINUX")


def thread_status(identity: Identity, tid: int, general: bytes) -> bytes:
    """An `elf_prstatus`. Signals and times are left zero: they are not what the memory of a process tells."""
    head = PRSTATUS.pack(0, 0, 0, 0, 0, 0, tid, identity.parent, identity.group, identity.session)
    return head + general + PRSTATUS_END.pack(1)


def process_info(identity: Identity) -> bytes:
    """An `elf_prpsinfo`."""
    state = identity.state if identity.state in PROCESS_STATES else "S"
    return PRPSINFO.pack(
        PROCESS_STATES.index(state), state.encode(), state == "Z", identity.nice, identity.flags,
        identity.user, identity.user_group, identity.pid, identity.parent, identity.group, identity.session,
        identity.name, identity.arguments[:79],
    )  # fmt: skip


def file_table(mappings: list[Mapping]) -> bytes:
    """The content of NT_FILE."""
    page = os.sysconf("SC_PAGE_SIZE")
    head = struct.pack("<QQ", len(mappings), page)
    entries = b"".join(struct.pack("<QQQ", one.start, one.end, one.offset // page) for one in mappings)
    return head + entries + b"".join(os.fsencode(one.path) + b"\0" for one in mappings)
