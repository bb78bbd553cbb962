"""Places to search beyond the program's processes and files: packets, system calls, and the blocks beneath the files.

    Grounds ─┬─ packets.py ── frames.py, pcap.py     everything on every interface, by AF_PACKET
             ├─ tracing.py ── tracer.py              the calls of every process of the arm, by a process of its own
             └─ blocks.py ─── disk_unsafe.py         the disk beneath each file that was written

Each says what it looked at, and why that was not everything; what it cannot look at makes the verdict inconclusive.
"""

from cloister.observe.prove.grounds.watching import Grounds

__all__ = ["Grounds"]
