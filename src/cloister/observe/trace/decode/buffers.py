"""Arguments that carry data or names: buffers, scattered buffers, paths, program arguments and environments."""

import os
import struct

from cloister.observe.trace.decode.look import NOTHING, Decoded, Decoder, Look, pointer, signed
from cloister.observe.trace.record import Direction, NameKind, Seen, Unreadable
from cloister.observe.trace.redact import quote
from cloister.observe.trace.signatures import Param

__all__ = ["BUFFERS", "scattered"]

AT_FDCWD = -100
IOVEC = struct.Struct("<QQ")
IOVECS_MAX = 1024  # UIO_MAXIOV: the kernel refuses more
STRINGS_MAX = 100_000
WORD = 8
FLOWS = {"in": Direction.IN, "out": Direction.OUT}


def buffer(look: Look, param: Param, raw: int) -> Decoded:
    """A buffer whose length the signature names; part of a flow when the call moves bytes through a descriptor."""
    refused = look.refused(param.detail)
    if raw and refused:
        return pointer(raw, refused), refused
    return look.content(param, raw, look.length(param.detail), FLOWS.get(look.signature.returns))


def scatter(look: Look, param: Param, raw: int) -> Decoded:
    """An array of buffers handed to the kernel."""
    return scattered(look, param, raw, look.length(param.detail), None)


def gather(look: Look, param: Param, raw: int) -> Decoded:
    """An array of buffers that the kernel filled with as many bytes as it returned."""
    return scattered(look, param, raw, look.length(param.detail), look.result)


def scattered(look: Look, param: Param, address: int, count: int, moved: int | None) -> Decoded:
    """`count` iovecs at `address`; with `moved`, only that many bytes of them are meaningful."""
    count = min(signed(count, 32), IOVECS_MAX)
    table = look.eyes.memory.read(look.pid, address, count * IOVEC.size)
    if isinstance(table, Unreadable):
        return pointer(address, table), table
    direction = FLOWS.get(look.signature.returns)
    texts, seen, refused = [], 0, None
    left = moved
    for base, length in IOVEC.iter_unpack(table[: len(table) // IOVEC.size * IOVEC.size]):
        size = length if left is None else min(length, left)
        left = None if left is None else left - size
        text, contents = look.content(param, base, size, direction) if size else ('""', NOTHING)
        texts.append(f"{{iov_base={text}, iov_len={length}}}")
        seen += contents.size if isinstance(contents, Seen) else 0
        refused = contents if isinstance(contents, Unreadable) else refused
    return "[" + ", ".join(texts) + "]", refused or Seen(size=seen)


def path(look: Look, param: Param, raw: int) -> Decoded:
    """A file name."""
    data, decoded = look.string(param, raw)
    if believable(look, data):
        look.named(NameKind.FILE, full_path(look, data))
    return decoded


def program(look: Look, param: Param, raw: int) -> Decoded:
    """The file name of a program to execute."""
    data, decoded = look.string(param, raw)
    if believable(look, data):
        look.named(NameKind.PROGRAM, full_path(look, data))
    return decoded


def believable(look: Look, data: bytes) -> bool:
    """Whether a string is a name to report. Read late, memory that was used again shows as unprintable bytes."""
    return bool(data) and (not look.eyes.late or os.fsdecode(data).isprintable())


def full_path(look: Look, data: bytes) -> str:
    """A relative name together with the directory it starts from, when that is known."""
    name = os.fsdecode(data)
    if name.startswith("/"):
        return name
    directory = next((look.value(item.name) for item in look.signature.params if item.kind == "dirfd"), AT_FDCWD)
    base = look.eyes.descriptors.name(look.pid, signed(directory, 32))
    return f"{base.rstrip('/')}/{name}" if base.startswith("/") else name


def string(look: Look, param: Param, raw: int) -> Decoded:
    """A NUL-terminated string that is not a file name."""
    return look.string(param, raw)[1]


def strings(look: Look, param: Param, raw: int) -> Decoded:
    """A program's arguments."""
    found = string_array(look, raw)
    if isinstance(found, Unreadable):
        return pointer(raw, found), found
    texts, size = [], 0
    for data in found:
        looked = look.eyes.redactor.look(data, param.name)
        look.clues.carried.extend(looked.carried)
        texts.append(quote(looked, look.eyes.limit))
        size += len(data)
    return "[" + ", ".join(texts) + "]" if raw else "NULL", Seen(size=size)


def environment(look: Look, param: Param, raw: int) -> Decoded:
    """A program's environment: searched, but shown as a count."""
    found = string_array(look, raw)
    if isinstance(found, Unreadable):
        return pointer(raw, found), found
    for data in found:
        look.clues.carried.extend(look.eyes.redactor.look(data, param.name).carried)
    return f"{raw:#x} /* {len(found)} vars */" if raw else "NULL", Seen(size=sum(map(len, found)))


def string_array(look: Look, address: int) -> list[bytes] | Unreadable:
    """The strings of a NULL-terminated array of pointers."""
    found: list[bytes] = []
    if address == 0:
        return found
    for index in range(STRINGS_MAX):
        word = look.eyes.memory.read(look.pid, address + index * WORD, WORD)
        if isinstance(word, Unreadable):
            return word
        start = int.from_bytes(word, "little")
        if start == 0 or len(word) < WORD:
            return found
        data = look.terminated(start)
        if isinstance(data, Unreadable):
            return data
        found.append(data)
    return found


# The flag tells when to look: False at entry, while the program's data is as it passed it; True at return.
BUFFERS: dict[str, tuple[bool, Decoder]] = {
    "in": (False, buffer),
    "out": (True, buffer),
    "iov_in": (False, scatter),
    "iov_out": (True, gather),
    "path": (False, path),
    "program": (False, program),
    "str": (False, string),
    "strings": (False, strings),
    "environment": (False, environment),
}
