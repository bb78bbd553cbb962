"""The attacks by name, and one machine attacked by one of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cloister.emulate.attacks import deceiving, reading, tampering
from cloister.emulate.attacks.outcome import Finding
from cloister.emulate.attacks.scene import Scene
from cloister.emulate.attacks.victims import victim
from cloister.emulate.catalogue import Kind
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.terminal import Terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import UsageError

__all__ = ["ATTACKS", "Attack", "attack", "attack_named"]

SMALL: Final = Shape(memory=8192, frames=256)
"""32 MiB: the victim needs less than one."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack: its name, who the adversary is, and what is tried."""

    name: str
    adversary: str
    run: Callable[[Scene], Finding]

    @property
    def what(self) -> str:
        """One sentence."""
        return " ".join((self.run.__doc__ or "").split())


HOST: Final = "operating system or hypervisor"
DEVICE: Final = "device"
PHYSICAL: Final = "physical access"

ATTACKS: Final[Mapping[str, Attack]] = {
    one.name: one
    for one in (
        Attack("host-read", HOST, reading.host_read),
        Attack("host-write", HOST, tampering.host_write),
        Attack("host-replay", HOST, tampering.host_replay),
        Attack("remap", HOST, tampering.remap),
        Attack("page-trace", HOST, reading.page_trace),
        Attack("registers", HOST, reading.registers),
        Attack("debug-read", HOST, reading.debug_read),
        Attack("changed-program", HOST, deceiving.changed_program),
        Attack("forged-reply", HOST, deceiving.forged_reply),
        Attack("dma-read", DEVICE, reading.device_read),
        Attack("dma-write", DEVICE, tampering.device_write),
        Attack("cold-boot", PHYSICAL, reading.cold_boot),
        Attack("bus-equality", PHYSICAL, reading.bus_equality),
        Attack("bit-flip", PHYSICAL, tampering.bit_flip),
        Attack("relocation", PHYSICAL, tampering.relocation),
        Attack("replay", PHYSICAL, tampering.physical_replay),
    )
}


def attack_named(name: str) -> Attack:
    """The attack of a name. UsageError with the names that there are."""
    found = ATTACKS.get(name)
    if found is None:
        raise UsageError(f"no attack is called {name!r}; there are {', '.join(ATTACKS)}")
    return found


def attack(kind: Kind, one: Attack, keystore: Keystore, *, debug: bool = False) -> Finding:
    """Build a machine, launch the victim, attack it, and give the machine back. UsageError without a compiler."""

    def make(terminal: Terminal) -> Machine:
        return kind.make(SMALL, terminal, keystore, debug=debug)

    scene = Scene(make, lambda machine: victim(machine.architecture))
    try:
        return one.run(scene)
    finally:
        scene.close()
