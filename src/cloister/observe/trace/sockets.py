"""What a socket is connected to, as the kernel tells every administrator in /proc/PID/net.

Source: proc_pid_net(5). The sockets of a process are found by the inode number in `/proc/PID/fd/N`.
"""

import socket
import sys
from pathlib import Path

__all__ = ["describe", "endpoint"]

LISTENING = 0x0A
UNIX_ACCEPTING = 0x10000
FAMILIES = (("TCP", "tcp"), ("TCP", "tcp6"), ("UDP", "udp"), ("UDP", "udp6"), ("RAW", "raw"), ("RAW", "raw6"))


def describe(pid: int, inode: str) -> str:
    """One line for a socket: `TCP a->b`, `TCP a (listening)`, `unix:/path`; `socket:[N]` when it is not listed."""
    for protocol, table in FAMILIES:
        for fields in rows(pid, table):
            if len(fields) > 9 and fields[9] == inode:
                return internet(protocol, fields[1], fields[2], int(fields[3], 16))
    for fields in rows(pid, "unix", limit=7):
        if len(fields) > 6 and fields[6] == inode:
            return unix(fields)
    for fields in rows(pid, "netlink"):
        if len(fields) > 9 and fields[9] == inode:
            return f"netlink:{fields[1]}"
    return f"socket:[{inode}]"


def rows(pid: int, table: str, limit: int = -1) -> list[list[str]]:
    """The lines of one table of /proc/PID/net, split; none when it is missing."""
    try:
        text = Path(f"/proc/{pid}/net/{table}").read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return []
    return [line.split(maxsplit=limit) for line in text.splitlines()[1:]]


def internet(protocol: str, local: str, remote: str, state: int) -> str:
    """An IPv4 or IPv6 socket."""
    here, there = hex_endpoint(local), hex_endpoint(remote)
    if protocol == "TCP" and state == LISTENING:
        return f"{protocol} {here} (listening)"
    return f"{protocol} {here}" if remote.endswith(":0000") else f"{protocol} {here}->{there}"


def unix(fields: list[str]) -> str:
    """A Unix-domain socket: its path, or its inode when it has none."""
    if len(fields) > 7:
        return f"unix:{fields[7]}" + (" (listening)" if int(fields[3], 16) & UNIX_ACCEPTING else "")
    return f"unix:[{fields[6]}]"


def hex_endpoint(text: str) -> str:
    """`0100007F:1F90` as `127.0.0.1:8080`: the address is 32-bit words in the machine's byte order."""
    address, _, port = text.partition(":")
    words = (int(address[start : start + 8], 16) for start in range(0, len(address), 8))
    return endpoint(b"".join(word.to_bytes(4, sys.byteorder) for word in words), int(port, 16))


def endpoint(address: bytes, port: int) -> str:
    """An address of 4 or 16 bytes and a port as people write them."""
    if len(address) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, address)}:{port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, address)}]:{port}"
