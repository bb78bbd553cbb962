"""What root sees of a running program: walk /proc/PID/maps, read /proc/PID/mem, print it or search it.

    sudo python3 dumpmem.py PID > dump.log           every readable byte
    echo FUNFOO | sudo python3 dumpmem.py --find PID [PID...]

The text to find comes on standard input, so that it stands in no command line and not in this process's environment.
Exit status as grep(1): 0 found, 1 not found, 2 something could not be looked at.

This script imports nothing of Cloister: what it does not find, Cloister did not hide from it.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

MAPS_LINE = re.compile(r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<readable>[r-])\S* \S+ \S+ \d+ *(?P<name>.*)")
PAGE = 4096
PIECE = 1 << 20


class Mapping:
    """One line of maps, and how many of its bytes could not be read."""

    def __init__(self, line: str) -> None:
        """Parse `line`; proc_pid_maps(5) has the format."""
        found = MAPS_LINE.match(line)
        if found is None:
            raise ValueError(f"not a line of /proc/PID/maps: {line!r}")
        self.line = line.rstrip("\n")
        self.start, self.end = int(found["start"], 16), int(found["end"], 16)
        self.readable = found["readable"] == "r"
        self.name = found["name"] or "anonymous"
        self.unreadable_bytes = 0

    def pieces(self, memory: int) -> Iterator[tuple[int, bytes]]:
        """Address and contents of whatever can be read. Where a piece fails, one page is stepped over."""
        address = self.start
        while address < self.end:
            try:
                data = os.pread(memory, min(PIECE, self.end - address), address)
            except OSError:
                data = b""
            if data:
                yield address, data
            else:
                self.unreadable_bytes += PAGE
            address += len(data) or PAGE


def mappings(pid: int) -> list[Mapping]:
    """What /proc/PID/maps lists."""
    with Path(f"/proc/{pid}/maps").open(encoding="utf-8", errors="replace") as maps:
        return [Mapping(line) for line in maps]


def print_memory(pid: int) -> None:
    """Copy every readable byte to standard output, each mapping under its line of maps."""
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    print(f"PID = {pid}", flush=True)
    for mapping in mappings(pid):
        print(f"\n{'READ' if mapping.readable else 'PASS'} {mapping.line}", flush=True)
        for _, data in mapping.pieces(memory) if mapping.readable else ():
            sys.stdout.buffer.write(data)
        sys.stdout.flush()
        if mapping.unreadable_bytes:
            print(f"\nFAIL {mapping.unreadable_bytes} bytes could not be read", flush=True)
    os.close(memory)


def hits_in(mapping: Mapping, memory: int, wanted: bytes) -> Iterator[int]:
    """The addresses at which `wanted` starts, also where it crosses from one piece into the next."""
    tail, expected = b"", mapping.start
    for address, data in mapping.pieces(memory):
        text = (tail if address == expected else b"") + data
        base, at = address + len(data) - len(text), text.find(wanted)
        while at >= 0:
            yield base + at
            at = text.find(wanted, at + 1)
        tail, expected = text[len(text) - len(wanted) + 1 :] if len(wanted) > 1 else b"", address + len(data)


def find_in(pid: int, wanted: bytes) -> int:
    """Say where `wanted` stands in the process; returns how often it was found."""
    memory, found, size, unreadable = os.open(f"/proc/{pid}/mem", os.O_RDONLY), 0, 0, 0
    for mapping in mappings(pid):
        if not mapping.readable:
            continue
        for address in hits_in(mapping, memory, wanted):
            print(f"{pid}: FOUND at {address:x} in {mapping.name}")
            found += 1
        size += mapping.end - mapping.start
        unreadable += mapping.unreadable_bytes
    os.close(memory)
    print(f"{pid}: {found} hits, {size - unreadable} bytes read, {unreadable} bytes could not be read", flush=True)
    return found


def find_in_all(pids: list[int]) -> int:
    """Search each process for the text on standard input; returns the exit status."""
    wanted = sys.stdin.buffer.read().rstrip(b"\n")
    if not wanted:
        print("dumpmem.py: nothing to find: give the text on standard input", file=sys.stderr)
        return 2
    found = failed = 0
    for pid in pids:
        try:
            found += find_in(pid, wanted)
        except OSError as error:
            print(f"{pid}: {error.strerror}", file=sys.stderr)
            failed += 1
    return 2 if failed else int(not found)


def main(words: list[str]) -> int:
    """Do what the command line says; returns the exit status."""
    find = words[:1] == ["--find"]
    pids = words[1:] if find else words
    if not pids or not all(word.isdecimal() for word in pids) or (len(pids) > 1 and not find):
        print(__doc__, file=sys.stderr)
        return 2
    if find:
        return find_in_all([int(word) for word in pids])
    print_memory(int(pids[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
