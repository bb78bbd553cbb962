"""Socket addresses and messages. Source: ip(7), ipv6(7), unix(7), netlink(7), recvmsg(2)."""

import os
import socket
import struct

from cloister.observe.trace.decode.buffers import scattered
from cloister.observe.trace.decode.look import NOTHING, Decoded, Decoder, Look, pointer
from cloister.observe.trace.flags import text_of
from cloister.observe.trace.record import NameKind, Seen, Unreadable
from cloister.observe.trace.signatures import Param
from cloister.observe.trace.sockets import endpoint

__all__ = ["NETWORK", "address_text", "destination"]

ADDRESS_MAX = 128  # struct sockaddr_storage
MSGHDR = struct.Struct("<QI4xQQQQi4x")
MMSGHDR_SIZE = MSGHDR.size + 8
MESSAGES_MAX = 1024  # UIO_MAXIOV: the kernel takes no more
# The shortest address that holds all the fields that are shown.
SIZES: dict[int, int] = {socket.AF_INET: 8, socket.AF_INET6: 24, socket.AF_NETLINK: 12}


def address_in(look: Look, param: Param, raw: int) -> Decoded:
    """An address that the program passes."""
    return at_pointer(look, param, raw, look.value(param.detail) & 0xFFFFFFFF)


def address_out(look: Look, param: Param, raw: int) -> Decoded:
    """An address that the kernel stored; its length stands behind a pointer."""
    refused = look.refused(param.detail)
    return (
        (pointer(raw, refused), refused) if raw and refused else at_pointer(look, param, raw, look.length(param.detail))
    )


def at_pointer(look: Look, param: Param, raw: int, length: int) -> Decoded:
    """Read an address of `length` bytes, write it down, and note the destination."""
    if raw == 0 or length == 0:
        return (hex(raw) if raw else "NULL"), NOTHING
    data = look.eyes.memory.read(look.pid, raw, min(length, ADDRESS_MAX))
    if isinstance(data, Unreadable):
        return pointer(raw, data), data
    look.named(NameKind.DESTINATION, destination(data))
    look.clues.carried.extend(look.eyes.redactor.look(data, param.name).carried)
    return look.eyes.redactor.text(address_text(data)), Seen(size=len(data))


def family_of(data: bytes) -> int:
    """The address family; AF_UNSPEC when there is none or the address is too short for its family."""
    family = int.from_bytes(data[:2], "little")
    return family if len(data) >= SIZES.get(family, 2) else socket.AF_UNSPEC


def destination(data: bytes) -> str:
    """An address as people write it; empty when it names no place."""
    family = family_of(data)
    if family == socket.AF_INET:
        return endpoint(data[4:8], int.from_bytes(data[2:4], "big"))
    if family == socket.AF_INET6:
        return endpoint(data[8:24], int.from_bytes(data[2:4], "big"))
    return f"unix:{unix_name(data)}" if family == socket.AF_UNIX and len(data) > 2 else ""


def unix_name(data: bytes) -> str:
    """The path of a Unix-domain address; an abstract name begins with `@`."""
    name = data[2:]
    return "@" + os.fsdecode(name[1:]).rstrip("\0") if name[:1] == b"\0" else os.fsdecode(name.split(b"\0")[0])


def address_text(data: bytes) -> str:
    """An address as strace writes it."""
    family, port = family_of(data), int.from_bytes(data[2:4], "big")
    if family == socket.AF_INET:
        host = socket.inet_ntop(socket.AF_INET, data[4:8])
        return f'{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("{host}")}}'
    if family == socket.AF_INET6:
        host = socket.inet_ntop(socket.AF_INET6, data[8:24])
        return f'{{sa_family=AF_INET6, sin6_port=htons({port}), inet_pton(AF_INET6, "{host}")}}'
    if family == socket.AF_UNIX:
        return f'{{sa_family=AF_UNIX, sun_path="{unix_name(data)}"}}' if len(data) > 2 else "{sa_family=AF_UNIX}"
    if family == socket.AF_NETLINK:
        process, groups = struct.unpack_from("<II", data, 4)
        return f"{{sa_family=AF_NETLINK, nl_pid={process}, nl_groups={groups:#x}}}"
    return f"{{sa_family={text_of('domain', family)}, sa_data=0x{data[2:].hex()}}}"


def message_in(look: Look, param: Param, raw: int) -> Decoded:
    """A message that the program sends."""
    return message(look, param, raw, None)


def message_out(look: Look, param: Param, raw: int) -> Decoded:
    """A message that the kernel stored."""
    return message(look, param, raw, look.result)


def message(look: Look, param: Param, raw: int, moved: int | None) -> Decoded:
    """`struct msghdr` with its buffers; with `moved`, only that many bytes of them are meaningful."""
    data = look.eyes.memory.read(look.pid, raw, MSGHDR.size)
    if isinstance(data, Unreadable):
        return pointer(raw, data), data
    if len(data) < MSGHDR.size:
        return hex(raw), Unreadable(reason="only partly mapped")
    name, name_size, iov, count, control, control_size, flags = MSGHDR.unpack(data)
    where = at_pointer(look, param, name, name_size)[0]
    text, contents = scattered(look, param, iov, count, moved)
    extra = f", msg_control={control:#x}, msg_controllen={control_size}" if control_size else ""
    return f"{{msg_name={where}, msg_iov={text}{extra}, msg_flags={text_of('msg', flags & 0xFFFFFFFF)}}}", contents


def messages_in(look: Look, param: Param, raw: int) -> Decoded:
    """The array of sendmmsg(2)."""
    return messages(look, param, raw, sending=True)


def messages_out(look: Look, param: Param, raw: int) -> Decoded:
    """The array of recvmmsg(2), of which as many are filled as the call returned."""
    return messages(look, param, raw, sending=False)


def messages(look: Look, param: Param, raw: int, *, sending: bool) -> Decoded:
    """`struct mmsghdr[]`: each with the number of bytes that were moved."""
    texts, size, refused = [], 0, None
    count = look.length(param.detail) & 0xFFFFFFFF
    for index in range(min(count, MESSAGES_MAX)):
        start = raw + index * MMSGHDR_SIZE
        moved = look.eyes.memory.read(look.pid, start + MSGHDR.size, 4)
        if isinstance(moved, Unreadable):
            return pointer(raw, moved), moved
        text, contents = message(look, param, start, None if sending else int.from_bytes(moved, "little"))
        texts.append(text)
        size += contents.size if isinstance(contents, Seen) else 0
        refused = contents if isinstance(contents, Unreadable) else refused
    more = ["..."] if count > MESSAGES_MAX else []
    return "[" + ", ".join(texts + more) + "]", refused or Seen(size=size)


# True: to be read when the call has returned.
NETWORK: dict[str, tuple[bool, Decoder]] = {
    "sockaddr_in": (False, address_in),
    "sockaddr_out": (True, address_out),
    "msghdr_in": (False, message_in),
    "msghdr_out": (True, message_out),
    "mmsghdr_in": (False, messages_in),
    "mmsghdr_out": (True, messages_out),
}
