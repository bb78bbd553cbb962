"""The start block that a person seals for a program: that its console is shielded, and by which key."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from cloister.launch.command import start_block
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import ConsoleEntry

__all__ = ["console_block"]

NOTHING_ELSE: Final = ShieldBlock(strict=False, network=False)


def console_block(
    key: bytes, *, terminal: bool, rows: int = 0, columns: int = 0, argv: Sequence[str] = (),
    environment: Mapping[str, str] = {}, shield: ShieldBlock = NOTHING_ELSE,
) -> bytes:  # fmt: skip
    """Without `argv` the arguments are those that the host was given. `shield`: what is shielded besides."""
    console = ConsoleEntry(key=key, terminal=terminal, rows=rows, columns=columns)
    whole = replace(shield, entries=(*shield.entries, console))
    return start_block(argv, environment, shield=whole.serialize())
