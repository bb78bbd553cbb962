"""The grounds of one arm together: started before the program, finished after it, reported with what was found."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloister.observe.prove.grounds.blocks import DiskBlocks
from cloister.observe.prove.grounds.gate import Gate
from cloister.observe.prove.grounds.packets import Packets
from cloister.observe.prove.grounds.tracing import Traces
from cloister.observe.prove.plan import Arm, ArmName, GroundName, Plan
from cloister.observe.prove.record import Ground, Surface
from cloister.observe.prove.wanted import Wanted

__all__ = ["Found", "Grounds"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A labelled secret seen on one of the grounds; `pid` is 0 where it is no process's."""

    label: str
    encoding: str
    surface: Surface
    where: str
    pid: int = 0


@dataclass(kw_only=True)
class Grounds:
    """What was asked for is there, the rest is None."""

    arm: ArmName
    blocks: DiskBlocks | None = None
    packets: Packets | None = None
    traces: Traces | None = None
    on_disk: list[Found] = field(default_factory=list)

    @classmethod
    def of(cls, plan: Plan, arm: Arm, wanted: Wanted) -> "Grounds":
        """The grounds that the plan asks for, not yet started."""
        asked = plan.grounds
        return cls(
            arm=arm.name,
            blocks=DiskBlocks(wanted=wanted) if GroundName.BLOCKS in asked else None,
            packets=Packets(wanted=wanted, keep=capture_file(plan, arm)) if GroundName.PACKETS in asked else None,
            traces=Traces(arm=arm.name, secrets=wanted.secrets) if GroundName.TRACES in asked else None,
        )

    def start(self) -> None:
        """Begin, before the program is started."""
        if self.packets is not None:
            self.packets.start()
        if self.traces is not None:
            self.traces.start()

    def gate(self) -> Gate | None:
        """Where the program has to wait until it is followed; None if it need not."""
        return None if self.traces is None else self.traces.gate()

    def follow(self, pid: int, gate: Gate) -> None:
        """The program waits at the gate: let it go, traced."""
        if self.traces is not None:
            self.traces.follow(pid, gate)

    def finish(self) -> None:
        """Nothing of the program is left: look at the rest."""
        if self.traces is not None:
            self.traces.finish()
        if self.packets is not None:
            self.packets.finish()
        if self.blocks is not None:
            self.on_disk = [
                Found(label=hit.label, encoding=hit.encoding, surface=Surface.BLOCK, where=hit.where)
                for hit in self.blocks.search()
            ]

    def found(self) -> Iterator[Found]:
        """Everything that was seen. What the prover itself sent to the enclaved program in the clear is the feed."""
        yield from self.on_disk
        for packet in [] if self.packets is None else self.packets.hits:
            if self.packets is None or self.arm is ArmName.NATIVE or packet.flow not in self.packets.own:
                where = packet.where
                yield Found(label=packet.label, encoding=packet.encoding, surface=Surface.PACKET, where=where)
        for call in [] if self.traces is None else self.traces.hits:
            yield Found(label=call.label, encoding=call.encoding, surface=Surface.CALL, where=call.where, pid=call.pid)

    def close(self) -> None:
        """Release everything."""
        if self.packets is not None:
            self.packets.close()
        if self.traces is not None:
            self.traces.close()

    def reports(self) -> tuple[Ground, ...]:
        """What was looked at, ground by ground."""
        return tuple(ground.report() for ground in (self.blocks, self.packets, self.traces) if ground is not None)


def capture_file(plan: Plan, arm: Arm) -> Path | None:
    """Where this arm's packets are kept: PATH-native.pcap, PATH-enclaved.pcap."""
    return None if plan.pcap is None else plan.pcap.with_name(f"{plan.pcap.name}-{arm.name}.pcap")
