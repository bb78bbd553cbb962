"""The shim's side of the gate: one question, one checked answer."""

from collections.abc import Callable
from typing import Final, TypeAlias

from cloister.errors import ParseError

from .checks import HostLied, check_reply
from .messages import HostCall, HostReply, Operation, split
from .outcome import Failed

__all__ = ["Gate", "HostLink"]

Gate: TypeAlias = Callable[[bytes], bytes]
"""Takes a serialized HostCall out of the TEE and brings back the raw answer, copied out of shared memory once."""

WORD: Final = (1 << 64) - 1


class HostLink:
    """Asks the host. `calls` counts the questions."""

    __slots__ = ("_gate", "calls")

    def __init__(self, gate: Gate) -> None:
        self._gate, self.calls = gate, 0

    def ask(
        self, operation: Operation, first: int = 0, second: int = 0, third: int = 0, data: bytes = b""
    ) -> tuple[int, bytes]:
        """Value and data of the answer. Failed with the host's errno; HostLied if the answer cannot be true."""
        self.calls = sequence = self.calls + 1
        numbers = (first & WORD, second & WORD, third & WORD)
        try:
            reply, answer = split(HostReply, self._gate(HostCall.message(operation, sequence, numbers, data)))
        except ParseError as error:
            raise HostLied(operation.name, str(error)) from error
        check_reply(operation, sequence, reply)
        if reply.error:
            raise Failed(reply.error)
        return reply.value, answer
