"""Print every readable byte of a process: `sudo python3 dumpmem.py PID > dump.log`, then `grep -ao SECRET dump.log`.

In the style of the class exercise (https://sconedocs.github.io/memory_dump/): walk /proc/PID/maps, read
/proc/PID/mem. It uses nothing of Cloister, so that what it does not find, Cloister did not hide from it.
"""

import os
import re
import sys

MAPS_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ([-r])")
PAGE = 4096
PIECE = 1 << 20


def dump_mapping(memory: int, start: int, end: int) -> None:
    """Copy one mapping to standard output; where a piece cannot be read, step over one page and go on."""
    address, failed = start, False
    while address < end:
        try:
            data = os.pread(memory, min(PIECE, end - address), address)
        except OSError as error:
            if not failed:
                print(f"\nFAIL {address:x}: {error.strerror}", flush=True)
            failed = True
            data = b""
        sys.stdout.buffer.write(data)
        address += len(data) or PAGE


def main() -> int:
    """Dump the process named on the command line."""
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        print("usage: dumpmem.py PID", file=sys.stderr)
        return 2
    pid = sys.argv[1]
    print(f"PID = {pid}", flush=True)
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
        lines = maps.readlines()
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    for line in lines:
        found = MAPS_LINE.match(line)
        if found is None or found[3] != "r":
            print(f"\nPASS {line}", end="", flush=True)
            continue
        print(f"\nREAD {line}", end="", flush=True)
        dump_mapping(memory, int(found[1], 16), int(found[2], 16))
    print("\nEND")
    return 0


if __name__ == "__main__":
    sys.exit(main())
