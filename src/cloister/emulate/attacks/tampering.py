"""Attacks that change memory: through the host, a device, the host's page tables, or DRAM itself."""

from collections.abc import Callable
from typing import Final

from cloister.emulate.attacks.outcome import Finding, Outcome
from cloister.emulate.attacks.scene import Act, Played, Scene
from cloister.emulate.paging import Refused
from cloister.measure.image import PAGE

__all__ = ["bit_flip", "device_write", "host_replay", "host_write", "physical_replay", "relocation", "remap"]

RICH: Final = 1_000_000
AT_FIRST: Final = 1000
END: Final = Act(b"q\n")
SHOW: Final = Act(b"b\n")


def host_write(scene: Scene) -> Finding:
    """The operating system or hypervisor writes a balance of its own into the program's memory."""
    return _forge(scene, lambda: scene.machine.host_write(scene.page("balance"), _balance(RICH)))


def device_write(scene: Scene) -> Finding:
    """A device writes a balance by DMA."""
    return _forge(scene, lambda: scene.machine.device_write(scene.page("balance"), _balance(RICH)))


def remap(scene: Scene) -> Finding:
    """The host's page tables lead the balance's address to another page of the same program."""
    return _forge(scene, lambda: scene.machine.remap(scene.address("balance"), scene.page("riches")))


def relocation(scene: Scene) -> Finding:
    """In DRAM, the bytes of one page and what belongs to it are copied over another."""
    return _forge(scene, lambda: _copy(scene, scene.page("riches"), scene.page("balance")))


def bit_flip(scene: Scene) -> Finding:
    """One bit of the balance is flipped in DRAM, to make 1,000 into 66,536."""
    return _forge(scene, lambda: _flip(scene), goal=AT_FIRST + (1 << 16))


def physical_replay(scene: Scene) -> Finding:
    """All of DRAM that belongs to the balance is kept, money is spent, and the old bytes are put back."""
    kept: list[tuple[bytes, bytes, bytes]] = []

    def keep() -> None:
        scene.machine.settle()
        dram, page = scene.machine.dram, scene.page("balance")
        kept.append((bytes(dram.page(page)), bytes(dram.metadata(page)), bytes(dram.nodes)))

    def put_back() -> None:
        scene.machine.settle()
        dram, page = scene.machine.dram, scene.page("balance")
        dram.page(page)[:], dram.metadata(page)[:], dram.nodes[:] = kept[0]
        scene.machine.dram_changed(page)

    return _spend_twice(scene, keep, put_back)


def host_replay(scene: Scene) -> Finding:
    """The same, with no more than the host's own reading and writing of memory."""
    kept: list[bytes] = []

    def keep() -> None:
        kept.append(scene.machine.host_read(scene.page("balance")))

    def put_back() -> None:
        scene.machine.host_write(scene.page("balance"), kept[0])

    return _spend_twice(scene, keep, put_back)


def _balance(amount: int) -> bytes:
    return amount.to_bytes(8, "little").ljust(PAGE, b"\0")


def _forge(scene: Scene, act: Callable[[], None], goal: int = RICH) -> Finding:
    """Change the balance while the program waits; then it prints what it now believes."""
    scene.launch()
    refused: list[str] = []
    played = scene.play([Act(b"b\n", _noting(act, refused)), END])
    return _judged(played, refused, goal, before=AT_FIRST)


def _spend_twice(scene: Scene, keep: Callable[[], None], put_back: Callable[[], None]) -> Finding:
    """The program is paid for something; the adversary undoes it."""
    scene.launch()
    refused: list[str] = []
    acts = [Act(b"w\n", _noting(keep, refused)), Act(b"b\n", _noting(put_back, refused)), END]
    return _judged(scene.play(acts), refused, AT_FIRST, before=AT_FIRST - 900)


def _noting(act: Callable[[], None], refused: list[str]) -> Callable[[], None]:
    """An action whose refusal is kept; after a refusal there is nothing more to do."""

    def tried() -> None:
        if not refused:
            try:
                act()
            except Refused as words:
                refused.append(str(words))

    return tried


def _judged(played: Played, refused: list[str], goal: int, before: int) -> Finding:
    shown = [line for line in played.lines if line.lstrip("-").isdigit()]
    if refused:
        return Finding(Outcome.STOPPED, f"refused: {refused[0]}")
    if shown and int(shown[-1]) == goal:
        return Finding(Outcome.SUCCEEDED, f"the program believes that it has {goal:,}")
    if played.stopped:
        return Finding(Outcome.DETECTED, f"the program ended: {played.ending.stopped or played.ending.status}")
    if shown and int(shown[-1]) != before:
        return Finding(Outcome.STOPPED, f"garbage, not what was chosen; unnoticed: {int(shown[-1]):,}")
    return Finding(Outcome.STOPPED, f"the program still has {before:,}: the write was dropped")


def _copy(scene: Scene, source: int, target: int) -> None:
    scene.machine.settle()
    dram = scene.machine.dram
    dram.page(target)[:] = dram.page(source)
    dram.metadata(target)[:] = dram.metadata(source)
    scene.machine.dram_changed(target)


def _flip(scene: Scene) -> None:
    scene.machine.settle()
    page = scene.page("balance")
    scene.machine.dram.page(page)[2] ^= 1
    scene.machine.dram_changed(page)
