"""Attacks that only look: at memory through host, device or bus; at registers; at which pages are touched."""

from collections.abc import Callable
from typing import Final

from cloister.emulate.attacks.outcome import Finding, Outcome
from cloister.emulate.attacks.scene import SECRET, Act, Scene, attempt, find
from cloister.emulate.host import Cause, HostView
from cloister.emulate.paging import Refused
from cloister.measure.image import PAGE
from cloister.quantities import human_size

__all__ = ["bus_equality", "cold_boot", "debug_read", "device_read", "host_read", "page_trace", "registers"]

KEEP: Final = Act(b"s" + SECRET + b"\n")
END: Final = Act(b"q\n")
BITS: Final = 32
INTERVAL: Final = 500
"""Instructions between two interrupts: the victim computes for tens of thousands."""


def judged_read(what: bytes | str) -> Finding:
    """A read succeeded if it gave the secret."""
    if isinstance(what, str):
        return Finding(Outcome.STOPPED, f"refused: {what}")
    if SECRET in what:
        return Finding(Outcome.SUCCEEDED, f"read {SECRET.decode()!r}")
    kinds = {b"\0": "zeros", b"\xff": "all ones"}
    return Finding(Outcome.STOPPED, f"read {kinds.get(bytes(set(what)), f'ciphertext, {what[:8].hex()}...')}")


def host_read(scene: Scene) -> Finding:
    """The operating system or hypervisor reads the secret's page."""
    return _read_while_waiting(scene, lambda: scene.machine.host_read(scene.page("secret")))


def device_read(scene: Scene) -> Finding:
    """A device reads the secret's page by DMA."""
    return _read_while_waiting(scene, lambda: scene.machine.device_read(scene.page("secret")))


def debug_read(scene: Scene) -> Finding:
    """The host asks the TEE's debug interface for the secret's page."""
    return _read_while_waiting(scene, lambda: scene.machine.debug_read(scene.address("secret")))


def _read_while_waiting(scene: Scene, read: Callable[[], bytes]) -> Finding:
    scene.launch()
    got: list[bytes | str] = []
    scene.play([KEEP, Act(b"b\n", lambda: got.append(attempt(read))), END])
    return judged_read(got[0])


def cold_boot(scene: Scene) -> Finding:
    """All of DRAM is read at once, after the caches were written back: frozen modules, or a probe on the bus."""
    scene.launch()
    machine, places = scene.machine, list[int | None]()

    def look() -> None:
        machine.settle()
        places.append(find(machine, SECRET))

    scene.play([KEEP, Act(b"b\n", look), END])
    if places[0] is not None:
        return Finding(Outcome.SUCCEEDED, f"the secret stands in DRAM at byte {places[0]:#x}")
    return Finding(Outcome.STOPPED, f"not in the {human_size(machine.shape.memory * PAGE)} of DRAM")


def bus_equality(scene: Scene) -> Finding:
    """A probe compares what is written to one page over time: equal ciphertext means that an old value is back."""
    scene.launch()
    machine, seen = scene.machine, list[bytes]()

    def look() -> None:
        machine.settle()
        seen.append(bytes(machine.dram.page(scene.page("balance"))))

    scene.play([Act(b"w\n", look), Act(b"d\n", look), Act(b"b\n", look), END])
    before, between, after = seen
    if before == after != between:
        return Finding(Outcome.SUCCEEDED, "equal plaintext gave equal bytes: the balance is what it was at first")
    return Finding(Outcome.STOPPED, "the bytes differ each time")


def registers(scene: Scene) -> Finding:
    """The host interrupts the program while the secret is in its registers."""
    scene.launch()
    key = int.from_bytes(SECRET[:8], "little")
    found: list[str] = []

    def look(view: HostView) -> None:
        if view.cause is Cause.INTERRUPT:
            found.extend(name for name, value in view.registers.items() if value == key)

    scene.machine.host.on_exit = look
    scene.play([KEEP, Act(b"r\n"), END], steps=INTERVAL)
    interrupts = sum(view.cause is Cause.INTERRUPT for view in scene.machine.host.seen)
    if found:
        return Finding(Outcome.SUCCEEDED, f"register {found[0]} held it at an interrupt")
    return Finding(Outcome.STOPPED, f"in no register at {interrupts} interrupts")


def page_trace(scene: Scene) -> Finding:
    """The host takes away the pages of two functions in turn and learns from faults which is called: a bit each."""
    scene.launch()
    trace = _Trace(scene)
    try:
        played = scene.play([KEEP, Act(b"c\n", trace.begin), END])
    except Refused as refused:
        return Finding(Outcome.STOPPED, f"refused: {refused}")
    if trace.refused:
        return Finding(Outcome.STOPPED, f"refused: {trace.refused}")
    wanted = "".join(f"{byte:08b}" for byte in SECRET)[:BITS]
    if trace.bits == wanted:
        return Finding(Outcome.SUCCEEDED, f"{BITS} bits of the secret from {len(trace.bits)} faults")
    if played.stopped:
        return Finding(Outcome.DETECTED, f"the program ended: {played.ending.stopped or played.ending.status}")
    return Finding(Outcome.STOPPED, f"{len(trace.bits)} faults seen, not the secret's bits")


class _Trace:
    """Keeps at most one of the two functions' pages and the walker's page present."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.bits = ""
        self.refused = ""
        self._letters: dict[int, str] = {}
        self._away: set[int] = set()

    def begin(self) -> None:
        machine, scene = self._scene.machine, self._scene
        self._letters = {
            scene.address("bit_clear"): "0",
            scene.address("bit_set"): "1",
            scene.address("walk"): "",
        }
        machine.host.on_fault = self._fault
        try:
            for address in self._letters:
                machine.withhold(address)
                self._away.add(address)
        except Refused as refused:
            self.refused = str(refused)

    def _fault(self, address: int) -> bool:
        if address not in self._away:
            return False
        self.bits += self._letters[address]
        self._scene.machine.give_back(address)
        self._away.discard(address)
        for other in self._letters.keys() - self._away - {address}:
            self._scene.machine.withhold(other)
            self._away.add(other)
        return True
