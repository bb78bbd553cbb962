"""The arguments of one call: each kind by its decoder, at entry or at return."""

from cloister.observe.trace.decode.buffers import BUFFERS
from cloister.observe.trace.decode.look import NOTHING, Decoder, Look
from cloister.observe.trace.decode.network import NETWORK
from cloister.observe.trace.decode.scalars import SCALARS
from cloister.observe.trace.decode.structures import STRUCTURES
from cloister.observe.trace.record import Argument
from cloister.observe.trace.signatures import SIGNATURES, Param, Signature

__all__ = ["KINDS", "at_entry", "at_return", "not_returned", "signature_of"]

# Whether to decode when the call has returned (True) or when it is made (False), and how.
KINDS: dict[str, tuple[bool, Decoder]] = {
    **{kind: (False, decoder) for kind, decoder in SCALARS.items()},
    **BUFFERS,
    **STRUCTURES,
    **NETWORK,
}

UNKNOWN = tuple(Param(f"arg{index}", "hex", "") for index in range(1, 7))

Arguments = list[Argument | None]


def signature_of(name: str) -> Signature:
    """The signature of a call; for one without, six values in hexadecimal."""
    return SIGNATURES.get(name) or Signature(name, UNKNOWN, "int")


def at_entry(look: Look) -> Arguments:
    """The arguments that are complete when the call is made; None where the kernel still has to write."""
    pairs = zip(look.signature.params, look.raws, strict=False)
    return [None if KINDS[param.kind][0] else decoded(look, param, raw) for param, raw in pairs]


def at_return(look: Look, arguments: Arguments) -> tuple[Argument, ...]:
    """All arguments, once `look.result` is set. What the kernel did not write because it failed stays a pointer."""
    if look.result < 0:
        return not_returned(look, arguments)
    pairs = zip(look.signature.params, look.raws, arguments, strict=False)
    return shown([argument or decoded(look, param, raw) for param, raw, argument in pairs])


def not_returned(look: Look, arguments: Arguments) -> tuple[Argument, ...]:
    """All arguments of a call that has not returned, or failed: outputs are pointers."""
    pairs = zip(look.signature.params, look.raws, arguments, strict=False)
    return shown(
        [
            argument or Argument(name=param.name, raw=raw, text=hex(raw) if raw else "NULL", contents=NOTHING)
            for param, raw, argument in pairs
        ]
    )


def shown(arguments: list[Argument]) -> tuple[Argument, ...]:
    """Without those the kernel does not look at (the mode of an open that creates nothing)."""
    return tuple(argument for argument in arguments if argument.text)


def decoded(look: Look, param: Param, raw: int) -> Argument:
    """One argument."""
    text, contents = KINDS[param.kind][1](look, param, raw)
    return Argument(name=param.name, raw=raw, text=text, contents=contents)
