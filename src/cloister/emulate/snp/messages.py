"""Guest messages: how an SNP guest and the security processor talk past the host (AMD 56860, SNP_GUEST_REQUEST).

    0x00  authentication tag, 16 bytes, then 16 of zero
    0x20  sequence number
    0x30  algorithm, header version and size, message type, version and size, key number     } authenticated
    0x60  payload, encrypted

AES-256-GCM under one of the four keys (VMPCK) that the secrets page gives the guest. The sequence number is the nonce,
so it is never used twice: a `Channel` counts, and takes exactly the next message. Linux has the same layout in
arch/x86/include/asm/sev.h, struct snp_guest_msg_hdr.

    guest, firmware = Channel(key=vmpck0), Channel(key=vmpck0)
    asked = firmware.open(guest.seal(MessageType.REPORT_REQ, request))
    answer = guest.open(firmware.seal(MessageType.REPORT_RSP, response))
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloister._wire import Record, raw, reserved, u8, u16, u32, u64
from cloister.errors import NotFresh, ParseError, SignatureInvalid, UsageError

__all__ = [
    "LONGEST_PAYLOAD",
    "Channel",
    "KeyRequest",
    "KeyResponse",
    "Message",
    "MessageHeader",
    "MessageType",
    "ReportRequest",
    "ReportResponseHeader",
]

AES_256_GCM: Final = 1
HEADER_SIZE: Final = 0x60
AUTHENTICATED: Final = slice(0x30, 0x60)
TAG_SIZE: Final = 16
KEY_SIZE: Final = 32
IV_SIZE: Final = 12
LONGEST_PAYLOAD: Final = 4096 - HEADER_SIZE
"""Bytes: a message is in one page."""
LAST_SEQUENCE: Final = 2**64 - 1


class MessageType(IntEnum):
    """What a message is (56860, table of message types)."""

    CPUID_REQ = 1
    CPUID_RSP = 2
    KEY_REQ = 3
    KEY_RSP = 4
    REPORT_REQ = 5
    REPORT_RSP = 6
    EXPORT_REQ = 7
    EXPORT_RSP = 8
    IMPORT_REQ = 9
    IMPORT_RSP = 10
    ABSORB_REQ = 11
    ABSORB_RSP = 12
    VMRK_REQ = 13
    VMRK_RSP = 14
    TSC_INFO_REQ = 17
    TSC_INFO_RSP = 18


DEFINED: Final = frozenset(map(int, MessageType))


class MessageHeader(Record, size=HEADER_SIZE):
    """What stands before the encrypted payload. Everything from `algorithm` on is authenticated."""

    tag: bytes = raw(TAG_SIZE)
    reserved_10: bytes = reserved(16)
    sequence: int = u64()
    reserved_28: bytes = reserved(8)
    algorithm: int = u8(equals=AES_256_GCM)
    header_version: int = u8(equals=1)
    header_size: int = u16(equals=HEADER_SIZE)
    message_type: int = u8()
    message_version: int = u8()
    message_size: int = u16()
    reserved_38: bytes = reserved(4)
    vmpck: int = u8()
    reserved_3d: bytes = reserved(35)


class Message(NamedTuple):
    """An opened message."""

    type: MessageType
    version: int
    payload: bytes


@dataclass(kw_only=True)
class Channel:
    """One end of the conversation under one key: VMPCK `number`, and the sequence number of the last message.

    The two ends stay in step as long as every message that is sealed at one is opened at the other. A message that
    cannot be opened changes nothing; a guest whose answer does not come must stop using the key, as Linux does.
    """

    key: bytes = field(repr=False)
    number: int = 0
    sequence: int = 0

    def seal(self, kind: MessageType, payload: bytes, *, version: int = 1) -> bytes:
        """The next message: header and encrypted payload. UsageError if it is too long, or the numbers are used up."""
        if len(payload) > LONGEST_PAYLOAD:
            raise UsageError(f"a guest message has at most {LONGEST_PAYLOAD} bytes, this one {len(payload)}")
        if self.sequence >= LAST_SEQUENCE:
            raise UsageError(f"the sequence numbers of VMPCK{self.number} are used up; the guest must be launched anew")
        blank = MessageHeader(
            tag=bytes(TAG_SIZE), sequence=self.sequence + 1, algorithm=AES_256_GCM, header_version=1,
            header_size=HEADER_SIZE, message_type=kind, message_version=version, message_size=len(payload),
            vmpck=self.number,
        )  # fmt: skip
        sealed = self._cipher().encrypt(_iv(blank), payload, blank.serialize()[AUTHENTICATED])
        self.sequence += 1
        return sealed[-TAG_SIZE:] + blank.serialize()[TAG_SIZE:] + sealed[:-TAG_SIZE]

    def open(self, message: bytes) -> Message:
        """The payload of the next message, which may be followed by the rest of its page.

        ParseError if it is no message; NotFresh if it is not the next one: a replay, or one was lost; SignatureInvalid
        if it was altered or is under another key.
        """
        header = MessageHeader.parse(message[:HEADER_SIZE])
        sealed = message[HEADER_SIZE : HEADER_SIZE + header.message_size]
        if len(sealed) != header.message_size:
            raise ParseError("MessageHeader", "message_size", 0x36, f"is {header.message_size}; {len(sealed)} follow")
        if header.vmpck != self.number:
            raise SignatureInvalid(
                "the guest message names another key", expected=self.number, actual=header.vmpck, set_by="MSG_VMPCK"
            )
        if header.sequence != self.sequence + 1:
            raise NotFresh(
                "the guest message is not the next one: it is replayed, or one before it was lost",
                expected=self.sequence + 1, actual=header.sequence, set_by="MSG_SEQNO",
            )  # fmt: skip
        try:
            payload = self._cipher().decrypt(_iv(header), sealed + header.tag, message[AUTHENTICATED])
        except InvalidTag:
            raise SignatureInvalid("the guest message was altered, or is under another key") from None
        if header.message_type not in DEFINED:
            raise ParseError("MessageHeader", "message_type", 0x34, f"is {header.message_type}, which is not defined")
        self.sequence += 1
        return Message(MessageType(header.message_type), header.message_version, payload)

    def _cipher(self) -> AESGCM:
        if len(self.key) != KEY_SIZE:
            raise UsageError(f"a VMPCK has {KEY_SIZE} bytes")
        return AESGCM(self.key)


def _iv(header: MessageHeader) -> bytes:
    """The sequence number, then zeros."""
    return header.sequence.to_bytes(IV_SIZE, "little")


class ReportRequest(Record, size=96):
    """MSG_REPORT_REQ's payload (56860, section 7.3): the guest's 64 bytes, and the VMPL that the report shall name."""

    report_data: bytes = raw(64)
    vmpl: int = u32()
    key_select: int = u32()
    reserved_48: bytes = reserved(24)


class ReportResponseHeader(Record, size=32):
    """MSG_REPORT_RSP's payload begins with this; the report follows, 1184 bytes if `status` is 0."""

    status: int = u32()
    report_size: int = u32()
    reserved_8: bytes = reserved(24)


class KeyRequest(Record, size=32):
    """MSG_KEY_REQ's payload, version 1: from which root (0: VCEK, 1: VMRK) and which fields of the guest to derive."""

    root_key_select: int = u32()
    reserved_4: bytes = reserved(4)
    guest_field_select: int = u64()
    vmpl: int = u32()
    guest_svn: int = u32()
    tcb_version: bytes = raw(8)


class KeyResponse(Record, size=64):
    """MSG_KEY_RSP's payload: the derived key, zeros unless `status` is 0."""

    status: int = u32()
    reserved_4: bytes = reserved(28)
    key: bytes = raw(32)
