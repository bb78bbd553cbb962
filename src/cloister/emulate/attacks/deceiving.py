"""Attacks on what a program is and what it is told: a changed program, and system calls that answer with lies."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from cloister.emulate.attacks.outcome import Finding, Outcome
from cloister.emulate.attacks.scene import Act, Scene
from cloister.emulate.linux.messages import HostReply, Operation, split
from cloister.errors import CloisterError, UsageError
from cloister.measure.image import Image

__all__ = ["changed_program", "forged_reply"]

END: Final = Act(b"q\n")
FORGED: Final = 1 << 20


def changed_program(scene: Scene) -> Finding:
    """The host loads a program in which one byte differs, and hopes that nobody can tell."""
    scene.machine.sign(scene.victim.image)  # its owner, beforehand: only TrustZone's boot asks for it
    changed = _changed(scene.victim.image)
    try:
        scene.machine.launch(changed)
    except CloisterError as refused:
        return Finding(Outcome.DETECTED, f"not launched: {refused}")
    try:
        found = scene.machine.measurement
    except UsageError as none:
        return Finding(Outcome.SUCCEEDED, f"it runs, and {none}")
    other = scene.again()
    other.launch()
    expected = other.machine.measurement
    other.close()
    if found == expected:
        return Finding(Outcome.SUCCEEDED, f"it has the right measurement: {found}")
    return Finding(Outcome.DETECTED, f"it measures {str(found)[:24]}..., the right one {str(expected)[:24]}...")


def forged_reply(scene: Scene) -> Finding:
    """The host answers a read of one byte with a count that no read can have, to overrun the program's buffer."""
    scene.launch()
    machine = scene.machine

    def begin() -> None:
        if machine.shielded:
            machine.host.serve = _lying(machine.host.serve)
        else:
            machine.host.on_result = lambda result: FORGED if result == 1 else result

    played = scene.play([Act(b"k\n", begin), Act(b"a line\n"), END])
    if played.ending.stopped:
        return Finding(Outcome.DETECTED, f"the program ended: {played.ending.stopped}")
    return Finding(Outcome.SUCCEEDED, f"the program was told {FORGED} where 1 is the most")


def _lying(serve: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A host whose answers to console reads claim too much."""

    def answer(request: bytes) -> bytes:
        reply = serve(request)
        header, data = split(HostReply, reply)
        if header.operation != Operation.CONSOLE_READ:
            return reply
        return HostReply.message(header.operation, header.sequence, header.error, FORGED, data)

    return answer


def _changed(image: Image) -> Image:
    """The image with the last byte of its first page changed."""
    first, *others = image.pages
    return replace(image, pages=(replace(first, content=first.content[:-1] + bytes([first.content[-1] ^ 1])), *others))
