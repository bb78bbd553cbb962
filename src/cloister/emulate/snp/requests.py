"""Guest messages at the firmware's end: opened, checked, answered, sealed (AMD 56860, SNP_GUEST_REQUEST)."""

from typing import Final

from cloister.emulate.snp.chip import Chip
from cloister.emulate.snp.context import GuestContext, with_changes
from cloister.emulate.snp.keys import answer_key_request
from cloister.emulate.snp.messages import Channel, MessageHeader, MessageType
from cloister.emulate.snp.report import answer_report_request
from cloister.errors import ParseError

__all__ = ["answer"]

KEYS: Final = 4


def answer(chip: Chip, context: GuestContext, message: bytes) -> tuple[bytes, GuestContext]:
    """The sealed answer to a sealed message, and the context with the sequence number moved on.

    CloisterError (ParseError, NotFresh, SignatureInvalid) for a message that is none, is not the next one, or was not
    sealed by the guest.
    """
    number = MessageHeader.parse(message[: MessageHeader.SIZE]).vmpck
    if number >= KEYS:
        raise ParseError(
            "MessageHeader", "vmpck", MessageHeader.OFFSETS["vmpck"], f"is {number}; there are {KEYS} keys"
        )
    channel = Channel(key=context.channel_key(number), number=number, sequence=context.sequence(number))
    asked = channel.open(message)
    if asked.type is MessageType.REPORT_REQ:
        kind, payload = MessageType.REPORT_RSP, answer_report_request(chip, context, asked.payload, vmpck=number)
    elif asked.type is MessageType.KEY_REQ:
        kind, payload = MessageType.KEY_RSP, answer_key_request(chip, context, asked.payload, vmpck=number)
    else:
        raise ParseError("MessageHeader", "message_type", 0x34, f"{asked.type.name} is not emulated")
    sealed = channel.seal(kind, payload)
    return sealed, with_changes(context, **{f"sequence{number}": channel.sequence})
