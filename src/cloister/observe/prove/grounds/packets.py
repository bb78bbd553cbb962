"""Everything that goes over every network interface of the machine while the program runs: packet(7).

A stream is searched across its packets: a secret in two halves is found. Each packet is searched whole besides. The
capture proves itself: a datagram that the prover sends to itself at the beginning must be seen, and one at the end,
after which everything before it was seen too.
"""

import secrets
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from cloister.observe.prove.grounds.frames import Segment, segment_of
from cloister.observe.prove.grounds.pcap import CaptureFile
from cloister.observe.prove.plan import GroundName
from cloister.observe.prove.record import Check, Ground
from cloister.observe.prove.wanted import Blocks, Wanted
from cloister.quantities import counted

__all__ = ["PacketHit", "Packets"]

ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_STATISTICS = 263, 6
COUNTS = struct.Struct("=II")
BUFFER_BYTES = 128 << 20
LARGEST_PACKET = 1 << 20  # beyond what segmentation offload makes
LOOPBACK_HARDWARE, OUTGOING = 772, 4  # if_arp.h, if_packet.h: loopback shows each packet twice
STREAMS = 10_000
PATIENCE = 3.0
STEP = 0.05
Flow = tuple[tuple[str, int], tuple[str, int]]


@dataclass(frozen=True, kw_only=True)
class PacketHit:
    """A labelled secret seen in a packet."""

    label: str
    encoding: str
    where: str
    flow: Flow


@dataclass(slots=True)
class Stream:
    """One direction of a TCP connection: the next byte's number, and the end of what went by."""

    after: int = -1
    tail: bytes = b""


@dataclass(kw_only=True)
class Packets:
    """Captures from `start` to `finish`. `own` are flows that are the feed itself, by their source and target."""

    wanted: Wanted
    keep: Path | None = None
    own: set[Flow] = field(default_factory=set)
    hits: dict[PacketHit, None] = field(default_factory=dict)
    packets: int = 0
    size: int = 0
    interfaces: set[str] = field(default_factory=set)
    trouble: str = ""
    probes: list[bytes] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    streams: dict[str, Stream] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin; what is missing is in the report, and is no error."""
        self.blocks = Blocks(self.wanted.needles)
        self.socket: socket.socket | None = None
        self.file = CaptureFile(self.keep) if self.keep is not None else None
        try:
            self.socket = listening()
        except OSError as error:
            why = "only root (CAP_NET_RAW) may" if isinstance(error, PermissionError) else "packet(7)"
            self.trouble = f"packets cannot be captured: {error.strerror or error}; {why}"
            return
        self.thread = threading.Thread(target=self.run, args=(self.socket,), name="prove-packets", daemon=True)
        self.thread.start()
        self.probe()

    def run(self, source: socket.socket) -> None:
        """Receive until told to stop."""
        buffer = bytearray(LARGEST_PACKET)
        view = memoryview(buffer)
        try:
            while not self.stopping.is_set():
                try:
                    size, origin = source.recvfrom_into(buffer)
                except TimeoutError:
                    continue
                except OSError as error:
                    if error.errno != 100:  # ENETDOWN: an interface went away, the others did not
                        raise
                    continue
                self.take(bytes(view[:size]), origin)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the capture is not whole and must say so
            self.trouble = f"the capture ended early: {type(error).__name__}: {error}"

    def take(self, packet: bytes, origin: tuple[str, int, int, int, bytes]) -> None:
        """Count, keep and search one packet."""
        interface, protocol, direction, hardware, address = origin
        if hardware == LOOPBACK_HARDWARE and direction == OUTGOING:
            return
        self.packets += 1
        self.size += len(packet)
        self.interfaces.add(interface)
        if self.file is not None:
            self.file.write(time.time_ns(), (direction, hardware, address, protocol), packet)
        segment = segment_of(protocol, packet)
        self.seen |= {probe for probe in self.probes if probe == segment.payload}
        for label, encoding in self.blocks.search(packet) | self.across(segment):
            where = f"{interface}, {segment.flow}"
            flow = (segment.source, segment.target)
            self.hits.setdefault(PacketHit(label=label, encoding=encoding, where=where, flow=flow))

    def across(self, segment: Segment) -> set[tuple[str, str]]:
        """What stands across this and the packet before it in the same stream."""
        if segment.sequence is None or not segment.payload:
            return set()
        if len(self.streams) > STREAMS:
            self.streams.pop(next(iter(self.streams)))
        stream = self.streams.setdefault(segment.flow, Stream())
        keep = self.wanted.longest - 1
        before = stream.tail if stream.after == segment.sequence else b""
        stream.after = (segment.sequence + len(segment.payload)) & 0xFFFFFFFF
        stream.tail = (before + segment.payload[-keep:])[-keep:]
        return self.blocks.search(before + segment.payload[:keep]) if before else set()

    def probe(self) -> None:
        """Send the capture something to see."""
        probe = b"cloister prove " + secrets.token_hex(16).encode()
        self.probes.append(probe)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as itself:
                itself.bind(("127.0.0.1", 0))
                itself.sendto(probe, itself.getsockname())
        except OSError as error:
            self.trouble = self.trouble or f"the loopback interface carries nothing: {error.strerror}"

    def finish(self) -> None:
        """Wait until everything sent so far was looked at, and end."""
        if self.socket is None:
            return
        self.probe()
        deadline = time.monotonic() + PATIENCE
        while not self.seen.issuperset(self.probes) and time.monotonic() < deadline:
            time.sleep(STEP)
        self.stopping.set()
        self.thread.join()
        dropped = dropped_by(self.socket)
        if dropped:
            self.trouble = self.trouble or f"{counted(dropped, 'packet')} came faster than they could be searched"
        elif not self.seen.issuperset(self.probes):
            self.trouble = self.trouble or "the prover's own datagrams on loopback were not seen in the capture"

    def close(self) -> None:
        """Release socket and file."""
        self.stopping.set()
        if self.socket is not None:
            self.thread.join()
            self.socket.close()
        if self.file is not None:
            self.file.close()

    def report(self) -> Ground:
        """What was looked at."""
        where = ", ".join(sorted(self.interfaces)) or "no interface"
        amount = f"{counted(self.size, 'byte')} in {counted(self.packets, 'packet')} on {where}"
        whole = Check(holds=not self.trouble, detail=self.trouble or f"{amount}; the prover's own probes were seen")
        flows = tuple(sorted({hit.where for hit in self.hits}))
        return Ground(name=GroundName.PACKETS, amount=amount, whole=whole, seen=flows)


def dropped_by(source: socket.socket) -> int:
    """How many packets came while the buffer was full."""
    return int(COUNTS.unpack(source.getsockopt(SOL_PACKET, PACKET_STATISTICS, COUNTS.size))[1])


def listening() -> socket.socket:
    """A socket that gets every packet of every interface, without its link header. OSError."""
    source = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.htons(ETH_P_ALL))
    try:
        source.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        source.settimeout(STEP)
    except OSError:
        source.close()
        raise
    return source
